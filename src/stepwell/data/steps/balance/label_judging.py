"""The models that judge labels, and what they say of each: in text that is read from disk when it is needed.

A corpus is known by small arrays of all documents; texts are read shard by shard, and only those that are wanted. This
file leaves out what is done with the verdicts (`labels.py`), and the arithmetic (`data/labels.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.data.active import POOL_FACTOR, Uncertainty, choose_to_label
from stepwell.data.documents import SPLITS
from stepwell.data.labels import LabelNoise, confident_learning, thresholds_of
from stepwell.data.steps.balance.groups import same_codes
from stepwell.data.steps.step import Arrays
from stepwell.data.text_classifier import FOLDS, FoldedClassifier, folds_of
from stepwell.errors import DataError

FITTED_TEXTS = 30_000
"""Training documents that the models learn from, at most; all are judged."""

JUDGED_CELLS = 100_000_000
"""Documents times classes that are judged, at most: 800 MB of probabilities."""

SHOWN_CHARACTERS = 400
SHOWN_CONFUSIONS = 50


def _texts(look: Arrays, rows: NDArray[np.int64]) -> list[str]:
    blob, ends = look["text"], look["text_ends"]
    return [blob[ends[row - 1] if row else 0 : ends[row]].tobytes().decode() for row in rows.tolist()]


def _texts_at(looks: Sequence[Arrays], places: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[str]:
    """The beginnings of some documents of the corpus, in the order of `places`; each look is read once."""
    found: dict[int, str] = {}
    ends = np.cumsum(sizes)
    for number, end in enumerate(ends.tolist()):
        rows = np.unique(places[(places >= end - sizes[number]) & (places < end)]) - (end - sizes[number])
        if len(rows):
            found |= zip((rows + end - sizes[number]).tolist(), _texts(looks[number], rows), strict=True)
    return [found[place] for place in places.tolist()]


def beginning_of(looks: Sequence[Arrays], place: int, characters: int) -> str:
    """Of the text of one document of the corpus."""
    sizes = np.array([len(look["split"]) for look in looks])
    return _texts_at(looks, np.array([place]), sizes)[0][:characters]


@dataclass(frozen=True)
class LabelledCorpus:
    """All documents, without their texts; `label` is -1 where there is none."""

    label: NDArray[np.int64]
    names: list[str]
    split: NDArray[np.int8]
    digests: NDArray[np.uint64]
    sources: tuple[NDArray[np.int64], list[str]]
    columns: list[str]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, looks: Sequence[Arrays]) -> LabelledCorpus:
        held = [{name: look[name] for name in look if not name.startswith("text")} for look in looks]
        label, names = _whole(held, "label")
        return cls(
            label,
            names,
            np.concatenate([np.zeros(0, np.int8), *(look["split"] for look in held)]),
            np.concatenate([np.zeros((0, 2), np.uint64), *(look["digests"] for look in held)]),
            _whole(held, "source"),
            same_codes(held, "column")[1],
            np.array([len(look["split"]) for look in held], np.int64),
        )

    def counts(self, split: Literal["train", "validation", "test"]) -> dict[str, int]:
        """Label -> documents, the most frequent first."""
        here = self.label[(self.split == SPLITS.index(split)) & (self.label >= 0)]
        return dict(Counter(self.names[code] for code in np.sort(here).tolist()).most_common())

    def source_of(self, place: int) -> str:
        codes, names = self.sources
        return names[int(codes[place])]


def _whole(looks: Sequence[Arrays], name: str) -> tuple[NDArray[np.int64], list[str]]:
    """The codes of all shards in one array, and what they stand for."""
    parts, names = same_codes(looks, name)
    return np.concatenate([np.zeros(0, np.int64), *parts]), names


class Verdicts:
    """What is said of each document's label."""

    def __init__(self, count: int) -> None:
        self.judged, self.suspect = np.zeros(count, bool), np.zeros(count, bool)
        self.likely, self.likely_probability = np.zeros(count, np.int64), np.zeros(count)
        self.confidence, self.margin = np.zeros(count), np.zeros(count)

    def ranked(self) -> NDArray[np.int64]:
        """The suspects, the worst first."""
        found = np.flatnonzero(self.suspect)
        return found[np.lexsort((self.margin[found], self.confidence[found]))]

    def parts(self, ends: NDArray[np.int64]) -> Iterator[dict[str, NDArray[Any]]]:
        """The same by shard."""
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield {name: values[start:end] for name, values in vars(self).items()}


