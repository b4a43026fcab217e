"""Which n-grams training text shares with held-out text: how many of each document, and where they stand.

The held-out n-grams are sorted; those of each shard's training text are looked up in them, most of them turned away by
a table of their first bits. What is seen of a shard holds no text of training documents, and that of held-out ones
only to show a passage. This file leaves out what a leak leads to (`decontaminate.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.shingles import Hashes, distinct, ngrams, shingles_of, units_of
from stepwell.data.steps.step import Arrays

Counts = NDArray[np.int64]

HASHES_TOGETHER = 1 << 21
"""Held-out n-grams that are looked for at once, about, which takes 80 MB; more are looked for in several rounds."""

TRAINING = 0
"""The group of training documents; every other group is held out."""

PASSAGE_CHARACTERS = 200


@dataclass(frozen=True)
class NGram:
    """How long an n-gram is.

    Attributes:
        words: if it begins with a word.
        characters: if it begins with a character of a script without spaces.
    """

    words: int
    characters: int


@dataclass(frozen=True)
class Leak:
    """A training document that shares text with a held-out one.

    Attributes:
        source: of the training document.
        ngrams: that it shares with any held-out document.
        group: of the held-out document that it shares most with.
        held_out_source: of that.
        passage: the longest that both have.
    """

    source: str
    ngrams: int
    group: int
    held_out_source: str
    passage: str


@dataclass(frozen=True)
class Leaks:
    """What was found, for each shard.

    Attributes:
        training: (N,) for each training document the n-grams that are held out too, 0 for held-out documents.
        held_out: (N,) for each held-out document the n-grams that are in training too, 0 for training documents.
    """

    training: list[NDArray[np.int32]]
    held_out: list[NDArray[np.int32]]


def seen_of(documents: Sequence[Document], groups: Sequence[int], length: NGram) -> Arrays:
    """What must be known of some documents.

    Args:
        documents: of one shard.
        groups: (N,) of each, `TRAINING` or a number of its own for each held-out set.
        length: of n-grams.

    Returns:
        `hashes` (S,) and `counts` (N,) of n-grams, `groups` (N,), the `texts` of held-out documents as UTF-8 with
        `text_bytes` (N,), and `sources` with `source_of` (N,).
    """
    shingles = shingles_of([one.text for one in documents], length.words, length.characters, short=True)
    texts = [b"" if group == TRAINING else one.text.encode() for one, group in zip(documents, groups, strict=True)]
    sources = {source: number for number, source in enumerate(dict.fromkeys(one.source for one in documents))}
    return {
        "hashes": shingles.hashes,
        "counts": np.diff(shingles.offsets),
        "groups": np.array(groups, np.int32),
        "texts": np.frombuffer(b"".join(texts), np.uint8),
        "text_bytes": np.array([len(text) for text in texts], np.int64),
        "sources": np.array(list(sources), np.str_),
        "source_of": np.array([sources[one.source] for one in documents], np.int32),
    }


def find_leaks(looks: Sequence[Arrays], common_documents: int | None = None) -> Leaks:
    """Count what each document shares with the other side.

    Args:
        looks: `seen_of` each shard.
        common_documents: what more training documents than this have is a common phrase and does not count.
    """
    leaks = Leaks([np.zeros(len(look["groups"]), np.int32) for look in looks], [])
    leaks.held_out.extend(np.zeros_like(counts) for counts in leaks.training)
    total = sum(int(look["counts"][look["groups"] != TRAINING].sum()) for look in looks)
    rounds = -(-total // HASHES_TOGETHER)
    for number in range(rounds):
        held = (_side(look, held_out=True)[0] for look in looks)
        targets = _Targets(np.concatenate([hashes[hashes % np.uint64(rounds) == number] for hashes in held]))
        _count(looks, targets, common_documents, leaks)
    return leaks


def _count(looks: Sequence[Arrays], targets: _Targets, common_documents: int | None, leaks: Leaks) -> None:
    counting = np.ones(len(targets), bool)
    if common_documents is not None:
        having = np.zeros(len(targets), np.int64)
        for look in looks:
            found, documents = targets.find(*_side(look, held_out=False))
            pairs = distinct(found.astype(np.uint64) << np.uint64(32) | documents.astype(np.uint64))
            having += np.bincount((pairs >> np.uint64(32)).astype(np.int64), minlength=len(targets))
        counting = having <= common_documents
    leaked = np.zeros(len(targets), bool)
    for look, training in zip(looks, leaks.training, strict=True):
        found, documents = targets.find(*_side(look, held_out=False))
        leaked[found[counting[found]]] = True
        training += np.bincount(documents[counting[found]], minlength=len(training)).astype(np.int32)
    for look, held_out in zip(looks, leaks.held_out, strict=True):
        found, documents = targets.find(*_side(look, held_out=True))
        held_out += np.bincount(documents[leaked[found]], minlength=len(held_out)).astype(np.int32)


def _side(look: Arrays, *, held_out: bool) -> tuple[Hashes, Counts]:
    """The n-grams of the held-out documents of a shard, or of all others, and which document each is of."""
    mine = (look["groups"] != TRAINING) == held_out
    return look["hashes"][np.repeat(mine, look["counts"])], np.repeat(np.flatnonzero(mine), look["counts"][mine])


class _Targets:
    """Hashes to be looked for.

    Args:
        hashes: these, in any order and perhaps again and again.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = distinct(hashes)
        bits = min(max(len(self._hashes).bit_length() + 3, 10), 28)
        self._shift = np.uint64(64 - bits)
        self._perhaps = np.zeros(1 << bits, bool)
        self._perhaps[self._hashes >> self._shift] = True

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, hashes: Hashes, documents: Counts) -> tuple[Counts, Counts]:
        """(F,) which target each hash is that is one, and (F,) which document it is of."""
        near = np.flatnonzero(self._perhaps[hashes >> self._shift])
        places = np.searchsorted(self._hashes, hashes[near])
        found = self._hashes[np.minimum(places, len(self._hashes) - 1)] == hashes[near]
        return places[found], documents[near[found]]


