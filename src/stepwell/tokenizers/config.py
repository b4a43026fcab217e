"""What a tokenizer is asked to be, and the vocabulary size that fits an amount of text.

The size counts everything: 256 bytes, the special tokens, and the merges or words. A tokenizer is trained on the text,
or taken over from a checkpoint. This file leaves out the tokenizers themselves, so that a recipe can be read without
loading them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stepwell.config import Config

SMALLEST_VOCAB = 512
LARGEST_DERIVED_VOCAB = 65536

END_OF_TEXT = "<|endoftext|>"

MASKS = ("<mask>", "[MASK]", "<|mask|>")
"""How the families of the field spell the token that hides another one; the last is ours."""


class ByteBPEConfig(Config):
    """A byte-level BPE.

    Attributes:
        vocab_size: the 256 bytes, the special tokens and the merges together. A small corpus may have fewer pairs to
            merge than asked for; the trained tokenizer's own `vocab_size` is the truth.
        special_tokens: further special tokens after `<|endoftext|>`, with the ids 1, 2, ... `<|mask|>` is what masked
            language modelling hides a token behind, `<|span_0|>`, `<|span_1|>`, ... stand for hidden spans.
    """

    kind: Literal["byte_bpe"] = "byte_bpe"
    vocab_size: int = Field(ge=257, le=1_000_000)
    special_tokens: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _special_tokens_fit(self) -> ByteBPEConfig:
        all_of_them = (END_OF_TEXT, *self.special_tokens)
        if "" in all_of_them or len(set(all_of_them)) < len(all_of_them):
            raise ValueError(f"special_tokens that are not empty, and each only once, {END_OF_TEXT} aside")
        if self.vocab_size < 256 + len(all_of_them):
            raise ValueError(f"a vocab_size of at least {256 + len(all_of_them)}: 256 bytes and the special tokens")
        return self


class WordLevelConfig(Config):
    """Whole words, as in the textbooks' recurrent language models: the most frequent ones, all others are `<unk>`.

    It does not give a text back: words that it does not know, blanks and line ends are lost, so its bits per byte
    judge a text that is easier than the real one.

    Attributes:
        vocab_size: the words, `<unk>` and `<|endoftext|>` together; fewer where the text has fewer words.
    """

    kind: Literal["word"] = "word"
    vocab_size: int = Field(default=10_000, ge=3, le=1_000_000)


class PretrainedTokenizerConfig(Config):
    """The tokenizer of a checkpoint, taken over as it is.

    Attributes:
        path: a checkpoint or run directory.
        vocab_size: number of its ids.
    """

    kind: Literal["pretrained"] = "pretrained"
    path: str
    vocab_size: int = Field(ge=1)


TokenizerConfig = Annotated[ByteBPEConfig | WordLevelConfig | PretrainedTokenizerConfig, Field(discriminator="kind")]


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
