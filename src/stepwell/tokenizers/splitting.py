r"""How byte-level vocabularies cut a text before pairs are merged, by the names that GGUF files use.

Each name stands for patterns that are applied one after the other: what a pattern finds becomes a piece of its own, and
so does what lies between. A vocabulary merges well only behind the cutting that it was learned with, so a name that is
not in the table is refused. This file leaves out the merging.
"""

from __future__ import annotations

from dataclasses import dataclass

import tokenizers
from tokenizers import normalizers, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Radford et al. 2019: contractions, words, numbers and signs with the blank before them, other blanks."""

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The GPT-4 family's rule as Llama 3 has it: letters with at most one sign before them, one to three digits."""

QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

TEKKEN = GPT4O.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace(r"\p{N}{1,3}", r"\p{N}")

DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)

BY_DIGIT = (r"\p{N}", GPT2)


@dataclass(frozen=True)
class Splitting:
    """The way to the pieces of a text.

    Attributes:
        patterns: regular expressions, applied in order.
        composes: whether characters are composed first (Unicode NFC).
        keeps_words: whether a piece that is a token is taken at once, without merging.
        adds_bos: whether the family puts the begin token before a prompt when nothing is said about it.
        adds_eos: whether it puts the end token after what an encoder reads, likewise.
    """

    patterns: tuple[str, ...]
    composes: bool = False
    keeps_words: bool = False
    adds_bos: bool = False
    adds_eos: bool = False

    def apply(self, backend: tokenizers.Tokenizer) -> None:
        """Set the normalizer and the pre-tokenizer of a byte-level backend."""
        if self.composes:
            backend.normalizer = normalizers.NFC()
        cuts = [pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated") for pattern in self.patterns]
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )


SPLITTINGS: dict[str, Splitting] = {
    "default": Splitting((r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    "gpt-2": Splitting((GPT2,)),
    "phi-2": Splitting((GPT2,)),
    "roberta-bpe": Splitting((GPT2,), adds_bos=True, adds_eos=True),
    "jina-v1-en": Splitting((GPT2,), adds_bos=True, adds_eos=True),
    "jina-v2-es": Splitting((GPT2,)),
    "jina-v2-de": Splitting((GPT2,)),
    "jina-v2-code": Splitting((GPT2,), adds_bos=True, adds_eos=True),
    "mpt": Splitting((GPT2,), composes=True),
    "olmo": Splitting((GPT2,), composes=True),
    "modern-bert": Splitting((GPT2,), composes=True, adds_bos=True, adds_eos=True),
    "exaone4": Splitting((GPT2,)),
    "falcon": Splitting((r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]")),
    "starcoder": Splitting(BY_DIGIT),
    "refact": Splitting(BY_DIGIT),
    "command-r": Splitting(BY_DIGIT, composes=True),
    "smollm": Splitting(BY_DIGIT),
    "codeshell": Splitting(BY_DIGIT),
    "exaone": Splitting(BY_DIGIT),
    "minerva-7b": Splitting(BY_DIGIT),
    "llama3": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "llama-v3": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "llama-bpe": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "falcon3": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "falcon-h1": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "pixtral": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "lfm2": Splitting((LLAMA3,), keeps_words=True, adds_bos=True),
    "dbrx": Splitting((LLAMA3,)),
    "smaug-bpe": Splitting((LLAMA3,)),
    "glm4": Splitting((LLAMA3,)),
    "chatglm-bpe": Splitting((LLAMA3,)),
    "qwen2": Splitting((QWEN2,), composes=True),
    "deepseek-r1-qwen": Splitting((QWEN2,)),
    "megrez": Splitting((QWEN2,)),
    "hunyuan": Splitting((QWEN2,)),
    "stablelm2": Splitting((QWEN2,)),
    "tekken": Splitting((TEKKEN,), keeps_words=True, adds_bos=True),
    "gpt-4o": Splitting((GPT4O,)),
    "llama4": Splitting((GPT4O,)),
    "deepseek-coder": Splitting((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}")),
    "deepseek-v3": Splitting(DEEPSEEK3),
    "hunyuan-dense": Splitting(DEEPSEEK3),
}
"""`tokenizer.ggml.pre` -> how that family cuts."""
