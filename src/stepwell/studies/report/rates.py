"""The page of a range test: the loss over the learning rate, and the rates that are read off it.

One HTML file that needs nothing else, in the report's style. This file leaves out reading the curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from stepwell.studies.report import charts
from stepwell.studies.report.charts import Frame
from stepwell.studies.report.markup import element
from stepwell.studies.report.page import packaged, render

OWN_STYLE = ".smoothed{--c:var(--water)}.losses path{stroke-width:1;opacity:.45}"


def render_rate_page(result: Mapping[str, Any]) -> str:
    """The page of what `api.find_rate` returns."""
    style = packaged("report.css") + OWN_STYLE
    return render("rates.html.j2", {**result, "picture": draw_rates(result)}, style=style)


def draw_rates(result: Mapping[str, Any]) -> Markup:
    """Loss over rate, wide and narrow, with marks at the suggested rate and where it diverged."""
    return Markup("").join(_draw(result, variant) for variant in ("wide", "narrow"))


def _draw(result: Mapping[str, Any], variant: str) -> Markup:
    rates, losses, smoothed = result["rates"], result["losses"], result["smoothed"]
    low, high = value_range(smoothed)
    narrow = variant == "narrow"
    frame = Frame(400, 260, 46, 388, 24, 226, low, high) if narrow else Frame(960, 340, 56, 944, 26, 302, low, high)
    first, last = math.log10(rates[0]), math.log10(max(rates[-1], result["diverged"] or 0.0))

    def x(rate: float) -> float:
        return frame.left + (frame.right - frame.left) * (math.log10(rate) - first) / (last - first)

    def line(values: Sequence[float], kind: str) -> Markup:
        points = [(x(rate), frame.y(value)) for rate, value in zip(rates, values, strict=True)]
        return element("g", {"class": f"curve {kind}"}, charts.path(points, "solid"))

    parts = [*charts.value_axis(frame), charts.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")]
    for power in range(math.ceil(first), math.floor(last) + 1):
        at = x(10.0**power)
        parts.append(charts.line(at, frame.bottom, at, frame.bottom + 4, "axis"))
        parts.append(charts.label(at, frame.bottom + 18, "tick", f"1e{power}", anchor="middle"))
    parts += [line(losses, "losses"), line(smoothed, "smoothed")]
    marks = [(result["suggested"], "target", "target-name", "suggested")]
    if result["diverged"] is not None:
        marks.append((result["diverged"], "baseline", "baseline-name", "diverged"))
    for rate, kind, name, word in marks:
        at = min(frame.right, max(frame.left, x(rate)))
        parts.append(charts.line(at, frame.top, at, frame.bottom, kind))
        anchor = "end" if at > (frame.left + frame.right) / 2 else "start"
        parts.append(charts.label(at, frame.top - 8, name, f"{word} {rate:g}", anchor=anchor))
    return charts.svg(frame, variant, "Loss over learning rate", *parts)


def value_range(smoothed: Sequence[float]) -> tuple[float, float]:
    """What is shown: all of the fall, and half as much above its beginning; a loss that ran away leaves the picture."""
    low, began = min(smoothed), smoothed[0]
    return charts.padded(low, min(max(smoothed), began + (began - low) / 2), 0.05)
