"""How each result looks: a few lines within 80 columns for a person, one JSON object for a program."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from stepwell.cli import answers, measured, show
from stepwell.errors import DataError, UsageError
from stepwell.inference import Completion

EVIL = "[bold]句子 </b> \x1b[31m\u202e [/red] \\[x]"

METRICS = {
    "bits_per_byte": {"value": 1.8234, "low": 1.7, "high": 1.9},
    "perplexity": {"value": 31.25, "low": 30.0, "high": 32.0},
    "loss": {"value": 3.44, "low": None, "high": None},
    "accuracy": {"value": 0.4321, "low": 0.42, "high": 0.44},
}
SAMPLES = [{"prompt": f"Once {EVIL}", "text": f"upon a\n\n time {EVIL} " * 20}, {"prompt": "", "text": ""}]
RUN = {
    "task": "language_modeling", "metric": "bits_per_byte", "target": None, "target_met": None,
    "stopped_because": "budget_spent", "rounds": 2, "seconds": 299.1, "validation": METRICS, "test": None,
    "best": {"round": 2, "path": "best", "parameters": 1_000_000, "decoding": {}},
    "baselines": [{"name": "kneser_ney_5", "bits_per_byte": 2.1}], "samples": SAMPLES,
}  # fmt: skip
JOURNAL = [
    {"round": 1, "diagnosis": "first_plan", "reason": "the plan", "change": {"training.steps": [None, 400]},
     "metric": "bits_per_byte", "value": 2.3, "low": 2.2, "high": 2.4, "before": None, "accepted": True,
     "seconds": 70.0},
    {"round": 2, "diagnosis": "underfitting", "reason": EVIL, "change": {"training.steps": [400, 900]},
     "metric": "bits_per_byte", "value": 1.8234, "low": 1.7, "high": 1.9, "before": 2.3, "accepted": True,
     "seconds": 150.0, "tokens_per_second": 9_876.5, "mfu_ratio": None, "peak_memory_bytes": None},
]  # fmt: skip
PLAN = {
    "task": "language_modeling", "metric": "bits_per_byte",
    "data": {"sources": [], "documents": 9332, "bytes": 2_240_556, "languages": {"en": 0.93, "zh": 0.06, "de": 0.01},
             "splits": {"train": {"documents": 7931, "bytes": 1_903_112, "tokens": 531_002}}},
    "tokenizer": {"vocab_size": 2048, "bytes_per_token": {"train": 3.58, "validation": 3.57}},
    "model": {"num_layers": 1, "d_model": 192, "vocab_size": 2048, "parameters": 3_212_800},
    "shape": "decoder of 1 layer, 192 wide, 3.2 M parameters",
    "reason": "derived: depth 1: least predicted loss in 4 m 10 s of training",
    "training": {"precision": "float32"}, "tokens_per_second": 11_200, "memory_bytes": 900_000_000, "epochs": 4.2,
    "rounds": [{"round": 1, "seconds": 50.0, "steps": 400}, {"round": 2, "seconds": 80.0, "steps": 640}],
    "seconds": 300.0, "out": "runs/novel",
}  # fmt: skip
TRAIN = {
    "task": "language_modeling", "metric": "accuracy", "value": 0.4321, "low": 0.42, "high": 0.44, "train_value": 1.9,
    "steps": 20, "tokens": 40_960, "parameters": 1000, "seconds": 65.0, "tokens_per_second": 12_345.6,
    "mfu_ratio": 0.412, "peak_memory_bytes": 1_234_000_000, "checkpoint": "rounds/01/checkpoints/best",
    "samples": SAMPLES, "out": "runs/novel",
}  # fmt: skip
SCORE = {
    "tokens": [{"id": 7, "token": " the", "logprob": -0.5}, {"id": 8, "token": "\n", "logprob": -25.0},
               {"id": 9, "token": EVIL, "logprob": -1.0}, {"id": 10, "token": "\\xe5", "logprob": -2.0}],
    "logprob": -26.5, "perplexity": 9.4, "bits_per_byte": 2.2,
}  # fmt: skip
EVALUATION = {"task": "language_modeling", "num_examples": 1234, "num_tokens": 56789, "metrics": METRICS}
COMPARISON = {
    "task": "language_modeling", "scoring": "causal", "num_examples": 99,
    "metrics": {
        "bits_per_byte": {"first": {"value": 1.8234, "low": 1.7, "high": 1.9},
                          "second": {"value": 2.0, "low": 1.9, "high": 2.1},
                          "difference": {"value": -0.1766, "low": -0.2, "high": -0.15}, "better": "first"},
        "accuracy": {"first": {"value": 0.5, "low": None, "high": None},
                     "second": {"value": 0.5, "low": None, "high": None},
                     "difference": {"value": 0.0, "low": None, "high": None}, "better": None},
    },
    "examples": {"first": [{"text": "The old teacher", "first": 1.0, "second": 2.5}], "second": []},
}  # fmt: skip
MACHINE = {
    "cpu": "A processor of many words @ 2.80GHz", "cores": 2, "memory_bytes": 8_323_000_000, "device": "cpu",
    "gpu": None, "vnni": True, "amx": False, "bf16": False, "gflops": {"float32": 92.4, "bfloat16": 41.0},
    "precision": "float32", "threads": 2, "available_memory_bytes": 6_000_000_000,
}  # fmt: skip

RESULTS: dict[str, tuple[Callable[..., None], dict[str, Any], list[str]]] = {
    "run": (show.run_result, RUN, ["1.823", "bits per byte", "2.100", "Kneser-Ney", "best", "report.html", "predict",
                                  "9,876 tokens/s"]),
    "plan": (show.plan_result, PLAN, ["2.24 MB", "9,332 documents", "en 93%", "531,002", "11,200 tokens/s", "round 2",
                                      "least predicted loss", "5 m 00 s", "3.2 M"]),
    "train": (show.train_result, TRAIN, ["43.2", "20 steps", "40,960 tokens", "1 m 05 s", "checkpoints/best",
                                       "12,346 tokens/s", "41% of the machine's rate", "1.2 GB"]),
    "score": (answers.score_result, SCORE, [" the", "-0.500", "60.65%", "\\n", "-26.50 nats", "9.40", "2.200"]),
    "compare": (measured.comparison, COMPARISON, ["1.8234", "2.0000", "-0.1766 (-0.2000 to -0.1500)", "first",
                "may be chance", "one document", "the first is better by most in", "The old teacher"]),
    "evaluate": (measured.evaluation, EVALUATION, ["1.8234", "1.7000 to 1.9000", "one document", "1,234 documents"]),
    "doctor": (show.machine, MACHINE, ["A processor", "2 cores", "8.3 GB", "none", "vnni yes", "92 GFLOP/s",
                                         "2 threads"]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def prepared(tmp_path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """A result whose run is there to be read."""
    lines = "".join(json.dumps(line) + "\n" for line in JOURNAL)
    (tmp_path / "journal.jsonl").write_text(lines, encoding="utf-8")
    return {**result, "out": str(tmp_path)}


@pytest.mark.parametrize("verb", RESULTS)
def test_for_a_person(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, result, words = RESULTS[verb]
    shown(prepared(tmp_path, result), json=False)
    out, err = capsys.readouterr()
    assert err == ""
    for word in words:
        assert word in out, out
    for line in out.splitlines():
        assert cell_len(line) <= 80 or str(tmp_path) in line, line  # paths and commands stay whole, to be copied
    assert not {"\x1b", "\u202e"} & set(out)


@pytest.mark.parametrize("verb", RESULTS)
def test_for_a_program(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, result, _ = RESULTS[verb]
    shown(prepared(tmp_path, result), json=True)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert json.loads(out) == prepared(tmp_path, result)


def test_what_is_not_finite_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    measured.evaluation(
        {**EVALUATION, "metrics": {"loss": {"value": math.nan, "low": math.inf, "high": 1.0}}}, json=True
    )
    assert json.loads(capsys.readouterr().out)["metrics"]["loss"] == {"value": None, "low": None, "high": 1.0}


def completion(text: str, **fields: Any) -> Completion:
    whole = {"text": text, "finish_reason": "stop", "prompt_tokens": 2, "token_ids": [1, 2], "logprobs": [-0.5, -1.0]}
    return Completion(**whole | fields)


def test_completions(capsys: pytest.CaptureFixture[str]) -> None:
    done = [[completion(" upon"), completion(" [bold]not markup[/]")], [completion("时间"), completion("\u2028")]]
    answers.completions(["Once", "很久"], done, json=True)
    listed = json.loads(capsys.readouterr().out)["completions"]
    assert [(one["prompt"], one["index"], one["text"]) for one in listed] == [
        ("Once", 0, " upon"), ("Once", 1, " [bold]not markup[/]"), ("很久", 0, "时间"), ("很久", 1, "\u2028")
    ]  # fmt: skip
    assert listed[0]["finish_reason"] == "stop"
    assert listed[0]["token_ids"] == [1, 2]
    answers.completions(["Once", "很久"], done, json=False)
    out = capsys.readouterr().out
    for line in ("Once upon", "Once [bold]not markup[/]", "很久时间"):
        assert f"{line}\n" in out


def test_the_place_of_the_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show.report_path(tmp_path / "报告.html", json=True)
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "报告.html")}
    show.report_path(tmp_path / "报告.html", json=False)
    assert capsys.readouterr().out == f"{tmp_path / '报告.html'}\n"


def test_an_error_says_what_got_wanted_and_do_with_paths_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a/very/long/path" * 8
    show.error(DataError(f"{path}: {EVIL}", got="[red]3[/]", wanted="4", do=f"stepwell run --out {path}"))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == ["stepwell:", "got:", "wanted:", "do:"]
    assert path in err.splitlines()[0]
    assert f"stepwell run --out {path}" in err.splitlines()[3]
    assert "[red]3[/]" in err
    assert "\x1b" not in err


def test_prompts_of_a_file(tmp_path: Path) -> None:
    text = tmp_path / "prompts.txt"
    text.write_text("Once upon\n\n  很久很久以前  \n", encoding="utf-8")
    assert [prompt.strip() for prompt in answers.read_prompts(text)] == ["Once upon", "很久很久以前"]
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "a\\nb", "id": 1}\n\n{"prompt": "c\u2028d"}\n', encoding="utf-8")
    assert answers.read_prompts(lines) == ["a\nb", "c\u2028d"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.txt", None), ("empty.txt", b""), ("blank.txt", b"\n \n"), ("bad.txt", b"\xff\xfe"), ("bad.jsonl", b"{"),
     ("list.jsonl", b"[1]"), ("text.jsonl", b'"a"'), ("null.jsonl", b'{"prompt": null}'),
     ("number.jsonl", b'{"prompt": 3}')],
)  # fmt: skip
def test_a_file_without_prompts_is_bad_usage(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
        answers.read_prompts(tmp_path / name)


LABELLED = {
    "task": "classification", "metric": "accuracy", "target": None, "target_met": None, "scoring": "masked",
    "stopped_because": "budget_spent", "rounds": 1, "seconds": 60.0,
    "validation": {"accuracy": {"value": 0.8486, "low": 0.81, "high": 0.87}}, "test": None,
    "best": {"round": 1, "path": "best", "parameters": 1000, "decoding": {}},
    "baselines": [{"name": "majority", "accuracy": 0.1}, {"name": "linear", "accuracy": 0.84}],
    "samples": [{"prompt": "it's 大盘下跌\x1b[31m", "text": "股票"}, {"prompt": "央行降息", "text": "财经"}],
}  # fmt: skip


def labelled_run(root: Path) -> dict[str, Any]:
    record = {"round": 1, "diagnosis": "first_plan", "metric": "accuracy", "value": 0.8486, "accepted": True,
              "change": {"task.decision.members": [["model"], ["model", "linear"]]}, "seconds": 9.0}  # fmt: skip
    (root / "journal.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    (root / "result.json").write_text(json.dumps(LABELLED), encoding="utf-8")
    return LABELLED | {"out": str(root)}


def test_the_end_of_a_run_fits_its_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show.run_result(labelled_run(tmp_path), json=False)
    out, _ = capsys.readouterr()
    for words in ("央行降息 → 财经", "to beat    84.0 % accuracy, a linear model over n-grams",
                  "the trained model and a linear model over n-grams together"):  # fmt: skip
        assert words in out, out
    assert "\x1b[31m" not in out
    for other in ("Once upon a time", "--text YOUR_FILES", "stepwell score", "told from both sides"):
        assert other not in out
    commands = [shlex.split(line) for line in out.splitlines() if line.startswith("  stepwell predict")]
    assert commands[0][:3] == ["stepwell", "predict", str(tmp_path)]
    assert commands[0][4].startswith("it's 大盘下跌")


ERRORS: dict[str, Any] = {
    "task": "classification",
    "classes": [
        {"name": name, "true_count": count, "chosen_count": 3,
         **{key: {"value": value, "low": None, "high": None} for key in ("precision", "recall", "f1")}}
        for name, count, value in ((f"财经{EVIL}", 9, 0.9), ("股票", 4, 0.5), ("nothing", 0, 0.0))
    ],
    "confused": [{"true": "股票", "chosen": "财经", "count": 1}, {"true": "LOC", "chosen": "", "count": 2},
                 {"true": "", "chosen": "PER", "count": 1}],
}  # fmt: skip
ERRORS["classes"][2]["chosen_count"] = 0


def test_evaluate_shows_labels_the_hardest_first(capsys: pytest.CaptureFixture[str]) -> None:
    result = EVALUATION | {"task": "classification", "scoring": "masked", "errors": ERRORS}
    measured.evaluation(result, json=False)
    out, _ = capsys.readouterr()
    assert 0 < out.index("股票") < out.index("财经")
    assert "nothing" not in out
    assert "told from both sides" not in out
    for words in ("1,234 examples", "1 time 股票 taken for 财经", "2 times LOC missed", "1 time PER made up", "50.0%"):
        assert words in out, out
    assert "\x1b[31m" not in out
    measured.evaluation(result, json=True)
    assert json.loads(capsys.readouterr().out)["errors"] == ERRORS


def test_compare_names_the_unit_of_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    measured.comparison(COMPARISON | {"task": "classification"}, json=False)
    out, _ = capsys.readouterr()
    assert "1.00 and 2.50 loss: The old teacher" in out
    assert "99 examples" in out
    assert "bits per byte:" not in out


def test_rows_go_into_a_new_file_that_is_there_before_they_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    answers.write_rows(path, lambda: [{"text": "a", "label": "好"}], json=True)
    assert json.loads(capsys.readouterr().out) == {"out": str(path), "rows": 1}
    assert path.read_text(encoding="utf-8") == '{"text": "a", "label": "好"}\n'
    with pytest.raises(UsageError, match="cannot be written"):
        answers.write_rows(path, lambda: pytest.fail("asked in vain"), json=True)

    def broken() -> list[dict[str, str]]:
        raise UsageError("no answers")

    with pytest.raises(UsageError, match="no answers"):
        answers.write_rows(tmp_path / "other.jsonl", broken, json=True)
    assert not (tmp_path / "other.jsonl").exists()
