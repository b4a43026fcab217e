"""What is refused of a request before any model sees it, and what the refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from stepwell.inference import SamplingParams
from stepwell.serving.faults import Refusal
from stepwell.serving.requests import SEARCHES, Drawing, params_of, read
from stepwell.serving.requests_openai import ChatRequest, CompletionRequest, EmbeddingRequest
from stepwell.serving.requests_own import RerankRequest, ScoreRequest, TaskRequest, TokenizeRequest
from stepwell.serving.requests_responses import ResponseRequest

SAID = [{"role": "user", "content": "Hello"}]


def refused(kind: type, body: dict[str, Any] | bytes) -> dict[str, Any]:
    """What a client is told of a request, whose four fields are all there."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refusal) as caught:
        asked = read(sent, kind)
        params_of(asked.drawing(), {})  # type: ignore[attr-defined]
    assert caught.value.status == 400
    error = caught.value.body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return dict(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", [1]),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", 0),
        ("top_k", 1.5),
        ("min_p", 2),
        ("n", 0),
        ("n", 129),
        ("n", "2"),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("stop", [""]),
        ("stop", [1]),
        ("seed", -1),
        ("seed", 1.5),
        ("stream", "yes"),
        ("stream", 1),
        ("frequency_penalty", 2.1),
        ("presence_penalty", -2.1),
        ("repetition_penalty", 0),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"one": 1}),
        ("logit_bias", [1]),
        ("logprobs", 21),
        ("logprobs", True),
        ("best_of", 0),
        ("stop_token_ids", [-1]),
        ("mirostat", 1),
        ("model", ""),
        ("model", 3),
        ("prompt", []),
        ("prompt", ["a", 1]),
        ("prompt", [[]][0]),
        ("prompt", [-1]),
        ("prompt", {"a": 1}),
        ("json_schema", "{"),
        ("choice", [""]),
        ("stream_options", {"include_usage": 1}),
        ("num_beams", 4),
        ("guidance_scale", 1.5),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    error = refused(CompletionRequest, {"prompt": "a", field: value})
    assert field in f"{error['param']} {error['message']}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_wherever_they_stand(number: str) -> None:
    refused(CompletionRequest, f'{{"prompt": "a", "temperature": {number}}}'.encode())
    if number != "1e999":  # deep inside, in what nobody reads
        refused(CompletionRequest, f'{{"prompt": "a", "json_schema": {{"minimum": {number}}}}}'.encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b'{"prompt": "\\ud800"}', b"[" * 100_000, b'{"prompt":' * 5000],
    ids=["empty", "torn", "null", "list", "text", "no utf-8", "half a character", "deep", "deep mappings"],
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    refused(CompletionRequest, body)


def test_null_is_the_default_for_every_field() -> None:
    nothing = dict.fromkeys(CompletionRequest.model_fields)
    assert read(json.dumps(nothing).encode(), CompletionRequest) == CompletionRequest()
    chat = read(json.dumps({**dict.fromkeys(ChatRequest.model_fields), "messages": SAID}).encode(), ChatRequest)
    assert chat == ChatRequest(messages=chat.messages)
    assert params_of(chat.drawing(), {"temperature": 0.5}).temperature == 0.5


def test_unknown_fields_are_passed_over_since_clients_send_many() -> None:
    body = {"messages": SAID, "store": True, "service_tier": "auto", "reasoning_effort": "low", "foo": {"bar": [1]}}
    assert read(json.dumps(body).encode(), ChatRequest).messages[0].content == "Hello"


def test_what_is_chosen_reaches_the_sampling_parameters() -> None:
    chosen = {
        "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "stop": "x", "seed": 7, "frequency_penalty": 1,
        "presence_penalty": -1, "repetition_penalty": 1.1, "logit_bias": {"5": -100, "6": 1.5}, "bad_words": ["y"],
        "min_tokens": 2, "stop_token_ids": [3], "ignore_eos": True, "no_repeat_ngram_size": 3, "typical_p": 0.9,
        "epsilon_cutoff": 0.01, "eta_cutoff": 0.02,
    }  # fmt: skip
    params = params_of(read(json.dumps(chosen).encode(), Drawing).drawing(), {})
    told = params.model_dump()
    for name, value in chosen.items():
        wanted = {"stop": ("x",), "bad_words": ("y",), "stop_token_ids": (3,)}.get(name, value)
        if name == "logit_bias":
            wanted = ((5, -100.0), (6, 1.5))
        assert told[name] == wanted, name


