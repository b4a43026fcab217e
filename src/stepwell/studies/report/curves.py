"""The loss curves of all rounds in one picture.

Above: the metric on held-out text (solid) and on training text (dashed) at each evaluation; below: the loss of each
step, smoothed, in nats per token. They share the way along the foot, tokens where every round wrote them and steps
otherwise. This file leaves out reading the metrics.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from stepwell.studies.report import charts
from stepwell.studies.report.charts import Frame, label
from stepwell.studies.report.figures import RATIOS, number, show_metric
from stepwell.studies.report.markup import element
from stepwell.studies.report.reading import Line, Trace

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line of one round.

    Args:
        round: its number.
        points: (place along the foot, value), rising in place; only finite values.
        dashed: drawn dashed, without dots.
    """

    round: int
    points: Points
    dashed: bool = False


@dataclass(frozen=True)
class Curves:
    """What the two pictures show.

    Args:
        unit: `tokens` or `steps`.
        measured: the metric at each evaluation, held-out and training.
        losses: the smoothed loss of the steps.
    """

    unit: str
    measured: list[Curve]
    losses: list[Curve]


def gather_curves(traces: Sequence[Trace], metric: str, most_points: int = 1600) -> Curves:
    """Bring the metrics of all rounds to lines with few enough points to draw.

    Args:
        traces: the rounds.
        metric: the key of the evaluations' values; training values are under `train_<metric>`.
        most_points: for all rounds together.
    """
    share = max(30, most_points // max(1, len(traces)))
    unit = "tokens" if traces and all(_has_tokens(trace) for trace in traces) else "steps"
    measured: list[Curve] = []
    losses: list[Curve] = []
    for trace in traces:
        place = _places(trace, unit)
        for key, dashed in ((f"train_{metric}", True), (metric, False)):
            points = _points(trace.evaluations, key, place)
            measured.append(Curve(trace.round, thinned(points, share), dashed))
        losses.append(Curve(trace.round, thinned(smoothed(_points(trace.steps, "loss", place)), share)))
    return Curves(unit, [c for c in measured if c.points], [c for c in losses if c.points])


def smoothed(points: Points) -> Points:
    """A running mean over about a fortieth of the line, without the pull of a zero at its start."""
    keep = 1.0 - 1.0 / max(1.0, len(points) / 40)
    mean, weight, found = 0.0, 0.0, []
    for x, y in points:
        mean, weight = keep * mean + (1 - keep) * y, keep * weight + (1 - keep)
        found.append((x, mean / weight))
    return found


def thinned(points: Points, most: int) -> Points:
    """At most about `most` of the points: the first, the last and evenly between."""
    if len(points) <= most:
        return points
    return [points[round(at * (len(points) - 1) / (most - 1))] for at in range(most)]


def draw_curves(curves: Sequence[Curve], metric: str | None, title: str) -> Markup:
    """One picture, wide and narrow.

    Args:
        curves: at least one, with points.
        metric: how values are written; None for a loss in nats.
        title: for those who hear the page.
    """
    return Markup("").join(_draw(curves, metric, variant, title) for variant in ("wide", "narrow"))


def is_cut(curves: Sequence[Curve]) -> bool:
    """Whether some values lie above the picture."""
    high = _value_range(curves)[1]
    return any(y > high for curve in curves for _, y in curve.points)


def _draw(curves: Sequence[Curve], metric: str | None, variant: str, title: str) -> Markup:
    low, high = _value_range(curves)
    narrow = variant == "narrow"
    frame = Frame(400, 250, 46, 372, 12, 220, low, high) if narrow else Frame(960, 300, 56, 924, 12, 266, low, high)
    most = max(x for curve in curves for x, _ in curve.points) or 1.0

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return frame.left + (frame.right - frame.left) * point[0] / most, frame.y(point[1])

    parts = [*charts.value_axis(frame, "percent" if metric in RATIOS else None), *charts.count_axis(frame, most)]
    parts += [_line(curve, at, frame, metric, dots=not narrow) for curve in curves]
    parts += _ends([curve for curve in curves if not curve.dashed], at, frame)
    return charts.svg(frame, variant, title, *parts)


def _line(
    curve: Curve,
    at: Callable[[tuple[float, float]], tuple[float, float]],
    frame: Frame,
    metric: str | None,
    *,
    dots: bool,
) -> Markup:
    tone = f"r{curve.round}"
    inside = [point for point in curve.points if point[1] <= frame.high] or curve.points[-1:]
    first = curve.points.index(inside[0])
    shown = [*_entry(curve.points[max(0, first - 1) : first + 1], frame.high), *curve.points[first:]]
    parts = [charts.path([at(point) for point in shown], "dashed" if curve.dashed else "solid")]
    if metric and not curve.dashed and (dots or len(inside) == 1) and len(inside) <= 40:
        for point in inside:
            x, y = at(point)
            hint = f"{curve.round}: {show_metric(metric, point[1])}"
            parts.append(element("circle", {"cx": x, "cy": y, "r": 2.6}, element("title", {}, hint)))
    return element("g", {"class": f"curve {tone}"}, *parts)


def _entry(pair: Points, high: float) -> Points:
    """Where the line comes down into the picture: the place between a point above it and the first one inside."""
    if len(pair) < 2 or pair[0][1] <= high or pair[1][1] > high:
        return []
    (x1, y1), (x2, y2) = pair
    return [(x1 + (x2 - x1) * (y1 - high) / (y1 - y2), high)]


def _ends(
    curves: Sequence[Curve], at: Callable[[tuple[float, float]], tuple[float, float]], frame: Frame
) -> list[Markup]:
    """The number of each round at the end of its line; where many end together, they keep apart."""
    ends = [at(curve.points[-1]) for curve in curves]
    if len(curves) > 14:
        return []
    parts = []
    heights = (
        charts.spread([y for _, y in ends], 13, frame.top, frame.bottom) if _together(ends) else [y for _, y in ends]
    )
    for curve, (x, _), y in zip(curves, ends, heights, strict=True):
        kind = f"curve end r{curve.round}"
        parts.append(label(x + 7, y + 4, kind, curve.round))
    return parts


def _together(ends: Sequence[tuple[float, float]]) -> bool:
    return any(abs(a[0] - b[0]) < 24 and abs(a[1] - b[1]) < 13 for i, a in enumerate(ends) for b in ends[:i])


def _value_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """The values shown: all ends, and no more of the steep beginning than leaves the ends apart."""
    values = sorted(y for curve in curves for _, y in curve.points)
    low, ends = values[0], max(curve.points[-1][1] for curve in curves)
    steep = low + 2.2 * max(ends - low, 0.12 * abs(low))
    high = min(values[-1], max(steep, values[int(0.85 * (len(values) - 1))], ends))
    return charts.padded(low, high, 0.05)


def _points(lines: Sequence[Line], key: str, place: Callable[[Line], float]) -> Points:
    pairs = ((place(line), number(line.get(key))) for line in lines)
    return [(x, y) for x, y in pairs if y is not None]


def _has_tokens(trace: Trace) -> bool:
    """Whether the steps count all tokens so far (and not those of one step)."""
    counts = [number(line.get("tokens")) for line in trace.steps]
    if not counts or any(count is None for count in counts):
        return False
    return all(a < b for a, b in pairwise(counts) if a is not None and b is not None)


def _places(trace: Trace, unit: str) -> Callable[[Line], float]:
    """Where a line of the metrics stands along the foot; an evaluation stands at the step before it."""
    if unit == "steps":
        return lambda line: float(line["step"])
    steps = [float(line["step"]) for line in trace.steps]
    tokens = [float(line["tokens"]) for line in trace.steps]

    def place(line: dict[str, Any]) -> float:
        own = number(line.get("tokens"))
        if own is not None:
            return own
        step = float(line["step"])
        before = bisect_right(steps, step) - 1
        return tokens[before] if before >= 0 else tokens[0] * step / max(1.0, steps[0])

    return place
