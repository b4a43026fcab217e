"""Classes made more even in training: small ones repeated, large ones thinned, or every example given a weight.

The wanted share of a class follows from its size and a temperature, as with sources. Held-out documents stay as they
are. This file leaves out the arithmetic (`groups.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.labels import Balance, find_label_column, label_of
from stepwell.data.steps.balance.groups import Repeating, epochs_of, shares_of
from stepwell.data.steps.step import Arrays, Joined, Outcome, StepConfig
from stepwell.errors import DataError


class ResampleConfig(StepConfig):
    """How classes are made more even for training.

    Attributes:
        column: with the labels; found by its name when absent. It must be among the `columns` of the data.
        method: `oversample` repeats documents of small classes, `undersample` leaves out some of large ones, `weights`
            writes a column `weight` with the mean 1 and changes nothing else.
        temperature: shares of classes follow size^(1 / temperature): 1 leaves them as they are, more makes them more
            even; null makes them even.
        max_epochs: of `oversample`: no document comes more often than that.
    """

    kind: Literal["resample"] = "resample"
    column: str | None = None
    method: Literal["oversample", "undersample", "weights"] = "oversample"
    temperature: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    max_epochs: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 4.0


class Resample(Repeating[ResampleConfig]):
    """Repeat, leave out or weigh training documents so that each class has its share."""

    def group_of(self, document: Document) -> str | None:
        column = self.config.column or find_label_column(document.columns)
        return None if column is None else label_of(document.columns, column)

    def size_of(self, document: Document) -> int:
        return 1

    def plan(self, sizes: Mapping[str, int]) -> Mapping[str, float]:
        if len(sizes) < 2:
            raise DataError(
                "resample: fewer than two classes in training",
                got=", ".join(f"{name} ({size:,})" for name, size in sizes.items()) or "no document with a label",
                wanted=f"a column {self.config.column or 'of labels'} with two classes or more",
                do="name the column among those that go with each text (data.columns: [label])",
            )
        counts = np.array(list(sizes.values()), float)
        shares = shares_of(counts, self.config.temperature)
        if self.config.method == "undersample":
            rates = shares / counts
            epochs = np.round(rates / rates.max(), 9)
        else:
            epochs = epochs_of(counts, shares, self.config.max_epochs)
        return dict(zip(sizes, epochs.tolist(), strict=True))

    def report(
        self, before: Mapping[str, int], epochs: Mapping[str, float], after: Mapping[str, int]
    ) -> Mapping[str, Any]:
        left = {name: count for name, count in after.items() if count}
        return {
            "classes": {
                name: {"before": before[name], "after": after[name], "epochs": round(epochs[name], 4)}
                for name in before
            },
            "imbalance_factor_before": round(Balance(before).imbalance_factor, 4),
            "imbalance_factor_after": round(Balance(left).imbalance_factor, 4),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        if self.config.method != "weights":
            return super().join(looks)
        held = list(looks)
        counts: dict[str, int] = {}
        for look in held:
            for code, name in enumerate(look["group_names"]):
                counts[str(name)] = counts.get(str(name), 0) + int((look["group"] == code).sum())
        counts = dict(sorted(counts.items()))
        self.plan(counts)  # raises where there are no classes
        sizes = np.array(list(counts.values()), float)
        weights = shares_of(sizes, self.config.temperature) * sizes.sum() / sizes
        of_class = dict(zip(counts, weights.tolist(), strict=True))
        known = [
            {"weight": np.array([*(of_class[str(name)] for name in look["group_names"]), 1.0])[look["group"]]}
            for look in held
        ]
        classes = {name: {"before": counts[name], "weight": round(of_class[name], 4)} for name in counts}
        factor = Balance(counts).imbalance_factor
        return Joined(known, {"weighted": True, "classes": classes, "imbalance_factor_before": factor})

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        if self.config.method != "weights":
            return super().apply(documents, known)
        assert known is not None
        return Outcome(
            [
                one.with_columns({"weight": round(weight, 6)}) if one.split == "train" else one
                for one, weight in zip(documents, known["weight"].tolist(), strict=True)
            ]
        )