def test_what_was_not_chosen_is_as_the_run_found_best() -> None:
    params = params_of({"temperature": 0.2}, {"temperature": 0.9, "top_p": 0.8, "max_tokens": 50})
    assert (params.temperature, params.top_p, params.max_tokens) == (0.2, 0.8, 50)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": "Hello"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "wizard", "content": "a"}]},
        {"messages": [{"content": "a"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": SAID, "top_logprobs": 3},
        {"messages": SAID, "max_tokens": 0},
        {"messages": SAID, "tool_choice": "required"},
        {"messages": SAID, "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": SAID, "tools": [{"type": "function", "function": {"name": "two words"}}]},
        {"messages": SAID, "tools": [{"type": "browser"}]},
        {"messages": SAID, "response_format": {"type": "json_schema"}},
        {"messages": SAID, "response_format": {"type": "xml"}},
        {},
    ],
    ids=str,
)
def test_a_conversation_that_is_none_is_refused(body: dict[str, Any]) -> None:
    refused(ChatRequest, body)


def test_messages_become_what_templates_read() -> None:
    body = {"messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "no json"}}]},
    ]}  # fmt: skip
    first, called, answered, odd = (one.plain() for one in read(json.dumps(body).encode(), ChatRequest).messages)
    assert first == {"role": "system", "content": "Be kind."}
    assert called["content"] == ""
    assert called["tool_calls"] == [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]
    assert answered == {"role": "tool", "content": "2", "tool_call_id": "c1"}
    assert odd["tool_calls"][0]["function"]["arguments"] == "no json"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EmbeddingRequest, {}),
        (EmbeddingRequest, {"input": []}),
        (EmbeddingRequest, {"input": ["a"] * 2049}),
        (EmbeddingRequest, {"input": "a", "encoding_format": "int8"}),
        (EmbeddingRequest, {"input": "a", "dimensions": 0}),
        (TaskRequest, {"input": []}),
        (TaskRequest, {"input": [1]}),
        (TokenizeRequest, {}),
        (TokenizeRequest, {"prompt": "a", "messages": SAID}),
        (ScoreRequest, {}),
        (ScoreRequest, {"input": ["a", ""]}),
        (ScoreRequest, {"input": "a", "text_1": "b", "text_2": "c"}),
        (ScoreRequest, {"text_1": "b"}),
        (ScoreRequest, {"text_1": ["a", "b"], "text_2": ["a"]}),
        (RerankRequest, {"query": "a", "documents": []}),
        (RerankRequest, {"query": "a", "documents": ["a"], "top_n": 0}),
        (ResponseRequest, {"input": []}),
        (ResponseRequest, {"input": "a", "previous_response_id": "resp_1"}),
        (ResponseRequest, {"input": "a", "tools": [{"type": "web_search"}]}),
        (ResponseRequest, {"input": "a", "text": {"format": {"type": "json_schema"}}}),
    ],
    ids=str,
)
def test_other_requests_are_checked_too(kind: type, body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        read(json.dumps(body).encode(), kind)
    assert caught.value.status == 400
    assert set(caught.value.body["error"]) == {"message", "type", "param", "code"}


def test_ranges_are_those_of_the_sampling_parameters() -> None:
    def bounds(kind: type[BaseModel]) -> dict[str, Any]:
        """Of each field the numbers that bound it, wherever they stand in its schema."""
        fields = kind.model_json_schema()["properties"]
        return {
            name: sorted(
                (key, value)
                for choice in field.get("anyOf", [field])
                for key, value in choice.items()
                if key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum")
            )
            for name, field in fields.items()
        }

    ours, theirs = bounds(Drawing), bounds(SamplingParams)
    shared = set(ours) & set(theirs) - {"n"}
    assert len(shared) > 20
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_everything_that_can_be_drawn_by_can_be_asked_for() -> None:
    """What is not here stands in a request of its own kind, or is a search that no stream can show."""
    elsewhere = {"max_tokens", "best_of", "logprobs"}
    assert set(SamplingParams.model_fields) - set(Drawing.model_fields) - elsewhere == set(SEARCHES)
