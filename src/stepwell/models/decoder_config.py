"""The size and shape of a decoder, without a tensor.

`decoder_sized` turns one dial, the depth, into a whole shape: width grows with depth (64 channels a layer), as in
nanochat, so one number orders the family from a pocket model to a large one. Counts of parameters and operations are
predicted here and checked against the built module in the tests.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config


class DecoderConfig(Config):
    """A decoder-only Transformer (see `Decoder`).

    Attributes:
        vocab_size: V, tokens of the tokenizer.
        max_seq_len: positions that training and attention see at once, in tokens.
        num_layers: blocks L.
        d_model: width D of the residual stream.
        num_heads: query heads H.
        num_kv_heads: key and value heads K; divides H (K = H: multi-head, K = 1: multi-query).
        head_dim: channels E of a head, even.
        d_ff: width F inside the MLP.
        activation: of the MLP.
        qk_norm: normalise queries and keys.
        bias: biases in the linear layers.
        tie_embeddings: the output matrix is the input embedding.
        dropout: probability of dropping what a block adds to the stream, while training, in [0, 1).
        rope_theta: base of the rotary wavelengths.
        norm_eps: epsilon of every norm.
        initialization: how matrices are drawn.
        residual_initialization: what happens to the projections that write into the stream.
    """

    kind: Literal["decoder"] = "decoder"
    vocab_size: Annotated[int, Field(ge=2)]
    max_seq_len: Annotated[int, Field(ge=2)]
    num_layers: Annotated[int, Field(ge=1)]
    d_model: Annotated[int, Field(ge=2)]
    num_heads: Annotated[int, Field(ge=1)]
    num_kv_heads: Annotated[int, Field(ge=1)]
    head_dim: Annotated[int, Field(ge=2)]
    d_ff: Annotated[int, Field(ge=1)]
    activation: Literal["swiglu", "relu2"] = "relu2"
    qk_norm: bool = True
    bias: bool = False
    tie_embeddings: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rope_theta: Annotated[float, Field(gt=1)] = 10_000.0
    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    initialization: Literal["normal", "xavier", "kaiming", "scaled_normal"] = "scaled_normal"
    residual_initialization: Literal["same", "depth_scaled", "zero"] = "zero"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads that num_kv_heads divides ({self.num_heads} / {self.num_kv_heads})")
        if self.head_dim % 2:
            raise ValueError(f"an even head_dim, for rotary pairs (it is {self.head_dim})")
        return self

    @property
    def num_matrix_parameters(self) -> int:
        """Parameters of the blocks' matrices, which do the work of a step (norms and biases are not counted)."""
        attention = self.d_model * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        mlp = self.d_model * self.d_ff * (3 if self.activation == "swiglu" else 2)
        return self.num_layers * (attention + mlp)

    @property
    def num_parameters(self) -> int:
        """All parameters of the built module."""
        norms = self.d_model * (2 * self.num_layers + 2) + (2 * self.head_dim * self.num_layers if self.qk_norm else 0)
        embeddings = self.vocab_size * self.d_model * (1 if self.tie_embeddings else 2)
        up = self.d_ff * (2 if self.activation == "swiglu" else 1)
        heads = self.head_dim * (self.num_heads + 2 * self.num_kv_heads)
        biases = self.num_layers * (heads + 2 * self.d_model + up) if self.bias else 0
        return self.num_matrix_parameters + norms + embeddings + biases

    @property
    def train_flops_per_token(self) -> int:
        """Floating-point operations of one training token: forward 2, backward 4 for each weight that multiplies.

        Attention counts as half of max_seq_len keys a token, since it is causal (Kaplan et al., 2020).
        """
        attention = 2 * self.num_layers * self.num_heads * self.head_dim * self.max_seq_len // 2
        return 6 * (self.num_matrix_parameters + self.vocab_size * self.d_model) + 6 * attention


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
