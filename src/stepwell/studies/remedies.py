"""Which lever a finding pulls.

A remedy turns a finding and the recipe it was found in into a change of recipe values, and says whether the round
can go on from the stable checkpoint or must begin anew. Adding a remedy is one function and one row. This file
leaves out how long a round may take and whether it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stepwell.models import MODELS, TransformerConfig
from stepwell.recipes import Recipe
from stepwell.studies.diagnosis import Finding

LEVER = "lever"
"""Name of the finding that stands for what the recipe wants tried."""

DROPOUTS = (0.0, 0.1, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Change:
    """What the next round does differently.

    Attributes:
        finding: why.
        values: recipe path -> new value; the number of steps is added by the study.
        goes_on: from the stable checkpoint of the best round, rather than from fresh weights.
        retrains: False for a change of decoding alone.
    """

    finding: Finding
    values: dict[str, Any]
    goes_on: bool = True
    retrains: bool = True


def lengthen(finding: Finding, recipe: Recipe) -> Change:
    """More steps, nothing else."""
    return Change(finding, {})


def slow_down(finding: Finding, recipe: Recipe) -> Change:
    """Half the learning rate."""
    return Change(finding, _rates(recipe, 0.5))


def speed_up(finding: Finding, recipe: Recipe) -> Change:
    """One and a half times the learning rate."""
    return Change(finding, _rates(recipe, 1.5))


def _rates(recipe: Recipe, factor: float) -> dict[str, Any]:
    optimizer = recipe.training.optimizer
    return {
        f"training.optimizer.{name}": float(f"{getattr(optimizer, name) * factor:.4g}")
        for name in ("learning_rate", "adamw_learning_rate")
        if hasattr(optimizer, name)
    }


def regularise(finding: Finding, recipe: Recipe) -> Change | None:
    """The next higher dropout and twice the weight decay, up to the most that is usual (0.8 for AdamW and Muon)."""
    higher = [value for value in DROPOUTS if value > getattr(recipe.model, "dropout", 1.0) + 1e-9]
    if not higher:
        return None
    decay, (least, most) = recipe.training.optimizer.weight_decay, recipe.training.optimizer.usual_decays
    values = {
        "model.dropout": higher[0],
        "training.optimizer.weight_decay": float(f"{max(decay, min(most, max(least, 2 * decay))):.4g}"),
    }
    return Change(finding, values)


def grow(finding: Finding, recipe: Recipe) -> Change | None:
    """Half as many layers again; the new ones begin as the identity, so nothing that was learned is lost.

    A family whose layers cannot begin as the identity begins anew, at the next size of its dial.
    """
    if recipe.init_from is not None:
        return None
    if not isinstance(recipe.model, TransformerConfig):
        return _resized(finding, recipe, 1.5)
    layers = recipe.model.num_layers
    values = {"model.num_layers": layers + max(1, layers // 2), "model.residual_initialization": "zero"}
    return Change(finding, values)


def shrink(finding: Finding, recipe: Recipe) -> Change | None:
    """The model of half the depth, rounded up, from fresh weights."""
    return None if recipe.init_from is not None else _resized(finding, recipe, 0.5)


def _resized(finding: Finding, recipe: Recipe, factor: float) -> Change | None:
    """The model at another depth of its family's dial, from fresh weights; None where the dial has nothing there."""
    sized, model = MODELS[recipe.model.kind].sized, recipe.model
    sizes = {"vocab_size": model.vocab_size, "max_seq_len": model.max_seq_len}
    depths = {depth: sized(depth, **sizes).num_matrix_parameters for depth in range(1, 33)}
    depth = min(depths, key=lambda one: abs(depths[one] - model.num_matrix_parameters))
    chosen = max(depth + 1, round(factor * depth)) if factor > 1 else math.ceil(factor * depth)
    if chosen not in depths or chosen == depth:
        return None
    config = sized(chosen, **sizes)
    names = [name for name in config.stated() if name not in ("kind", *sizes)]
    return Change(finding, {f"model.{name}": config.stated()[name] for name in names}, goes_on=False)


def refit_tokenizer(finding: Finding, recipe: Recipe) -> Change | None:
    """Half the vocabulary, from fresh weights."""
    size = recipe.tokenizer.vocab_size // 2
    if size < 300 or recipe.init_from is not None:
        return None
    return Change(finding, {"tokenizer.vocab_size": size, "model.vocab_size": size}, goes_on=False)


def decode_otherwise(finding: Finding, recipe: Recipe) -> Change | None:
    """A higher penalty on what was said already."""
    penalty = round(recipe.decoding.repetition_penalty + 0.1, 2)
    if penalty > 1.31:
        return None
    return Change(finding, {"decoding.repetition_penalty": penalty}, retrains=False)


def _levers(recipe: Recipe) -> Iterator[Change]:
    """The values of `study.levers` that the recipe does not have; what changes text or shape begins anew."""
    for path, several in recipe.study.levers.items():
        for value in several:
            if value == recipe.value(path):
                continue
            values = {path: value}
            if path == "tokenizer.vocab_size":
                values["model.vocab_size"] = value
            finding = Finding(LEVER, {}, f"the recipe wants {path} tried with {value}")
            section = path.partition(".")[0]
            goes_on = section == "training" and recipe.init_from is None
            yield Change(finding, values, goes_on=goes_on, retrains=section != "decoding")


REMEDIES: dict[str, tuple[Callable[[Finding, Recipe], Change | None], ...]] = {
    "instability": (slow_down,),
    "overfitting": (regularise,),
    "learning_rate_too_high": (slow_down,),
    "learning_rate_too_low": (speed_up, lengthen),
    "too_few_tokens": (shrink,),
    "too_many_tokens": (grow, lengthen),
    "tokenizer_misfit": (refit_tokenizer,),
    "underfitting": (lengthen,),
    "repetition": (decode_otherwise,),
}
"""Finding -> remedies, the most promising first."""


def propose(findings: list[Finding], recipe: Recipe) -> list[Change]:
    """Every change that the recipe wants tried, and then every one that the findings ask for, the most urgent first."""
    return list(_levers(recipe)) + [
        change
        for finding in findings
        for remedy in REMEDIES[finding.name]
        if (change := remedy(finding, recipe)) is not None
    ]
