"""The rules of sampling against transformers' own, on the same logits."""

from __future__ import annotations

import pytest
import torch

from stepwell.inference import SamplingParams
from stepwell.inference import sampling as s

transformers = pytest.importorskip("transformers")

VOCAB = 200
TEXT = torch.randint(0, VOCAB, (4, 30), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[0.1, 1.0, 5.0], ids="spread {}".format)
def logits(request: pytest.FixtureRequest) -> torch.Tensor:
    return request.param * torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(2))


def seen() -> torch.Tensor:
    return torch.zeros(4, VOCAB, dtype=torch.bool).scatter(1, TEXT, True)


def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """The same distribution; logits may differ by a constant."""
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1))
    assert torch.equal(ours.isneginf(), theirs.isneginf())


@pytest.mark.parametrize("penalty", [0.8, 1.3, 2.0])
def test_repetition_penalty(logits, penalty):
    theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(TEXT, logits)
    torch.testing.assert_close(s.penalize_repetition(logits, seen(), penalty), theirs)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 3.0])
def test_temperature(logits, temperature):
    check(s.apply_temperature(logits, temperature), transformers.TemperatureLogitsWarper(temperature)(TEXT, logits))


@pytest.mark.parametrize("top_k", [1, 7, 50, 1000])
def test_top_k(logits, top_k):
    check(s.keep_top_k(logits, top_k), transformers.TopKLogitsWarper(top_k)(TEXT, logits))
    ties = logits.round()
    check(s.keep_top_k(ties, top_k), transformers.TopKLogitsWarper(top_k)(TEXT, ties))


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999])
def test_top_p(logits, top_p):
    check(s.keep_top_p(logits, top_p), transformers.TopPLogitsWarper(top_p)(TEXT, logits))


@pytest.mark.parametrize("min_p", [0.01, 0.1, 0.5, 1.0])
def test_min_p(logits, min_p):
    check(s.keep_min_p(logits, min_p), transformers.MinPLogitsWarper(min_p)(TEXT, logits))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
        {"temperature": 2.0, "top_p": 0.8, "min_p": 0.2},
        {"top_k": 5, "top_p": 0.5},
        {"repetition_penalty": 0.9, "min_p": 0.1},
    ],
)
def test_all_together_in_the_order_of_generate(logits, settings):
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    config = transformers.GenerationConfig(do_sample=True, **({"top_k": 0} | settings))
    theirs = model._get_logits_processor(generation_config=config, input_ids_seq_length=30)(TEXT, logits)
    params = SamplingParams(**settings)
    penalised = s.penalize_repetition(logits, seen(), params.repetition_penalty)
    check(s.shape_distribution(penalised, params), theirs)
