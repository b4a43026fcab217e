"""One vector for a text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.errors import UsageError
from stepwell.inference import embed_texts
from stepwell.models import EncoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

TEXTS = ["a lantern", "", "the old teacher counted seven letters", "桥下", "x" * 100]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=258, special_tokens=("<|mask|>",)))


@pytest.fixture(scope="module")
def encoder():
    shape = {"num_layers": 2, "d_model": 32, "num_heads": 4, "num_kv_heads": 4, "head_dim": 8, "d_ff": 64}
    model = build_model(EncoderConfig(**shape, vocab_size=258, max_seq_len=40, mask_id=1, pooler=True), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    return model.eval()


@torch.no_grad()
def plain(model, tokenizer: Tokenizer, text: str, pooling: str) -> np.ndarray:
    """One text alone."""
    ids = [tokenizer.bos_id, *tokenizer.encode(text).tolist()][: model.config.max_seq_len]
    hidden = model.hidden(torch.tensor([ids]))[0]
    if pooling == "pooler":
        return torch.tanh(model.pooler(hidden[0])).numpy()
    return (hidden.mean(0) if pooling == "mean" else hidden[0]).numpy()


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
@pytest.mark.parametrize("pooling", ["mean", "first", "pooler"])
def test_texts_together_are_texts_alone(encoder, tokenizer, pooling, batch_tokens):
    vectors = embed_texts(encoder, tokenizer, TEXTS, pooling=pooling, normalize=False, batch_tokens=batch_tokens)
    assert vectors.shape == (len(TEXTS), 32)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, plain(encoder, tokenizer, text, pooling), atol=1e-5)


def test_a_causal_model_embeds_too(tiny_model, tokenizer):
    model = tiny_model(40, 258)
    vectors = embed_texts(model, tokenizer, TEXTS, normalize=False)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, plain(model, tokenizer, text, "mean"), atol=1e-5)


def test_vectors_have_length_one(encoder, tokenizer):
    vectors = embed_texts(encoder, tokenizer, TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_pooler_that_is_not_there_is_refused(tiny_model, tokenizer):
    with pytest.raises(UsageError, match="no pooler"):
        embed_texts(tiny_model(40, 258), tokenizer, TEXTS, pooling="pooler")


def test_another_pooling_is_refused(encoder, tokenizer):
    with pytest.raises(UsageError, match="no such way"):
        embed_texts(encoder, tokenizer, TEXTS, pooling="max")


def test_nothing_to_embed(encoder, tokenizer):
    assert len(embed_texts(encoder, tokenizer, [])) == 0
