"""Which tokens may be drawn, and the draw itself."""

from __future__ import annotations

import pytest
import torch

from stepwell.inference import SamplingParams
from stepwell.inference.sampling import truncation as s

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
    assert kept(s.keep_top_p(torch.zeros(1, 8), 0.5)) == [0, 1, 2, 3], "of equal ones the first"
    assert kept(s.keep_top_p(torch.tensor([[0.0, 5.0, 0.0, 0.0]]), 0.985)) == [0, 1]


def test_min_p_is_relative_to_the_likeliest():
    assert kept(s.keep_min_p(LOGITS, 0.4)) == [0, 1]
    assert kept(s.keep_min_p(LOGITS, 1.0)) == [0]


def test_typical_p_may_leave_out_the_likeliest():
    logits = torch.log(torch.tensor([[0.3, *[0.07] * 10]]))
    assert kept(s.keep_typical(logits, 0.5)) == list(range(1, 11))


def test_a_cutoff_keeps_the_likeliest_even_below_it():
    assert kept(s.keep_epsilon(LOGITS, 0.2)) == [0, 1]
    assert kept(s.keep_epsilon(LOGITS, 0.9)) == [0]
    assert kept(s.keep_eta(LOGITS, 0.5)) == [0, 1], "the threshold is 0.7 times 0.3"
    assert kept(s.keep_eta(torch.zeros(1, 50), 0.5)) == list(range(50))


def test_mirostat_keeps_what_surprises_little():
    assert kept(s.keep_surprises(LOGITS, torch.tensor([2.0]).double())) == [0, 1]
    assert kept(s.keep_surprises(LOGITS, torch.tensor([0.1]).double())) == [0]
    assert kept(s.keep_surprises(LOGITS, torch.tensor([-99.0]).double())) == [0]


@pytest.mark.parametrize("temperature", [s.GREEDY_BELOW, 0.01, 1.0, 1e30])
def test_any_temperature_gives_a_distribution(temperature):
    logits = torch.tensor([[300.0, -300.0, 1e30]])
    probabilities = s.apply_temperature(logits, temperature).softmax(-1)
    assert torch.isfinite(probabilities).all()
    assert probabilities.sum().item() == pytest.approx(1)


def test_draws_follow_the_distribution_and_never_leave_it():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, torch.log(torch.tensor(3.0)), -torch.inf]])
    uniforms = torch.arange(1000, dtype=torch.float64) / 1000
    tokens, likely = s.draw_tokens(logits.expand(1000, -1), uniforms)
    assert tokens.bincount(minlength=5).tolist() == [0, 250, 0, 750, 0]
    assert torch.equal(likely > 0.5, tokens == 3)
    largest = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert s.draw_tokens(logits, largest)[0].tolist() == [3]


SETTINGS = [
    {},
    {"top_k": 5},
    {"top_k": 300, "top_p": 0.9, "min_p": 0.01},
    {"top_p": 0.5},
    {"top_p": 0.95, "typical_p": 0.9},
    {"top_p": 0.999, "temperature": 2.0},
    {"min_p": 0.05},
    {"min_p": 0.3, "eta_cutoff": 0.01},
    {"epsilon_cutoff": 0.01},
    {"typical_p": 0.5, "epsilon_cutoff": 0.01},
    {"eta_cutoff": 0.02},
    {"mirostat": 2, "mirostat_tau": 3.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 40.0])
def test_the_likeliest_alone_are_drawn_from_as_if_all_were_looked_at(settings, spread):
    """Rows where a few hundred tokens are enough, and rows where they are not; equal logits among them."""
    generator = torch.Generator().manual_seed(5)
    logits = spread * torch.randn(24, 3000, generator=generator)
    logits[8:16] = logits[8:16].round()
    logits[16:, 1500:] = -torch.inf
    logits[23, 5:] = -torch.inf
    rules = s.rules_of(SamplingParams(**settings))
    surprises = torch.linspace(-1, 12, 24).double() if rules.mirostat else None
    shaped = s.shape_distribution(logits, rules, surprises)
    for _ in range(5):
        uniforms = torch.rand(24, generator=generator, dtype=torch.float64)
        tokens, likely = s.draw_shaped(logits, rules, uniforms, surprises)
        right, right_likely = s.draw_tokens(shaped, uniforms)
        assert torch.equal(tokens, right)
        torch.testing.assert_close(likely, right_likely)


def test_the_test_above_meets_both_kinds_of_rows(monkeypatch):
    seen = []
    enough = s._are_enough
    monkeypatch.setattr(s, "_are_enough", lambda *given: seen.append(enough(*given)) or seen[-1])
    logits = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    logits[0] *= 9
    s.draw_shaped(logits, s.rules_of(SamplingParams(top_p=0.9)), torch.tensor([0.5, 0.5]).double())
    assert seen[0].tolist() == [True, False]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_row_is_the_same_to_the_bit_in_any_company(settings):
    """Of so many tokens that torch would split the sum over a lone row among threads."""
    logits = 3 * torch.randn(5, 40_000, generator=torch.Generator().manual_seed(2))
    uniforms = torch.rand(5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rules = s.rules_of(SamplingParams(**settings))
    surprises = torch.linspace(1, 12, 5).double() if rules.mirostat else None
    tokens, likely = s.draw_shaped(logits, rules, uniforms, surprises)
    for row in range(5):
        at = slice(row, row + 1)
        alone = s.draw_shaped(logits[at], rules, uniforms[at], None if surprises is None else surprises[at])
        assert torch.equal(alone[0], tokens[at])
        assert torch.equal(alone[1], likely[at])
        assert torch.equal(logits[at].log_softmax(-1), logits.log_softmax(-1)[at]), "so are the log-probabilities"


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_vocabulary_of_one(settings):
    tokens, likely = s.draw_shaped(
        torch.tensor([[3.0]]),
        s.rules_of(SamplingParams(**settings)),
        torch.tensor([0.7]).double(),
        torch.tensor([1.0]).double() if settings.get("mirostat") else None,
    )
    assert (tokens.tolist(), likely.tolist()) == ([0], [1.0])
