"""A crowd for two minutes: what a server does with short, long, streamed, abandoned, malformed and oversized requests.

    .venv/bin/python benchmarks/soak.py                              # tiny models of every kind, made on the spot
    .venv/bin/python benchmarks/soak.py --run runs/novel             # a model of your own that writes
    .venv/bin/python benchmarks/soak.py --clients 50 --seconds 20    # a short one

Answers are known beforehand: the server was asked for each of them alone, and a seed gives the same text whatever else
is done at the time. Others carry a number of their own, which must come back. When the time is over nothing may be
held for anybody, memory may not have grown by more than 2 % in the second half, and a server that is asked to end
finishes what it has accepted. The result is one line of benchmarks/ledger.jsonl; the program fails where a promise was
broken, and says which.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tests" / "e2e"))

KNOWN = 48
"""Requests whose answers are known beforehand."""

MOST_GROWTH = 1.02
WORDS = ["river", "stone", "lantern", "letters", "bridge", "market", "storm", "well", "boat", "map", "song", "coins"]


@dataclass
class Soak:
    """What is seen.

    Attributes:
        url: of the server.
        model: that writes.
        others: models by what they can be asked for.
        counts: answers by kind.
        broken: promises that were not kept, in words.
        first_seconds: to the first piece of streams.
        whole_seconds: of whole answers.
    """

    url: str
    model: str
    others: dict[str, str]
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    whole_seconds: list[float] = field(default_factory=list)
    known: list[tuple[dict[str, Any], str]] = field(default_factory=list)

    def fail(self, what: str) -> None:
        self.counts["broken promises"] += 1
        if len(self.broken) < 20:
            self.broken.append(what)


def request_of(rng: random.Random, number: int, model: str) -> dict[str, Any]:
    """A completion that says which one it is."""
    words = " ".join(rng.choices(WORDS, k=rng.choice([2, 8, 20])))
    return {
        "model": model,
        "prompt": f"Number {number}: {words}",
        "max_tokens": rng.choice([1, 4, 16, 48]),
        "temperature": rng.choice([0.0, 0.7, 1.3]),
        "seed": number,
        "echo": True,
    }


async def learn(soak: Soak, client: httpx.AsyncClient) -> None:
    """Ask for each answer alone."""
    rng = random.Random(0)
    for number in range(KNOWN):
        asked = request_of(rng, number, soak.model)
        answer = await client.post("/v1/completions", json=asked)
        answer.raise_for_status()
        soak.known.append((asked, answer.json()["choices"][0]["text"]))


async def whole(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    asked, wanted = rng.choice(soak.known)
    began = time.monotonic()
    answer = await client.post("/v1/completions", json=asked)
    if refused_for_now(soak, answer):
        return
    soak.whole_seconds.append(time.monotonic() - began)
    if answer.status_code != 200 or answer.json()["choices"][0]["text"] != wanted:
        soak.fail(f"another answer than alone: {answer.status_code} {answer.text[:200]} wanted {wanted[:80]!r}")


async def streamed(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    asked, wanted = rng.choice(soak.known)
    text, ended, began = "", False, time.monotonic()
    async with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
        if answer.status_code != 200:
            await answer.aread()
            if not refused_for_now(soak, answer):
                soak.fail(f"no stream: {answer.status_code} {answer.text[:200]}")
            return
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                if not text:
                    soak.first_seconds.append(time.monotonic() - began)
                piece = json.loads(line[6:])
                text += piece["choices"][0]["text"] if "choices" in piece else "ERROR " + line
            ended = ended or line == "data: [DONE]"
    if text != wanted or not ended:
        soak.fail(f"another stream than alone: {text[:80]!r} wanted {wanted[:80]!r}, ended {ended}")


async def numbered(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    """A request that nobody has made before, and several samples of it."""
    asked = {**request_of(rng, rng.randrange(1 << 40), soak.model), "n": rng.choice([1, 2, 4])}
    answer = await client.post("/v1/completions", json=asked)
    if refused_for_now(soak, answer):
        return
    texts = [one["text"] for one in answer.json().get("choices", ())]
    if len(texts) != asked["n"] or not all(text.startswith(asked["prompt"]) for text in texts):
        soak.fail(f"an answer to somebody else: {asked['prompt'][:60]!r} got {texts}")


async def abandoned(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    """Ask for much, and go: before anything came, or in the middle of it."""
    asked = {**request_of(rng, rng.randrange(1 << 40), soak.model), "max_tokens": 100, "stream": rng.random() < 0.7}
    try:
        async with (
            asyncio.timeout(rng.choice([0.002, 0.05, 0.3])),
            client.stream("POST", "/v1/completions", json=asked) as answer,
        ):
            async for _ in answer.aiter_lines():
                pass
    except TimeoutError:
        return


async def malformed(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    body = rng.choice([b"", b"{", b"[]", b'{"prompt": 7}', b'{"prompt": "a", "temperature": NaN}', b"\xff\x00"])
    answer = await client.post(rng.choice(["/v1/completions", "/v1/chat/completions"]), content=body)
    if answer.status_code != 400 or set(answer.json()["error"]) != {"message", "type", "param", "code"}:
        soak.fail(f"{body!r} was answered {answer.status_code} {answer.text[:100]}")


async def oversized(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    if rng.random() < 0.5:
        answer = await client.post("/v1/completions", content=b"x" * (5 << 20))
        if answer.status_code != 413:
            soak.fail(f"5 MiB were answered {answer.status_code}")
        return
    asked = {"model": soak.model, "prompt": "well " * 20_000}
    answer = await client.post("/v1/completions", json=asked)
    if answer.status_code != 400 or answer.json()["error"]["code"] != "context_length_exceeded":
        soak.fail(f"a prompt of 100 kB was answered {answer.status_code} {answer.text[:100]}")


async def task(soak: Soak, client: httpx.AsyncClient, rng: random.Random) -> None:
    """Labels, tags and vectors, where there are models for them."""
    if not soak.others:
        return
    verb, model = rng.choice(sorted(soak.others.items()))
    path = {"embed": "/v1/embeddings"}.get(verb, f"/{verb}")
    texts = [" ".join(rng.choices(WORDS, k=4)) for _ in range(rng.choice([1, 5]))]
    answer = await client.post(path, json={"model": model, "input": texts})
    if not refused_for_now(soak, answer) and (answer.status_code != 200 or len(answer.json()["data"]) != len(texts)):
        soak.fail(f"{path} was answered {answer.status_code} {answer.text[:100]}")


def refused_for_now(soak: Soak, answer: httpx.Response) -> bool:
    """Whether a server that is full says so as it should."""
    if answer.status_code != 429:
        return False
    soak.counts["told to come later"] += 1
    if not answer.headers.get("Retry-After", "").isdigit():
        soak.fail("429 without Retry-After")
    return True


KINDS: list[tuple[Callable[[Soak, httpx.AsyncClient, random.Random], Awaitable[None]], int]] = [
    (whole, 5), (streamed, 5), (numbered, 3), (abandoned, 3), (malformed, 1), (oversized, 1), (task, 2)
]  # fmt: skip


async def one_client(soak: Soak, number: int, until: float) -> None:
    rng = random.Random(number)
    jobs, weights = zip(*KINDS, strict=True)
    await asyncio.sleep(rng.random())
    async with httpx.AsyncClient(base_url=soak.url, timeout=120) as client:
        while time.monotonic() < until:
            job = rng.choices(jobs, weights)[0]
            try:
                await job(soak, client, rng)
                soak.counts[job.__name__] += 1
            except httpx.HTTPError as error:
                soak.fail(f"{job.__name__}: {type(error).__name__} {error}")


async def watch_memory(process: psutil.Process, until: float) -> list[tuple[float, int]]:
    seen = []
    while time.monotonic() < until:
        seen.append((time.monotonic(), process.memory_info().rss))
        await asyncio.sleep(0.5)
    return seen


async def crowd(soak: Soak, clients: int, seconds: float, process: psutil.Process) -> float:
    """All clients at once; returns by how much memory has grown in the second half."""
    async with httpx.AsyncClient(base_url=soak.url, timeout=120) as client:
        await learn(soak, client)
    began = time.monotonic()
    until = began + seconds
    memory, *_ = await asyncio.gather(
        watch_memory(process, until), *(one_client(soak, number, until) for number in range(clients))
    )
    middle = [size for at, size in memory if 0.5 <= (at - began) / seconds < 0.6]
    end = [size for at, size in memory if (at - began) / seconds >= 0.9]
    return statistics.median(end) / statistics.median(middle)


async def nothing_is_held(soak: Soak) -> None:
    """Wait for what was given up last, and look at what the server counts."""
    async with httpx.AsyncClient(base_url=soak.url, timeout=30) as client:
        for _ in range(100):
            text = (await client.get("/metrics")).text
            held = {
                line.split()[0]: float(line.split()[1])
                for line in text.splitlines()
                if line.startswith(("stepwell_used_cache_blocks", "stepwell_running", "stepwell_waiting"))
            }
            if not any(held.values()) and "stepwell_open_requests 1.0" in text:
                break
            await asyncio.sleep(0.1)
        else:
            soak.fail(f"still held: { ({name: value for name, value in held.items() if value}) }")
        for line in text.splitlines():
            if line.startswith("stepwell_requests_total") and 'status="5' in line:
                soak.fail(f"a fault of the server: {line}")


async def drain(soak: Soak, server: subprocess.Popen[str]) -> None:
    """Have streams under way, ask the server to end, and read them to theirs."""
    begun = asyncio.Semaphore(0)

    async def read(number: int) -> bool:
        asked = {
            "model": soak.model,
            "prompt": f"Number {number}",
            "max_tokens": 150,
            "ignore_eos": True,
            "stream": True,
        }
        ended = False
        async with (
            httpx.AsyncClient(base_url=soak.url, timeout=120) as client,
            client.stream("POST", "/v1/completions", json=asked) as answer,
        ):
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    begun.release()
                ended = ended or line == "data: [DONE]"
        return ended

    several = [asyncio.ensure_future(read(number)) for number in range(20)]
    for _ in range(40):
        await begun.acquire()
    server.send_signal(signal.SIGTERM)
    ended = await asyncio.gather(*several, return_exceptions=True)
    if ended != [True] * 20:
        soak.fail(f"drained: {ended}")
    code = await asyncio.to_thread(server.wait, 60)
    if code != 0:
        soak.fail(f"the server ended with {code}")


def quantiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cut = statistics.quantiles(seconds, n=100)
    return {"median": round(cut[49], 4), "p99": round(cut[98], 4), "count": len(seconds)}


def soaked(
    runs: list[Path], others: dict[str, str], model: str, asked: argparse.Namespace
) -> tuple[Soak, dict[str, Any]]:
    command = [sys.executable, "-m", "stepwell", "serve", *map(str, runs), "--port", "0", "--json"]
    command += ["--weights", asked.weights, "--set", *asked.set] if asked.set else ["--weights", asked.weights]
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            log.seek(0)
            sys.exit(log.read())
        soak = Soak(json.loads(line)["url"], model, others)
        growth = asyncio.run(crowd(soak, asked.clients, asked.seconds, psutil.Process(server.pid)))
        asyncio.run(nothing_is_held(soak))
        memory = psutil.Process(server.pid).memory_info().rss
        if growth > MOST_GROWTH:
            soak.fail(f"memory has grown by {growth - 1:.1%} in the second half")
        asyncio.run(drain(soak, server))
        log.seek(0)
        if "Traceback" in log.read():
            soak.fail("a traceback in the log")
    finally:
        server.kill()
        server.wait()
        log.close()
    return soak, {"memory_growth": round(growth, 4), "memory_bytes": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a model that writes; default tiny models of every kind")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the server")
    parser.add_argument("--no-ledger", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.run is None:
            from served_models import make_models

            paths = make_models(Path(folder))
            runs, model, others = (
                list(paths.values()),
                "writer",
                {"classify": "labels", "tag": "tags", "embed": "vectors"},
            )
        else:
            runs, model, others = [asked.run], asked.run.resolve().name, {}
        soak, told = soaked(runs, others, model, asked)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout
    from stepwell.hardware import examine

    machine = examine().as_dict()
    result = {
        "benchmark": "soak",
        "case": "tiny" if asked.run is None else model,
        "clients": asked.clients,
        "seconds": asked.seconds,
        "weights": asked.weights,
        "counts": dict(soak.counts),
        "first_piece_seconds": quantiles(soak.first_seconds),
        "whole_answer_seconds": quantiles(soak.whole_seconds),
        **told,
        "broken_promises": len(soak.broken),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "machine": {key: machine[key] for key in ("cpu", "cores", "gflops", "precision")},
    }
    print(json.dumps(result, indent=1))
    for one in soak.broken:
        print("broken:", one)
    if not asked.no_ledger and not soak.broken:
        with (PROJECT / "benchmarks" / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(result) + "\n")
    sys.exit(bool(soak.broken))


if __name__ == "__main__":
    main()