def worst_leaks(looks: Sequence[Arrays], leaks: Leaks, length: NGram, count: int) -> list[Leak]:
    """The training documents that share most, the first in the corpus before others that share as much.

    Args:
        looks: those that the leaks were found in.
        leaks: what was found.
        length: of n-grams.
        count: of documents, at most.
    """
    worst = sorted(
        (-int(counts[row]), shard, int(row))
        for shard, counts in enumerate(leaks.training)
        for row in np.argsort(-counts, kind="stable")[:count]
        if counts[row]
    )[:count]
    wanted = [_Targets(_hashes_of(looks[shard], row)) for _, shard, row in worst]
    best = [(0, 0, 0)] * len(worst)  # n-grams, and the shard and row of the held-out document that shares so many
    for number, look in enumerate(looks):
        hashes, rows = _side(look, held_out=True)
        for place, mine in enumerate(wanted):
            hits = np.bincount(mine.find(hashes, rows)[1], minlength=1)
            row = int(hits.argmax())
            if hits[row] > best[place][0]:
                best[place] = (int(hits[row]), number, row)
    found = []
    for (fewer, shard, row), mine, (_, held_out_shard, held_out_row) in zip(worst, wanted, best, strict=True):
        look, held_out = looks[shard], looks[held_out_shard]
        found.append(
            Leak(
                source=str(look["sources"][look["source_of"][row]]),
                ngrams=-fewer,
                group=int(held_out["groups"][held_out_row]),
                held_out_source=str(held_out["sources"][held_out["source_of"][held_out_row]]),
                passage=_passage(held_out, held_out_row, mine, length),
            )
        )
    return found


def _hashes_of(look: Arrays, row: int) -> Hashes:
    end = int(look["counts"][: row + 1].sum())
    hashes: Hashes = look["hashes"][end - int(look["counts"][row]) : end]
    return hashes


def _passage(look: Arrays, row: int, shared: _Targets, length: NGram) -> str:
    """The longest passage of a held-out document whose n-grams are all among those shared."""
    end = int(look["text_bytes"][: row + 1].sum())
    text = look["texts"][end - int(look["text_bytes"][row]) : end].tobytes().decode()
    units = units_of([text])
    starts, hashes = ngrams(units, length.words, length.characters)
    if not len(starts):  # it is too short and was compared as a whole
        return _one_line(text)
    is_shared = np.zeros(len(hashes), bool)
    is_shared[shared.find(hashes, np.arange(len(hashes)))[1]] = True
    borders = np.flatnonzero(np.diff(is_shared, prepend=False, append=False)).reshape(-1, 2)
    first, behind = borders[np.argmax(borders[:, 1] - borders[:, 0])]
    last = starts[behind - 1]
    end_unit = last + (length.characters if units.is_character[last] else length.words)
    begin = units.starts[starts[first]]
    end = units.starts[end_unit] if end_unit < len(units.starts) else len(text)
    return _one_line(text[begin:end])


def _one_line(passage: str) -> str:
    line = " ".join(passage.split())
    return line if len(line) <= PASSAGE_CHARACTERS else f"{line[:PASSAGE_CHARACTERS]}..."
