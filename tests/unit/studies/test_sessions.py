"""How long a first round may be, by what its task says about passes over the examples."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.config import Config, build
from stepwell.recipes import Recipe
from stepwell.studies.budget import Budget
from stepwell.studies.sessions import first_slot, most_steps
from stepwell.tasks import AnyTaskConfig

MakeRecipe = Callable[..., Recipe]


class Section(Config):
    """A task by itself."""

    task: AnyTaskConfig


@pytest.mark.parametrize(
    ("task", "init_from", "passes"),
    [
        ("language_modeling", None, 0),
        ("language_modeling", "base", 0),
        ("chat", None, 0),
        ("chat", "base", 2.0),
        ("preference", "base", 1),
        ("classification", None, 12),
        ("classification", "base", 3),
    ],
)
def test_a_task_that_counts_its_passes_has_all_the_time_at_once(
    make_recipe: MakeRecipe, tmp_path: Path, task: str, init_from: str | None, passes: float
) -> None:
    section = build(Section, {"task": {"kind": task}}, where="test").task
    recipe = make_recipe().model_copy(update={"task": section, "init_from": init_from})
    assert recipe.usual_passes == passes
    budget = Budget(1200.0, tmp_path / "spent", time.monotonic())
    slot = first_slot(recipe, budget)
    assert slot > 1000 if passes else slot < 300
    assert most_steps(recipe, 10**6) == (recipe.training.steps if passes else 10**6)
    assert most_steps(recipe, 7) == 7


def test_a_short_budget_still_has_a_round(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    assert first_slot(make_recipe(), Budget(5.0, tmp_path / "spent", time.monotonic())) >= 5
