"""WordPiece vocabularies: a list of words and word parts, as BERT has it.

Text is cleaned, cut at blanks, punctuation and around every Chinese character, and each word into the longest parts
that the vocabulary has (Devlin et al. 2018); `##` marks a part that goes on with a word. This file leaves out where the
list comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from stepwell.errors import TokenizerError

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
