"""The size and shape of an LSTM encoder-decoder with attention, without a tensor.

The two directions of the encoder share the width of the decoder, so that its last memory is the decoder's first one
without a matrix between. Operations are counted for running text, where encoder and decoder read every token once.
This file leaves out the single stack (`recurrent_config.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.models.model_config import ModelConfig


class RecurrentEncoderDecoderConfig(ModelConfig):
    """An LSTM that reads, and one that writes and looks back at what was read (see `RecurrentEncoderDecoder`).

    Attributes:
        d_embedding: channels of a token's embedding, which both sides share.
        d_model: units D of the decoder; each direction of the encoder has D / 2, so it is even.
        num_layers: L, of the encoder and of the decoder.
        attention: how well a place of the source suits the decoder's state: `additive` (Bahdanau et al., 2015),
            `general` or `dot` (Luong et al., 2015).
        dropout: probability of dropping a channel of what goes into a layer or out of the last, while training, in
            [0, 1).
        tie_embeddings: the output matrix is the embedding; needs d_embedding = d_model.
        head_bias: the output has a bias for each token.
        prompt: what a prompt is: a text to `continue`, or a `source` to turn into a target.
        start_ids: what every target begins with.
        initialization: how matrices are drawn; recurrent ones are orthogonal and forget gates open under every scheme.
    """

    kind: Literal["recurrent_encoder_decoder"] = "recurrent_encoder_decoder"
    max_seq_len: Annotated[int, Field(ge=4)]
    d_embedding: Annotated[int, Field(ge=1)]
    d_model: Annotated[int, Field(ge=2)]
    num_layers: Annotated[int, Field(ge=1)]
    attention: Literal["additive", "general", "dot"] = "general"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tie_embeddings: bool = False
    head_bias: bool = True
    prompt: Literal["continue", "source"] = "continue"
    start_ids: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    initialization: Literal["normal", "truncated_normal", "xavier", "kaiming", "scaled_normal"] = "kaiming"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.d_model % 2:
            raise ValueError(f"an even d_model, half of it for each direction of the encoder (it is {self.d_model})")
        if self.tie_embeddings and self.d_embedding != self.d_model:
            raise ValueError(
                "a d_embedding that is d_model where tie_embeddings is true: the hidden state is compared with the "
                f"embeddings (d_embedding {self.d_embedding}, d_model {self.d_model})"
            )
        if max(self.start_ids) >= self.vocab_size:
            raise ValueError(f"start_ids below vocab_size ({max(self.start_ids)}, vocab_size {self.vocab_size})")
        return self

    @property
    def chunk_len(self) -> int:
        """Tokens of running text that are written against the same memory: the chunk before them."""
        return self.max_seq_len // 2

    @property
    def num_matrix_parameters(self) -> int:
        """Parameters of the matrices of both sides, of the attention and of what joins them (see `ModelConfig`)."""
        inputs = self.d_embedding + (self.num_layers - 1) * self.d_model
        decoder = 4 * self.d_model * (inputs + self.num_layers * self.d_model)
        encoder = 4 * self.d_model * (inputs + self.num_layers * self.d_model // 2)
        attention = {"additive": 2, "general": 1, "dot": 0}[self.attention]
        return encoder + decoder + (attention + 2) * self.d_model**2

    @property
    def num_parameters(self) -> int:
        """All parameters of the built module."""
        biases = 2 * 2 * 4 * self.d_model * self.num_layers + (self.vocab_size if self.head_bias else 0)
        score = 2 * self.d_model if self.attention == "additive" else 0
        head = 0 if self.tie_embeddings else self.vocab_size * self.d_model
        return self.num_matrix_parameters + biases + score + self.vocab_size * self.d_embedding + head

    @property
    def train_flops_per_token(self) -> int:
        """Floating-point operations of one training token of running text (see `ModelConfig`)."""
        attention = 2 * self.chunk_len * self.d_model
        return 6 * (self.num_matrix_parameters + self.vocab_size * self.d_model + attention)

    @property
    def activations_per_token(self) -> int:
        """See `ModelConfig`."""
        weights = self.chunk_len * (2 + (2 * self.d_model if self.attention == "additive" else 0))
        return 6 * self.d_embedding + (2 * self.num_layers * 10 + 6) * self.d_model + weights

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """Memory of a decoding state: the chunk's tokens, the memory of the one before and the decoder's own."""
        tokens, memory = 8 * self.chunk_len, 4 * self.chunk_len * self.d_model
        return batch_size * (tokens + memory + 4 * 2 * self.num_layers * self.d_model)


def recurrent_encoder_decoder_sized(depth: int, *, vocab_size: int, max_seq_len: int) -> RecurrentEncoderDecoderConfig:
    """The recurrent encoder-decoder beside the decoder of a depth (see `recurrent_sized`).

    Args:
        depth: the dial, from 1.
        vocab_size: V.
        max_seq_len: in tokens.
    """
    num_layers = 1 if depth < 4 else 2
    wanted = 12 * 64**2 * depth**3
    d_model = 8 * round((wanted / (14 * num_layers + 3)) ** 0.5 / 8)
    return RecurrentEncoderDecoderConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        d_embedding=d_model,
        d_model=d_model,
        num_layers=num_layers,
    )
