"""Where the best model was right and wrong, as the page shows it: a part for each table of `errors.json`.

Parts follow from what the file holds, so every task has those that its run wrote: classes, what is taken for what, how
honest probabilities are, parts of the data, and examples with what was said of them. Shapes are looked at before they
are used, as everywhere here. This file leaves out pictures (`error_pictures.py`) and layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stepwell.studies.report import figures
from stepwell.studies.report.error_pictures import draw_calibration, draw_interval, tagged
from stepwell.studies.report.error_words import say
from stepwell.studies.report.figures import number, show_metric
from stepwell.studies.report.names import LANGUAGES
from stepwell.studies.report.reading import Line, RunFiles, mapping, rows, text
from stepwell.studies.report.words import Words, metric_words, paragraph, same

MOST_CLASSES, MOST_MATRIX, MOST_PAIRS = 60, 20, 8

MOST_LETTERS, SHORT_NOTES = 160, 2
"""Of an example that stands in one line."""

SHADES = 9
"""Of a cell, from nothing to all."""


@dataclass(frozen=True)
class ClassLine:
    """One class: its name, how many there are, F1 with a picture of its interval, precision and recall."""

    name: str
    count: str
    f1: str
    interval: Words | None
    picture: Markup
    precision: str
    recall: str


@dataclass(frozen=True)
class Matrix:
    """What is taken for what: right ones by row. A cell is its count, its shade, and whether it is right."""

    labels: list[str]
    rows: list[tuple[str, list[tuple[str, int, bool]]]]


@dataclass(frozen=True)
class Pair:
    """One thing taken for another."""

    words: Words
    count: str
    share: str
    examples: list[str]


@dataclass(frozen=True)
class Part:
    """One part of the data, its number of examples, and the metric on it."""

    name: Words
    count: str
    value: str
    interval: Words | None
    picture: Markup


@dataclass(frozen=True)
class Example:
    """One example: what was asked, then lines with their names and tones (`right`, `wrong` or none), and numbers."""

    text: str
    lines: list[tuple[Words, str | Markup, str]]
    notes: list[tuple[Words, str]]


@dataclass(frozen=True)
class Errors:
    """All parts; those that the run says nothing about are empty."""

    lead: Words
    classes_title: Words
    class_name: Words
    classes: list[ClassLine]
    more_classes: int
    matrix: Matrix | None
    pairs: list[Pair]
    calibration: Markup | None
    calibration_lead: Words
    parts: list[tuple[Words, list[Part]]]
    parts_title: Words
    lengths: list[tuple[Words, str]]
    worst: list[Example]
    worst_lead: Words
    drawn: list[Example]
    columns: list[Words]


def errors(files: RunFiles) -> Errors | None:
    """The parts of a run's errors, or None where it wrote none."""
    found = files.errors
    if not found:
        return None
    metric, tags = text(found.get("metric")), text(found.get("task")) == "tagging"
    measured = mapping(mapping((files.result or {}).get("validation")).get("calibration_error"))
    measured = measured if number(measured.get("value")) is not None else {}
    off = [say("calibration error", {"value": show_metric("calibration_error", measured["value"])})] if measured else []
    classes = _classes(found)
    ranked_by = metric_words(text(found.get("ranked_by")))
    return Errors(
        lead=_lead(found),
        classes_title=say("types" if tags else "classes"),
        class_name=say("type" if tags else "label"),
        classes=classes[:MOST_CLASSES],
        more_classes=max(0, len(classes) - MOST_CLASSES),
        matrix=_matrix(mapping(found.get("confusion"))),
        pairs=[_pair(one) for one in rows(found.get("confused"))[:MOST_PAIRS]],
        calibration=draw_calibration(bins) if (bins := _bins(found)) else None,
        calibration_lead=paragraph([say("calibration lead"), *off]),
        parts=_parts(mapping(found.get("slices")), metric),
        parts_title=say("parts", {"metric": metric_words(metric)}),
        lengths=_lengths(mapping(found.get("lengths"))),
        worst=[_example(row, found) for row in rows(found.get("worst"))],
        worst_lead=say("worst lead", {"metric": ranked_by}),
        drawn=[_example(row, found) for row in rows(found.get("drawn"))],
        columns=_columns(rows(found.get("worst")) + rows(found.get("drawn"))),
    )


def _columns(shown: list[Line]) -> list[Words]:
    """Names of the columns of examples with short texts and a label each, which stand in a table; else nothing."""
    is_short = [
        "probability" in row and len(text(row.get("text"))) <= MOST_LETTERS and len(_notes(row)) == SHORT_NOTES
        for row in shown
    ]
    if not shown or not all(is_short):
        return []
    return [say("text"), say("right"), say("said"), *(name for name, _ in _notes(shown[0]))]


def _lead(found: Line) -> Words:
    """How many examples there are, and how many of them have an answer."""
    whole, answered = number(found.get("num_examples")), number(found.get("num_answered"))
    key = "lead some" if whole and answered and answered < whole else "lead"
    counts = {"n": figures.show_count(whole), "m": figures.show_count(answered)}
    return paragraph([say(key, counts), say("all rows")])


def _classes(found: Line) -> list[ClassLine]:
    """The classes, the one of least F1 first; those that are neither there nor chosen say nothing."""
    lines = [
        one for one in rows(found.get("classes")) if number(one.get("true_count")) or number(one.get("chosen_count"))
    ]
    lines.sort(key=lambda one: number(mapping(one.get("f1")).get("value")) or 0.0)
    return [
        ClassLine(
            name=text(one.get("name")) or figures.ABSENT,
            count=figures.show_count(one.get("true_count")),
            f1=show_metric("f1", mapping(one.get("f1")).get("value")),
            interval=_interval("f1", mapping(one.get("f1"))),
            picture=draw_interval(mapping(one.get("f1")), 0.0, 1.0),
            precision=show_metric("f1", mapping(one.get("precision")).get("value")),
            recall=show_metric("f1", mapping(one.get("recall")).get("value")),
        )
        for one in lines
    ]


