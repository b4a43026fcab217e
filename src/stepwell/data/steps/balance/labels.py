"""Labels looked at: how even the classes are in each split, and which labels are likely wrong.

Models of the training documents judge each label (`data/labels.py`), those of other folds in training and all of them
in what is held out, so nothing that is held out decides what is learned from. Verdicts become columns; suspects of the
training split are dropped only when asked. This file leaves out the judging (`label_judging.py`), and evening the
classes (`resample.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from stepwell.data.active import Uncertainty
from stepwell.data.documents import SPLITS, Document
from stepwell.data.labels import LABEL_COLUMNS, Balance, find_label_column, label_of, names_alike
from stepwell.data.steps.balance.groups import as_codes
from stepwell.data.steps.balance.label_judging import LabelJudge, LabelledCorpus, Verdicts, beginning_of
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig
from stepwell.data.text_classifier import READ_CHARACTERS
from stepwell.errors import DataError

FEW_CLASSES = 20
"""So many different values are classes, however few documents there are."""


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
        corpus = LabelledCorpus.of(looks)
        self._check(corpus, looks)
        findings = self._balance(corpus)
        verdicts = Verdicts(len(corpus.label))
        if self.config.noise:
            judge = LabelJudge(corpus, looks)
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

    def _check(self, corpus: LabelledCorpus, looks: Sequence[Arrays]) -> None:
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
                f"{beginning_of(looks, example, 60)!r}",
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

    def _balance(self, corpus: LabelledCorpus) -> dict[str, Any]:
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
