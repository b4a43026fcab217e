"""The report's page of a task: labels, mistakes, examples, simple models in plain words, and names in two languages."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stepwell.evaluation import MEASURES
from stepwell.studies import WRITES_ON, best_words, use_commands
from stepwell.studies.report import render_report
from stepwell.studies.report.error_pictures import tagged
from stepwell.studies.report.figures import RATIOS
from stepwell.studies.report.names import LOWER_IS_BETTER, METRICS, TASKS
from stepwell.studies.report.words import WORDS, change_words
from stepwell.tasks import TASKS as KINDS


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": min(1.0, value + 0.1)}


def class_row(name: str, f1: float) -> dict[str, Any]:
    shares = {key: interval(f1) for key in ("precision", "recall", "f1")}
    return {"name": name, "true_count": 10, "chosen_count": 11, **shares}


def row(number: int, text: str, true: str, answer: str) -> dict[str, Any]:
    return {"number": number, "text": text, "true": true, "answer": answer, "probability": 0.9999,
            "values": {"loss": 3.2}}  # fmt: skip


ERRORS: dict[str, Any] = {
    "task": "classification", "metric": "accuracy", "num_examples": 20, "ranked_by": "loss",
    "classes": [class_row("财经", 0.9), class_row("股票", 0.5)],
    "confusion": {"labels": ["财经", "股票"], "counts": [[9, 1], [5, 5]]},
    "confused": [{"true": "股票", "chosen": "财经", "count": 5, "true_ratio": 0.5, "examples": ["大盘下跌"]}],
    "calibration": [{"low": 0.9, "high": 1.0, "count": 20, "confidence": 0.95, "accuracy": 0.7}],
    "slices": {"length": [{"key": [3, 9], "num_examples": 10, **interval(0.6)},
                          {"key": [10, 20], "num_examples": 10, **interval(0.8)}]},
    "worst": [row(3, "大盘下跌", "股票", "财经")], "drawn": [row(4, "央行降息", "财经", "财经")],
}  # fmt: skip


def task_run(
    root: Path,
    errors: Any = None,
    *,
    members: list[str] | None = None,
    baselines: dict[str, float] | None = None,
    value: float = 0.7,
    task: str = "classification",
    metric: str = "accuracy",
) -> Path:
    """A finished run of a task in two rounds, the second of which decides otherwise."""
    root.mkdir(parents=True)
    first = {"round": 1, "diagnosis": "first_plan", "reason": "plan", "metric": metric, "value": 0.6, "low": 0.55,
             "high": 0.65, "accepted": True, "seconds": 9.0, "change": {}, "samples": [], "findings": []}  # fmt: skip
    changed = {} if members is None else {"task.decision.members": [["model"], members]}
    second = first | {"round": 2, "diagnosis": "decision", "value": value, "before": 0.6, "change": changed}
    (root / "journal.jsonl").write_text("\n".join(map(json.dumps, (first, second))), encoding="utf-8")
    result = {
        "task": task, "metric": metric, "rounds": 2, "stopped_because": "budget_spent", "seconds": 60.0,
        "validation": {metric: {"value": value, "low": value - 0.02, "high": value + 0.02}}, "test": None,
        "best": {"round": 2}, "samples": [{"prompt": "大盘下跌", "text": "财经"}],
        "baselines": [{"name": name, metric: one} for name, one in (baselines or {}).items()],
    }  # fmt: skip
    (root / "result.json").write_text(json.dumps(result), encoding="utf-8")
    if errors is not None:
        (root / "errors.json").write_text(json.dumps(errors), encoding="utf-8")
    return root


def test_labels_stand_with_the_hardest_first(tmp_path: Path) -> None:
    page = render_report(task_run(tmp_path / "run", ERRORS))
    table = page[page.index('class="plain classes"') :]
    assert 0 < table.index("股票") < table.index("财经")
    assert "50.0 %" in table[: table.index("财经")]


def test_every_part_is_on_the_page(tmp_path: Path) -> None:
    page = html.unescape(render_report(task_run(tmp_path / "run", ERRORS)))
    for words in ("Right and wrong", "对与错", "What is taken for what", "混淆情况", "股票 taken for 财经",
                  "股票 被当作 财经", "Are its probabilities honest?", "概率是否可信", "3 to 9 characters",
                  "3 至 9 个字符", "Worst examples", "最差的样本", "大盘下跌", "央行降息", "> 99.9 %"):  # fmt: skip
        assert words in page, words
    assert re.search(r'class="hit h9">9<', page)
    assert re.search(r'class="miss h[1-9]">5<', page)
    assert 'class="wrong"><bdi>财经' in page
    assert 'class="right"><bdi>财经' in page
    assert 'id="samples"' not in page  # the examples stand in its place


def test_a_run_without_errors_shows_texts_and_answers(tmp_path: Path) -> None:
    page = render_report(task_run(tmp_path / "run"))
    assert 'id="errors"' not in page
    assert "<mark>大盘下跌</mark> → 财经" in page


def test_tagged_sentences_mark_their_spans() -> None:
    assert tagged(list("王先生去北京"), ["B-PER", "O", "O", "O", "B-LOC", "I-LOC"], "lenient") == (
        "<mark>王<small>PER</small></mark><span>先生去</span><mark>北京<small>LOC</small></mark>"
    )
    assert tagged(["Ann", "is", "in", "New", "York"], ["B-PER", "O", "O", "B-LOC", "I-LOC"], "lenient") == (
        "<mark>Ann<small>PER</small></mark><span> is in </span><mark>New York<small>LOC</small></mark>"
    )
    assert tagged(["a", "b"], ["??"], "lenient") == "<mark>a<small>??</small></mark><span> b</span>"
    assert tagged(["A", "t"], ["B-X", "I-X"], "lenient", ["", ""]) == "<mark>At<small>X</small></mark>"
    assert tagged([], [], "lenient") == ""
    assert tagged(["a", "<b>"], ["DET", "X"], "tokens").count("&lt;b&gt;") == 1


def test_tagging_shows_both_sides(tmp_path: Path) -> None:
    sentence = {"number": 0, "text": "王在京", "words": ["王", "在", "京"], "true": ["B-PER", "O", "O"],
                "answer": ["O", "O", "B-LOC"], "values": {"loss": 1.0}}  # fmt: skip
    errors = {"task": "tagging", "metric": "span_f1", "scheme": "lenient", "num_examples": 1, "worst": [sentence],
              "classes": [class_row("PER", 0.5)],
              "confused": [{"true": "PER", "chosen": "", "count": 1, "true_ratio": 1.0, "examples": []}]}  # fmt: skip
    page = render_report(task_run(tmp_path / "run", errors, task="tagging", metric="span_f1"))
    assert "<mark>王<small>PER</small></mark>" in page
    assert "<mark>京<small>LOC</small></mark>" in page
    assert "PER missed" in page
    assert "Type by type" in page


def test_texts_that_are_written_stand_with_their_references(tmp_path: Path) -> None:
    written = {"number": 0, "text": "猫坐着", "true": "a cat sits", "answer": "a dog", "values": {"chrf": 21.3}}
    errors = {"task": "translation", "metric": "bleu", "num_examples": 1, "ranked_by": "chrf", "worst": [written],
              "lengths": {"ratio": 0.5, "median": 0.5, "low": 0.5, "high": 0.5}}  # fmt: skip
    page = render_report(task_run(tmp_path / "run", errors, task="translation", metric="bleu", value=21.0))
    for words in ("猫坐着", "a cat sits", "a dog", "21.3", "Length of answers", "by chrF"):
        assert words in page


@pytest.mark.parametrize(
    "errors",
    [
        [], "text", 3, {}, {"classes": 3, "worst": 3}, {"confusion": {"labels": ["a"], "counts": [[1, 2]]}},
        {"confusion": {"labels": ["a", "b"], "counts": [[1], [2, 3]]}}, {"classes": [{"name": None, "true_count": 1}]},
        {"slices": {"length": [{"key": 3}], "x": None}, "calibration": [{"count": 0}, {}]},
        {"worst": [{"text": 3, "true": [1], "words": [2, 3], "values": {"loss": "x"}}], "lengths": {"ratio": None}},
        {"confused": [{"true": 3, "examples": "x"}], "drawn": [{"probability": "x"}]},
    ],
)  # fmt: skip
def test_a_damaged_file_costs_only_what_it_would_have_said(tmp_path: Path, errors: Any) -> None:
    assert "</html>" in render_report(task_run(tmp_path / "run", errors))


@pytest.mark.parametrize(
    ("members", "value", "wanted"),
    [
        (["linear"], 0.7, "A linear model over n-grams is the best of all here; predict uses it"),
        (["linear", "bag"], 0.72, "together are the best of all here; predict uses them"),
        (["model", "linear"], 0.75, "The best of all is the trained model and a linear model over n-grams together"),
        (["model", "linear"], 0.65, "A linear model over n-grams alone has the better accuracy"),
        (["model"], 0.8, "better than all of them, by more than chance"),
        (None, 0.71, "so near that it may be chance"),
        (None, 0.5, "A linear model over n-grams is better here than the trained model"),
    ],
)
def test_which_model_is_the_best_is_said(tmp_path: Path, members: list[str] | None, value: float, wanted: str) -> None:
    run = task_run(tmp_path / "run", members=members, baselines={"majority": 0.1, "linear": 0.7}, value=value)
    said = best_words(run)
    assert said is not None
    assert wanted.lower() in said.en.lower()
    assert "线性模型" in said.zh
    assert html.escape(said.en) in render_report(run)


def test_lower_is_better_turns_the_verdict(tmp_path: Path) -> None:
    baselines = {"kneser_ney_5": 2.0}
    run = task_run(tmp_path / "run", baselines=baselines, value=1.5, task="language_modeling", metric="bits_per_byte")
    said = best_words(run)
    assert said is not None
    assert "better than all of them" in said.en


def test_without_simple_models_nothing_is_said(tmp_path: Path) -> None:
    assert best_words(task_run(tmp_path / "run")) is None


@pytest.mark.parametrize("kind", MEASURES)
def test_every_metric_has_a_name_and_a_way_up(kind: str) -> None:
    for name, metric in MEASURES[kind].metrics.items():
        assert name in METRICS, name
        assert (metric.higher_is_better is False) == (name in LOWER_IS_BETTER), name
        if name in RATIOS:
            assert metric.unit.startswith(("share", "mean", "over all")), name


def test_every_task_has_a_name_and_commands() -> None:
    for kind in KINDS:
        assert kind in TASKS, kind
        commands = [command for _, command in use_commands(kind, "runs/a b")]
        assert all("'runs/a b'" in command for command in commands)
        assert any(command.startswith("stepwell evaluate") for command in commands)
        assert ("Once upon a time" in " ".join(commands)) == (kind in WRITES_ON)


def test_every_simple_model_has_a_name() -> None:
    from stepwell.baselines import TEXT_MODELS
    from stepwell.studies.report.names import BASELINES

    for name in (*TEXT_MODELS, "copy", "lead_1", "bm25", "base_model", "word_tagger", "perceptron"):
        assert name in BASELINES, name


def test_a_prompt_of_a_command_is_one_quoted_line() -> None:
    (_, command), *_ = use_commands("classification", "r", "it's\na 'title'; rm -rf /" + " long" * 50)
    assert "\n" not in command
    assert len(command) < 160
    import shlex

    assert shlex.split(command)[:3] == ["stepwell", "predict", "r"]


def test_changes_of_a_decision_are_words() -> None:
    (members,) = change_words({"task.decision.members": [["model"], ["model", "linear"]]})
    assert members.en.endswith("the trained model → the trained model and a linear model over n-grams")
    assert "训练的模型、n 元特征的线性模型" in members.zh
    (prior,) = change_words({"task.decision.prior": [[], [0.1] * 10]})
    assert (prior.en, prior.zh) == ("label priors none → 10 values", "标签先验 无 → 10 个值")


def test_no_wording_has_a_backtick_in_a_plain_sentence() -> None:
    assert not [name for name in WORDS if name.startswith(("best", "model", "baseline")) and "`" in WORDS[name][0]]
