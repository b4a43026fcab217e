"""How much of each source the training text has: by weights that are written down, or by a temperature on sizes.

Small sources are repeated, at most so many times; nothing is left out unless the size of the mixture is fixed or a
weight is 0. Held-out documents stay as they are. This file leaves out the arithmetic (`groups.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.balance.groups import Repeating, epochs_of, shares_of
from stepwell.data.steps.step import StepConfig
from stepwell.errors import DataError


class MixConfig(StepConfig):
    """How sources are mixed for training.

    Attributes:
        weights: source as written in the recipe, or a pattern with `*` -> its weight; all sources of one pattern are
            one group. The mixture has bytes in proportion to the weights. Without any, each source weighs its size.
        temperature: shares follow weight^(1 / temperature): 1 leaves the weights, more makes them more even, less
            favours the heaviest; null makes them even.
        max_epochs: no document comes more often than that in one pass over the mixture, whatever the weights.
        size_ratio: size of the mixture over that of the text before; null for the smallest mixture that leaves nothing
            out (but weights of 0).
    """

    kind: Literal["mix"] = "mix"
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    max_epochs: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 4.0
    size_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Mix(Repeating[MixConfig]):
    """Repeat or leave out training documents so that each source has its share of the bytes."""

    def group_of(self, document: Document) -> str:
        weights = self.config.weights
        if document.source in weights:
            return document.source
        return next((name for name in weights if fnmatchcase(document.source, name)), document.source)

    def size_of(self, document: Document) -> int:
        return document.num_bytes

    def plan(self, sizes: Mapping[str, int]) -> Mapping[str, float]:
        weights = self._weights(sizes)
        if not sizes:
            return {}
        several = np.array(list(sizes.values()), float)
        shares = shares_of(np.array([weights[name] for name in sizes]), self.config.temperature)
        epochs = epochs_of(several, shares, self.config.max_epochs, self.config.size_ratio)
        return dict(zip(sizes, epochs.tolist(), strict=True))

    def _weights(self, sizes: Mapping[str, int]) -> Mapping[str, float]:
        weights = self.config.weights
        if not weights:
            return {name: float(size) for name, size in sizes.items()}
        if unweighted := [name for name in sizes if name not in weights]:
            raise DataError(
                "mix: a source without a weight",
                got=", ".join(unweighted[:5]),
                wanted=f"a source of {', '.join(weights)}",
                do='add it to weights; "*" stands for all others together',
            )
        if unknown := [name for name in weights if name not in sizes]:
            raise DataError(
                "mix: a weight of no source",
                got=", ".join(unknown[:5]),
                wanted=f"a source with training documents: {', '.join(list(sizes)[:5]) or 'there is none'}",
                do="write the source as it is in the recipe, or a pattern with *",
            )
        if not any(weights.values()):
            raise DataError("mix: every weight is 0", wanted="one above 0")
        return weights

    def report(
        self, before: Mapping[str, int], epochs: Mapping[str, float], after: Mapping[str, int]
    ) -> Mapping[str, Any]:
        weights = self._weights(before)
        rates = np.array([weights[name] for name in before])
        wanted = shares_of(rates, self.config.temperature) if before else rates
        return {
            "sources": {
                name: {
                    "before_bytes": before[name],
                    "after_bytes": after[name],
                    "before_ratio": _share(before, name),
                    "wanted_ratio": round(float(share), 4),
                    "after_ratio": _share(after, name),
                    "epochs": round(epochs[name], 4),
                }
                for name, share in zip(before, wanted, strict=True)
            },
            "capped": [name for name in before if epochs[name] >= self.config.max_epochs],
        }


def _share(sizes: Mapping[str, int], name: str) -> float:
    return round(sizes[name] / max(1, sum(sizes.values())), 4)
