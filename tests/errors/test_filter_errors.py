"""What goes wrong with filters that learn, and with settings of filters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepwell.config import build
from stepwell.data import DataConfig, prepare_text
from stepwell.data.steps.filters.judge import Judge, JudgeConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import ConfigError, DataError


def rows(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


@pytest.fixture
def corpus(tmp_path: Path, small_text) -> str:
    (tmp_path / "corpus.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    return str(tmp_path / "corpus.txt")


def failure(tmp_path: Path, corpus: str, **step: object) -> DataError:
    """The error of preparing; nothing may be left of the attempt."""
    with pytest.raises(DataError) as caught:
        prepare_text(DataConfig(sources=(corpus,), steps=[step]), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    return caught.value


def test_a_reference_that_is_not_there(tmp_path: Path, corpus: str):
    (tmp_path / "prose.txt").write_text("Good prose.", encoding="utf-8")
    error = failure(tmp_path, corpus, kind="perplexity", reference=str(tmp_path / "prase.txt"))
    assert error.what == f"{tmp_path}/prase.txt: no such file"
    assert error.do == f"did you mean {tmp_path}/prose.txt?"


def test_an_empty_target(tmp_path: Path, corpus: str):
    (tmp_path / "target.txt").write_text(" \n\n", encoding="utf-8")
    error = failure(tmp_path, corpus, kind="selection", target=str(tmp_path / "target.txt"))
    assert error.what.startswith("selection: target: no text in ")


def test_too_few_examples(tmp_path: Path, corpus: str):
    good = rows(tmp_path / "good.jsonl", [f"A good text {n}." for n in range(50)])
    bad = rows(tmp_path / "bad.jsonl", [f"buy {n}" for n in range(19)])
    error = failure(tmp_path, corpus, kind="judge", good=good, bad=bad)
    assert error.what == "judge: too few bad examples"
    assert (error.got or "").startswith(f"19 in {bad}")
    assert (error.wanted or "").startswith("20 or more")


def test_a_table_of_examples_with_two_columns_of_text(tmp_path: Path, corpus: str):
    """The column is named for the examples, not for the corpus."""
    table = tmp_path / "good.csv"
    table.write_text("first,second\n" + "".join(f"A good text {n},and more\n" for n in range(50)), encoding="utf-8")
    bad = rows(tmp_path / "bad.jsonl", [f"buy {n} now" for n in range(50)])
    error = failure(tmp_path, corpus, kind="judge", good=str(table), bad=bad)
    assert error.do == "--set data.steps.judge.text_column=NAME"
    step = Judge(JudgeConfig(good=str(table), bad=str(table), text_column="first"), Surroundings())
    with pytest.raises(DataError, match="too few"):  # both are the same here; but they were read
        step.join([])


def test_the_same_examples_as_good_and_as_bad(tmp_path: Path, corpus: str):
    good = rows(tmp_path / "good.jsonl", [f"A good text {n}." for n in range(50)])
    error = failure(tmp_path, corpus, kind="judge", good=good, bad=good)
    assert "50 that are given as good and as bad" in (error.got or "")


def test_examples_that_do_not_differ(tmp_path: Path, corpus: str):
    good = rows(tmp_path / "good.jsonl", [f"A text {n}." for n in range(0, 400, 2)])
    bad = rows(tmp_path / "bad.jsonl", [f"A text {n}." for n in range(1, 400, 2)])
    error = failure(tmp_path, corpus, kind="judge", good=good, bad=bad)
    assert error.what == "judge: cannot tell the good examples from the bad ones"
    assert "judge.min_accuracy" in (error.wanted or "")


def test_a_filter_that_eats_everything_is_named(tmp_path: Path):
    """Web rules for reviews: the message says which rule took how many."""
    reviews = rows(tmp_path / "reviews.jsonl", [f"房间很大，早餐一般，下次再来{n}" for n in range(900)])
    error = failure(tmp_path, reviews, kind="quality", rows="pages")
    assert "quality left 0 of 900 documents (too_few_words 900)" in (error.got or "")


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ({"kind": "quality", "rules": ["gofer"]}, "rules"),
        ({"kind": "quality", "min_word": 3}, "min_word"),
        ({"kind": "quality", "max_top_ngram_ratios": {2: 1.5}}, "max_top_ngram_ratios"),
        ({"kind": "quality", "max_hashes_per_word": float("nan")}, "max_hashes_per_word"),
        ({"kind": "judge", "good": "x.txt"}, "bad"),
        ({"kind": "selection", "target": []}, "target"),
        ({"kind": "selection", "target": "x", "keep_ratio": 0}, "keep_ratio"),
        ({"kind": "perplexity", "drop_highest_ratio": 0.6, "drop_lowest_ratio": 0.5}, "drop_highest_ratio"),
        ({"kind": "perplexity", "min_bits_per_byte": 3, "max_bits_per_byte": 2}, "min_bits_per_byte"),
    ],
)
def test_wrong_settings(step, named):
    with pytest.raises(ConfigError) as caught:
        build(DataConfig, {"sources": "x.txt", "steps": [step]}, where="recipe")
    assert named in str(caught.value)
