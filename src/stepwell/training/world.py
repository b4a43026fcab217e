"""The ranks of one job: who this process is among them, and the few words that they say to each other.

`torchrun` starts the ranks and tells them where to meet. Everything that ranks must agree on goes through four verbs
(`sum`, `any`, `time`, `broadcast`), so a decision is made once, by rank 0 or by all of them together. When one rank is
lost or hangs, the others find out who, say it once, and end. This file leaves out how a model is spread over the ranks
(`spread.py`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from stepwell.errors import EndedElsewhere, StepwellError, TrainingError, UsageError
from stepwell.hardware import choose_device, usable_cores

TIMEOUT_SECONDS = 600.0
"""How long ranks wait for each other within an update; `STEPWELL_RANK_TIMEOUT_SECONDS` overrides."""

ROLL_CALL_SECONDS = 5.0
"""After a fault, a rank that says nothing for so long is the one that is lost."""


class World:
    """The ranks of a job. Alone, every verb gives back what it got and costs nothing.

    Args:
        rank: which one this is, from 0.
        size: how many there are.
        device: where this one's tensors go.
        store: what all ranks can write to and read from; None when alone.
        timeout_seconds: longest wait for the others within an update.

    Attributes:
        is_main: whether this rank writes files, speaks and decides.
    """

    _joined: ClassVar[World | None] = None

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        device: torch.device | None = None,
        store: Store | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.rank, self.size, self.timeout_seconds = rank, size, timeout_seconds
        self.device = torch.device("cpu") if device is None else device
        self.is_main = rank == 0
        self._store = store
        self._spoken = 0

    @classmethod
    def alone(cls) -> World:
        """A world of one process."""
        return cls()

    @classmethod
    def from_environment(cls) -> World:
        """The world that torchrun made, joined at the first call; alone when there is no torchrun.

        Raises:
            UsageError: when torchrun's variables are not numbers, or there are more ranks than GPUs on this machine.
            TrainingError: when the other ranks do not come.
        """
        size = _number("WORLD_SIZE", 1)
        if size <= 1 or "RANK" not in os.environ:
            return cls.alone()
        if cls._joined is None:
            cls._joined = cls._join(_number("RANK", 0), size)
        return cls._joined

    @classmethod
    def _join(cls, rank: int, size: int) -> World:
        seconds = float(_number("STEPWELL_RANK_TIMEOUT_SECONDS", int(TIMEOUT_SECONDS)))
        device = _own_device()
        torch.set_num_threads(usable_cores())
        patience = timedelta(seconds=seconds)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        try:
            store, _, _ = next(rendezvous("env://", timeout=patience))
            dist.init_process_group(
                backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=patience
            )
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"rank {rank} of {size}: does not find the others",
                got=str(error).splitlines()[0],
                do="start all ranks with torchrun; across machines they need one --rdzv-endpoint that all can reach",
            ) from error
        return cls(rank, size, device, PrefixStore("stepwell", store), seconds)

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Each number, summed over the ranks (float64)."""
        if self.size == 1:
            return numbers
        totals = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(totals)
        return tuple(totals.tolist())

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank."""
        return flag if self.size == 1 else self.sum(float(flag))[0] > 0

    def time(self) -> float:
        """`time.monotonic()` of rank 0, on all ranks, so that what the clock decides is decided alike."""
        if self.size == 1:
            return time.monotonic()
        now = torch.tensor(time.monotonic(), dtype=torch.float64)
        dist.broadcast(now, 0)
        return float(now)

    def broadcast(self, value: Any) -> Any:
        """What rank 0 says, on all ranks; the others wait for it as long as it takes, unless a rank fails.

        Args:
            value: plain (JSON) on rank 0; not looked at on the others.
        """
        if self._store is None:
            return value
        self._spoken += 1
        key = f"said/{self._spoken}"
        if self.is_main:
            self._store.set(key, json.dumps(value))
            return value
        pause = 0.001
        while not self._store.check([key]):
            if self._store.check(["failed"]):
                raise self._elsewhere()
            time.sleep(pause)
            pause = min(0.1, 1.5 * pause)
        return json.loads(self._store.get(key))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work in which the ranks need each other: a fault of one ends all of them, and is told by one.

        Raises:
            EndedElsewhere: on every rank but the one that tells what happened.
            TrainingError: when a rank was lost or hangs; it is named.
        """
        try:
            yield
        except EndedElsewhere:
            raise
        except BaseException as error:
            if self.size == 1:
                raise
            fault = self._lost(error) if _is_of_the_wire(error) else error
            if self._is_first_to_tell(fault):
                if fault is error:
                    raise
                raise fault from error
            raise self._elsewhere() from error

    def _is_first_to_tell(self, fault: BaseException) -> bool:
        """Whether no other rank has told of a fault; what ends them all is then known to all."""
        assert self._store is not None
        code = fault.exit_code if isinstance(fault, StepwellError) else 1
        told = json.dumps([self.rank, code, str(fault) or type(fault).__name__])
        try:
            return bool(self._store.compare_set("failed", "", told) == told.encode())
        except RuntimeError:  # nobody is left to tell
            return True

    def _elsewhere(self) -> EndedElsewhere:
        assert self._store is not None
        try:
            rank, code, words = json.loads(self._store.get("failed"))
        except RuntimeError:
            rank, code, words = "?", 1, "the meeting point is gone"
        return EndedElsewhere(f"rank {rank}: {words}", code)

    def _lost(self, error: BaseException) -> StepwellError:
        """Call the roll after the wire broke, and name the ranks that say nothing."""
        assert self._store is not None
        others = [rank for rank in range(self.size) if rank != self.rank]
        first_line = str(error).strip().splitlines()[0]
        do = "look at what that rank wrote; run the same command again to go on from the last checkpoint"
        try:
            self._store.set(f"here/{self.rank}", "")
            end = time.monotonic() + ROLL_CALL_SECONDS
            while others and time.monotonic() < end:
                if self._store.check(["failed"]):
                    return self._elsewhere()
                others = [rank for rank in others if not self._store.check([f"here/{rank}"])]
                time.sleep(0.02)
        except RuntimeError:
            return TrainingError("the ranks have lost their meeting point", got=first_line, do=do)
        if not others:
            return TrainingError("the ranks have lost each other", got=first_line, do=do)
        names = f"rank {', '.join(map(str, others))} of {self.size}"
        if "timed out" in str(error).lower() or "timeout" in str(error).lower():
            return TrainingError(f"{names}: hangs", got=f"no answer for {self.timeout_seconds:g} s", do=do)
        return TrainingError(f"{names}: is gone", got="a closed connection: it was killed, or its machine lost", do=do)


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdigit():
        raise UsageError(f"{name}: must be a whole number", got=value)
    return int(value)


def _own_device() -> torch.device:
    """The GPU of this rank's place on its machine, or the CPU.

    Raises:
        UsageError: when there are more ranks than GPUs.
    """
    device = choose_device()
    if device != "cuda":
        return torch.device("cpu")  # ranks do not share the one GPU of "mps"
    place = _number("LOCAL_RANK", 0)  # pragma: no cover - needs a GPU; this and the next lines are reviewed only
    if place >= torch.cuda.device_count():
        raise UsageError(
            "torchrun: more ranks than GPUs on this machine",
            got=f"local rank {place} and {torch.cuda.device_count()} GPUs",
            do="set --nproc-per-node to the number of GPUs",
        )
    torch.cuda.set_device(place)
    return torch.device("cuda", place)


def _is_of_the_wire(error: BaseException) -> bool:
    """Whether an error is one of talking to the other ranks; gloo's are plain RuntimeErrors."""
    words = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(name in words for name in ("gloo", "nccl", "connection closed", "store"))
    )
