"""Golden loss curves: what a tiny model of every architecture and objective learns in 20 steps, number by number.

They hold the whole way from packed rows to weights: initialisation, examples, forward, gradient, clipping, optimizer
and schedule. Golden numbers change only in a commit that says why; `python tests/contracts/write_golden.py` writes
them again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.data import Packer
from stepwell.models import MODELS, LanguageModel, NGram, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

GOLDEN = Path(__file__).with_name("golden_losses.json")
WRITE = "STEPWELL_WRITE_GOLDEN"
"""The environment variable under which the numbers are written instead of compared."""

STEPS = 20
DIGITS = 6

TOLERANCE = 1e-3
"""Of each loss, relative. Another CPU rounds in another order: float64 in place of float32, a larger change than that,
moves the curves by less than a tenth of it (`test_rounding_is_far_below_the_tolerance`)."""

OF_TEXT = ("causal", "masked", "span_corruption", "denoising", "prefix", "sequence_to_sequence")
"""Objectives that learn from plain rows."""

CASES = [(kind, choice) for kind, family in MODELS.items() for choice in family.objectives if choice in OF_TEXT]

NAMES = {f"{kind}, {choice}" for kind, choice in CASES}

Curve = dict[str, Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    special = ("<|mask|>", *(f"<|span_{number}|>" for number in range(4)))
    return train_tokenizer([], ByteBPEConfig(vocab_size=262, special_tokens=special))


@pytest.fixture
def curve(tiny_config, make_trainer, tokenizer, tmp_path) -> Callable[..., Curve]:
    """A function from a kind and an objective to the losses of a run."""

    def run(kind: str, choice: str, turned: Callable[[LanguageModel], Any] = lambda model: model) -> Curve:
        config = tiny_config(kind)
        changes = {"vocab_size": 262, **({"dropout": 0.0} if "dropout" in type(config).model_fields else {})}
        config = config.model_copy(update=changes)
        model = build_model(config, seed=0)
        if isinstance(model, NGram):
            return counted(model, make_trainer(tmp_path, model={"max_seq_len": 16}).updater.packer)
        training = {
            "steps": STEPS,
            "objective.kind": choice,
            "optimizer.kind": "adamw",
            "optimizer.learning_rate": 0.01,
            "schedule.kind": "wsd",
            "schedule.warmup_steps": 4,
            "patience": "null",
        }
        make_trainer(tmp_path, training, model=config, built=turned(model), tokenizer=tokenizer).run()
        records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        return {
            "training": [rounded(record["loss"]) for record in records if record["kind"] == "step"],
            "held_out": [rounded(record["loss"]) for record in records if record["kind"] == "evaluation"],
        }

    return run


def counted(model: NGram, packer: Packer) -> Curve:
    """A model that counts has no curve: its loss before it has counted, and after."""
    batch = packer.batch(0, 4)

    def loss() -> float:
        logprobs = model(torch.from_numpy(batch.token_ids), torch.from_numpy(batch.document_ids)).numpy()
        return float(-np.take_along_axis(logprobs, batch.targets[..., None], -1)[batch.loss_mask].mean())

    before = loss()
    model.fit(np.where(batch.loss_mask, batch.token_ids, 0))
    return {"training": [rounded(before), rounded(loss())], "held_out": []}


def rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def golden() -> dict[str, Curve]:
    found: dict[str, Curve] = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    return found


def written(curves: dict[str, Curve]) -> str:
    """As JSON, a list in a line."""
    lines = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"    {json.dumps(part)}: {json.dumps(values)}" for part, values in curves[name].items())
        + "\n  }"
        for name in sorted(curves)
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def assert_same(found: Curve, wanted: Curve, tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for part, losses in wanted.items():
        assert found[part] == pytest.approx(losses, rel=tolerance), part


@pytest.mark.slow_but("decoder-causal", "encoder-masked", "gru-causal")
@pytest.mark.parametrize(("kind", "choice"), CASES, ids=str)
def test_the_curve_is_the_golden_one(kind, choice, curve):
    found, curves = curve(kind, choice), golden()
    name = f"{kind}, {choice}"
    if os.environ.get(WRITE):
        GOLDEN.write_text(written({**{name: curves[name] for name in NAMES & curves.keys()}, name: found}))
        return
    assert name in curves, "a new row: python tests/contracts/write_golden.py writes its curve"
    assert_same(found, curves[name], TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "choice"), [case for case in CASES if MODELS[case[0]].learns == "gradient"][::2], ids=str
)
def test_rounding_is_far_below_the_tolerance(kind, choice, curve, in_float64):
    """The same run in float64 stays within a tenth, so a change that the golden test sees is no rounding."""
    assert_same(curve(kind, choice, in_float64), golden()[f"{kind}, {choice}"], TOLERANCE / 10)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if MODELS[kind].learns == "gradient"])
def test_every_curve_goes_down(kind):
    losses = golden()[f"{kind}, {MODELS[kind].objectives[0]}"]["training"]
    assert len(losses) == STEPS
    assert losses[-1] < 0.9 * losses[0]


def test_no_curve_is_left_over():
    assert golden().keys() == NAMES
