"""The task in a recipe: its kind alone or a section, in any layer, with parts that other layers change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import StepwellError
from stepwell.recipes import Draft, begin_draft
from stepwell.tasks import TASKS, ClassificationConfig


def begun(*assignments: str, recipe: Path | None = None, **flags: Any) -> Draft:
    return begin_draft(recipe, flags={"data": {"sources": ["x"]}, **flags}, assignments=assignments)


def file(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_text_is_the_usual_task() -> None:
    assert begun().task.config.kind == "language_modeling"


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_kind_alone_is_its_section(kind: str, tmp_path: Path) -> None:
    alone = begun(f"task={kind}").task.config
    assert alone.kind == kind
    assert begun(f"task.kind={kind}").task.config == alone
    assert begun(task=kind).task.config == alone
    assert begun(task={"kind": kind}).task.config == alone
    assert begun(recipe=file(tmp_path, f"task: {kind}\n")).task.config == alone
    assert begun(recipe=file(tmp_path, f"task:\n  kind: {kind}\n")).task.config == alone


def test_layers_change_parts_of_it(tmp_path: Path) -> None:
    recipe = file(tmp_path, "task:\n  kind: classification\n  label: topic\n  fewest: 5\n")
    draft = begun("task.fewest=3", recipe=recipe, task={"text": "title"})
    config = draft.task.config
    assert isinstance(config, ClassificationConfig)
    assert (config.label, config.text, config.fewest) == ("topic", "title", 3)
    assert draft.origins["task.label"] == "recipe file"
    assert draft.origins["task.text"] == "flag"
    assert draft.origins["task.fewest"] == "--set"


@pytest.mark.parametrize(
    "order", [("task=classification", "task.label=topic"), ("task.label=topic", "task=classification")]
)
def test_the_kind_and_its_parts_in_any_order(order: tuple[str, str]) -> None:
    config = begun(*order).task.config
    assert isinstance(config, ClassificationConfig)
    assert config.label == "topic"


def test_a_kind_over_a_section_keeps_the_parts(tmp_path: Path) -> None:
    recipe = file(tmp_path, "task:\n  kind: classification\n  label: topic\n")
    config = begun("task=classification", recipe=recipe).task.config
    assert isinstance(config, ClassificationConfig)
    assert config.label == "topic"


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["task=classificaton"], "classificaton"),
        (["task=classification", "task.lable=x"], "task.lable"),
        (["task=classification", "task.problem=both"], "task.problem"),
        (["task=classification", "task.max_tokens=2"], "task.max_tokens"),
        (["task=classification", "task.decision.threshold=2"], "task.decision.threshold"),
        (["task=classification", "metric=bleu"], "metric"),
        (["task=classification", "target=1.5"], "target"),
        (["task.label=topic"], "task.label"),
    ],
)
def test_what_does_not_go_together_is_named(assignments: list[str], words: str) -> None:
    with pytest.raises(StepwellError) as caught:
        begun(*assignments)
    assert words in str(caught.value)
