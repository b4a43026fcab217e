"""Simple taggers: the commonest tag of each word, and a linear model over what stands around it.

The linear one is an averaged structured perceptron (Collins, 2002): n-grams of words around each word, and its ends,
are hashed into weights for each tag, tags have weights for following one another, and where the best sequence is wrong
the weights move. They are kept as tensors, never pickled. This file leaves out how well they do.
"""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from stepwell.runs import write_atomically
from stepwell.tasks import best_tags

Ints = NDArray[np.int64]
Sentences = Sequence[Sequence[str]]

REACH = 2
LONGEST = 3
ENDS = (1, 2, 3)
"""Lengths of a word's beginnings and ends that are told apart."""

NOTHING = 0
"""Bucket of what a short word does not have; it never weighs anything."""


class Tagger(ABC):
    """A simple tagger."""

    name: ClassVar[str]

    @abstractmethod
    def tell(self, words: Sentences) -> list[list[str]]:
        """Tags of each sentence."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept, by name."""

    @classmethod
    @abstractmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The tagger that `arrays` told of."""

    def save(self, path: Path) -> None:
        """Write a file (safetensors)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"stepwell": json.dumps({"name": self.name})}
        write_atomically(path, save({name: np.ascontiguousarray(one) for name, one in self.arrays().items()}, metadata))