def _interval(metric: str, values: Line) -> Words | None:
    low, high = number(values.get("low")), number(values.get("high"))
    if low is None or high is None:
        return None
    return say("to", {"low": show_metric(metric, low), "high": show_metric(metric, high)})


def _matrix(found: Line) -> Matrix | None:
    """The table of counts, where it is square, and small enough to be read."""
    labels, counts = found.get("labels"), found.get("counts")
    if not isinstance(labels, list) or not isinstance(counts, list) or not 1 < len(labels) <= MOST_MATRIX:
        return None
    table = [[number(cell) or 0.0 for cell in row] if isinstance(row, list) else [] for row in counts]
    if [len(row) for row in table] != [len(labels)] * len(labels):
        return None
    names = [str(label) for label in labels]
    shown = []
    for at, (name, row) in enumerate(zip(names, table, strict=True)):
        whole = sum(row) or 1.0
        cells = [(_shown(cell), _shade(cell / whole), at == column) for column, cell in enumerate(row)]
        shown.append((name, cells))
    return Matrix(names, shown)


def _shown(cell: float) -> str:
    return f"{cell:,.0f}" if cell else ""


def _shade(share: float) -> int:
    """A shade from 0 (nothing at all) to `SHADES`; small shares are told apart better than large ones."""
    return 0 if share <= 0 else max(1, min(SHADES, round(SHADES * float(share) ** 0.5)))


def _pair(one: Line) -> Pair:
    true, chosen = text(one.get("true")), text(one.get("chosen"))
    key = "missed" if not chosen else "made up" if not true else "taken for"
    examples = one.get("examples")
    return Pair(
        words=say(key, {"true": same(true), "chosen": same(chosen)}),
        count=figures.show_count(one.get("count")),
        share=figures.show_ratio(one.get("true_ratio")) if true else figures.ABSENT,
        examples=[str(part) for part in examples][:3] if isinstance(examples, list) else [],
    )


def _bins(found: Line) -> list[tuple[float, float, float]]:
    """Mean confidence, accuracy and count of each bin that has all three."""
    triples = [
        [number(one.get(name)) for name in ("confidence", "accuracy", "count")]
        for one in rows(found.get("calibration"))
    ]
    return [(a, b, c) for a, b, c in triples if a is not None and b is not None and c]


def _parts(slices: Line, metric: str) -> list[tuple[Words, list[Part]]]:
    found = []
    for kind, value in slices.items():
        lines = rows(value)
        ends = [end for one in lines for name in ("value", "low", "high") if (end := number(one.get(name))) is not None]
        if not ends:
            continue
        low, high = (0.0, 1.0) if metric in figures.RATIOS else (min(ends), max(ends))
        parts = [
            Part(
                name=_part_name(kind, one.get("key")),
                count=figures.show_count(one.get("num_examples")),
                value=show_metric(metric, one.get("value")),
                interval=_interval(metric, one),
                picture=draw_interval(one, low, high),
            )
            for one in lines
        ]
        found.append((say(f"by {kind}") if kind in ("length", "language", "source") else same(kind), parts))
    return found


def _part_name(kind: str, key: Any) -> Words:
    if isinstance(key, list) and len(key) == 2:
        return say("characters", {"low": figures.show_count(key[0]), "high": figures.show_count(key[1])})
    if kind == "language":
        return LANGUAGES.get(str(key), same(str(key)))
    return same(str(key).rpartition("/")[2] or str(key))


def _lengths(found: Line) -> list[tuple[Words, str]]:
    names = (("ratio", "length whole"), ("median", "length median"), ("low", "length low"), ("high", "length high"))
    return [(say(key), figures.show_number(found[name])) for name, key in names if number(found.get(name)) is not None]


def _example(row: Line, found: Line) -> Example:
    true, answer = row.get("true"), row.get("answer")
    lines: list[tuple[Words, str | Markup, str]] = []
    if isinstance(row.get("words"), list) and isinstance(true, list):
        words, scheme = [str(word) for word in row["words"]], text(found.get("scheme"))
        gaps = [str(gap) for gap in row["gaps"]] if isinstance(row.get("gaps"), list) else None
        lines.append((say("right"), tagged(words, true, scheme, gaps), ""))
        if isinstance(answer, list):
            lines.append((say("found"), tagged(words, answer, scheme, gaps), ""))
        return Example("", lines, _notes(row))
    is_label = "probability" in row or "probabilities" in row
    if _told(row.get("context")):
        lines.append((say("passage"), _told(row["context"]), ""))
    if _told(true):
        lines.append((say("right"), _told(true), ""))
    if "worse" in row:
        lines.append((say("worse"), _told(row["worse"]), ""))
    if "answer" in row:
        tone = ("right" if answer == true else "wrong") if is_label else ""
        lines.append((say("said"), _told(answer) or figures.ABSENT, tone))
    return Example(text(row.get("text")), lines, _notes(row))


def _told(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else figures.show_setting(value)


def _sure(probability: float) -> str:
    """A probability in percent; what is not quite sure is not written as if it were."""
    return "> 99.9 %" if 0.9995 <= probability < 1 else f"{100 * probability:.1f} %"


def _notes(row: Line) -> list[tuple[Words, str]]:
    """The numbers of an example."""
    probability = number(row.get("probability"))
    found = [] if probability is None else [(say("probability"), _sure(probability))]
    values = mapping(row.get("values")).items()
    return found + [
        (metric_words(name), show_metric(name, value)) for name, value in values if number(value) is not None
    ]
