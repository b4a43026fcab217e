"""Training a word-level vocabulary, as the textbooks' recurrent language models have it.

A word is what stands between blanks, a punctuation mark or a Chinese character is a word of its own, and what is not
among the most frequent words is `<unk>`. Decoding puts blanks between words again, though not before punctuation or
between Chinese characters. It leaves out lower case: the words are taken as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from stepwell.tokenizers.config import UNKNOWN, WordLevelConfig
from stepwell.tokenizers.tokenizer import Tokenizer

ALONE = r"\p{Han}|(?!(?<=\w)['’](?=\w))[\p{P}\p{S}]"
"""What is a word of its own: a Chinese character, a punctuation mark or sign, but no apostrophe inside a word."""

NO_BLANK_BEFORE = r"^ (?=[\p{Han}，。、；：？！])"


def train_word_level(texts: Iterable[str], config: WordLevelConfig) -> Tokenizer:
    """Collect the most frequent words of texts; words of equal frequency are taken in the order of their characters.

    Args:
        texts: the documents of the train split, read once.
        config: its vocabulary size and special tokens.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts have fewer words.
    """
    base = [*config.every_special_token, UNKNOWN]
    learner = _backend({token: n for n, token in enumerate(base)})
    trainer = trainers.WordLevelTrainer(vocab_size=config.vocab_size, special_tokens=base, show_progress=False)
    learner.encode_special_tokens = True
    learner.train_from_iterator(texts, trainer)
    # Made anew, because the trainer has made `<unk>` a special token, which spells nothing: a reader shall see it.
    backend = _backend(learner.get_vocab())
    backend.add_special_tokens(list(config.every_special_token))
    return Tokenizer(backend)


def _backend(vocab: dict[str, int]) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(tokenizers.Regex(ALONE), behavior="isolated"),
        ]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),
            decoders.Replace(tokenizers.Regex(NO_BLANK_BEFORE), ""),
        ]
    )
    return backend
