"""Labels looked at: how even the classes are in each split, and which labels are likely wrong.

Models of the training documents judge each label (`data/labels.py`), those of other folds in training and all of them
in what is held out, so nothing that is held out decides what is learned from. Verdicts become columns; suspects of the
training split are dropped only when asked. This file leaves out evening the classes (`resample.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.active import POOL_FACTOR, Uncertainty, choose_to_label
from stepwell.data.documents import SPLITS, Document
from stepwell.data.labels import (
    LABEL_COLUMNS,
    Balance,
    LabelNoise,
    confident_learning,
    find_label_column,
    label_of,
    names_alike,
)
from stepwell.data.steps.groups import as_codes, same_codes
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig
from stepwell.data.text_classifier import FOLDS, READ_CHARACTERS, FoldedClassifier, folds_of
from stepwell.errors import DataError

FITTED_TEXTS = 30_000
"""Training documents that the models learn from, at most; all are judged."""

JUDGED_CELLS = 100_000_000
"""Documents times classes that are judged, at most: 800 MB of probabilities."""

FEW_CLASSES = 20
SHOWN_CHARACTERS = 400
SHOWN_CONFUSIONS = 50


class LabelsConfig(StepConfig):
    """How labels are looked at.

    Attributes:
        column: with the labels; found by its name (`label`, `category`, `class`, ...) when absent. It must be among
            the `columns` of the data.
        missing: what happens to documents without a label: an error, they are dropped, or they go on unlabelled.
        action: what happens to training documents whose label is likely wrong; the column `label_suspect` says it
            in every split.
        noise: whether labels are judged at all, or only counted.
        worst: how many of the most suspect labels are shown.
        label_next: how many unlabelled documents are proposed as the next ones to label.
        uncertainty: by which measure these are chosen.
    """

    kind: Literal["labels"] = "labels"
    column: str | None = None
    missing: Literal["error", "drop", "keep"] = "error"
    action: Literal["mark", "drop"] = "mark"
    noise: bool = True
    worst: int = Field(default=50, ge=0, le=10_000)
    label_next: int = Field(default=0, ge=0, le=10_000)
    uncertainty: Uncertainty = "margin"


class Labels(Step[LabelsConfig]):
    """Count labels, judge them, and mark or drop the suspects."""

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """What is known of each document: digest, split, source, label and where it stands, and the beginning."""
        columns = [self.config.column or find_label_column(one.columns) for one in documents]
        labels = [
            None if column is None else label_of(one.columns, column)
            for one, column in zip(documents, columns, strict=True)
        ]
        texts = [one.text[:READ_CHARACTERS].encode() for one in documents]
        return {
            "digests": np.frombuffer(b"".join(one.digest for one in documents), np.uint64).reshape(-1, 2),
            "split": np.array([SPLITS.index(one.split or "train") for one in documents], np.int8),
            "text": np.frombuffer(b"".join(texts), np.uint8),
            "text_ends": np.cumsum([len(one) for one in texts], dtype=np.int64),
            **as_codes("label", labels),
            **as_codes("column", columns),
            **as_codes("source", [one.source for one in documents]),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `known` (whether judged), `suspect`, `likely` (a place in `names`), `confidence`."""
        corpus = _Corpus.of(looks)
        self._check(corpus, looks)
        findings = self._balance(corpus)
        verdicts = _Verdicts(len(corpus.label))
        if self.config.noise:
            judge = _Judge(corpus, looks)
            findings |= judge.judge(verdicts, self.config.worst)
            if self.config.label_next:
                findings["label_next"] = judge.label_next(self.config.label_next, self.config.uncertainty)
        ends = np.cumsum([len(look["split"]) for look in looks])
        names = np.array(corpus.names)
        return Joined([{**part, "names": names} for part in verdicts.parts(ends)], findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        assert known is not None
        for number, document in enumerate(documents):
            column = self.config.column or find_label_column(document.columns)
            if self.config.missing == "drop" and (column is None or label_of(document.columns, column) is None):
                outcome.dropped.append((document, "no_label"))
                continue
            suspect = bool(known["suspect"][number])
            if suspect and self.config.action == "drop" and document.split == "train":
                outcome.dropped.append((document, "label_suspect"))
                continue
            if known["judged"][number]:
                verdict: dict[str, Any] = {
                    "label_suspect": suspect,
                    "label_confidence": round(float(known["confidence"][number]), 4),
                }
                if suspect:
                    verdict["label_likely"] = str(known["names"][known["likely"][number]])
                document = document.with_columns(verdict)
            outcome.kept.append(document)
        return outcome

    def _check(self, corpus: _Corpus, looks: Sequence[Arrays]) -> None:
        """Raise where the labels cannot be used as they are."""
        if len(corpus.columns) > 1:
            raise DataError(
                "labels: in several columns",
                got=", ".join(sorted(corpus.columns)),
                do="name one: {kind: labels, column: ...}",
            )
        labelled = corpus.label >= 0
        if not labelled.any():
            raise DataError(
                "labels: no document has a label",
                got="no column of labels" if not corpus.columns else f"nothing in column {next(iter(corpus.columns))}",
                wanted=f"a column {self.config.column or ' or '.join(LABEL_COLUMNS[:5])}",
                do="name the column among those that go with each text (data.columns: [label]), and here if it has "
                "another name (column: ...)",
            )
        if self.config.missing == "error" and not labelled.all():
            example = int(np.flatnonzero(~labelled)[0])
            raise DataError(
                "labels: documents without a label",
                got=f"{int((~labelled).sum()):,} of {len(labelled):,}, the first from {corpus.source_of(example)}: "
                f"{_beginning(looks, example, 60)!r}",
                do="label them, or say what becomes of them: missing: drop or missing: keep",
            )
        counts = corpus.counts("train")
        if len(counts) > max(FEW_CLASSES, sum(counts.values()) // 2):
            raise DataError(
                "labels: the column has no classes",
                got=f"{len(counts):,} different values in {sum(counts.values()):,} training documents, such as "
                f"{', '.join(name[:40] for name in list(counts)[:4])}",
                wanted="a few classes with several documents each",
                do="name the column with the labels: {kind: labels, column: ...}",
            )
        if len(counts) < 2:
            raise DataError(
                "labels: fewer than two classes in training",
                got=", ".join(f"{name} ({count:,})" for name, count in counts.items()) or "none",
                wanted="two classes or more",
                do="check that the column has the labels, or leave the step out",
            )

    def _balance(self, corpus: _Corpus) -> dict[str, Any]:
        counts = {split: corpus.counts(split) for split in SPLITS}
        named = dict.fromkeys(name for split in SPLITS for name in counts[split])
        train = Balance(counts["train"])
        return {
            "column": self.config.column or next(iter(corpus.columns)),
            "labels": {name: {split: counts[split].get(name, 0) for split in SPLITS} for name in named},
            "imbalance_factor": round(train.imbalance_factor, 4),
            "effective_classes": round(train.effective_classes, 4),
            "alike_names": names_alike(corpus.names),
            "no_label": int((corpus.label < 0).sum()),
        }


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


def _beginning(looks: Sequence[Arrays], place: int, characters: int) -> str:
    sizes = np.array([len(look["split"]) for look in looks])
    return _texts_at(looks, np.array([place]), sizes)[0][:characters]


@dataclass(frozen=True)
class _Corpus:
    """All documents, without their texts; `label` is -1 where there is none."""

    label: NDArray[np.int64]
    names: list[str]
    split: NDArray[np.int8]
    digests: NDArray[np.uint64]
    sources: tuple[NDArray[np.int64], list[str]]
    columns: list[str]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, looks: Sequence[Arrays]) -> _Corpus:
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


class _Verdicts:
    """What is said of each document's label."""

    def __init__(self, count: int) -> None:
        self.judged, self.suspect = np.zeros(count, bool), np.zeros(count, bool)
        self.likely, self.confidence = np.zeros(count, np.int64), np.zeros(count)

    def parts(self, ends: NDArray[np.int64]) -> Iterator[dict[str, NDArray[Any]]]:
        """The same by shard."""
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield {name: values[start:end] for name, values in vars(self).items()}


class _Judge:
    """Models of the training documents, and what they say."""

    def __init__(self, corpus: _Corpus, looks: Sequence[Arrays]) -> None:
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

    def judge(self, verdicts: _Verdicts, worst: int) -> dict[str, Any]:
        """Fill the verdicts; returns findings."""
        corpus, judged = self._corpus, self.labels >= 0
        found = self.probabilities(judged)
        places = np.flatnonzero(judged)
        noise = confident_learning(found, self.labels[places])
        verdicts.judged[:] = judged
        verdicts.suspect[places] = noise.suspect
        verdicts.likely[places] = self._classes[noise.likely]
        verdicts.confidence[places] = noise.self_confidence
        few = sorted({corpus.names[code] for code in np.unique(corpus.label) if code >= 0 and self._code[code] < 0})
        suspects = Counter(SPLITS[corpus.split[place]] for place in places[noise.suspect])
        return {
            "noise_ratio": round(noise.noise_ratio, 4),
            "agreement_ratio": round(float((noise.likely == self.labels[places]).mean()), 4),
            "suspects": {split: suspects[split] for split in SPLITS},
            "confusions": self._confusions(noise, places),
            "worst": self._worst(noise, found, places, worst),
            "too_few_to_judge": few,
        }

    def _confusions(self, noise: LabelNoise, places: NDArray[np.int64]) -> list[dict[str, Any]]:
        """How many suspects each pair of labels has, the most frequent first."""
        names, given = self._corpus.names, self._corpus.label[places]
        pairs = Counter(
            (names[given[row]], names[self._classes[noise.likely[row]]]) for row in np.flatnonzero(noise.suspect)
        )
        shown = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_CONFUSIONS]
        return [{"given": one, "likely": other, "suspects": count} for (one, other), count in shown]

    def _worst(
        self, noise: LabelNoise, found: NDArray[np.float64], places: NDArray[np.int64], count: int
    ) -> list[dict[str, Any]]:
        corpus, rows = self._corpus, noise.ranked()[:count]
        texts = _texts_at(self._looks, places[rows], corpus.sizes)
        return [
            {
                "text": text[:SHOWN_CHARACTERS],
                "source": corpus.source_of(int(places[row])),
                "split": SPLITS[corpus.split[places[row]]],
                "given": corpus.names[corpus.label[places[row]]],
                "likely": corpus.names[self._classes[noise.likely[row]]],
                "given_probability": round(float(noise.self_confidence[row]), 4),
                "likely_probability": round(float(found[row].max()), 4),
            }
            for row, text in zip(rows, texts, strict=True)
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
