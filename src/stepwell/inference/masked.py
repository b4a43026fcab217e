"""Filling the masks of a text, the most certain one first.

A masked model tells every hidden token at once, but each for itself; so one mask is filled at a time, and the others
are read again with it in place. This file leaves out going on with a text (`generation.py`) and scoring (`parts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepwell.errors import UsageError
from stepwell.inference.completion import Completion
from stepwell.inference.generation import Prompt, generate_many
from stepwell.inference.mode import evaluation_mode
from stepwell.inference.params import SamplingParams
from stepwell.models import LanguageModel
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class Candidate:
    """What may stand behind a mask.

    Attributes:
        token: its text; a part of a character is spelled byte by byte.
        token_id: its id.
        probability: under the model, given the text as it was when this mask was filled.
    """

    token: str
    token_id: int
    probability: float


@dataclass(frozen=True)
class Filled(Completion):
    """A text whose masks are filled. `text` is all of it; `token_ids` and `logprobs` are those of the masks, in order.

    Attributes:
        candidates: for each mask, in order, the likeliest tokens; the first one was taken.
    """

    candidates: tuple[tuple[Candidate, ...], ...] = ()


def has_mask(model: LanguageModel, tokenizer: Tokenizer, text: str) -> bool:
    """Whether a text has something to fill, and the model can fill it."""
    return not model.is_causal and tokenizer.mask_id is not None and tokenizer.token(tokenizer.mask_id) in text


def fill_masks(model: LanguageModel, tokenizer: Tokenizer, text: str, top_k: int = 5) -> Filled:
    """Fill every mask of a text.

    A blank before a mask belongs to the token behind it, for tokenizers whose words begin with their blank.

    Args:
        model: a masked one.
        tokenizer: the one it was trained with.
        text: with masks as the tokenizer spells them (`[MASK]`, `<mask>`, `<|mask|>`); as long as the model can read.
        top_k: candidates to give for each mask, from 1. Special tokens are none.

    Raises:
        UsageError: when there is no mask, or the text is longer than the model can read.
    """
    if not has_mask(model, tokenizer, text):
        raise UsageError("text: has no mask to fill", got=text, wanted="a masked model, and a mask as it spells it")
    assert tokenizer.mask_id is not None
    mask = tokenizer.token(tokenizer.mask_id)
    read = tokenizer.encode(text.replace(f" {mask}", mask), special=True).tolist()
    ids = torch.tensor([tokenizer.bos_id, *read, *([tokenizer.eos_id] if tokenizer.adds_eos else [])])
    ids = ids.to(model.device)
    places = (ids == tokenizer.mask_id).nonzero().flatten().tolist()
    impossible = sorted({*tokenizer.special_ids, *range(tokenizer.vocab_size, model.config.vocab_size)})
    found: dict[int, tuple[Candidate, ...]] = {}
    with evaluation_mode(model), torch.inference_mode():
        while len(found) < len(places):
            open_places = [place for place in places if place not in found]
            probabilities = model.unembed(model.hidden(ids[None])[0, open_places]).softmax(-1)
            probabilities[:, impossible] = 0
            surest = int(probabilities.amax(-1).argmax())
            best = probabilities[surest].topk(min(top_k, model.config.vocab_size - len(impossible)))
            found[open_places[surest]] = _candidates(tokenizer, best.indices, best.values)
            ids[open_places[surest]] = found[open_places[surest]][0].token_id
    candidates = tuple(found[place] for place in places)
    return Filled(
        text=_with_tokens(tokenizer, text, mask, [each[0].token_id for each in candidates]),
        token_ids=tuple(each[0].token_id for each in candidates),
        logprobs=tuple(_log(each[0].probability) for each in candidates),
        finish_reason="stop",
        prompt_tokens=len(ids),
        candidates=candidates,
    )


def complete_many(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[Prompt], params: SamplingParams
) -> list[list[Completion]]:
    """Fill the prompts that have masks, and go on with the others.

    Args:
        model: any language model of the catalog.
        tokenizer: the one it was trained with.
        prompts: as for `generate_many`.
        params: how to draw; of masks, `top_k` candidates are given (default 5).

    Returns:
        For each prompt its params.n completions, or one `Filled`.
    """
    filled = {
        number: fill_masks(model, tokenizer, prompt, params.top_k or 5)
        for number, prompt in enumerate(prompts)
        if isinstance(prompt, str) and has_mask(model, tokenizer, prompt)
    }
    others = [prompt for number, prompt in enumerate(prompts) if number not in filled]
    completions = iter(generate_many(model, tokenizer, others, params))
    return [[filled[number]] if number in filled else next(completions) for number in range(len(prompts))]


def _candidates(tokenizer: Tokenizer, token_ids: Tensor, probabilities: Tensor) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace"), token_id, probability)
        for token_id, probability in zip(token_ids.tolist(), probabilities.tolist(), strict=True)
    )


def _with_tokens(tokenizer: Tokenizer, text: str, mask: str, token_ids: list[int]) -> str:
    """The text with tokens in the places of its masks; around them it stays as it was written."""
    parts = text.split(mask)
    filled = b""
    for part, token_id in zip(parts, token_ids, strict=False):
        before, blank = part.removesuffix(" "), part.endswith(" ")
        token = tokenizer.token_bytes(token_id, opens=not filled and not before)
        if not blank and not tokenizer.is_lossless:  # the blank is the tokenizer's own, and no one wrote it
            token = token.lstrip(b" ")
        filled += before.encode("utf-8", "surrogatepass") + token
    return (filled + parts[-1].encode("utf-8", "surrogatepass")).decode("utf-8", errors="replace")


def _log(probability: float) -> float:
    return float(torch.tensor(probability).log())
