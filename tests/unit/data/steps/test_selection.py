"""Of a corpus, the texts are kept that are most like a target."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from through_steps import through

from stepwell.data.documents import Document
from stepwell.data.steps.filters.selection import Selection, SelectionConfig
from stepwell.data.steps.step import Outcome, Surroundings


def selected(several: list[Document], cuts: tuple[int, ...] = (), **settings: object) -> Outcome:
    return through(Selection(SelectionConfig(**settings), Surroundings()), several, cuts)


@pytest.fixture
def corpus(small_text) -> list[Document]:
    found = []
    for language in ("en", "zh"):
        lines = [line for line in small_text(language, 60_000).split("\n") if line][:100]
        found += [Document(line, language, split="train") for line in lines]
        found += [Document(line, language, split="test") for line in lines[:3]]
    random.Random(0).shuffle(found)
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_nearest_are_kept(corpus, small_text, tmp_path: Path, language):
    target = tmp_path / "target.txt"
    target.write_text(small_text(language, 15_000, seed=3), encoding="utf-8")
    outcome = selected(corpus, target=str(target), keep_ratio=0.45, column="distance")
    train = [one for one in outcome.kept if one.split == "train"]
    assert {one.source for one in train} == {language}
    assert len(train) == pytest.approx(0.45 * 200, abs=2)
    assert {why for _, why in outcome.dropped} == {"far_from_target"}
    assert sum(one.split == "test" for one in outcome.kept) == 6  # what is held out stays
    assert all(one.columns["distance"] <= outcome.findings["max_distance"] + 1e-4 for one in train)
    assert outcome.findings["target_bytes"] == pytest.approx(15_000, rel=0.2)


def test_shards_change_nothing(corpus, small_text, tmp_path: Path):
    target = tmp_path / "target.txt"
    target.write_text(small_text("en", 12_000, seed=3), encoding="utf-8")
    settings = {"target": str(target), "column": "distance"}
    one, several = selected(corpus, **settings), selected(corpus, cuts=(1, 40, 150), **settings)
    assert several.kept == one.kept
    assert several.dropped == one.dropped


def test_the_corpus_gives_as_much_as_the_target(corpus, small_text, tmp_path: Path):
    """To each of the two models of its halves."""
    target = tmp_path / "target.txt"
    target.write_text(small_text("en", 11_000), encoding="utf-8")
    step = Selection(SelectionConfig(target=str(target)), Surroundings())
    known = next(iter(step.join([step.look(corpus)]).known))
    assert known["target_sizes"].sum() == pytest.approx(11_000, rel=0.1)
    assert 18_000 < known["corpus_sizes"].sum() <= 2 * known["target_sizes"].sum()
    assert 0.3 < known["corpus_halves"].mean() < 0.7


def test_all_of_it(corpus, small_text, tmp_path: Path):
    target = tmp_path / "target.txt"
    target.write_text(small_text("en", 12_000), encoding="utf-8")
    assert not selected(corpus, target=str(target), keep_ratio=1).dropped
    assert not selected([], target=str(target)).kept


@pytest.mark.slow
def test_news_among_other_real_text(real_data, tmp_path: Path):
    """Articles of one subject are nearer to others of that subject: three times as many as by chance."""
    with gzip.open(real_data("classification/news.en.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = list(map(json.loads, file))
    sport = [row["text"][:1500] for row in rows if row["label"] == "sports"]
    others = [row["text"][:1500] for row in rows if row["label"] != "sports"]
    (tmp_path / "target.txt").write_text("\n\n".join(sport[:120]), encoding="utf-8")
    several = [Document(text, "sport", split="train") for text in sport[120:200]]
    several += [Document(text, "other", split="train") for text in others[:240]]
    kept = selected(several, target=str(tmp_path / "target.txt"), keep_ratio=0.25).kept
    assert sum(one.source == "sport" for one in kept) / len(kept) > 0.8
