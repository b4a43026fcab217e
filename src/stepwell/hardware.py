"""What this machine is, and the fastest safe settings on it, by measurement.

Half precision is taken only where a matrix product in it was measured to be clearly faster; a processor's flags
alone prove nothing. The measurement takes about a second and is kept in the user's cache folder, keyed by processor
and torch, so the choice is the same from one process to the next; one that was made beside other programs is made
again when there are none.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from stepwell.errors import UsageError

Precision = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda", "mps"]

BUSY_PERCENT = 15.0
"""Other programs are at work when they take more than this share of all cores."""

LOOK_SECONDS = 0.1
"""How long is looked at what they take."""

WORTH_IT = 1.3
"""Half precision must be this much faster than float32 in a matrix product to be taken."""


@dataclass(frozen=True)
class Machine:
    """A machine, as far as training cares.

    Attributes:
        cpu: the processor's name.
        cores: cores that this process may use.
        memory_bytes: of the whole machine; an equal share of it where several ranks run.
        device: where tensors go.
        gpu: its name, if there is one.
        vnni: the processor multiplies 8-bit integers in hardware.
        amx: it has matrix units.
        bf16: it has bfloat16 instructions.
        gflops: measured rate of a matrix product, 1e9 operations a second, by precision.
        precision: the one to train in.
        threads: for torch.
    """

    cpu: str
    cores: int
    memory_bytes: int
    device: Device
    gpu: str | None
    vnni: bool
    amx: bool
    bf16: bool
    gflops: dict[str, float]
    precision: Precision
    threads: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def share_cores(look_seconds: float = LOOK_SECONDS) -> None:
    """Decide how threads wait for each other, by what else runs here; to be called before torch is loaded.

    Spinning is a third faster for small models on a quiet machine, and several times slower beside another program
    (benchmarks/LOG.md). So threads sleep at once where others are at work now, and spin briefly where nobody is. What
    the user set is left alone.

    Args:
        look_seconds: how long to look at what the other programs take, while this one waits.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    if psutil.cpu_percent(interval=look_seconds) > BUSY_PERCENT:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        os.environ["GOMP_SPINCOUNT"] = "100000"


@contextmanager
def held_memory() -> Iterator[None]:
    """Inside, memory that this process frees stays with it for the next tensor, instead of going back to the system.

    A step of training frees and takes the same gigabyte again; the system clears each page of it anew, a tenth of the
    step's time (benchmarks/LOG.md). The peak is the same. For glibc's allocator; others, and one that the user has set
    by `MALLOC_...` variables, are left alone.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None or any(name.startswith("MALLOC_") for name in os.environ):
        yield
        return
    for option, held, _ in _MALLOC_OPTIONS:
        libc.mallopt(option, held)
    try:
        yield
    finally:
        for option, _, usual in _MALLOC_OPTIONS:
            libc.mallopt(option, usual)


_MALLOC_OPTIONS = (
    (-1, -1, 64 * 2**20),  # M_TRIM_THRESHOLD: never, instead of the most that glibc lets it grow to by itself
    (-2, 64 * 2**20, 128 * 2**10),  # M_TOP_PAD: what is taken beyond a request
    (-4, 0, 65_536),  # M_MMAP_MAX: no request has pages of its own, which go back when it is freed
)
"""Option of mallopt(3), its value while memory is held, and its value otherwise."""


def cache_directory() -> Path:
    """Where measurements are kept: `$STEPWELL_CACHE`, else the user's cache folder."""
    if named := os.environ.get("STEPWELL_CACHE"):
        return Path(named)
    if sys_cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(sys_cache) / "stepwell"
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "stepwell"
    return Path.home() / ".cache" / "stepwell"


def ranks_here() -> int:
    """Processes of one job on this machine, as torchrun says; 1 without it."""
    size = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(size)) if size.isdigit() else 1


