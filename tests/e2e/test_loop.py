"""The closed loop on small text: rounds that improve, files as promised, stopped within a round and gone on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from stepwell import api
from stepwell.checkpoints import load_checkpoint
from stepwell.data import TokenSplit
from stepwell.errors import RunError, Stopped
from stepwell.evaluation import bootstrap, evaluate_language_modeling
from stepwell.progress import Event, RoundDone, RoundStarted, RunStarted
from stepwell.recipes import begin_draft

pytestmark = pytest.mark.slow

Command = Callable[..., Any]

SMALL = ["tokenizer.vocab_size=400", "model.num_layers=1", "model.d_model=48", "model.num_heads=3",
         "model.num_kv_heads=1", "model.head_dim=16", "model.d_ff=96", "model.max_seq_len=64",
         "study.sample_tokens=20"]  # fmt: skip


@dataclass
class Finished:
    """A run of two rounds that was stopped within the second and went on."""

    text: Path
    out: Path
    result: dict[str, Any]
    before: list[Event]
    after: list[Event]

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / name).read_text(encoding="utf-8").splitlines()]

    def read(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.out / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_text: Callable[..., str]) -> Finished:
    root = tmp_path_factory.mktemp("loop")
    text, out = root / "novel.txt", root / "run"
    prose = "\n\n".join(topics[name] for name in sorted(topics))  # made-up sentences are learned in a few seconds
    text.write_text(prose[:80_000] + "\n\n" + small_text("zh", 20_000), encoding="utf-8")
    before: list[Event] = []
    after: list[Event] = []
    calls_in_round_2 = 0

    def stop_requested() -> bool:
        nonlocal calls_in_round_2
        calls_in_round_2 += sum(isinstance(event, RoundStarted) for event in before) == 2
        return calls_in_round_2 > 5

    said: dict[str, Any] = {"text": text, "budget": "70s", "out": out, "set": [*SMALL, "study.max_rounds=2"]}
    with pytest.raises(Stopped, match="run the same command again"):
        api.run(**said, watch=before.append, stop_requested=stop_requested)
    result = api.run(**said, watch=after.append)
    return Finished(text, out, result, before, after)


def test_it_stopped_in_round_2_and_went_on_there(finished: Finished) -> None:
    rounds = [event.round for event in finished.before if isinstance(event, RoundStarted)]
    assert rounds == [1, 2]
    assert [event.record["round"] for event in finished.before if isinstance(event, RoundDone)] == [1]
    (again,) = [event for event in finished.after if isinstance(event, RunStarted)]
    assert again.resumed
    assert again.budget_seconds is not None
    assert again.budget_seconds < 70  # what the first process spent is spent
    assert [event.round for event in finished.after if isinstance(event, RoundStarted)] == [2]
    events = [line["event"] for line in finished.lines("rounds/02/metrics.jsonl") if line["kind"] == "event"]
    assert "resumed" in events
    steps = [line["step"] for line in finished.lines("rounds/02/metrics.jsonl") if line["kind"] == "step"]
    assert steps == list(range(steps[0], steps[-1] + 1))


def test_the_rounds_improve(finished: Finished) -> None:
    first, second = finished.lines("journal.jsonl")
    assert second["value"] < first["value"]
    assert (first["accepted"], second["accepted"]) == (True, True)
    assert second["gain_low"] > 0
    assert finished.result["validation"]["bits_per_byte"]["value"] == pytest.approx(second["value"], rel=1e-3)
    assert second["before"] == first["value"]
    assert second["diagnosis"] in {finding["name"] for finding in first["findings"]}


def test_the_journal_is_as_the_issue_says(finished: Finished) -> None:
    wanted = {"round", "diagnosis", "evidence", "change", "metric", "value", "low", "high", "accepted", "seconds",
              "reason", "continues_from", "before", "gain", "gain_low", "gain_high", "steps", "tokens", "parameters",
              "train_value", "samples", "findings"}  # fmt: skip
    for number, line in enumerate(finished.lines("journal.jsonl"), start=1):
        assert wanted <= line.keys()
        assert line["round"] == number
        assert line["metric"] == "bits_per_byte"
        assert line["low"] < line["value"] < line["high"]
        assert len(line["samples"]) == 3
        assert all(sample.keys() == {"prompt", "text"} and sample["prompt"] for sample in line["samples"])
        assert all(finding.keys() == {"name", "evidence", "words"} for finding in line["findings"])
        assert all(isinstance(pair, list) and len(pair) == 2 for pair in line["change"].values())


def test_the_result_is_as_the_issue_says(finished: Finished) -> None:
    result = finished.read("result.json")
    assert json.loads(json.dumps(finished.result)) == {**result, "out": str(finished.out)}
    wanted = {"task", "metric", "target", "target_met", "stopped_because", "rounds", "seconds", "validation", "test",
              "best", "baselines", "samples", "scoring"}  # fmt: skip
    assert wanted <= result.keys()
    assert (result["task"], result["metric"], result["rounds"]) == ("language_modeling", "bits_per_byte", 2)
    assert (result["target"], result["target_met"], result["stopped_because"]) == (None, None, "max_rounds")
    assert 0 < result["seconds"] < 70 + 15
    for split in ("validation", "test"):
        for name in ("bits_per_byte", "perplexity", "accuracy"):
            interval = result[split][name]
            assert interval["low"] < interval["value"] < interval["high"]
    assert result["best"]["round"] == 2
    assert (finished.out / result["best"]["path"] / "model.safetensors").exists()
    assert result["baselines"][0]["name"] == "kneser_ney_5"
    assert result["samples"] == finished.lines("journal.jsonl")[1]["samples"]


def test_the_facts_say_what_was_found(finished: Finished) -> None:
    facts = finished.read("facts.json")
    assert facts["data"]["splits"]["train"].keys() >= {"documents", "bytes", "tokens"}
    assert set(facts["data"]["languages"]) >= {"en", "zh"}
    assert facts["tokenizer"]["vocab_size"] == 400
    assert facts["tokenizer"]["bytes_per_token"]["train"] > 1
    assert {"cpu", "cores", "gpu", "precision", "gflops"} <= facts["machine"].keys()
    assert {"stepwell", "python", "torch", "platform"} <= facts["environment"].keys()
    assert facts["plan"]["tokens_per_second"] > 0


def test_the_metrics_of_each_round(finished: Finished) -> None:
    for name, line in zip(("01", "02"), finished.lines("journal.jsonl"), strict=True):
        lines = finished.lines(f"rounds/{name}/metrics.jsonl")
        steps = [one for one in lines if one["kind"] == "step"]
        assert {"step", "loss", "learning_rate", "grad_norm", "tokens", "seconds", "tokens_per_second"} <= steps[
            0
        ].keys()
        assert steps[-1]["step"] == line["steps"]
        assert steps[-1]["tokens"] == line["tokens"]
        measured = [one for one in lines if one["kind"] == "evaluation"]
        assert len(measured) >= 3
        assert measured[-1]["bits_per_byte"] < measured[0]["bits_per_byte"]


def test_the_resolved_recipe_stands_and_says_where_values_came_from(finished: Finished) -> None:
    recipe = begin_draft(finished.out / "recipe.yaml").finish()
    text = (finished.out / "recipe.yaml").read_text(encoding="utf-8")
    assert recipe.model.num_layers == 1
    assert "num_layers: 1  # --set" in text
    assert "budget: 70s  # flag" in text


def test_the_best_model_is_the_one_that_was_measured(finished: Finished) -> None:
    """Read back from disk and scored on the tokens on disk, it gives the journal's value."""
    import numpy as np

    loaded = load_checkpoint(finished.out)
    (tokens,) = (finished.out / "data").glob("tokens-*")
    ids = np.fromfile(tokens / "validation.bin", dtype=np.uint16)
    offsets, num_bytes = (np.load(tokens / f"validation.{name}.npy") for name in ("offsets", "bytes"))
    scores = evaluate_language_modeling(loaded.model, TokenSplit(ids, offsets, num_bytes))
    value = bootstrap(scores, "bits_per_byte").value
    assert value == pytest.approx(finished.lines("journal.jsonl")[1]["value"], rel=0.01)


