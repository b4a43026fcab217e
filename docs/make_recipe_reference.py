"""Write docs/recipe.md from the classes that a recipe is made of: `make docs`.

Names, kinds, ranges and defaults come from the pydantic fields, meanings from the `Attributes` of the class docstrings,
and what is derived from the functions that derive it. tests/house fails when the page is stale.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from stepwell.config import Config
from stepwell.models import decoder_sized
from stepwell.recipes import Plan, Recipe, derive_model, derive_training

PAGE = Path(__file__).with_name("recipe.md")

INTRODUCTION = """\
# The recipe

*This page is generated from the code by `make docs`; change the docstrings, not the page.*

A recipe is a YAML file that says everything a run does. Only `data.sources` is needed. What is marked *derived* is
chosen from the text, the machine and the budget when the recipe leaves it out, and `recipe.yaml` in the run directory
says why, value by value. Without a budget the loop takes ten minutes.

Values flow one way, `defaults < recipe file < flags < --set`; the later one wins:

```yaml
# novel.yaml
budget: 20m
data:
  sources: [novel.txt, notes/]
model:
  dropout: 0.1
training:
  optimizer:
    kind: adamw
```

A field that does not exist is refused with the nearest name that does. On the command line any field is set by its
path: `--set model.dropout=0.1 training.optimizer.kind=adamw`.
"""

KINDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


def reference() -> str:
    """The whole page."""
    derived, shown = derived_paths(), dict[tuple[str, type[Config]], None]()
    return "\n".join([INTRODUCTION, *sections_of(Recipe, "", derived, None, shown)])


def derived_paths() -> set[str]:
    """The paths that get a value from the text, the machine and the budget."""
    model = decoder_sized(2, vocab_size=1024, max_seq_len=256)
    paths = {"tokenizer.vocab_size"} | set(derive_model(Plan(2, 1e6, 1.0, 3.0), vocab_size=1024, reason=""))
    for optimizer in ("adamw", "muon"):
        chosen = derive_training(
            model, tokens=1e6, steps=None, precision="float32", memory_bytes=1e9, optimizer=optimizer
        )
        paths |= set(chosen)
    return paths


def sections_of(
    cls: type[Config], path: str, derived: set[str], preset: Config | None, shown: dict[tuple[str, type[Config]], None]
) -> Iterator[str]:
    """The section of a class, and those of the classes inside it; what several kinds share is shown once."""
    sibling = next((known for place, known in shown if place == path and shared_base(known, cls)), None)
    yield section(cls, path, derived, preset, sibling)
    shown[path, cls] = None
    for name, field in cls.model_fields.items():
        for inner in configs_in(field.annotation):
            default = field.default if preset is None else getattr(preset, name)
            chosen = default if type(default) is inner else None
            listed_before = get_origin(field.annotation) is tuple and any(inner is known for _, known in shown)
            if (f"{path}{name}.", inner) not in shown and not listed_before:
                yield from sections_of(inner, f"{path}{name}.", derived, chosen, shown)


def shared_base(one: type[Config], other: type[Config]) -> bool:
    """Whether two classes have most fields in common, by way of a base."""
    bases = [base for base in one.__mro__ if issubclass(base, Config) and issubclass(other, base)]
    return len(bases[0].model_fields) > 10


def section(
    cls: type[Config], path: str, derived: set[str], preset: Config | None, sibling: type[Config] | None
) -> str:
    """One class as a heading, its sentence, and a table of its fields.

    Args:
        cls: what the section holds.
        path: of the section, with a dot at its end; empty at the top.
        derived: paths that are chosen for each run.
        preset: what the section is when a recipe leaves it out, where that is known beforehand.
        sibling: another kind, shown before; fields that are the same there are not shown again.
    """
    text = inspect.getdoc(cls) or ""
    parents = [base for base in reversed(cls.__mro__) if issubclass(base, Config)]
    meanings = {name: words for base in parents for name, words in attributes_of(inspect.getdoc(base) or "").items()}
    rows = ["| field | value | default | meaning |", "|---|---|---|---|"]
    for name, field in cls.model_fields.items():
        if sibling is not None and is_same(field, sibling.model_fields.get(name)):
            continue
        if name == "kind":
            meaning = "which kind this is."
        elif name in meanings:
            meaning = meanings[name]
        else:
            raise LookupError(f"{cls.__name__}.{name}: no line in the Attributes of its docstring")
        default = default_of(field, f"{path}{name}", derived, preset and getattr(preset, name))
        rows.append(f"| `{name}` | {value_of(field)} | {default} | {meaning} |")
    kind = cls.model_fields.get("kind")
    heading = f"`{path.removesuffix('.')}`" if path else "Top level"
    if kind is not None:
        heading += f", kind `{kind.default}`"
    words = introduction_of(text)
    if sibling is not None:
        words += f"\n\nIts other fields are those of kind `{sibling.model_fields['kind'].default}` above."
    return "\n".join([f"## {heading}", "", words, "", *rows, ""])


def is_same(one: FieldInfo, other: FieldInfo | None) -> bool:
    """Whether a field is that of another class, in kind and default."""
    return other is not None and (one.annotation, one.default) == (other.annotation, other.default)


def introduction_of(docstring: str) -> str:
    """A docstring without its Attributes, each paragraph on one line."""
    paragraphs = docstring.split("\n\nAttributes:")[0].split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def attributes_of(docstring: str) -> dict[str, str]:
    """Field -> meaning."""
    listed = docstring.partition("Attributes:")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", listed, flags=re.MULTILINE)
    return {name: re.sub(r"\bNone\b", "null", " ".join(meaning.split())) for name, meaning in found}


def configs_in(annotation: Any) -> list[type[Config]]:
    """The config classes that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple):
        return [cls for part in get_args(annotation) for cls in configs_in(part)]
    return []


