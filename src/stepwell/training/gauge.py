"""What an update costs the machine: the share of its rate that is used, and memory.

The share is that of model FLOPs (MFU; Chowdhery et al., 2022, appendix B): the operations that the model needs for a
token, times tokens a second, over the rate of a matrix product that was measured on this machine. Recomputation does
not count as work. This file leaves out how the rate is measured (`hardware`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from stepwell.models import LanguageModel

if sys.platform != "win32":
    import resource


@dataclass(frozen=True)
class Memory:
    """Memory in bytes, now and at most so far; None where there is no GPU or it does not tell.

    Attributes:
        now: of this process (resident).
        peak: the most that this process had.
        gpu: tensors on the GPU.
        gpu_peak: the most there were.
    """

    now: int
    peak: int
    gpu: int | None = None
    gpu_peak: int | None = None


class Gauge:
    """Reads speed as a share of the machine's, and memory.

    Args:
        model: what is trained; parameters that do not learn need no gradient of their own and cost a third less.
        gflops: measured rate of a matrix product in the precision of the training, 1e9 operations a second, all ranks
            together; None or 0 when it is not known.
    """

    def __init__(self, model: LanguageModel, gflops: float | None) -> None:
        parameters = list(model.parameters())
        learning = sum(each.numel() for each in parameters if each.requires_grad)
        share = learning / max(1, sum(each.numel() for each in parameters))
        self.flops_per_token = model.config.train_flops_per_token * (2 + share) / 3
        self.gflops = gflops or None
        self.device = parameters[0].device if parameters else torch.device("cpu")
        self._process = psutil.Process()

    def mfu_ratio(self, tokens_per_second: float) -> float | None:
        """Share of the measured rate that the model's operations use; None when the rate is not known."""
        if self.gflops is None:
            return None
        return self.flops_per_token * tokens_per_second / (1e9 * self.gflops)

    def memory(self) -> Memory:
        """Memory at this moment."""
        now = int(self._process.memory_info().rss)
        peak = max(now, _peak_bytes())
        if self.device.type == "cuda":
            return Memory(now, peak, torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated())
        if self.device.type == "mps":
            return Memory(now, peak, torch.mps.current_allocated_memory())
        return Memory(now, peak)


def _peak_bytes() -> int:
    """The most memory that this process had, in bytes; 0 where the system does not tell.

    Linux keeps it for this program; `getrusage` there also counts what ran in the process before it was started.
    """
    status = Path("/proc/self/status")
    try:
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
