"""The size and shape of a Transformer encoder-decoder, without a tensor.

The original Transformer, T5, BART and Marian are values of it: what their halves share is in `TransformerConfig`, what
joins the halves is here. Operations are counted for running text, where both halves read every token once, chunk by
chunk. This file leaves out the module itself.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.models.transformer_config import NormConfig, SinusoidalPositions, TransformerConfig


class EncoderDecoderConfig(TransformerConfig):
    """A Transformer that reads a source and writes a target (see `EncoderDecoder`).

    Attributes:
        num_layers: blocks L of the decoder.
        num_encoder_layers: blocks of the encoder; None for as many.
        share_embeddings: both halves look tokens up in one table.
        tie_embeddings: the output matrix is the table of the decoder.
        head_scale: multiplies the last hidden states before the output matrix (T5: 1/sqrt(D)); None for none.
        head_bias: the output has a bias for each token.
        prompt: what a prompt is: a text to `continue`, or a `source` to turn into a target.
        start_ids: what every target begins with: the start token, and what always comes right after it.
        never_ids: tokens that are never written in a target, however likely they are.
    """

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    num_encoder_layers: Annotated[int, Field(ge=1)] | None = None
    share_embeddings: bool = True
    tie_embeddings: bool = False
    head_scale: Annotated[float, Field(gt=0)] | None = None
    head_bias: bool = False
    prompt: Literal["continue", "source"] = "continue"
    start_ids: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    never_ids: tuple[Annotated[int, Field(ge=0)], ...] = ()

    @model_validator(mode="after")
    def _halves_fit_together(self) -> Self:
        if self.parallel:
            raise ValueError("parallel false: the cross-attention stands between attention and MLP")
        if self.experts is not None:
            raise ValueError("experts null: only a decoder chooses among MLPs")
        largest = max(self.start_ids + self.never_ids)
        if largest >= self.vocab_size:
            raise ValueError(f"start_ids and never_ids below vocab_size ({largest}, vocab_size {self.vocab_size})")
        return self

    @property
    def encoder_layers(self) -> int:
        """Blocks of the encoder."""
        return self.num_layers if self.num_encoder_layers is None else self.num_encoder_layers

    @property
    def chunk_len(self) -> int:
        """Tokens C of running text that are written against the same memory: the chunk before them."""
        return self.max_seq_len // 2

    @property
    def num_matrix_parameters(self) -> int:
        """See `ModelConfig`."""
        encoder = sum(self.block_matrices(layer) for layer in range(self.encoder_layers))
        return encoder + sum(self.block_matrices(layer, cross=True) for layer in range(self.num_layers))

    @property
    def num_parameters(self) -> int:
        """See `ModelConfig`."""
        tables = (1 if self.share_embeddings else 2) + (0 if self.tie_embeddings else 1)
        output_bias = self.vocab_size if self.head_bias else 0
        halves = self.stack_parameters(self.encoder_layers) + self.stack_parameters(self.num_layers, cross=True)
        return tables * self.vocab_size * self.d_model + output_bias + halves

    @property
    def train_flops_per_token(self) -> int:
        """Floating-point operations of one training token of running text (see `ModelConfig`).

        A token of the encoder sees its chunk; one of the decoder sees half of its chunk on average, and the whole chunk
        before.
        """
        chunk = self.chunk_len
        attention = self._attention_flops(self.encoder_layers, chunk) + self._attention_flops(
            self.num_layers, chunk // 2
        )
        cross = 12 * self.num_layers * self.num_heads * self.head_dim * chunk
        return 6 * (self.num_matrix_parameters + self.vocab_size * self.d_model) + attention + cross

    @property
    def activations_per_token(self) -> int:
        """See `ModelConfig`."""
        blocks = (self.encoder_layers + self.num_layers) * (18 * self.d_model + 4 * self.d_ff)
        return blocks + self.num_layers * 9 * self.d_model

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """Memory of a decoding of running text: a chunk's tokens, keys and values, and the memory of the one before."""
        room = min(self.chunk_len, max_len or self.max_seq_len)
        memory = batch_size * room * (1 + 8 * self.num_layers * self.num_heads * self.head_dim)
        return batch_size * room * 8 + memory + self.cache_bytes(self.num_layers, batch_size, room)

    def _attention_flops(self, num_layers: int, keys: int) -> int:
        """Training operations a token of self-attention over so many keys; a window sees no more than it holds."""
        seen = [
            keys if self.window is None or self.layer_kind(layer) != "window" else min(keys, self.window)
            for layer in range(num_layers)
        ]
        return 12 * self.num_heads * self.head_dim * sum(seen)


def encoder_decoder_sized(depth: int, *, vocab_size: int, max_seq_len: int) -> EncoderDecoderConfig:
    """The encoder-decoder beside the decoder of a depth: its layers in two halves, its matrices in about its size.

    Args:
        depth: the dial, from 1; of an odd number of layers the decoder gets one more.
        vocab_size: V.
        max_seq_len: in tokens.
    """
    encoder_layers, decoder_layers = max(1, depth // 2), depth - depth // 2
    wanted = 12 * 64**2 * depth**3
    width = (wanted / (12 * encoder_layers + 16 * decoder_layers)) ** 0.5
    num_heads = max(1, round(width / 64))
    head_dim = 8 * round(width / num_heads / 8)
    return EncoderDecoderConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        num_layers=decoder_layers,
        num_encoder_layers=encoder_layers,
        d_model=num_heads * head_dim,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=head_dim,
        d_ff=4 * num_heads * head_dim,
    )


def transformer_base(*, vocab_size: int = 37_000, max_seq_len: int = 512) -> EncoderDecoderConfig:
    """The base model of "Attention Is All You Need" (Vaswani et al., 2017, table 3).

    Its 37,000 tokens are shared by source and target, and one table serves both halves and the output.

    Args:
        vocab_size: V.
        max_seq_len: in tokens; the paper's waves have no end.
    """
    return EncoderDecoderConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        num_layers=6,
        d_model=512,
        num_heads=8,
        num_kv_heads=8,
        head_dim=64,
        d_ff=2048,
        activation="relu",
        norm=NormConfig(kind="layer"),
        norm_placement="post",
        qk_norm="none",
        mlp_bias=True,
        positions=SinusoidalPositions(),
        embedding_scale=512**0.5,
        embedding_norm=False,
        tie_embeddings=True,
        dropout=0.1,
        embedding_dropout=0.1,
        initialization="xavier",
        residual_initialization="same",
        prompt="source",
    )
