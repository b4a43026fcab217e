"""Prompts with a hole: what stands before and after it, for models that learned to fill it in.

Such a model has three tokens of its own (Bavarian et al., 2022, "Efficient training of language models to fill in the
middle"); families spell them differently, and what stands in which order is that of the paper's PSM. This file leaves
out models that need the hole told in another way.
"""

from __future__ import annotations

from stepwell.serving.faults import Refusal
from stepwell.serving.served import Served

SPELLINGS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)
"""Of the tokens before the beginning, before the end, and before the middle."""


def infilled_ids(served: Served, prompt: str, suffix: str) -> tuple[int, ...]:
    """The prompt of a text with a hole.

    Args:
        served: a model that knows of holes.
        prompt: what stands before the hole.
        suffix: what stands after it.

    Raises:
        Refusal: when the model has no tokens for it.
    """
    tokenizer = served.tokenizer
    for spelling in SPELLINGS:
        ids = [tokenizer.token_id(token) for token in spelling]
        if None not in ids:
            before, after, middle = (int(one) for one in ids if one is not None)
            begin = [tokenizer.bos_id] if tokenizer.adds_bos else []
            parts = (tokenizer.encode(text).tolist() for text in (prompt, suffix))
            first, last = parts
            return (*begin, before, *first, after, *last, middle)
    raise Refusal(
        400,
        f"suffix: the model `{served.name}` was not made to fill in the middle of a text.",
        param="suffix",
        code="unsupported_parameter",
    )
