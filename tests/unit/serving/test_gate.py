"""Who is let in, what is traced, and how tokens and holes are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from pydantic import ValidationError
from served_models import make_models

from stepwell.errors import CheckpointError, ConfigError, StepwellError, UsageError
from stepwell.inference import Drawn
from stepwell.serving.faults import Refusal, refusal_of
from stepwell.serving.gate import GUARDED, Keys
from stepwell.serving.infilling import infilled_ids
from stepwell.serving.logprobs import TokenTable, spelled, told_tokens
from stepwell.serving.streaming import EventStream, Gone, unless_gone
from stepwell.serving.tracing import spanned
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


def scope(path: str = "/v1/models", **headers: str) -> dict[str, Any]:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "headers": sent}


def test_keys_are_read_and_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# the first\none-key\n\n  zwei schlüssel  \n", encoding="utf-8")
    keys = Keys.read(file)
    assert keys.let_in(scope(authorization="Bearer one-key"))
    assert keys.let_in(scope(authorization="bearer one-key"))
    for wrong in ("", "Bearer", "Bearer ", "Bearer one-ke", "Bearer one-key2", "Basic one-key", "one-key", "Bearer #"):
        assert not keys.let_in(scope(authorization=wrong)), wrong
    assert not keys.let_in(scope())
    for path in ("/health", "/ready", "/", "/page.js", "/openapi.json", "/answers.js", "/v10"):
        assert keys.let_in(scope(path))
    for path in GUARDED:
        assert not keys.let_in(scope(path))
        assert not keys.let_in(scope(f"{path}/more"))
    assert Keys.read(None).let_in(scope())


def test_every_path_that_asks_a_model_is_guarded() -> None:
    from stepwell.serving.app import OPERATIONS

    assert all(one.path.startswith(GUARDED) for one in OPERATIONS)


@pytest.mark.parametrize("content", [b"", b"# none\n\n", b"\xff\xfe\x00"])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"keys\.txt"):
        Keys.read(file)


@pytest.mark.parametrize("error", [StepwellError("/a/path: x"), CheckpointError("/a/path: x", got="/b")])
def test_what_is_no_fault_of_the_request_is_told_in_general_words(error: StepwellError) -> None:
    refusal = refusal_of(error)
    assert refusal.status == 500
    assert "path" not in str(refusal.body)


def test_what_is_a_fault_of_the_request_is_told_whole() -> None:
    refusal = refusal_of(ConfigError("top_p: wrong value", got="2", wanted="at most 1", do="take less"))
    assert (refusal.status, refusal.param) == (400, "top_p")
    assert refusal.message == "top_p: wrong value; got: 2; wanted: at most 1; do: take less"


class Spans:
    """A tracer that keeps its spans."""

    def __init__(self) -> None:
        self.made: list[SimpleNamespace] = []

    def get_tracer(self, *args: Any, **rest: Any) -> Any:
        return self

    def start_as_current_span(self, name: str, **rest: Any) -> Any:
        made = SimpleNamespace(name=name, attributes={}, ended=False, context=rest["context"])
        self.made.append(made)

        class Span:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *fault: object) -> None:
                made.ended = True

            def set_attribute(self, key: str, value: Any) -> None:
                made.attributes[key] = value

            def update_name(self, name: str) -> None:
                made.name = name

        return Span()


def test_a_request_is_a_span_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer", spans.get_tracer)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked = scope(traceparent=parent)
    with spanned(asked, "id-1"):
        asked["stepwell.route"], asked["stepwell.model"] = "/v1/completions", "writer"
        assert not spans.made[0].ended
    (span,) = spans.made
    assert span.ended
    assert span.name == "POST /v1/completions"
    assert span.attributes["http.route"] == "/v1/completions"
    assert span.attributes["gen_ai.request.model"] == "writer"
    assert span.attributes["stepwell.request_id"] == "id-1"
    context = trace.get_current_span(span.context).get_span_context()
    assert f"{context.trace_id:032x}" == parent.split("-")[1]


def test_without_the_library_there_are_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer", spans.get_tracer)
    monkeypatch.setattr("stepwell.serving.tracing.HAS_API", False)
    with spanned(scope(), "id-1"):
        pass
    assert spans.made == []


@pytest.fixture(scope="module")
def byte_tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


def test_tokens_that_are_parts_of_characters_are_told_byte_by_byte(byte_tokenizer: Tokenizer) -> None:
    ids = byte_tokenizer.encode("a世").tolist()
    assert [spelled(byte_tokenizer, one) for one in ids] == ["a", "bytes:\\xe4", "bytes:\\xb8", "bytes:\\x96"]
    assert spelled(byte_tokenizer, byte_tokenizer.eos_id) == "<|endoftext|>"
    drawn = [Drawn(one, -1.5, ((one, -1.5), (ids[0], float("-inf")))) for one in ids]
    rows = told_tokens(byte_tokenizer, drawn)
    assert bytes(byte for row in rows for byte in row["bytes"]).decode() == "a世"
    assert rows[1]["top_logprobs"][1]["logprob"] == -9999.0
    table = TokenTable(byte_tokenizer, 2, begins_at=7).of_drawn(drawn)
    assert table["text_offset"] == [7, 8, 8, 8]
    assert table["top_logprobs"][1] == {"bytes:\\xe4": -1.5, "a": -9999.0}


def test_a_hole_is_told_by_the_tokens_that_a_model_has_for_it() -> None:
    special = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=260, special_tokens=special))
    served: Any = SimpleNamespace(tokenizer=tokenizer, name="code")
    before, after, middle = (tokenizer.token_id(one) for one in special)
    ids = infilled_ids(served, "ab", "c")
    text = [tokenizer.encode(one).tolist() for one in ("ab", "c")]
    begin = [tokenizer.bos_id] if tokenizer.adds_bos else []
    assert list(ids) == [*begin, before, *text[0], after, *text[1], middle]
    none: Any = SimpleNamespace(tokenizer=train_tokenizer([], ByteBPEConfig(vocab_size=257)), name="plain")
    with pytest.raises(Refusal) as caught:
        infilled_ids(none, "a", "b")
    assert caught.value.param == "suffix"


class Line:
    """A client's end of a connection, which goes when it is told to."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message.get("body", b""))


