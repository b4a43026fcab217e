"""Documents laid into rows of one length, densely, without ever crossing from one to another.

Each epoch cuts long documents at other places, packs the pieces best-fit-decreasing (each into the fullest row that
still takes it), cuts more of them where that leaves too much empty, and shuffles the rows, or sorts them where
documents have an order. All of it is a pure function of (seed, epoch), so a run that was stopped goes on with the same
batches. This file leaves out tensors and devices.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data.tokens.shards import DocumentOrder, TokenSplit
from stepwell.errors import DataError

Ints = NDArray[np.int64]
EPOCHS_AT_HAND = 2  # a batch may begin in one epoch and end in the next
MOST_PADDING = 0.009
"""Share of all places that may stay empty; where more would, documents are cut that would fit into a row."""
STRETCH_ROWS = 64
MOST_STRETCHES = 8
"""An epoch in order is packed in so many stretches at most, each of so many rows at least, so that rows are filled."""


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents.

    Attributes:
        token_ids: (B, T) int64 inputs; 0 where there is padding.
        targets: (B, T) int64, the token that follows each input in its document; 0 where there is padding.
        loss_mask: (B, T) bool, False where there is padding.
        document_ids: (B, T) int32, pieces numbered 0, 1, 2, ... within a row; padding has the next number.
        aligned: (B, T) values that go with the inputs, by name; 0 where there is padding.
        of_document: (P, ...) values that go with the documents of the P pieces, by name; row after row, each from its
            first piece.
    """

    token_ids: Ints
    targets: Ints
    loss_mask: NDArray[np.bool_]
    document_ids: NDArray[np.int32]
    aligned: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    of_document: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def num_targets(self) -> int:
        """How many (input, target) pairs count."""
        return int(self.loss_mask.sum())

    @property
    def pieces(self) -> Ints:
        """(B, T) which of the P pieces each place belongs to; P where there is padding."""
        counts = np.where(self.loss_mask, self.document_ids, -1).max(axis=1, initial=-1) + 1
        numbers = self.document_ids + (np.cumsum(counts) - counts)[:, None]
        found: Ints = np.where(self.loss_mask, numbers, counts.sum())
        return found


