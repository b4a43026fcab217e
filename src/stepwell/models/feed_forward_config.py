"""The size and shape of a feed-forward language model, without a tensor.

The model sees a fixed number of tokens whatever the window is, so `max_seq_len` only says how long the rows of a batch
are. This file leaves out models that see more than their last few tokens.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.models.model_config import ModelConfig


class FeedForwardConfig(ModelConfig):
    """The neural probabilistic language model of Bengio et al., 2003 (see `FeedForward`).

    Attributes:
        context_size: tokens that the next one is predicted from (n - 1 for an n-gram), from 1.
        d_embedding: channels of a token's embedding.
        d_hidden: units of the hidden layer.
        direct: the output sees the embeddings too, past the hidden layer.
        dropout: probability of dropping a channel of the embeddings or of the hidden layer, while training, in [0, 1).
        head_bias: the output has a bias for each token.
        initialization: how the hidden matrix is drawn.
    """

    kind: Literal["feed_forward"] = "feed_forward"
    context_size: Annotated[int, Field(ge=1)]
    d_embedding: Annotated[int, Field(ge=1)]
    d_hidden: Annotated[int, Field(ge=1)]
    direct: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    head_bias: bool = True
    initialization: Literal["normal", "truncated_normal", "xavier", "kaiming", "scaled_normal"] = "xavier"

    @property
    def d_context(self) -> int:
        """Channels of the embeddings of a whole context, side by side."""
        return self.context_size * self.d_embedding

    @property
    def d_output(self) -> int:
        """Channels that the output sees."""
        return self.d_hidden + (self.d_context if self.direct else 0)

    @property
    def num_matrix_parameters(self) -> int:
        """Parameters of the hidden layer's matrix (see `ModelConfig`)."""
        return self.d_context * self.d_hidden

    @property
    def num_parameters(self) -> int:
        """All parameters of the built module, the vector before a text's beginning included."""
        tables = self.vocab_size * (self.d_embedding + self.d_output + (1 if self.head_bias else 0))
        return self.num_matrix_parameters + self.d_hidden + self.d_embedding + tables

    @property
    def train_flops_per_token(self) -> int:
        """Floating-point operations of one training token (see `ModelConfig`)."""
        return 6 * (self.num_matrix_parameters + self.vocab_size * self.d_output)

    @property
    def activations_per_token(self) -> int:
        """See `ModelConfig`."""
        return 4 * (self.d_context + self.d_output)

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """Memory of a decoding state: the last few tokens."""
        return 8 * batch_size * (self.context_size - 1)


def feed_forward_sized(depth: int, *, vocab_size: int, max_seq_len: int) -> FeedForwardConfig:
    """The feed-forward model beside the decoder of a depth, with as many matrix parameters: 12 * 64^2 * depth^3.

    Args:
        depth: the dial, from 1.
        vocab_size: V.
        max_seq_len: in tokens.
    """
    return FeedForwardConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        context_size=8,
        d_embedding=64 * depth,
        d_hidden=96 * depth**2,
    )
