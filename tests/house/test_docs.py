"""The pages in docs/ say what the code does."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STUDIES = PROJECT / "src" / "stepwell" / "studies"
CONCEPTS = (PROJECT / "docs" / "concepts.md").read_text(encoding="utf-8")


def test_recipe_reference_is_fresh() -> None:
    path = PROJECT / "docs" / "make_recipe_reference.py"
    spec = importlib.util.spec_from_file_location("make_recipe_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (PROJECT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert page == module.reference(), "docs/recipe.md is stale: run `make docs`"


def rows() -> dict[str, str]:
    """First word in code -> the row of a table in docs/concepts.md."""
    return {name: row for row, name in re.findall(r"^(\| `(\w+)` \|.*)$", CONCEPTS, flags=re.MULTILINE)}


def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((STUDIES / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def table(file: str, name: str) -> ast.expr:
    """The literal table of that name."""
    tree = ast.parse((STUDIES / file).read_text(encoding="utf-8"))
    return next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value is not None
    )


def rules() -> list[str]:
    found = table("diagnosis.py", "RULES")
    assert isinstance(found, ast.Tuple)
    return [ast.unparse(rule) for rule in found.elts]


def remedies() -> dict[str, list[str]]:
    found = table("remedies.py", "REMEDIES")
    assert isinstance(found, ast.Dict)
    return {
        ast.literal_eval(key): [ast.unparse(one) for one in value.elts]
        for key, value in zip(found.keys, found.values, strict=True)
        if key is not None and isinstance(value, ast.Tuple)
    }


def test_every_rule_stands_in_its_place() -> None:
    assert [name for name in rows() if name in rules()] == rules()


def numbers(node: ast.AST) -> list[float]:
    """The literal numbers in an expression, but for indices and arguments."""
    if isinstance(node, ast.Subscript | ast.Call):
        return []
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [float(node.value)]
    return [number for child in ast.iter_child_nodes(node) for number in numbers(child)]


@pytest.mark.parametrize("rule", rules())
def test_thresholds_are_the_ones_in_the_code(rule: str) -> None:
    """Every number that a rule compares with stands in its row, as it is or as a percentage."""
    row = rows()[rule]
    for one in ast.walk(functions("diagnosis.py")[rule]):
        if isinstance(one, ast.Compare) and "len(" not in ast.unparse(one):
            for number in numbers(one):
                wordings = (f"{number:g} ", f"{100 * number:g} %")
                assert any(wording in row for wording in wordings), f"{rule}: {ast.unparse(one)}"


@pytest.mark.parametrize(("finding", "levers"), remedies().items())
def test_remedies_are_the_ones_in_the_code(finding: str, levers: list[str]) -> None:
    named = re.findall(r"`(\w+)`", rows()[finding].split("|")[3])
    assert named == levers
    assert set(levers) <= set(rows())
