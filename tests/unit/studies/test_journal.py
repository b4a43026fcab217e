"""The journal: lines in order, and what the loop asks of them after a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepwell.evaluation import Interval
from stepwell.recipes import Recipe
from stepwell.studies.diagnosis import Finding
from stepwell.studies.journal import Journal, begin_line, describe, differences, gain_fields

MakeRecipe = Callable[..., Recipe]


def line(number: int, accepted: bool, steps: int = 100, **fields: Any) -> dict[str, Any]:
    whole = {"round": number, "accepted": accepted, "steps": steps, "change": {}, "findings": [],
             "judging_seconds": 1.0 + number}  # fmt: skip
    return whole | fields


def test_lines_are_on_disk_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert Journal(path).lines == []
    Journal(path).add(line(1, True, reason="为什么\u2028 \U0001f409"))
    Journal(path).add(line(2, False))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"round": 3, "acc')  # killed here
    again = Journal(path)
    assert [one["round"] for one in again.lines] == [1, 2]
    assert again.lines[0]["reason"] == "为什么\u2028 \U0001f409"
    again.add(line(3, True))
    assert [one["round"] for one in Journal(path).lines] == [1, 2, 3]


def test_the_best_round_is_the_last_one_that_trained_and_was_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert (journal.best(), journal.trained(), journal.findings(), journal.prediction_changes()) == (None, 0, [], {})
    finding = Finding("underfitting", {"fall": 0.1}, "still falling")
    journal.add(line(1, True, findings=[{"name": "instability", "evidence": {}, "words": ""}]))
    journal.add(line(2, True, findings=[finding.as_dict()]))
    journal.add(line(3, False))
    journal.add(line(4, True, steps=0, change={"decoding.repetition_penalty": [1.0, 1.1]}))
    journal.add(line(5, False, steps=0, change={"decoding.repetition_penalty": [1.1, 1.2]}))
    best = journal.best()
    assert best is not None
    assert best["round"] == 2
    assert journal.findings() == [finding]
    assert journal.trained() == 3
    assert journal.prediction_changes() == {"decoding.repetition_penalty": 1.1}


def test_a_new_best_round_forgets_the_decoding_of_the_one_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add(line(1, True))
    journal.add(line(2, True, steps=0, change={"decoding.repetition_penalty": [1.0, 1.1]}))
    journal.add(line(3, True))
    assert journal.prediction_changes() == {}


def test_judging_takes_as_long_as_it_took_at_most(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    guess = journal.judging_seconds()
    assert guess > 0
    journal.add(line(1, True))
    journal.add(line(2, False))
    journal.add(line(3, True, steps=0, judging_seconds=99.0))
    assert journal.judging_seconds() == 3.0


def test_differences_name_each_lever_with_before_and_after(make_recipe: MakeRecipe) -> None:
    before = make_recipe()
    after = before.changed({"model.dropout": 0.1, "training.steps": 900, "training.evaluate_every_steps": 7})
    changed = differences(before, after)
    assert changed == {"model.dropout": [0.0, 0.1], "training.steps": [400, 900]}
    for word in ("dropout", "0.1", "steps", "400", "900"):
        assert word in describe(changed)
    assert differences(before, before) == {}


def test_a_first_plan_sets_everything(make_recipe: MakeRecipe) -> None:
    changed = differences(None, make_recipe())
    assert changed["training.steps"] == [None, 400]
    assert changed["model.num_layers"] == [None, 2]
    assert describe(changed).replace("_", " ") == "first plan"


def test_a_line_begins_with_what_is_known_before_the_round() -> None:
    finding = Finding("underfitting", {"fall": 0.123456}, "still falling")
    begun = begin_line(2, finding, {"training.steps": [1, 2]}, key="k", metric="bits_per_byte", before=2.0)
    assert begun["diagnosis"] == "underfitting"
    assert begun["evidence"] == {"fall": 0.1235}
    assert begun["reason"] == "still falling"
    assert (begun["round"], begun["metric"], begun["before"]) == (2, "bits_per_byte", 2.0)
    assert gain_fields(None) == {"gain": None, "gain_low": None, "gain_high": None}
    assert gain_fields(Interval(0.1, 0.05, 0.15)) == {"gain": 0.1, "gain_low": 0.05, "gain_high": 0.15}
