"""Between texts and splits: texts cut to documents, each drawn for a split, each kept once.

These two steps are in every pipeline. Cutting goes from the front, and the split is a hash of the text alone, so more
text moves nothing (`data/documents.py`). This file leaves out near duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from stepwell.data.documents import Document, HeldOut, SplitName, cut, piece_bytes, split_of, trim
from stepwell.data.steps.duplicates.buckets import folder_for
from stepwell.data.steps.duplicates.repeats import Ranked, repeats
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig


class CutConfig(StepConfig):
    """How texts become documents of a split.

    Attributes:
        document_bytes: a longer text is cut into documents of at most this size.
        validation_ratio: share held out for validation.
        test_ratio: share held out for the test.
        own_splits: splits that have sources of their own and take nothing else.
        group: column by whose value a split is drawn, so that documents which share it stay together; None for the
            text.
    """

    kind: Literal["cut"] = "cut"
    document_bytes: int
    validation_ratio: float
    test_ratio: float
    own_splits: tuple[HeldOut, ...] = ()
    group: str | None = None


class Cut(Step[CutConfig]):
    """Cut texts and draw their splits."""

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        for document in documents:
            pieces = list(pieces_of(document, self.config.document_bytes))
            if not pieces:
                outcome.dropped.append((document, "empty"))
            outcome.kept += (replace(piece, split=piece.split or self._drawn(piece)) for piece in pieces)
        return outcome

    def _drawn(self, document: Document) -> SplitName:
        settings = self.config
        digest = document.digest if settings.group is None else document.group_digest(settings.group)
        split = split_of(digest, validation_ratio=settings.validation_ratio, test_ratio=settings.test_ratio)
        return "train" if split in settings.own_splits else split


def pieces_of(document: Document, document_bytes: int) -> Iterator[Document]:
    """A text cut to size; only its last piece ends.

    Args:
        document: a whole text, or a part of a very long one.
        document_bytes: largest piece; that of a small file may be smaller (see `piece_bytes`).
    """
    is_file = not document.is_row and not document.part and document.ends
    text = trim(document.text) if is_file or document.is_row else document.text
    size = piece_bytes(max(1, len(text.encode())), document_bytes) if is_file else document_bytes
    held: Document | None = None
    for number, piece in enumerate(one for one in cut((text,), size) if not one.isspace()):
        if held is not None:
            yield held
        held = replace(document, text=piece, ends=False, part=document.part + number)
    if held is not None:
        yield replace(held, text=trim(held.text), ends=True) if document.ends else held


class SamePiecesConfig(StepConfig):
    """Which pieces of the same text are kept.

    Attributes:
        everywhere: keep one of each text; otherwise only what is held out by sources of its own is kept from training.
    """

    kind: Literal["same_pieces"] = "same_pieces"
    everywhere: bool = True
    own_splits: tuple[HeldOut, ...] = ()


class SamePieces(Step[SamePiecesConfig]):
    """Keep each text once, where it came first; held-out sources come before all others."""

    place: ClassVar[Literal["before_split", "after_split"]] = "after_split"
    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """`digests` (N, 2) uint64 and whether each is of a held-out source, `own` (N,)."""
        digests = np.frombuffer(b"".join(one.digest for one in documents), np.uint64).reshape(-1, 2)
        return {"digests": digests, "own": np.array([one.split in self.config.own_splits for one in documents], bool)}

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `again` (N,): which of its documents were there before."""
        return Joined(self._told(looks))

    def _told(self, looks: Sequence[Arrays]) -> Iterator[Arrays]:
        """What each shard is told, made when it is asked for."""

        def ranked() -> Iterator[Ranked]:
            for look in looks:
                yield look["digests"], (~look["own"]).astype(np.uint8)

        with folder_for("same_pieces", "25 bytes for each document") as folder:
            for again in repeats(folder, ranked, within_a_rank=self.config.everywhere):
                yield {"again": again}

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        again = np.zeros(len(documents), bool) if known is None else known["again"]
        return Outcome(
            kept=[one for one, drop in zip(documents, again, strict=True) if not drop],
            dropped=[(one, "same_text") for one, drop in zip(documents, again, strict=True) if drop],
        )
