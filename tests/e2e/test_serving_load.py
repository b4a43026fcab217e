"""The server when much is asked of it, when clients go away, and when it begins and ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from served_models import Running, make_models, serving

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import CheckpointError, ConfigError, UsageError
from stepwell.inference import SamplingParams, generate
from stepwell.serving import ServeConfig, open_models, serve

PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_models(tmp_path_factory.mktemp("models"))


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


class Held:
    """An engine that makes a step only when it is let; a server of it."""

    def __init__(self, running: Running) -> None:
        self.running = running
        worker = running.server.models["writer"].worker
        assert worker is not None
        self.worker, self.engine = worker, worker.engine
        self.gate, self.steps = threading.Semaphore(0), 0
        self._step = self.engine.step
        self.engine.step = self._stepping  # type: ignore[method-assign]
        self.http = httpx.Client(base_url=running.url, timeout=PATIENCE_SECONDS)

    def _stepping(self) -> Any:
        self.gate.acquire()
        events = self._step()
        self.steps += 1
        return events

    def let(self, steps: int = 100_000) -> None:
        self.gate.release(steps)

    @property
    def is_free(self) -> bool:
        """Whether nothing is held for anybody."""
        return self.engine.is_idle and self.worker.taken == 0 and not self.worker._under_way


@contextmanager
def holding(paths: dict[str, Path], **settings: Any) -> Iterator[Held]:
    config = ServeConfig(**{"weights": "plain", **settings})
    with serving({"writer": paths["writer"]}, config) as running:
        held = Held(running)
        try:
            yield held
        finally:
            held.let()
            held.http.close()


LONG = {"prompt": "ab", "max_tokens": 200, "ignore_eos": True, "seed": 1}


def leave(url: str, body: dict[str, Any], when: Callable[[socket.socket], object]) -> None:
    """Ask, and go away when something has happened."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        sent = json.dumps(body).encode()
        line.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(sent)}\r\n\r\n".encode()
            + sent
        )
        when(line)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_whoever_goes_before_the_first_token_is_forgotten(paths: dict[str, Path], stream: bool) -> None:
    with holding(paths) as held:
        body = {**LONG, "stream": stream}
        leave(held.running.url, body, lambda line: until(lambda: held.worker.taken == 1))
        until(lambda: held.worker.taken == 0)  # noticed, though the engine has not made a step
        before = held.steps
        held.let(2)
        until(lambda: held.is_free)
        assert held.steps - before <= 2


def test_whoever_goes_in_the_middle_of_a_stream_is_forgotten(paths: dict[str, Path]) -> None:
    with holding(paths) as held:
        held.let(3)
        leave(held.running.url, {**LONG, "stream": True}, lambda line: line.recv(10))
        until(lambda: held.worker.taken == 0)
        before = held.steps
        held.let(4)
        until(lambda: held.is_free)
        assert held.steps - before <= 4
        held.let()
        assert held.http.post("/v1/completions", json={**LONG, "max_tokens": 2}).status_code == 200
        text = held.http.get("/metrics").text
        assert 'stepwell_abandoned_requests_total{route="/v1/completions"} 1.0' in text


def test_a_body_that_never_comes_holds_nothing(paths: dict[str, Path]) -> None:
    with holding(paths) as held:
        host, port = held.running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
            until(lambda: "stepwell_open_requests 2.0" in held.http.get("/metrics").text)
        until(lambda: "stepwell_open_requests 1.0" in held.http.get("/metrics").text)
        assert held.worker.taken == 0


def test_more_than_may_wait_are_told_when_to_come_again(paths: dict[str, Path]) -> None:
    with holding(paths, most_running=2, most_waiting=1) as held:

        async def ask_all() -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=held.running.url, timeout=PATIENCE_SECONDS) as client:
                several = [asyncio.ensure_future(client.post("/v1/completions", json={**LONG, "max_tokens": 3}))
                           for _ in range(3)]  # fmt: skip
                while held.worker.taken < 3:
                    await asyncio.sleep(0.005)
                refused = await client.post("/v1/completions", json=LONG)
                held.let()
                return [refused, *await asyncio.gather(*several)]

        refused, *others = asyncio.run(ask_all())
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert [one.status_code for one in others] == [200] * 3
        assert held.http.post("/v1/completions", json={**LONG, "n": 4}).status_code == 400  # it can never be done


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_given_up(paths: dict[str, Path]) -> None:
    with holding(paths, timeout_seconds=1) as held:
        late = held.http.post("/v1/completions", json=LONG)
        assert late.status_code == 408
        assert late.json()["error"]["code"] == "timeout"
        held.let(2)
        until(lambda: held.is_free)
        held.let(1)
        streamed = held.http.post("/v1/completions", json={**LONG, "stream": True})
        assert streamed.status_code == 200
        last = json.loads(streamed.text.strip().split("\n\n")[-1].removeprefix("data: "))
        assert set(last["error"]) == {"message", "type", "param", "code"}
        assert last["error"]["code"] == "timeout"
        held.let(2)
        until(lambda: held.is_free)


