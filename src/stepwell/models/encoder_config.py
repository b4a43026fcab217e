"""The size and shape of an encoder, without a tensor.

An encoder is the blocks of a Transformer that look both ways, and a head that predicts hidden tokens; BERT, RoBERTa and
ModernBERT are values of it. `encoder_sized` turns one dial, the depth, into the encoder of a decoder's shape, so that
the two families can be compared. This file leaves out which tokens are hidden (`training.masking`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config
from stepwell.models.transformer_config import TransformerConfig

OWN_MASK_ID = 1
"""The mask of a tokenizer of our own, whose first token ends a text."""


class MaskedHeadConfig(Config):
    """What turns a hidden state into a prediction.

    Attributes:
        dense: a layer with an activation and a norm stands before the table of the tokens.
        activation: of that layer.
        dense_bias: of that layer.
        bias: of the predictions, one for each token of the vocabulary.
    """

    dense: bool = False
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "relu2"] = "gelu"
    dense_bias: bool = False
    bias: bool = False


class EncoderConfig(TransformerConfig):
    """A Transformer that looks both ways (see `Encoder`); BERT, RoBERTa and ModernBERT are values of it.

    Attributes:
        mask_id: the token that hides another one; None where none is known, and nothing can be predicted.
        num_segments: kinds of segments (BERT's token types), each with a vector that is added to its tokens; 0 for
            none.
        first_attention_norm: whether the first block has its norm before attention, too (ModernBERT's has not).
        head: what predicts hidden tokens; None for a model that gives hidden states alone.
        tie_embeddings: the table of the head is the input embedding.
        pooler: a layer with tanh over the first token's hidden state, as BERT was published with.
    """

    kind: Literal["encoder"] = "encoder"
    mask_id: Annotated[int, Field(ge=0)] | None = None
    num_segments: Annotated[int, Field(ge=0)] = 0
    first_attention_norm: bool = True
    head: MaskedHeadConfig | None = MaskedHeadConfig()
    tie_embeddings: bool = False
    pooler: bool = False

    @model_validator(mode="after")
    def _looks_both_ways(self) -> Self:
        if self.mask_id is not None and self.mask_id >= self.vocab_size:
            raise ValueError(f"a mask_id below vocab_size ({self.vocab_size})")
        if self.positions.kind == "alibi":
            raise ValueError("positions other than alibi, whose slopes know one direction")
        if not self.first_attention_norm and self.norm_placement not in ("pre", "sandwich"):
            raise ValueError(
                f"first_attention_norm where norm_placement is {self.norm_placement}: no norm stands before attention"
            )
        return self

    @property
    def num_matrix_parameters(self) -> int:
        """See `ModelConfig`; of experts, all."""
        return sum(self.block_matrices(layer) for layer in range(self.num_layers)) + self._dense_matrices

    @property
    def num_parameters(self) -> int:
        """See `ModelConfig`."""
        rows = self.vocab_size * (1 if self.head is None or self.tie_embeddings else 2) + self.num_segments
        total = rows * self.d_model + self.stack_parameters(self.num_layers) + self._dense_matrices
        if not self.first_attention_norm:
            total -= self.norm.size(self.d_model)
        if self.head is not None:
            total += self.vocab_size * self.head.bias
            total += (self.norm.size(self.d_model) + self.d_model * self.head.dense_bias) * self.head.dense
        return total + self.d_model * self.pooler + self.head_parameters(self.d_model)

    @property
    def train_flops_per_token(self) -> int:
        """See `ModelConfig`; of experts, those that a token goes to. The head counts as for a hidden token."""
        matrices = sum(self.block_matrices(layer, active=True) for layer in range(self.num_layers))
        if self.head is not None:
            matrices += self.d_model * (self.vocab_size + self.d_model * self.head.dense)
        return 6 * matrices + self.attention_flops(self.num_layers, causal=False)

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """See `ModelConfig`: the token ids so far."""
        return 8 * batch_size * (max_len or self.max_seq_len)

    @property
    def _dense_matrices(self) -> int:
        """Parameters of the square matrices beside the blocks: of the head and of the pooler."""
        return self.d_model**2 * ((self.head is not None and self.head.dense) + self.pooler)


def encoder_sized(depth: int, *, vocab_size: int, max_seq_len: int, mask_id: int = OWN_MASK_ID) -> EncoderConfig:
    """The encoder of a depth: D = 64 L, heads of 64 channels, F = 4 D, the embedding as the head's table.

    Only the hidden tokens teach a head, so a table of its own learns slowly; everything else is by default.

    Args:
        depth: number of layers L, from 1.
        vocab_size: V.
        max_seq_len: in tokens.
        mask_id: the tokenizer's.
    """
    d_model = 64 * depth
    return EncoderConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        num_layers=depth,
        d_model=d_model,
        num_heads=depth,
        num_kv_heads=depth,
        head_dim=64,
        d_ff=4 * d_model,
        mask_id=mask_id,
        tie_embeddings=True,
    )
