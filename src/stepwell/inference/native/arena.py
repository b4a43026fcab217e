"""Memory in large pages, for what is read from end to end in every step.

A processor looks up the place of each page that it reads; pages of 4 kB are so many that this takes longer than the
reading. Where the system has no large pages the memory is plain.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

PAGE_BYTES = 2 << 20
LINE_BYTES = 64


class Arena:
    """Room for tensors side by side, filled with zeros.

    Args:
        num_bytes: of all of them; each begins at a multiple of 64.
    """

    def __init__(self, num_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # what is shared with other processes gets no large pages
        self._memory = mmap.mmap(-1, num_bytes + 2 * PAGE_BYTES, flags=flags)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(self._memory, np.uint8)
        begin = -whole.ctypes.data % PAGE_BYTES
        self._free = torch.from_numpy(whole[begin:])

    def room(self, num_bytes: int, dtype: torch.dtype) -> Tensor:
        """A flat tensor of so many bytes."""
        taken, self._free = self._free[:num_bytes], self._free[padded(num_bytes) :]
        return taken.view(dtype)

    def hold(self, tensor: Tensor) -> Tensor:
        """A flat copy of a tensor."""
        place = self.room(tensor.nbytes, tensor.dtype)
        place.copy_(tensor.flatten())
        return place


def padded(num_bytes: int) -> int:
    """Room that so many bytes take."""
    return -(-num_bytes // LINE_BYTES) * LINE_BYTES
