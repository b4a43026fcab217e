"""Pictures of errors: how honest probabilities are, a value with its interval, and a sentence with its spans marked.

This file leaves out what the numbers are (`errors.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from stepwell.errors import StepwellError
from stepwell.studies.report import charts
from stepwell.studies.report.charts import Frame, label, line
from stepwell.studies.report.error_words import say
from stepwell.studies.report.figures import number, show_ratio
from stepwell.studies.report.markup import element
from stepwell.studies.report.reading import Line
from stepwell.tasks import spans_of

Bin = tuple[float, float, float]
"""Mean confidence, accuracy and count."""


def draw_calibration(bins: Sequence[Bin]) -> Markup:
    """How often answers are right by how sure they are, wide and narrow; on the diagonal is honest.

    Args:
        bins: at least one.
    """
    return Markup("").join(_calibration(bins, variant) for variant in ("wide", "narrow"))


def _calibration(bins: Sequence[Bin], variant: str) -> Markup:
    narrow = variant == "narrow"
    frame = Frame(400, 300, 50, 388, 14, 252, 0, 1) if narrow else Frame(960, 340, 56, 620, 14, 290, 0, 1)

    def x(share: float) -> float:
        return frame.left + (frame.right - frame.left) * min(1.0, max(0.0, share))

    parts = [*charts.value_axis(frame, "percent"), line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(x(tick), frame.bottom, x(tick), frame.bottom + 4, "axis"))
        parts.append(label(x(tick), frame.bottom + 18, "tick", f"{100 * tick:.0f} %", anchor="middle"))
    parts.append(line(x(0), frame.y(0), x(1), frame.y(1), "honest"))
    parts.append(label(x(0.5), frame.bottom + 38, "tick", say("confidence").in_svg(), anchor="middle"))
    most = max(count for _, _, count in bins)
    for confidence, accuracy, count in bins:
        parts.append(line(x(confidence), frame.y(confidence), x(confidence), frame.y(accuracy), "gap"))
        size = (7 if narrow else 10) * (count / most) ** 0.5
        hint = f"{show_ratio(confidence)} → {show_ratio(accuracy)} ({count:,.0f})"
        dot = {"cx": x(confidence), "cy": frame.y(accuracy), "r": max(2.5, size), "class": "sure"}
        parts.append(element("circle", dot, element("title", {}, hint)))
    return charts.svg(frame, variant, say("calibration").en, *parts)


def draw_interval(values: Line, low: float, high: float) -> Markup:
    """A value as a dot in its interval, on a track from `low` to `high`; nothing without a value."""
    value = number(values.get("value"))
    if value is None:
        return Markup("")
    width, height = 200.0, 12.0

    def x(at: float) -> float:
        share = (at - low) / (high - low) if high > low else 0.5
        return 6 + (width - 12) * min(1.0, max(0.0, share))

    ends = [number(values.get(name)) for name in ("low", "high")]
    parts = [line(6, height / 2, width - 6, height / 2, "track")]
    if ends[0] is not None and ends[1] is not None:
        parts.append(line(x(ends[0]), height / 2, x(ends[1]), height / 2, "reach"))
    parts.append(element("circle", {"cx": x(value), "cy": height / 2, "r": 4.5, "class": "at"}))
    return element("svg", {"class": "interval", "viewBox": f"0 0 {width:g} {height:g}", "aria-hidden": "true"}, *parts)


def tagged(words: Sequence[str], tags: Sequence[Any], scheme: str, gaps: Sequence[str] | None = None) -> Markup:
    """A sentence with its spans marked and named.

    Args:
        words: of the sentence.
        tags: one for each word; missing ones are none.
        scheme: how tags are read, see `spans_of`; of one that is not known every word has its tag.
        gaps: what stands before each word; None for a space where letters of an alphabet would touch.
    """
    names = [str(tag) for tag in tags[: len(words)]] + ["O"] * (len(words) - len(tags))
    try:
        spans = sorted((begin, end, kind) for kind, begin, end in spans_of(names, scheme))  # type: ignore[arg-type]
    except (StepwellError, ValueError, KeyError):
        spans = [(at, at + 1, name) for at, name in enumerate(names) if name != "O"]
    if gaps is None or len(gaps) != len(words):
        gaps = ["", *(_between(before, after) for before, after in pairwise(words))][: len(words)]
    parts, at = [], 0
    for begin, end, kind in spans:
        before = _spelled(words[at:begin], gaps[at:begin]) + gaps[begin]
        inside = words[begin] + _spelled(words[begin + 1 : end], gaps[begin + 1 : end])
        parts += [element("span", {}, before) if before else Markup("")]
        parts += [element("mark", {}, inside, element("small", {}, kind))]
        at = end
    rest = _spelled(words[at:], gaps[at:])
    return Markup("").join([*parts, element("span", {}, rest) if rest else Markup("")])


def _spelled(words: Sequence[str], gaps: Sequence[str]) -> str:
    return "".join(gap + word for gap, word in zip(gaps, words, strict=True))


def _between(before: str, after: str) -> str:
    if not before or not after or charts.is_wide(before[-1]) or charts.is_wide(after[0]):
        return ""
    return " "
