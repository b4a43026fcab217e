"""The baseline that every network has to beat: interpolated modified Kneser-Ney n-grams (Chen and Goodman, 1999).

It predicts a symbol from the last few, and trusts a shorter history where the longer one was rarely seen. An n-gram
is a row in a sorted array of integers (number of its prefix, last symbol), so fitting is sorting and scoring is
binary search, all in NumPy. This file leaves out pruning and the ARPA format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For counts of 1, 2 and more, where there are too few n-grams to estimate discounts from (as in KenLM)."""

TOGETHER_SYMBOLS = 1 << 19
"""Sequences that are scored together have about as many."""


class _Table(NamedTuple):
    """All n-grams of one length that were seen.

    Attributes:
        keys: (U,) sorted; prefix number * (V + 1) + last symbol.
        probabilities: (U,) interpolated probability of the last symbol after the others.
        backoff: (number of prefixes,) what is left for the shorter history after each prefix, in (0, 1].
    """

    keys: IntArray
    probabilities: FloatArray
    backoff: FloatArray


class KneserNey:
    """Interpolated modified Kneser-Ney over sequences of integers (bytes or token ids).

    Each sequence is preceded by a begin symbol of the model's own, which is never predicted. Lower orders count how
    many different symbols precede an n-gram, except that n-grams at the beginning, which nothing precedes, keep their
    plain counts.

    Args:
        vocab_size: symbols are in [0, vocab_size).
        order: length of the longest n-gram, from 1.
    """

    def __init__(self, vocab_size: int, order: int = 5) -> None:
        if vocab_size < 1 or order < 1:
            raise ValueError(f"vocab_size and order are at least 1, not {vocab_size} and {order}")
        self.vocab_size, self.order = vocab_size, order
        self._tables: list[_Table] = []
        self._lookups: list[_Lookup] = []

    def fit(self, sequences: Iterable[ArrayLike]) -> Self:
        """Learn from sequences, forgetting what was learned before.

        Args:
            sequences: (T,) symbols of each.

        Raises:
            ValueError: for a symbol out of range.
        """
        symbols = np.concatenate([np.empty(0, np.int64), *(self._with_begin(sequence) for sequence in sequences)])
        levels = _number_ngrams(symbols, self.vocab_size, self.order)
        self._tables, self._lookups = [], []
        shorter = np.full(1, 1 / self.vocab_size)  # the empty n-gram: every symbol alike
        for length in range(1, self.order + 1):
            level = levels[length - 1]
            longer = levels[length] if length < self.order else None
            table = self._table(level, longer, shorter)
            self._tables.append(table)
            shorter = table.probabilities
        return self

    def logprobs(self, sequence: ArrayLike) -> FloatArray:
        """Log-probability of each symbol given the ones before it.

        Args:
            sequence: (T,) symbols.

        Returns:
            (T,) nats.

        Raises:
            ValueError: for a symbol out of range.
        """
        return self._logprobs(self._with_begin(sequence))

    def totals(self, sequences: Iterable[ArrayLike]) -> FloatArray:
        """Log-probability of each of many sequences, as the sum of `logprobs`; short ones together, which is faster.

        Args:
            sequences: (T,) symbols of each.

        Returns:
            (N,) nats.

        Raises:
            ValueError: for a symbol out of range.
        """
        done: list[FloatArray] = []
        held: list[IntArray] = []
        size = 0
        for sequence in sequences:
            held.append(self._with_begin(sequence))
            size += len(held[-1])
            if size >= TOGETHER_SYMBOLS:
                done.append(self._totals(held))
                held, size = [], 0
        return np.concatenate([*done, self._totals(held)]) if held else np.concatenate([np.empty(0), *done])

    def _totals(self, sequences: Sequence[IntArray]) -> FloatArray:
        # No n-gram reaches over a begin symbol, so sequences one after another do not see each other; and each sum is
        # of its own sequence alone, so that it is the same to the bit whatever stands beside it.
        symbols = np.concatenate(sequences)
        logprobs = np.concatenate([[0.0], np.where(symbols[1:] < self.vocab_size, self._logprobs(symbols), 0)])
        ends = np.cumsum([len(sequence) for sequence in sequences])
        totals: FloatArray = np.add.reduceat(logprobs, np.concatenate([[0], ends[:-1]]))
        return totals

    def _logprobs(self, symbols: IntArray) -> FloatArray:
        """(T,) log-probability of each of (T + 1,) symbols but the first, which is a begin symbol."""
        if not self._tables:
            raise ValueError("fit the model before scoring")
        self._lookups = self._lookups or [_Lookup(table.keys) for table in self._tables]
        num = len(symbols) - 1
        probabilities = np.full(num, 1 / self.vocab_size)
        # The n-gram of one symbol less that starts at each place; -1: unseen.
        prefixes = np.zeros(len(symbols), np.int64)
        for length, table in enumerate(self._tables, start=1):
            if not table.keys.size:  # the training text is shorter than this
                break
            prefixes = prefixes[: len(symbols) - length + 1]
            last = symbols[length - 1 :]
            found = self._lookups[length - 1].find(prefixes * (self.vocab_size + 1) + last)
            first = 1 if length == 1 else 0  # the begin symbol alone predicts nothing
            ends, histories, hits = slice(first + length - 2, num), prefixes[first:], found[first:]
            backoff = np.where(histories >= 0, table.backoff[histories], 1.0)
            probabilities[ends] = np.where(hits >= 0, table.probabilities[hits], backoff * probabilities[ends])
            prefixes = found
        logprobs: FloatArray = np.log(probabilities)
        return logprobs

    def predict(self, contexts: IntArray) -> Float32Array:
        """Log-probabilities of every symbol after each of many contexts.

        Every symbol that followed some end of a context in the text has a probability of its own; all others share the
        unigrams, weighed down by what each longer history left over. So a table of unigrams times a number for each
        context is filled first, and what was seen is written over it, short histories before long ones.

        Args:
            contexts: (N, order - 1) symbols, the last one nearest; the begin symbol is vocab_size, and -1 stands where
                there is nothing further back.

        Returns:
            (N, V) nats.
        """
        if not self._tables:
            raise ValueError("fit the model before predicting")
        histories = self._histories(contexts)
        # What histories of each length and all longer ones leave over, for the n-grams that are shorter.
        left = np.ones((self.order + 1, len(contexts)))
        for length, table in reversed(list(enumerate(self._tables))):
            known = histories[length] >= 0 if table.keys.size else np.zeros(len(contexts), np.bool_)
            left[length] = left[length + 1]
            left[length, known] *= table.backoff[histories[length][known]]
        probabilities = np.multiply.outer(left[1].astype(np.float32), self._unigrams().astype(np.float32))
        for length, table in enumerate(self._tables[1:], start=1):
            rows, ngrams = _continuations(table.keys, histories[length], self.vocab_size)
            symbols = table.keys[ngrams] % (self.vocab_size + 1)
            probabilities[rows, symbols] = table.probabilities[ngrams] * left[length + 1, rows]
        logprobs: Float32Array = np.log(probabilities, out=probabilities)
        return logprobs

    def _histories(self, contexts: IntArray) -> list[IntArray]:
        """Numbers of the last 0, 1, ..., order - 1 symbols of each context as n-grams: (N,) each, -1 where unseen."""
        num, size = contexts.shape
        histories = [np.zeros(num, np.int64)]
        numbers = np.where(contexts == -1, -1, 0)  # of the n-gram that begins at each place and is one symbol longer
        for length, table in enumerate(self._tables[:size], start=1):
            numbers = numbers[:, : size - length + 1]
            last = contexts[:, length - 1 :]
            found = _find(table.keys, numbers, last, self.vocab_size) if table.keys.size else np.full_like(numbers, -1)
            numbers = np.where(numbers >= 0, found, -1)
            histories.append(numbers[:, -1])
        return histories

    def _unigrams(self) -> FloatArray:
        """Probability of every symbol after nothing known."""
        table = self._tables[0]
        probabilities = np.full(self.vocab_size, 1 / self.vocab_size)
        if table.keys.size:
            probabilities *= table.backoff[0]
            symbols = table.keys < self.vocab_size  # all but the begin symbol, which is never predicted
            probabilities[table.keys[symbols]] = table.probabilities[symbols]
        return probabilities

    def arrays(self) -> dict[str, NDArray[np.number]]:
        """All that was learned, by name (`2.keys`), for `restore`."""
        return {
            f"{length}.{name}": getattr(table, name)
            for length, table in enumerate(self._tables, start=1)
            for name in _Table._fields
        }

    def restore(self, arrays: Mapping[str, NDArray[np.number]]) -> None:
        """Take over what another model of this vocabulary and order learned.

        Args:
            arrays: of its `arrays`.

        Raises:
            ValueError: when they are not those of such a model.
        """
        wanted = {f"{length}.{name}" for length in range(1, self.order + 1) for name in _Table._fields}
        if wanted != arrays.keys():
            raise ValueError(f"missing {sorted(wanted - arrays.keys())}, extra {sorted(arrays.keys() - wanted)}")
        tables = [
            _Table(
                arrays[f"{length}.keys"].astype(np.int64, copy=False),
                arrays[f"{length}.probabilities"].astype(np.float64, copy=False),
                arrays[f"{length}.backoff"].astype(np.float64, copy=False),
            )
            for length in range(1, self.order + 1)
        ]
        num_prefixes = 1
        for length, table in enumerate(tables, start=1):
            highest = num_prefixes * (self.vocab_size + 1)
            if not (
                table.keys.shape == table.probabilities.shape
                and table.backoff.shape == (num_prefixes,)
                and (not table.keys.size or 0 <= table.keys[0] <= table.keys[-1] < highest)
            ):
                raise ValueError(f"n-grams of {length} symbols do not fit a vocabulary of {self.vocab_size}")
            num_prefixes = len(table.keys)
        self._tables, self._lookups = tables, []

    def _with_begin(self, sequence: ArrayLike) -> IntArray:
        symbols = np.asarray(sequence, dtype=np.int64).reshape(-1)
        if symbols.size and not 0 <= symbols.min() <= symbols.max() < self.vocab_size:
            raise ValueError(f"symbols are in [0, {self.vocab_size}), not {symbols.min()} to {symbols.max()}")
        return np.concatenate([[self.vocab_size], symbols])

    def _table(self, level: _Level, longer: _Level | None, shorter: FloatArray) -> _Table:
        """Probabilities of one length from counts, discounts and shorter histories (Chen and Goodman, section 3)."""
        counts = _adjusted_counts(level, longer)
        num_prefixes = level.num_prefixes
        grade = np.minimum(counts, 3)
        discounts = np.array([0.0, *_discounts(counts)])[grade]
        totals = np.bincount(level.prefix, weights=counts, minlength=num_prefixes)
        taken = np.bincount(level.prefix, weights=discounts, minlength=num_prefixes)
        with np.errstate(invalid="ignore", divide="ignore"):
            backoff = np.where(totals > 0, taken / totals, 1.0)
            kept = np.where(counts > 0, (counts - discounts) / totals[level.prefix], 0.0)
        return _Table(level.keys, kept + backoff[level.prefix] * shorter[level.suffix], backoff)


