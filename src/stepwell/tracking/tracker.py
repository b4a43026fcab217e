"""What a tracker is: something that takes named numbers of a step and shows them elsewhere.

Each tracker is one class in a file of its own, and one row in the catalog. It loads its library when it is made, not
before, and may fail in any way it likes: whoever made it (forwarding.py) sees to it that the run goes on. This file
leaves out every concrete tracker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class TrackedRun:
    """One training as a tracker knows it; each round of the loop is one.

    Attributes:
        out: the run directory.
        key: names the run directory's run among all others, for ever; plain letters and digits.
        round: number of the round, from 1.
        first_step: what a process that was stopped recorded from this step on is about to be done again.
        settings: the recipe, dotted path -> value.
    """

    out: Path
    key: str
    round: int
    first_step: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """What the rounds have in common: the name of the run directory."""
        return self.out.resolve().name

    @property
    def name(self) -> str:
        """This round among them."""
        return f"round-{self.round:02d}"


class Tracker(ABC):
    """Shows the numbers of one training elsewhere; made again for the same training, it goes on with it.

    Args:
        run: which training.

    Attributes:
        module: what is imported, and what tells whether the library is there.
        last_step: the last step that is recorded already and cannot be forgotten; steps up to it are not sent again.
    """

    module: ClassVar[str]
    last_step: int = 0

    @abstractmethod
    def __init__(self, run: TrackedRun) -> None: ...

    @classmethod
    @abstractmethod
    def advice(cls, out: Path) -> str:
        """How one looks at it: a command or a place."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record finite numbers by name (`train/loss`) at a step."""

    def forget(self, step: int) -> bool:
        """Drop what is recorded from a step on, because it is done again; False where that cannot be done."""
        return False

    @abstractmethod
    def close(self, finished: bool) -> None:
        """Let go of everything. A training that did not finish may go on in another process."""