def usable_cores() -> int:
    """Physical cores that this process may run on, at least 1; `OMP_NUM_THREADS` lowers it.

    Ranks on one machine take equal shares. torchrun sets `OMP_NUM_THREADS=1` where it is not set: that is no wish.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if ranks_here() > 1:
        cores = max(1, cores // ranks_here())
        asked = "" if asked == "1" else asked
    return max(1, min(cores, int(asked)) if asked.isdigit() and int(asked) else cores)


def available_memory() -> int:
    """Bytes that can be taken without swapping."""
    return int(psutil.virtual_memory().available)


def choose_device() -> Device:
    """The accelerator if there is one; `STEPWELL_DEVICE` overrides.

    Raises:
        UsageError: when `STEPWELL_DEVICE` names no device of torch's three.
    """
    import torch

    named = os.environ.get("STEPWELL_DEVICE")
    if named is not None:
        for device in ("cpu", "cuda", "mps"):
            if named == device:
                return device
        raise UsageError("STEPWELL_DEVICE: no such device", got=named, wanted="cpu, cuda or mps")
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() and ranks_here() == 1 else "cpu"


def examine(measure_again: bool = False) -> Machine:
    """Find out what this machine is; measured rates come from the cache when they are there.

    Args:
        measure_again: measure even so.
    """
    import torch

    device, cores = choose_device(), usable_cores()
    torch.set_num_threads(cores)
    name, flags = _processor()
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    key = f"{name}|{gpu}|{device}|{cores}|torch {torch.__version__}"
    gflops = _rates(key, device, measure_again)
    faster = gflops["bfloat16"] >= WORTH_IT * gflops["float32"]
    return Machine(
        cpu=name,
        cores=cores,
        memory_bytes=int(psutil.virtual_memory().total) // ranks_here(),
        device=device,
        gpu=gpu,
        vnni=any("vnni" in flag for flag in flags),
        amx=any(flag.startswith("amx") for flag in flags),
        bf16=any("bf16" in flag for flag in flags),
        gflops=gflops,
        precision="bfloat16" if faster else "float32",
        threads=cores,
    )


def _processor() -> tuple[str, frozenset[str]]:
    """The processor's name and feature flags."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields: dict[str, str] = {}
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip().lower(), value.strip())
        flags = fields.get("flags") or fields.get("features") or ""
        return fields.get("model name") or platform.machine(), frozenset(flags.lower().split())
    if platform.system() == "Darwin":
        name = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        ).stdout.strip()
        return name or platform.machine(), frozenset()
    return platform.processor() or platform.machine(), frozenset()


def _measure(device: Device) -> dict[str, float]:
    """GEMM rate of the shapes that a small model has, by precision; 0 where the precision does not run."""
    import torch

    def rate(dtype: torch.dtype) -> float:
        x, w = (torch.randn(n, 512, device=device).to(dtype) for n in (4096, 2048))
        try:
            seconds = _best_of(lambda: torch.nn.functional.linear(x, w), device, repeats=8)
        except RuntimeError:
            return 0.0
        return round(2 * 4096 * 512 * 2048 / seconds / 1e9, 1)

    return {"float32": rate(torch.float32), "bfloat16": rate(torch.bfloat16)}


def _rates(key: str, device: Device, measure_again: bool) -> dict[str, float]:
    """What was measured, now or before. Beside other programs that is too little: it serves while they are there."""
    kept, was_quiet = (None, False) if measure_again else _recall(key)
    if kept is not None and was_quiet:
        return kept
    is_quiet = psutil.cpu_percent(interval=LOOK_SECONDS) <= BUSY_PERCENT
    if kept is not None and not is_quiet:
        return kept
    gflops = _measure(device)
    _remember(key, gflops, is_quiet)
    return gflops


def _best_of(work: Callable[[], object], device: Device, repeats: int) -> float:
    import torch

    best = float("inf")
    for _ in range(repeats + 2):  # the first two warm up
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def _recall(key: str) -> tuple[dict[str, float] | None, bool]:
    """The rates in the cache, and whether the machine was quiet."""
    try:
        entry = _kept()[key]
        return {precision: float(entry[precision]) for precision in ("float32", "bfloat16")}, bool(entry.get("quiet"))
    except (ValueError, KeyError, TypeError):
        return None, False


def _kept() -> dict[str, Any]:
    """All rates in the cache, by key; a damaged cache holds none."""
    try:
        return dict(json.loads((cache_directory() / "hardware.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _remember(key: str, gflops: dict[str, float], is_quiet: bool) -> None:
    path = cache_directory() / "hardware.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(json.dumps({**_kept(), key: {**gflops, "quiet": is_quiet}}, indent=2), encoding="utf-8")
        draft.replace(path)
    except OSError:
        return  # a cache that cannot be written costs a second the next time, nothing else
