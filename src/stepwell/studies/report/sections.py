"""What stands between the top of the report and its end: pictures, samples, and the facts of text and tokenizer.

Each function takes the files of the run and gives the values of one part, formatted, or None where the run has
nothing to say there yet. Long lists are cut, and how much was cut is said. This file leaves out layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stepwell.config import flatten
from stepwell.studies.report import figures
from stepwell.studies.report.commands import WRITES_ON
from stepwell.studies.report.curves import draw_curves, gather_curves, is_cut
from stepwell.studies.report.figures import number, show_metric
from stepwell.studies.report.markup import element
from stepwell.studies.report.names import LANGUAGES, LOWER_IS_BETTER
from stepwell.studies.report.reading import RunFiles, mapping, rows, text
from stepwell.studies.report.rivals import rivals
from stepwell.studies.report.rounds import RoundView, metric_name, target_value, task_of
from stepwell.studies.report.stair import Level, Tread, draw_stair, value_range
from stepwell.studies.report.words import (
    WORDS,
    Words,
    baseline_words,
    joined,
    metric_words,
    paragraph,
    same,
    say,
)

MOST_SOURCES, MOST_PROBLEMS, MOST_LETTERS = 12, 40, 2400


@dataclass(frozen=True)
class Stair:
    """The stair and what is said beside it."""

    picture: Markup
    lead: Words
    direction: Words
    baselines_lead: Words
    baselines: list[tuple[Words, str, bool]]


def stair(files: RunFiles, rounds: list[RoundView]) -> Stair | None:
    """The stair, or None while no round has a value."""
    metric = metric_name(files)
    done = [view for view in rounds if not view.running]
    if not any(view.value is not None for view in done):
        return None
    treads = [
        Tread(
            view.round,
            view.value,
            number(view.record.get("low")),
            number(view.record.get("high")),
            view.accepted,
            joined(view.changes) if _is_change(view) else view.reason.name,
        )
        for view in done
    ]
    known = rivals(files, metric)
    levels = [Level(baseline_words(one.name, brief=True), one.value) for one in known]
    target = target_value(files)
    low, high = value_range(treads, target, levels)
    down = metric in LOWER_IS_BETTER
    lead = say("stair lead down" if down else "stair lead up", {"metric": metric_words(metric)})
    return Stair(
        picture=draw_stair(treads, metric, target, levels, say("stair").en),
        lead=paragraph([lead, say("what bits are")] if metric == "bits_per_byte" else [lead]),
        direction=joined([metric_words(metric).capital(), say("better down" if down else "better up")]),
        baselines_lead=say("baselines" if metric == "bits_per_byte" else "baselines examples"),
        baselines=[
            (baseline_words(one.name), show_metric(metric, one.value), low <= one.value <= high) for one in known
        ],
    )


def _is_change(view: RoundView) -> bool:
    """Whether a round changed something that was there before, rather than setting everything for the first time."""
    pairs = [pair for pair in mapping(view.record.get("change")).values() if isinstance(pair, list)]
    return bool(view.changes) and any(pair[:1] != [None] for pair in pairs)


@dataclass(frozen=True)
class CurveView:
    """The curves' pictures with their headings and the rounds that they show."""

    pictures: list[tuple[Words, Markup, bool, bool]]
    rounds: list[int]
    unit: Words
    lead: Words


def curves(files: RunFiles) -> CurveView | None:
    """The loss curves, or None while no metrics are written."""
    metric = metric_name(files)
    gathered = gather_curves([files.traces[which] for which in sorted(files.traces)], metric)
    pictures = []
    if gathered.measured:
        heading = say("held-out chart", {"metric": metric_words(metric)})
        heading = heading.capital()
        dashed = any(curve.dashed for curve in gathered.measured)
        pictures.append(
            (heading, draw_curves(gathered.measured, metric, heading.en), dashed, is_cut(gathered.measured))
        )
    if gathered.losses:
        heading = say("loss chart")
        pictures.append((heading, draw_curves(gathered.losses, None, heading.en), False, is_cut(gathered.losses)))
    if not pictures:
        return None
    shown = sorted({curve.round for curve in gathered.measured + gathered.losses})
    changed = [
        pair
        for line in files.journal
        for name, pair in mapping(line.get("change")).items()
        if name.endswith("vocab_size")
    ]
    differs = any(isinstance(pair, list) and pair[:1] != [None] for pair in changed)
    lead = [say("curves lead")] + ([say("vocabulary changed")] if differs else [])
    return CurveView(pictures, shown, say(gathered.unit), paragraph(lead))


