"""The decoder: a Transformer that predicts the next token (Vaswani et al., 2017; Radford et al., 2019).

It reads top to bottom: embed, a causal stack of blocks, unembed. What GPT-2, Llama, Qwen, Gemma and the others do
differently is in the config; the blocks are in `stack.py`. Loss and sampling live elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from stepwell.models.decoder_config import DecoderConfig
from stepwell.models.language_model import LanguageModel
from stepwell.models.stack import RESIDUAL_NAMES, Stack
from stepwell.nn import DecodingState, KeyValueCache, initialize


class Decoder(LanguageModel):
    """A decoder-only language model.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    def __init__(self, config: DecoderConfig, seed: int = 0) -> None:
        super().__init__()
        self.config: DecoderConfig = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.body = Stack(config)
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        initialize(
            self,
            config.initialization,
            seed=seed,
            residual=config.residual_initialization,
            residual_names=RESIDUAL_NAMES,
            num_layers=config.num_layers,
        )
        if self.head is not None:  # a head of small weights: the first prediction is near uniform at every width
            nn.init.zeros_(self.head.weight)

    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """Last hidden states (see `LanguageModel.hidden`)."""
        if state is not None and not isinstance(state, KeyValueCache):
            raise TypeError(f"a decoder extends a KeyValueCache, not a {type(state).__name__}")
        return self.body(self.embedding(token_ids), document_ids=document_ids, cache=state)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits, float32 (see `LanguageModel.unembed`)."""
        logits = linear(hidden, self.embedding.weight if self.head is None else self.head.weight).float()
        softcap = self.config.logit_softcap
        return logits if softcap is None else softcap * torch.tanh(logits / softcap)

    def lookup_parameters(self) -> list[nn.Parameter]:
        """Embedding, head and positions (see `LanguageModel.lookup_parameters`)."""
        head = [] if self.head is None else list(self.head.parameters())
        return [*self.embedding.parameters(), *head, *self.body.lookups()]

    def start(self, batch_size: int, max_len: int | None = None, left_padding: Tensor | None = None) -> KeyValueCache:
        """An empty key-value cache (see `LanguageModel.start`).

        Args:
            batch_size: sequences B.
            max_len: tokens that fit; default max_seq_len.
            left_padding: (B,) int64, how many of the first tokens of each sequence are padding.
        """
        return self.body.start(
            batch_size, max_len or self.config.max_seq_len, self.embedding.weight.dtype, left_padding
        )

    def auxiliary_loss(self) -> Tensor | None:
        """Load balance of the experts (see `LanguageModel.auxiliary_loss`)."""
        return self.body.balance_loss()
