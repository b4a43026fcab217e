"""Text to token ids and back.

A tokenizer here is a byte-level BPE: it reads any text and any bytes, and gives the same back. It is trained on the
train split only, and its vocabulary size follows from how much text there is. This room leaves out what a task adds
around a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.tokenizers.config import ByteBPEConfig, derive_vocab_size

if TYPE_CHECKING:
    from stepwell.tokenizers.byte_bpe import StreamDecoder, Tokenizer, train_tokenizer
else:
    __getattr__ = open_late(
        __name__, {"StreamDecoder": "byte_bpe", "Tokenizer": "byte_bpe", "train_tokenizer": "byte_bpe"}
    )

__all__ = ["ByteBPEConfig", "StreamDecoder", "Tokenizer", "derive_vocab_size", "train_tokenizer"]