@dataclass(frozen=True)
class Sample:
    """One prompt with its last continuation, and those of earlier rounds."""

    prompt: str
    text: str
    earlier: list[tuple[int, str]]
    goes_on: bool = True


def samples(files: RunFiles, rounds: list[RoundView]) -> list[Sample]:
    """The samples of the result, else of the last kept round that has some, else of the last round."""
    tried = [(view.round, rows(view.record.get("samples"))) for view in rounds]
    best = number(mapping((files.result or {}).get("best")).get("round"))
    kept = [(view.round, rows(view.record.get("samples"))) for view in rounds if view.accepted]
    last = rows((files.result or {}).get("samples"))
    final = int(best) if last and best is not None else math.inf
    if not last:
        final, last = next(((at, found) for at, found in [*reversed(kept), *reversed(tried)] if found), (math.inf, []))
    found = []
    for sample in last[:12]:
        prompt = text(sample.get("prompt"))
        earlier = [
            (at, _cut(text(s.get("text"))))
            for at, group in tried
            if at < final
            for s in group
            if s.get("prompt") == prompt
        ]
        found.append(
            Sample(
                _cut(prompt),
                _cut(_continuation(prompt, text(sample.get("text")))),
                [(a, _continuation(prompt, t)) for a, t in earlier],
                goes_on=task_of(files) in ("", *WRITES_ON),
            )
        )
    return found


def _continuation(prompt: str, written: str) -> str:
    return written.removeprefix(prompt) if prompt else written


def _cut(long: str) -> str:
    return long if len(long) <= MOST_LETTERS else long[:MOST_LETTERS] + " …"


@dataclass(frozen=True)
class Data:
    """What the text is."""

    figures: list[tuple[Words, str]]
    splits: list[tuple[Words, str, str, str, str]]
    languages: list[tuple[Words, str]]
    bar: Markup
    sources: list[tuple[str, str, str]]
    more_sources: int
    problems: list[str]
    more_problems: int


def data(files: RunFiles) -> Data | None:
    """The facts of the text, or None before they are known."""
    facts = mapping(files.facts.get("data"))
    if not facts:
        return None
    shown = [
        ("documents", figures.show_count),
        ("bytes", figures.show_bytes),
        ("characters", figures.show_count),
        ("duplicates", figures.show_count),
    ]
    splits = {name: mapping(part) for name, part in mapping(facts.get("splits")).items()}
    whole = sum(number(part.get("bytes")) or 0.0 for part in splits.values())
    languages = sorted(
        (
            (code, share)
            for code, part in mapping(facts.get("languages")).items()
            if (share := number(part)) is not None
        ),
        key=lambda pair: -pair[1],
    )
    sources = sorted(rows(facts.get("sources")), key=lambda line: -(number(line.get("bytes")) or 0.0))
    problems = facts.get("problems")
    problems = [str(part) for part in problems] if isinstance(problems, list) else []
    return Data(
        figures=[(say(name), show(facts[name])) for name, show in shown if number(facts.get(name)) is not None],
        splits=[
            (
                say(name) if name in WORDS else same(name),
                figures.show_count(part.get("documents")),
                figures.show_bytes(part.get("bytes")),
                figures.show_count(part.get("tokens")),
                figures.show_ratio((number(part.get("bytes")) or 0.0) / whole) if whole else figures.ABSENT,
            )
            for name, part in splits.items()
        ],
        languages=[(LANGUAGES.get(code, same(code)), figures.show_ratio(share)) for code, share in languages[:8]],
        bar=bar([share for _, share in languages[:8]]),
        sources=[
            (
                str(line.get("source", "")),
                figures.show_count(line.get("documents")),
                figures.show_bytes(line.get("bytes")),
            )
            for line in sources[:MOST_SOURCES]
        ],
        more_sources=max(0, len(sources) - MOST_SOURCES),
        problems=problems[:MOST_PROBLEMS],
        more_problems=max(0, len(problems) - MOST_PROBLEMS),
    )