class WordTagger(Tagger):
    """Gives each word its commonest tag, and a new word the commonest of all."""

    name = "word_tagger"

    def fit(self, words: Sentences, tags: Sentences) -> None:
        """Count."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for sentence, right in zip(words, tags, strict=True):
            for word, tag in zip(sentence, right, strict=True):
                counts[word][tag] += 1
        everything = sum(counts.values(), Counter[str]())
        self._usual = min(everything, key=lambda tag: (-everything[tag], tag))
        self._tags = {word: min(some, key=lambda tag: (-some[tag], tag)) for word, some in counts.items()}

    def tell(self, words: Sentences) -> list[list[str]]:
        """Tags of each sentence."""
        return [[self._tags.get(word, self._usual) for word in sentence] for sentence in words]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"words": _packed(list(self._tags)), "tags": _packed([*self._tags.values(), self._usual])}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        tagger, words, tags = cls(), _unpacked(arrays["words"]), _unpacked(arrays["tags"])
        tagger._tags, tagger._usual = dict(zip(words, tags, strict=False)), tags[-1]
        return tagger


class PerceptronTagger(Tagger):
    """An averaged structured perceptron.

    Args:
        tags: K names.
        allowed: (K + 1, K + 1) scores of `Tagging.transitions` without a model: what may not follow what.
        num_buckets: that features are hashed into.
        epochs: over the sentences.
    """

    name = "perceptron"

    def __init__(
        self, tags: Sequence[str], allowed: NDArray[np.float64], *, num_buckets: int = 1 << 19, epochs: int = 3
    ) -> None:
        self._tags, self._allowed = tuple(tags), allowed
        self._num_buckets, self._epochs = num_buckets, epochs
        self._weights: NDArray[np.float32] = np.zeros((num_buckets, len(tags)), np.float32)
        self._transitions = np.zeros(allowed.shape)

    def fit(self, words: Sentences, tags: Sentences, seed: int = 0) -> None:
        """Learn, sentence by sentence.

        Args:
            words: of each sentence.
            tags: as many; one with a tag that is not known is passed over.
            seed: decides the order.
        """
        places = {name: number for number, name in enumerate(self._tags)}
        known = [n for n in range(len(words)) if len(words[n]) and all(tag in places for tag in tags[n])]
        features = self._features([words[n] for n in known])
        right = [np.array([places[tag] for tag in tags[n]]) for n in known]
        weights, late = self._weights, np.zeros_like(self._weights)
        between, late_between = self._transitions, np.zeros_like(self._transitions)
        random, step = np.random.default_rng(seed), 1
        for _ in range(self._epochs):
            for n in random.permutation(len(known)).tolist():
                (guess,) = best_tags([weights[features[n]].sum(1)], between + self._allowed)
                wrong = guess != right[n]
                for tagged, sign in ((right[n], 1.0), (guess, -1.0)) if wrong.any() else ():
                    at = features[n][wrong], tagged[wrong][:, None]
                    np.add.at(weights, at, sign)
                    np.add.at(late, at, sign * step)
                    path = np.concatenate([[len(places)], tagged, [len(places)]])
                    np.add.at(between, (path[:-1], path[1:]), sign)
                    np.add.at(late_between, (path[:-1], path[1:]), sign * step)
                weights[NOTHING] = late[NOTHING] = 0
                step += 1
        self._weights = (weights - late / step).astype(np.float32)
        self._transitions = between - late_between / step

    def tell(self, words: Sentences) -> list[list[str]]:
        """Tags of each sentence."""
        scores = [self._weights[one].sum(1) for one in self._features(words)]
        found = best_tags(scores, self._transitions + self._allowed)
        return [[self._tags[place] for place in row.tolist()] for row in found]

    def arrays(self) -> dict[str, NDArray[Any]]:
        used = np.flatnonzero(self._weights.any(1))
        return {
            "tags": _packed(self._tags),
            "allowed": self._allowed,
            "num_buckets": np.array([self._num_buckets]),
            "buckets": used,
            "weights": self._weights[used],
            "transitions": self._transitions,
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        tagger = cls(_unpacked(arrays["tags"]), arrays["allowed"], num_buckets=int(arrays["num_buckets"][0]))
        tagger._weights[arrays["buckets"]] = arrays["weights"]
        tagger._transitions = arrays["transitions"]
        return tagger

    def _features(self, sentences: Sentences) -> list[Ints]:
        """(T, M) buckets of the features of each word."""
        distinct = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        number = {word: at for at, word in enumerate(distinct)}
        codes = np.array([_hash(word) for word in distinct], np.uint64)
        ends = np.array([_ends(word) for word in distinct], np.uint64).reshape(len(distinct), -1)
        found = []
        for sentence in sentences:
            ids = np.array([number[word] for word in sentence], np.int64)
            mixed = np.concatenate([_around(codes[ids]), ends[ids]], axis=1)
            buckets = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
            buckets = np.where(mixed == 0, NOTHING, buckets % np.uint64(self._num_buckets - 1) + np.uint64(1))
            found.append(buckets.astype(np.int64))
        return found


def _packed(names: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(names).encode("utf-8", errors="surrogatepass"), np.uint8)


def _unpacked(packed: NDArray[Any]) -> list[str]:
    return packed.tobytes().decode("utf-8", errors="surrogatepass").split("\0")


def _hash(text: str) -> int:
    data = text.encode("utf-8", errors="surrogatepass")
    return zlib.crc32(data) | zlib.adler32(data) << 32


def _ends(word: str) -> list[int]:
    """Hashes of a word's beginnings, its ends, and its shape; 0 where the word is no longer than that."""
    shape = "".join("A" if one.isupper() else "a" if one.isalpha() else "0" if one.isdigit() else one for one in word)
    short = [part if len(word) > size else "" for size in ENDS for part in (f"<{word[:size]}", f"{word[-size:]}>")]
    return [_hash(part) if part else 0 for part in (*short, f"={shape[:12]}")]


def _around(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(T, M) the n-grams around each of T words, each with its place; what lies outside counts as a word too."""
    padded = np.concatenate([np.ones(REACH, np.uint64), codes, np.full(REACH, 2, np.uint64)])
    found: list[NDArray[Any]] = []
    for n in range(1, LONGEST + 1):
        for shift in range(2 * REACH + 2 - n):
            mixed = np.full(len(codes), 31 * n + shift, np.uint64)
            for part in range(n):
                mixed = mixed * np.uint64(0x100000001B3) + padded[shift + part : shift + part + len(codes)]
            found.append(mixed ^ (mixed >> np.uint64(29)))
    return np.stack(found, axis=1)
