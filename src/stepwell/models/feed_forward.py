"""The first neural language model: "A Neural Probabilistic Language Model" (Bengio et al., 2003).

The embeddings of the last few tokens stand side by side, a tanh layer reads them, and a softmax predicts the next
token: an n-gram that knows which words are alike. Before the beginning of a text stands a learned vector. This file
leaves out the paper's mixture with a counted trigram.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad

from stepwell.models.feed_forward_config import FeedForwardConfig
from stepwell.models.language_model import LanguageModel, Output
from stepwell.nn import DecodingState, document_positions, initialize

EMBEDDING_STD = 0.1
"""Of embeddings; nothing normalises them."""


class LastTokens:
    """The last tokens of a batch of sequences of equal length (a `DecodingState`).

    Args:
        batch_size: sequences B.
        capacity: how many tokens are remembered.
        device: where they live.
    """

    def __init__(self, batch_size: int, capacity: int, device: torch.device) -> None:
        self._tokens = torch.zeros(batch_size, capacity, dtype=torch.int64, device=device)
        self._length = 0

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self._length

    @property
    def tokens(self) -> Tensor:
        """(B, up to capacity) int64, those that there were."""
        capacity = self._tokens.shape[1]
        return self._tokens[:, max(0, capacity - self._length) :]

    def append(self, token_ids: Tensor) -> None:
        """See (B, T) more tokens."""
        capacity = self._tokens.shape[1]
        together = torch.cat((self._tokens, token_ids), dim=1)
        self._tokens = together[:, together.shape[1] - capacity :].clone()  # not a view that keeps the prompt
        self._length += token_ids.shape[1]

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self._tokens = self._tokens[rows]


class FeedForward(LanguageModel):
    """A feed-forward language model.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    config: FeedForwardConfig

    def __init__(self, config: FeedForwardConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_embedding)
        self.beginning = nn.Parameter(torch.zeros(config.d_embedding))
        self.up = nn.Linear(config.d_context, config.d_hidden)
        self.head = nn.Linear(config.d_output, config.vocab_size, bias=False)
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        initialize(self, config.initialization, seed=seed, embedding_std=EMBEDDING_STD)
        nn.init.zeros_(self.head.weight)  # the first prediction is uniform

    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """What the output sees (see `LanguageModel.hidden`): the hidden layer and, if direct, the embeddings."""
        num_new = token_ids.shape[1]
        if state is not None:
            if not isinstance(state, LastTokens):
                raise TypeError(f"a feed-forward model extends LastTokens, not a {type(state).__name__}")
            before = state.tokens
            state.append(token_ids)
            token_ids = torch.cat((before, token_ids), dim=1)
        context = self._drop(self._contexts(token_ids, document_ids)[:, -num_new:].flatten(2))
        hidden = self._drop(self.up(context).tanh())
        return torch.cat((hidden, context), dim=-1) if self.config.direct else hidden

    def _contexts(self, token_ids: Tensor, document_ids: Tensor | None) -> Tensor:
        """Embeddings that each position sees, its own last: (B, T) -> (B, T, context_size, E)."""
        rows, length = token_ids.shape
        size = self.config.context_size
        positions = torch.arange(length, device=token_ids.device).expand(rows, length)
        if document_ids is not None:
            positions = document_positions(document_ids)
        ages = torch.arange(size - 1, -1, -1, device=token_ids.device)
        windows = pad(self.embedding(token_ids), (0, 0, size - 1, 0)).unfold(1, size, 1).transpose(2, 3)
        return torch.where((positions[:, :, None] >= ages)[..., None], windows, self.beginning)

    def output(self) -> Output:
        """The head (see `LanguageModel.output`)."""
        return Output(self.head.weight, self.head_bias)

    def start(self, batch_size: int, max_len: int | None = None) -> LastTokens:
        """An empty state (see `LanguageModel.start`); it has room for any number of tokens."""
        return LastTokens(batch_size, self.config.context_size - 1, self.beginning.device)

    def lookup_parameters(self) -> list[nn.Parameter]:
        """Embedding and head (see `LanguageModel.lookup_parameters`)."""
        return [*self.embedding.parameters(), *self.head.parameters()]

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, training=self.training) if self.config.dropout else x
