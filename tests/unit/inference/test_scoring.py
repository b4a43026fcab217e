"""How likely a model finds a text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.inference import score_documents, score_tokens, scoring, window_start
from stepwell.models import LanguageModel


def plain_scores(model: LanguageModel, tokens: np.ndarray) -> tuple[list[float], list[bool]]:
    """One token after another, each from its own context."""
    logprobs, correct = [], []
    for position in range(1, len(tokens)):
        context = tokens[window_start(position, model.config.max_seq_len) : position]
        with torch.no_grad():
            last = model(torch.from_numpy(context)[None])[0, -1].log_softmax(-1)
        logprobs.append(last[tokens[position]].item())
        correct.append(int(last.argmax()) == tokens[position])
    return logprobs, correct


def documents_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 257, length) for length in lengths]


@pytest.mark.parametrize("max_seq_len", [2, 3, 8, 32])
@pytest.mark.parametrize("length", [1, 2, 8, 9, 50])
def test_one_sequence_of_any_length(tiny_model, max_seq_len, length):
    model = tiny_model(max_seq_len)
    (tokens,) = documents_of([length])
    expected, _ = plain_scores(model, tokens)
    np.testing.assert_allclose(score_tokens(model, tokens), expected, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_documents_together_are_documents_alone(tiny_model, batch_tokens, monkeypatch):
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 257 * 7)  # logits in slices of 7 positions
    model = tiny_model(8)
    documents = documents_of([5, 0, 30, 1, 2, 9, 8, 17])
    scores = list(score_documents(model, documents, batch_tokens=batch_tokens))
    assert len(scores) == len(documents)
    for document, score in zip(documents, scores, strict=True):
        logprobs, correct = plain_scores(model, document)
        np.testing.assert_allclose(score.logprobs, logprobs, atol=1e-4)
        assert score.correct.tolist() == correct


def test_a_batch_holds_no_more_positions_than_allowed(tiny_model, monkeypatch):
    model, sizes = tiny_model(8), []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda token_ids: sizes.append(token_ids.numel()) or hidden(token_ids))
    list(score_documents(model, documents_of([5, 30, 2, 9, 8, 17, 3, 3, 3]), batch_tokens=20))
    assert 8 < max(sizes) <= 20
    assert len(sizes) > 3


def test_correct_means_the_likeliest_token(tiny_model):
    """Greedy text is right at every place."""
    model = tiny_model(32)
    tokens = [0]
    for _ in range(20):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    (score,) = score_documents(model, [np.array(tokens)])
    assert score.correct.all()


def test_documents_may_come_as_a_stream_and_leave_as_one(tiny_model):
    """Results come before the stream is used up, and it may hold unsigned tokens as the shards do."""
    read = []

    def documents():
        for number, document in enumerate(documents_of([20] * 40)):
            read.append(number)
            yield document.astype(np.uint16)

    scores = score_documents(tiny_model(8), documents(), batch_tokens=8)
    next(scores)
    assert len(read) < 40
    assert len(list(scores)) == 39


def test_nothing_to_score(tiny_model):
    assert list(score_documents(tiny_model(8), [])) == []
    assert score_tokens(tiny_model(8), [0]).shape == (0,)


def test_bfloat16_is_close(tiny_model):
    model = tiny_model(32)
    (tokens,) = documents_of([60])
    exact, rounded = score_tokens(model, tokens), score_tokens(model, tokens, precision="bfloat16")
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.2)


def test_the_model_is_left_as_it_was(tiny_model):
    model = tiny_model(8).train()
    score_tokens(model, [0, 1, 2])
    assert model.training
