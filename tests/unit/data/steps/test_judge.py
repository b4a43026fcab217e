"""A judge learns from examples, says how good it is, and is the same in every run."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.filters import hashed_regression
from stepwell.data.steps.filters.hashed_regression import HashedRegression, cross_validated, features_of
from stepwell.data.steps.filters.judge import Judge, JudgeConfig
from stepwell.data.steps.step import Joined, Outcome, Surroundings
from stepwell.errors import DataError


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def texts(small_text, language: str, count: int, seed: int) -> list[str]:
    return [line for line in small_text(language, count * 700, seed=seed).split("\n") if line][:count]


def spam(text: str) -> str:
    """Half of it, and an offer."""
    offer = "。限时优惠，立即购买" if text[0] > "\u2fff" else " Buy now, only this week"
    return text[: len(text) // 2] + offer


@pytest.fixture
def examples(small_text, tmp_path: Path) -> dict[str, str]:
    good = texts(small_text, "mixed", 120, seed=1)
    return {
        "good": write(tmp_path / "good.jsonl", good),
        "bad": write(tmp_path / "bad.jsonl", [spam(text) for text in texts(small_text, "mixed", 60, seed=2)]),
    }


def joined(**settings: object) -> tuple[Judge, Joined]:
    step = Judge(JudgeConfig(**settings), Surroundings())
    return step, step.join([step.look([]), step.look([])])


def applied(step: Judge, known: Joined, several: list[Document]) -> Outcome:
    return step.apply(several, next(iter(known.known)))


def test_good_and_bad_are_told_apart(examples, small_text):
    good = texts(small_text, "mixed", 50, seed=7)
    several = [Document(text, "good") for text in good] + [Document(spam(text), "bad") for text in good]
    step, known = joined(**examples, column="good")
    outcome = applied(step, known, several)
    assert {one.source for one in outcome.kept} == {"good"}
    assert {(one.source, why) for one, why in outcome.dropped} == {("bad", "judged_bad")}
    assert len(outcome.kept) == len(good)
    assert all(0.5 <= one.columns["good"] <= 1 for one in outcome.kept)
    assert known.findings["held_out_accuracy"] > 0.95
    assert (known.findings["good_examples"], known.findings["bad_examples"]) == (120, 60)
    assert len(list(known.known)) == 2  # one for each shard


def test_the_threshold_moves_what_is_kept(examples, small_text):
    several = [Document(text, "x") for text in texts(small_text, "mixed", 30, seed=7)]
    step, known = joined(**examples, threshold=0)
    assert len(applied(step, known, several).kept) == 30
    step, known = joined(**examples, threshold=1)
    assert not applied(step, known, several).kept


def test_a_long_text_loses_its_bad_passages(examples, small_text):
    good = small_text("en", 12_000, seed=9)
    long = f"{good}\n\n" + "\n\n".join(spam(text) for text in texts(small_text, "en", 80, seed=8))
    step, known = joined(**examples, passage_bytes=4096, column="good")
    outcome = applied(step, known, [Document(long, "x")])
    assert "Buy now" not in "".join(one.text for one in outcome.kept[:3])
    assert good[:8000] in "".join(one.text for one in outcome.kept)
    assert outcome.dropped
    assert all("Buy now" in one.text for one, _ in outcome.dropped)


def test_examples_that_are_good_and_bad_do_not_count(examples, small_text, tmp_path: Path):
    both = texts(small_text, "en", 5, seed=11)
    write(tmp_path / "more_good.jsonl", both)
    write(tmp_path / "more_bad.jsonl", both)
    _, known = joined(
        good=(examples["good"], str(tmp_path / "more_good.jsonl")),
        bad=(examples["bad"], str(tmp_path / "more_bad.jsonl")),
    )
    assert known.findings["examples_in_both"] == 5
    assert (known.findings["good_examples"], known.findings["bad_examples"]) == (120, 60)


def test_examples_without_a_difference_are_an_error(small_text, tmp_path: Path):
    """Not a filter that drops at random."""
    several = texts(small_text, "mixed", 200, seed=3)
    good, bad = write(tmp_path / "a.jsonl", several[::2]), write(tmp_path / "b.jsonl", several[1::2])
    with pytest.raises(DataError, match="cannot tell the good examples from the bad ones") as caught:
        joined(good=good, bad=bad, min_accuracy=0.7)
    assert "examples that it did not learn from" in (caught.value.got or "")
    with pytest.raises(DataError, match="too few"):
        joined(good=good, bad=good)  # nothing is left that is not both


REAL = {"en": ("classification/sentiment.en.jsonl.gz", 0.72), "zh": ("classification/sentiment.zh.jsonl.gz", 0.83)}


@pytest.mark.slow
@pytest.mark.parametrize("language", REAL)
def test_real_reviews(real_data, tmp_path: Path, language):
    """It learns what a plain linear model learns; and what it says of itself holds for other texts."""
    name, least = REAL[language]
    with gzip.open(real_data(name), "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["text"].strip()]
    random.Random(0).shuffle(rows)
    sides = {label: [row["text"] for row in rows[:3000] if row["label"] == label] for label in ("positive", "negative")}
    good, bad = write(tmp_path / "good.jsonl", sides["positive"]), write(tmp_path / "bad.jsonl", sides["negative"])
    step, known = joined(good=good, bad=bad)
    others = rows[3000:5000]
    kept = applied(step, known, [Document(row["text"], row["label"]) for row in others]).kept
    right = {
        label: sum(one.source == label for one in kept) / sum(row["label"] == label for row in others)
        for label in ("positive", "negative")
    }
    accuracy = (right["positive"] + 1 - right["negative"]) / 2
    assert accuracy > least
    assert known.findings["held_out_accuracy"] == pytest.approx(accuracy, abs=0.03)


class TestHashedRegression:
    """Against plain definitions."""

    def test_features_are_words_and_pairs(self):
        one, same, other = (features_of([text]).places for text in ("The Cat", "the cat", "cat the"))
        assert len(one) == 3
        assert (one == same).all()
        assert set(one[:2]) == set(other[:2])
        assert one[2] != other[2]
        assert len(features_of(["我们好"]).places) == 5
        assert len(features_of([]).places) == 0

    def test_a_hash_does_not_depend_on_the_process(self):
        assert features_of(["well 井"]).places.tolist() == [216492, 31777, 83135]

    def test_the_minimum_is_found(self, monkeypatch):
        """The slope of the loss, written down plainly and dense, is next to nothing there."""
        monkeypatch.setattr(hashed_regression, "ITERATIONS", 4000)
        monkeypatch.setattr(hashed_regression, "WEIGHT_DECAY", 0.01)
        rng = random.Random(0)
        several = [" ".join(rng.choices("abcdefgh", k=rng.randint(3, 9))) for _ in range(40)]
        labels = np.array(["a" in text for text in several])
        features = features_of(several)
        table = hashed_regression._Table.of(features)
        dense = np.zeros((len(several), len(table.columns)))
        rows = np.repeat(np.arange(len(several)), np.diff(np.append(table.row_begins, len(table.values))))
        dense[rows, table.column_of] = table.values
        assert (dense**2).sum(1).mean() == pytest.approx(1)
        shares = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
        weights, bias = hashed_regression._minimize(table, labels.astype(float), shares)
        errors = shares * (1 / (1 + np.exp(-(dense @ weights + bias))) - labels)
        assert np.abs(dense.T @ errors + 0.01 * weights).max() < 1e-6
        assert abs(errors.sum()) < 1e-6
        # and the probabilities of what was learned are those of the table
        told = HashedRegression.fit(features, labels).probabilities(features)
        np.testing.assert_allclose(told, 1 / (1 + np.exp(-(dense @ weights + bias))), atol=1e-5)

    def test_cross_validation_by_hand(self):
        several = [f"{'good' if n % 3 else 'bad'} text {n}" for n in range(30)]
        labels, folds = np.array([n % 3 > 0 for n in range(30)]), np.arange(30) % 4
        told = cross_validated(features_of(several), labels, folds)
        for fold in range(4):
            there = folds != fold
            learned = HashedRegression.fit(
                features_of([t for t, one in zip(several, there, strict=True) if one]), labels[there]
            )
            alone = learned.probabilities(features_of([t for t, one in zip(several, there, strict=True) if not one]))
            np.testing.assert_allclose(told[~there], alone, atol=1e-9)
        assert ((told > 0.5) == labels).all()

    def test_one_label_alone_says_nothing(self):
        told = cross_validated(features_of(["a", "b"]), [True, False], [0, 1])
        assert told.tolist() == [0.5, 0.5]
