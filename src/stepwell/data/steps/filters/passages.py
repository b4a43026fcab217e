"""A long text judged passage by passage, so that one bad chapter does not cost a book, nor hide in it.

This file leaves out what judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.data.documents import Document, cut
from stepwell.data.steps.step import Outcome


def passages_of(document: Document, passage_bytes: int | None) -> list[Document]:
    """A text, or its passages where it is long; joined, they are the text but for blank ones.

    Args:
        document: a whole text.
        passage_bytes: largest passage; None for the whole.
    """
    if passage_bytes is None or len(document.text) * 4 <= passage_bytes or document.num_bytes <= passage_bytes:
        return [document]
    texts = [text for text in cut((document.text,), passage_bytes) if not text.isspace()] or [document.text]
    last = len(texts) - 1
    return [
        replace(document, text=text, part=document.part + number, ends=number == last and document.ends)
        for number, text in enumerate(texts)
    ]


def sort_out(document: Document, passages: Sequence[Document], reasons: Sequence[str | None], outcome: Outcome) -> None:
    """Keep a text, or what is good of it.

    Args:
        document: the text as it was.
        passages: of it, perhaps changed.
        reasons: why each is bad; None for a good one.
        outcome: takes them.
    """
    bad = [(one, reason) for one, reason in zip(passages, reasons, strict=True) if reason is not None]
    outcome.dropped += bad
    if len(passages) > 1 and not bad and "".join(one.text for one in passages) == document.text:
        outcome.kept.append(document)
    else:
        outcome.kept += (one for one, reason in zip(passages, reasons, strict=True) if reason is None)
