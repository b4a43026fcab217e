"""The loop with made-up training: what is kept, when it ends, what is tried, and how it goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import Stopped, TrainingError
from stepwell.progress import RoundDone, RoundStarted
from stepwell.studies import study as study_file

MakeStage = Callable[..., Any]

KEEP_GOING = ("underfitting",)


def journal(stage: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stage.run.journal.read_text(encoding="utf-8").splitlines()]


def test_the_first_round_does_what_the_recipe_says_and_is_kept(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0}])
    study = stage.study()
    assert study.play() == "nothing_left"
    assert stage.played[0]["recipe"] == stage.recipe
    assert stage.played[0]["start_from"] is None
    (line,) = journal(stage)
    assert (line["round"], line["diagnosis"], line["accepted"], line["before"]) == (1, "first_plan", True, None)
    assert line["value"] == pytest.approx(2.0)
    assert line["low"] < line["value"] < line["high"]
    assert (line["gain"], line["gain_low"], line["gain_high"], line["continues_from"]) == (None, None, None, None)
    assert line["change"]["training.steps"] == [None, 400]
    loaded = load_checkpoint(stage.run.root)
    assert loaded.path == stage.run.best
    assert loaded.provenance["round"] == 1
    assert loaded.provenance["decoding"]["temperature"] == 0.8


def test_a_line_holds_what_the_report_and_the_issue_ask_for(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 1.5}])
    stage.study().play()
    wanted = {
        "round", "diagnosis", "evidence", "reason", "change", "continues_from", "metric", "value", "low", "high",
        "before", "gain", "gain_low", "gain_high", "accepted", "seconds", "steps", "tokens", "parameters",
        "train_value", "samples", "findings",
    }  # fmt: skip
    for line in journal(stage):
        assert wanted <= line.keys()
    second = journal(stage)[1]
    assert second["diagnosis"] == "underfitting"
    assert second["before"] == pytest.approx(2.0)
    assert second["gain"] == pytest.approx(0.5)
    assert 0 < second["gain_low"] < 0.5 < second["gain_high"]
    assert second["continues_from"] == 1
    assert stage.played[1]["start_from"] == stage.run.round(1) / "checkpoints" / "stable"


def test_events_tell_of_each_round(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 1.5}])
    stage.study().play()
    started = [event for event in stage.events if isinstance(event, RoundStarted)]
    done = [event for event in stage.events if isinstance(event, RoundDone)]
    assert [event.round for event in started] == [event.record["round"] for event in done] == [1, 2]
    assert started[1].diagnosis == "underfitting"


def test_a_clear_gain_is_kept_and_a_loss_is_not(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": ("underfitting", "overfitting")}, {"bits": 2.2}, {"bits": 1.8}])
    study = stage.study()
    study.play()
    assert [line["accepted"] for line in journal(stage)] == [True, False, True]
    assert study.best is not None
    assert study.best.trial.round == 3
    assert load_checkpoint(stage.run.root).provenance["round"] == 3
    assert journal(stage)[2]["before"] == pytest.approx(2.0)  # of the best, not of the last


def test_a_lucky_tiny_gain_is_not_kept(make_stage: MakeStage) -> None:
    """Better by 0.2 % on average, on documents where the models differ by 10 % each way."""
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 1.996, "noise": 0.1}])
    stage.study().play()
    second = journal(stage)[1]
    assert second["gain"] > 0
    assert second["gain_low"] < 0 < second["gain_high"]
    assert second["accepted"] is False
    assert load_checkpoint(stage.run.root).provenance["round"] == 1


def test_the_same_tiny_gain_on_every_document_is_kept(make_stage: MakeStage) -> None:
    """The interval of each model alone is wide; paired on the same documents it is narrow."""
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 1.996}])
    stage.study().play()
    first, second = journal(stage)
    assert second["high"] - second["low"] > 10 * second["gain"]
    assert first["low"] < second["value"] < first["high"]
    assert second["accepted"] is True


@pytest.mark.parametrize(("right", "kept"), [(220.0, True), (180.0, False)])
def test_more_accuracy_is_a_gain(make_stage: MakeStage, right: float, kept: bool) -> None:
    """Whatever the bits do: the metric decides."""
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 2.0, "right": right}], metric="accuracy")
    stage.study().play()
    second = journal(stage)[1]
    assert second["gain"] == pytest.approx((right - 200) / 500)
    assert second["accepted"] is kept


@pytest.mark.parametrize("target", [1.9, 2.0])
def test_the_target_ends_it(make_stage: MakeStage, target: float) -> None:
    stage = make_stage([{"bits": 2.1, "findings": KEEP_GOING}, {"bits": 1.9 - 1e-9, "findings": KEEP_GOING}],
                       target=target)  # fmt: skip
    study = stage.study()
    assert not study.target_met()
    assert study.play() == "target_met"
    assert study.target_met()
    assert len(stage.played) == 2


def test_a_target_of_accuracy_is_met_from_below(make_stage: MakeStage) -> None:
    reached = make_stage([{"bits": 2.0, "findings": KEEP_GOING}], metric="accuracy", target=0.4)  # 200 of 500 are right
    assert reached.study().play() == "target_met"


def test_a_target_of_accuracy_that_is_not_met(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0}], metric="accuracy", target=0.41)
    assert stage.study().play() == "nothing_left"


def test_the_number_of_rounds_ends_it(make_stage: MakeStage) -> None:
    stage = make_stage(
        [{"bits": 3.0 - 0.1 * n, "findings": KEEP_GOING, "seconds": 1.0} for n in range(9)], study={"max_rounds": 4}
    )
    assert stage.study().play() == "max_rounds"
    assert len(journal(stage)) == 4


def test_the_budget_ends_it_and_is_not_passed(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 3.0 - 0.1 * n, "findings": KEEP_GOING} for n in range(20)], budget=120.0)
    began = stage.now
    assert stage.study().play() == "budget_spent"
    assert 3 <= len(stage.played) < 20
    assert stage.now - began < 120.0
    slots = [played["seconds"] for played in stage.played[:3]]
    assert slots == sorted(slots)
    assert stage.now - began > 0.8 * 120.0


def test_nothing_left_ends_it(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": ("underfitting", "overfitting"), "seconds": 5.0},
                        {"bits": 3.0, "seconds": 5.0}, {"bits": 3.0, "seconds": 5.0}])  # fmt: skip
    assert stage.study().play() == "nothing_left"
    assert [line["diagnosis"] for line in journal(stage)] == ["first_plan", "underfitting", "overfitting"]


def test_a_change_of_the_same_best_is_tried_once(make_stage: MakeStage) -> None:
    """Two rounds that are not kept; the second must try something else, and then nothing is left."""
    stage = make_stage(
        [
            {"bits": 2.0, "findings": ("learning_rate_too_high", "instability"), "seconds": 5.0},
            {"bits": 3.0, "seconds": 5.0},
            {"bits": 3.0, "seconds": 5.0},
        ]
    )
    assert stage.study().play() == "nothing_left"
    keys = [line["key"] for line in journal(stage)]
    assert len(set(keys)) == len(keys)


def test_a_new_best_may_be_changed_in_a_way_that_was_tried_before(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 1.9, "findings": KEEP_GOING}, {"bits": 1.8}])
    stage.study().play()
    assert [line["diagnosis"] for line in journal(stage)] == ["first_plan", "underfitting", "underfitting"]
    steps = [played["recipe"].training.steps for played in stage.played]
    assert steps == sorted(steps)


def test_the_findings_of_a_round_that_was_not_kept_do_not_count(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 3.0, "findings": ("instability",)}])
    assert stage.study().play() == "nothing_left"
    assert len(stage.played) == 2


def test_a_round_goes_on_from_a_stable_checkpoint_or_begins_anew(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING, "stable": False}, {"bits": 1.9}])
    stage.study().play()
    assert stage.played[1]["start_from"] is None
    assert journal(stage)[1]["continues_from"] is None


def test_a_smaller_vocabulary_gets_its_own_tokenizer(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": ("tokenizer_misfit",)}, {"bits": 1.5}])
    study = stage.study()
    study.play()
    assert [played["vocab_size"] for played in stage.played] == [640, 320]
    assert stage.played[1]["start_from"] is None
    line = journal(stage)[1]
    assert line["change"]["tokenizer.vocab_size"] == [640, 320]
    assert line["accepted"] is True
    loaded = load_checkpoint(stage.run.root)
    assert loaded.tokenizer.vocab_size == loaded.model.config.vocab_size == 320


@pytest.mark.parametrize("metric", ["perplexity", "accuracy"])
def test_a_metric_per_token_compares_no_two_vocabularies(make_stage: MakeStage, metric: str) -> None:
    """Values per token of two tokenizers say nothing about each other, so that change is not made at all."""
    stage = make_stage([{"bits": 2.0, "findings": ("tokenizer_misfit", "underfitting")}, {"bits": 1.5}], metric=metric)
    stage.study().play()
    assert "tokenizer_misfit" not in [line["diagnosis"] for line in journal(stage)]


def test_what_the_recipe_fixes_no_round_changes(make_stage: MakeStage) -> None:
    rounds = [{"bits": 2.0, "findings": ("tokenizer_misfit", "underfitting")}, {"bits": 1.5}]
    stage = make_stage(rounds, study={"fixed": ["tokenizer.vocab_size"]})
    stage.study().play()
    assert [line["diagnosis"] for line in journal(stage)][:2] == ["first_plan", "underfitting"]


def test_a_shorter_round_than_it_takes_is_not_begun_anew(make_stage: MakeStage) -> None:
    """A fresh model must see about as many tokens as the best one did: here that would take 400 s, and 100 are left."""
    stage = make_stage([{"bits": 2.0, "findings": ("tokenizer_misfit",), "seconds": 500.0}], training={"steps": 4000})
    assert stage.study().play() == "budget_spent"
    assert len(stage.played) == 1


class Speech:
    """In place of `speak`: how much samples repeat themselves by penalty."""

    def __init__(self, by_penalty: dict[float, list[float]]) -> None:
        self.by_penalty = by_penalty

    def __call__(
        self, model: Any, tokenizer: Any, prompts: Any, recipe: Any
    ) -> tuple[list[dict[str, str]], list[float]]:
        penalty = recipe.decoding.repetition_penalty
        return [{"prompt": "a", "text": f"penalty {penalty}"}], self.by_penalty[penalty]


def test_decoding_is_mended_without_training(make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = Speech({1.0: [0.5, 0.6, 0.4, 0.5], 1.1: [0.2, 0.3, 0.1, 0.2], 1.2: [0.2, 0.3, 0.1, 0.2]})
    monkeypatch.setattr(study_file, "speak", spoken)
    stage = make_stage([{"bits": 2.0, "findings": ("repetition",)}])
    study = stage.study()
    assert study.play() == "nothing_left"
    first, second, third = journal(stage)
    assert len(stage.played) == 1
    assert (second["metric"], second["accepted"], second["steps"]) == ("repetition", True, 0)
    assert (second["before"], second["value"]) == (pytest.approx(0.5), pytest.approx(0.2))
    assert second["gain"] == pytest.approx(0.3)
    assert second["change"] == {"decoding.repetition_penalty": [1.0, 1.1]}
    assert (third["accepted"], third["change"]) == (False, {"decoding.repetition_penalty": [1.1, 1.2]})
    assert first["accepted"] is True
    provenance = load_checkpoint(stage.run.root).provenance
    assert (provenance["round"], provenance["decoding"]["repetition_penalty"]) == (1, 1.1)
    again = stage.study()
    assert again.best is not None
    assert again.best.recipe.decoding.repetition_penalty == 1.1
    assert again.play() == "nothing_left"
    assert len(journal(stage)) == 3


def test_training_goes_before_decoding(make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_file, "speak", Speech({1.0: [0.5, 0.5], 1.1: [0.5, 0.5]}))
    stage = make_stage([{"bits": 2.0, "findings": ("repetition", "underfitting")}, {"bits": 2.5}])
    stage.study().play()
    assert [line["diagnosis"] for line in journal(stage)] == ["first_plan", "underfitting", "repetition"]
    assert journal(stage)[2]["accepted"] is False


def test_a_decoding_that_was_mended_stays_so_in_later_rounds(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_file, "speak", Speech({1.0: [0.5, 0.6], 1.1: [0.1, 0.1], 1.2: [0.5, 0.5]}))
    stage = make_stage([{"bits": 2.0, "findings": ("repetition",)}, {"bits": 1.5}])
    study = stage.study()
    study.play()
    assert study.best is not None
    assert study.best.trial.recipe.decoding.repetition_penalty == 1.0
    later = study.best.recipe.changed({"model.dropout": 0.1})
    assert later.decoding.repetition_penalty == 1.1


@pytest.mark.parametrize("end", [Stopped, KeyboardInterrupt, TrainingError])
def test_a_run_that_ended_within_round_2_goes_on_in_round_2(make_stage: MakeStage, end: type[BaseException]) -> None:
    stage = make_stage(
        [{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 0.0, "raises": end}, {"bits": 1.5, "findings": ()}]
    )
    with pytest.raises(end):
        stage.study().play()
    assert [line["round"] for line in journal(stage)] == [1]
    left_behind = stage.run.round(2) / "checkpoints" / "step-000010"
    left_behind.mkdir(parents=True)
    study = stage.study()
    assert study.best is not None
    assert study.best.trial.round == 1
    assert study.play() == "nothing_left"
    assert [played["number"] for played in stage.played] == [1, 2, 2]
    assert [line["round"] for line in journal(stage)] == [1, 2]
    assert stage.played[2]["start_from"] == stage.played[1]["start_from"]
    assert journal(stage)[1]["accepted"] is True


def test_a_round_that_was_begun_for_another_change_is_cleared(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING}, {"bits": 1.5}])
    folder = stage.run.round(2)
    folder.mkdir(parents=True)
    (folder / "change.txt").write_text("1:something_else:{}", encoding="utf-8")
    (folder / "metrics.jsonl").write_text("{}", encoding="utf-8")
    (folder / "left.txt").write_text("over", encoding="utf-8")
    stage.study().play()
    assert not (folder / "left.txt").exists()
    assert journal(stage)[1]["accepted"] is True


def test_time_of_the_process_before_counts(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0, "findings": KEEP_GOING, "seconds": 50.0}, {"bits": 0.0, "raises": Stopped}],
                       budget=120.0)  # fmt: skip
    with pytest.raises(Stopped):
        stage.study().play()
    stage.now += 100_000  # the machine was off
    assert 50.0 <= stage.study().budget.spent <= 56.0


def test_a_budget_that_is_spent_before_the_first_round_still_gives_a_model(make_stage: MakeStage) -> None:
    """Reading the text took longer than the whole budget: one short round, then the end; never a crash."""
    stage = make_stage([{"bits": 3.0, "findings": KEEP_GOING, "seconds": 1.0}], budget=60.0)
    study = stage.study()
    stage.now += 90.0
    assert study.play() == "budget_spent"
    assert stage.played[0]["seconds"] > 0
    assert journal(stage)[0]["accepted"] is True


def test_a_finished_run_with_more_budget_goes_on(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 3.0 - 0.1 * n, "findings": KEEP_GOING} for n in range(30)], budget=60.0)
    assert stage.study().play() == "budget_spent"
    rounds = len(stage.played)
    stage.budget = 600.0
    assert stage.study().play() in ("budget_spent", "max_rounds")
    assert len(stage.played) > rounds
    assert [line["round"] for line in journal(stage)] == list(range(1, len(stage.played) + 1))


def test_checkpoints_that_nobody_needs_are_removed(make_stage: MakeStage) -> None:
    stage = make_stage([{"bits": 2.0}])
    numbered = stage.run.round(1) / "checkpoints" / "step-000010"
    numbered.mkdir(parents=True)
    (stage.run.round(1) / "change.txt").write_text("0:first_plan:{}", encoding="utf-8")
    stage.study().play()
    assert not numbered.exists()
    assert {path.name for path in numbered.parent.iterdir()} == {"best", "stable"}


def test_levers_are_pulled_first_and_judged_by_the_same_text(make_stage: MakeStage, small_corpus) -> None:
    source = small_corpus.text.facts.sources[0].source
    lever = "data.steps.clean.enabled"
    values = {"data": {"sources": (source,), "steps": ["clean"]}, "study": {"levers": {lever: [True, False]}}}
    stage = make_stage([{"bits": 2.0}, {"bits": 1.5, "findings": KEEP_GOING}, *[{"bits": 1.4}] * 9], **values)
    study = stage.study()
    study.play()
    _, second, third = journal(stage)[:3]
    assert (second["diagnosis"], second["change"][lever]) == ("lever", [True, False])
    assert second["gain"] == pytest.approx(0.5)
    assert (second["continues_from"], second["accepted"]) == (None, True)
    assert third["diagnosis"] != "lever"  # it was on in the first round
    assert lever not in third["change"]
    other = study.corpus_of(stage.played[1]["recipe"])
    for split in ("validation", "test"):
        assert list(other.text.texts(split)) == list(small_corpus.text.texts(split))
    assert list(other.text.texts("train")) == list(small_corpus.text.texts("train"))
    assert other.text.key != small_corpus.text.key
