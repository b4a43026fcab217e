"""Scoring a split of tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.data import TokenSplit
from stepwell.evaluation import bootstrap, evaluate_language_modeling
from stepwell.models import DecoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

SIZES = {
    "vocab_size": 257,
    "num_layers": 1,
    "d_model": 16,
    "num_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 8,
    "d_ff": 16,
}
TEXTS = ["the stair goes down", "井", "steps " * 20]
ENDS = [True, False, True]


@pytest.fixture(scope="module")
def split() -> TokenSplit:
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    documents = [
        [tokenizer.bos_id, *tokenizer.encode(text).tolist(), *([tokenizer.eos_id] if ends else [])]
        for text, ends in zip(TEXTS, ENDS, strict=True)
    ]
    return TokenSplit(
        token_ids=np.concatenate(documents).astype(np.uint16),
        offsets=np.cumsum([0, *map(len, documents)]),
        num_bytes=np.array([len(text.encode()) for text in TEXTS]),
    )


def test_a_model_that_knows_nothing_pays_eight_bits_and_the_ends(split):
    """A new model is uniform over 257 tokens; the end tokens are paid for, but they are no bytes of the text."""
    scores = evaluate_language_modeling(build_model(DecoderConfig(**SIZES, max_seq_len=32)), split)
    num_bytes = [19, 3, 120]
    assert scores.bytes.tolist() == num_bytes
    assert scores.tokens.tolist() == [20, 3, 121]
    np.testing.assert_allclose(scores.nats, scores.tokens * np.log(257), rtol=1e-5)
    assert bootstrap(scores, "perplexity").value == pytest.approx(257, rel=1e-4)
    assert bootstrap(scores, "bits_per_byte").value == pytest.approx(np.log2(257) * 144 / 142, rel=1e-5)


def test_some_of_the_documents(split):
    model = build_model(DecoderConfig(**SIZES, max_seq_len=16))
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    everything = evaluate_language_modeling(model, split)
    some = evaluate_language_modeling(model, split, documents=range(1, 3))
    np.testing.assert_allclose(some.nats, everything.nats[1:], rtol=1e-5)
    assert some.bytes.tolist() == [3, 120]
    assert (everything.correct <= everything.tokens).all()
    assert len(evaluate_language_modeling(model, split, documents=range(0))) == 0
