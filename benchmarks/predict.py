"""How fast SmolLM2-135M is read and written, beside llama.cpp and transformers, in turns of one run.

    python benchmarks/predict.py                            # stepwell and transformers
    python benchmarks/predict.py --llama PYTHON             # an interpreter that has llama-cpp-python, built natively
    python benchmarks/predict.py --turns 3 --dry            # nothing goes to the ledger

Weights come from the package of `make weights`, 4 bits (Q4_1) with a last matrix of 8; 8 bits are made of them, for
both. stepwell's figures are those of its engine, drawing and text included; llama.cpp's of `llama_decode` and the
likeliest token. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from published import needed

from stepwell.checkpoints import import_model, load_checkpoint
from stepwell.export import export_hf
from stepwell.hardware import examine
from stepwell.inference import Engine, Request, SamplingParams

PROJECT = Path(__file__).resolve().parent.parent
LEDGER = PROJECT / "benchmarks" / "ledger.jsonl"
DATA = Path(os.environ.get("STEPWELL_DATA", PROJECT.parent / "shared" / "data"))
TEXT, TEXT_TOKENS = DATA / "lm" / "wikitext2-valid.txt", 16 * 512
"""What perplexity is measured on, and how much of it."""

PROMPT, LONG, STREAMS, WRITTEN = 128, 2048, 16, 64
CODED = " with coded keys"
OURS = {"int4": "Q4_1", "int8": "Q8_0", "bfloat16": "Q8_0", f"int4{CODED}": "Q4_1", f"bfloat16{CODED}": "Q8_0"}
"""Weights -> what llama.cpp has beside them."""


class LlamaCpp:
    """See `predict_llama.py`."""

    def __init__(self, python: Path, four_bits: Path, folder: Path, threads: int) -> None:
        self.threads = threads
        script = Path(__file__).with_name("predict_llama.py")
        self.process = subprocess.Popen(
            [str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.files = {"Q4_1": str(four_bits), "Q8_0": str(folder / "q8_0.gguf")}
        self.ask({"do": "quantize", "from": self.files["Q4_1"], "to": self.files["Q8_0"]})

    def ask(self, asked: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def measure(self, kind: str, what: str, prompts: list[list[int]]) -> float:
        asked = {"do": what, "model": self.files[kind], "threads": self.threads, "prompts": prompts}
        return float(self.ask({**asked, "num_tokens": WRITTEN}))


def prompts_of(count: int, length: int) -> list[list[int]]:
    """Token ids that have nothing in common."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(100, 40_000, (count, length), generator=generator).tolist()


