"""How long a reader waits for the first word while many write: stepwell's server beside llama.cpp's, in turns.

    python benchmarks/first_token.py                                  # stepwell alone
    python benchmarks/first_token.py --llama-server PATH              # and a llama-server, built natively
    python benchmarks/first_token.py --turns 3 --seconds 20 --dry     # nothing goes to the ledger

Both serve SmolLM2-135M as its package has it (`make weights`, Q4_1), on the same threads. So many clients ask without a
pause: each sends a piece of real text of 32 to 512 tokens, of a place that nobody asked for before, and reads 64 tokens
as they are written. A wait is the time from sending to the first piece of text. While one server is asked the other one
has nothing to do. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx
from published import needed

from stepwell.checkpoints import import_model
from stepwell.hardware import examine

PROJECT = Path(__file__).resolve().parent.parent
LEDGER = PROJECT / "benchmarks" / "ledger.jsonl"
DATA = Path(os.environ.get("STEPWELL_DATA", PROJECT.parent / "shared" / "data"))
WORDS = (DATA / "lm" / "wikitext2-valid.txt").read_text(encoding="utf-8").split()
STREAMS, WRITTEN = 16, 64
SHORTEST, LONGEST = 24, 390
"""Words of a prompt: 32 to 512 tokens, about."""


def prompt_of(rng: random.Random) -> str:
    begin = rng.randrange(len(WORDS) - LONGEST)
    return " ".join(WORDS[begin : begin + rng.randint(SHORTEST, LONGEST)])


async def one_client(client: httpx.AsyncClient, rng: random.Random, until: float, waits: list[float]) -> int:
    """Ask until the time is over; the number of pieces that were read."""
    pieces = 0
    while time.monotonic() < until:
        asked = {
            "prompt": prompt_of(rng),
            "max_tokens": WRITTEN,
            "stream": True,
            "temperature": 0.7,
            "ignore_eos": True,
        }
        began, first = time.monotonic(), None
        async with client.stream("POST", "/v1/completions", json=asked) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"]:
                    first = first or time.monotonic()
                    pieces += 1
        if first is not None:
            waits.append(first - began)
    return pieces


async def crowd(url: str, seconds: float, seed: int) -> tuple[list[float], float]:
    """What the clients waited, and the pieces of text a second that they read."""
    waits: list[float] = []
    limits = httpx.Limits(max_connections=STREAMS, max_keepalive_connections=0)  # a new connection for each
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        began = time.monotonic()
        read = await asyncio.gather(
            *(one_client(client, random.Random(f"{seed}-{n}"), began + seconds, waits) for n in range(STREAMS))
        )
        return waits, sum(read) / (time.monotonic() - began)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    sys.exit(f"{url}: does not answer")


Server = tuple[subprocess.Popen[bytes], str]
"""A process, and where it listens."""


def start(name: str, gguf: Path, folder: Path, threads: int, llama_server: Path | None) -> Server:
    """A server that is ready, and where it is."""
    port = free_port()
    if name == "llama.cpp":
        slots = ["-np", str(STREAMS), "-c", str(STREAMS * 1024), "-t", str(threads), "-tb", str(threads)]
        command = [str(llama_server), "-m", str(gguf), "--port", str(port), *slots]
    else:
        weights = name.removeprefix("stepwell ")
        command = [sys.executable, "-m", "stepwell", "serve", str(folder), "--port", str(port), "--weights", weights]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    url = f"http://127.0.0.1:{port}"
    wait_for(url)
    return process, url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", type=Path, help="llama.cpp's server")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each server in each turn")
    parser.add_argument("--dry", action="store_true", help="write nothing to the ledger")
    asked = parser.parse_args()
    gguf = needed("smollm2")
    threads = examine().threads
    names = ["stepwell int4", "stepwell bfloat16", *(["llama.cpp"] if asked.llama_server else [])]
    medians, last, rates = defaultdict(list), defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "smollm2"
        import_model(str(gguf), folder, parity=False)
        servers = {name: start(name, gguf, folder, threads, asked.llama_server) for name in names}
        try:
            for turn in range(-1, asked.turns):  # the first warms up
                for name, (_, url) in servers.items():
                    waits, rate = asyncio.run(crowd(url, asked.seconds if turn >= 0 else 5, turn))
                    if turn < 0:
                        continue
                    medians[name].append(statistics.median(waits))
                    last[name].append(statistics.quantiles(waits, n=100)[98])
                    rates[name].append(rate)
                    print(
                        f"turn {turn + 1}, {name}: {len(waits)} answers, first word after {medians[name][-1]:.3f} s "
                        f"(median), {last[name][-1]:.3f} s (99 of 100), {rate:.0f} pieces/s",
                        flush=True,
                    )
        finally:
            for process, _ in servers.values():
                process.terminate()
            for process, _ in servers.values():
                process.wait(60)
    told = {
        name: {
            "first_seconds_median": spread(medians[name]),
            "first_seconds_p99": spread(last[name]),
            "pieces_per_second": spread(rates[name]),
        }
        for name in names
    }
    print(json.dumps(told, indent=2))
    if not asked.dry:
        commit = ["git", "rev-parse", "--short", "HEAD"]
        machine = examine()
        record = {
            "benchmark": "first_token",
            "streams": STREAMS,
            "turns": asked.turns,
            "seconds": asked.seconds,
            "servers": told,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "commit": subprocess.run(commit, cwd=PROJECT, capture_output=True, text=True).stdout.strip(),
            "machine": {"cpu": machine.cpu, "cores": machine.cores},
        }
        with LEDGER.open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(record, ensure_ascii=False) + "\n")


def spread(values: list[float]) -> dict[str, float]:
    """Median and range over turns."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


if __name__ == "__main__":
    main()
