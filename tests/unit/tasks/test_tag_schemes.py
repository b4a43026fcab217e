"""Schemes of tags: found, spelled, repaired, and which tags may follow one another."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise, product

import pytest

from stepwell.tasks import spans_of
from stepwell.tasks.tag_schemes import (
    Span,
    TagScheme,
    all_tags,
    allowed_transitions,
    found_scheme,
    repaired,
    spelled,
    tags_of,
)

LETTERED: tuple[TagScheme, ...] = ("BIO", "BIOES", "BILOU", "IO")


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O O B-place I-place O", "BIO"),
        ("O B-place O B-name", "BIO"),
        ("O I-place I-place O", "IO"),
        ("O O O place O place", "IO"),
        ("B-place I-place E-place O S-name", "BIOES"),
        ("B-地名 M-地名 E-地名 O", "BIOES"),
        ("B-place I-place L-place O U-name", "BILOU"),
        ("B I I O O", "BIO"),
        ("B M E S S", "BIOES"),
        ("DET NOUN VERB DET NOUN", "plain"),
        ("DET O VERB DET NOUN NOUN", "plain"),
        ("n v n w", "plain"),
        ("O O O", "plain"),
        ("B-NP B-VP I-VP NOUN O O O O", "plain"),
        ("0 3 4 0 0", "plain"),
    ],
)
def test_a_scheme_is_found_by_its_letters(tags: str, scheme: TagScheme) -> None:
    assert found_scheme(Counter(tags.split())) == scheme


def test_tags_are_spelled_one_way() -> None:
    assert [spelled(tag, "BIOES") for tag in ("M-x", "O", "E-x", "S")] == ["I-x", "O", "E-x", "S-_"]
    assert [spelled(tag, "IO") for tag in ("x", "I-x", "O")] == ["I-x", "I-x", "O"]
    assert [spelled(tag, "plain") for tag in ("M-x", "O", "NOUN")] == ["M-x", "O", "NOUN"]


def drawn_spans(rng: random.Random, length: int) -> list[Span]:
    """Spans that do not overlap."""
    spans, at = [], 0
    while at < length:
        size = rng.randint(1, 4)
        if rng.random() < 0.5 and at + size <= length:
            spans.append((rng.choice("xy"), at, at + size))
            at += size
        at += rng.randint(0, 2)
    return spans


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "BILOU"])
def test_spans_come_back_from_their_tags(scheme: TagScheme) -> None:
    rng = random.Random(scheme)
    for _ in range(300):
        length = rng.randint(0, 12)
        spans = drawn_spans(rng, length)
        tags = tags_of(spans, length, scheme)
        assert spans_of(tags) == spans_of(tags, scheme) == spans  # type: ignore[arg-type]
        assert repaired(tags, scheme) == (tags, 0)
        assert set(tags) <= set(all_tags("xy", scheme))


def test_spans_that_touch_are_one_without_a_letter_for_the_beginning() -> None:
    assert spans_of(tags_of([("x", 0, 2), ("x", 2, 3), ("y", 3, 4)], 5, "IO")) == [("x", 0, 3), ("y", 3, 4)]


@pytest.mark.parametrize("scheme", LETTERED)
def test_repair_keeps_what_seqeval_reads(scheme: TagScheme) -> None:
    rng = random.Random(scheme)
    for _ in range(500):
        tags = [rng.choice(all_tags("xy", scheme)) for _ in range(rng.randint(0, 8))]
        right, changed = repaired(tags, scheme)
        assert spans_of(right) == spans_of(tags)
        assert changed == sum(a != b for a, b in zip(tags, right, strict=True))
    assert repaired(["I-x", "I-x", "O", "I-y"], "BIO") == (["B-x", "I-x", "O", "B-y"], 2)


@pytest.mark.parametrize("scheme", LETTERED)
def test_allowed_are_the_sequences_that_spans_can_be_written_as(scheme: TagScheme) -> None:
    tags = all_tags("xy", scheme)
    allowed = allowed_transitions(tags, scheme)
    end = len(tags)
    for length in (1, 2, 3):
        for path in product(range(len(tags)), repeat=length):
            names = [tags[place] for place in path]
            whole = [end, *path, end]
            may_be = all(allowed[a, b] for a, b in pairwise(whole))
            assert may_be == (repaired(names, scheme)[0] == names), names


def test_plain_tags_follow_one_another_as_they_like() -> None:
    assert allowed_transitions(("B-x", "I-x", "NOUN"), "plain").all()