class LabelJudge:
    """Models of the training documents, and what they say."""

    def __init__(self, corpus: LabelledCorpus, looks: Sequence[Arrays]) -> None:
        self._corpus, self._looks = corpus, looks
        train = np.flatnonzero((corpus.split == 0) & (corpus.label >= 0))
        by_digest = train[np.lexsort((corpus.digests[train, 1], corpus.digests[train, 0]))]
        fitted = by_digest[:FITTED_TEXTS]
        folds = np.full(len(corpus.label), -1, np.int64)
        folds[train] = folds_of(corpus.digests[train], corpus.label[train])
        self._classes = self._learnable(corpus.label[fitted], folds[fitted])
        self._code = np.full(len(corpus.names) + 1, -1)  # code among the judged; the last is for no label
        self._code[self._classes] = np.arange(len(self._classes))
        self.labels = labels = self._code[corpus.label]
        self._folds = np.where(labels >= 0, folds, -1)
        fitted = fitted[labels[fitted] >= 0]
        texts = _texts_at(looks, fitted, corpus.sizes)
        self._models = FoldedClassifier(
            texts, labels[fitted], self._folds[fitted], corpus.digests[fitted], len(self._classes)
        )

    def _learnable(self, labels: NDArray[np.int64], folds: NDArray[np.int64]) -> NDArray[np.int64]:
        """The classes with enough examples, in more than one fold.

        Raises:
            DataError: when there are not two of them.
        """
        table = np.zeros((len(self._corpus.names), FOLDS), np.int64)
        np.add.at(table, (labels, folds), 1)
        counts = table.sum(axis=1)
        learnable = np.flatnonzero((counts >= FOLDS) & ((table > 0).sum(axis=1) > 1))
        if len(learnable) < 2:
            names = self._corpus.names
            raise DataError(
                "labels: too few examples to judge labels",
                got=", ".join(f"{name[:40]} {count:,}" for name, count in [*zip(names, counts, strict=True)][:9]),
                wanted=f"two classes with {FOLDS} different training documents each",
                do="add examples, or only count the labels: noise: false",
            )
        if len(learnable) * len(self._corpus.label) > JUDGED_CELLS:
            raise DataError(
                "labels: too many to judge at once",
                got=f"{len(self._corpus.label):,} documents times {len(learnable):,} classes",
                wanted=f"at most {JUDGED_CELLS:,} of their product",
                do="only count the labels (noise: false), or judge a part of the sources",
            )
        return learnable

    def probabilities(self, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(M, K) of the documents that are wanted, in order."""
        parts = [np.zeros((0, len(self._classes)))]
        start = 0
        for look, size in zip(self._looks, self._corpus.sizes.tolist(), strict=True):
            rows = np.flatnonzero(wanted[start : start + size])
            parts.append(self._models.probabilities(_texts(look, rows), self._folds[start + rows]))
            start += size
        return np.concatenate(parts)

    def judge(self, verdicts: Verdicts, worst: int) -> dict[str, Any]:
        """Fill the verdicts; returns findings. What is held out is judged by the thresholds of the training text."""
        corpus = self._corpus
        training = (self.labels >= 0) & (corpus.split == 0)
        found = self.probabilities(training)
        thresholds = thresholds_of(found, self.labels[training])
        noise = self._fill(verdicts, training, found, thresholds)
        held_out = (self.labels >= 0) & (corpus.split > 0)
        other = self._fill(verdicts, held_out, self.probabilities(held_out), thresholds)
        few = sorted({corpus.names[code] for code in np.unique(corpus.label) if code >= 0 and self._code[code] < 0})
        ranked = verdicts.ranked()
        suspects = Counter(SPLITS[split] for split in corpus.split[ranked])
        return {
            "noise_ratio": round(noise.noise_ratio, 4),
            "held_out_noise_ratio": round(other.noise_ratio, 4) if held_out.any() else None,
            "agreement_ratio": round(float((noise.likely == self.labels[training]).mean()), 4),
            "suspects": {split: suspects[split] for split in SPLITS},
            "confusions": self._confusions(verdicts, ranked),
            "worst": self._worst(verdicts, ranked[:worst]),
            "too_few_to_judge": few,
        }

    def _fill(
        self,
        verdicts: Verdicts,
        judged: NDArray[np.bool_],
        found: NDArray[np.float64],
        thresholds: NDArray[np.float64],
    ) -> LabelNoise:
        noise = confident_learning(found, self.labels[judged], thresholds)
        verdicts.judged |= judged
        verdicts.suspect[judged] = noise.suspect
        verdicts.likely[judged] = self._classes[noise.likely]
        verdicts.likely_probability[judged] = found.max(axis=1)
        verdicts.confidence[judged], verdicts.margin[judged] = noise.self_confidence, noise.margin
        return noise

    def _confusions(self, verdicts: Verdicts, suspects: NDArray[np.int64]) -> list[dict[str, Any]]:
        """How many suspects each pair of labels has, the most frequent first."""
        names, given = self._corpus.names, self._corpus.label
        pairs = Counter((names[given[place]], names[verdicts.likely[place]]) for place in suspects)
        shown = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_CONFUSIONS]
        return [{"given": one, "likely": other, "suspects": count} for (one, other), count in shown]

    def _worst(self, verdicts: Verdicts, places: NDArray[np.int64]) -> list[dict[str, Any]]:
        corpus = self._corpus
        texts = _texts_at(self._looks, places, corpus.sizes)
        return [
            {
                "text": text[:SHOWN_CHARACTERS],
                "source": corpus.source_of(int(place)),
                "split": SPLITS[corpus.split[place]],
                "given": corpus.names[corpus.label[place]],
                "likely": corpus.names[verdicts.likely[place]],
                "given_probability": round(float(verdicts.confidence[place]), 4),
                "likely_probability": round(float(verdicts.likely_probability[place]), 4),
            }
            for place, text in zip(places, texts, strict=True)
        ]

    def label_next(self, count: int, by: Uncertainty) -> list[dict[str, Any]]:
        """Training documents without a label that are worth labelling, the most uncertain of each kind."""
        corpus = self._corpus
        wanted = (corpus.label < 0) & (corpus.split == 0)
        found = self.probabilities(wanted)
        pool = choose_to_label(found, count * POOL_FACTOR, by=by)  # only these need vectors
        places, found = np.flatnonzero(wanted)[pool], found[pool]
        texts = _texts_at(self._looks, places, corpus.sizes)
        rows = choose_to_label(found, count, by=by, vectors=self._models.vectors(texts))
        return [
            {
                "text": texts[row][:SHOWN_CHARACTERS],
                "source": corpus.source_of(int(places[row])),
                "likely": corpus.names[self._classes[found[row].argmax()]],
                "likely_probability": round(float(found[row].max()), 4),
            }
            for row in rows
        ]
