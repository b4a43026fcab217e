"""What holds for every text: cutting loses nothing, splits are stable, packing covers every pair exactly once."""

from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data import Document, Packer, TokenSplit
from stepwell.data.documents import cut, normalize, piece_bytes, split_of, trim

PARTS = ["well", "井", " ", "\n", "\n\n", ". ", "。", "”", "水水水水水", "\t", "é", "👩‍👧"]
PROSE = st.lists(st.sampled_from(PARTS), max_size=200)
TEXTS = st.text() | PROSE.map("".join)


@given(text=TEXTS, size=st.integers(4, 300))
def test_cutting_loses_nothing_and_keeps_the_size(text: str, size: int) -> None:
    pieces = list(cut((text,), size))
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= size for piece in pieces)


@given(text=TEXTS, size=st.integers(8, 300))
def test_pieces_are_filled(text: str, size: int) -> None:
    pieces = list(cut((text,), size))
    assert [next(cut((piece,), size)) for piece in pieces] == pieces
    assert len(pieces) <= 1 + 2 * len(text.encode()) / size


@given(text=PROSE.map("".join), tail=PROSE.map("".join), size=st.integers(8, 100))
def test_a_tail_moves_nothing(text: str, tail: str, size: int) -> None:
    """Only where the tail is a paragraph of its own: else it lengthens the last one."""
    text = text.rstrip() + "\n\nEnd.\n\n"
    before = list(cut((text,), size))
    after = list(cut((text + "Tail. " + tail,), size))
    assert after[: len(before) - 1] == before[:-1]


@given(text=st.text(alphabet=st.characters()))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    for form in ("NFC", "NFKC", "none"):
        once = normalize(text, form)
        assert normalize(once, form) == once
        assert not set(once) & set("\r\0\ufeff")
        once.encode()
        if form != "none":
            assert unicodedata.is_normalized(form, once)


@given(text=TEXTS)
def test_trimming_twice_is_trimming_once(text: str) -> None:
    once = trim(text)
    assert trim(once) == once
    assert once.strip() == text.strip()


@given(text_bytes=st.integers(1, 10**9), document_bytes=st.integers(512, 10**6))
def test_pieces_have_a_sensible_size(text_bytes: int, document_bytes: int) -> None:
    size = piece_bytes(text_bytes, document_bytes)
    assert 512 <= size <= document_bytes
    if text_bytes > document_bytes:
        assert piece_bytes(text_bytes + 1, document_bytes) >= size
        assert size in (512, document_bytes) or text_bytes / size >= 64


@given(text=TEXTS, ratios=st.tuples(st.floats(0, 0.45), st.floats(0, 0.45)), blanks=st.text(alphabet=" \n", max_size=3))
def test_a_document_stays_in_its_split(text: str, ratios: tuple[float, float], blanks: str) -> None:
    validation_ratio, test_ratio = ratios
    one, other = Document(text, "a"), Document(blanks + text + blanks, "b", ends=False)
    place = split_of(one.digest, validation_ratio=validation_ratio, test_ratio=test_ratio)
    assert split_of(other.digest, validation_ratio=validation_ratio, test_ratio=test_ratio) == place
    if place == "test":  # a larger share of validation never takes from the test split
        assert split_of(one.digest, validation_ratio=0.5, test_ratio=test_ratio) == "test"


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    max_seq_len=st.integers(1, 24),
    seed=st.integers(0, 99),
)
def test_packing_covers_every_pair_exactly_once(lengths: list[int], max_seq_len: int, seed: int) -> None:
    offsets = np.concatenate([[0], np.cumsum([*lengths, 2])]).astype(np.int64)
    split = TokenSplit(np.arange(offsets[-1], dtype=np.uint16), offsets, np.array([*lengths, 2]))
    packer = Packer(split, max_seq_len, seed)
    document_of = np.repeat(np.arange(split.num_documents), np.diff(offsets))
    for epoch in range(2):
        rows = packer.rows(epoch)
        batch = rows.batch(np.arange(len(rows)))
        inputs, targets = batch.token_ids[batch.loss_mask], batch.targets[batch.loss_mask]
        assert (targets == inputs + 1).all()
        assert (document_of[targets] == document_of[inputs]).all()
        last_tokens = set((offsets[1:] - 1).tolist())
        assert Counter(inputs.tolist()) == Counter(n for n in range(offsets[-1]) if n not in last_tokens)
        for row in range(len(rows)):
            for piece in np.unique(batch.document_ids[row][batch.loss_mask[row]]):
                here = batch.token_ids[row][batch.document_ids[row] == piece]
                assert len(here) == 1 or (np.diff(here) == 1).all()
        smallest = -(-packer.tokens(epoch) // max_seq_len)
        assert smallest <= len(rows) <= 2 * smallest