def test_a_body_that_takes_too_long_is_given_up(paths: dict[str, Path]) -> None:
    with holding(paths, timeout_seconds=0.2) as held:
        host, port = held.running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as line:
            line.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
            assert line.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_fault_of_the_server_tells_nothing_of_its_inside(paths: dict[str, Path]) -> None:
    with holding(paths) as held:

        def extending(jobs: Any) -> Any:
            raise RuntimeError("/secret/path")

        held.engine.runner.extend = extending  # type: ignore[method-assign]
        held.let()
        for _ in range(3):
            failed = held.http.post("/v1/completions", json=LONG)
            assert failed.status_code == 500
            assert set(failed.json()["error"]) == {"message", "type", "param", "code"}
            assert "secret" not in failed.text
        until(lambda: held.http.get("/health").status_code == 503)
        assert held.http.get("/health").json() == {"status": "broken", "broken": ["writer"]}


def test_the_log_has_a_line_for_each_request_and_nobody_writes_lines_of_their_own(
    paths: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="stepwell.access")
    with holding(paths) as held:
        held.let()
        held.http.post("/v1/completions", json={**LONG, "max_tokens": 2}, headers={"x-request-id": "first"})
        held.http.get("/%0d%0aFAKE 200", headers={"x-request-id": "second"})
    lines = [record.getMessage() for record in caplog.records if record.name == "stepwell.access"]
    assert [line.split()[0] for line in lines] == ["first", "second"]
    assert lines[0].startswith("first POST /v1/completions 200 ")
    assert lines[0].endswith("model=writer")
    assert "secret" not in lines[0]
    assert lines[1].startswith("second GET /%0d%0aFAKE%20200 404 ")
    assert not any("\n" in line or "\r" in line for line in lines)


def checked(path: Path, count: int) -> list[tuple[dict[str, Any], str]]:
    """Requests that differ, each with what it must be answered, computed alone."""
    rng = random.Random(0)
    loaded = load_checkpoint(path)
    found = []
    for number in range(count):
        prompt = f"client {number} " + "".join(rng.choices("abcdefgh ", k=rng.choice([3, 30, 120])))
        params = {"max_tokens": rng.choice([1, 8, 40]), "temperature": rng.choice([0.0, 0.8, 1.5]), "seed": number}
        (wanted,) = generate(loaded.model, loaded.tokenizer, prompt, SamplingParams(**params))
        found.append(({**params, "prompt": prompt, "echo": True}, prompt + wanted.text))
    return found


@pytest.mark.slow
def test_a_crowd_gets_its_own_answers_and_nothing_is_left(paths: dict[str, Path]) -> None:
    """Whole and streamed, abandoned, malformed and too large, all at once; every answer carries its own prompt."""
    cases = checked(paths["writer"], 60)
    config = ServeConfig(weights="plain", most_running=8, most_body_bytes=20_000)

    async def one(client: httpx.AsyncClient, number: int) -> str:
        asked, wanted = cases[number % len(cases)]
        kind = number % 6
        if kind == 0:
            answer = await client.post("/v1/completions", json=asked)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["text"] == wanted
        elif kind in (1, 2):
            text = ""
            async with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        text += json.loads(line[6:])["choices"][0]["text"]
                    if kind == 2 and text:
                        break
            assert wanted.startswith(text) if kind == 2 else text == wanted
        elif kind == 3:
            answer = await client.post("/v1/completions", content=b'{"prompt": ')
            assert answer.status_code == 400
        elif kind == 4:
            answer = await client.post("/v1/completions", json={"prompt": "x" * 30_000})
            assert answer.status_code == 413
        else:
            answer = await client.post("/classify", json={"model": "labels", "input": [asked["prompt"]]})
            assert answer.status_code == 200
        return str(kind)

    async def crowd(url: str) -> None:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            await asyncio.gather(*(one(client, number) for number in range(240)))

    for asked, _ in cases:
        asked["model"] = "writer"
    with serving({name: paths[name] for name in ("writer", "labels")}, config) as running:
        asyncio.run(crowd(running.url))
        worker = running.server.models["writer"].worker
        assert worker is not None
        until(lambda: worker.engine.is_idle)
        assert worker.taken == 0
        assert not worker._under_way
        assert worker.engine.load.used_blocks == 0
        text = httpx.get(f"{running.url}/metrics").text
        assert 'status="5' not in text