def bar(shares: list[float]) -> Markup:
    """Shares of a whole as one bar."""
    parts, x = [], 0.0
    for which, share in enumerate(shares):
        width = max(0.0, min(share, 1.0)) * 1000
        parts.append(
            element("rect", {"x": x, "y": 0, "width": max(0.0, width - 3), "height": 10, "class": f"share s{which}"})
        )
        x += width
    return element(
        "svg", {"class": "bar", "viewBox": "0 0 1000 10", "preserveAspectRatio": "none", "aria-hidden": "true"}, *parts
    )


def tokenizer(files: RunFiles) -> tuple[list[tuple[Words, str]], list[str]] | None:
    """The facts of the tokenizer and its longest tokens, or None before they are known."""
    facts = mapping(files.facts.get("tokenizer"))
    if not facts:
        return None
    found = [(say("kind"), text(facts.get("kind")).replace("_", " "))] if text(facts.get("kind")) else []
    if number(facts.get("vocab_size")) is not None:
        found.append((say("vocabulary"), figures.show_setting(facts["vocab_size"])))
    for split, value in mapping(facts.get("bytes_per_token")).items():
        name = say(split) if split in WORDS else same(split)
        found.append((say("bytes per token", {"split": name}), figures.show_number(value)))
    if number(facts.get("unused_ratio")) is not None:
        found.append((say("unused"), figures.show_ratio(facts["unused_ratio"])))
    examples = facts.get("examples")
    longest = (
        [str(part).replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥") for part in examples]
        if isinstance(examples, list)
        else []
    )
    return found, [_cut(part)[:60] for part in longest[:24]]


@dataclass(frozen=True)
class Compared:
    """Tokenizers beside each other: what the columns are, and each one's name, values, and whether it was taken."""

    head: list[Words]
    rows: list[tuple[str, list[str], bool]]


def compared(tokenizers: Sequence[Mapping[str, Any]]) -> Compared | None:
    """The table of tokenizers that were compared, languages of the held-out text by size; None without any.

    Args:
        tokenizers: figures as `facts.json` holds them, of the same text.
    """
    if not tokenizers:
        return None
    languages = list(mapping(tokenizers[0].get("by_language")))[:3] if tokenizers else []
    head = [say("vocabulary"), say("bytes per token short")]
    head += [say("bytes per token in", {"language": language}) for language in languages if len(languages) > 1]
    head += [say("rare entries"), say("unknown"), say("comes back")]
    rows = []
    for one in tokenizers:
        parts = mapping(one.get("by_language"))
        per_token = [one, *(mapping(parts.get(language)) for language in languages if len(languages) > 1)]
        ratios = [one.get(name) for name in ("rare_ratio", "unknown_ratio", "round_trip_ratio")]
        values = [figures.show_count(one.get("vocab_size") or 0)]
        values += [figures.show_number(number(part.get("bytes_per_token")) or 0.0, 3) for part in per_token]
        values += [figures.show_ratio(number(ratio) or 0.0) for ratio in ratios]
        rows.append((text(one.get("name")), values, bool(one.get("chosen"))))
    return Compared(head, rows)


def table(facts: object) -> list[tuple[str, str]]:
    """Nested facts as rows; sizes in bytes are written as sizes."""
    return [
        (name.replace("_", " ").replace(".", " · "), _fact(name, value))
        for name, value in flatten(mapping(facts)).items()
    ]


def _fact(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return figures.show_memory(value)
    if name.endswith("_seconds"):
        return figures.show_seconds(value)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "; ".join(figures.show_setting(part) for part in value)
    return figures.show_setting(value)
