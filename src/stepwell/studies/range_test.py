"""Which learning rates a planned run can bear, tried out on its own text and model.

The plan is the one that `run` would make; the range test itself is `training.find_rate`. Its curve is written beside
the run as one page, and the numbers come back as plain values. This file leaves out how the curve is read.
"""

from __future__ import annotations

import time
from typing import Any

from stepwell.data import Packer
from stepwell.errors import UsageError
from stepwell.hardware import Machine
from stepwell.models import MODELS
from stepwell.objectives import build_objective
from stepwell.progress import Stage, Watcher
from stepwell.runs import RunDirectory, write_atomically
from stepwell.seeding import derive_seed
from stepwell.studies.beginning import begin_model
from stepwell.studies.planning import Planned
from stepwell.studies.report import render_rate_page
from stepwell.training import find_rate

PAGE = "learning-rate.html"


def refuse_counting(kind: str) -> None:
    """Say that a model which learns by counting has no rate.

    Raises:
        UsageError: when the family is one of those.
    """
    if kind in MODELS and MODELS[kind].learns == "counting":
        raise UsageError(
            f"model.kind: {kind} learns by counting, so it has no learning rate",
            wanted="a family that learns by gradients: "
            + ", ".join(name for name, family in MODELS.items() if family.learns == "gradient"),
        )


def try_rates(
    planned: Planned,
    run: RunDirectory,
    machine: Machine,
    watch: Watcher,
    *,
    lowest: float | None,
    highest: float | None,
    steps: int,
) -> dict[str, Any]:
    """Try the rates, and write the page.

    Args:
        planned: the run that they are for.
        run: where the page goes.
        machine: where tensors go.
        watch: gets the events.
        lowest: the first rate; None for a thousandth of the recipe's.
        highest: the last rate; None for a hundred times the recipe's.
        steps: updates.

    Returns:
        `optimizer`, `planned` (the recipe's rate), `suggested`, `steepest`, `diverged`, `values` (recipe path ->
        suggested rate), `rates`, `losses`, `smoothed`, `steps`, `seconds`, `page`.

    Raises:
        UsageError: for a model without a rate, or rates that do not rise.
        TrainingError: when the loss falls at no rate.
    """
    recipe, corpus, began = planned.recipe, planned.corpus, time.monotonic()
    refuse_counting(recipe.model.kind)
    watch(Stage("rates", f"{steps} updates of {recipe.training.global_batch_tokens:,} tokens"))
    row_tokens = recipe.training.row_length(recipe.model.max_seq_len)
    found = find_rate(
        begin_model(recipe, corpus, watch).to(machine.device),
        Packer(corpus.train.shuffled, row_tokens, derive_seed(recipe.seed, "data")),
        recipe.training,
        build_objective(recipe.training.objective, corpus.tokenizer),
        seed=recipe.seed,
        lowest=lowest,
        highest=highest,
        steps=steps,
    )
    optimizer = recipe.training.optimizer
    share = found.suggested / optimizer.learning_rate
    names = [name for name in ("learning_rate", "adamw_learning_rate") if hasattr(optimizer, name)]
    result = {
        "optimizer": optimizer.kind,
        "planned": optimizer.learning_rate,
        "suggested": short(found.suggested),
        "steepest": short(found.steepest),
        "diverged": None if found.diverged is None else short(found.diverged),
        "values": {f"training.optimizer.{name}": short(getattr(optimizer, name) * share) for name in names},
        "rates": list(found.rates),
        "losses": list(found.losses),
        "smoothed": list(found.smoothed),
        "steps": len(found.rates),
        "seconds": round(time.monotonic() - began, 1),
        "page": str(run.root / PAGE),
    }
    write_atomically(run.root / PAGE, render_rate_page(result))
    return result


def short(rate: float) -> float:
    """A rate with two digits: the test tells no more."""
    return float(f"{rate:.2g}")
