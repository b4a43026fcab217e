"""Which tokens have a part to play: what begins and ends a document, what pads, masks and stands for the unknown.

Every family spells these tokens in its own way and leaves some of them out; here they have one name each. What a source
says of them wins, and where it is silent the spelling that is customary is looked for. This file leaves out where a
source writes them down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Literal

import tokenizers
from pydantic import Field
from tokenizers import models, processors

from stepwell.config import Config
from stepwell.errors import TokenizerError
from stepwell.tokenizers.config import END_OF_TEXT, MASKS, UNKNOWN

RoleName = Literal["bos", "eos", "pad", "mask", "unk", "cls", "sep"]

CUSTOMARY: dict[RoleName, tuple[str, ...]] = {
    "bos": ("<s>", "<bos>"),
    "eos": ("</s>", "<eos>", END_OF_TEXT),
    "pad": ("<pad>", "[PAD]"),
    "mask": MASKS,
    "unk": ("<unk>", "[UNK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
}
"""How the families of the field spell a role that nothing else names; the first that is a special token."""

SPAN = re.compile(r"<(?:extra_id_|\|span_)(\d+)\|?>")


class Roles(Config):
    """The parts that tokens play, by token id.

    Attributes:
        bos_id: begins a document.
        eos_id: ends one.
        pad_id: fills rows up.
        mask_id: hides a token.
        unk_id: stands for what the vocabulary does not have.
        stop_ids: tokens beside `eos_id` that end what a model writes (the end of a turn).
        span_ids: stand for hidden spans, in order (T5's `<extra_id_0>`, `<extra_id_1>`, ...).
        adds_bos: whether the family puts the begin token before a prompt.
        adds_eos: whether it puts the end token after what an encoder reads.
        vocab_size: where the model has no row for some of the tokens, ids from this one on read as unknown.
        chat_template: Jinja source that turns messages into a prompt.
        chat_tokens: the special tokens that the template knows by name (`bos_token`, ...), as the source says them.
    """

    bos_id: int
    eos_id: int
    pad_id: int | None = None
    mask_id: int | None = None
    unk_id: int | None = None
    stop_ids: tuple[int, ...] = ()
    span_ids: tuple[int, ...] = ()
    adds_bos: bool = True
    adds_eos: bool = False
    vocab_size: int | None = None
    chat_template: str | None = None
    chat_tokens: dict[str, str] = Field(default_factory=dict)

    def token_ids(self) -> dict[str, int]:
        """The roles that a token plays, by name."""
        one_each = {"bos_id": self.bos_id, "eos_id": self.eos_id, "pad_id": self.pad_id}
        one_each |= {"mask_id": self.mask_id, "unk_id": self.unk_id}
        several = {"stop_ids": self.stop_ids, "span_ids": self.span_ids}
        ids = {name: token_id for name, token_id in one_each.items() if token_id is not None}
        return ids | {f"{name}[{n}]": one for name, some in several.items() for n, one in enumerate(some)}


def own_roles(backend: tokenizers.Tokenizer) -> Roles | None:
    """The roles in a tokenizer that stepwell trained, which follow from the spelling of its special tokens.

    Returns:
        The roles, or None for a vocabulary without the end-of-text token.
    """
    end = backend.token_to_id(END_OF_TEXT)
    if end is None:
        return None
    return Roles(
        bos_id=end,
        eos_id=end,
        mask_id=_special(backend).get("<|mask|>"),
        unk_id=_own_unknown(backend),
        span_ids=span_ids(backend),
    )


def _own_unknown(backend: tokenizers.Tokenizer) -> int | None:
    """The token for what is not known, in a vocabulary of stepwell that has such a thing."""
    model = backend.model
    if isinstance(model, models.Unigram):
        settings = json.loads(model.__getstate__())
        return None if settings["byte_fallback"] else int(settings["unk_id"])
    if isinstance(model, models.BPE) and model.unk_token is None:
        return None
    return backend.token_to_id(UNKNOWN)  # a vocabulary made of bytes has none


def find_roles(
    backend: tokenizers.Tokenizer, named: Mapping[RoleName, int | None], *, where: str, fallback_bos: int | None = None
) -> Roles:
    """The roles in a tokenizer of another family.

    Args:
        backend: the tokenizer.
        named: what the source says of a role: its token id, or None where it says that there is no such token. A role
            that is not in there is looked for by its customary spelling.
        where: the source; it begins the error message.
        fallback_bos: the begin token according to the model's config, for a tokenizer that names none.

    Returns:
        The roles; what begins a document is the family's begin token, else what classifies (BERT's `[CLS]`), else the
        end-of-text token.

    Raises:
        TokenizerError: when nothing says which token ends a text.
    """
    special = _special(backend)
    found = {
        role: named[role] if role in named else _first(*map(special.get, spellings))
        for role, spellings in CUSTOMARY.items()
    }
    eos = _first(found["eos"], found["sep"])
    if eos is None:
        raise TokenizerError(
            f"{where}: does not say which token ends a text",
            wanted=f"an end token, or one that is spelled {' or '.join(CUSTOMARY['eos'] + CUSTOMARY['sep'])}",
        )
    bos = _first(found["bos"], found["cls"], fallback_bos, special.get(END_OF_TEXT), eos)
    assert bos is not None
    return Roles(
        bos_id=bos,
        eos_id=eos,
        pad_id=found["pad"],
        mask_id=found["mask"],
        unk_id=found["unk"],
        span_ids=span_ids(backend),
        adds_bos=False,
    )


def _special(backend: tokenizers.Tokenizer) -> dict[str, int]:
    return {token.content: n for n, token in backend.get_added_tokens_decoder().items() if token.special}


def _first(*ids: int | None) -> int | None:
    return next((one for one in ids if one is not None), None)


def span_ids(backend: tokenizers.Tokenizer) -> tuple[int, ...]:
    """The tokens that stand for hidden spans, by their number."""
    numbered = {int(match[1]): n for token, n in _special(backend).items() if (match := SPAN.fullmatch(token))}
    return tuple(numbered[number] for number in sorted(numbered))


def ends_added(backend: tokenizers.Tokenizer, roles: Roles) -> tuple[bool, bool]:
    """Whether the backend itself puts the begin token before a text, and the end token after it."""
    encoding = backend.encode("a", add_special_tokens=True)
    ids = [n for n, is_text in zip(encoding.ids, encoding.attention_mask, strict=True) if is_text]  # not its padding
    return bool(ids) and ids[0] == roles.bos_id, len(ids) > 1 and ids[-1] == roles.eos_id


def set_ends(backend: tokenizers.Tokenizer, roles: Roles) -> None:
    """Write into a backend which tokens its family adds to a text, for other programs that read it."""
    begin = [roles.bos_id] if roles.adds_bos else []
    end = [roles.eos_id] if roles.adds_eos else []
    tokens = {token_id: str(backend.id_to_token(token_id)) for token_id in begin + end}
    if tokens:
        backend.post_processor = processors.TemplateProcessing(
            single=[tokens[n] for n in begin] + ["$A"] + [tokens[n] for n in end],
            pair=[tokens[n] for n in begin]
            + ["$A", *(tokens[n] for n in end), "$B:1"]
            + [f"{tokens[n]}:1" for n in end],
            special_tokens=[(token, token_id) for token_id, token in tokens.items()],
        )
