"""Spans and their metrics beside seqeval: any tags, read leniently and strictly."""

from __future__ import annotations

import gzip
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from seqeval import metrics as reference
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, IOBES, Tokens

from stepwell.evaluation import (
    TaggingScores,
    bootstrap,
    class_table,
)
from stepwell.tasks import span_types, spans_of

STRICT = {"BIO": IOB2, "BIOES": IOBES, "BILOU": BILOU}


def drawn(rng: random.Random, letters: str, most: int = 9) -> list[str]:
    """Tags in any order, most of which no tagger should give."""
    found = []
    for _ in range(rng.randint(0, most)):
        letter = rng.choice(letters)
        bare = letter == "O" or rng.random() < 0.05
        found.append(letter if bare else f"{letter}-{rng.choice(['place', 'name', 'song-title'])}")
    return found


@pytest.mark.parametrize("letters", ["BIO", "IO", "BIESO"])
def test_read_leniently_spans_are_those_of_seqeval(letters: str) -> None:
    rng = random.Random(letters)
    for _ in range(1500):
        tags = drawn(rng, letters)
        assert spans_of(tags) == [(kind, begin, last + 1) for kind, begin, last in get_entities(tags)], tags


def test_bilou_is_read_leniently_as_bioes_is() -> None:
    rng = random.Random(0)
    for _ in range(500):
        tags = drawn(rng, "BILUO")
        assert spans_of(tags) == spans_of([tag.replace("L", "E", 1).replace("U", "S", 1) for tag in tags])


@pytest.mark.parametrize("scheme", STRICT)
def test_read_strictly_spans_are_those_of_seqeval(scheme: str) -> None:
    rng, spans = random.Random(scheme), 0
    for _ in range(1500):
        tags = drawn(rng, scheme + "O" * ("O" not in scheme))
        theirs = [(one.tag, one.start, one.end) for one in Tokens(tags, STRICT[scheme]).entities]
        assert spans_of(tags, scheme) == theirs, tags
        spans += len(theirs)
    assert spans > 200


def corpora(seed: int) -> tuple[list[list[str]], list[list[str]]]:
    rng = random.Random(seed)
    true = [drawn(rng, "BIIO", 12) for _ in range(40)]
    return [[rng.choice([tag, tag, tag, "O", "B-name", "I-place"]) for tag in tags] for tags in true], true


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scheme", [None, "BIO"])
def test_metrics_are_those_of_seqeval(seed: int, scheme: str | None) -> None:
    chosen, true = corpora(seed)
    asked = {"zero_division": 0} | ({"mode": "strict", "scheme": STRICT[scheme]} if scheme else {})
    scores = TaggingScores.of(chosen, true, scheme=scheme or "lenient")
    names = {"span_f1": "f1", "span_precision": "precision", "span_recall": "recall"}
    for mine, theirs in names.items():
        value = bootstrap(scores, mine, resamples=1).value
        assert value == pytest.approx(getattr(reference, f"{theirs}_score")(true, chosen, **asked))
        assert 0 < value < 1
    macro = bootstrap(scores, "macro_span_f1", resamples=1).value
    assert macro == pytest.approx(reference.f1_score(true, chosen, average="macro", **asked))
    accuracy = bootstrap(scores, "token_accuracy", resamples=1).value
    assert accuracy == pytest.approx(reference.accuracy_score(true, chosen))
    each = reference.classification_report(true, chosen, output_dict=True, **asked)
    rows = class_table(scores, span_types(true, chosen, scheme=scheme or "lenient"))
    assert len(rows) > 1
    for row in rows:
        expected = each[row.name]
        found = (row.precision.value, row.recall.value, row.f1.value, row.true_count)
        assert found == pytest.approx(tuple(expected[name] for name in ("precision", "recall", "f1-score", "support")))
        assert row.f1.low is not None


def test_where_nothing_is_a_span_all_is_0_as_with_seqeval() -> None:
    true = [["O", "O"], ["O"]]
    scores = TaggingScores.of(true, true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert reference.f1_score(true, true) == 0
    found = {name: bootstrap(scores, name, resamples=1).value for name in scores.metrics if name != "loss"}
    assert found == {
        "span_f1": 0,
        "span_precision": 0,
        "span_recall": 0,
        "macro_span_f1": 0,
        "token_accuracy": 1,
        "sentence_accuracy": 1,
    }


def test_on_real_names_of_both_languages(real_data: Callable[[str], Path]) -> None:
    for name in ("tagging/ner.en.dev.jsonl.gz", "tagging/ner.zh.train.jsonl.gz"):
        with gzip.open(real_data(name), "rt", encoding="utf-8") as lines:
            true = [json.loads(line)["tags"] for _, line in zip(range(300), lines, strict=False)]
        rng = random.Random(0)
        chosen = [[tag if rng.random() < 0.9 else "O" for tag in tags] for tags in true]
        value = bootstrap(TaggingScores.of(chosen, true), "span_f1", resamples=1).value
        assert value == pytest.approx(reference.f1_score(true, chosen))
        assert 0.5 < value < 1
