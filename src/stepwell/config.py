"""Configuration: frozen objects, one flow of values, strict names.

A config class stands beside the class that it builds and derives from `Config`. Plain nested mappings carry what the
user wrote (`defaults < preset < recipe file < --set a.b=c`); `build` turns a mapping into the frozen object, or says
which field is wrong and which right name is nearest. This file leaves out every concrete setting.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from stepwell.errors import ConfigError, UsageError

Tree = dict[str, Any]
"""Nested plain values, as YAML gives them."""


class Config(BaseModel):
    """Base of every setting: frozen, and it refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def stated(self) -> Tree:
        """The fields that are not what they are by default, as plain values; nested settings are whole."""
        values = self.model_dump()
        fields = type(self).model_fields.items()
        return {name: values[name] for name, field in fields if getattr(self, name) != field.default}


ConfigT = TypeVar("ConfigT", bound=Config)


def merge(*layers: Mapping[str, Any]) -> Tree:
    """Lay nested mappings over each other; later layers win leaf by leaf.

    A layer that names another `kind` replaces the whole mapping it stands in, because the fields
    of one choice do not fit another. A list of choices (the steps of a pipeline) may be laid over by a mapping from
    kinds to values: those that are in the list change, others come after them.

    Raises:
        ConfigError: when such a mapping holds something else than values.
    """
    merged: Tree = {}
    for layer in layers:
        for name, value in layer.items():
            below = merged.get(name)
            if isinstance(value, Mapping) and isinstance(below, dict) and not _other_kind(below, value):
                merged[name] = merge(below, value)
            elif isinstance(value, Mapping) and isinstance(below, list | tuple):
                merged[name] = _merge_choices(below, value)
            elif isinstance(value, Mapping):
                merged[name] = merge(value)
            else:
                merged[name] = value
    return merged


def _merge_choices(below: Sequence[Any], above: Mapping[str, Any]) -> list[Tree]:
    """Lay kind -> values over a list of choices."""
    choices = [{"kind": one} if isinstance(one, str) else merge(one) for one in below]
    known = [one.get("kind") for one in choices]
    for kind, values in above.items():
        if not isinstance(values or {}, Mapping):
            raise ConfigError(f"{kind}: wrong value", got=repr(values), wanted="settings such as {enabled: false}")
        changed = {"kind": kind, **(values or {})}
        if kind in known:
            choices[known.index(kind)] = merge(choices[known.index(kind)], changed)
        else:
            choices.append(changed)
    return choices


def _other_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return "kind" in above and "kind" in below and above["kind"] != below["kind"]


def parse_assignments(assignments: Collection[str]) -> Tree:
    """Read `a.b=c` strings; the value is YAML (`true`, `3`, `1e-3`, `[a, b]`, text).

    Raises:
        UsageError: when there is no `=` or the path is empty.
    """
    tree: Tree = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        names = [name for name in path.strip().split(".") if name]
        if not equals or not names:
            raise UsageError("--set: cannot be read", got=assignment, wanted="path.to.field=value")
        value = _scalar(text)
        for name in reversed(names):
            value = {name: value}
        tree = merge(tree, value)
    return tree


