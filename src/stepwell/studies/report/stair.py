"""The stair of rounds: a section through the well.

Each tread is the best value so far; a round that was kept leads to the next tread, one that was not leaves its hollow
dot beside the stair. The target is the level of the water. This file leaves out the words around the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stepwell.studies.report import charts
from stepwell.studies.report.charts import Frame, label, line
from stepwell.studies.report.figures import RATIOS, show_metric
from stepwell.studies.report.markup import element
from stepwell.studies.report.words import Words, say

LEAST_NAMED = 76
"""Width of a column below which there is no room for what the round changed; the table says it."""

LEAST_APART = 18
"""Heights of two lines of letters that do not touch."""


@dataclass(frozen=True)
class Tread:
    """One round in the stair.

    Args:
        round: its number.
        value: what it measured, or None when that was not finite.
        low: lower end of the interval, or None.
        high: upper end, or None.
        accepted: whether it was kept.
        change: what it changed, in a few words.
    """

    round: int
    value: float | None
    low: float | None
    high: float | None
    accepted: bool
    change: Words


@dataclass(frozen=True)
class Level:
    """A height to compare with: a baseline."""

    name: Words
    value: float


def draw_stair(
    treads: Sequence[Tread], metric: str, target: float | None, baselines: Sequence[Level], title: str
) -> Markup:
    """The stair, wide and narrow.

    Args:
        treads: the rounds in order, at least one with a value.
        metric: name of the metric, for the way numbers are written.
        target: the wanted value, or None.
        baselines: drawn where they fall into the picture.
        title: for those who hear the page.
    """
    return Markup("").join(
        _Stair(treads, metric, target, baselines, variant == "narrow").draw(variant, title)
        for variant in ("wide", "narrow")
    )


def value_range(treads: Sequence[Tread], target: float | None, baselines: Sequence[Level]) -> tuple[float, float]:
    """The values that the picture shows.

    Kept rounds, the target and their intervals are always inside. What lies far off (a round that diverged, a weak
    baseline) is inside only if it does not press the stair flat.
    """
    sure = [tread for tread in treads if tread.accepted and tread.value is not None] or list(treads)
    core = [part for tread in sure for part in (tread.value, tread.low, tread.high) if part is not None]
    if target is not None:
        core.append(target)
    low, high = min(core), max(core)
    reach = max(0.75 * (high - low), 0.06 * max(abs(low), abs(high)))
    others = [part for tread in treads for part in (tread.value, tread.low, tread.high) if part is not None]
    others += [level.value for level in baselines]
    near = [value for value in others if low - reach <= value <= high + reach]
    return charts.padded(min([low, *near]), max([high, *near]))


class _Stair:
    def __init__(
        self,
        treads: Sequence[Tread],
        metric: str,
        target: float | None,
        baselines: Sequence[Level],
        narrow: bool,
    ) -> None:
        self.treads, self.metric, self.target, self.narrow = treads, metric, target, narrow
        low, high = value_range(treads, target, baselines)
        if narrow:
            self.frame = Frame(400, 300, 46, 392, 22, 262, low, high)
        else:
            named = 734 / len(treads) >= LEAST_NAMED
            self.frame = Frame(960, 400 if named else 352, 56, 790, 22, 318, low, high)
        self.baselines = [level for level in baselines if self.frame.holds(level.value)]
        self.column = (self.frame.right - self.frame.left) / len(treads)

    def draw(self, variant: str, title: str) -> Markup:
        return charts.svg(
            self.frame,
            variant,
            title,
            self._water(),
            self._stone(),
            *charts.value_axis(self.frame, "percent" if self.metric in RATIOS else None, 5 if self.narrow else 7),
            *self._levels(),
            *[part for place, tread in enumerate(self.treads) for part in self._round(place, tread)],
        )

    def _edge(self) -> list[tuple[float, float]]:
        """Corners of the stair from left to right; rounds before the first kept one have no tread."""
        corners: list[tuple[float, float]] = []
        for place, tread in enumerate(self.treads):
            start = self.frame.left + place * self.column
            if tread.accepted and tread.value is not None:
                if corners:
                    corners.append((start, corners[-1][1]))
                corners.append((start, self.frame.y(tread.value)))
        if corners:
            corners.append((self.frame.right, corners[-1][1]))
        return corners

    def _stone(self) -> Markup:
        edge = self._edge()
        if not edge:
            return Markup("")
        foot = [(edge[-1][0], self.frame.bottom), (edge[0][0], self.frame.bottom)]
        return charts.path([*edge, *foot], "stone") + charts.path(edge, "edge")

    def _water(self) -> Markup:
        if self.target is None:
            return Markup("")
        frame, y = self.frame, self.frame.y(self.target)
        size = {"x": frame.left, "y": y, "width": frame.right - frame.left, "height": max(0.0, frame.bottom - y)}
        return element("rect", {**size, "class": "water"})

    def _levels(self) -> list[Markup]:
        """Target and baselines as lines with their names at the right (wide) or on the line (narrow)."""
        frame = self.frame
        lines = [("baseline", level.name, level.value) for level in self.baselines]
        if self.target is not None:
            lines.append(("target", say("target"), self.target))
        heights = charts.spread([frame.y(value) for _, _, value in lines], 16, frame.top, frame.bottom)
        parts = []
        for (kind, name, value), height in zip(lines, heights, strict=True):
            y = frame.y(value)
            parts.append(line(frame.left, y, frame.right, y, kind))
            words = (name.in_svg(), " ", show_metric(self.metric, value))
            if self.narrow and kind == "target":
                parts.append(label(frame.left + 4, y - 5, "level target-name", *words))
            elif self.narrow:
                left = self._ends_at(height)
                at, anchor = (frame.left + 4, None) if left else (frame.right - 2, "end")
                parts.append(label(at, height - 4, f"level {kind}-name", *words, anchor=anchor))
            else:
                if abs(height - y) > 2:
                    parts.append(line(frame.right, y, frame.right + 7, height, "leader"))
                parts.append(label(frame.right + 10, height + 4, f"level {kind}-name", *words))
        return parts

    def _ends_at(self, height: float) -> bool:
        """Whether the value of the last round would stand where a name at the right does."""
        value = self.treads[-1].value
        return value is not None and abs(self.frame.y(value) - height) < LEAST_APART

    def _round(self, place: int, tread: Tread) -> list[Markup]:
        frame = self.frame
        x = frame.left + (place + 0.5) * self.column
        parts = [self._number(x, tread)]
        parts += self._change(x, tread)
        kept = tread.accepted and tread.value is not None
        tone = f"r{tread.round}"
        if tread.value is None:
            arm = 4.0
            cross = line(x - arm, frame.top - arm, x + arm, frame.top + arm, "cross")
            return [*parts, cross, line(x - arm, frame.top + arm, x + arm, frame.top - arm, "cross")]
        y = frame.y(tread.value)
        if frame.holds(tread.value) and tread.low is not None and tread.high is not None:
            top, bottom = frame.y(tread.high), frame.y(tread.low)
            parts.append(line(x, top, x, bottom, f"whisker {tone}"))
            parts += [line(x - 4, at, x + 4, at, f"whisker {tone}") for at in (top, bottom)]
        hint = f"{tread.round}: {show_metric(self.metric, tread.value)}"
        dot = {"cx": x, "cy": y, "r": 5.5 if self.column > 40 else 4, "class": f"dot {tone}{' kept' if kept else ''}"}
        parts.append(element("circle", dot, element("title", {}, hint)))
        if self.column >= 56 or place in (0, len(self.treads) - 1):
            above = " ↑" if tread.value > frame.high else " ↓" if tread.value < frame.low else ""
            wording = show_metric(self.metric, tread.value) + above
            width = charts.text_width(wording, 15)
            kind = "value kept" if kept else "value"
            if x + 10 + width <= frame.width:
                parts.append(label(x + 10, y - 7, kind, wording))
            else:
                top = y if tread.high is None else frame.y(tread.high)
                parts.append(label(frame.width - width / 2, top - 8, kind, wording, anchor="middle"))
        return parts

    def _number(self, x: float, tread: Tread) -> Markup:
        if len(self.treads) > 16 and self.narrow and tread.round % 5 not in (0, 1):
            return Markup("")
        kind = "round kept" if tread.accepted else "round"
        return label(x, self.frame.bottom + 20, kind, tread.round, anchor="middle")

    def _change(self, x: float, tread: Tread) -> list[Markup]:
        """What the round changed, under its number."""
        if self.narrow or self.column < LEAST_NAMED:
            return []
        parts = []
        for wording, language, code in ((tread.change.en, "en", "en"), (tread.change.zh, "zh", "zh-Hans")):
            for row, part in enumerate(charts.wrapped(wording, self.column - 10, 12, 3)):
                at = {"x": x, "y": self.frame.bottom + 38 + 15 * row, "class": f"change {language}"}
                parts.append(element("text", {**at, "lang": code, "text-anchor": "middle"}, part))
        return parts
