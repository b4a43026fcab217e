"""The counted n-gram model as a language model among the others.

Its hidden state at a position is the last few tokens themselves, and unembedding looks up what followed them in the
training text; so it is scored, decoded and measured by the code that does so for networks. It learns by counting once
over whole documents. The counting is another file (`stepwell.ngrams`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from stepwell.models.language_model import LanguageModel
from stepwell.models.ngram_config import NGramConfig
from stepwell.ngrams import KneserNey
from stepwell.nn import DecodingState, document_positions

NOTHING = -1
"""Stands in a context where there is no token, further back than the beginning."""


class ContextState:
    """The contexts of a batch of sequences of equal length (a `DecodingState`).

    Args:
        contexts: (B, order - 1) int64, of no token yet.
    """

    def __init__(self, contexts: Tensor) -> None:
        self.contexts = contexts
        self._length = 0

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self._length

    def advance(self, contexts: Tensor, num_tokens: int) -> None:
        """Take over the contexts after T more tokens."""
        self.contexts = contexts
        self._length += num_tokens

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.contexts = self.contexts[rows]


class NGram(LanguageModel):
    """An interpolated modified Kneser-Ney model over tokens; before `fit` every token is equally likely.

    Args:
        config: its vocabulary and order.
        seed: decides nothing here.
    """

    config: NGramConfig

    def __init__(self, config: NGramConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.counted = KneserNey(config.vocab_size, config.order).fit([])

    def fit(self, documents: Iterable[ArrayLike]) -> Self:
        """Count, forgetting what was counted before.

        Args:
            documents: (T,) token ids of each, begin token first as everywhere.

        Raises:
            ValueError: for a token out of range.
        """
        self.counted.fit(documents)
        return self

    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """The tokens that each position predicts from (see `LanguageModel.hidden`).

        Returns:
            (B, T, order - 1) int64, the position's own token last; V is the model's begin symbol, before each document,
            and -1 stands before that.
        """
        length, size = token_ids.shape[1], self.config.order - 1
        places = torch.arange(length, device=token_ids.device)
        ages = torch.arange(size - 1, -1, -1, device=token_ids.device)
        if state is None:
            before = self._before(token_ids)
        else:
            if not isinstance(state, ContextState):
                raise TypeError(f"an n-gram model extends a ContextState, not a {type(state).__name__}")
            before = state.contexts
        contexts = torch.cat((before, token_ids), dim=1)[:, size + places[:, None] - ages]
        if document_ids is not None:
            distances = document_positions(document_ids)[:, :, None] - ages
            contexts = torch.where(distances >= 0, contexts, NOTHING)
            contexts = contexts.masked_fill(distances == -1, self.config.vocab_size)
        if state is not None:
            state.advance(contexts[:, -1].clone(), length)  # not a view that keeps the prompt
        return contexts

    def unembed(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (see `LanguageModel.unembed`): they are their own logits."""
        contexts = hidden.flatten(0, -2).cpu().numpy()
        logprobs = torch.from_numpy(self.counted.predict(contexts))
        return logprobs.to(hidden.device).view(*hidden.shape[:-1], self.config.vocab_size)

    def start(self, batch_size: int, max_len: int | None = None) -> ContextState:
        """An empty state (see `LanguageModel.start`); it has room for any number of tokens."""
        return ContextState(self._before(torch.empty(batch_size, 0, dtype=torch.int64)))

    def lookup_parameters(self) -> list[nn.Parameter]:
        """None: nothing is learned by gradients."""
        return []

    def tensors(self) -> dict[str, Tensor]:
        """What was counted, by name; how long each tensor is, the text decides."""
        arrays = self.counted.arrays()
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what was counted before.

        Raises:
            ValueError: when the tensors are not those of a model of this order and vocabulary.
        """
        self.counted.restore({name: np.asarray(tensor) for name, tensor in tensors.items()})

    def _before(self, token_ids: Tensor) -> Tensor:
        """The context of B sequences before their first token."""
        contexts = token_ids.new_full((token_ids.shape[0], self.config.order - 1), NOTHING)
        contexts[:, -1:] = self.config.vocab_size
        return contexts
