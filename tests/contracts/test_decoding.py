"""Every architecture decodes as it reads: with a state or without, alone or in company, across the window's end."""

from __future__ import annotations

import pytest
import torch

from stepwell.inference import Completion, Sampling, SamplingParams, draw, generate, window_start
from stepwell.models import Encoder, LanguageModel
from stepwell.tokenizers import Tokenizer

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 258, (batch, length), generator=torch.Generator().manual_seed(seed))


def read_again(model: LanguageModel, token_ids: torch.Tensor) -> torch.Tensor:
    """What comes after (B, T) tokens, without a state: (B, V). A masked model reads a mask behind all that fits."""
    if isinstance(model, Encoder):
        behind = torch.full((len(token_ids), 1), model.mask_id)
        token_ids = torch.cat((token_ids[:, -(model.config.max_seq_len - 1) :], behind), dim=1)
    return model(token_ids)[:, -1]


@torch.no_grad()
def test_step_by_step_is_the_full_forward(causal_model):
    token_ids = tokens(3, 16)
    full = causal_model(token_ids)
    state = causal_model.start(3, 16)
    for at in range(16):
        assert state.length == at
        torch.testing.assert_close(causal_model.extend(state, token_ids[:, at : at + 1]), full[:, at], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("chunks", [(16,), (1, 15), (15, 1), (5, 6, 5), (7, 1, 1, 7)])
def test_pieces_of_any_size_are_all_read_again(tiny_model, chunks):
    token_ids = tokens(2, 16)
    state, at = tiny_model.start(2), 0
    for size in chunks:
        logits = tiny_model.extend(state, token_ids[:, at : at + size])
        at += size
        torch.testing.assert_close(logits, read_again(tiny_model, token_ids[:, :at]), **CLOSE)


@torch.no_grad()
def test_the_future_does_not_matter(causal_model):
    token_ids = tokens(2, 16)
    for at in (1, 8, 15):
        changed = token_ids.clone()
        changed[:, at:] = tokens(2, 16 - at, seed=9)
        torch.testing.assert_close(causal_model(changed)[:, :at], causal_model(token_ids)[:, :at], **CLOSE)
        assert not torch.allclose(causal_model(changed)[:, at], causal_model(token_ids)[:, at], **CLOSE)


@torch.no_grad()
def test_the_past_does_matter(tiny_model):
    """Otherwise the tests above would hold for a model that looks at one token only."""
    token_ids = tokens(1, 16)
    changed = token_ids.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 257
    assert not torch.allclose(tiny_model(changed)[:, -1], tiny_model(token_ids)[:, -1], **CLOSE)


@torch.no_grad()
def test_packed_documents_are_separate_documents(tiny_model):
    token_ids = tokens(2, 16)
    document_ids = torch.tensor([[0] * 5 + [1] * 8 + [2] * 3, [0] * 1 + [1] * 14 + [2] * 1])
    packed = tiny_model(token_ids, document_ids)
    for row in range(2):
        for document in range(3):
            places = (document_ids[row] == document).nonzero().flatten()
            alone = tiny_model(token_ids[row, places][None])
            torch.testing.assert_close(packed[row, places], alone[0], **CLOSE)


@torch.no_grad()
def test_one_prefill_serves_many_rows(tiny_model):
    prompt, continuations = tokens(1, 6), tokens(4, 5, seed=2)
    shared = tiny_model.start(1, 12)
    tiny_model.extend(shared, prompt)
    shared.select(torch.zeros(4, dtype=torch.int64))
    separate = tiny_model.start(4, 12)
    tiny_model.extend(separate, prompt.expand(4, -1))
    for at in range(5):
        step = continuations[:, at : at + 1]
        torch.testing.assert_close(tiny_model.extend(shared, step), tiny_model.extend(separate, step), **CLOSE)


@torch.no_grad()
def test_rows_may_leave_and_change_places(tiny_model):
    token_ids = tokens(4, 10)
    state = tiny_model.start(4)
    tiny_model.extend(state, token_ids[:, :9])
    state.select(torch.tensor([3, 1]))
    logits = tiny_model.extend(state, token_ids[[3, 1], 9:])
    torch.testing.assert_close(logits, read_again(tiny_model, token_ids)[[3, 1]], **CLOSE)


@torch.no_grad()
def cacheless(model: LanguageModel, tokenizer: Tokenizer, prompt: str, params: SamplingParams, index: int) -> list[int]:
    """The oracle: the whole context is read again for each token, for one sample at a time."""
    text = tokenizer.encode(prompt).tolist()
    sequence, drawn = [tokenizer.bos_id, *text], []
    sampling = Sampling(params, index, text, tokenizer)
    while len(drawn) < params.max_tokens and (not drawn or drawn[-1] != tokenizer.eos_id):
        context = sequence[window_start(len(sequence), model.config.max_seq_len) :]
        (token,) = draw([sampling], read_again(model, torch.tensor([context])))
        drawn.append(token.token_id)
        sequence.append(token.token_id)
    return drawn


GREEDY = SamplingParams(temperature=0, max_tokens=36)
SETTINGS = {
    "greedy": GREEDY,
    "greedy, penalised": SamplingParams(temperature=0, repetition_penalty=1.5, max_tokens=36),
    "sampled": SamplingParams(seed=5, n=3, max_tokens=36),
    "shaped": SamplingParams(
        seed=6, n=3, max_tokens=36, temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.2
    ),
}
PROMPTS = ["", "step", "exactly fifteen", "a prompt that is itself longer than the window of the model"]


@pytest.mark.slow_but("empty-sampled", "full window-greedy]")
@pytest.mark.parametrize("params", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("prompt", PROMPTS, ids=["empty", "short", "full window", "long"])
def test_decoding_with_a_cache_is_decoding_without(tiny_model, byte_tokenizer, prompt, params):
    completions: list[Completion] = generate(tiny_model, byte_tokenizer, prompt, params)
    for index, completion in enumerate(completions):
        assert list(completion.token_ids) == cacheless(tiny_model, byte_tokenizer, prompt, params, index)


def test_the_settings_reach_beyond_the_window(tiny_model, byte_tokenizer):
    """Otherwise the test above would not roll the window."""
    lengths = [len(c.token_ids) for c in generate(tiny_model, byte_tokenizer, "step", SETTINGS["sampled"])]
    assert max(lengths) > 2 * tiny_model.config.max_seq_len
    (penalised,) = generate(tiny_model, byte_tokenizer, "step", SETTINGS["greedy, penalised"])
    assert len(set(penalised.token_ids)) > 3


@pytest.mark.slow_but("multi-head", "encoder/plain", "lstm/one", "as T5")
def test_sample_i_of_a_seed_is_the_same_whatever_n_is(tiny_model, byte_tokenizer):
    def texts(n: int) -> list[tuple[int, ...]]:
        return [
            c.token_ids
            for c in generate(tiny_model, byte_tokenizer, "step", SamplingParams(seed=9, n=n, max_tokens=40))
        ]

    assert texts(5)[:3] == texts(3)
    assert texts(3)[:1] == texts(1)
    assert len(set(texts(5))) == 5