class _Level(NamedTuple):
    """The distinct n-grams of one length in the training text.

    Attributes:
        length: symbols of an n-gram.
        keys: (U,) sorted, as in `_Table`.
        counts: (U,) how often each occurs.
        begins: (U,) bool, whether it starts with the begin symbol.
        prefix: (U,) number of the n-gram without its last symbol.
        suffix: (U,) number of the n-gram without its first symbol.
        num_prefixes: how many n-grams of one symbol less there are.
    """

    length: int
    keys: IntArray
    counts: IntArray
    begins: NDArray[np.bool_]
    prefix: IntArray
    suffix: IntArray
    num_prefixes: int


def _number_ngrams(symbols: IntArray, vocab_size: int, order: int) -> list[_Level]:
    """Find and number the n-grams of every length up to the order, none across a begin symbol.

    Args:
        symbols: (N,) all sequences one after another, each led by the begin symbol `vocab_size`.
        vocab_size: V.
        order: the longest length.
    """
    levels: list[_Level] = []
    starts = np.arange(len(symbols))  # where an n-gram of the present length begins
    prefixes = np.zeros(
        len(symbols), np.int64
    )  # at each place of the text: the n-gram of one symbol less that begins there
    num_prefixes = 1
    for length in range(1, order + 1):
        starts = starts[starts + length <= len(symbols)]
        last = symbols[starts + length - 1]
        if length > 1:
            starts, last = starts[last != vocab_size], last[last != vocab_size]
        keys, first, numbers, counts = np.unique(
            prefixes[starts] * (vocab_size + 1) + last, return_index=True, return_inverse=True, return_counts=True
        )
        example = starts[first]
        # The last place of a text has no next one; only an n-gram of one symbol stands there, and its suffix is the
        # empty one.
        suffix = np.zeros(len(keys), np.int64) if length == 1 else prefixes[example + 1]
        begins = symbols[example] == vocab_size
        levels.append(_Level(length, keys, counts, begins, keys // (vocab_size + 1), suffix, num_prefixes))
        prefixes = np.full(len(symbols), -1, np.int64)
        prefixes[starts] = numbers
        num_prefixes = len(keys)
    return levels


def _adjusted_counts(level: _Level, longer: _Level | None) -> IntArray:
    """Plain counts for the longest n-grams; for the others, how many different symbols precede them."""
    if longer is None:
        counts = level.counts
    else:
        preceded = np.bincount(longer.suffix, minlength=len(level.keys))
        counts = np.where(level.begins, level.counts, preceded)
    if level.length == 1:
        return np.where(level.begins, 0, counts)  # the begin symbol is a history, never a prediction
    return counts


def _discounts(counts: IntArray) -> tuple[float, float, float]:
    """What is taken from counts of 1, 2 and 3 or more (Chen and Goodman, section 3)."""
    n1, n2, n3, n4 = (int(n) for n in np.bincount(counts[counts <= 4], minlength=5)[1:])
    if not min(n1, n2, n3):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    one, two, three = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return (one, two, three) if two > 0 and three > 0 else FALLBACK_DISCOUNTS


def _continuations(keys: IntArray, histories: IntArray, vocab_size: int) -> tuple[IntArray, IntArray]:
    """All n-grams that begin with a history.

    Args:
        keys: (U,) sorted, as in `_Table`.
        histories: (N,) numbers of n-grams of one symbol less, -1 where unseen.
        vocab_size: V.

    Returns:
        (M,) which of the histories, ascending, and (M,) number of the n-gram.
    """
    rows = np.flatnonzero(histories >= 0)
    begins = histories[rows] * (vocab_size + 1)
    first, stop = np.searchsorted(keys, begins), np.searchsorted(keys, begins + vocab_size + 1)
    counts = stop - first
    ends = counts.cumsum()
    return np.repeat(rows, counts), np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)


class _Lookup:
    """Sorted keys behind a table of hashes: nearly twice as fast as binary search, which waits for memory.

    Args:
        keys: (U,) different, at least 0.
    """

    def __init__(self, keys: IntArray) -> None:
        self._shift = np.uint64(64 - max(4, (2 * len(keys)).bit_length()))  # less than a key for each place
        places = self._places(keys)
        self._order = np.argsort(places, kind="stable")
        self._keys = keys[self._order]
        counts = np.bincount(places, minlength=1 << (64 - int(self._shift)))
        self._begins = np.concatenate([[0], np.cumsum(counts)])

    def _places(self, keys: IntArray) -> IntArray:
        return ((keys.view(np.uint64) * _FACTOR) >> self._shift).view(np.int64)

    def find(self, wanted: IntArray) -> IntArray:
        """Which key each is: (N,) in [0, U), -1 where there is none."""
        found = np.full(len(wanted), -1, np.int64)
        places = self._places(wanted)
        at, ends = self._begins[places], self._begins[places + 1]
        left = np.flatnonzero(at < ends)
        while left.size:
            here = at[left]
            hit = self._keys[here] == wanted[left]
            found[left[hit]] = self._order[here[hit]]
            at[left] += 1
            left = left[~hit & (here + 1 < ends[left])]
        return found


_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: spreads keys that are near each other (Knuth)."""


def _find(keys: IntArray, prefixes: IntArray, last: IntArray, vocab_size: int) -> IntArray:
    """Numbers of n-grams among sorted keys, -1 where there is none."""
    wanted = prefixes * (vocab_size + 1) + last  # below 0, and so never found, where the prefix is unseen
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)