def test_the_report_shows_both_rounds(finished: Finished, stepwell: Command) -> None:
    page = finished.out / "report.html"
    text = page.read_text(encoding="utf-8")
    for line in finished.lines("journal.jsonl"):
        assert f"{line['value']:.3f}" in text
    assert 'src="http' not in text
    page.unlink()
    ran = stepwell("report", finished.out, "--json")
    assert json.loads(ran.out) == {"report": str(page)}
    assert page.exists()


def test_the_table_for_a_person_and_the_model_in_use(finished: Finished, stepwell: Command) -> None:
    done = stepwell("run", "--out", finished.out)  # over already: the same result, at once
    assert done.code == 0
    assert "kept" in done.out
    assert "best" in done.out
    assert "report.html" in done.out
    assert finished.read("result.json")["rounds"] == 2
    spoken = stepwell("predict", finished.out, "--prompt", "The miller", "--max-tokens", 5, "--seed", 0)
    assert spoken.out.startswith("The miller")


def test_no_checkpoint_is_left_that_nobody_needs(finished: Finished) -> None:
    for number in ("01", "02"):
        names = {path.name for path in (finished.out / "rounds" / number / "checkpoints").iterdir()}
        assert names <= {"best", "stable"}
    assert not [path for path in finished.out.rglob("*") if "stepwell-draft" in path.name]


