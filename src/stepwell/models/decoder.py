"""The decoder: a Transformer that predicts the next token (Vaswani et al., 2017; Radford et al., 2019).

It reads top to bottom: embed, a causal stack of blocks, unembed. What GPT-2, Llama, Qwen, Gemma and the others do
differently is in the config; the blocks are in `stack.py`. Loss and sampling live elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stepwell.models.decoder_config import DecoderConfig
from stepwell.models.language_model import LanguageModel, Output
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
        self,
        token_ids: Tensor,
        document_ids: Tensor | None = None,
        state: DecodingState | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (see `LanguageModel.hidden`).

        Args:
            token_ids: (B, T) int64.
            document_ids: (B, T), which document of its row a position belongs to.
            state: what came before; it is extended in place.
            prefix: (B, T) bool, which tokens all of their document may see, those before them too; with a state only at
                its beginning.

        Returns:
            (B, T, D).

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """
        if state is not None and not isinstance(state, KeyValueCache):
            raise TypeError(f"a decoder extends a KeyValueCache, not a {type(state).__name__}")
        return self.body(self.embedding(token_ids), document_ids=document_ids, cache=state, prefix=prefix)

    @property
    def takes_padding(self) -> bool:
        """See `LanguageModel.takes_padding`."""
        return True

    def begin(
        self, prompt_ids: Tensor, max_len: int, prompt_mask: Tensor | None = None
    ) -> tuple[DecodingState, Tensor]:
        """Read prompts, from left to right or both ways (see `LanguageModel.begin`)."""
        state = self.start(len(prompt_ids), max_len, None if prompt_mask is None else (~prompt_mask).sum(1))
        if self.config.prompt == "continue":
            return state, self.extend(state, prompt_ids)
        prefix = torch.ones_like(prompt_ids, dtype=torch.bool) if prompt_mask is None else prompt_mask
        hidden = self.hidden(prompt_ids, state=state, prefix=prefix)
        return state, self.unembed(hidden[:, -1])

    def output(self) -> Output:
        """The head, or the embedding (see `LanguageModel.output`)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return Output(weight, softcap=self.config.logit_softcap)

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
