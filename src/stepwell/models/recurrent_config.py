"""The size and shape of a recurrent language model, without a tensor.

`lstm_textbook` is the model that the Keras textbooks begin with; `recurrent_sized` turns the same dial as
`decoder_sized`, so that one depth names models of about the same number of matrix parameters in both families. Counts
follow torch's cells, which have two bias vectors where Keras's LSTM has one. This file leaves out the encoder-decoder.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.models.model_config import ModelConfig

GATES = {"lstm": 4, "gru": 3}
"""Gates of a cell: its matrices have so many rows for each unit."""

STATES = {"lstm": 2, "gru": 1}
"""Vectors that a layer remembers: an LSTM has a cell state beside the hidden state."""


class RecurrentConfig(ModelConfig):
    """An LSTM or GRU language model (see `RecurrentLanguageModel`).

    Attributes:
        kind: the cell.
        d_embedding: channels of a token's embedding.
        d_model: units H of every layer.
        num_layers: L.
        dropout: probability of dropping a channel of what goes into a layer or out of the last, while training, in
            [0, 1); never of what is carried from token to token (Zaremba et al., 2014).
        tie_embeddings: the output matrix is the input embedding; needs d_embedding = d_model.
        head_bias: the output has a bias for each token.
        initialization: how the matrices of the inputs and the output are drawn; recurrent matrices are orthogonal and
            forget gates open under every scheme.
    """

    kind: Literal["lstm", "gru"]
    d_embedding: Annotated[int, Field(ge=1)]
    d_model: Annotated[int, Field(ge=1)]
    num_layers: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tie_embeddings: bool = False
    head_bias: bool = True
    initialization: Literal["normal", "truncated_normal", "xavier", "kaiming", "scaled_normal"] = "kaiming"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tie_embeddings and self.d_embedding != self.d_model:
            raise ValueError(
                "a d_embedding that is d_model where tie_embeddings is true: the hidden state is compared with the "
                f"embeddings (d_embedding {self.d_embedding}, d_model {self.d_model})"
            )
        return self

    @property
    def num_matrix_parameters(self) -> int:
        """Parameters of the layers' matrices (see `ModelConfig`)."""
        inputs = self.d_embedding + (self.num_layers - 1) * self.d_model
        return GATES[self.kind] * self.d_model * (inputs + self.num_layers * self.d_model)

    @property
    def num_parameters(self) -> int:
        """All parameters of the built module."""
        biases = 2 * GATES[self.kind] * self.d_model * self.num_layers + (self.vocab_size if self.head_bias else 0)
        head = 0 if self.tie_embeddings else self.vocab_size * self.d_model
        head += self.head_parameters(self.d_model)
        return self.num_matrix_parameters + biases + self.vocab_size * self.d_embedding + head

    @property
    def train_flops_per_token(self) -> int:
        """Floating-point operations of one training token (see `ModelConfig`)."""
        return 6 * (self.num_matrix_parameters + self.vocab_size * self.d_model)

    @property
    def activations_per_token(self) -> int:
        """See `ModelConfig`."""
        return 3 * self.d_embedding + self.num_layers * (GATES[self.kind] + 6) * self.d_model

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """Memory of a decoding state: the same whatever its length."""
        return 4 * batch_size * STATES[self.kind] * self.num_layers * self.d_model


def recurrent_sized(
    depth: int, *, vocab_size: int, max_seq_len: int, kind: Literal["lstm", "gru"] = "lstm"
) -> RecurrentConfig:
    """The recurrent model beside the decoder of a depth.

    Recurrent models grow in width: one layer below depth 4, then two, as wide as 12 * 64^2 * depth^3 matrix parameters
    ask for, which is what `decoder_sized` has, rounded to 8 units. Of small models a wide layer learned faster than
    two.

    Args:
        depth: the dial, from 1.
        vocab_size: V.
        max_seq_len: in tokens.
        kind: the cell.
    """
    num_layers = 1 if depth < 4 else 2
    wanted = 12 * 64**2 * depth**3
    d_model = 8 * round((wanted / (2 * GATES[kind] * num_layers)) ** 0.5 / 8)
    return RecurrentConfig(
        kind=kind,
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        d_embedding=d_model,
        d_model=d_model,
        num_layers=num_layers,
    )


lstm_sized = partial(recurrent_sized, kind="lstm")
gru_sized = partial(recurrent_sized, kind="gru")


def lstm_textbook() -> RecurrentConfig:
    """The language model of the Keras textbooks: 10,000 words, 256 channels, two layers of 128 units, softmax."""
    return RecurrentConfig(
        kind="lstm",
        vocab_size=10_000,
        max_seq_len=128,
        d_embedding=256,
        d_model=128,
        num_layers=2,
        head_bias=True,
        initialization="xavier",
    )
