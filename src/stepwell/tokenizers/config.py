"""What a tokenizer is asked to be, and the vocabulary size that fits an amount of text.

The size counts everything: special tokens, bytes, characters, pieces or words. A tokenizer is trained on the text, or
taken over from a checkpoint, perhaps with more tokens. This file leaves out the tokenizers themselves, so that a recipe
can be read without loading them.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config

SMALLEST_VOCAB = 512
LARGEST_DERIVED_VOCAB = 65536

END_OF_TEXT = "<|endoftext|>"

UNKNOWN = "<unk>"

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
"""A byte in a vocabulary of characters."""

PreTokenizer = Literal["gpt4", "gpt2", "whitespace", "none"]

MASKS = ("<mask>", "[MASK]", "<|mask|>")
"""How the families of the field spell the token that hides another one; the last is ours."""


class _TrainedConfig(Config):
    """What every tokenizer that is trained is asked.

    Attributes:
        vocab_size: everything counted: special tokens, bytes, characters, pieces. A small text may give fewer; the
            trained tokenizer's own `vocab_size` is the truth.
        special_tokens: further special tokens after `<|endoftext|>`, with the ids 1, 2, ... `<|mask|>` is what masked
            language modelling hides a token behind, `<|span_0|>`, `<|span_1|>`, ... stand for hidden spans.
    """

    vocab_size: int = Field(ge=3, le=1_000_000)
    special_tokens: tuple[str, ...] = ()

    @property
    def every_special_token(self) -> tuple[str, ...]:
        """All of them, by id."""
        return (END_OF_TEXT, *self.special_tokens)

    @property
    def base_size(self) -> int:
        """How many ids are there before anything is learned."""
        return len(self.every_special_token)

    @model_validator(mode="after")
    def _special_tokens_fit(self) -> Self:
        all_of_them = self.every_special_token
        if any(len(token) < 2 for token in all_of_them) or len(set(all_of_them)) < len(all_of_them):
            raise ValueError(f"special_tokens of two characters or more, and each only once, {END_OF_TEXT} aside")
        if any(token == UNKNOWN or BYTE_TOKEN.fullmatch(token) for token in all_of_them):
            raise ValueError(f"special_tokens other than {UNKNOWN} and <0x00> to <0xFF>")
        if self.vocab_size < self.base_size:
            raise ValueError(f"a vocab_size of at least {self.base_size}: {self._what_the_base_is()}")
        return self

    def _what_the_base_is(self) -> str:
        return "special tokens"


class _CuttingConfig(_TrainedConfig):
    """How a tokenizer cuts a text before it looks for pieces: no piece goes over a cut, and nothing is lost by one.

    Attributes:
        pre_tokenizer: the rule. `gpt4` (the cl100k family): letters with at most one sign before them, up to three
            digits, signs, line ends; `gpt2`: words, numbers and signs with the blank before them; `whitespace`: what
            stands between blanks; `none`: cuts behind line ends only, so that a piece may hold several words.
        digits: `single` cuts numbers into digits, `threes` into groups of up to three from the left; None leaves them
            to the rule.
        chinese: `runs`: a run of Chinese characters is like a word of letters; `words`: the same, but pieces are only
            learned inside the words that rjieba finds in it; `characters`: each stands alone.
    """

    pre_tokenizer: PreTokenizer = "gpt4"
    digits: Literal["single", "threes"] | None = None
    chinese: Literal["runs", "words", "characters"] = "runs"


class _CharactersConfig(_TrainedConfig):
    """A tokenizer that knows characters.

    Attributes:
        byte_fallback: what is not known is written as its bytes, so that any text comes back; otherwise as `<unk>`.
        character_coverage: share of the text's characters that are known, the frequent first.
    """

    byte_fallback: bool = True
    character_coverage: float = Field(default=0.9995, gt=0, le=1)

    @property
    def base_size(self) -> int:
        """Special tokens, and the bytes or `<unk>`."""
        return len(self.every_special_token) + (256 if self.byte_fallback else 1)

    def _what_the_base_is(self) -> str:
        return "256 bytes and the special tokens" if self.byte_fallback else f"{UNKNOWN} and the special tokens"


class ByteBPEConfig(_CuttingConfig):
    """A byte-level BPE: pairs are merged, the most frequent first (Sennrich et al. 2016; Radford et al. 2019)."""

    kind: Literal["byte_bpe"] = "byte_bpe"

    @property
    def base_size(self) -> int:
        """The bytes and the special tokens."""
        return 256 + len(self.every_special_token)

    def _what_the_base_is(self) -> str:
        return "256 bytes and the special tokens"


class UnigramConfig(_CharactersConfig, _CuttingConfig):
    """A unigram model: pieces have probabilities, and a text is cut in the most probable way (Kudo 2018)."""

    kind: Literal["unigram"] = "unigram"

    @property
    def own_characters(self) -> frozenset[str]:
        """Those of its own tokens, which it always knows: a text that spells such a token has another way then."""
        return frozenset("".join((*self.every_special_token, "<0x123456789ABCDEF>" if self.byte_fallback else UNKNOWN)))

    @property
    def base_size(self) -> int:
        """Special tokens, the bytes or `<unk>`, and the characters of all these."""
        return super().base_size + len(self.own_characters)

    def _what_the_base_is(self) -> str:
        return f"{super()._what_the_base_is()}, and the characters that they are made of"


class WordPieceConfig(_CharactersConfig, _CuttingConfig):
    """WordPiece: a word is cut into the longest pieces there are, from the left; `##` marks what goes on with a word.

    Its model has no place for single bytes beside characters, so with `byte_fallback` all pieces are made of bytes.
    """

    kind: Literal["wordpiece"] = "wordpiece"

    @property
    def base_size(self) -> int:
        """Special tokens, and each byte as it begins a word and as it goes on with one; or `<unk>`."""
        return len(self.every_special_token) + (512 if self.byte_fallback else 1)

    def _what_the_base_is(self) -> str:
        return "256 bytes in two forms and the special tokens" if self.byte_fallback else super()._what_the_base_is()


class CharacterConfig(_CharactersConfig):
    """Every character is a token, the frequent ones by an id of their own."""

    kind: Literal["character"] = "character"
    vocab_size: int = Field(default=8192, ge=3, le=1_000_000)


class WordLevelConfig(_TrainedConfig):
    """Whole words, as in the textbooks' recurrent language models: the most frequent ones, all others are `<unk>`.

    It does not give a text back: words that it does not know, blanks and line ends are lost, so its bits per byte
    judge a text that is easier than the real one.
    """

    kind: Literal["word"] = "word"
    vocab_size: int = Field(default=10_000, ge=3, le=1_000_000)

    @property
    def base_size(self) -> int:
        """Special tokens and `<unk>`."""
        return len(self.every_special_token) + 1

    def _what_the_base_is(self) -> str:
        return f"{UNKNOWN} and the special tokens"


class PretrainedTokenizerConfig(Config):
    """The tokenizer of a checkpoint, taken over as it is or with more tokens.

    Attributes:
        path: a checkpoint or run directory.
        vocab_size: number of its ids, those that are added included.
        extend_tokens: so many pieces are learned from the training text and added, those that save most tokens first;
            their embeddings begin as the mean of the tokens that they replace.
    """

    kind: Literal["pretrained"] = "pretrained"
    path: str
    vocab_size: int = Field(ge=1)
    extend_tokens: int = Field(default=0, ge=0, le=100_000)


TrainedConfig = ByteBPEConfig | UnigramConfig | WordPieceConfig | CharacterConfig | WordLevelConfig
"""A tokenizer that is learned from text."""

TokenizerConfig = Annotated[TrainedConfig | PretrainedTokenizerConfig, Field(discriminator="kind")]


def derive_vocab_size(train_bytes: int, factor: float = 1.0) -> int:
    """The power of two nearest to the square root of the text's size.

    1 MB gives 1024, 10 MB gives 4096, 1 GB gives 32768: each token is then seen often enough to be learned.

    Args:
        train_bytes: size of the train split in bytes, at least 0.
        factor: how many times the square root.

    Returns:
        A power of two, 512 to 65536.
    """
    nearest = 2 ** round(math.log2(factor * math.sqrt(max(train_bytes, 1))))
    return int(min(max(nearest, SMALLEST_VOCAB), LARGEST_DERIVED_VOCAB))
