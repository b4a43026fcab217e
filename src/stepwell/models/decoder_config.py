"""The size and shape of a decoder, without a tensor.

`decoder_sized` turns one dial, the depth, into a whole shape: width grows with depth (64 channels a layer), as in
nanochat, so one number orders the family from a pocket model to a large one. Counts of parameters and operations are
predicted here and checked against the built module in the tests.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.models.transformer_config import TransformerConfig


class DecoderConfig(TransformerConfig):
    """A decoder-only Transformer (see `Decoder`); GPT-2, Llama, Gemma and the others are values of it.

    Attributes:
        tie_embeddings: the output matrix is the input embedding.
        logit_softcap: of the predictions: `c tanh(logits / c)`; None for none.
        prompt: how a prompt is read: a text to `continue`, from left to right, or a `prefix` whose tokens all see each
            other (what `training.objective.kind=prefix` trains).
    """

    kind: Literal["decoder"] = "decoder"
    tie_embeddings: bool = False
    logit_softcap: Annotated[float, Field(gt=0)] | None = None
    prompt: Literal["continue", "prefix"] = "continue"

    @property
    def num_matrix_parameters(self) -> int:
        """See `ModelConfig`; of experts, all."""
        return sum(self.block_matrices(layer) for layer in range(self.num_layers))

    @property
    def num_parameters(self) -> int:
        """See `ModelConfig`."""
        tables = self.vocab_size * self.d_model * (1 if self.tie_embeddings else 2)
        return tables + self.stack_parameters(self.num_layers) + self.head_parameters(self.d_model)

    @property
    def train_flops_per_token(self) -> int:
        """See `ModelConfig`; of experts, those that a token goes to."""
        matrices = sum(self.block_matrices(layer, active=True) for layer in range(self.num_layers))
        return 6 * (matrices + self.vocab_size * self.d_model) + self.attention_flops(self.num_layers, causal=True)

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """See `ModelConfig`."""
        return self.cache_bytes(self.num_layers, batch_size, max_len or self.max_seq_len)


def decoder_sized(depth: int, *, vocab_size: int, max_seq_len: int) -> DecoderConfig:
    """The decoder of a depth: D = 64 L, heads of 64 channels, F = 4 D, everything else by default.

    Args:
        depth: number of layers L, from 1.
        vocab_size: V.
        max_seq_len: in tokens.
    """
    d_model = 64 * depth
    return DecoderConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        num_layers=depth,
        d_model=d_model,
        num_heads=depth,
        num_kv_heads=depth,
        head_dim=64,
        d_ff=4 * d_model,
    )