def write(engine: Engine, prompts: list[list[int]]) -> tuple[float, float]:
    """Tokens a second of all prompts together once all are read, and the share of the time outside the decoder."""
    params = SamplingParams(max_tokens=WRITTEN + 8, temperature=0.0, ignore_eos=True)
    for prompt in prompts:
        engine.add(Request(tuple(prompt), params))
    begun: set[int] = set()
    while len(begun) < len(prompts):
        begun |= {event.request for event in engine.step()}
    with inside(engine) as seconds:
        began, tokens = time.perf_counter(), 0
        for _ in range(WRITTEN // 2):
            tokens += len(engine.step())
        took = time.perf_counter() - began
    while not engine.is_idle:
        engine.step()
    return tokens / took, 1 - seconds[0] / took


@contextmanager
def inside(engine: Engine) -> Iterator[list[float]]:
    """Seconds that pass in the decoder and the draws in machine code, in a list of one."""
    decoder, seconds = engine.runner.decoder, [0.0]  # type: ignore[attr-defined]
    library = decoder._library

    class Timed:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            function = getattr(library, name)

            def call(*arguments: Any) -> Any:
                began = time.perf_counter()
                answer = function(*arguments)
                seconds[0] += time.perf_counter() - began
                return answer

            return call

    decoder._library = Timed()
    try:
        yield seconds
    finally:
        decoder._library = library


def prefill(engine: Engine, prompt: list[int]) -> float:
    """Tokens a second until the first one is written."""
    began = time.perf_counter()
    for _ in engine.run([Request(tuple(prompt), SamplingParams(max_tokens=1, temperature=0.0))]):
        pass
    return len(prompt) / (time.perf_counter() - began)


def perplexity(engine: Engine, token_ids: list[int]) -> float:
    """Of a text in pieces of 512 tokens, as the engine computes it."""
    pieces = [token_ids[at : at + 512] for at in range(0, len(token_ids) - 511, 512)]
    params = SamplingParams(max_tokens=1, temperature=0.0)
    told = [
        event.prompt_logprobs
        for event in engine.run([Request(tuple(piece), params, prompt_logprobs=True) for piece in pieces])
        if event.prompt_logprobs is not None
    ]
    return math.exp(-statistics.fmean(one.logprob for several in told for one in several))


def transformers_writes(folder: Path) -> Callable[[], float]:
    """`generate` in bfloat16, 16 prompts at once."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ids = torch.tensor(prompts_of(STREAMS, PROMPT))
    settings = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}

    @torch.inference_mode()
    def run() -> float:
        seconds = []
        for new in (1, WRITTEN + 1):  # the prompt's own time is taken off
            began = time.perf_counter()
            model.generate(ids, max_new_tokens=new, min_new_tokens=new, **settings)
            seconds.append(time.perf_counter() - began)
        return STREAMS * WRITTEN / (seconds[1] - seconds[0])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", type=Path, help="an interpreter that has llama-cpp-python")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="write nothing to the ledger")
    asked = parser.parse_args()
    gguf = needed("smollm2")
    threads = examine().threads
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        import_model(str(gguf), folder / "smollm2", parity=False)
        export_hf(folder / "smollm2", folder / "hf", parity=False)
        loaded = load_checkpoint(folder / "smollm2")
        engines = {
            kind: Engine(
                loaded.model,
                loaded.tokenizer,
                weights=kind.removesuffix(CODED),  # type: ignore[arg-type]
                threads=threads,
                shares=False,
                coded_cache=kind.endswith(CODED),
            )
            for kind in OURS
        }
        exact = Engine(loaded.model, loaded.tokenizer, weights="float32", threads=threads, shares=False)
        token_ids = loaded.tokenizer.encode(TEXT.read_text(encoding="utf-8")[: 8 * TEXT_TOKENS])[:TEXT_TOKENS].tolist()
        perplexities = {kind: perplexity(one, token_ids) for kind, one in {"float32": exact, **engines}.items()}
        del exact
        llama = None if asked.llama is None else LlamaCpp(asked.llama, gguf, folder, threads)
        figures = measure(engines, llama, transformers_writes(folder / "hf"), asked.turns)
    report(figures, perplexities, asked)


def measure(
    engines: dict[str, Engine], llama: LlamaCpp | None, generate: Callable[[], float], turns: int
) -> dict[str, list[float]]:
    """Every figure of every turn, by name."""
    cases = {
        "one stream": ("write", prompts_of(1, PROMPT)),
        "one stream, long": ("write", prompts_of(1, LONG)),
        "16 streams": ("write", prompts_of(STREAMS, PROMPT)),
        "prefill": ("prefill", prompts_of(1, 512)),
    }
    figures: dict[str, list[float]] = defaultdict(list)
    for turn in range(-1, turns):  # the first one warms up
        for case, (what, prompts) in cases.items():
            several: dict[str, float] = {}
            for kind, engine in engines.items():
                if what == "prefill":
                    several[f"{case}, {kind}"] = prefill(engine, prompts[0])
                else:
                    rate, outside = write(engine, prompts)
                    several |= {f"{case}, {kind}": rate, f"{case}, {kind}, outside": outside}
                if llama is not None:
                    other = f"{case}, llama.cpp {OURS[kind]}"
                    if other not in several:
                        several[other] = llama.measure(OURS[kind], what, prompts)
            if case == "16 streams":
                several[f"{case}, transformers"] = generate()
            if turn >= 0:
                for name, value in several.items():
                    figures[name].append(value)
    return figures


def report(figures: dict[str, list[float]], perplexities: dict[str, float], asked: argparse.Namespace) -> None:
    ratios: dict[str, list[float]] = {}
    for name, values in figures.items():
        case, _, kind = name.rpartition(", ")
        if kind in OURS:
            for other in (f"{case}, llama.cpp {OURS[kind]}", f"{case}, transformers"):
                if other in figures:
                    ratios[f"{name} / {other.rpartition(', ')[2]}"] = [
                        mine / theirs for mine, theirs in zip(values, figures[other], strict=True)
                    ]
            if case == "one stream":
                long = figures[f"one stream, long, {kind}"]
                ratios[f"context {LONG} / {PROMPT}, {kind}"] = [a / b for a, b in zip(long, values, strict=True)]
    for title, several, form in (("tokens a second, shares", figures, ",.2f"), ("ratios", ratios, ".2f")):
        sys.stdout.write(f"\n{title}: median (least to most) of {asked.turns}\n")
        for name, values in several.items():
            middle, low, high = (format(value, form) for value in spread(values))
            sys.stdout.write(f"  {name:55} {middle:>9} ({low} to {high})\n")
    sys.stdout.write(f"\nperplexity of {TEXT.name}, {TEXT_TOKENS:,} tokens\n")
    for kind, value in perplexities.items():
        sys.stdout.write(f"  {kind:55} {value:9.3f} ({value / perplexities['float32'] - 1:+.2%})\n")
    if asked.dry:
        return
    machine = examine()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout
    record = {
        "benchmark": "predict",
        "turns": asked.turns,
        "figures": {name: spread(values) for name, values in figures.items()},
        "ratios": {name: spread(values) for name, values in ratios.items()},
        "perplexities": perplexities,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "machine": {"cpu": machine.cpu, "cores": machine.cores, "gflops": machine.gflops},
    }
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(record) + "\n")


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    main()
