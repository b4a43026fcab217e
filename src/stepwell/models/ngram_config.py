"""The size and shape of a counted n-gram model, without a tensor.

It has no parameters: what it knows are counts, whose number the text decides. This file leaves out how many n-grams a
text has.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stepwell.models.model_config import ModelConfig


class NGramConfig(ModelConfig):
    """An interpolated modified Kneser-Ney model (see `NGram`).

    Attributes:
        order: length of the longest n-gram, from 1: a token is predicted from the order - 1 before it.
    """

    kind: Literal["ngram"] = "ngram"
    order: Annotated[int, Field(ge=1, le=20)] = 5

    @property
    def num_matrix_parameters(self) -> int:
        """Nothing multiplies."""
        return 0

    @property
    def num_parameters(self) -> int:
        """Nothing is learned by gradients."""
        return 0

    @property
    def train_flops_per_token(self) -> int:
        """Counting takes no floating-point operations."""
        return 0

    @property
    def activations_per_token(self) -> int:
        """Counting keeps nothing."""
        return 0

    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """Memory of a decoding state: the last few tokens."""
        return 8 * batch_size * (self.order - 1)


def ngram_sized(depth: int, *, vocab_size: int, max_seq_len: int) -> NGramConfig:
    """The n-gram model beside the decoder of a depth: the same at every depth, for the text decides its size.

    Args:
        depth: the dial, from 1.
        vocab_size: V.
        max_seq_len: in tokens.
    """
    return NGramConfig(vocab_size=vocab_size, max_seq_len=max_seq_len)
