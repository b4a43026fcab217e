"""From logits to the next token."""

from __future__ import annotations

import pytest
import torch

from stepwell.errors import StepwellError
from stepwell.inference import Sampler, SamplingParams
from stepwell.inference import sampling as s

LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.15, 0.1]]))


def kept(logits: torch.Tensor) -> list[int]:
    return torch.isfinite(logits[0]).nonzero().flatten().tolist()


def test_top_k_keeps_the_likeliest_and_ties():
    assert kept(s.keep_top_k(LOGITS, 2)) == [0, 1]
    assert kept(s.keep_top_k(LOGITS, 99)) == [0, 1, 2, 3]
    assert kept(s.keep_top_k(torch.zeros(1, 4), 2)) == [0, 1, 2, 3]


def test_top_p_keeps_the_fewest_that_reach_it():
    assert kept(s.keep_top_p(LOGITS, 0.6)) == [0, 1]
    assert kept(s.keep_top_p(LOGITS, 0.8)) == [0, 1, 2]
    assert kept(s.keep_top_p(LOGITS, 1e-9)) == [0]


def test_min_p_is_relative_to_the_likeliest():
    assert kept(s.keep_min_p(LOGITS, 0.4)) == [0, 1]
    assert kept(s.keep_min_p(LOGITS, 1.0)) == [0]


def test_the_penalty_lowers_what_was_seen_on_both_sides_of_zero():
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert s.penalize_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


@pytest.mark.parametrize("temperature", [s.GREEDY_BELOW, 0.01, 1.0, 1e30])
def test_any_temperature_gives_a_distribution(temperature):
    logits = torch.tensor([[300.0, -300.0, 1e30]])
    probabilities = s.apply_temperature(logits, temperature).softmax(-1)
    assert torch.isfinite(probabilities).all()
    assert probabilities.sum().item() == pytest.approx(1)


def test_draws_follow_the_distribution_and_never_leave_it():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, torch.log(torch.tensor(3.0)), -torch.inf]])
    uniforms = torch.arange(1000, dtype=torch.float64) / 1000
    counts = s.draw_tokens(logits.expand(1000, -1), uniforms).bincount(minlength=5).tolist()
    assert counts == [0, 250, 0, 750, 0]
    largest = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert s.draw_tokens(logits, largest).tolist() == [3]


def draws(indices: list[int], steps: int = 20, **params: object) -> list[list[int]]:
    """For each sample, its tokens from fixed logits."""
    logits = torch.randn(steps, 1, 50, generator=torch.Generator().manual_seed(3))
    sampler = Sampler(SamplingParams(**params), indices, [[] for _ in indices], 50)
    return torch.tensor([sampler.draw(row.expand(len(indices), -1))[0] for row in logits]).T.tolist()


def test_a_sample_does_not_depend_on_its_neighbours():
    together = draws([0, 1, 2], seed=7)
    assert together == [draws([index], seed=7)[0] for index in range(3)]
    assert together[0] != together[1] != together[2]
    assert together != draws([0, 1, 2], seed=8)


def test_no_seed_draws_afresh():
    assert draws([0]) != draws([0])


def test_a_temperature_of_zero_takes_the_likeliest():
    assert draws([0], temperature=0) == draws([0], seed=3, top_k=1) == draws([0], temperature=1e-300)


def test_the_penalty_remembers_the_prompt_and_what_was_drawn():
    logits = torch.tensor([[1.0, 0.9, 0.8]])
    sampler = Sampler(SamplingParams(temperature=0, repetition_penalty=2), [0], [[0]], 3)
    assert [sampler.draw(logits)[0] for _ in range(3)] == [[1], [2], [0]]


def test_the_penalty_follows_rows_that_are_selected():
    logits = torch.tensor([[1.0, 0.9, 0.8]])
    sampler = Sampler(SamplingParams(temperature=0, repetition_penalty=2), [0, 1], [[0], [1]], 3)
    sampler.select([1])
    assert sampler.draw(logits)[0] == [0]


def test_logprobs_are_the_models_own():
    logits = torch.log(torch.tensor([[0.7, 0.3]]))
    tokens, logprobs = Sampler(SamplingParams(temperature=0, top_k=1), [0], [[]], 2).draw(logits)
    assert tokens == [0]
    assert logprobs == pytest.approx([torch.tensor(0.7).log().item()])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_are_an_error(bad):
    with pytest.raises(StepwellError, match="not finite"):
        Sampler(SamplingParams(), [0], [[]], 2).draw(torch.tensor([[0.0, bad]]))
