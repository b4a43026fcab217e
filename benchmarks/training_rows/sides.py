"""The sides of the speed rows: transformers' Trainer (with peft) and stepwell, each through its own real loop.

Both learn from the same text in rows of one length, and begin from the same weights. What is timed begins after the
first steps (allocation, compilation) and ends after some seconds; the time of the first steps is stated apart. Nothing
is measured or saved on the way, on either side.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM_UP_STEPS = 3
MOST_STEPS = 100_000


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def held_bytes() -> int:
    """The memory that this process holds now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


class Stopwatch:
    """Times steps: the first ones apart, then until some seconds are over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began = seconds, time.perf_counter()
        self.marks: list[float] = []
        self.tokens = 0.0

    def step(self, tokens: float) -> bool:
        """Note that a step of so many tokens is done; whether it was enough."""
        self.marks.append(time.perf_counter())
        if len(self.marks) > WARM_UP_STEPS:
            self.tokens += tokens
        timed = len(self.marks) - WARM_UP_STEPS
        return timed >= 2 and self.marks[-1] - self.marks[WARM_UP_STEPS - 1] >= self.seconds

    def numbers(self, base: int) -> dict[str, float]:
        """What was measured, with the memory beyond `base`."""
        timed = self.marks[-1] - self.marks[WARM_UP_STEPS - 1]
        peak = peak_bytes()
        return {
            "tokens_per_second": self.tokens / timed,
            "steps": len(self.marks) - WARM_UP_STEPS,
            "first_step_seconds": self.marks[0] - self.began,
            "warm_up_seconds": self.marks[WARM_UP_STEPS - 1] - self.began,
            "base_bytes": base,
            "peak_bytes": peak,
            "training_bytes": peak - base,
        }


def open_tokens(work: str, tokenizer: Any) -> Any:
    """The text of the speed rows as tokens; made once, found by later processes."""
    from stepwell.data import DataConfig, prepare_text, tokenize_text

    text = prepare_text(DataConfig(sources=(f"{work}/text.txt",), validation_ratio=0.01, test_ratio=0.0), work)
    return tokenize_text(text, tokenizer, work).split("train")


def prepare(work: str, text: str) -> dict[str, Any]:
    """Make what the sides of the first rows share: text, a tokenizer, and GPT-2 in both spellings.

    Returns:
        How far apart the logits of the two are, as a share of their spread.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from stepwell.checkpoints import import_model
    from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

    Path(work, "text.txt").write_bytes(Path(text).read_bytes())
    tokenizer = train_tokenizer([Path(text).read_text(encoding="utf-8")], ByteBPEConfig(vocab_size=8192))
    torch.manual_seed(0)
    shape = {"n_layer": 6, "n_embd": 384, "n_head": 6, "n_positions": 256, "vocab_size": 8192}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    last = {"bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(**shape, **still, **last)).save_pretrained(f"{work}/gpt2-hf")
    tokenizer.save(Path(work, "gpt2-hf", "tokenizer.json"))
    import_model(f"{work}/gpt2-hf", Path(work, "gpt2"), parity=False)
    open_tokens(work, tokenizer)
    return {"logits_differ_ratio": logits_differ(f"{work}/gpt2", f"{work}/gpt2-hf")}


def prepare_smollm2(work: str, text: str, gguf: str) -> dict[str, Any]:
    """SmolLM2-135M as our checkpoint and as a folder of transformers, and the text in its tokens."""
    from stepwell.checkpoints import import_model, load_checkpoint
    from stepwell.export import export_hf

    Path(work, "text.txt").write_bytes(Path(text).read_bytes())
    import_model(gguf, Path(work, "smollm2"), parity=False)
    export_hf(Path(work, "smollm2"), Path(work, "smollm2-hf"), dtype="float32", parity=False)
    open_tokens(work, load_checkpoint(Path(work, "smollm2")).tokenizer)
    return {"logits_differ_ratio": logits_differ(f"{work}/smollm2", f"{work}/smollm2-hf")}


def logits_differ(ours: str, theirs: str) -> float:
    """How far apart the logits of two spellings of one model are, as a share of their spread.

    Raises:
        RuntimeError: when it is more than rounding: then it would be no comparison of the same model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from stepwell.checkpoints import load_checkpoint

    model = load_checkpoint(Path(ours)).model.float()
    reference = AutoModelForCausalLM.from_pretrained(theirs, dtype=torch.float32).eval()
    token_ids = torch.randint(0, model.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = reference(token_ids).logits
        apart = float((model(token_ids) - wanted).abs().max() / wanted.std())
    if apart > 1e-3:
        raise RuntimeError(f"{ours} and {theirs} are not the same model: their logits are {apart} apart")
    return apart


def trainer(
    work: str,
    model: str,
    rows: int,
    row_tokens: int,
    seconds: float,
    bf16: bool = False,
    compiled: bool = False,
    lora: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Train with transformers' Trainer, all else at its defaults (logging apart), on a list of rows."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    built: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if lora is not None:
        from peft import LoraConfig, get_peft_model

        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        built = get_peft_model(built, LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=targets))
    dataset = list_of_rows(work, model, row_tokens)
    base, watch = held_bytes(), Stopwatch(seconds)

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            control.should_training_stop = watch.step(rows * row_tokens)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=rows,
            max_steps=MOST_STEPS,
            bf16=bf16,
            torch_compile=compiled,
            use_cpu=not torch.cuda.is_available(),
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        engine = Trainer(model=built, args=arguments, train_dataset=dataset, callbacks=[Timer()])
        watch.began = time.perf_counter()
        engine.train()
    return watch.numbers(base)


def list_of_rows(work: str, model: str, row_tokens: int) -> list[dict[str, Any]]:
    """The text as rows of exactly `row_tokens`, one document after another, as run_clm.py groups it."""
    import numpy as np
    import torch

    from stepwell.tokenizers import Tokenizer

    split = open_tokens(work, Tokenizer.load(Path(model.removesuffix("-hf"), "tokenizer.json")))
    ids = np.asarray(split.token_ids, dtype=np.int64)
    grouped = torch.from_numpy(ids[: len(ids) // row_tokens * row_tokens].reshape(-1, row_tokens))
    return [{"input_ids": row, "labels": row} for row in grouped]


def stepwell(
    work: str,
    model: str,
    rows: int,
    row_tokens: int,
    seconds: float,
    optimizer: str = "adamw",
    settings: dict[str, Any] | None = None,
    lora: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Train with our loop as a long run: rates, precision and compiling are what it derives; nothing is measured.

    Args:
        work: where text and models are.
        model: a checkpoint folder, or `modern` for the default decoder of 6 layers.
        rows: of an update, R.
        row_tokens: of a row, T.
        seconds: to time.
        optimizer: its kind.
        settings: other values of the training section.
        lora: of the LoRA; None to train everything.
    """
    from stepwell.hardware import examine, share_cores

    share_cores()  # as the command does
    machine = examine()
    from stepwell.checkpoints import load_checkpoint
    from stepwell.data import Packer
    from stepwell.errors import Stopped
    from stepwell.models import build_model, decoder_sized
    from stepwell.progress import StepDone
    from stepwell.recipes import derive_training
    from stepwell.tokenizers import Tokenizer
    from stepwell.training import Trainer

    if model == "modern":
        built = build_model(decoder_sized(6, vocab_size=8192, max_seq_len=row_tokens))
        tokenizer = Tokenizer.load(Path(work, "gpt2", "tokenizer.json"))
    else:
        loaded = load_checkpoint(Path(model))
        built, tokenizer = loaded.model.float(), loaded.tokenizer
    derived = derive_training(
        built.config,
        tokens=1e8,
        steps=MOST_STEPS,
        precision=machine.precision,
        memory_bytes=machine.memory_bytes / 2,
        optimizer=optimizer,
        batch_tokens=rows * row_tokens,
        pretrained=model != "modern",
        adapter=None if lora is None else "lora",
    )
    quiet = {"evaluate_every_steps": MOST_STEPS, "checkpoint_every_seconds": 1e9, "row_tokens": row_tokens}
    adapter = None if lora is None else {"kind": "lora", **lora}
    config = training_config(derived, {**quiet, **(settings or {}), "adapter": adapter})
    packer = Packer(open_tokens(work, tokenizer), row_tokens, 0)
    packer.rows(0)
    base, watch = held_bytes(), Stopwatch(seconds)
    enough, before = [False], [0]

    def see(event: Any) -> None:
        if isinstance(event, StepDone):
            enough[0] = watch.step(event.tokens - before[0])
            before[0] = event.tokens

    with tempfile.TemporaryDirectory() as folder:
        loop = Trainer(
            built.to(machine.device),
            tokenizer,
            packer,
            config,
            Path(folder),
            seed=0,
            identity={},
            evaluate=lambda model: {"loss": 1.0},
            gflops=machine.gflops[config.precision],
            watch=see,
            stop_requested=lambda: enough[0],
        )
        watch.began = time.perf_counter()
        with contextlib.suppress(Stopped):
            loop.run()
    return {**watch.numbers(base), "train_flops_per_token": built.config.train_flops_per_token}


def training_config(derived: Any, settings: dict[str, Any]) -> Any:
    """The training section of derived values, with some said otherwise."""
    from stepwell.config import build, merge
    from stepwell.recipes import train_defaults
    from stepwell.training import TrainingConfig

    return build(TrainingConfig, merge(train_defaults(derived).model_dump(), settings), where="benchmark")


def gemm(seconds: float) -> dict[str, float]:
    """The rate of a matrix product in bfloat16, 1e9 operations a second: of a few shapes the fastest, its median."""
    from stepwell.hardware import examine, share_cores

    share_cores()
    machine = examine()
    import torch

    shapes = [(4096, 512, 2048), (4096, 384, 1536), (4096, 1024, 4096), (2048, 2048, 2048), (4096, 384, 8192)]
    rates: dict[str, float] = {}
    for n, k, m in shapes:
        x, w = (torch.randn(size, k, device=machine.device).to(torch.bfloat16) for size in (n, m))
        torch.nn.functional.linear(x, w)
        seen: list[float] = []
        began = time.perf_counter()
        while time.perf_counter() - began < seconds / len(shapes):
            start = time.perf_counter()
            torch.nn.functional.linear(x, w)
            if machine.device == "cuda":
                torch.cuda.synchronize()
            seen.append(2e-9 * n * k * m / (time.perf_counter() - start))
        rates[f"{n}x{k}x{m}"] = statistics.median(seen)
    shape = max(rates, key=lambda name: rates[name])
    return {"gflops": rates[shape], "shape": shape}
