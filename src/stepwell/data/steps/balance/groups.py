"""Documents in named groups (sources, classes): how large each is, and how often its documents are repeated.

A group's share of the mixture is wanted, its size is known, so its epochs follow; whole epochs repeat every document,
and the fraction that is left goes to the documents with the smallest draws, until it is filled. Draws follow from a
document's digest, so shards and workers play no part. This file leaves out what the groups are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from stepwell.data.documents import Document
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig
from stepwell.seeding import derive_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def as_codes(name: str, values: Sequence[str | None]) -> dict[str, NDArray[Any]]:
    """A few different texts as `name`: (N,) numbers, -1 for None, and `name_names`: the texts."""
    names = sorted({value for value in values if value is not None})
    number = {value: code for code, value in enumerate(names)}
    codes = np.array([-1 if value is None else number[value] for value in values], np.int64)
    return {name: codes, f"{name}_names": np.array(names, np.str_)}


def same_codes(looks: Sequence[Arrays], name: str) -> tuple[list[Ints], list[str]]:
    """What `as_codes` gave of each shard as codes of one sorted list of texts."""
    several = [(look[name], [str(one) for one in look[f"{name}_names"]]) for look in looks]
    names = sorted({one for _, own in several for one in own})
    number = {value: code for code, value in enumerate(names)}
    parts = []
    for codes, own in several:
        table = np.array([*(number[one] for one in own), -1], np.int64)  # code -1 stands last
        parts.append(table[codes])
    return parts, names


def shares_of(rates: Floats, temperature: float | None) -> Floats:
    """Wanted shares: proportional to rate^(1 / temperature) (Raffel et al., 2020, "T5", section 3.5.2).

    Args:
        rates: (G,) at least 0, one of them above; sizes, or weights.
        temperature: above 0; 1 leaves the rates as they are, more makes them more even; None makes them even.

    Returns:
        (G,) with the sum 1; what has the rate 0 gets nothing.
    """
    rates = np.asarray(rates, float)
    powers = np.where(rates > 0, 1.0, 0.0)
    if temperature is not None:
        powers = powers * (rates / rates.max()) ** (1 / temperature)
    return np.asarray(powers / powers.sum())


def epochs_of(sizes: Floats, shares: Floats, max_epochs: float, size_ratio: float | None = None) -> Floats:
    """How often each group is repeated, so that the mixture has these shares as nearly as the cap allows.

    All epochs are `min(max_epochs, scale * share / size)`. Where the cap binds, the other groups keep their
    proportions to each other (as in UniMax; Chung et al., 2023).

    Args:
        sizes: (G,) above 0.
        shares: (G,) at least 0.
        max_epochs: the cap, above 0.
        size_ratio: size of the mixture over that of all groups; None for the smallest mixture in which every group
            with a share has a whole epoch.

    Returns:
        (G,) in [0, max_epochs].
    """
    sizes = np.asarray(sizes, float)
    rates = np.asarray(shares, float) / sizes
    positive = rates > 0
    if size_ratio is None:
        epochs = rates / rates[positive].min()
    else:
        wanted = size_ratio * sizes.sum()
        order = np.argsort(-rates, kind="stable")
        epochs = np.where(positive, max_epochs, 0.0)
        for capped in range(int(positive.sum())):
            rest = order[capped:]
            left = wanted - max_epochs * sizes[order[:capped]].sum()
            scale = max(0.0, left) / (sizes[rest] * rates[rest]).sum()
            if scale * rates[rest[0]] <= max_epochs:
                epochs = np.where(np.isin(np.arange(len(sizes)), rest), scale * rates, max_epochs)
                break
    return np.asarray(np.round(np.minimum(epochs, max_epochs), 9))


def times_of(sizes: Ints, draws: NDArray[np.uint64], epochs: float) -> Ints:
    """How often each document of one group comes.

    Args:
        sizes: (N,) of the documents.
        draws: (N,) by which documents are chosen for a fraction of an epoch, the smallest first.
        epochs: at least 0.

    Returns:
        (N,) each `floor(epochs)` or one more; together as near to `epochs * sum(sizes)` as whole documents allow.
    """
    times = np.full(len(sizes), int(epochs), np.int64)
    order = np.lexsort((sizes, draws))
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    times[order[middles < (epochs - int(epochs)) * sizes.sum()]] += 1
    return times


GroupedConfigT = TypeVar("GroupedConfigT", bound=StepConfig)


class Repeating(Step[GroupedConfigT], Generic[GroupedConfigT]):
    """Base of the steps that repeat or leave out training documents by group."""

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True
    draws: ClassVar[bool] = True

    @abstractmethod
    def group_of(self, document: Document) -> str | None:
        """The group of a training document; None for one that comes once, whatever the others do."""

    @abstractmethod
    def size_of(self, document: Document) -> int:
        """What the document counts in the sizes of groups."""

    @abstractmethod
    def plan(self, sizes: Mapping[str, int]) -> Mapping[str, float]:
        """The epochs of each group.

        Args:
            sizes: of the groups, in the order of their names; each at least 1.

        Raises:
            DataError: when the settings do not fit the groups.
        """

    @abstractmethod
    def report(
        self, before: Mapping[str, int], epochs: Mapping[str, float], after: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """Findings, of sizes before and after by group."""

    def look(self, documents: Sequence[Document]) -> Arrays:
        """Of each document its `group`, its `size` and its `draw`; -1 as the group of what is left alone."""
        training = [one.split == "train" for one in documents]
        groups = [self.group_of(one) if train else None for one, train in zip(documents, training, strict=True)]
        draws = [derive_seed(self.around.seed, self.config.kind, one.digest.hex()) for one in documents]
        return {
            **as_codes("group", groups),
            "size": np.array([self.size_of(one) for one in documents], np.int64),
            "draw": np.array(draws, np.uint64),
            "ungrouped": np.array(sum(train and group is None for train, group in zip(training, groups, strict=True))),
        }

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `times` (N,): how often each document comes."""
        held = list(looks)  # a few numbers for each document
        parts, names = same_codes(held, "group")
        codes = np.concatenate([np.zeros(0, np.int64), *parts])
        sizes = np.concatenate([np.zeros(0, np.int64), *(look["size"] for look in held)])
        draws = np.concatenate([np.zeros(0, np.uint64), *(look["draw"] for look in held)])
        order = np.argsort(codes, kind="stable")
        borders = np.searchsorted(codes[order], np.arange(len(names) + 1))
        members = {name: order[start:end] for name, (start, end) in zip(names, pairwise(borders), strict=True)}
        before = {name: int(sizes[own].sum()) for name, own in members.items()}
        epochs = self.plan(before)
        times = np.ones(len(codes), np.int64)
        for name, own in members.items():
            times[own] = times_of(sizes[own], draws[own], epochs[name])
        after = {name: int((sizes[own] * times[own]).sum()) for name, own in members.items()}
        ends = np.cumsum([len(part) for part in parts])
        known = [{"times": times[end - len(part) : end]} for part, end in zip(parts, ends, strict=True)]
        ungrouped = int(sum(look["ungrouped"] for look in held))
        alone = {"ungrouped": ungrouped} if ungrouped else {}
        return Joined(known, {**self.report(before, epochs, after), **alone})

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        assert known is not None
        for document, times in zip(documents, known["times"].tolist(), strict=True):
            if not times:
                outcome.dropped.append((document, "left_out_of_mixture"))
                continue
            outcome.kept.append(document)
            outcome.kept += (document.with_columns({"repeat": number}) for number in range(1, times))
            outcome.findings["repeats"] += times - 1
        return outcome