def run(work: Callable[[Line], Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work(Line()), 10)

    return asyncio.run(bounded())


def stream_of(closed: list[str], *, ends: bool) -> EventStream:
    async def pieces() -> Any:
        yield b"one"
        if not ends:
            await asyncio.Event().wait()

    return EventStream(pieces(), lambda: closed.append("closed"), asyncio.get_running_loop().time() + 5)


def test_a_stream_is_closed_when_it_ends_and_when_its_client_goes() -> None:
    async def to_the_end(line: Line) -> None:
        await stream_of(closed, ends=True)({}, line.receive, line.send)
        assert line.sent == [b"", b"one", b""]

    async def cut(line: Line) -> None:
        asyncio.get_running_loop().call_later(0.01, line.gone.set)
        with pytest.raises(Gone):
            await stream_of(closed, ends=False)({}, line.receive, line.send)

    for work in (to_the_end, cut):
        closed: list[str] = []
        run(work)
        assert closed


@pytest.mark.parametrize("way", ["ends", "fails", "is late"])
def test_a_stream_is_closed_before_its_client_hears_of_its_end(way: str) -> None:
    async def work(line: Line) -> None:
        async def pieces() -> Any:
            yield b"one"
            if way == "fails":
                raise ZeroDivisionError
            if way == "is late":
                await asyncio.Event().wait()

        heard: list[int] = []  # messages that were sent before it was closed
        stream = EventStream(pieces(), lambda: heard.append(len(line.sent)), asyncio.get_running_loop().time() + 0.05)
        await stream({}, line.receive, line.send)
        assert heard[0] == 2  # the head and the piece

    run(work)


def test_a_stream_that_is_ready_as_its_client_goes_is_closed_too() -> None:
    closed: list[str] = []

    async def work(line: Line) -> None:
        async def answer() -> EventStream:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return stream_of(closed, ends=False)
            raise AssertionError

        asyncio.get_running_loop().call_later(0.01, line.gone.set)
        with pytest.raises(Gone):
            await unless_gone(line.receive, answer())

    run(work)
    assert closed == ["closed"]


def test_an_error_in_a_stream_is_its_last_event_and_tells_no_secret() -> None:
    async def work(line: Line) -> None:
        async def pieces() -> Any:
            yield b"one"
            raise ZeroDivisionError("/secret")

        stream = EventStream(pieces(), lambda: None, asyncio.get_running_loop().time() + 5)
        await stream({}, line.receive, line.send)
        assert line.sent[1] == b"one"
        assert b'"code":"internal_error"' in line.sent[2]
        assert b"secret" not in line.sent[2]

    run(work)


def test_models_are_told_what_they_can(tmp_path: Path) -> None:
    from stepwell.serving import ServeConfig, open_models

    paths = make_models(tmp_path)
    models = open_models(list(paths.values()), ServeConfig(weights="plain")).models
    assert {name: one.verbs for name, one in models.items()} == {
        "writer": ("complete", "embed"),
        "talker": ("complete", "chat", "embed"),
        "labels": ("classify", "answer", "embed"),
        "tags": ("tag", "answer", "embed"),
        "vectors": ("answer", "embed"),
        "translator": ("translate", "answer"),
        "rewriter": ("complete",),
        "recurrent": ("complete", "embed"),
    }


def test_a_draft_model_and_guesses_reach_the_engine(tmp_path: Path) -> None:
    from stepwell.inference.engine.guessing import DraftModel
    from stepwell.serving import ServeConfig, open_models

    writer = make_models(tmp_path)["writer"]
    config = ServeConfig(weights="int8", guess_tokens=3, draft=writer, coded_cache=True, cache_tokens=256)
    worker = open_models([writer], config).models["writer"].worker
    assert worker is not None
    assert worker.engine.guess_tokens == 3
    assert isinstance(worker.engine._guesser, DraftModel)
    assert worker.engine.runner.decoder.coded_cache
    with pytest.raises(ValidationError, match="guess_tokens above 0"):
        ServeConfig(draft=writer)
