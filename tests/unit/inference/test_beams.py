"""Beam search against all that could be written, alone and in batches, of every family that can search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from stepwell.errors import StepwellError
from stepwell.inference import Beams, SamplingParams, generate, search_targets
from stepwell.models import MODELS, EncoderDecoderConfig, LanguageModel, build_model

TOKENS, STOP = 4, 2
FAMILIES = ["encoder_decoder", "recurrent_encoder_decoder", "decoder", "lstm"]
PROMPTS = [np.array(ids) for ids in ([1, 3, 2], [5, 4, 3, 1, 2], [3, 3, 3], [4], [1, 5])]


def made(family: str, vocab_size: int = TOKENS) -> LanguageModel:
    """A random model whose predictions are far from even."""
    sizes = {"vocab_size": vocab_size, "max_seq_len": 32}
    config = MODELS[family].sized(1, **sizes)
    if "prompt" in type(config).model_fields and "encoder" in family:
        config = config.model_copy(update={"prompt": "source"})
    model = build_model(config, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                generator = torch.Generator().manual_seed(sum(name.encode()))
                parameter.normal_(std=2 / parameter.shape[-1] ** 0.5, generator=generator)
    return model.eval()


@torch.no_grad()
def every_target(model: LanguageModel, prompt: np.ndarray, longest: int) -> dict[tuple[int, ...], float]:
    """All targets that end within so many tokens, with their log-probabilities: read anew for each."""
    found = {}
    others = [token for token in range(TOKENS) if token != STOP]
    for length in range(longest):
        for begun in itertools.product(others, repeat=length):
            total = 0.0
            for at, token in enumerate((*begun, STOP)):
                state, logits = model.begin(torch.from_numpy(prompt)[None], 32)
                for before in begun[:at]:
                    logits = model.extend(state, torch.tensor([[before]]))
                total += float(logits.log_softmax(-1)[0, token])
            found[(*begun, STOP)] = total
    return found


@pytest.mark.slow_but("encoder_decoder-1.0")
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_wide_beam_finds_what_there_is(family, penalty):
    model, prompt = made(family), PROMPTS[0]
    (found,) = search_targets(model, [prompt], Beams(64, penalty, 3), stop_ids=frozenset({STOP}))
    everything = every_target(model, prompt, 3)
    right = sorted(everything, key=lambda ids: -everything[ids] / len(ids) ** penalty)
    assert [one.token_ids for one in found] == right
    for one in found:
        assert one.finish_reason == "stop"
        assert sum(one.logprobs) == pytest.approx(everything[one.token_ids], abs=1e-4)
        assert one.score == pytest.approx(everything[one.token_ids] / len(one.token_ids) ** penalty, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_together_are_prompts_alone(family):
    model, beams = made(family, 40), Beams(3, 1.0, 9)
    together = search_targets(model, PROMPTS, beams, stop_ids=frozenset({STOP}))
    for prompt, several in zip(PROMPTS, together, strict=True):
        (alone,) = search_targets(model, [prompt], beams, stop_ids=frozenset({STOP}))
        assert [one.token_ids for one in several] == [one.token_ids for one in alone]
        assert [one.score for one in several] == pytest.approx([one.score for one in alone], abs=1e-4)
        assert several == sorted(several, key=lambda one: -one.score)
        assert len(several) <= 3


def test_few_rows_at_once_change_nothing():
    model, beams = made("encoder_decoder", 40), Beams(2, 0.6, 8)
    wide = search_targets(model, PROMPTS, beams, stop_ids=frozenset({STOP}))
    narrow = search_targets(model, PROMPTS, beams, stop_ids=frozenset({STOP}), rows_at_once=1)
    assert [[one.token_ids for one in some] for some in wide] == [[one.token_ids for one in some] for some in narrow]


def test_a_beam_of_one_is_greedy(byte_tokenizer):
    config = EncoderDecoderConfig(
        vocab_size=257, max_seq_len=24, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=16,
        prompt="source",
    )  # fmt: skip
    model = build_model(config, seed=1)
    with torch.no_grad():
        model.output().weight.normal_(generator=torch.Generator().manual_seed(3))
    for prompt in ("a", "stair", "井"):
        (greedy,) = generate(model, byte_tokenizer, prompt, SamplingParams(temperature=0, max_tokens=12))
        source = byte_tokenizer.frame(byte_tokenizer.encode(prompt))
        ((found,),) = search_targets(model, [source], Beams(1, 1.0, 12), stop_ids=byte_tokenizer.stop_ids)
        assert found.token_ids == greedy.token_ids
        assert found.logprobs == pytest.approx(greedy.logprobs, abs=1e-5)
        assert found.finish_reason == greedy.finish_reason


def test_what_does_not_end_is_what_is_longest():
    model = made("encoder_decoder", 40)
    (found,) = search_targets(model, PROMPTS[:1], Beams(3, 1.0, 5), stop_ids=frozenset())
    assert {one.finish_reason for one in found} == {"length"}
    assert {len(one.token_ids) for one in found} == {5}
    assert len({one.token_ids for one in found}) == 3


def test_tokens_that_the_tokenizer_has_not_are_never_written():
    model = made("encoder_decoder", 40)
    with torch.no_grad():
        model.output().weight[30:] *= 50
    (found,) = search_targets(model, PROMPTS[:1], Beams(4, 1.0, 6), stop_ids=frozenset({STOP}), num_tokens=30)
    assert max(token for one in found for token in one.token_ids) < 30


def test_a_model_that_predicts_nothing_says_so():
    model = made("encoder_decoder", 40)
    with torch.no_grad():
        model.output().weight.fill_(float("nan"))
    with pytest.raises(StepwellError, match="NaN"):
        search_targets(model, PROMPTS[:1], Beams(2, 1.0, 4), stop_ids=frozenset({STOP}))


def test_no_prompt_nothing_written():
    assert search_targets(made("decoder"), [], Beams(2, 1.0, 4), stop_ids=frozenset({STOP})) == []
