"""What a person may ask of a completion."""

from __future__ import annotations

import pytest

from stepwell.config import build
from stepwell.errors import ConfigError
from stepwell.inference import SamplingParams


def test_null_is_the_default():
    nothing_chosen = dict.fromkeys(SamplingParams.model_fields)
    assert build(SamplingParams, nothing_chosen, where="request") == SamplingParams()


def test_one_stop_text_needs_no_list():
    assert build(SamplingParams, {"stop": "\n"}, where="request").stop == ("\n",)
    assert build(SamplingParams, {"stop": ["a", "b"]}, where="request").stop == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", 0),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", float("nan")),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("repetition_penalty", float("inf")),
        ("seed", -1),
        ("n", 0),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", 3),
    ],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(ConfigError, match=name):
        build(SamplingParams, {name: value}, where="request")


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean temperature"):
        build(SamplingParams, {"temprature": 1}, where="request")


@pytest.mark.parametrize("values", [{"top_p": 1}, {"min_p": 0}, {"min_p": 1}, {"temperature": 0}, {"seed": 2**70}])
def test_the_ends_of_the_ranges_are_allowed(values):
    build(SamplingParams, values, where="request")
