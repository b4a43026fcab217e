"""The decoder: a pre-norm Transformer that predicts the next token (Vaswani et al., 2017; Radford et al., 2019).

It reads top to bottom: embed, norm, L blocks of attention and MLP on a residual stream, norm, unembed. The modern
parts are rotary positions, RMSNorm, QK-norm, grouped queries and a choice of MLP; each is a plain layer of `nn`.
Loss and sampling live elsewhere.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from stepwell.models.decoder_config import DecoderConfig
from stepwell.models.language_model import LanguageModel
from stepwell.nn import MLP, Attention, DecodingState, KeyValueCache, RMSNorm, Rotary, document_mask, initialize


class Block(nn.Module):
    """Attention, then MLP, each behind a norm and added to the stream."""

    def __init__(self, config: DecoderConfig, rotary: Rotary) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(
            config.d_model,
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            rotary,
            qk_norm=config.qk_norm,
            bias=config.bias,
            norm_eps=config.norm_eps,
        )
        self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = MLP(config.d_model, config.d_ff, config.activation, bias=config.bias)

    def forward(self, x: Tensor, mask: Tensor | None, cache: KeyValueCache | None, layer: int) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self._drop(self.attention(self.attention_norm(x), mask, cache, layer))
        return x + self._drop(self.mlp(self.mlp_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, training=self.training) if self.dropout else x


class Decoder(LanguageModel):
    """A decoder-only language model.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    def __init__(self, config: DecoderConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        rotary = Rotary(config.head_dim, config.max_seq_len, config.rope_theta)
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.embedding_norm = RMSNorm(config.d_model, config.norm_eps)
        self.blocks = nn.ModuleList(Block(config, rotary) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        initialize(
            self,
            config.initialization,
            seed=seed,
            residual=config.residual_initialization,
            residual_names=("out", "down"),
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
        mask = None if document_ids is None else document_mask(document_ids)
        x = self.embedding_norm(self.embedding(token_ids))
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, state, layer)
        if state is not None:
            state.advance(token_ids.shape[1])
        return self.norm(x)

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits, float32 (see `LanguageModel.unembed`)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return linear(hidden, weight).float()

    def vocabulary_parameters(self) -> list[nn.Parameter]:
        """Embedding and head (see `LanguageModel.vocabulary_parameters`)."""
        tables = [self.embedding] if self.head is None else [self.embedding, self.head]
        return [parameter for table in tables for parameter in table.parameters()]

    def start(self, batch_size: int, max_len: int | None = None) -> KeyValueCache:
        """An empty key-value cache (see `LanguageModel.start`)."""
        config, weight = self.config, self.embedding.weight
        return KeyValueCache(
            config.num_layers,
            batch_size,
            config.num_kv_heads,
            max_len or config.max_seq_len,
            config.head_dim,
            weight.device,
            weight.dtype,
        )
