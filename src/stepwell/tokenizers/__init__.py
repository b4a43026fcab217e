"""Text to token ids and back.

One class reads every family: those that stepwell trains on the train split (byte-level BPE, Unigram, WordPiece,
characters, textbook words), and what comes with other programs' weights (tokenizer.json, sentencepiece, WordPiece,
GGUF). The vocabulary size of a trained one follows from how much text there is. This room leaves out what a task adds
around a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.tokenizers.config import (
    MASKS,
    ByteBPEConfig,
    CharacterConfig,
    PretrainedTokenizerConfig,
    TokenizerConfig,
    TrainedConfig,
    UnigramConfig,
    WordLevelConfig,
    WordPieceConfig,
    derive_vocab_size,
)

if TYPE_CHECKING:
    from stepwell.tokenizers.chat import render_chat
    from stepwell.tokenizers.conversations import ROLE_TOKENS, Conversation, conversational, encode_conversation
    from stepwell.tokenizers.extending import extend_tokenizer, parts_of_new
    from stepwell.tokenizers.foreign import read_tokenizer
    from stepwell.tokenizers.gguf import gguf_tokenizer
    from stepwell.tokenizers.roles import Roles
    from stepwell.tokenizers.streaming import StreamDecoder
    from stepwell.tokenizers.tokenizer import TokenIds, Tokenizer
    from stepwell.tokenizers.training import train_tokenizer
else:
    __getattr__ = open_late(
        __name__,
        {
            "Conversation": "conversations",
            "ROLE_TOKENS": "conversations",
            "Roles": "roles",
            "StreamDecoder": "streaming",
            "TokenIds": "tokenizer",
            "Tokenizer": "tokenizer",
            "conversational": "conversations",
            "encode_conversation": "conversations",
            "extend_tokenizer": "extending",
            "gguf_tokenizer": "gguf",
            "parts_of_new": "extending",
            "read_tokenizer": "foreign",
            "render_chat": "chat",
            "train_tokenizer": "training",
        },
    )

__all__ = [
    "MASKS",
    "ROLE_TOKENS",
    "ByteBPEConfig",
    "CharacterConfig",
    "Conversation",
    "PretrainedTokenizerConfig",
    "Roles",
    "StreamDecoder",
    "TokenIds",
    "Tokenizer",
    "TokenizerConfig",
    "TrainedConfig",
    "UnigramConfig",
    "WordLevelConfig",
    "WordPieceConfig",
    "conversational",
    "derive_vocab_size",
    "encode_conversation",
    "extend_tokenizer",
    "gguf_tokenizer",
    "parts_of_new",
    "read_tokenizer",
    "render_chat",
    "train_tokenizer",
]