def test_another_request_is_refused_there(finished: Finished) -> None:
    with pytest.raises(RunError, match="holds another run"):
        api.run(text=finished.text, budget="70s", out=finished.out, set=["seed=5"])


def test_a_short_budget_holds_and_a_target_ends_it(
    stepwell: Command, tmp_path: Path, small_text: Callable[..., str]
) -> None:
    (tmp_path / "novel.txt").write_text(small_text("zh", 80_000), encoding="utf-8")
    words = ["run", "--text", tmp_path / "novel.txt", "--budget", "30s", "--out", tmp_path / "out", "--json"]
    ran = stepwell(*words, "--target", 7.9, "--set", *SMALL)
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert ran.out.count("\n") == 1
    assert (result["stopped_because"], result["target_met"], result["rounds"]) == ("target_met", True, 1)
    assert result["seconds"] < 30 + 15
    assert "round 1" in ran.err
    later = stepwell("run", "--out", tmp_path / "out", "--target", 0.001, "--json")  # another target: it goes on
    assert later.code == 0, later.err
    again = json.loads(later.out)
    assert again["target_met"] is False
    assert again["stopped_because"] in {"budget_spent", "nothing_left"}
    assert again["seconds"] < 30 + 15


def test_a_run_that_ended_while_it_was_planned_is_planned_again(
    tmp_path: Path, small_text: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe in the directory means that the plan is whole; half a plan must not be gone on with."""

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "novel.txt").write_text(small_text("en", 60_000), encoding="utf-8")
    monkeypatch.setattr("stepwell.studies.sessions.measure_baselines", ended)
    with pytest.raises(KeyboardInterrupt):
        api.run(text=tmp_path / "novel.txt", budget="60s", out=tmp_path / "out", set=SMALL)
    assert not (tmp_path / "out" / "recipe.yaml").exists()
    assert not (tmp_path / "out" / "journal.jsonl").exists()
    assert (tmp_path / "out" / "run.json").exists()


def test_a_plan_is_what_a_run_would_do(stepwell: Command, tmp_path: Path, small_text: Callable[..., str]) -> None:
    (tmp_path / "novel.txt").write_text(small_text("mixed", 80_000), encoding="utf-8")
    words = ["plan", "--text", tmp_path / "novel.txt", "--budget", "5m", "--out", tmp_path / "out", "--set", *SMALL]
    ran = stepwell(*words, "--json")
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)
    wanted = {"task", "metric", "data", "tokenizer", "machine", "model", "reason", "training", "tokens_per_second",
              "memory_bytes", "rounds", "seconds"}  # fmt: skip
    assert wanted <= plan.keys()
    assert plan["model"]["num_layers"] == 1
    assert plan["data"]["splits"]["train"]["tokens"] > 0
    assert plan["tokens_per_second"] > 0
    seconds = [planned["seconds"] for planned in plan["rounds"]]
    steps = [planned["steps"] for planned in plan["rounds"]]
    assert len(seconds) >= 3
    assert seconds == sorted(seconds)
    assert steps == sorted(steps)
    assert 0.6 * 300 < sum(seconds) < 300
    assert math.isclose(plan["seconds"], 300)
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"lock", "data", "tokenizers"}
    shown = stepwell(*words)
    assert shown.code == 0
    assert "round 3" in shown.out
    assert "layer" in shown.out
