"""Texts that are hard or easy to predict are found, and no text is judged by a model that saw it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from through_steps import through

from stepwell.data import DataConfig, prepare_text
from stepwell.data.documents import Document
from stepwell.data.steps.filters import text_models
from stepwell.data.steps.filters.perplexity import Perplexity, PerplexityConfig
from stepwell.data.steps.filters.text_models import half_of, look_at, model_in, sample_of, to_arrays
from stepwell.data.steps.step import Surroundings
from stepwell.ngrams import KneserNey


def rows(small_text, language: str, count: int, seed: int = 0) -> list[str]:
    """Texts of a few sentences."""
    lines = [line for line in small_text(language, count * 700, seed=seed).split("\n") if line]
    return lines[:count]


def shuffled(text: str) -> str:
    """The same characters in another order."""
    return "".join(random.Random(text).sample(text, len(text)))


def documents(texts: Sequence[str], source: str, split: str = "train") -> list[Document]:
    return [Document(text, source, is_row=True, split=split) for text in texts]


@pytest.fixture
def corpus(small_text) -> list[Document]:
    """Good and shuffled texts of both languages, and the held-out part is as bad."""
    good = rows(small_text, "en", 150) + rows(small_text, "zh", 150)
    bad = [shuffled(text) for text in rows(small_text, "en", 12, seed=1) + rows(small_text, "zh", 12, seed=1)]
    several = documents(good, "good") + documents(bad, "bad") + documents(bad[:4], "held out", "validation")
    random.Random(0).shuffle(several)
    return several


def step(**settings: object) -> Perplexity:
    return Perplexity(PerplexityConfig(**settings), Surroundings())


def test_what_is_hard_to_predict_is_dropped(corpus):
    """By a model of the corpus itself, with the junk in it; the share is taken of each script."""
    outcome = through(step(drop_highest_ratio=0.08), corpus)
    assert {why for _, why in outcome.dropped} == {"hard_to_predict"}
    dropped = [one.source for one, _ in outcome.dropped]
    assert dropped.count("bad") >= 22
    assert len(dropped) <= 0.09 * len(corpus)
    assert [one.source for one in outcome.kept].count("held out") == 4  # models are judged by the same text
    for script in ("chinese", "other"):
        median, limit = (outcome.findings[f"{name}_bits_per_byte_{script}"] for name in ("median", "max"))
        assert 0 < median < limit


def test_shards_change_nothing(corpus):
    """Nor does their order matter to what is learned."""
    one = through(step(column="bits"), corpus)
    several = through(step(column="bits"), corpus, cuts=(1, 60, 61, 200))
    assert several.kept == one.kept
    assert several.dropped == one.dropped
    turned = through(step(column="bits"), corpus[::-1])
    assert sorted((doc.text, doc.columns["bits"]) for doc in turned.kept) == sorted(
        (doc.text, doc.columns["bits"]) for doc in one.kept
    )


def test_a_small_sample_is_the_same_however_it_is_cut(corpus):
    size = 3_000
    whole = sample_of([look_at(corpus, size)], size)
    parts = sample_of([look_at(corpus[:100], size), look_at(corpus[100:130], size), look_at(corpus[130:], size)], size)
    assert whole.texts == parts.texts
    assert 1 < len(whole.texts) < len(corpus)
    assert sum(len(text.encode()) for text in whole.texts) <= size
    digests = [Document(text, "").digest for text in whole.texts]
    assert digests == sorted(digests)
    assert whole.halves.tolist() == [half_of(digest) for digest in digests]
    assert len(whole.first(1)[0]) == 1
    assert len(sample_of([look_at(corpus, 1)], 1).texts) == 1  # a text may be larger than the sample


def test_what_is_held_out_is_not_learned_from(small_text):
    texts = rows(small_text, "en", 20)
    seen = step().look(documents(texts[:12], "x") + documents(texts[12:], "x", "validation"))
    assert len(seen["sizes"]) == 12


def test_shares_are_taken_of_each_script(small_text):
    """Chinese is as much easier or harder by the byte as it may be."""
    several = documents(rows(small_text, "en", 100), "en") + documents(rows(small_text, "zh", 100), "zh")
    dropped = [one.source for one, _ in through(step(drop_highest_ratio=0.2), several).dropped]
    assert (dropped.count("en"), dropped.count("zh")) == (19, 19)


def test_no_text_is_judged_by_a_model_that_saw_it(small_text):
    """Bits per byte by hand: of each half by a model of the other half alone."""
    texts = rows(small_text, "mixed", 30)
    sample = sample_of([look_at(documents(texts, "x"), 1 << 20)], 1 << 20)
    scores = model_in(to_arrays(sample, "m", halved=True), "m", 3)(documents(texts, "x"))
    for text, score in zip(texts, scores, strict=True):
        half = half_of(Document(text, "").digest)
        others = [list(map(ord, one)) for one, its in zip(sample.texts, sample.halves, strict=True) if its != half]
        model = KneserNey(0x110000, 3).fit(others)
        assert score == pytest.approx(
            -model.logprobs(list(map(ord, text))).sum() / np.log(2) / len(text.encode()), abs=1e-6
        )


def test_a_reference_decides_what_is_natural(small_text, tmp_path: Path):
    """English prose as reference: Chinese is hard for it, whatever the corpus."""
    (tmp_path / "good.txt").write_text(small_text("en", 30_000, seed=5), encoding="utf-8")
    corpus = documents(rows(small_text, "en", 40), "en") + documents(rows(small_text, "zh", 40), "zh")
    settings = {"reference": str(tmp_path / "good.txt"), "drop_highest_ratio": 0, "max_bits_per_byte": 3}
    outcome = through(step(**settings), corpus)
    assert {one.source for one in outcome.kept} == {"en"}
    assert {(one.source, why) for one, why in outcome.dropped} == {("zh", "hard_to_predict")}
    easy = through(step(**settings | {"max_bits_per_byte": None, "min_bits_per_byte": 3}), corpus)
    assert {(one.source, why) for one, why in easy.dropped} == {("en", "easy_to_predict")}


def test_shares_are_of_the_documents(small_text):
    several = documents(rows(small_text, "en", 200), "x")
    outcome = through(step(drop_highest_ratio=0.2, drop_lowest_ratio=0.1, column="bits"), several)
    reasons = [why for _, why in outcome.dropped]
    assert (reasons.count("hard_to_predict"), reasons.count("easy_to_predict")) == (
        39,
        19,
    )  # the limits themselves stay
    bits = [one.columns["bits"] for one in outcome.kept]
    assert all(outcome.findings["min_bits_per_byte_other"] - 1e-4 <= one for one in bits)
    assert all(one <= outcome.findings["max_bits_per_byte_other"] + 1e-4 for one in bits)


@pytest.mark.parametrize("texts", [[], ["one text alone"], ["a"] * 5])
def test_hardly_any_text(texts):
    outcome = through(step(), documents(texts, "x"))
    assert len(outcome.kept) == len(texts)


def test_a_model_is_learned_once_in_each_process(corpus, monkeypatch):
    text_models._learned.cache_clear()
    learned = []
    plain = text_models._fit
    monkeypatch.setattr(text_models, "_fit", lambda texts, order: learned.append(order) or plain(texts, order))
    through(step(), corpus, cuts=(50, 100, 150))
    assert learned == [5, 5]  # one of each half


@pytest.mark.slow
def test_through_the_whole_pipeline(tmp_path: Path, small_text):
    """A reference that changes makes another package; the same one is found again."""
    (tmp_path / "good.txt").write_text(small_text("en", 30_000, seed=5), encoding="utf-8")
    junk = [shuffled(text) for text in rows(small_text, "en", 20, seed=1)]
    with (tmp_path / "corpus.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in rows(small_text, "en", 400) + junk)

    def prepared():
        settings = {"kind": "perplexity", "reference": str(tmp_path / "good.txt"), "max_bits_per_byte": 3}
        config = DataConfig(sources=(str(tmp_path / "corpus.jsonl"),), steps=[settings])
        return prepare_text(config, tmp_path / "out")

    first = prepared()
    assert first.key == prepared().key
    told = next(one for one in first.facts.steps if one.kind == "perplexity")
    assert told.dropped["hard_to_predict"] >= 10
    assert told.findings["max_bits_per_byte_other"] <= 3
    (tmp_path / "good.txt").write_text(small_text("en", 30_000, seed=6), encoding="utf-8")
    assert prepared().key != first.key
