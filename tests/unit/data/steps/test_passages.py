"""A long text is taken apart and put together; nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.filters import text_models
from stepwell.data.steps.filters.passages import passages_of, sort_out
from stepwell.data.steps.filters.text_models import examples_in
from stepwell.data.steps.step import Outcome


@pytest.mark.parametrize("language", ["en", "zh"])
def test_passages_are_the_text(small_text, language):
    book = Document(small_text(language, 30_000), "book", columns={"year": 1791})
    passages = passages_of(book, 4096)
    assert "".join(one.text for one in passages) == book.text
    assert len(passages) > 7
    assert all(one.num_bytes <= 4096 and one.columns == book.columns for one in passages)
    assert [one.part for one in passages] == list(range(len(passages)))
    assert [one.ends for one in passages] == [False] * (len(passages) - 1) + [True]


def test_a_short_text_is_its_only_passage():
    note = Document("水" * 1000, "x")
    assert passages_of(note, 3000) == [note]
    assert passages_of(note, None) == [note]
    assert len(passages_of(note, 2999)) > 1
    blank = Document(" " * 9000, "x")
    assert passages_of(blank, 4096) == [blank]


def test_what_is_good_goes_on(small_text):
    book = Document(small_text("en", 12_000), "book")
    passages = passages_of(book, 4096)
    whole, part = Outcome(), Outcome()
    sort_out(book, passages, [None] * len(passages), whole)
    assert whole.kept == [book]
    sort_out(book, passages, ["dull", *[None] * (len(passages) - 1)], part)
    assert part.kept == passages[1:]
    assert part.dropped == [(passages[0], "dull")]
    none = Outcome()
    sort_out(book, [book], ["dull"], none)
    assert (none.kept, none.dropped) == ([], [(book, "dull")])


def test_examples_of_any_size_are_sampled(tmp_path: Path, small_text, monkeypatch):
    """What is held while reading has a bound, and the sample is that of all at once."""
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(small_text("mixed", 20_000, seed=number), encoding="utf-8")
    whole = examples_in([str(tmp_path)], None, 30_000, "test")
    seen = []
    plain = text_models._smallest
    monkeypatch.setattr(text_models, "_smallest", lambda texts, size: seen.append(len(texts)) or plain(texts, size))
    monkeypatch.setattr(text_models, "HELD_SAMPLES", 1.5)
    again = examples_in([str(tmp_path)], None, 30_000, "test")
    assert again.texts == whole.texts
    assert len(seen) > 3
    assert max(seen) < 20  # of more than thirty pieces
    assert sum(len(text.encode()) for text in whole.texts) <= 30_000
