"""The recipes of `recipes/examples`: each is one, and can be planned on the data that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stepwell import api
from stepwell.api.requests import read_request

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "recipes" / "examples").glob("*.yaml"))
SOURCES = ("sources", "validation", "test")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 17


@pytest.mark.parametrize("recipe", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_recipe_with_a_budget(recipe: Path, tmp_path: Path) -> None:
    draft, _ = read_request(recipe, (), (), None, None, None, None, tmp_path / "run", ["init_from=null"], kind="plan")
    assert draft.task.config.kind == draft.get("task.kind")
    assert draft.get("budget") in ("10m", "20m", "30m")


@pytest.mark.proof
@pytest.mark.parametrize("recipe", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_planned(recipe: Path, tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    told = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    if "init_from" in told:
        pytest.skip("begins from published weights, which tests/parity imports")
    moved = {
        name: [str(real_data(path.partition("shared/data/")[2])) for path in told["data"][name]]
        for name in SOURCES
        if name in told["data"]
    }
    places = [f"data.{name}=[{','.join(paths)}]" for name, paths in moved.items()]
    planned = api.plan(recipe, budget="3m", out=tmp_path / "run", set=places)
    assert planned["training"]["row_tokens"] <= planned["model"]["max_seq_len"]
    assert planned["epochs"] > 0
