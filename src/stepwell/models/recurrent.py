"""Recurrent language models: LSTM and GRU (Mikolov et al., 2010; Sundermeyer et al., 2012; Zaremba et al., 2014).

A token is embedded, layers of cells carry what they remember from token to token, and the last layer's hidden state
predicts the next token. Pieces of packed rows run as rows of their own, since a cell has no mask. Sequence to sequence
is another file (`recurrent_encoder_decoder.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from stepwell.models.language_model import LanguageModel, Output
from stepwell.models.recurrent_config import RecurrentConfig
from stepwell.nn import DecodingState, Pieces, Recurrent, RecurrentState, initialize

EMBEDDING_STD = 1.0
"""Nothing normalises what goes into the first cell, and small inputs leave its gates half open: it learns slowly."""


class RecurrentLanguageModel(LanguageModel):
    """An LSTM or GRU language model.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    config: RecurrentConfig

    def __init__(self, config: RecurrentConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_embedding)
        self.recurrent = Recurrent(
            config.kind, config.d_embedding, config.d_model, config.num_layers, dropout=config.dropout
        )
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        initialize(self, config.initialization, seed=seed, embedding_std=EMBEDDING_STD)

    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """Last hidden states (see `LanguageModel.hidden`)."""
        x = self._drop(self.embedding(token_ids))
        if state is not None:
            if not isinstance(state, RecurrentState):
                raise TypeError(f"a recurrent model extends a RecurrentState, not a {type(state).__name__}")
            y, memory = self.recurrent(x, state.memory)
            state.advance(memory, token_ids.shape[1])
        elif document_ids is None:
            y, _ = self.recurrent(x)
        else:
            pieces = Pieces.find(document_ids)
            y = pieces.join(self.recurrent.read_rows(pieces.split(x), pieces.lengths))
        return self._drop(y)

    def output(self) -> Output:
        """The head, or the embedding (see `LanguageModel.output`)."""
        return Output((self.embedding if self.head is None else self.head).weight, self.head_bias)

    def start(self, batch_size: int, max_len: int | None = None) -> RecurrentState:
        """An empty state (see `LanguageModel.start`); it has room for any number of tokens."""
        return RecurrentState(self.recurrent.nothing(batch_size))

    def lookup_parameters(self) -> list[nn.Parameter]:
        """Embedding and head (see `LanguageModel.lookup_parameters`)."""
        tables = [self.embedding] if self.head is None else [self.embedding, self.head]
        return [parameter for table in tables for parameter in table.parameters()]

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, training=self.training) if self.config.dropout else x
