"""A recipe on its way: what the user said, layer by layer, before the rest is derived.

One flow of values: `defaults < preset < recipe file < flags < --set`. A draft knows where each value came from, refuses
unknown fields at once, and writes the resolved recipe with the origin of every value beside it. This file leaves out
the derived values themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stepwell.config import Config, Tree, build, check, flatten, merge, parse_assignments
from stepwell.data import DataConfig
from stepwell.errors import BudgetError, ConfigError, UsageError
from stepwell.models import MODELS
from stepwell.recipes.presets import preset_values
from stepwell.recipes.recipe import Recipe
from stepwell.tasks import TASKS, AnyTaskConfig, LanguageModelingConfig, Task, build_task, usual_family

USUAL_KINDS = {
    "task": "language_modeling",
    "model": "decoder",
    "tokenizer": "byte_bpe",
    "training.optimizer": "muon",
    "training.schedule": "wsd",
    "training.objective": "causal",
}


class _TaskSection(Config):
    """The part of a recipe that says what the model is for."""

    task: AnyTaskConfig = LanguageModelingConfig()


def _with_sections(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A task that is written as its kind alone, as the section that it stands for: layers change parts of it."""
    task = values.get("task")
    return {**values, "task": {"kind": task}} if isinstance(task, str) else values


@dataclass(frozen=True)
class Draft:
    """Values so far, and where each came from.

    Attributes:
        tree: nested plain values, as far as they are known.
        origins: dotted path -> where the value came from.
    """

    tree: Tree
    origins: dict[str, str] = field(default_factory=dict)

    def plus(self, values: Mapping[str, Any], origin: str) -> Draft:
        """A draft with another layer on top."""
        values = _with_sections(values)
        origins = {**self.origins, **dict.fromkeys(flatten(values), origin)}
        return Draft(merge(self.tree, values), origins)

    def over(self, values: Mapping[str, Any], origin: str) -> Draft:
        """A draft with another layer below everything that is known."""
        values = _with_sections(values)
        origins = dict.fromkeys(flatten(values), origin)
        return Draft(merge(values, self.tree), {**origins, **self.origins})

    def with_derived(self, values: Mapping[str, tuple[Any, str]]) -> Draft:
        """A draft with values that the user left out.

        Args:
            values: dotted path -> value and the reason for it; a path that is set already keeps its value.
        """
        tree, origins = self.tree, dict(self.origins)
        known = flatten(tree)
        for path, (value, reason) in values.items():
            if path in known:
                continue
            nested: Any = value
            for name in reversed(path.split(".")):
                nested = {name: nested}
            tree = merge(nested, tree)
            origins[path] = f"derived: {reason}"
        return Draft(tree, origins)

    def get(self, path: str) -> Any:
        """The value at a path, or None."""
        value: Any = self.tree
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        return value

    @property
    def data(self) -> DataConfig:
        """The data section, which is complete before anything is derived."""
        return build(DataConfig, self.tree.get("data", {}), where="recipe: data")

    @property
    def task(self) -> Task[Any]:
        """The task, as far as it is known."""
        return build_task(
            build(
                _TaskSection, {"task": {"kind": USUAL_KINDS["task"], **self.tree.get("task", {})}}, where="recipe"
            ).task
        )

    @property
    def metric(self) -> str:
        """What the loop improves."""
        return str(self.get("metric") or self.task.metric)

    def finish(self) -> Recipe:
        """The resolved recipe.

        Raises:
            ConfigError: when values do not fit together.
        """
        return build(Recipe, self.tree, where="recipe")


