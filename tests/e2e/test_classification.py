"""Labels from a table to answers: a small rule is learned in a run that is stopped, goes on, and keeps its decision."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.api.using import task_of
from stepwell.checkpoints import load_checkpoint
from stepwell.errors import DataError, Stopped
from stepwell.progress import Event, RoundDone, RoundStarted
from stepwell.tasks import ClassificationConfig

pytestmark = pytest.mark.slow

SMALL = ["model.num_layers=1", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=2", "model.head_dim=16",
         "model.d_ff=64", "model.max_seq_len=64", "study.resamples=200", "study.max_rounds=3",
         "data.validation_ratio=0.2"]  # fmt: skip
WORDS = {
    "en": {
        "sport": ["goal", "match", "coach", "league", "player"],
        "money": ["stock", "bank", "market", "price", "fund"],
        "show": ["song", "film", "stage", "actor", "singer"],
    },
    "zh": {
        "体育": ["进球", "比赛", "教练", "联赛", "球员"],
        "财经": ["股票", "银行", "市场", "价格", "基金"],
        "娱乐": ["歌曲", "电影", "舞台", "演员", "歌手"],
    },
}
FILLER = {
    "en": ["the", "a", "of", "today", "again", "with", "under", "new", "old", "first", "last", "week", "river", "town"],
    "zh": ["今天", "我们", "的", "再次", "和", "了", "新", "旧", "本周", "去年", "北方", "南方", "小镇", "河边"],
}
NOISE = 0.01
"""Share of labels that are drawn. Training smooths them, so a model of so clean a set is less sure than right."""


def row(language: str, rng: random.Random) -> dict[str, str]:
    label = rng.choice(sorted(WORDS[language]))
    words = [*rng.sample(WORDS[language][label], 2), *rng.sample(FILLER[language], 6)]
    rng.shuffle(words)
    said = rng.choice(sorted(WORDS[language])) if rng.random() < NOISE else label
    return {"text": (" " if language == "en" else "").join(words), "label": said}


def write(path: Path, language: str, count: int, seed: int) -> Path:
    rng = random.Random(seed)
    rows = [row(language, rng) for _ in range(count)]
    path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in rows), encoding="utf-8")
    return path


@dataclass
class Finished:
    """A run that was stopped in the round after its decision, and went on."""

    language: str
    out: Path
    held: Path
    result: dict[str, Any] = field(default_factory=dict)
    before: list[Event] = field(default_factory=list)
    after: list[Event] = field(default_factory=list)
    decision: Any = None

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


def decision_of(run: Path) -> Any:
    task = task_of(load_checkpoint(run).provenance)
    assert isinstance(task, ClassificationConfig)
    return task.decision


def is_decision(event: Event) -> bool:
    return isinstance(event, RoundDone) and event.record["diagnosis"] == "decision"


@pytest.fixture(scope="module", params=["en", "zh"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    language = request.param
    root = tmp_path_factory.mktemp(f"labels-{language}")
    data = write(root / "rows.jsonl", language, 1_500, 1)
    run = Finished(language, root / "run", write(root / "held.jsonl", language, 300, 99))
    vocabulary = ["tokenizer.vocab_size=400"] if language == "en" else []
    said: dict[str, Any] = {"data": data, "task": "classification", "budget": "90s", "out": run.out,
                            "set": [*SMALL, *vocabulary]}  # fmt: skip

    def stop_requested() -> bool:
        decided = [number for number, event in enumerate(run.before) if is_decision(event)]
        return bool(decided) and any(isinstance(event, RoundStarted) for event in run.before[decided[0] :])

    with pytest.raises(Stopped):
        api.run(**said, watch=run.before.append, stop_requested=stop_requested)
    run.decision = decision_of(run.out)
    run.result = api.run(**said, watch=run.after.append)
    return run


def test_the_rule_is_learned_and_measured(finished: Finished) -> None:
    assert finished.result["task"] == "classification"
    assert finished.result["metric"] == "accuracy"
    measured = api.evaluate(finished.out, finished.held)
    assert measured["num_examples"] == 300
    assert measured["metrics"]["accuracy"]["value"] > 0.95
    assert measured["metrics"]["macro_f1"]["value"] > 0.95
    assert measured["metrics"]["calibration_error"]["value"] < 0.05
    names = {one["name"] for one in finished.result["baselines"]}
    assert {"majority", "linear"} <= names


def test_the_decision_is_kept_over_a_restart(finished: Finished) -> None:
    """Whether it was found to be better or not, what was decided is not decided again, and answers go by it."""
    (line,) = [event.record for event in finished.before if is_decision(event)]  # type: ignore[union-attr]
    changed = {path.removeprefix("task.decision."): pair[1] for path, pair in line["change"].items()}
    changed = json.loads(json.dumps(changed))  # before it was written, a list may be a tuple
    found = finished.decision.model_dump(mode="json")
    if line["accepted"]:
        assert changed
        assert changed.items() <= found.items()
    else:
        assert finished.decision == ClassificationConfig().decision
    later = [event.record for event in finished.after if isinstance(event, RoundDone)]
    assert [one["round"] for one in later][:1] == [line["round"] + 1]
    assert [one["round"] for one in finished.journal()] == list(range(1, len(finished.journal()) + 1))
    if not any(one["accepted"] for one in later):
        assert decision_of(finished.out) == finished.decision
        if line["accepted"]:
            assert finished.result["validation"]["accuracy"]["value"] == pytest.approx(line["value"])


def test_answers_are_those_of_the_decision(finished: Finished, stepwell: Any) -> None:
    text, label = {"en": ("the coach of the match today", "sport"), "zh": ("今天股票市场的价格", "财经")}[
        finished.language
    ]
    ((answer,), (other,)) = api.predict(finished.out, [text, {"text": text}])
    assert answer.text == other.text == label
    assert next(iter(answer.probabilities)) == label
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert list(answer.probabilities.values()) == sorted(answer.probabilities.values(), reverse=True)
    shown = stepwell("predict", finished.out, "--prompt", text)
    assert shown.code == 0
    assert label in shown.out


def test_a_model_is_as_good_as_itself_and_better_than_a_fresh_one(finished: Finished, tmp_path: Path) -> None:
    same = api.compare(finished.out, finished.out, finished.held)
    assert {one["better"] for one in same["metrics"].values()} == {None}
    vocabulary = ["tokenizer.vocab_size=400"] if finished.language == "en" else []
    few = write(tmp_path / "few.jsonl", finished.language, 1_500, 1)
    api.train(text=few, task="classification", steps=1, out=tmp_path / "fresh", set=[*SMALL, *vocabulary])
    told = api.compare(finished.out, tmp_path / "fresh", finished.held)
    assert told["task"] == "classification"
    assert told["metrics"]["accuracy"]["better"] == "first"
    assert told["metrics"]["loss"]["better"] == "first"
    assert told["examples"]["first"]


def test_a_label_that_it_does_not_know(finished: Finished, tmp_path: Path) -> None:
    data = tmp_path / "other.jsonl"
    data.write_text('{"text": "x", "label": "weather"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="a label that the model does not know"):
        api.evaluate(finished.out, data)


@pytest.mark.parametrize("problem", ["multiple", "number"])
def test_several_labels_and_numbers(problem: str, tmp_path: Path) -> None:
    """From a table to answers and measures, with a single training run."""
    rng = random.Random(3)
    rows = []
    for _ in range(1_200):
        some = [label for label in sorted(WORDS["en"]) if rng.random() < 0.5]
        words = [rng.choice(WORDS["en"][label]) for label in some] + rng.sample(FILLER["en"], 5)
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "label": some if problem == "multiple" else len(some) * 20 + 0.5})
    held = tmp_path / "held.jsonl"
    held.write_text("\n".join(map(json.dumps, rows[1_000:])), encoding="utf-8")
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows[:1_000])), encoding="utf-8")
    fresh = "training.optimizer.learning_rate=0.01"
    api.train(text=data, task="classification", steps=150, out=tmp_path / "run",
              set=[*SMALL, "tokenizer.vocab_size=400", fresh])  # fmt: skip
    measured = api.evaluate(tmp_path / "run", held)["metrics"]
    ((answer,),) = api.predict(tmp_path / "run", "the bank of the singer today")
    if problem == "multiple":
        assert measured["micro_f1"]["value"] > 0.9
        assert answer.text == "money, show"
        assert set(answer.probabilities) == {"sport", "money", "show"}
        ((none,),) = api.predict(tmp_path / "run", "the old town of the river")
        assert none.text == "-"
    else:
        assert measured["pearson"]["value"] > 0.9
        assert float(answer.text) == pytest.approx(40.5, abs=8)
        assert answer.probabilities == {}


@pytest.mark.parametrize(("language", "words"), [("en", []), ("zh", ["task.words=[运动,钱,戏]"])])
def test_labels_are_said_in_words(language: str, words: list[str], tmp_path: Path) -> None:
    """A decoder goes on with a text, and how likely each label's word is tells the label."""
    labels = list(WORDS[language])
    data, held = write(tmp_path / "rows.jsonl", language, 1_200, 1), write(tmp_path / "held.jsonl", language, 60, 2)
    said = [
        "task.mode=words",
        f"task.labels=[{','.join(labels)}]",
        *words,
        "training.evaluate_every_steps=120",
        "training.global_batch_tokens=1024",
    ]
    api.train(data=data, task="classification", steps=120, out=tmp_path / "run", set=[*SMALL, *said])
    measured = api.evaluate(tmp_path / "run", held)["metrics"]
    assert measured["accuracy"]["value"] > 0.9
    assert measured["roc_auc"]["value"] > 0.95
    rows = [json.loads(line) for line in held.read_text(encoding="utf-8").splitlines()]
    answers = [several[0] for several in api.predict(tmp_path / "run", [one["text"] for one in rows])]
    right = [answer.text == one["label"] for answer, one in zip(answers, rows, strict=True)]
    assert sum(right) / len(right) == pytest.approx(measured["accuracy"]["value"])
    assert sum(answers[0].probabilities.values()) == pytest.approx(1)
    (row,) = api.answer_rows(tmp_path / "run", rows[:1])
    assert row == {**rows[0], "label": answers[0].text, "probability": answers[0].probabilities[answers[0].text]}
    task = task_of(load_checkpoint(tmp_path / "run").provenance)
    assert isinstance(task, ClassificationConfig)
    assert task.template == ("{text}\nLabel:" if language == "en" else "{text}\n类别：")


def test_a_few_short_rows_are_enough(tmp_path: Path) -> None:
    """Two kilobytes of text: too few to learn a language from, and enough for labels."""
    data = write(tmp_path / "rows.jsonl", "zh", 80, 1)
    assert data.stat().st_size < 20_000
    result = api.run(data=data, task="classification", out=tmp_path / "run", set=[*SMALL, "training.steps=20"])
    assert result["metric"] == "accuracy"
    (answer,) = api.predict(tmp_path / "run", "进球比赛教练联赛")[0]
    assert set(answer.probabilities) == set(WORDS["zh"])
