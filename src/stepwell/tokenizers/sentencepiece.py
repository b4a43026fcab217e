"""Sentencepiece models: reading the `.model` file, and a backend that cuts text as sentencepiece does.

A sentencepiece vocabulary works on text whose blanks are written `▁`; a unigram model takes the most probable cutting
(Kudo 2018), a BPE model merges in the order of its scores, and bytes stand in for characters that it does not have. The
file is a protocol buffer of a few fields, read here directly, as no library that is light would do it. This file leaves
out what a model family adds around the vocabulary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from stepwell.errors import TokenizerError
from stepwell.tokenizers.encoders import NEVER
from stepwell.tokenizers.files import damaged

BLANK = "▁"

Algorithm = str
"""`unigram` or `bpe`."""

ALGORITHMS: dict[int, Algorithm] = {1: "unigram", 2: "bpe"}


class PieceKind(IntEnum):
    """What a piece is; sentencepiece and GGUF files use the same numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One piece of a vocabulary; its place in the list is its id.

    Attributes:
        text: as the vocabulary writes it.
        score: log probability (unigram) or priority (BPE: higher merges first).
        kind: what it is.
    """

    text: str
    score: float
    kind: PieceKind = PieceKind.NORMAL


@dataclass(frozen=True)
class SentencePieceModel:
    """What a sentencepiece file says.

    Attributes:
        pieces: the vocabulary, by id.
        algorithm: how text is cut.
        unk_id: the piece for unknown text.
        bos_id: the begin token, or None.
        eos_id: the end token, or None.
        pad_id: the padding token, or None.
        byte_fallback: whether unknown characters become their bytes.
        charsmap: compiled rules that normalise characters; empty for none.
        blank_first: whether a blank is put before the text.
        collapses_blanks: whether blanks at both ends go and several become one.
    """

    pieces: tuple[Piece, ...]
    algorithm: Algorithm
    unk_id: int = 0
    bos_id: int | None = 1
    eos_id: int | None = 2
    pad_id: int | None = None
    byte_fallback: bool = False
    charsmap: bytes = b""
    blank_first: bool = True
    collapses_blanks: bool = True


def read_model(path: Path) -> SentencePieceModel:
    """Read a sentencepiece `.model` file.

    Raises:
        TokenizerError: when it is not there, damaged, or asks for something that is not supported.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read", got=str(error.strerror or error)) from None
    try:
        return _model(data, path)
    except (ValueError, IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise damaged(path, error, "a sentencepiece model") from None


def _model(data: bytes, path: Path) -> SentencePieceModel:
    """The fields of `ModelProto` (1 pieces, 2 trainer, 3 normalizer, 5 denormalizer) that matter here."""
    whole = _fields(data)
    trainer, rules = _last(whole, 2), _last(whole, 3)
    pieces = tuple(_piece(one) for field, one in whole if field == 1 and isinstance(one, bytes))
    if not pieces:
        raise ValueError("no pieces")
    algorithm = ALGORITHMS.get(_number(trainer, 3, 1))
    asked = {
        f"model type {_number(trainer, 3, 1)} (words or characters)": algorithm is None,
        "blanks at the end of words": bool(_number(trainer, 24, 0)),
        "blanks that stay blanks": not _number(rules, 5, 1),
        "rules for decoding": bool(_text(_last(whole, 5), 2)),
    }
    if unsupported := [what for what, is_so in asked.items() if is_so]:
        raise TokenizerError(
            f"{path}: is of a kind that is not supported", got=", ".join(unsupported), wanted="unigram or BPE"
        )
    assert algorithm is not None
    return SentencePieceModel(
        pieces=pieces,
        algorithm=algorithm,
        unk_id=_number(trainer, 40, 0),
        bos_id=_optional_id(trainer, 41, 1),
        eos_id=_optional_id(trainer, 42, 2),
        pad_id=_optional_id(trainer, 43, -1),
        byte_fallback=bool(_number(trainer, 35, 0)),
        charsmap=_text(rules, 2),
        blank_first=bool(_number(rules, 3, 1)),
        collapses_blanks=bool(_number(rules, 4, 1)),
    )


def _piece(data: bytes) -> Piece:
    fields = _fields(data)
    score = next(
        (struct.unpack("<f", value)[0] for field, value in fields if field == 2 and isinstance(value, bytes)), 0.0
    )
    return Piece(_text(data, 1).decode("utf-8"), float(score), PieceKind(_number(data, 3, 1)))


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a protocol buffer message: (number, value), text and nested messages as bytes."""
    return list(_read_fields(data))


def _read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire} at byte {at}")
        length, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        if at + length > len(data):
            raise ValueError(f"cut off at byte {len(data)}")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"number too long at byte {at}")


def _last(fields: Sequence[tuple[int, int | bytes]], number: int) -> bytes:
    value = next((value for field, value in reversed(fields) if field == number), b"")
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is no text")
    return value


def _text(message: bytes, number: int) -> bytes:
    return _last(_fields(message), number)


def _number(message: bytes, number: int, default: int) -> int:
    found = [value for field, value in _fields(message) if field == number]
    if not found:
        return default
    if not isinstance(found[-1], int):
        raise ValueError(f"field {number} is no number")
    return found[-1] - (1 << 64) if found[-1] >= 1 << 63 else found[-1]


def _optional_id(message: bytes, number: int, default: int) -> int | None:
    token_id = _number(message, number, default)
    return token_id if token_id >= 0 else None


def build_backend(model: SentencePieceModel) -> tokenizers.Tokenizer:
    """The backend that cuts text as sentencepiece does with this model.

    Text is normalised and cut as sentencepiece does it; only after a user-defined symbol in the middle of a text does a
    model that puts a blank before the text put another one, as transformers does too.

    Raises:
        TokenizerError: when the pieces do not make a vocabulary.
    """
    _check(model)
    backend = tokenizers.Tokenizer(_unigram(model) if model.algorithm == "unigram" else _bpe(model))
    rules: list[normalizers.Normalizer] = []
    if model.charsmap:
        rules.append(normalizers.Precompiled(model.charsmap))
    if model.collapses_blanks:
        rules += [normalizers.Strip(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    if model.blank_first:
        rules.append(normalizers.Prepend(BLANK))
    backend.normalizer = normalizers.Sequence([*rules, normalizers.Replace(" ", BLANK)])
    if _no_piece_goes_over_a_blank(model):  # then words can be cut one by one, which is much faster
        backend.pre_tokenizer = pre_tokenizers.Split(BLANK, behavior="merged_with_next")
    reading: list[decoders.Decoder] = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.blank_first:
        reading.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(reading)
    special = [piece.text for piece in model.pieces if piece.kind in (PieceKind.UNKNOWN, PieceKind.CONTROL)]
    backend.add_special_tokens([tokenizers.AddedToken(text, normalized=False, special=True) for text in special])
    symbols = [piece.text for piece in model.pieces if piece.kind == PieceKind.USER_DEFINED and piece.text]
    # A symbol of blanks is found where blanks have become `▁`, the others in the text as it is written.
    backend.add_tokens([tokenizers.AddedToken(text, normalized=BLANK in text) for text in symbols])
    return backend


def _check(model: SentencePieceModel) -> None:
    ids = {"unknown": model.unk_id, "begin": model.bos_id, "end": model.eos_id, "padding": model.pad_id}
    for name, token_id in ids.items():
        if token_id is not None and not 0 <= token_id < len(model.pieces):
            raise TokenizerError(
                f"sentencepiece: the {name} token is no piece",
                got=str(token_id),
                wanted=f"0 to {len(model.pieces) - 1}",
            )
    changes_blanks = model.charsmap or model.blank_first or model.collapses_blanks
    if changes_blanks and any(BLANK in piece.text for piece in model.pieces if piece.kind == PieceKind.USER_DEFINED):
        raise TokenizerError(
            "sentencepiece: symbols of blanks are not supported together with rules that change blanks",
            do="take the tokenizer.json of the same model",
        )
    if len({piece.text for piece in model.pieces}) < len(model.pieces):
        raise TokenizerError("sentencepiece: the same piece stands in the vocabulary twice")


def _unigram(model: SentencePieceModel) -> models.Unigram:
    vocab = [(piece.text, NEVER if piece.kind == PieceKind.UNUSED else piece.score) for piece in model.pieces]
    return models.Unigram(vocab, model.unk_id, model.byte_fallback)


def _bpe(model: SentencePieceModel) -> models.BPE:
    return models.BPE(
        {piece.text: n for n, piece in enumerate(model.pieces)},
        merges_by_score(model.pieces),
        unk_token=model.pieces[model.unk_id].text,
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )


def merges_by_score(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """The merges that a sentencepiece BPE vocabulary implies, in the order in which they are tried.

    Sentencepiece merges the two neighbours whose joined piece has the highest score, so every way to cut a piece into
    two pieces is a merge with that piece's place.
    """
    can_merge = {piece.text: n for n, piece in enumerate(pieces) if piece.kind == PieceKind.NORMAL}
    best_first = sorted(can_merge, key=lambda text: -pieces[can_merge[text]].score)
    merges: list[tuple[str, str]] = []
    for text in best_first:
        cuts = [(text[:at], text[at:]) for at in range(1, len(text))]
        whole = [(left, right) for left, right in cuts if left in can_merge and right in can_merge]
        merges += sorted(whole, key=lambda cut: (can_merge[cut[0]], can_merge[cut[1]]))
    return merges


def _no_piece_goes_over_a_blank(model: SentencePieceModel) -> bool:
    texts = {piece.text for piece in model.pieces if piece.kind == PieceKind.NORMAL}
    return BLANK in texts and not any(BLANK in text[1:] for text in texts)


def with_vocabulary(model: SentencePieceModel, vocab: dict[str, int]) -> SentencePieceModel:
    """A unigram model whose pieces have the ids of a vocabulary that is kept beside it (Marian).

    Pieces that only the vocabulary has are there to be read. Pieces that only the model has come after the end of the
    vocabulary, where they cut text as they should and then read as unknown.

    Args:
        model: of one language.
        vocab: piece -> id for both languages, ids from 0 without gaps, `<unk>` and `</s>` among them.
    """
    scored = {piece.text: piece for piece in model.pieces}
    merged = [
        replace(scored[text], kind=PieceKind.NORMAL)
        if text in scored and scored[text].kind == PieceKind.NORMAL
        else Piece(text, NEVER)
        for text in sorted(vocab, key=vocab.__getitem__)
    ]
    for text in ("<unk>", "</s>", "<pad>"):
        if text in vocab:
            merged[vocab[text]] = Piece(text, 0.0, PieceKind.CONTROL)
    only_here = [piece for piece in model.pieces if piece.text not in vocab and piece.kind == PieceKind.NORMAL]
    return replace(
        model,
        pieces=(*merged, *only_here),
        unk_id=vocab["<unk>"],
        bos_id=None,
        eos_id=vocab["</s>"],
        pad_id=vocab.get("<pad>"),
    )