def pack_best_fit(lengths: Ints, capacity: int) -> Ints:
    """Pack pieces into rows, the longest first, each into the fullest row that still takes it.

    Pieces of one length are placed together: the work grows with the number of lengths, not of pieces.

    Args:
        lengths: (N,) each in [1, capacity].
        capacity: the length of a row.

    Returns:
        (N,) the row of each piece; rows are numbered from 0.
    """
    rows = np.empty(len(lengths), dtype=np.int64)
    num_rows = 0
    open_rows: dict[int, list[Ints]] = {}  # free space -> rows that have so much
    order = np.argsort(-lengths, kind="stable")
    sizes, counts = np.unique(lengths, return_counts=True)
    spaces = np.zeros(capacity + 1, dtype=bool)  # which keys of `open_rows` are there
    start = 0
    for size, count in zip(sizes[::-1].tolist(), counts[::-1].tolist(), strict=True):
        waiting = order[start : start + count]
        start += count
        while len(waiting):
            fitting = np.flatnonzero(spaces[size:])
            if len(fitting):
                space = size + int(fitting[0])
                found = np.concatenate(open_rows.pop(space))
                spaces[space] = False
            else:
                space = capacity
                found = np.arange(num_rows, num_rows + -(-len(waiting) // (capacity // size)))
                num_rows += len(found)
            each = space // size  # how many of these pieces one row takes
            last = min(-(-len(waiting) // each), len(found)) - 1  # the last row that is used, perhaps not filled
            taken = np.repeat(found[: last + 1], each)[: len(waiting)]
            rows[waiting[: len(taken)]] = taken
            _put(open_rows, spaces, space - each * size, found[:last])
            _put(open_rows, spaces, space - (len(taken) - last * each) * size, found[last : last + 1])
            _put(open_rows, spaces, space, found[last + 1 :])
            waiting = waiting[len(taken) :]
    return rows


def _put(open_rows: dict[int, list[Ints]], spaces: NDArray[np.bool_], space: int, rows: Ints) -> None:
    if space and len(rows):
        open_rows.setdefault(space, []).append(rows)
        spaces[space] = True


class PackedEpoch:
    """The rows of one epoch, as indices into the tokens.

    Args:
        split: the tokens.
        max_seq_len: the length T of a row.
        random: decides the cuts, and the order as far as it is left open.
        order: of the documents; None shuffles them.

    Raises:
        DataError: when a document that must stay whole is longer than a row.
    """

    def __init__(
        self,
        split: TokenSplit,
        max_seq_len: int,
        random: np.random.Generator,
        order: DocumentOrder | None = None,
    ) -> None:
        self._token_ids, self._aligned, self._of_document = split.token_ids, split.aligned, split.of_document
        self._max_seq_len = max_seq_len
        if split.whole and (longest := int(np.diff(split.offsets).max(initial=0)) - 1) > max_seq_len:
            raise DataError("packing: an example is longer than a row", got=f"{longest}", wanted=f"up to {max_seq_len}")
        starts, lengths, documents = _cut_pieces(split.offsets, max_seq_len, random)
        mixed = random.permutation(len(starts))
        if order is not None:
            mixed = mixed[np.argsort(order.places[documents[mixed]], kind="stable")]
        starts, lengths = starts[mixed], lengths[mixed]
        rows = pack_best_fit(lengths, max_seq_len) if order is None else _pack_in_order(lengths, max_seq_len)
        num_rows = int(rows.max()) + 1 if len(rows) else 0
        if order is None:
            if not split.whole:
                starts, lengths, rows, num_rows = _fill_rows(starts, lengths, rows, num_rows, max_seq_len)
            rows = random.permutation(num_rows)[rows]
        by_row = np.argsort(rows, kind="stable")
        self._starts, self._lengths = starts[by_row], lengths[by_row]
        self._documents = np.searchsorted(split.offsets, self._starts, side="right") - 1
        self._row_offsets = np.searchsorted(rows[by_row], np.arange(num_rows + 1))
        self.num_targets = int(lengths.sum())

    def __len__(self) -> int:
        return len(self._row_offsets) - 1

    def batch(self, indices: Ints) -> Batch:
        """Some of its rows.

        Args:
            indices: (B,) rows in [0, len(self)).
        """
        first, last = self._row_offsets[indices], self._row_offsets[np.asarray(indices) + 1]
        pieces = _ranges(first, last - first)
        starts, lengths = self._starts[pieces], self._lengths[pieces]
        row_of_piece = np.repeat(np.arange(len(indices)), last - first)
        piece_in_row = pieces - np.repeat(first, last - first)
        ends = np.cumsum(lengths)
        filled = np.bincount(row_of_piece, weights=lengths, minlength=len(indices)).astype(np.int64)
        row_begins = np.cumsum(filled) - filled  # where each row's first pair stands among all pairs
        places = _ranges(row_of_piece * self._max_seq_len + ends - lengths - row_begins[row_of_piece], lengths)
        sources = _ranges(starts, lengths)
        shape = (len(indices), self._max_seq_len)
        token_ids, targets = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        loss_mask = np.zeros(shape, dtype=np.bool_)
        document_ids = np.repeat((last - first).astype(np.int32)[:, None], self._max_seq_len, axis=1)
        token_ids.reshape(-1)[places] = self._token_ids[sources]
        targets.reshape(-1)[places] = self._token_ids[sources + 1]
        loss_mask.reshape(-1)[places] = True
        document_ids.reshape(-1)[places] = np.repeat(piece_in_row, lengths)
        aligned = {name: np.zeros(shape, values.dtype) for name, values in self._aligned.items()}
        for name, values in self._aligned.items():
            aligned[name].reshape(-1)[places] = values[sources]
        documents = self._documents[pieces]
        of_document = {name: values[documents] for name, values in self._of_document.items()}
        return Batch(token_ids, targets, loss_mask, document_ids, aligned, of_document)

    @cached_property
    def padding_ratio(self) -> float:
        """Share of the places in all rows that hold no pair."""
        places = len(self) * self._max_seq_len
        return 1 - self.num_targets / places if places else 0.0


def _fill_rows(starts: Ints, lengths: Ints, rows: Ints, num_rows: int, capacity: int) -> tuple[Ints, Ints, Ints, int]:
    """Where too much is empty, take the emptiest rows apart, as few as will do, and fill rows with their pieces.

    The pieces of these rows are laid end to end and cut where a row is full, so of each row at most one is cut, into
    two. Best fit alone leaves a tenth empty where most documents are a little longer than half a row.

    Args:
        starts: (N,) where each piece begins.
        lengths: (N,) each in [1, capacity].
        rows: (N,) the row of each piece.
        num_rows: how many rows there are.
        capacity: the length of a row.

    Returns:
        The same of the pieces that there are now.
    """
    total = int(lengths.sum())
    most_rows = max(-(-total // capacity), int(total / (capacity * (1 - MOST_PADDING))))
    if num_rows <= most_rows:
        return starts, lengths, rows, num_rows
    filled = np.bincount(rows, weights=lengths, minlength=num_rows).astype(np.int64)
    emptiest = np.argsort(filled, kind="stable")
    saved = np.arange(1, num_rows + 1) + -np.cumsum(filled[emptiest]) // capacity
    apart = np.zeros(num_rows, dtype=bool)
    apart[emptiest[: int(np.searchsorted(saved, num_rows - most_rows)) + 1]] = True
    number = np.cumsum(~apart) - 1  # of a row that stays
    loose = apart[rows]
    begins, sizes = starts[loose], lengths[loose]
    last = np.cumsum(sizes)
    first = last - sizes
    cut = (first // capacity + 1) * capacity  # where the row is full in which a piece begins
    is_cut = last > cut
    tails = (begins + cut - first)[is_cut], (last - cut)[is_cut], (cut // capacity)[is_cut]
    stays = int((~apart).sum())
    return (
        np.concatenate([starts[~loose], begins, tails[0]]),
        np.concatenate([lengths[~loose], np.minimum(last, cut) - first, tails[1]]),
        np.concatenate([number[rows[~loose]], stays + first // capacity, stays + tails[2]]),
        stays + -(-int(sizes.sum()) // capacity),
    )


def _pack_in_order(lengths: Ints, capacity: int) -> Ints:
    """The row of each piece: stretches of pieces are packed each on its own, and rows sorted by their mean place."""
    total = int(lengths.sum())
    stretches = min(max(total // (capacity * STRETCH_ROWS), 1), MOST_STRETCHES)
    stretch = (np.cumsum(lengths) - lengths) * stretches // max(1, total)
    rows = np.empty(len(lengths), dtype=np.int64)
    num_rows = 0
    for number in range(stretches):
        here = stretch == number
        rows[here] = num_rows + pack_best_fit(lengths[here], capacity)
        num_rows = int(rows[here].max()) + 1 if here.any() else num_rows
    filled = np.bincount(rows, weights=lengths, minlength=num_rows)
    places = np.bincount(rows, weights=lengths * np.arange(len(lengths)), minlength=num_rows) / filled
    return np.argsort(np.argsort(places, kind="stable"))[rows]


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers start, start + 1, ... of each range, one range after another."""
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(total)


def _cut_pieces(offsets: Ints, max_seq_len: int, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Cut documents into pieces of at most `max_seq_len` pairs; where the cuts are in a long one is random.

    A long document gives as many whole rows as it can; what remains is shared at random between its beginning and end.

    Returns:
        Where each piece begins among the tokens, how many pairs it has, and of which document it is.
    """
    pairs = np.maximum(np.diff(offsets) - 1, 0)
    head = random.integers(0, pairs % max_seq_len, endpoint=True)
    head[pairs <= max_seq_len] = 0
    has_head = head > 0
    counts = has_head + -(-(pairs - head) // max_seq_len)
    document = np.repeat(np.arange(len(pairs)), counts)
    row = _ranges(-has_head.astype(np.int64), counts)  # -1 for a head, then 0, 1, 2, ...
    begins = np.maximum(head[document] + row * max_seq_len, 0)
    ends = np.minimum(head[document] + (row + 1) * max_seq_len, pairs[document])
    return offsets[:-1][document] + begins, ends - begins, document


class Packer:
    """An endless stream of packed rows: those of epoch 0, then of epoch 1, and so on. Threads may share it.

    Args:
        split: the tokens.
        max_seq_len: the length of a row, at least 1.
        seed: decides every cut and every order.

    Raises:
        DataError: when the split holds nothing to predict.
    """

    def __init__(self, split: TokenSplit, max_seq_len: int, seed: int) -> None:
        if split.num_tokens <= split.num_documents:
            raise DataError(
                "packing: no tokens to predict", got=f"{split.num_tokens} tokens", do="add text to this split"
            )
        self._split = split
        self._max_seq_len = max_seq_len
        self._seed = seed
        self._lock = threading.RLock()  # of the two below; the packing itself happens inside it, once for all threads
        self._epochs: dict[int, PackedEpoch] = {}
        self._ends: list[int] = []  # the global number of the row after each epoch's last

    def rows(self, epoch: int) -> PackedEpoch:
        """The rows of one epoch; a pure function of (seed, epoch)."""
        with self._lock:
            if epoch not in self._epochs:
                while len(self._epochs) >= EPOCHS_AT_HAND:
                    del self._epochs[min(self._epochs)]
                random = np.random.default_rng([self._seed, epoch])
                self._epochs[epoch] = PackedEpoch(self._split, self._max_seq_len, random, self._order(epoch))
            return self._epochs[epoch]

    def row_count(self, epoch: int) -> int:
        """How many rows an epoch has; cuts differ, so this differs a little from epoch to epoch."""
        return len(self.rows(epoch))

    def tokens(self, epoch: int) -> int:
        """How many (input, target) pairs an epoch has: the same in each."""
        return self.rows(epoch).num_targets

    def padding_ratio(self, epoch: int) -> float:
        """Share of an epoch's places that hold no pair."""
        return self.rows(epoch).padding_ratio

    def batch(self, first_row: int, count: int) -> Batch:
        """Rows `first_row` to `first_row + count - 1` of the endless stream.

        Args:
            first_row: number of the first row since the beginning of epoch 0.
            count: how many rows, at least 1.
        """
        parts: list[Batch] = []
        row, last = first_row, first_row + count
        while row < last:
            epoch, at = self._place(row)
            here = min(last - row, self.row_count(epoch) - at)
            parts.append(self.rows(epoch).batch(np.arange(at, at + here)))
            row += here
        if len(parts) == 1:
            return parts[0]
        return Batch(
            np.concatenate([part.token_ids for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.loss_mask for part in parts]),
            np.concatenate([part.document_ids for part in parts]),
            {name: np.concatenate([part.aligned[name] for part in parts]) for name in parts[0].aligned},
            {name: np.concatenate([part.of_document[name] for part in parts]) for name in parts[0].of_document},
        )

    def _place(self, row: int) -> tuple[int, int]:
        """The epoch that a row of the endless stream is in, and its number there."""
        with self._lock:
            while not self._ends or self._ends[-1] <= row:
                before = self._ends[-1] if self._ends else 0
                self._ends.append(before + self.row_count(len(self._ends)))
            epoch = int(np.searchsorted(self._ends, row, side="right"))
            return epoch, row - (self._ends[epoch - 1] if epoch else 0)

    def whereabouts(self, row: int) -> dict[str, Any]:
        """Where the epochs before a row of the endless stream end: plain values for `take_up`.

        Without them, whoever goes on at a late row must pack every epoch before it to know how many rows it has.
        """
        self._place(max(0, row - 1))
        return {"stream": self._stream, "ends": [end for end in self._ends if end <= row]}

    def take_up(self, known: Mapping[str, Any]) -> None:
        """Believe what `whereabouts` said in an earlier process; what it said of another stream is passed over."""
        if known.get("stream") != self._stream:
            return
        with self._lock:
            self._ends += list(known["ends"])[len(self._ends) :]

    def _order(self, epoch: int) -> DocumentOrder | None:
        order = self._split.order
        return order if order is None or order.epochs is None or epoch < order.epochs else None

    @property
    def _stream(self) -> list[int]:
        """What the rows are a function of, but for the text itself."""
        split, order = self._split, self._split.order
        ordered = [] if order is None else [order.epochs or 0, zlib.crc32(order.places.tobytes())]
        return [self._seed, self._max_seq_len, split.num_documents, split.num_tokens, *ordered]