def digest(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def process(*words: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command in a process of its own, once it is ready."""
    command = [
        sys.executable,
        "-m",
        "stepwell",
        "serve",
        *map(str, words),
        "--port",
        "0",
        "--weights",
        "plain",
        "--json",
    ]
    ran = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert ran.stdout is not None
        yield ran, json.loads(ran.stdout.readline())
    finally:
        ran.kill()
        ran.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_what_was_accepted_is_finished_when_the_process_is_asked_to_end(
    paths: dict[str, Path], number: signal.Signals
) -> None:
    asked = {**LONG, "model": "writer", "max_tokens": 240, "stream": True}
    with process(paths["writer"], paths["labels"]) as (ran, ready):
        assert ready["models"] == ["writer", "labels"]
        with httpx.stream("POST", f"{ready['url']}/v1/completions", json=asked, timeout=PATIENCE_SECONDS) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: {")
            ran.send_signal(number)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in rest[-2]
        assert ran.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{ready['url']}/health")
        _, told = ran.communicate()
        assert "Traceback" not in told
        assert "POST /v1/completions 200" in told


@pytest.mark.slow
def test_killing_the_process_loses_nothing_on_disk(paths: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paths["writer"], tmp_path / "writer"))
    before = digest(folder)
    with process(folder) as (ran, ready):
        asked = {**LONG, "stream": True}
        with httpx.stream("POST", f"{ready['url']}/v1/completions", json=asked, timeout=PATIENCE_SECONDS) as answer:
            lines = answer.iter_lines()
            assert next(lines)
            ran.kill()
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        ran.wait(PATIENCE_SECONDS)
    assert digest(folder) == before
    assert load_checkpoint(folder).model is not None


def test_a_damaged_model_refuses_to_start(paths: dict[str, Path], tmp_path: Path, stepwell: Callable[..., Any]) -> None:
    folder = Path(shutil.copytree(paths["writer"], tmp_path / "writer"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        serve([folder], ServeConfig(port=0))
    ran = stepwell("serve", folder, "--port", 0)
    assert ran.code == 1
    assert "model.safetensors" in ran.err
    assert not ran.out
    with pytest.raises(CheckpointError, match="no such file or directory"):
        serve([tmp_path / "nowhere"], ServeConfig(port=0))


def test_models_need_names_of_their_own(paths: dict[str, Path], tmp_path: Path, stepwell: Callable[..., Any]) -> None:
    other = Path(shutil.copytree(paths["writer"], tmp_path / "writer"))
    both = [paths["writer"], other]
    with pytest.raises(UsageError, match="two models would be called writer"):
        open_models(both, ServeConfig(weights="plain"))
    with pytest.raises(UsageError, match="two models would be called same"):
        open_models(both, ServeConfig(weights="plain", names=("same", "same")))
    with pytest.raises(UsageError, match="one for each model"):
        open_models(both, ServeConfig(weights="plain", names=("one",)))
    with pytest.raises(UsageError, match="no model"):
        open_models([], ServeConfig())
    assert list(open_models(both, ServeConfig(weights="plain", names=("one", "other"))).models) == ["one", "other"]
    assert stepwell("serve", *both, "--port", 0).code == 2


def test_settings_that_cannot_be_are_told_in_words(
    paths: dict[str, Path], tmp_path: Path, stepwell: Callable[..., Any]
) -> None:
    writer = paths["writer"]
    empty = tmp_path / "keys.txt"
    empty.write_text("# nobody\n\n", encoding="utf-8")
    for words, told in (
        (["--api-key-file", tmp_path / "nowhere.txt"], "nowhere.txt"),
        (["--api-key-file", empty], "has no API key"),
        (["--port", 70_000], "port"),
        (["--weights", "int2"], "weights"),
        (["--set", "most_waiting=-1"], "most_waiting"),
        (["--set", "most_wating=1"], "did you mean most_waiting?"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
    ):
        ran = stepwell("serve", writer, *words)
        assert ran.code == 2, words
        assert told in ran.err
        assert "Traceback" not in ran.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = stepwell("serve", writer, "--port", taken.getsockname()[1])
        assert ran.code == 2
        assert "cannot be listened at" in ran.err
    with pytest.raises(ConfigError):
        from stepwell import api

        api.serve(writer, weights="int2")


def test_more_weights_than_a_model_can_have_are_refused(paths: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="machine code"):
        open_models([paths["recurrent"]], ServeConfig(weights="int8"))
