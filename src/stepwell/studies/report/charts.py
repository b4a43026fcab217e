"""The pictures of the report, as inline SVG.

A picture is drawn twice, wide for a desk and narrow for a phone, because scaled letters cannot be read; the style
sheet shows the one that fits. Colours are classes (`r3` is round 3), so one drawing serves light, dark and paper.
Scales and axes are here; the two kinds of picture are in stair.py and curves.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from stepwell.studies.report.figures import show_count
from stepwell.studies.report.markup import element


@dataclass(frozen=True)
class Frame:
    """The drawing area of a picture in its own units (one unit is one pixel at full width).

    Args:
        width: whole width.
        height: whole height.
        left: x where the area begins.
        right: x where it ends.
        top: y where it begins.
        bottom: y where it ends.
        low: value at `bottom`.
        high: value at `top`, above `low`.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    low: float
    high: float

    def y(self, value: float) -> float:
        """Where a value stands; one outside the range stands at the border."""
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - min(1.0, max(0.0, share)) * (self.bottom - self.top)

    def holds(self, value: float) -> bool:
        """Whether a value lies in the range."""
        return self.low <= value <= self.high


def svg(frame: Frame, variant: str, title: str, *parts: object) -> Markup:
    """A picture with a title for those who hear the page; `variant` is `wide` or `narrow`."""
    attributes = {"class": variant, "viewBox": f"0 0 {frame.width:g} {frame.height:g}", "role": "img"}
    return element("svg", attributes, element("title", {}, title), *parts)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": kind})


def label(x: float, y: float, kind: str, *words: object, anchor: str | None = None) -> Markup:
    """A text; `anchor` is None (start), `middle` or `end`."""
    return element("text", {"x": x, "y": y, "class": kind, "text-anchor": anchor}, *words)


def path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line through points."""
    return element("path", {"d": "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), "class": kind})


def value_axis(frame: Frame, show: str | None = None, count: int = 5) -> list[Markup]:
    """Hairlines with their values at the left; `show="percent"` writes ratios as percent."""
    parts: list[Markup] = []
    ticks, digits = nice_ticks(frame.low, frame.high, count)
    for tick in ticks:
        wording = f"{100 * tick:.{max(0, digits - 2)}f} %" if show == "percent" else f"{tick:.{digits}f}"
        y = frame.y(tick)
        parts.append(line(frame.left, y, frame.right, y, "grid"))
        parts.append(label(frame.left - 8, y + 4, "tick", wording.replace("-", "−"), anchor="end"))
    return parts


def count_axis(frame: Frame, most: float) -> list[Markup]:
    """Counts from 0 to `most` along the foot."""
    parts = [line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")]
    ticks, _ = nice_ticks(0.0, most, 6 if frame.width > 600 else 3)
    for tick in ticks:
        x = frame.left + (frame.right - frame.left) * tick / most
        parts.append(line(x, frame.bottom, x, frame.bottom + 4, "axis"))
        wording = show_count(tick) if tick < 10_000 else _short(tick)
        parts.append(label(x, frame.bottom + 18, "tick", wording, anchor="middle"))
    return parts


def nice_ticks(low: float, high: float, count: int) -> tuple[list[float], int]:
    """About `count` round numbers in [low, high], and the decimals that they need."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [which * step for which in range(first, math.floor(high / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return ticks, digits + (1 if round(step / 10.0 ** math.floor(math.log10(step) + 1e-9), 6) == 2.5 else 0)


def padded(low: float, high: float, ratio: float = 0.08) -> tuple[float, float]:
    """A range with some air on both sides; a single value gets a range around it."""
    air = (high - low) * ratio
    if air <= abs(high) * 1e-6:
        air = max(abs(high) * 0.05, 1e-3)
    return low - air, high + air


def spread(places: list[float], gap: float, top: float, bottom: float) -> list[float]:
    """Labels' heights moved as little as need be so that neighbours keep `gap`; their order stays."""
    order = sorted(range(len(places)), key=lambda which: places[which])
    moved = list(places)
    for _ in range(60):
        for above, below in pairwise(order):
            lack = gap - (moved[below] - moved[above])
            if lack > 0.01:
                moved[above] -= lack / 2
                moved[below] += lack / 2
        moved = [min(bottom, max(top, place)) for place in moved]
    return moved


def wrapped(text: str, room: float, size: float, lines: int) -> list[str]:
    """Text in lines of at most `room` units, cut with an ellipsis after so many lines.

    Args:
        text: what to wrap; breaks at spaces, and anywhere beside a wide (East Asian) letter.
        room: width of a line.
        size: height of the letters; a Latin letter counts 0.55 of it, a wide one all of it.
        lines: most lines.
    """
    found = [""]
    for word in _pieces(text):
        if found[-1] and text_width(found[-1] + word.rstrip(), size) > room:
            found.append("")
        found[-1] += word if found[-1] else word.lstrip()
    kept = [part.rstrip() for part in found[:lines]]
    if len(found) > lines:
        kept[-1] = kept[-1].rstrip(",，") + " …"
    return kept


def text_width(text: str, size: float) -> float:
    """About how wide a text is."""
    return sum(size if is_wide(letter) else size * 0.55 for letter in text)


def _pieces(text: str) -> list[str]:
    pieces = [""]
    for letter in text:
        pieces[-1] += letter
        if letter == " " or is_wide(letter):
            pieces.append("")
    return pieces


def is_wide(letter: str) -> bool:
    """Whether a letter of East Asia takes a square, and no space beside it."""
    return "\u2e80" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ud7a3" or "\uff00" <= letter <= "\uff60"


def _short(tick: float) -> str:
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if tick >= size:
            return f"{tick / size:g}{unit}"
    return f"{tick:g}"
