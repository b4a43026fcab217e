"""The server as its clients see it: OpenAI's own of today and of 2023, and plain HTTP; with tiny models on loopback."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from served_models import WINDOW, Running, make_models, serving

from stepwell import api
from stepwell.checkpoints import load_checkpoint
from stepwell.inference import SamplingParams, generate
from stepwell.serving import ServeConfig
from stepwell.serving.gate import Keys
from stepwell.tokenizers import conversational

SAID = [{"role": "user", "content": "Who goes there?"}]
FIELDS = {"message", "type", "param", "code"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def running(paths: dict[str, Path]) -> Iterator[Running]:
    with serving(paths) as found:
        yield found


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30) as made:
        yield made


def alone(path: Path, prompt: Any, **params: Any) -> list[Any]:
    """What the library makes of a prompt, without a server."""
    loaded = load_checkpoint(path)
    tokenizer = loaded.tokenizer if isinstance(prompt, str) else conversational(loaded.tokenizer)
    return generate(loaded.model, tokenizer, prompt, SamplingParams(**params))


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, in OpenAI's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == FIELDS
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    return dict(error)


def test_models_are_told(client: openai.OpenAI, running: Running) -> None:
    told = {one.id: one.model_dump() for one in client.models.list()}
    assert set(told) == set(running.server.models)
    assert told["writer"]["tasks"] == ["complete", "embed"]
    assert told["talker"]["has_chat_template"] is True
    assert "chat" in told["talker"]["tasks"]
    assert "classify" in told["labels"]["tasks"]
    assert told["tags"]["max_seq_len"] == WINDOW
    assert client.models.retrieve("labels").owned_by == "stepwell"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_completion_is_what_the_library_writes(client: openai.OpenAI, paths: dict[str, Path]) -> None:
    params = {"max_tokens": 12, "temperature": 0.8, "seed": 3, "n": 2}
    wanted = alone(paths["writer"], "By the river", **params)
    found = client.completions.create(model="writer", prompt="By the river", **params)
    assert [one.text for one in found.choices] == [one.text for one in wanted]
    assert [one.finish_reason for one in found.choices] == [one.finish_reason for one in wanted]
    assert [one.index for one in found.choices] == [0, 1]
    assert found.object == "text_completion"
    assert found.usage is not None
    assert found.usage.prompt_tokens == wanted[0].prompt_tokens
    assert found.usage.completion_tokens == sum(len(one.token_ids) for one in wanted)
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_a_model_that_turns_one_text_into_another_is_asked_in_the_same_way(
    client: openai.OpenAI, http: httpx.Client, paths: dict[str, Path]
) -> None:
    params = {"max_tokens": 12, "temperature": 0.8, "seed": 3}
    wanted = alone(paths["rewriter"], "By the river", **params)
    found = client.completions.create(model="rewriter", prompt="By the river", **params)
    assert found.choices[0].text == wanted[0].text
    assert client.completions.create(model="rewriter", prompt="a" * 47, max_tokens=48).usage  # the window is of each
    asked = {"model": "rewriter", "prompt": "a", "echo": True, "logprobs": 1}
    assert refused(http.post("/v1/completions", json=asked), 400)["param"] == "echo"
    refused(http.post("/v1/embeddings", json={"model": "rewriter", "input": "a"}), 400)
    refused(http.post("/score", json={"model": "rewriter", "input": "a"}), 400)


def test_the_default_is_sixteen_tokens_as_openai_has_it(client: openai.OpenAI) -> None:
    found = client.completions.create(model="writer", prompt="a", extra_body={"ignore_eos": True})
    assert found.usage is not None
    assert found.usage.completion_tokens == 16


@pytest.mark.parametrize("model", ["writer", "recurrent", "talker"])
def test_a_stream_says_what_the_whole_says(client: openai.OpenAI, model: str) -> None:
    asked: dict[str, Any] = {
        "model": model, "prompt": ["One", "Two two"], "n": 2, "max_tokens": 9, "seed": 5, "temperature": 1.2,
        "logprobs": 2, "echo": True,
    }  # fmt: skip
    whole = client.completions.create(**asked)
    texts, tokens, reasons = dict.fromkeys(range(4), ""), {n: [] for n in range(4)}, {}
    usage = None
    for piece in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = piece.usage or usage
        for one in piece.choices:
            texts[one.index] += one.text
            tokens[one.index] += [] if one.logprobs is None else list(zip(
                one.logprobs.tokens, one.logprobs.token_logprobs, one.logprobs.text_offset, strict=True))  # fmt: skip
            if one.finish_reason:
                reasons[one.index] = one.finish_reason
    assert usage == whole.usage
    for one in whole.choices:
        assert texts[one.index] == one.text
        assert one.text.startswith(("One", "Two two")[one.index // 2])
        assert reasons[one.index] == one.finish_reason
        assert one.logprobs is not None
        columns = one.logprobs.tokens, one.logprobs.token_logprobs, one.logprobs.text_offset
        assert tokens[one.index] == list(zip(*columns, strict=True))
        assert one.logprobs.text_offset[0] == 0


def test_how_likely_a_prompt_is(http: httpx.Client, paths: dict[str, Path]) -> None:
    """What evaluation programs ask: nothing written, the prompt echoed with its log-probabilities."""
    asked = {"model": "writer", "prompt": "The miller", "max_tokens": 0, "echo": True, "logprobs": 1}
    (choice,) = http.post("/v1/completions", json=asked).json()["choices"]
    told = api.score(paths["writer"], "The miller")
    assert choice["text"] == "The miller"
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"]["token_logprobs"] == pytest.approx([t["logprob"] for t in told["tokens"]], abs=1e-4)
    assert "".join(choice["logprobs"]["tokens"]) == "The miller"
    columns = (choice["logprobs"][name] for name in ("tokens", "token_logprobs", "top_logprobs"))
    for token, logprob, top in zip(*columns, strict=True):  # the likeliest one, and the token itself
        assert top[token] == logprob
        assert len(top) == (1 if max(top.values()) == logprob else 2)


def test_alternatives_are_the_likeliest_tokens(client: openai.OpenAI) -> None:
    found = client.completions.create(model="writer", prompt="ab", max_tokens=6, temperature=0, logprobs=3)
    rows = found.choices[0].logprobs
    assert rows is not None
    assert rows.top_logprobs is not None
    for logprob, top in zip(rows.token_logprobs or (), rows.top_logprobs, strict=True):
        assert len(top) == 3
        assert max(top.values()) == logprob
    assert rows.text_offset is not None
    assert rows.text_offset[0] == len("ab")


def test_prompts_may_be_tokens(client: openai.OpenAI, http: httpx.Client) -> None:
    ids = http.post("/tokenize", json={"model": "writer", "prompt": "Hello 世界"}).json()["tokens"]
    asked: dict[str, Any] = {"model": "writer", "max_tokens": 6, "seed": 1}
    by_text = client.completions.create(prompt="Hello 世界", **asked).choices[0].text
    assert client.completions.create(prompt=ids, **asked).choices[0].text == by_text
    assert client.completions.create(prompt=[ids], **asked).choices[0].text == by_text
    assert refused(http.post("/v1/completions", json={**asked, "prompt": [999]}), 400)["param"] == "prompt"


def test_the_best_of_several_is_given(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "writer", "prompt": "ab", "max_tokens": 6, "seed": 2, "logprobs": 0}
    every = client.completions.create(**asked, n=5).choices
    best = client.completions.create(**asked, n=2, best_of=5)

    def mean(choice: Any) -> float:
        return float(np.mean(choice.logprobs.token_logprobs))

    wanted = sorted(every, key=mean, reverse=True)[:2]
    assert [one.text for one in best.choices] == [one.text for one in wanted]
    assert [one.index for one in best.choices] == [0, 1]


def test_stop_texts_end_an_answer_whole_and_streamed(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "writer", "prompt": "ab", "max_tokens": 40, "seed": 4}
    free = client.completions.create(**asked).choices[0].text
    stop = free[5:7]
    whole = client.completions.create(**asked, stop=stop).choices[0]
    assert whole.text == free[: free.index(stop)]
    assert whole.finish_reason == "stop"
    pieces = [piece.choices[0] for piece in client.completions.create(**asked, stop=[stop], stream=True)]
    assert "".join(one.text for one in pieces) == whole.text
    assert pieces[-1].finish_reason == "stop"


def test_a_chat_is_what_the_library_answers(client: openai.OpenAI, paths: dict[str, Path]) -> None:
    params: dict[str, Any] = {"max_tokens": 15, "temperature": 0.7, "seed": 8}
    wanted = api.predict(paths["talker"], {"messages": SAID}, params)[0][0]
    found = client.chat.completions.create(model="talker", messages=SAID, **params)  # type: ignore[call-overload]
    assert found.choices[0].message.content == wanted.text
    assert found.choices[0].message.role == "assistant"
    assert found.choices[0].finish_reason == wanted.finish_reason
    assert found.usage.prompt_tokens == wanted.prompt_tokens
    pieces = list(client.chat.completions.create(model="talker", messages=SAID, stream=True, **params))  # type: ignore[call-overload]
    assert "".join(one.choices[0].delta.content or "" for one in pieces) == wanted.text
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [one.choices[0].finish_reason for one in pieces if one.choices[0].finish_reason] == [wanted.finish_reason]


def test_a_chat_goes_on_to_the_end_of_the_window_when_nobody_says_otherwise(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        model="talker", messages=SAID, seed=1, extra_body={"ignore_eos": True, "max_tokens": None}  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.usage is not None
    assert found.usage.total_tokens == WINDOW
    assert found.choices[0].finish_reason == "length"


def test_probabilities_of_a_chat(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        model="talker", messages=SAID, max_tokens=5, seed=1, logprobs=True, top_logprobs=2, temperature=0  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.choices[0].logprobs is not None
    rows = found.choices[0].logprobs.content or []
    assert len(rows) in (4, 5)
    for row in rows:
        assert len(row.top_logprobs) == 2
        assert row.top_logprobs[0].logprob == row.logprob
    said = b"".join(bytes(row.bytes or ()) for row in rows).decode(errors="replace")
    assert said.startswith((found.choices[0].message.content or "").rstrip("\ufffd"))


@pytest.fixture
def no_blanks(http: httpx.Client) -> dict[str, int]:
    """A bias against what may stand between the parts of JSON: a model that has learned nothing never stops at it."""
    blanks = {"model": "talker", "prompt": " \n\t\r", "add_special_tokens": False}
    return {str(one): -100 for one in http.post("/tokenize", json=blanks).json()["tokens"]}


def test_an_answer_of_a_schema(client: openai.OpenAI, no_blanks: dict[str, int]) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"deep": {"type": "boolean"}, "where": {"enum": ["hill", "vale"]}},
        "required": ["deep", "where"],
        "additionalProperties": False,
    }
    found = client.chat.completions.create(
        model="talker",
        messages=SAID,  # type: ignore[arg-type]
        max_tokens=120,
        seed=1,
        response_format={"type": "json_schema", "json_schema": {"name": "well", "schema": schema}},
        logit_bias=no_blanks,
    )
    said = json.loads(found.choices[0].message.content or "")
    assert set(said) == {"deep", "where"}
    assert said["where"] in ("hill", "vale")


def test_a_tool_that_must_be_used_is_called(
    client: openai.OpenAI, running: Running, http: httpx.Client, no_blanks: dict[str, int]
) -> None:
    pytest.importorskip("llguidance")
    tool = {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {
                "type": "object",
                "properties": {"up": {"type": "boolean"}},
                "required": ["up"],
                "additionalProperties": False,
            },
        },
    }
    asked: dict[str, Any] = {
        "model": "talker", "messages": SAID, "tools": [tool], "max_tokens": 120, "seed": 2,
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "logit_bias": no_blanks,
    }  # fmt: skip
    assert refused(http.post("/v1/chat/completions", json=asked), 400)["param"] == "tools"  # its template knows none
    served = running.server.models["talker"]
    roles = served.tokenizer.roles
    knowing = roles.model_copy(update={"chat_template": "{{ tools | length }}" + str(roles.chat_template)})
    before, served.tokenizer = served.tokenizer, served.tokenizer.with_roles(knowing)
    try:
        found = client.chat.completions.create(**asked)
        (call,) = found.choices[0].message.tool_calls or ()
        assert call.function.name == "look"
        assert set(json.loads(call.function.arguments)) == {"up"}
        assert found.choices[0].finish_reason == "tool_calls"
        assert found.choices[0].message.content is None
        with client.chat.completions.stream(**{key: asked[key] for key in asked}) as stream:
            final = stream.get_final_completion()
        (streamed,) = final.choices[0].message.tool_calls or ()
        assert streamed.function.arguments == call.function.arguments
    finally:
        served.tokenizer = before


@pytest.mark.slow
def test_responses_whole_and_streamed(client: openai.OpenAI, paths: dict[str, Path]) -> None:
    wanted = alone(paths["talker"], SAID, max_tokens=200, seed=6)[0].text
    asked: dict[str, Any] = {"model": "talker", "max_output_tokens": 200, "extra_body": {"seed": 6}}
    whole = client.responses.create(input="Who goes there?", **asked)
    assert whole.output_text == client.responses.create(input=SAID, **asked).output_text == wanted
    events = list(client.responses.create(input=SAID, stream=True, **asked))
    assert [one.sequence_number for one in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == wanted
    assert events[-1].response.output_text == wanted
    cut = client.responses.create(input=SAID, model="talker", max_output_tokens=2, extra_body={"ignore_eos": True})
    assert cut.status == "incomplete"
    assert cut.usage is not None
    assert cut.usage.output_tokens == 2


def test_vectors_are_those_of_the_library(client: openai.OpenAI, http: httpx.Client, paths: dict[str, Path]) -> None:
    texts = ["one", "another text", "第三"]
    wanted = api.embed(paths["vectors"], texts)
    found = client.embeddings.create(model="vectors", input=texts)  # the client asks for base64
    np.testing.assert_allclose([one.embedding for one in found.data], wanted, atol=1e-6)
    plain = http.post("/v1/embeddings", json={"model": "vectors", "input": texts}).json()
    np.testing.assert_allclose([one["embedding"] for one in plain["data"]], wanted, atol=1e-6)
    packed = http.post("/v1/embeddings", json={"model": "vectors", "input": "one", "encoding_format": "base64"}).json()
    bytes_of = base64.b64decode(packed["data"][0]["embedding"])
    np.testing.assert_allclose(np.frombuffer(bytes_of, "<f4"), wanted[0], atol=1e-6)
    assert found.usage.prompt_tokens == sum(len(text.encode()) for text in texts)
    assert refused(http.post("/v1/embeddings", json={"model": "vectors", "input": "a", "dimensions": 5}), 400)


def test_labels_tags_and_translations_are_those_of_the_library(http: httpx.Client, paths: dict[str, Path]) -> None:
    texts = ["The well in Paris is deep.", "Nothing.", "在巴黎"]
    labels = http.post("/classify", json={"model": "labels", "input": texts}).json()["data"]
    for told, (answer,) in zip(labels, api.predict(paths["labels"], texts), strict=True):
        assert told["label"] == answer.text == max(told["scores"], key=told["scores"].get)
        assert told["scores"] == pytest.approx(dict(answer.probabilities), abs=1e-5)
    tags = http.post("/tag", json={"model": "tags", "input": texts}).json()["data"]
    for told, (answer,), text in zip(tags, api.predict(paths["tags"], texts), texts, strict=True):
        assert [(one["start"], one["end"], one["label"]) for one in told["spans"]] == [
            (one["start"], one["end"], one["type"]) for one in answer.found
        ]
        assert all(text[one["start"] : one["end"]] == one["text"] for one in told["spans"])
    texts = texts[:2]
    written = http.post("/translate", json={"model": "translator", "input": texts}).json()["data"]
    wanted = api.predict(paths["translator"], texts)
    assert [one["text"] for one in written] == [one[0].text for one in wanted]
    by_task = http.post("/answer", json={"model": "labels", "input": [{"text": texts[0]}]}).json()["data"]
    assert by_task[0]["text"] == labels[0]["label"]


def test_a_model_is_not_asked_for_what_it_was_not_made_for(http: httpx.Client) -> None:
    for path, model, body in (
        ("/classify", "writer", {"input": "a"}),
        ("/tag", "labels", {"input": "a"}),
        ("/translate", "tags", {"input": "a"}),
        ("/answer", "writer", {"input": "a"}),
        ("/v1/completions", "labels", {"prompt": "a"}),
        ("/v1/chat/completions", "writer", {"messages": SAID}),
        ("/v1/chat/completions", "vectors", {"messages": SAID}),
        ("/v1/responses", "writer", {"input": "a"}),
        ("/v1/completions", "writer", {"prompt": "a", "suffix": "b"}),
    ):
        error = refused(http.post(path, json={"model": model, **body}), 400)
        assert error["code"] in ("unsupported_model", "unsupported_parameter"), path
        assert error["param"] in ("model", "suffix")


def test_tokens_scores_and_rankings(http: httpx.Client, paths: dict[str, Path]) -> None:
    text = "Hello 世界"
    cut = http.post("/tokenize", json={"model": "writer", "prompt": text, "return_token_strs": True}).json()
    assert cut["count"] == len(cut["tokens"]) == len(cut["token_strs"])
    assert http.post("/detokenize", json={"model": "writer", "tokens": cut["tokens"]}).json()["prompt"] == text
    assert refused(http.post("/detokenize", json={"model": "writer", "tokens": [9999]}), 400)["param"] == "tokens"
    bare = http.post("/tokenize", json={"model": "writer", "prompt": text, "add_special_tokens": False}).json()
    assert bare["count"] == len(text.encode())
    talk = http.post("/tokenize", json={"model": "talker", "messages": SAID}).json()
    assert talk["count"] > len(SAID[0]["content"])
    (scored,) = http.post("/score", json={"model": "writer", "input": text}).json()["data"]
    told = api.score(paths["writer"], text)
    assert scored["logprob"] == pytest.approx(told["logprob"], abs=1e-3)
    assert scored["perplexity"] == pytest.approx(told["perplexity"], rel=1e-3)
    texts = ["a stone", "cats", "a cat"]
    ranked = http.post("/rerank", json={"model": "vectors", "query": "cats", "documents": texts, "top_n": 2}).json()
    assert ranked["results"][0]["index"] == 1
    assert len(ranked["results"]) == 2
    likeness = http.post("/score", json={"model": "vectors", "text_1": "cats", "text_2": texts}).json()["data"]
    assert [one["score"] for one in likeness] == pytest.approx(
        (api.embed(paths["vectors"], texts) @ api.embed(paths["vectors"], "cats")[0]).tolist(), abs=1e-5
    )


def test_what_does_not_fit_is_refused_as_openai_does(client: openai.OpenAI) -> None:
    for asked in (
        {"prompt": "a" * (WINDOW + 9)},
        {"prompt": "a" * 100_000},
        {"prompt": "a" * 200, "max_tokens": 100},
        {"prompt": "a" * (WINDOW - 1)},
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model="writer", **asked)  # type: ignore[call-overload]
        assert caught.value.code == "context_length_exceeded"
        assert set(caught.value.body) == FIELDS  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="talker", messages=[{"role": "user", "content": "a" * 300}])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="writer", prompt="a", temperature=-1)
    with pytest.raises(openai.NotFoundError) as absent:
        client.completions.create(model="nobody", prompt="a")
    assert (absent.value.code, absent.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="which one"):
        client.completions.create(prompt="a", model=None)  # type: ignore[call-overload]


def test_paths_and_methods_that_are_not_there(http: httpx.Client) -> None:
    refused(http.get("/nowhere"), 404)
    refused(http.post("/nowhere", json={}), 404)
    refused(http.get("/v1/completions"), 405)
    refused(http.get("/v1/models/nobody"), 404)
    refused(http.get("/v1/engines/nobody"), 404)
    refused(http.get("/../../etc/passwd"), 404)
    refused(http.get("/%2e%2e/app.py"), 404)


def test_the_old_paths_name_the_model(http: httpx.Client) -> None:
    asked = {"prompt": "ab", "max_tokens": 5, "seed": 1}
    old = http.post("/v1/engines/writer/completions", json=asked).json()
    new = http.post("/v1/completions", json={**asked, "model": "writer"}).json()
    assert old["choices"] == new["choices"]
    assert {one["id"] for one in http.get("/v1/engines").json()["data"]} == {
        one["id"] for one in http.get("/v1/models").json()["data"]
    }
    refused(http.post("/v1/engines/nobody/completions", json=asked), 404)


OLD_PROGRAM = """
import json, sys, openai
assert openai.__version__.startswith("0.28"), openai.__version__
openai.api_base, openai.api_key = sys.argv[1] + "/v1", "any"
told = {}
r = openai.Completion.create(engine="writer", prompt="By the river", max_tokens=100, n=1, stop=None, temperature=0.5)
told["text"], told["usage"] = r.choices[0].text, r["usage"]["total_tokens"]
greedy = {"model": "writer", "prompt": "By the river", "max_tokens": 9, "temperature": 0}
told["streamed"] = "".join(piece["choices"][0]["text"] for piece in openai.Completion.create(stream=True, **greedy))
told["greedy"] = openai.Completion.create(**greedy)["choices"][0]["text"]
r = openai.ChatCompletion.create(model="talker", messages=[{"role": "user", "content": "Hi"}], max_tokens=5)
told["role"] = r.choices[0].message.role
told["dimensions"] = len(openai.Embedding.create(model="vectors", input=["a"])["data"][0]["embedding"])
told["models"] = [one.id for one in openai.Model.list()["data"]]
told["engines"] = [one.id for one in openai.Engine.list()["data"]]
for name, asked in {"absent": {"model": "nobody"}, "wrong": {"model": "writer", "temperature": -1}}.items():
    try:
        openai.Completion.create(prompt="a", **asked)
    except openai.error.InvalidRequestError as error:
        told[name] = [error.http_status, error.code, error.param]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_the_client_of_2023_works_unchanged(running: Running, project: Path) -> None:
    """`make old-client` puts openai 0.28 into a folder of its own, which STEPWELL_OLD_CLIENT may name elsewhere."""
    folder = Path(os.environ.get("STEPWELL_OLD_CLIENT") or project / ".old-client")
    if not (folder / "openai").is_dir():
        pytest.skip("openai 0.28 is not there (make old-client)")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OLD_PROGRAM, running.url],
        env={**os.environ, "PYTHONPATH": str(folder), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["text"]
    assert told["usage"] > 10
    assert told["streamed"] == told["greedy"]
    assert told["role"] == "assistant"
    assert told["dimensions"] == 32
    assert set(told["models"]) == set(told["engines"]) == set(running.server.models)
    assert told["absent"] == [404, "model_not_found", "model"]
    assert told["wrong"] == [400, "invalid_value", "temperature"]


def test_health_metrics_and_description(http: httpx.Client, client: openai.OpenAI) -> None:
    assert http.get("/health").json() == {"status": "ok", "broken": []}
    assert http.get("/ready").json() == {"status": "ready"}

    def counted(name: str, labels: str) -> float:
        line = next(line for line in http.get("/metrics").text.splitlines() if line.startswith(f"{name}{{{labels}}}"))
        return float(line.split()[-1])

    client.completions.create(model="writer", prompt="ab", max_tokens=3)
    before = counted("stepwell_completion_tokens_total", 'model="writer"')
    ended = counted("stepwell_requests_total", 'route="/v1/completions",status="200"')
    client.completions.create(model="writer", prompt="ab", max_tokens=5, extra_body={"ignore_eos": True})
    assert counted("stepwell_completion_tokens_total", 'model="writer"') == before + 5
    assert counted("stepwell_requests_total", 'route="/v1/completions",status="200"') == ended + 1
    assert counted("stepwell_time_to_first_token_seconds_count", 'model="writer"') >= 2
    assert counted("stepwell_time_between_tokens_seconds_count", 'model="writer"') >= 4
    text = http.get("/metrics").text
    assert "nowhere" not in text
    described = http.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert "/v1/chat/completions" in described["paths"]


def test_every_answer_has_an_id(http: httpx.Client) -> None:
    given = http.get("/health", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    made = http.get("/health", headers={"x-request-id": "not one!\x7f" * 20})
    assert len(made.headers["x-request-id"]) == 32


def test_the_page_keeps_to_itself(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    script = http.get("/page.js")
    assert "javascript" in script.headers["content-type"]


@pytest.fixture
def guarded(paths: dict[str, Path]) -> Iterator[Callable[..., httpx.Client]]:
    """A server that asks for keys and takes little, one model; a function that makes clients of it."""
    config = ServeConfig(
        weights="plain", most_body_bytes=2000, most_tokens=50, cors_origins=("https://friend.example",)
    )
    with serving({"writer": paths["writer"]}, config, Keys(["right", "also right"])) as running:
        yield lambda key=None, **headers: httpx.Client(
            base_url=running.url,
            headers={**headers, **({} if key is None else {"Authorization": f"Bearer {key}"})},
            timeout=30,
        )


@pytest.mark.slow
def test_keys_limits_and_other_sites(guarded: Callable[..., httpx.Client]) -> None:
    asked = {"prompt": "ab", "max_tokens": 3}
    for client in (guarded(), guarded("wrong"), guarded("right"[:4]), guarded("x" * 5000)):
        with client:
            error = refused(client.post("/v1/completions", json=asked), 401)
            assert error["code"] == "invalid_api_key"
            refused(client.get("/v1/models"), 401)
            refused(client.get("/metrics"), 401)
            assert client.get("/health").status_code == client.get("/ready").status_code == 200
            assert client.get("/").status_code == 200
    for key in ("right", "also right"):
        with guarded(key) as client:
            assert client.post("/v1/completions", json=asked).status_code == 200  # the only model needs no name
    with guarded("right") as client:
        assert refused(client.post("/v1/completions", content=b" " * 3000), 413)["code"] == "body_too_large"
    with guarded("right") as client:
        parts = (b"[" * 500 for _ in range(10))  # without a length
        assert refused(client.post("/v1/completions", content=parts), 413)["code"] == "body_too_large"
    with guarded("right") as client:
        error = refused(client.post("/v1/completions", json={**asked, "max_tokens": 26, "n": 2}), 400)
        assert error["code"] == "too_many_tokens"
        assert client.post("/v1/completions", json={**asked, "max_tokens": 25, "n": 2}).status_code == 200
    with guarded(Origin="https://friend.example") as client:
        allowed = client.options("/v1/completions", headers={"Access-Control-Request-Method": "POST"})
        assert allowed.headers["access-control-allow-origin"] == "https://friend.example"
        assert client.get("/v1/models").headers["access-control-allow-origin"] == "https://friend.example"
    with guarded(Origin="https://stranger.example") as client:
        assert "access-control-allow-origin" not in client.get("/health").headers


def test_other_sites_are_off_where_none_is_named(http: httpx.Client) -> None:
    answer = http.get("/health", headers={"Origin": "https://friend.example"})
    assert "access-control-allow-origin" not in answer.headers
