"""The range test on screen: a small plot of the loss over the learning rate, and what it says.

The plot is text, so it goes wherever the terminal does. This file leaves out the page that is written beside the run.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from stepwell.cli.show import console_for, print_json

WIDTH, HEIGHT = 60, 12
"""Letters of the plot, axes left out."""


def rate_result(result: dict[str, Any], recipe: str, *, json: bool) -> None:
    """The suggested rate, the plot, and how to take it."""
    if json:
        print_json(result)
        return
    console = console_for()
    for line in plot(result["rates"], result["smoothed"], result["suggested"], result["diverged"]):
        console.print(line, markup=False, soft_wrap=True)
    diverged = (
        "it never ran away" if result["diverged"] is None else f"half of the fall was lost at {result['diverged']:g}"
    )
    console.print()
    console.print(f"suggested  [bold]{result['suggested']:g}[/] for {result['optimizer']}, on the low side")
    console.print(
        f"[dim]the loss fell fastest at {result['steepest']:g}; {diverged}; the recipe plans {result['planned']:g}[/]"
    )
    console.print(f"curve      {result['page']}", markup=False, soft_wrap=True)
    sets = " ".join(f"{path}={rate:g}" for path, rate in result["values"].items())
    console.print(f"take it    stepwell run {shlex.quote(recipe)} --set {sets}", markup=False, soft_wrap=True)


def plot(rates: Sequence[float], losses: Sequence[float], suggested: float, diverged: float | None) -> list[str]:
    """Lines of text: the loss upwards, the logarithm of the rate to the right.

    Args:
        rates: rising, above 0.
        losses: as many.
        suggested: where an upright line of colons stands.
        diverged: where one of exclamation marks stands; None for none.
    """
    low, began = min(losses), losses[0]
    high = max(began, min(max(losses), began + (began - low) / 2))
    first, last = math.log10(rates[0]), math.log10(rates[-1])

    def column(rate: float) -> int:
        return min(WIDTH - 1, max(0, round((math.log10(rate) - first) / (last - first) * (WIDTH - 1))))

    canvas = [[" "] * WIDTH for _ in range(HEIGHT)]
    for rate, sign in ((suggested, ":"), (diverged, "!")):
        for row in canvas:
            if rate is not None:
                row[column(rate)] = sign
    for rate, loss in zip(rates, losses, strict=True):
        if loss <= high:
            height = round((loss - low) / max(1e-9, high - low) * (HEIGHT - 1))
            canvas[HEIGHT - 1 - height][column(rate)] = "*"
    names = {0: f"{high:.2f}", HEIGHT - 1: f"{low:.2f}"}
    lines = [f"{names.get(place, ''):>7} |{''.join(row)}".rstrip() for place, row in enumerate(canvas)]
    foot = [" "] * WIDTH
    for power in range(math.ceil(first), math.floor(last) + 1):
        at = min(column(10.0**power), WIDTH - len(f"1e{power}"))
        foot[at : at + len(f"1e{power}")] = f"1e{power}"
    return [*lines, " " * 8 + "+" + "-" * WIDTH, (" " * 9 + "".join(foot)).rstrip()]
