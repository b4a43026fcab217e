"""The counted model among the language models: what it predicts is what was counted, however it is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.inference import SamplingParams, generate, score_tokens
from stepwell.models.ngram_config import NGramConfig, ngram_sized
from stepwell.models.ngram_model import NGram
from stepwell.ngrams import KneserNey
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
ORDERS = [1, 2, 5]


def documents(count: int, seed: int = 0) -> list[np.ndarray]:
    """Walks over a few tokens, so that long contexts come back; 0 begins each, as a begin token does."""
    rng = np.random.default_rng(seed)
    return [np.concatenate([[0], rng.integers(1, 4, size=rng.integers(3, 60)).cumsum() % 11 + 1]) for _ in range(count)]


def counted(order: int) -> NGram:
    return NGram(NGramConfig(vocab_size=13, max_seq_len=16, order=order)).fit(documents(40)).eval()


@pytest.mark.parametrize("order", ORDERS)
def test_it_is_kneser_ney(order):
    model, plain = counted(order), KneserNey(13, order).fit(documents(40))
    for document in documents(5, seed=1):
        logits = model(torch.from_numpy(document)[None])[0]
        torch.testing.assert_close(logits.logsumexp(-1), torch.zeros(len(document)), **CLOSE)
        chosen = logits[:-1].gather(1, torch.from_numpy(document)[1:, None]).squeeze(1)
        np.testing.assert_allclose(chosen, plain.logprobs(document)[1:], rtol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_before_counting_every_token_is_as_likely(order):
    model = NGram(NGramConfig(vocab_size=13, max_seq_len=16, order=order))
    logits = model(torch.arange(10)[None])
    torch.testing.assert_close(logits, torch.full((1, 10, 13), 1 / 13).log())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunks", [(12,), (1,) * 12, (5, 1, 6)], ids=str)
def test_pieces_of_any_size_are_the_full_forward(order, chunks):
    model, token_ids = counted(order), torch.from_numpy(np.stack([d[:12] for d in documents(40) if len(d) >= 12][:3]))
    full, state, at = model(token_ids), model.start(3, 12), 0
    for size in chunks:
        logits = model.extend(state, token_ids[:, at : at + size])
        at += size
        assert state.length == at
        torch.testing.assert_close(logits, full[:, at - 1], **CLOSE)
    state.select(torch.tensor([2, 0, 2, 1]))
    step = torch.tensor([[3], [4], [5], [6]])
    again = model(torch.cat((token_ids[[2, 0, 2, 1]], step), dim=1))[:, -1]
    torch.testing.assert_close(model.extend(state, step), again, **CLOSE)


@pytest.mark.parametrize("order", ORDERS)
def test_packed_documents_are_separate_documents(order):
    model, (first, second, *_) = counted(order), documents(40)
    token_ids = torch.from_numpy(np.concatenate([first, second, first[:1]]))[None]
    numbers = torch.tensor([[0] * len(first) + [1] * len(second) + [2]])
    packed = model(token_ids, numbers)[0]
    alone = [model(torch.from_numpy(document)[None])[0] for document in (first, second, first[:1])]
    torch.testing.assert_close(packed, torch.cat(alone), **CLOSE)


def test_a_longer_context_says_more():
    held_out = [document for document in documents(60, seed=2) if len(document) > 10]
    nats = [
        -np.mean(np.concatenate([score_tokens(counted(order), document) for document in held_out])) for order in ORDERS
    ]
    assert nats[0] > nats[1] + 0.5  # a token is one to three steps from the one before it
    assert nats[1] < 1.2


def test_it_writes_what_it_read():
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    text = "down the stairs of the well, step by step"
    ids = [np.concatenate([[tokenizer.bos_id], tokenizer.encode(text), [tokenizer.eos_id]])] * 3
    model = NGram(NGramConfig(vocab_size=257, max_seq_len=32, order=8)).fit(ids)
    (completion,) = generate(model, tokenizer, "down the st", SamplingParams(temperature=0, max_tokens=60))
    assert completion.text == text.removeprefix("down the st")
    assert completion.finish_reason == "stop"


def test_what_was_counted_can_be_saved_and_read():
    model, other = counted(3), NGram(NGramConfig(vocab_size=13, max_seq_len=16, order=3))
    other.load_tensors(model.tensors())
    token_ids = torch.from_numpy(documents(1)[0])[None]
    assert torch.equal(other(token_ids), model(token_ids))
    assert other.tensors().keys() == model.tensors().keys()
    with pytest.raises(ValueError, match="missing"):
        counted(4).load_tensors(model.tensors())


def test_it_learns_real_text(small_text):
    """Far below what single tokens tell: the entropy of the unigrams."""
    train, held_out = (np.frombuffer(small_text("en", 20_000, seed).encode(), np.uint8) for seed in (0, 1))
    counts = np.bincount(train, minlength=256)
    unigram = -np.log((counts[held_out[:2000]] + 1) / (counts.sum() + 256)).mean()
    model = NGram(ngram_sized(1, vocab_size=257, max_seq_len=64)).fit([train])
    assert -score_tokens(model, held_out[:2000]).mean() < 0.5 * unigram


@pytest.mark.parametrize("order", ORDERS)
def test_costs_are_what_is_built(order):
    model = counted(order)
    assert sum(p.numel() for p in model.parameters()) == model.config.num_parameters
    contexts = model.start(3, 8).contexts
    assert contexts.numel() * contexts.element_size() == model.config.state_bytes(3, 8)
