"""How one sample draws: its settings, its random numbers, what it has seen, and the states of its rules.

Rows of different requests stand side by side in a batch, so everything that a draw depends on is the row's own. This
file leaves out the arithmetic on logits (`adjusting.py`, `truncation.py`) and the draw itself (`drawing.py`).
"""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stepwell.errors import UsageError
from stepwell.inference.params import GRAMMARS, SamplingParams
from stepwell.inference.sampling.adjusting import Counted
from stepwell.inference.sampling.constraint import Constraint
from stepwell.inference.sampling.truncation import rules_of
from stepwell.seeding import derive_seed
from stepwell.tokenizers import Tokenizer

NO_IDS: NDArray[np.int64] = np.zeros(0, np.int64)


class Sampling:
    """How one sample draws its tokens.

    Args:
        params: how to draw.
        index: which sample of its prompt it is; with the seed it decides the draws.
        prompt_ids: tokens of the text that is gone on with, without the begin token; none where the prompt is a source.
        tokenizer: says which tokens end a sample, and spells it.
        continues: whether the sample goes on with the prompt's text, rather than answering it.

    Attributes:
        params: as given.
        rules: what keeps tokens; rows with equal rules are treated together.
        vocab_size: tokens of the tokenizer; a model's further rows are never drawn.
        stop_ids: tokens that end the sample. They are drawn, and no part of its text.
        token_ids: what it has drawn.
        seen: distinct tokens of prompt and sample, where repetition is penalised.
        drawn: distinct tokens of the sample, where frequency or presence is penalised.
        bias: ids (N,) and what is added to their logits (N,).
        surprise: the threshold of mirostat, in bits.
        constraint: what the grammar allows; None without one.

    Raises:
        UsageError: when a token that is named is not one of the tokenizer's, or a grammar is faulty.
    """

    def __init__(
        self,
        params: SamplingParams,
        index: int,
        prompt_ids: Sequence[int],
        tokenizer: Tokenizer,
        *,
        continues: bool = True,
    ) -> None:
        self.params, self.rules = params, rules_of(params)
        self.vocab_size = tokenizer.vocab_size
        for name, ids in (("stop_token_ids", params.stop_token_ids), ("logit_bias", [n for n, _ in params.logit_bias])):
            _check_tokens(name, ids, self.vocab_size)
        self.stop_ids = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else tokenizer.stop_ids)
        self.token_ids: list[int] = []
        seed = secrets.randbits(63) if params.seed is None else params.seed
        self._generator = torch.Generator().manual_seed(derive_seed(seed, "sample", index))
        self.seen = Counted(prompt_ids) if params.repetition_penalty != 1 else None
        self.drawn = Counted() if params.frequency_penalty or params.presence_penalty else None
        self.bias = (
            np.array([token_id for token_id, _ in params.logit_bias], np.int64),
            np.array([bias for _, bias in params.logit_bias], np.float32),
        )
        self.surprise = 2 * params.mirostat_tau
        asked = any(getattr(params, name) for name in GRAMMARS)
        self.constraint = Constraint(params, tokenizer, opens=not continues) if asked else None
        self._bad = _spelled(params.bad_words, tokenizer)
        self._ends = np.array(sorted(self.stop_ids), np.int64)
        self._text = [int(one) for one in prompt_ids] if params.no_repeat_ngram_size or self._bad else []
        self._followers: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        if params.no_repeat_ngram_size:
            for end in range(params.no_repeat_ngram_size, len(self._text) + 1):
                self._remember(end)

    def ends(self, token_id: int) -> bool:
        """Whether a token ends the sample and is no part of its text."""
        return token_id in self.stop_ids

    @property
    def is_finished(self) -> bool:
        """Whether nothing can come after the last token, which is a part of the text: the grammar is at its end."""
        return self.constraint is not None and self.constraint.is_finished

    def uniform(self) -> float:
        """The next random number of the sample, in [0, 1): drawn on the CPU, so a seed means the same everywhere."""
        return float(torch.rand(1, generator=self._generator, dtype=torch.float64))

    def banned_ids(self) -> NDArray[np.int64]:
        """Tokens that may not come next, some perhaps twice: what would repeat, finish a bad word, or end too early."""
        banned: list[int] = []
        if size := self.params.no_repeat_ngram_size:
            banned += self._followers.get(tuple(self._text[len(self._text) + 1 - size :]), [])
        for *before, last in self._bad:
            if not before or self._text[-len(before) :] == before:
                banned.append(last)
        found = np.array(banned, np.int64) if banned else NO_IDS
        if len(self.token_ids) < self.params.min_tokens:
            found = np.concatenate((found, self._ends))
        return found

    def take(self, token_id: int, probability: float) -> None:
        """Go on with a token.

        Args:
            token_id: that was drawn.
            probability: of it among those that could be drawn, in (0, 1].
        """
        self.token_ids.append(token_id)
        if self.constraint is not None and token_id not in self.stop_ids:
            self.constraint.take(token_id)
        if self.seen is not None:
            self.seen.add(token_id)
        if self.drawn is not None:
            self.drawn.add(token_id)
        if self.params.no_repeat_ngram_size or self._bad:
            self._text.append(token_id)
        if self.params.no_repeat_ngram_size and len(self._text) >= self.params.no_repeat_ngram_size:
            self._remember(len(self._text))
        if self.rules.mirostat:
            self.surprise -= self.params.mirostat_eta * (-math.log2(probability) - self.params.mirostat_tau)

    def _remember(self, end: int) -> None:
        """Keep the n-gram that ends there."""
        size = self.params.no_repeat_ngram_size or 1
        self._followers[tuple(self._text[end - size : end - 1])].append(self._text[end - 1])


def _spelled(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Texts as tokens, as they begin a word and as they stand inside one; the same tokens once."""
    ways = (f"{blank}{text}" for text in texts for blank in ("", " "))
    spelled = (tokenizer.target.encode(way).tolist() for way in ways)
    return [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in spelled if ids)]


def _check_tokens(name: str, ids: Sequence[int], vocab_size: int) -> None:
    strange = [one for one in ids if one >= vocab_size]
    if strange:
        raise UsageError(
            f"{name}: no such token", got=str(strange[0]), wanted=f"0 to {vocab_size - 1}, the tokens of this model"
        )
