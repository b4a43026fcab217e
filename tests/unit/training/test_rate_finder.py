"""The range test: what it reads off a curve, and that it leaves no trace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.config import build
from stepwell.data import Packer, TokenSplit
from stepwell.errors import TrainingError, UsageError
from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.objectives import build_objective
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer
from stepwell.training import TrainingConfig, Updater, find_rate
from stepwell.training.rate_finder import has_run_away, read_range, smooth

TINY = {"vocab_size": 257, "max_seq_len": 16, "num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 2}


def tiny() -> LanguageModel:
    return build_model(DecoderConfig(**TINY, head_dim=8, d_ff=24, dropout=0.1), seed=0)


def packer() -> Packer:
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 60, size=60)
    ids = (generator.integers(0, 12, size=lengths.sum()) ** 2).astype(np.uint16)
    return Packer(TokenSplit(ids, np.cumsum([0, *lengths]), lengths), 16, seed=0)


def config(**optimizer: Any) -> TrainingConfig:
    values = {
        "steps": 100, "global_batch_tokens": 64, "micro_batch": 4, "precision": "float32", "evaluate_every_steps": 10,
        "optimizer": {"kind": "adamw", "learning_rate": 0.01, **optimizer},
        "schedule": {"kind": "wsd", "warmup_steps": 9},
    }  # fmt: skip
    return build(TrainingConfig, values, where="test")


def objective(settings: TrainingConfig) -> Any:
    return build_objective(settings.objective, train_tokenizer([], ByteBPEConfig(vocab_size=257)))


def search(settings: TrainingConfig, model: LanguageModel | None = None, **others: Any) -> Any:
    return find_rate(model or tiny(), packer(), settings, objective(settings), seed=0, **others)


def curve(turn: float, count: int = 101) -> tuple[list[float], list[float]]:
    """Rates from 1e-5 to 1, and a loss that falls as a smooth step around 1e-3 and jumps up at the turn."""
    rates = [10 ** (-5 + 5 * n / (count - 1)) for n in range(count)]
    losses = [4 - 2 / (1 + math.exp(-4 * (math.log10(rate) + 3))) + (3.0 if rate >= turn else 0.0) for rate in rates]
    return rates, losses


def test_the_rates_of_a_made_up_curve():
    found = read_range(*curve(turn=0.2))
    assert found.steepest == pytest.approx(1e-3, rel=0.15)
    assert found.diverged == pytest.approx(0.2, rel=0.35)
    assert found.suggested == found.steepest


def test_a_tenth_of_where_it_diverged_is_the_most():
    found = read_range(*curve(turn=0.005))
    assert found.suggested == pytest.approx(found.diverged / 10)
    assert found.suggested < found.steepest


def test_what_never_ran_away_has_no_bound_but_a_loss_that_was_not_finite_is_one():
    rates, losses = curve(turn=2.0)
    assert read_range(rates, losses).diverged is None
    assert read_range(rates[:80], losses[:80], bound=rates[80]).diverged == rates[80]


def test_noise_does_not_lead_astray():
    rates, losses = curve(turn=0.2)
    noise = np.random.default_rng(0).normal(0, 0.05, len(rates))
    found = read_range(rates, [loss + more for loss, more in zip(losses, noise, strict=True)])
    assert 2e-4 < found.steepest < 5e-3


@pytest.mark.parametrize("losses", [[], [3.0], [3.0] * 20, [3.0 + n for n in range(20)]], ids=len)
def test_a_loss_that_falls_nowhere_is_told(losses):
    with pytest.raises(TrainingError, match="falls at no rate"):
        read_range([10.0**n for n in range(-19, -19 + len(losses))], losses)


def test_smoothing_is_the_mean_of_both_sides():
    line = [float(n) for n in range(20)]
    assert smooth(line) == pytest.approx(line), "a straight line stays one, at its ends too"
    bump = [0.0] * 20
    bump[10] = 9.0
    assert smooth(bump)[5:16] == pytest.approx([0.0, *[1.0] * 9, 0.0])


def test_running_away_is_above_the_beginning_and_not_a_single_bad_batch():
    falling = [4.0 - 0.1 * n for n in range(20)]
    assert not has_run_away(falling)
    assert not has_run_away([*falling, 9.0, 2.0, 2.0, 2.0])
    assert has_run_away([*falling, 9.0, 9.0, 9.0, 9.0])
    noise = [6.0 + 0.1 * (-1) ** n for n in range(40)]
    assert not any(has_run_away(noise[:length]) for length in range(40)), "nothing learned yet is not running away"


def test_it_is_the_updates_of_the_run_at_rising_rates_and_the_model_stays_as_it_was():
    settings, model = config(), tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    told: list[tuple[int, float, float]] = []
    found = search(settings, model, steps=30, lowest=1e-4, highest=0.1, watch=lambda *words: told.append(words))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    plain = Updater(tiny(), packer(), settings, objective(settings), 0)
    rates = np.geomspace(1e-4, 0.1, 30)
    losses = [plain.update(n, n * plain.rows_per_step, float(rate) / 0.01).loss for n, rate in enumerate(rates)]
    assert found.rates == pytest.approx(rates)
    assert found.losses == pytest.approx(losses)
    assert told == [(n + 1, rate, loss) for n, (rate, loss) in enumerate(zip(found.rates, found.losses, strict=True))]
    assert 1e-3 < found.steepest < 0.1


def test_it_stops_where_the_loss_runs_away():
    found = search(config(kind="sgd"), lowest=1e-2, highest=1e6, steps=60)
    assert len(found.rates) < 60
    assert found.diverged is not None
    assert found.suggested <= found.diverged / 10


@pytest.mark.parametrize(
    ("wrong", "match"),
    [({"steps": 9}, "too few steps"), ({"lowest": 1.0, "highest": 0.1}, "must rise"), ({"lowest": -1.0}, "must rise")],
    ids=str,
)
def test_a_wrong_range_is_refused(wrong, match):
    with pytest.raises(UsageError, match=match):
        search(config(), **wrong)
