"""How everything here is measured: in processes of their own, in turns, several times.

A *side* (ours, or another program's) is a function of `sides.py` and `memory.py` that runs in a fresh process and gives
plain numbers. Sides take turns (A B A B), so a machine that is slow for a while is slow for both, and a ratio is taken
round by round. This file loads no torch: a small parent leaves the memory of its children alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
PROJECT = BENCHMARKS.parent
DATA = Path(os.environ.get("STEPWELL_DATA", PROJECT.parent / "shared" / "data"))
SHAKESPEARE, WIKITEXT = DATA / "lm" / "tinyshakespeare.txt", DATA / "lm" / "wikitext2-valid.txt"

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What every row is told.

    Attributes:
        work: a folder for what rows make.
        rounds: how often the sides take turns.
        seconds: of timed training, each time.
        quick: a trial of the script: few steps, nothing for the ledger.
        nanogpt: a work tree of nanoGPT, or None.
    """

    work: Path
    rounds: int
    seconds: float
    quick: bool
    nanogpt: Path | None


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        measure: what was compared.
        values: one for each round.
        unit: of the values.
        reach: what is wanted.
        met: whether the median reaches it.
        details: what the ledger keeps beside.
    """

    measure: str
    values: list[float]
    unit: str
    reach: str
    met: bool
    details: Numbers = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def cells(self) -> tuple[str, ...]:
        low, high = min(self.values), max(self.values)
        shown = f"{self.median:.3g} ({low:.3g} to {high:.3g}) {self.unit}".strip()
        return self.measure, self.reach, shown, "yes" if self.met else "no"

    def record(self) -> Numbers:
        """What the ledger holds of it."""
        low, high = min(self.values), max(self.values)
        spread = {"median": rounded(self.median), "low": rounded(low), "high": rounded(high)}
        return {"measure": self.measure, **spread, "unit": self.unit, "reach": self.reach, "met": self.met,
                "values": [rounded(value) for value in self.values], **self.details}  # fmt: skip


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def at_least(measure: str, values: list[float], bound: float, unit: str = "times", **details: Any) -> Line:
    """A line whose median should be a bound or more."""
    return Line(measure, values, unit, f"at least {bound:g} {unit}", statistics.median(values) >= bound, details)


def at_most(measure: str, values: list[float], bound: float, unit: str = "times", **details: Any) -> Line:
    """A line whose median should be a bound or less."""
    return Line(measure, values, unit, f"at most {bound:g} {unit}", statistics.median(values) <= bound, details)


def in_child(side: str, **told: Any) -> Numbers:
    """Run a side in a fresh process.

    Args:
        side: `file:function` of this folder.
        told: plain values that the function takes.

    Raises:
        SystemExit: when it fails, with the end of what it said.
    """
    command = [sys.executable, "-m", "training_rows.child", side, json.dumps(told, default=str)]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} {told} failed:\n{done.stdout[-1000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def take_turns(sides: Mapping[str, Callable[[], Numbers]], rounds: int, say: str) -> dict[str, list[Numbers]]:
    """Run every side in every round, one after another: name -> what it gave, round by round."""
    found: dict[str, list[Numbers]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, run in sides.items():
            found[name].append(run())
            print(f"  {say}: {name}, round {number + 1} of {rounds}: {short(found[name][-1])}", file=sys.stderr)
    return found


def short(numbers: Numbers) -> str:
    """Numbers on one line."""
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())


def ratios(above: Sequence[Numbers], below: Sequence[Numbers], key: str) -> list[float]:
    """Round by round, one side's number over the other's."""
    return [float(a[key]) / float(b[key]) for a, b in zip(above, below, strict=True)]


def medians(found: Mapping[str, Sequence[Numbers]], key: str) -> dict[str, float]:
    """The middle number of each side."""
    return {name: rounded(statistics.median(float(one[key]) for one in runs)) for name, runs in found.items()}
