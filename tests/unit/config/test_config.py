"""One flow of values, strict names, and errors that say where and what."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from stepwell.config import (
    Config,
    build,
    check,
    flatten,
    format_duration,
    merge,
    parse_assignments,
    parse_duration,
)
from stepwell.errors import ConfigError, UsageError


class Round(Config):
    kind: Literal["round"] = "round"
    radius: Annotated[float, Field(gt=0)]


class Square(Config):
    kind: Literal["square"] = "square"
    side_length: int


class Well(Config):
    name: str = "well"
    shape: Annotated[Round | Square, Field(discriminator="kind")]
    steps: tuple[Square, ...] = ()
    depth: float | None = None


ROUND = {"shape": {"kind": "round", "radius": 1.0}}


def test_a_config_is_frozen_and_keeps_no_infinity():
    well = build(Well, ROUND, where="file")
    with pytest.raises(ValidationError):
        well.name = "other"
    for value in (float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="depth"):
            build(Well, {**ROUND, "depth": value}, where="file")


WRONG = {
    "unknown, near": ({**ROUND, "nme": 1}, ["file: nme: unknown field", "did you mean name?"]),
    "unknown, far": ({**ROUND, "zzz": 1}, ["file: zzz: unknown field", "depth, name, shape, steps"]),
    "unknown, nested": ({"shape": {"kind": "round", "radius": 1, "radios": 2}}, ["shape.radios: ", "mean radius?"]),
    "unknown, of the other kind": (
        {"shape": {"kind": "round", "radius": 1, "side_length": 2}},
        ["file: shape.side_length: unknown field", "kind, radius"],
    ),
    "unknown, in a list": (
        {**ROUND, "steps": [{"side_length": 1}, {"side_length": 1, "side_lenght": 1}]},
        ["file: steps.1.side_lenght: unknown field", "did you mean side_length?"],
    ),
    "type": ({**ROUND, "name": 3}, ["file: name: wrong value", "got: 3", "wanted: a valid string"]),
    "range": ({"shape": {"kind": "round", "radius": -1}}, ["file: shape.radius: ", "got: -1", "greater than 0"]),
    "missing": ({"shape": {"kind": "round"}}, ["file: shape.radius: wrong value"]),
    "kind": ({"shape": {"kind": "star"}}, ["file: shape: unknown kind", "got: star\nwanted: one of round, square"]),
    "kind, near": ({"shape": {"kind": "rond"}}, ["got: rond", "did you mean round?"]),
    "several": ({**ROUND, "name": 3, "depth": "deep"}, ["(and 1 more)"]),
    "not a mapping": ({"shape": 3}, ["file: shape: wrong value"]),
}


@pytest.mark.parametrize(("tree", "words"), WRONG.values(), ids=WRONG)
def test_an_error_says_where_and_what(tree, words):
    with pytest.raises(ConfigError) as caught:
        build(Well, tree, where="file")
    for word in words:
        assert word in str(caught.value)


def test_check_lets_what_is_missing_come_later():
    for tree in ({}, {"shape": {}}, {"shape": {"kind": "round"}}, {"steps": [{}]}):
        check(Well, tree, where="file")
    for tree in ({"nme": 1}, {"shape": {"kind": "round", "radios": 1}}, {"shape": {"kind": "round", "radius": -1}}):
        with pytest.raises(ConfigError):
            check(Well, tree, where="file")


def test_later_layers_win_leaf_by_leaf():
    assert merge({"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"c": 3}}, {"d": [3]}) == {"a": {"b": 1, "c": 3}, "d": [3]}
    assert merge({"a": 1}, {"a": {"b": 2}}, {"e": None}) == {"a": {"b": 2}, "e": None}


def test_another_kind_replaces_the_fields_of_the_first():
    assert merge(ROUND, {"shape": {"kind": "square", "side_length": 2}}) == {
        "shape": {"kind": "square", "side_length": 2}
    }
    assert merge(ROUND, {"shape": {"radius": 2}}) == {"shape": {"kind": "round", "radius": 2}}
    assert merge(ROUND, {"shape": {"kind": "round", "radius": 3}})["shape"]["radius"] == 3


def test_merging_changes_no_layer():
    below, above = {"a": {"b": 1}}, {"a": {"c": {"d": 1}}}
    merged = merge(below, above)
    merged["a"]["c"]["d"] = 5
    merged["a"]["b"] = 5
    assert below == {"a": {"b": 1}}
    assert above == {"a": {"c": {"d": 1}}}


def test_flatten_is_the_reverse_of_assignments():
    tree = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": "text"}
    leaves = flatten(tree)
    assert leaves == {"a.b": 1, "a.c.d": [1, 2], "e": "text"}
    assert parse_assignments([f"{path}={value}" for path, value in leaves.items()]) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("2E5", 200000.0),
        ("-1.5e+2", -150.0),
        ("true", True),
        ("null", None),
        ("[a, 2]", ["a", 2]),
        ("two words", "two words"),
        ("a=b", "a=b"),
        ("", None),
        ("[unclosed", "[unclosed"),
    ],
)
def test_assigned_values(text, value):
    assert parse_assignments([f"a.b={text}"]) == {"a": {"b": value}}


@pytest.mark.parametrize("assignment", ["", "a", "=3", " =3", ".=3"])
def test_an_assignment_that_cannot_be_read(assignment):
    with pytest.raises(UsageError, match=r"path\.to\.field=value"):
        parse_assignments([assignment])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("20m", 1200),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        (" 5 M ", 300),
        (0.5, 0.5),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-5m", "0", "0s", "5 min", "1e3", 0, -1, float("nan"), float("inf"), True]
)
def test_what_is_no_duration(text):
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 m 00 s"), (200, "3 m 20 s"), (3900, "1 h 05 m")]
)
def test_durations_in_words(seconds, words):
    assert format_duration(seconds) == words


def test_a_list_of_choices_is_changed_by_kind() -> None:
    below = {"steps": ["clean", {"kind": "quality", "min_words": 20}]}
    above = parse_assignments(["steps.quality.max_words=9", "steps.clean.enabled=false", "steps.protect.enabled=true"])
    assert merge(below, above)["steps"] == [
        {"kind": "clean", "enabled": False},
        {"kind": "quality", "min_words": 20, "max_words": 9},
        {"kind": "protect", "enabled": True},
    ]
    assert below["steps"][0] == "clean"
    assert merge(below, {"steps": ["clean"]})["steps"] == ["clean"]
    with pytest.raises(ConfigError, match=r"quality: wrong value\n.*got:.*3"):
        merge(below, {"steps": {"quality": 3}})
