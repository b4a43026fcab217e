"""The tokenizer inside a GGUF file, from its `tokenizer.*` fields.

A GGUF file has the vocabulary and the names of rules, not the rules themselves: a literal table says how each kind of
vocabulary is built, and another one how a byte-level vocabulary cuts text (`splitting.py`). What is not in the tables
is refused by name. This file leaves out reading the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import tokenizers
from tokenizers import decoders, models

from stepwell.errors import TokenizerError
from stepwell.tokenizers.roles import SPAN, RoleName, find_roles, set_ends
from stepwell.tokenizers.sentencepiece import BLANK, Piece, PieceKind, SentencePieceModel, build_backend
from stepwell.tokenizers.splitting import SPLITTINGS
from stepwell.tokenizers.tokenizer import Tokenizer
from stepwell.tokenizers.wordpiece import wordpiece_backend

WHERE = "GGUF tokenizer"

ROLE_FIELDS: dict[RoleName, tuple[str, ...]] = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "pad": ("padding_token_id",),
    "mask": ("mask_token_id",),
    "unk": ("unknown_token_id",),
    "cls": ("cls_token_id",),
    "sep": ("seperator_token_id", "separator_token_id"),  # the first spelling is the format's own
}

STOP_FIELDS = ("eot_token_id", "eom_token_id")

FILLER = re.compile(r"\[PAD\d+\]")
"""What converters fill a vocabulary up with that is smaller than the model's table."""

NUM_SPANS = 100

Fields = Mapping[str, Any]
Built = tuple[tokenizers.Tokenizer, bool, bool]
"""A backend, and whether its kind adds a begin token and an end token when the file does not say."""


def gguf_tokenizer(fields: Fields) -> Tokenizer:
    """Build the tokenizer that a GGUF file describes.

    Args:
        fields: the file's metadata as plain Python values; `tokenizer.ggml.*` and `tokenizer.chat_template` are read.

    Raises:
        TokenizerError: when a field is missing or does not fit, or the kind of vocabulary or its pre-tokenizer is not
            known.
    """
    ggml = {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items()}
    kind = ggml.get("model")
    if kind not in BUILDERS:
        wanted = ", ".join(BUILDERS)
        raise TokenizerError(f"{WHERE}: this kind of vocabulary is not supported", got=str(kind), wanted=wanted)
    pieces = _pieces(ggml)
    named = _named(ggml, len(pieces))
    try:
        backend, adds_bos, adds_eos = BUILDERS[kind](ggml, pieces)
    except TokenizerError:
        raise
    except Exception as error:  # the library raises bare `Exception` for every fault in a vocabulary
        raise TokenizerError(f"{WHERE}: its vocabulary does not hold together", got=str(error)) from None
    ends = {pieces[token_id].text for role in ("bos", "eos") if (token_id := named.get(role)) is not None}
    backend.add_special_tokens(sorted(ends))
    roles = find_roles(backend, named, where=WHERE)
    roles = roles.model_copy(
        update={
            "adds_bos": bool(ggml.get("add_bos_token", adds_bos)),
            "adds_eos": bool(ggml.get("add_eos_token", ggml.get("add_sep_token", adds_eos))),
            "stop_ids": tuple(int(ggml[name]) for name in STOP_FIELDS if ggml.get(name) is not None),
            "chat_template": fields.get("tokenizer.chat_template"),
            "chat_tokens": {f"{role}_token": pieces[n].text for role, n in named.items() if n is not None},
        }
    )
    set_ends(backend, roles)
    return Tokenizer(backend, roles)


def _pieces(ggml: Fields) -> list[Piece]:
    """The vocabulary: tokens, and where the file has them, scores and kinds."""
    tokens = _field(ggml, "tokens")
    scores, kinds = ggml.get("scores"), ggml.get("token_type")
    for name, values in (("scores", scores), ("token_type", kinds)):
        if values is not None and len(values) != len(tokens):
            raise TokenizerError(
                f"{WHERE}: {name} does not fit the tokens", got=f"{len(values)} values", wanted=str(len(tokens))
            )
    known = {int(kind) for kind in PieceKind}
    return [
        Piece(
            str(token),
            0.0 if scores is None else float(scores[n]),
            PieceKind(int(kinds[n])) if kinds is not None and int(kinds[n]) in known else PieceKind.NORMAL,
        )
        for n, token in enumerate(tokens)
    ]


def _field(ggml: Fields, name: str) -> Any:
    if ggml.get(name) is None:
        raise TokenizerError(
            f"{WHERE}: tokenizer.ggml.{name} is missing", do="take a GGUF file with its tokenizer in it"
        )
    return ggml[name]


