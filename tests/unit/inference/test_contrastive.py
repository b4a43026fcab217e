"""Contrastive search against a plain version that reads everything anew for every candidate."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from stepwell.errors import UsageError
from stepwell.inference import SamplingParams, generate, stream
from stepwell.models import MODELS, LanguageModel, build_model

VOCAB = 257


def made(family: str, source: bool = False) -> LanguageModel:
    """A random model whose predictions are far from even."""
    config = MODELS[family].sized(1, vocab_size=VOCAB, max_seq_len=32)
    if source:
        config = config.model_copy(update={"prompt": "source"})
    model = build_model(config, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                generator = torch.Generator().manual_seed(sum(name.encode()))
                parameter.normal_(std=2 / parameter.shape[-1] ** 0.5, generator=generator)
    return model.eval()


@torch.no_grad()
def plain(model: LanguageModel, prompt: list[int], top_k: int, alpha: float, steps: int) -> list[int]:
    """The formula of the paper, one candidate at a time."""

    def states(chosen: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        if model.reads_source:
            target = torch.tensor([[*model.config.start_ids, *chosen]])
            hidden = model.decode(target, model.encode(torch.tensor([prompt])))
            return hidden[0, len(model.config.start_ids) :], model.unembed(hidden)[0, -1]
        hidden = model.hidden(torch.tensor([[*prompt, *chosen]]))
        return hidden[0], model.unembed(hidden)[0, -1]

    chosen: list[int] = []
    for _ in range(steps):
        text, logits = states(chosen)
        likely, candidates = logits.softmax(-1).topk(top_k)
        scores = []
        for probability, candidate in zip(likely, candidates, strict=True):
            own = states([*chosen, int(candidate)])[0][-1]
            likeness = cosine_similarity(own[None], text).max() if len(text) else torch.tensor(0.0)
            scores.append(float((1 - alpha) * probability - alpha * likeness))
        chosen.append(int(candidates[scores.index(max(scores))]))
    return chosen


@pytest.mark.slow_but("0.6-decoder")
@pytest.mark.parametrize(
    ("family", "source"),
    [
        ("decoder", False),
        ("lstm", False),
        ("feed_forward", False),
        ("encoder_decoder", False),
        ("encoder_decoder", True),
        ("recurrent_encoder_decoder", True),
    ],
)
@pytest.mark.parametrize("alpha", [0.6, 0.2, 1.0])
def test_it_is_the_formula(family, source, alpha, byte_tokenizer):
    model = made(family, source)
    params = SamplingParams(penalty_alpha=alpha, top_k=4, max_tokens=9, ignore_eos=True)
    (found,) = generate(model, byte_tokenizer, "a stair", params)
    text = byte_tokenizer.encode("a stair")
    prompt = byte_tokenizer.frame(text).tolist() if source else [byte_tokenizer.bos_id, *text.tolist()]
    assert list(found.token_ids) == plain(model, prompt, 4, alpha, 9)


def test_without_a_penalty_it_is_greedy(byte_tokenizer):
    model = made("decoder")
    contrastive = SamplingParams(penalty_alpha=0.0, top_k=5, max_tokens=12)
    (greedy,) = generate(model, byte_tokenizer, "well", SamplingParams(temperature=0, max_tokens=12))
    (found,) = generate(model, byte_tokenizer, "well", contrastive)
    assert found.token_ids == greedy.token_ids
    assert found.logprobs == pytest.approx(greedy.logprobs, abs=1e-5)
    (other,) = generate(model, byte_tokenizer, "well", contrastive.model_copy(update={"penalty_alpha": 0.7}))
    assert other.token_ids != greedy.token_ids


def test_a_stream_is_the_completion_and_a_stop_token_ends_it(byte_tokenizer):
    model, params = made("decoder"), SamplingParams(penalty_alpha=0.6, top_k=4, max_tokens=20, ignore_eos=True)
    (whole,) = generate(model, byte_tokenizer, "well", params)
    pieces = list(stream(model, byte_tokenizer, "well", params))
    assert tuple(piece.token_id for piece in pieces) == whole.token_ids
    token = whole.token_ids[4]
    first = whole.token_ids.index(token)
    (stopped,) = generate(model, byte_tokenizer, "well", params.model_copy(update={"stop_token_ids": (token,)}))
    assert (stopped.token_ids, stopped.finish_reason) == (whole.token_ids[: first + 1], "stop")


def test_bans_change_what_is_chosen_among(byte_tokenizer):
    model, params = made("decoder"), SamplingParams(penalty_alpha=0.4, top_k=4, max_tokens=20, no_repeat_ngram_size=1)
    (found,) = generate(model, byte_tokenizer, "wel", params)
    text = [*byte_tokenizer.encode("wel").tolist(), *found.token_ids]
    assert len(set(text)) == len(text)


def test_it_ends_at_the_window(byte_tokenizer):
    params = SamplingParams(penalty_alpha=0.4, top_k=2, max_tokens=99, ignore_eos=True)
    (of_source,) = generate(made("encoder_decoder", source=True), byte_tokenizer, "x" * 20, params)
    assert (len(of_source.token_ids), of_source.finish_reason) == (31, "length")
    (going_on,) = generate(made("decoder"), byte_tokenizer, "x" * 20, params)
    assert (len(going_on.token_ids), going_on.finish_reason) == (11, "length")
    with pytest.raises(UsageError, match="leaves no room"):
        generate(made("decoder"), byte_tokenizer, "x" * 31, params)


@pytest.mark.parametrize("family", ["encoder", "ngram"])
def test_a_model_without_such_states_says_so(family, byte_tokenizer):
    config = MODELS[family].sized(1, vocab_size=VOCAB, max_seq_len=32)
    with pytest.raises(UsageError, match="penalty_alpha: contrastive search compares"):
        generate(build_model(config), byte_tokenizer, "x", SamplingParams(penalty_alpha=0.5, top_k=4))
