"""A tokenizer as the files that transformers reads.

The rules are `tokenizer.json` itself, which both have in common; beside it stand the special tokens by their roles and
the chat template. A tokenizer that stepwell trained gets its begin token put before every text there, as stepwell puts
it, and text never spells a special token. This file leaves out older file formats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.processors import TemplateProcessing

from stepwell.runs import to_json
from stepwell.tokenizers import Tokenizer

ROLES, TARGET = "tokenizer_roles.json", "tokenizer_target.json"
"""What only stepwell reads; a tokenizer that it trained needs neither."""


TWO_LANGUAGES = (
    "tokenizer.json reads the source language; to train on pairs there, take source.spm, target.spm and vocab.json "
    "from where the model came from"
)


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, *, max_seq_len: int, sources: bool = False, segments: bool = False
) -> list[str]:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json, and chat_template.jinja where there is one.

    Args:
        folder: where to.
        tokenizer: of any family.
        max_seq_len: longest text that the model reads, in tokens.
        sources: the model reads texts to turn them into others: they get the end token behind them (`Tokenizer.frame`).
        segments: the model tells the two texts of a pair apart.

    Returns:
        What a person should know, a sentence each.
    """
    path = folder / "tokenizer.json"
    tokenizer.save(path)
    trained_here = not (folder / ROLES).exists()
    for part in (ROLES, TARGET):
        (folder / part).unlink(missing_ok=True)
    if trained_here and tokenizer.adds_bos:
        backend = tokenizers.Tokenizer.from_file(str(path))
        begin = tokenizer.token(tokenizer.bos_id)
        one, other = (f"$A {begin}", f"$B {begin}") if sources else (f"{begin} $A", f"{begin} $B")
        backend.post_processor = TemplateProcessing(
            single=one, pair=f"{one} {other}", special_tokens=[(begin, tokenizer.bos_id)]
        )
        backend.save(str(path), pretty=False)
    special = _special_tokens(tokenizer)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_seq_len,
        "model_input_names": ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **special,
    }
    if tokenizer.chat_template is not None:
        (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    elif trained_here and tokenizer.mask_id is None:  # who fills masks writes them into the text
        settings["split_special_tokens"] = True
    for name, values in (("tokenizer_config.json", settings), ("special_tokens_map.json", special)):
        (folder / name).write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
    return [] if tokenizer.target is tokenizer else [TWO_LANGUAGES]


def _special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The special tokens by their roles, as the source named them; a padding token is always among them."""
    ids = {
        "bos_token": tokenizer.bos_id,
        "eos_token": tokenizer.eos_id,
        "pad_token": tokenizer.eos_id if tokenizer.pad_id is None else tokenizer.pad_id,
        "mask_token": tokenizer.mask_id,
        "unk_token": tokenizer.unk_id,
    }
    return {name: tokenizer.token(n) for name, n in ids.items() if n is not None} | tokenizer.roles.chat_tokens
