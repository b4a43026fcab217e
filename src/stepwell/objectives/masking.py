"""Predicting what was hidden: the masked objective (Devlin et al., 2019, "BERT").

Some tokens of a text, or some whole words (Cui et al., 2021, for Chinese), are hidden behind the mask, replaced by
random ones or left as they are, and all of them are to be told from what stands around. What is hidden is a pure
function of the batch and a seed, made with NumPy alone. This file leaves out how a masked model scores a text
(`inference.parts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Batch
from stepwell.errors import TokenizerError, UsageError
from stepwell.models import LanguageModel
from stepwell.objectives.config import MaskedConfig
from stepwell.objectives.losses import summed_loss
from stepwell.objectives.objective import Objective
from stepwell.tokenizers import Tokenizer

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

WordStarts = Callable[[Ints, Flags], Flags]
"""Function of a text (N,) and where its pieces begin (N,): which tokens begin a word, those of the pieces included."""


@dataclass(frozen=True)
class MaskedExamples:
    """Rows with hidden tokens.

    Attributes:
        token_ids: (B, T) int64, what the model reads.
        targets: (B, T) int64, the text itself.
        hidden: (B, T) bool, which tokens are to be told.
        document_ids: (B, T) int32, pieces of a row; padding is one of its own.
    """

    token_ids: Ints
    targets: Ints
    hidden: Flags
    document_ids: NDArray[np.int32]

    @property
    def num_targets(self) -> int:
        """How many tokens are to be told."""
        return int(self.hidden.sum())


class MaskedObjective(Objective[MaskedExamples]):
    """Tell hidden tokens from what stands around them.

    A piece of k pairs has k + 1 tokens and place for k: a coin decides whether its first or its last one is left out,
    so that what begins a document and what ends one are both learned. Padding and special tokens are never hidden, but
    for the token that ends a document: whoever goes on with a text has to know where it is over.

    Args:
        config: what is hidden, and how.
        tokenizer: of the text.

    Raises:
        TokenizerError: when it has no mask.
        UsageError: when words are to be cut and the program for it is not there.
    """

    def __init__(self, config: MaskedConfig, tokenizer: Tokenizer) -> None:
        if tokenizer.mask_id is None:
            raise TokenizerError(
                "training.objective: the tokenizer has no token to hide others behind",
                do="train one with tokenizer.special_tokens=['<|mask|>'], or take a model that was trained with a mask",
            )
        self.config, self.mask_id, self.eos_id = config, tokenizer.mask_id, tokenizer.eos_id
        self.is_special = np.isin(np.arange(tokenizer.vocab_size), list(tokenizer.special_ids))
        self.ordinary = np.flatnonzero(~self.is_special)
        self.word_starts: WordStarts | None = None
        if config.whole_words == "blanks":
            self.word_starts = words_at_blanks(tokenizer)
        elif config.whole_words == "chinese":
            self.word_starts = words_of_chinese(tokenizer)

    def prepare(self, batch: Batch, seed: int) -> MaskedExamples:
        """Hide tokens of a batch."""
        random = np.random.default_rng(seed)
        pieces = random.random((len(batch.token_ids), int(batch.document_ids.max()) + 1)) < 0.5
        last_is_left_out = np.take_along_axis(pieces, batch.document_ids.astype(np.int64), axis=1)
        text = np.where(last_is_left_out, batch.token_ids, batch.targets)
        begins = np.ones(text.shape, dtype=np.bool_)
        begins[:, 1:] = batch.document_ids[:, 1:] != batch.document_ids[:, :-1]
        may_be_hidden = batch.loss_mask & (~self.is_special[text] | ((text == self.eos_id) & ~begins))
        hidden = self._choose(text, begins, random) & may_be_hidden
        fate = random.random(text.shape)
        shown = np.where(fate < self.config.mask_share, self.mask_id, text)
        is_random = (fate >= self.config.mask_share) & (fate < self.config.mask_share + self.config.random_share)
        shown = np.where(is_random, random.choice(self.ordinary, text.shape), shown)
        return MaskedExamples(np.where(hidden, shown, text), text, hidden, batch.document_ids)

    def loss(self, model: LanguageModel, examples: MaskedExamples, device: torch.device) -> Tensor:
        """Of the hidden tokens."""
        hidden = torch.from_numpy(examples.hidden).to(device)
        states = model.hidden(
            torch.from_numpy(examples.token_ids).to(device), torch.from_numpy(examples.document_ids).to(device)
        )
        targets = torch.from_numpy(examples.targets).to(device)
        return summed_loss(model, states, targets, self.config.loss, hidden)

    def _choose(self, text: Ints, begins: Flags, random: np.random.Generator) -> Flags:
        """Each token, or each word as a whole, with the probability of the config."""
        if self.word_starts is None:
            return random.random(text.shape) < self.config.mask_ratio
        words = np.cumsum(self.word_starts(text.ravel(), begins.ravel())) - 1
        chosen = random.random(int(words[-1]) + 1) < self.config.mask_ratio
        found: Flags = chosen[words].reshape(text.shape)
        return found


def words_at_blanks(tokenizer: Tokenizer) -> WordStarts:
    """Words as the blanks between them say."""
    starts, ends = tokenizer.word_starts(), tokenizer.word_ends()

    def find(text: Ints, begins: Flags) -> Flags:
        found: Flags = starts[text] | begins
        found[1:] |= ends[text[:-1]]
        return found

    return find


def words_of_chinese(tokenizer: Tokenizer) -> WordStarts:
    """Words as a Chinese segmenter cuts them; a token that reaches into two words makes one of them.

    A border between two tokens is one between words where the segmenter cuts just there, so tokens that are a part of a
    character, or several words, are never torn.

    Raises:
        UsageError: when `rjieba` is not installed.
    """
    try:
        import rjieba
    except ImportError:
        raise UsageError(
            "training.objective.whole_words: cutting Chinese words needs rjieba",
            do="pip install 'stepwell[chinese]', or choose whole_words=blanks, or null",
        ) from None
    spelled = _spelled(tokenizer)
    is_special = np.array([not part for part in spelled])
    lengths = np.array([len(part) for part in spelled])

    def find(text: Ints, begins: Flags) -> Flags:
        found: Flags = begins | is_special[text]
        found[1:] |= is_special[text[:-1]]
        edges = np.append(np.flatnonzero(begins), len(text))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            ids = text[first:last]
            places = np.cumsum(lengths[ids]) - lengths[ids]
            data = b"".join(map(spelled.__getitem__, ids.tolist()))
            cuts = np.zeros(len(data) + 1, dtype=np.bool_)
            cuts[_cut(rjieba.cut, data)] = True
            found[first:last] |= cuts[places]
        return found

    return find


def _spelled(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of each token. Where blanks are the tokenizer's own, not the text's, Chinese stands without them."""
    parts = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
    if tokenizer.is_lossless:
        return parts
    return [part.lstrip(b" ") if part[:1] == b" " and part[1:].lstrip(b" ")[:1] >= b"\xe3" else part for part in parts]


def _cut(segment: Callable[[str], list[str]], data: bytes) -> Ints:
    """Where words begin, in bytes."""
    letters = data.decode("utf-8", errors="surrogateescape")
    codes = np.frombuffer(letters.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    is_torn = (codes >= 0xDC80) & (codes <= 0xDCFF)  # a byte of a character that was cut
    sizes = np.where(is_torn, 1, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000))
    readable = letters.encode("utf-8", errors="replace").decode()  # one letter stays one letter
    words = np.array([len(word) for word in segment(readable)], dtype=np.int64)
    offsets = np.cumsum(sizes) - sizes
    starts = np.cumsum(words) - words
    found: Ints = offsets[starts[starts < len(offsets)]]
    return found
