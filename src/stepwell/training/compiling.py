"""Where compiling a model pays, and doing it.

`torch.compile` fuses what stands between the matrix products, but needs a while before the first step. The blocks of a
stack are alike, so one of them is compiled and serves all; the first steps of a run go without, so that it begins at
once. Whether it pays is decided before a run from its length and from constants, and kept with its progress, so a run
that was stopped goes on with the same bits. This file leaves out prediction, which stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from pathlib import Path

import torch
from torch.utils._triton import has_triton

from stepwell.hardware import cache_directory
from stepwell.models import LanguageModel, Stack
from stepwell.progress import Fact
from stepwell.training.config import TrainingConfig
from stepwell.training.record import Record
from stepwell.training.state import Progress

FROM_STEP = 2
"""Steps of a run before it compiles."""

COLD_SECONDS, WARM_SECONDS = 25.0, 6.0
"""What compiling takes, for the first time and when its result is kept on disk (measured: benchmarks/LOG.md)."""

SAVED_RATIO = 0.08
"""Share of a step's time that it saves on a CPU in half precision: less of a wide model's, more of a narrow one's
(benchmarks/LOG.md)."""

USUAL_SHARE = 0.6
"""Share of the measured rate that a training step uses (measured: benchmarks/ledger.jsonl)."""

WORTH = 2.0
"""It must save this many times what it takes."""


class Compiled:
    """The compiled form of a model in training.

    Args:
        model: what is trained.
        config: how.
        record: is told.

    Attributes:
        since: the step that began with it in this process; None while the model is as it was written.
    """

    def __init__(self, model: LanguageModel, config: TrainingConfig, record: Record) -> None:
        self.model, self.config, self.record = model, config, record
        self.stacks = [part for part in model.modules() if isinstance(part, Stack)]
        self.since: int | None = None

    @property
    def is_possible(self) -> bool:
        """Whether there is something to compile, and what it takes: a C++ compiler for the CPU, Triton for CUDA."""
        if not self.stacks or self.model.device.type not in ("cpu", "cuda"):
            return False
        if self.model.device.type == "cuda":
            return bool(has_triton())
        return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))

    def is_worth_it(self, seconds: float | None, gflops: float | None) -> bool:
        """Whether a run should compile.

        Args:
            seconds: the time there is; None for a run of so many steps, whose time is then estimated from the rate
                alone, so that the same run always decides the same.
            gflops: measured rate of a matrix product; None when it is not known.
        """
        config = self.config
        if config.compile is None and not getattr(config.objective, "fixed_shapes", True):
            return False  # each new shape would be compiled again
        if config.compile is not None or config.precision != "bfloat16" or not self.is_possible:
            return bool(config.compile) and self.is_possible
        if seconds is not None:
            return seconds * SAVED_RATIO > WORTH * (WARM_SECONDS if self._marker.exists() else COLD_SECONDS)
        if not gflops:
            return False
        flops = config.steps * config.global_batch_tokens * self.model.config.train_flops_per_token
        return flops / (USUAL_SHARE * 1e9 * gflops) * SAVED_RATIO > WORTH * COLD_SECONDS

    def mind(self, state: Progress) -> None:
        """Begin with it, when this is the step to.

        What is compiled is kept in stepwell's cache folder, so the next run of the same shapes needs a few seconds.
        """
        if self.since is not None or state.compile_from is None or state.step < state.compile_from:
            return
        self.since = state.step
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_directory() / "inductor"))
        warnings.filterwarnings("ignore", module=r"torch\.")  # it uses what it warns of
        for stack in self.stacks:
            stack.compiled = [torch.compile(block, dynamic=False) for block in stack.blocks]
        self.record.watch(Fact("compiling the model: this step takes longer, those after it less"))
        try:
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.touch()
        except OSError:
            return  # the next run thinks that it is the first

    def give_up(self, state: Progress, words: str) -> None:
        """Train as before again; `words` say what the compiler did not like."""
        self.since = state.compile_from = None
        self.model.zero_grad(set_to_none=True)
        for stack in self.stacks:
            stack.compiled = []
        self._marker.unlink(missing_ok=True)
        detail = f"{words}; trained without (training.compile: false leaves it out)"
        self.record.happened(state.step + 1, "compiling_failed", detail, warning=True)

    @property
    def _marker(self) -> Path:
        """A file that is there when blocks of these shapes were compiled before, by this torch."""
        model, config = self.model, self.config
        facts = (torch.__version__, model.device.type, model.config.model_dump_json(), config.micro_batch)
        return cache_directory() / "inductor" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.compiled"


def is_compile_fault(fault: BaseException | None) -> bool:
    """Whether an error came from compiling rather than from the model."""
    while fault is not None:
        if type(fault).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return True
        fault = fault.__cause__ or fault.__context__
    return False
