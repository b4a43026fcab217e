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
        ("min_tokens", -1),
        ("typical_p", 0),
        ("typical_p", 1.1),
        ("epsilon_cutoff", 1),
        ("epsilon_cutoff", -1e-9),
        ("eta_cutoff", float("nan")),
        ("mirostat", 1),
        ("mirostat", True),
        ("mirostat_tau", 0),
        ("mirostat_eta", 0),
        ("mirostat_eta", float("inf")),
        ("frequency_penalty", 2.1),
        ("frequency_penalty", float("nan")),
        ("presence_penalty", -2.1),
        ("no_repeat_ngram_size", 0),
        ("logit_bias", {5: 101}),
        ("logit_bias", {5: float("nan")}),
        ("logit_bias", {-1: 1}),
        ("logit_bias", {"five": 1}),
        ("logit_bias", {5: 1, "5": 2}),
        ("logit_bias", 3),
        ("bad_words", ["a", ""]),
        ("stop_token_ids", [-1]),
        ("ignore_eos", "perhaps"),
        ("logprobs", 21),
        ("logprobs", -1),
        ("best_of", 0),
        ("num_beams", 0),
        ("length_penalty", float("inf")),
        ("early_stopping", "sometimes"),
        ("diversity_penalty", -1),
        ("penalty_alpha", 1.1),
        ("guidance_scale", float("nan")),
        ("guidance_scale", -1),
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


def test_a_bias_is_read_as_json_writes_it():
    params = build(SamplingParams, {"logit_bias": {"50": -100, "7": 1.5}}, where="request")
    assert params.logit_bias == ((50, -100.0), (7, 1.5))
    assert SamplingParams(**params.model_dump()) == params
    assert hash(params) == hash(SamplingParams(**params.model_dump()))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n": 3, "best_of": 2}, "best_of: at least n"),
        ({"max_tokens": 3, "min_tokens": 4}, "min_tokens: at most max_tokens"),
        ({"length_penalty": 2}, "length_penalty: only with num_beams"),
        ({"early_stopping": True}, "early_stopping: only with num_beams"),
        ({"num_beams": 2, "top_p": 0.5, "stop": "a"}, "knows nothing of top_p, stop"),
        ({"num_beams": 2, "regex": "a"}, "knows nothing of regex"),
        ({"num_beams": 2, "penalty_alpha": 0.5, "top_k": 4}, "knows nothing of top_k, penalty_alpha"),
        ({"num_beams": 2, "n": 3}, "n: at most num_beams"),
        ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1}, "a divisor of num_beams"),
        ({"num_beams": 4, "num_beam_groups": 2}, "one needs the other"),
        ({"num_beams": 4, "diversity_penalty": 1.0}, "one needs the other"),
        ({"penalty_alpha": 0.5}, "needs top_k"),
        ({"penalty_alpha": 0.5, "top_k": 4, "top_p": 0.9, "n": 2}, "knows nothing of top_p, n"),
        ({"negative_prompt": "x"}, "negative_prompt: only with guidance_scale"),
        ({"mirostat": 2, "top_p": 0.9, "min_p": 0.1}, "not with top_p, min_p"),
    ],
)
def test_what_does_not_fit_together_is_said_in_words(values, words):
    with pytest.raises(ConfigError, match=words):
        build(SamplingParams, values, where="request")


ENDS = [
    {"top_p": 1}, {"min_p": 0}, {"min_p": 1}, {"temperature": 0}, {"seed": 2**70}, {"typical_p": 1},
    {"epsilon_cutoff": 0}, {"frequency_penalty": -2, "presence_penalty": 2}, {"logprobs": 20}, {"n": 2, "best_of": 2},
    {"logit_bias": {0: 100, 1: -100}}, {"min_tokens": 5, "max_tokens": 5}, {"mirostat": 0, "top_k": 3},
]  # fmt: skip


@pytest.mark.parametrize("values", ENDS)
def test_the_ends_of_the_ranges_are_allowed(values):
    build(SamplingParams, values, where="request")