def _scalar(text: str) -> Any:
    """One YAML value; `1e-3` is a number here, as people mean it (YAML 1.1 reads it as text)."""
    if re.fullmatch(r"\s*[-+]?\d+(\.\d*)?[eE][-+]?\d+\s*", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested mapping by dotted path; lists are leaves."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            leaves.update(flatten(value, f"{path}."))
        else:
            leaves[path] = value
    return leaves


def build(cls: type[ConfigT], tree: Mapping[str, Any], *, where: str) -> ConfigT:
    """Make the frozen object from plain values.

    Args:
        cls: the config class.
        tree: nested plain values.
        where: the file or flag the values came from; it begins the error message.

    Raises:
        ConfigError: with the path of the first wrong field, what it got and what it wanted.
    """
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        raise _explain(cls, error, where) from None


def check(cls: type[Config], tree: Mapping[str, Any], *, where: str) -> None:
    """Like `build`, for values that are not complete yet: a missing field is no fault.

    Raises:
        ConfigError: as `build`, for anything but an absent field.
    """
    try:
        cls.model_validate(tree)
    except ValidationError as error:
        if any(fault["type"] not in ABSENT for fault in error.errors()):
            raise _explain(cls, error, where, skip=ABSENT) from None


ABSENT = ("missing", "union_tag_not_found")
"""Faults of values that are not there yet: a field, or the `kind` that tells which fields there are."""


def _explain(cls: type[Config], error: ValidationError, where: str, skip: Collection[str] = ()) -> ConfigError:
    faults = [fault for fault in error.errors() if fault["type"] not in skip]
    fault = faults[0]
    path = ".".join(str(part) for part in fault["loc"] if not _is_tag(cls, fault["loc"], part))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if fault["type"] == "extra_forbidden":
        known = _fields_at(cls, fault["loc"][:-1])
        name = str(fault["loc"][-1])
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        do = f"did you mean {nearest[0]}?" if nearest else None
        return ConfigError(
            f"{where}: {path}: unknown field{more}", got=name, wanted=f"one of {', '.join(known)}", do=do
        )
    if fault["type"] == "union_tag_invalid":
        kinds, kind = re.findall(r"'([^']+)'", fault["ctx"]["expected_tags"]), str(fault["ctx"]["tag"])
        nearest = difflib.get_close_matches(kind, kinds, n=1, cutoff=0.7)
        do = f"did you mean {nearest[0]}?" if nearest else None
        return ConfigError(f"{where}: {path}: unknown kind{more}", got=kind, wanted=f"one of {', '.join(kinds)}", do=do)
    if fault["type"] == "value_error" and isinstance(fault["input"], Mapping):  # fields that do not fit each other
        return ConfigError(f"{where}: {path or 'values'}: do not fit together{more}", wanted=_wanted(fault["msg"]))
    got = None if fault["type"] == "missing" else repr(fault["input"])
    return ConfigError(f"{where}: {path or 'recipe'}: wrong value{more}", got=got, wanted=_wanted(fault["msg"]))


def _wanted(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = re.sub(r"^Input should be ", "", message)
    return {"a valid tuple": "a list", "a valid dictionary": "a mapping"}.get(message, message)


def _classes(annotation: Any) -> list[type[BaseModel]]:
    """The config classes inside an annotation: itself, the members of a union, the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, list, tuple) or hasattr(annotation, "__metadata__"):
        return [cls for part in get_args(annotation) for cls in _classes(part)]
    return []


def _candidates(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[type[BaseModel]]:
    """The config classes that stand at a location; tags of unions and list indices choose among them."""
    here: list[type[BaseModel]] = [cls]
    for part in loc:
        below = [
            found
            for candidate in here
            if part in candidate.model_fields
            for found in _classes(candidate.model_fields[str(part)].annotation)
        ]
        tagged = [c for c in here if part in _tags(c)]
        here = below or tagged or here
    return here


def _tags(cls: type[BaseModel]) -> tuple[Any, ...]:
    kind = cls.model_fields.get("kind")
    return get_args(kind.annotation) if kind is not None else ()


def _fields_at(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    return sorted({name for candidate in _candidates(cls, loc) for name in candidate.model_fields})


def _is_tag(cls: type[BaseModel], loc: tuple[Any, ...], part: Any) -> bool:
    at = loc.index(part)
    here = _candidates(cls, loc[:at])
    return bool(at) and isinstance(part, str) and any(part in _tags(c) and part not in c.model_fields for c in here)


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str | float | int) -> float:
    """Read `90`, `90s`, `20m`, `1.5h`, `1h30m` or `2d` as seconds.

    Raises:
        UsageError: when it is not a duration, or not above zero.
    """
    wanted = "a duration such as 90s, 20m, 1h30m or 2d"
    if isinstance(text, bool):
        raise UsageError("budget: cannot be read", got=str(text), wanted=wanted)
    if isinstance(text, (int, float)):
        seconds = float(text)
    else:
        compact = text.strip().lower().replace(" ", "")
        if re.fullmatch(r"\d+(\.\d+)?", compact):
            seconds = float(compact)
        elif re.fullmatch(r"(\d+(\.\d+)?[smhd])+", compact):
            seconds = sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)([smhd])", compact))
        else:
            raise UsageError("budget: cannot be read", got=text, wanted=wanted)
    if not 0 < seconds < float("inf"):
        raise UsageError("budget: must be above zero", got=str(text), wanted=wanted)
    return seconds


def format_duration(seconds: float) -> str:
    """Seconds as people read them: `42 s`, `3 m 20 s`, `1 h 05 m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def counted(number: int, thing: str) -> str:
    """A number with its noun: `1 layer`, `12 layers`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