def value_of(field: FieldInfo) -> str:
    """What a field may hold, with its range."""
    if configs_in(field.annotation):
        return "list of sections" if get_origin(field.annotation) is tuple else "a section"
    return words_of(field.annotation, field.metadata)


def words_of(annotation: Any, constraints: list[Any]) -> str:
    """A type in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        nested = [part for info in inside[1:] for part in (info.metadata if isinstance(info, FieldInfo) else [info])]
        return words_of(inside[0], [*nested, *constraints])
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inside)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else words_of(part, constraints) for part in inside)
    if origin in (dict, Mapping):
        paths = get_origin(inside[1]) is tuple
        return "mapping from recipe paths to lists of values" if paths else f"mapping to {words_of(inside[1], [])}"
    if origin is tuple:
        pair = get_args(inside[0])
        if get_origin(inside[0]) is tuple and len(pair) == 2 and Ellipsis not in pair:
            return f"mapping from {words_of(pair[0], [])} to {words_of(pair[1], [])}"
        texts = {"text": "texts", "whole number from 0": "whole numbers from 0"}
        one = words_of(inside[0], [])
        return f"list of {texts.get(one, one)}"
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return "settings (" + ", ".join(f"`{name}`" for name in annotation.model_fields) + ")"
    bounds = [
        wording.format(bound_of(getattr(one, name)))
        for one in constraints
        for name, wording in BOUNDS.items()
        if hasattr(one, name)
    ]
    return " ".join([KINDS[annotation], *bounds])


def bound_of(value: float) -> str:
    """A bound as people write it."""
    return f"2^{value.bit_length() - 1}" if isinstance(value, int) and value >= 2**24 else f"{value:,}"


def default_of(field: FieldInfo, path: str, derived: set[str], preset: Any) -> str:
    """What a field is when a recipe leaves it out."""
    if configs_in(field.annotation) and not isinstance(field.default, tuple):
        return "see below"
    if path == "data.sources":
        return "**needed**"
    if path in derived and not path.endswith(".kind"):
        return "*derived*"
    if field.is_required():
        return "**needed**"
    value = field.default if preset is None else preset
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return "`{}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