def begin_draft(
    recipe: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Draft:
    """Collect what the user said and check it.

    Args:
        recipe: a recipe file.
        flags: nested values of command-line flags that were given.
        assignments: `a.b=c` strings.

    Raises:
        ConfigError: for an unknown field (with the nearest right name) or a value of the wrong kind.
        BudgetError: for a target that no model can reach.
        UsageError: when there is nothing to read text from.
    """
    draft = Draft({})
    where = "recipe"
    if recipe is not None:
        where = str(recipe)
        draft = draft.plus(read_recipe_file(recipe), "recipe file")
    draft = draft.plus(flags or {}, "flag")
    for assignment in assignments:  # one by one: a task's kind alone stands for a section, of which others set parts
        draft = draft.plus(parse_assignments([assignment]), "--set")
    if draft.get("preset"):
        draft = draft.over(preset_values(draft.get("preset")), f"preset {draft.get('preset')}")
    check(Recipe, _with_usual_kinds(draft.tree), where=where)
    if not draft.get("data.sources"):
        raise UsageError(
            "nothing to read",
            wanted="a recipe file, or --text with files, folders or globs",
            do="try: stepwell quickstart",
        )
    _check_target(draft)
    return draft


def _with_usual_kinds(tree: Tree) -> Tree:
    """The values with the kind that each choice has when nobody says another, so that its fields can be checked."""
    usual: Tree = {}
    model = tree.get("model")
    family = MODELS.get(str(model.get("kind"))) if isinstance(model, Mapping) else None
    kinds = USUAL_KINDS if family is None else {**USUAL_KINDS, "training.objective": family.objectives[0]}
    if suits := usual_family(tree.get("task")):
        kinds = {**kinds, "model": suits}
    unknown = ("model", "training.objective") if tree.get("init_from") else ()  # the checkpoint says it
    for path, kind in kinds.items():
        names = path.split(".")
        here: Any = tree
        for name in names:
            here = here.get(name) if isinstance(here, Mapping) else None
        if isinstance(here, Mapping) and "kind" not in here and path not in unknown:
            nested: Any = {"kind": kind}
            for name in reversed(names):
                nested = {name: nested}
            usual = merge(usual, nested)
    return merge(usual, tree)


def _check_target(draft: Draft) -> None:
    """The recipe checks this too, but only once it is whole, and that is after the text was read."""
    metric, target = draft.metric, draft.get("target")
    metrics = TASKS[draft.task.config.kind].metrics
    if metric not in metrics:
        raise ConfigError(
            f"metric: {draft.task.config.kind} has no such metric", got=metric, wanted=f"one of {', '.join(metrics)}"
        )
    lowest, highest = metrics[metric]
    if target is not None and not lowest < float(target) < highest:
        raise BudgetError(
            "target: no model can reach it",
            got=f"{target} {metric}",
            wanted=f"a {metric} between {lowest:g} and {highest:g}",
        )


def read_recipe_file(path: Path) -> Tree:
    """The mapping in a recipe file.

    Raises:
        UsageError: when there is no such file.
        ConfigError: when it is not YAML, or not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such recipe", wanted="a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read", got=str(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML", got=" ".join(str(error).split())) from None
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: is not a recipe", got=type(tree).__name__, wanted="fields such as data: and budget:"
        )
    return tree


def write_recipe(recipe: Recipe, origins: Mapping[str, str]) -> str:
    """YAML text of a resolved recipe, each value with where it came from as a comment."""
    lines = ["# Resolved by stepwell. `stepwell run` on this file repeats the run."]
    lines += _lines(recipe.model_dump(mode="json"), origins, prefix="", indent="")
    return "\n".join(lines) + "\n"


def data_section(data: DataConfig, origins: Mapping[str, str]) -> str:
    """YAML text of the data section alone, for the page about a text."""
    return "\n".join(_lines({"data": data.model_dump(mode="json")}, origins, prefix="", indent="")) + "\n"


def _lines(tree: Mapping[str, Any], origins: Mapping[str, str], prefix: str, indent: str) -> Iterator[str]:
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, origins, f"{path}.", indent + "  ")
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            yield f"{indent}{name}:{_comment(path, origins)}"
            for one in value:
                first, *rest = _lines(one, origins, f"{path}.{one['kind']}.", indent + "    ")
                yield f"{indent}  - {first.strip()}"
                yield from rest
        else:
            yield f"{indent}{name}: {_scalar(value)}{_comment(path, origins)}"


def _comment(path: str, origins: Mapping[str, str]) -> str:
    origin = origins.get(path)
    return f"  # {' '.join(origin.split())}" if origin else ""


def _scalar(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("...\n").strip()
