"""A tiny model with weights that matter, and a tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

MakeModel = Callable[..., LanguageModel]


def make_model(max_seq_len: int = 32, vocab_size: int = 257, seed: int = 0) -> LanguageModel:
    """A decoder whose zero-initialised matrices are filled, so that every token depends on every earlier one."""
    config = DecoderConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        num_layers=2,
        d_model=32,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        d_ff=64,
    )
    model = build_model(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model() -> MakeModel:
    """The function `make_model(max_seq_len=32, vocab_size=257, seed=0)`."""
    return make_model


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    """257 tokens: the end of text and the bytes."""
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))
