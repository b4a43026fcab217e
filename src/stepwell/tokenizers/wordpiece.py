"""WordPiece vocabularies: a list of words and word parts, as BERT has it, or trained on text.

A word is cut into the longest parts that the vocabulary has, from the left (Devlin et al. 2018); `##` marks a part that
goes on with a word. BERT's lists come with their own way to clean and to cut text, at blanks, punctuation and around
every Chinese character; a list that is learned here loses nothing of a text. This file leaves out files of lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from stepwell.errors import TokenizerError
from stepwell.tokenizers.config import UNKNOWN, WordPieceConfig
from stepwell.tokenizers.cutting import at_rare, at_words, cuts_of, known_characters, learn_in_room, learner_of, letters
from stepwell.tokenizers.spelling import BYTE_OF_LETTER, LONGEST_CHARACTER_BYTES
from stepwell.tokenizers.tokenizer import Tokenizer

GOES_ON = "##"

LONGEST_WORD = 64
"""A longer word is cut into words of so many characters: the work grows with the square of a word's length."""

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def wordpiece_backend(
    vocab: Mapping[str, int],
    *,
    lowercase: bool = True,
    splits_chinese: bool = True,
    strips_accents: bool | None = None,
    where: str,
) -> tokenizers.Tokenizer:
    """The backend of a BERT vocabulary.

    Args:
        vocab: token -> id.
        lowercase: whether text is put into lower case.
        splits_chinese: whether every Chinese character is a word.
        strips_accents: whether accents are taken off; None for: with the lower case.
        where: the source; it begins the error message.

    Raises:
        TokenizerError: when the vocabulary has no `[UNK]`, `[CLS]` or `[SEP]`.
    """
    if missing := [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in vocab]:
        raise TokenizerError(
            f"{where}: is no WordPiece vocabulary",
            got=f"no {', '.join(missing)}",
            wanted="[UNK], [CLS] and [SEP] in it",
        )
    backend = tokenizers.Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=splits_chinese, strip_accents=strips_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    backend.add_special_tokens([token for token in SPECIAL if token in vocab])
    return backend


def train_wordpiece(texts: Iterable[str], config: WordPieceConfig) -> Tokenizer:
    """Learn the parts of words from texts; the same texts give the same tokenizer.

    Parts are made by merging the most frequent neighbours, as the `tokenizers` library does it. A number sign is a word
    of its own, so that `##` has one meaning.

    Args:
        texts: the documents of the train split, held in memory.
        config: its vocabulary size, special tokens and cuts, and what becomes of rare characters.

    Returns:
        The tokenizer; its `vocab_size` is smaller than asked for where the texts have no more parts to merge.

    Raises:
        TokenizerError: when a library is missing.
    """
    texts = list(at_words(texts, config))
    cuts = [
        *cuts_of(config),
        pre_tokenizers.Split("#", behavior="isolated"),
        pre_tokenizers.FixedLength(length=LONGEST_WORD),
    ]
    base = list(config.every_special_token)
    if config.byte_fallback:
        base += _forms(sorted(BYTE_OF_LETTER))
        tokens = [*base, *_learn(texts, cuts, config, base)]
    else:
        base.append(UNKNOWN)

        def learn(known: Sequence[str]) -> list[str]:
            return _learn(at_rare(texts, known), cuts, config, [*base, *_forms(known)]) if known else []

        known = known_characters(texts, coverage=config.character_coverage)
        room = config.vocab_size - config.base_size
        known, learned = learn_in_room(known, first=0, room=room, each=2, learn=learn)
        tokens = [*base, *_forms(known), *learned]
    backend = tokenizers.Tokenizer(
        models.WordPiece(
            {token: n for n, token in enumerate(tokens)},
            unk_token=UNKNOWN,
            max_input_chars_per_word=LONGEST_CHARACTER_BYTES * LONGEST_WORD,
            continuing_subword_prefix=GOES_ON,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, *([letters()] if config.byte_fallback else [])])
    unmarked = decoders.Replace(tokenizers.Regex(f"^{GOES_ON}"), "")
    backend.decoder = decoders.Sequence([unmarked, decoders.ByteLevel() if config.byte_fallback else decoders.Fuse()])
    backend.add_special_tokens(list(config.every_special_token))
    return Tokenizer(backend)


def _forms(letters: Sequence[str]) -> list[str]:
    """Letters as they begin a word, and as they go on with one."""
    return [*letters, *(GOES_ON + letter for letter in letters)]


def _learn(
    texts: Iterable[str], cuts: list[pre_tokenizers.PreTokenizer], config: WordPieceConfig, base: list[str]
) -> list[str]:
    """The parts of more than one letter, in the order in which they were merged."""
    learner = learner_of(models.WordPiece(unk_token=UNKNOWN), cuts, byte_level=config.byte_fallback)
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        special_tokens=base,  # known from the beginning, or their numbers would differ from run to run, and so the ties
        continuing_subword_prefix=GOES_ON,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    vocab: dict[str, int] = json.loads(learner.to_str())["model"]["vocab"]
    return sorted(vocab.keys() - set(base), key=vocab.__getitem__)