def _named(ggml: Fields, size: int) -> dict[RoleName, int | None]:
    named: dict[RoleName, int | None] = {}
    for role, spellings in ROLE_FIELDS.items():
        for spelling in spellings:
            token_id = ggml.get(spelling)
            if token_id is None:
                continue
            if not 0 <= int(token_id) < size:
                raise TokenizerError(
                    f"{WHERE}: {spelling} is not in the vocabulary", got=str(token_id), wanted=f"0 to {size - 1}"
                )
            named[role] = int(token_id)
    return named


def _byte_level(ggml: Fields, pieces: list[Piece]) -> Built:
    name = ggml.get("pre") or "default"
    if name not in SPLITTINGS:
        raise TokenizerError(
            f"{WHERE}: its pre-tokenizer is not known",
            got=str(name),
            wanted=", ".join(SPLITTINGS),
            do="import the model from its Hugging Face directory instead",
        )
    splitting = SPLITTINGS[name]
    merges = [(left, right) for left, _, right in (str(merge).partition(" ") for merge in _field(ggml, "merges"))]
    vocab = {piece.text: n for n, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=splitting.keeps_words))
    splitting.apply(backend)
    backend.decoder = decoders.ByteLevel()
    added = {PieceKind.CONTROL: True, PieceKind.UNKNOWN: True, PieceKind.USER_DEFINED: False}
    for special in (True, False):
        texts = [piece.text for piece in pieces if piece.text and added.get(piece.kind) is special]
        backend.add_tokens([tokenizers.AddedToken(text, normalized=False, special=special) for text in texts])
    return backend, splitting.adds_bos, splitting.adds_eos


def _sentencepiece(ggml: Fields, pieces: list[Piece]) -> Built:
    _field(ggml, "scores")
    # Converters write a piece of several blanks as blanks.
    spelled = [
        replace(one, text=BLANK * len(one.text)) if one.text and not one.text.strip(" ") else one for one in pieces
    ]
    return build_backend(_model(ggml, spelled, "bpe")), True, False


def _t5(ggml: Fields, pieces: list[Piece]) -> Built:
    _field(ggml, "scores")
    fillers = [n for n, piece in enumerate(pieces) if FILLER.fullmatch(piece.text)]
    spans = {n: f"<extra_id_{NUM_SPANS - 1 - place}>" for place, n in enumerate(fillers[:NUM_SPANS])}
    spelled = [replace(piece, text=spans.get(n, piece.text)) for n, piece in enumerate(pieces)]
    spelled = [replace(one, kind=PieceKind.CONTROL) if SPAN.fullmatch(one.text) else one for one in spelled]
    return build_backend(_model(ggml, spelled, "unigram")), False, True


def _model(ggml: Fields, pieces: list[Piece], algorithm: str) -> SentencePieceModel:
    return SentencePieceModel(
        pieces=tuple(pieces),
        algorithm=algorithm,
        unk_id=int(
            ggml.get("unknown_token_id", next((n for n, p in enumerate(pieces) if p.kind == PieceKind.UNKNOWN), 0))
        ),
        bos_id=None,
        eos_id=None,
        byte_fallback=any(piece.kind == PieceKind.BYTE for piece in pieces),
        charsmap=bytes(int(value) & 0xFF for value in ggml.get("precompiled_charsmap") or ()),
        blank_first=bool(ggml.get("add_space_prefix", True)),
        collapses_blanks=bool(ggml.get("remove_extra_whitespaces", False)),
    )


def _bert(ggml: Fields, pieces: list[Piece]) -> Built:
    """Here the mark is on what begins a word, not on what goes on with one; `[...]` is as it is."""
    vocab = {_wordpiece(piece.text): n for n, piece in enumerate(pieces)}
    words = [token for token in vocab if not token.startswith("[")]
    backend = wordpiece_backend(vocab, lowercase=not any(word != word.lower() for word in words), where=WHERE)
    return backend, True, True


def _wordpiece(text: str) -> str:
    if text.startswith(BLANK):
        return text.removeprefix(BLANK)
    return text if text.startswith("[") and text.endswith("]") else f"##{text}"


BUILDERS: dict[str, Callable[[Fields, list[Piece]], Built]] = {
    "gpt2": _byte_level,
    "llama": _sentencepiece,
    "bert": _bert,
    "t5": _t5,
}
"""`tokenizer.ggml.model` -> what builds its backend."""
