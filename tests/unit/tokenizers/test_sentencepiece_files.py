"""Reading `.model` files without the sentencepiece library: fields, defaults and faults."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from stepwell.errors import TokenizerError
from stepwell.tokenizers import read_tokenizer
from stepwell.tokenizers.sentencepiece import Piece, PieceKind, build_backend, merges_by_score, read_model

PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁", -1.0, 1), ("a", -2.0, 1), ("▁a", -0.5, 1)]


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value % (1 << 64))


def varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def text(field: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def proto(
    pieces: Iterable[tuple[str, float, int]] = PIECES, trainer: bytes = b"", rules: bytes = b"", more: bytes = b""
) -> bytes:
    """A model file with these messages in it."""
    listed = [
        text(1, text(1, piece) + b"\x15" + struct.pack("<f", score) + number(3, kind)) for piece, score, kind in pieces
    ]
    return b"".join([*listed, text(2, trainer), text(3, rules), more])


def model_file(path: Path, data: bytes) -> Path:
    (path / "tokenizer.model").write_bytes(data)
    return path / "tokenizer.model"


def test_defaults_are_those_of_the_format(tmp_path):
    model = read_model(model_file(tmp_path, proto()))
    assert model.pieces[5] == Piece("▁a", -0.5, PieceKind.NORMAL)
    assert (model.algorithm, model.unk_id, model.bos_id, model.eos_id, model.pad_id) == ("unigram", 0, 1, 2, None)
    assert (model.byte_fallback, model.blank_first, model.collapses_blanks, model.charsmap) == (False, True, True, b"")


def test_fields_are_read(tmp_path):
    trainer = number(3, 2) + number(35, 1) + number(40, 2) + number(41, -1) + number(42, 1) + number(43, 0)
    rules = text(2, b"") + number(3, 0) + number(4, 0) + b"\x49" + bytes(8)  # a field of eight bytes is passed over
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("a", 0.0, 1)]
    model = read_model(model_file(tmp_path, proto(pieces, trainer, rules)))
    assert (model.algorithm, model.unk_id, model.bos_id, model.eos_id, model.pad_id) == ("bpe", 2, None, 1, 0)
    assert (model.byte_fallback, model.blank_first, model.collapses_blanks) == (True, False, False)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "damaged\ngot: no pieces"),
        (proto()[:25], "damaged"),
        (b"\x0a", "damaged"),
        (b"\x0b", "damaged\ngot: wire type 3"),
        (b"\xff" * 20, "damaged\ngot: number too long"),
        (text(1, text(1, b"\xff")), "damaged"),
        (text(1, number(1, 5)), "damaged"),
        (proto([("a", 0.0, 9)]), "damaged"),
        (proto(trainer=number(3, 4)), "got: model type 4"),
        (proto(trainer=number(24, 1)), "got: blanks at the end of words"),
        (proto(rules=number(5, 0)), "got: blanks that stay blanks"),
        (proto(more=text(5, text(2, b"xyz"))), "got: rules for decoding"),
        (proto(trainer=number(40, 99)), "the unknown token is no piece\ngot: 99"),
        (proto([*PIECES, ("a", 0.0, 1)]), "stands in the vocabulary twice"),
        (proto([*PIECES, ("▁▁", 0.0, 4)]), "symbols of blanks are not supported"),
    ],
)
def test_faults_are_named(tmp_path, data, named):
    model_file(tmp_path, data)
    with pytest.raises(TokenizerError, match=named) as fault:
        read_tokenizer(tmp_path)
    assert str(tmp_path) in fault.value.what


def test_no_file(tmp_path):
    with pytest.raises(TokenizerError, match="cannot be read"):
        read_model(tmp_path / "tokenizer.model")


def test_other_families_are_refused(tmp_path):
    """Pegasus, ALBERT and XLNet have such files too, but move the ids or add other ends."""
    (tmp_path / "spiece.model").write_bytes(proto())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pegasus"}))
    with pytest.raises(TokenizerError, match="not supported\ngot: pegasus"):
        read_tokenizer(tmp_path)


def test_merges_follow_the_scores():
    pieces = [Piece("a", -9), Piece("b", -8), Piece("ab", -1), Piece("aba", -0.5), Piece("ba", -2)]
    assert merges_by_score(pieces) == [("a", "ba"), ("ab", "a"), ("a", "b"), ("b", "a")]
    unused = [*pieces[:3], Piece("aba", -0.5, PieceKind.UNUSED), pieces[4]]
    assert merges_by_score(unused) == [("a", "b"), ("b", "a")]


def test_the_backend_says_which_ends_it_adds(tmp_path):
    """So that other programs that read the saved file add the same."""
    model_file(tmp_path, proto(trainer=number(3, 2)))
    made = read_tokenizer(tmp_path)
    assert (made.adds_bos, made.adds_eos) == (True, False)
    assert made._backend.encode("a").ids == [made.bos_id, *made.encode("a")]
    assert build_backend(read_model(tmp_path / "tokenizer.model")).encode("a").ids == made.encode("a").tolist()
