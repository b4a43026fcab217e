"""The pictures of a corpus: how long documents are, and bars beside numbers.

As in the report of a run, a picture is drawn wide and narrow, and colours are classes. This file leaves out axes and
frames (`report/charts.py`).
"""

from __future__ import annotations

from markupsafe import Markup

from stepwell.studies.report import charts
from stepwell.studies.report.charts import Frame, label, line
from stepwell.studies.report.corpus.counts import Lengths
from stepwell.studies.report.corpus.words import say
from stepwell.studies.report.figures import show_bytes, show_count
from stepwell.studies.report.markup import element

LABEL_ROOM = 66
"""Least distance between the sizes under the picture."""


def draw_lengths(lengths: Lengths) -> Markup:
    """The histogram of document sizes, wide and narrow."""
    return Markup("").join(_draw(lengths, variant) for variant in ("wide", "narrow"))


def _draw(lengths: Lengths, variant: str) -> Markup:
    most = max(count for _, _, count in lengths.bars)
    narrow = variant == "narrow"
    frame = (
        Frame(400, 210, 44, 392, 26, 178, 0, most * 1.02)
        if narrow
        else Frame(960, 280, 56, 950, 28, 244, 0, most * 1.02)
    )
    width = (frame.right - frame.left) / len(lengths.bars)
    parts = _counts(frame)
    for place, (low, high, count) in enumerate(lengths.bars):
        x, y = frame.left + place * width, frame.y(count)
        hint = f"{show_bytes(low)} – {show_bytes(high)}: {count:,}"
        gap = min(2.0, width / 5)
        shape = {"x": x + gap / 2, "y": y, "width": width - gap, "height": frame.bottom - y, "class": "bin"}
        parts.append(element("rect", shape, element("title", {}, hint)))
    parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom, "axis"))
    every = max(1, -(-LABEL_ROOM * len(lengths.bars) // int(frame.right - frame.left)))
    for place, (low, _, _) in enumerate(lengths.bars):
        if place % every == 0:
            x = frame.left + place * width
            parts.append(line(x, frame.bottom, x, frame.bottom + 4, "axis"))
            parts.append(label(x, frame.bottom + 18, "tick", show_bytes(low), anchor="middle" if place else "start"))
    x = _place(lengths, lengths.median, frame)
    parts.append(line(x, frame.top - 4, x, frame.bottom, "median"))
    anchor = "end" if x > (frame.left + frame.right) / 2 else "start"
    words = say("median").in_svg()
    shift = -6 if anchor == "end" else 6
    value = show_bytes(lengths.median)
    parts.append(label(x + shift, frame.top - 10, "median-name", words, " ", value, anchor=anchor))
    return charts.svg(frame, variant, say("lengths").en, *parts)


def _counts(frame: Frame) -> list[Markup]:
    """Hairlines with counts of documents at the left."""
    ticks, _ = charts.nice_ticks(0.0, frame.high, 4)
    parts: list[Markup] = []
    for tick in (one for one in ticks if one and one == int(one)):
        y = frame.y(tick)
        parts.append(line(frame.left, y, frame.right, y, "grid"))
        parts.append(label(frame.left - 8, y + 4, "tick", show_count(tick), anchor="end"))
    return parts


def _place(lengths: Lengths, value: float, frame: Frame) -> float:
    """Where a size stands along the foot: within its bar by its share of the bar's range."""
    width = (frame.right - frame.left) / len(lengths.bars)
    for place, (low, high, _) in enumerate(lengths.bars):
        if value < high or place == len(lengths.bars) - 1:
            share = min(1.0, max(0.0, (value - low) / max(1, high - low)))
            return frame.left + (place + share) * width
    return frame.left


def share_bar(share: float, tone: str = "s0") -> Markup:
    """One share of a whole as a bar in a table.

    Args:
        share: in [0, 1]; values outside are cut.
        tone: class of its colour.
    """
    width = 100 * max(0.0, min(share, 1.0))
    parts = [element("rect", {"x": 0, "y": 0, "width": 100, "height": 8, "class": "trough"})]
    if width:
        parts.append(element("rect", {"x": 0, "y": 0, "width": max(width, 0.6), "height": 8, "class": f"share {tone}"}))
    attributes = {"class": "meter", "viewBox": "0 0 100 8", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return element("svg", attributes, *parts)
