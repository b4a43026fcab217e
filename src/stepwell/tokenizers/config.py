"""What a tokenizer is asked to be, and the vocabulary size that fits an amount of text.

The size counts everything: 256 bytes, the special token, and the merges. This file leaves out the tokenizer itself, so
that a recipe can be read without loading it.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stepwell.config import Config

SMALLEST_VOCAB = 512
LARGEST_DERIVED_VOCAB = 65536


class ByteBPEConfig(Config):
    """A byte-level BPE.

    Attributes:
        vocab_size: the 256 bytes, the special token and the merges together. A small corpus may have fewer pairs to
            merge than asked for; the trained tokenizer's own `vocab_size` is the truth.
    """

    kind: Literal["byte_bpe"] = "byte_bpe"
    vocab_size: int = Field(ge=257, le=1_000_000)


def derive_vocab_size(train_bytes: int) -> int:
    """The power of two nearest to the square root of the text's size.

    1 MB gives 1024, 10 MB gives 4096, 1 GB gives 32768: each token is then seen often enough to be learned.

    Args:
        train_bytes: size of the train split in bytes, at least 0.

    Returns:
        A power of two, 512 to 65536.
    """
    nearest = 2 ** round(math.log2(math.sqrt(max(train_bytes, 1))))
    return int(min(max(nearest, SMALLEST_VOCAB), LARGEST_DERIVED_VOCAB))
