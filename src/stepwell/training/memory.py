"""Memory that is not there: how it is recognised, and what can still be done.

A forward or backward that found no memory has changed nothing and is made again in smaller pieces (`loop.py`); an
optimizer that found none may have changed some weights already, so the run ends with a word. On Linux the kernel
often kills a process that asks for too much instead of telling it: nothing in the process can catch that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stepwell.errors import TrainingError

CPU_WORDS = ("can't allocate memory", "not enough memory", "bad_alloc")
"""What torch says in a plain RuntimeError when the system's memory is used up."""


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether a fault says that memory is used up, on a GPU or in the machine."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(words in str(fault) for words in CPU_WORDS)


@contextmanager
def needing_memory(what: str, do: str) -> Iterator[None]:
    """Turn a lack of memory in the body into an error that says for what.

    Raises:
        TrainingError: when there is no memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as fault:
        if not is_out_of_memory(fault):
            raise
        raise TrainingError(f"no memory for {what}", got=str(fault).strip().partition("\n")[0], do=do) from fault
