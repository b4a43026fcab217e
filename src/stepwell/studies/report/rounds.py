"""The rounds as the page shows them.

Each line of the journal becomes one view with its wordings and formatted numbers: what was changed and why, how it
came out, what was seen afterwards. A round that has metrics but no line yet is under way. This file leaves out
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.studies.report import figures
from stepwell.studies.report.figures import number, show_metric
from stepwell.studies.report.names import EVENTS
from stepwell.studies.report.reading import Line, RunFiles, mapping, rows, text
from stepwell.studies.report.words import (
    Words,
    change_words,
    diagnosis_sentence,
    diagnosis_words,
    joined,
    metric_words,
    same,
    say,
)


@dataclass(frozen=True)
class Finding:
    """Something that was diagnosed: its name, what it means, and the numbers that it rests on."""

    name: Words
    sentence: Words
    evidence: list[tuple[str, str]]


@dataclass(frozen=True)
class RoundView:
    """One round as the page shows it; `value` is None when it was not finite or is not there yet."""

    round: int
    record: Line
    running: bool
    accepted: bool
    value: float | None
    changes: list[Words]
    reason: Finding
    origin: Words | None
    before: str
    after: str
    interval: Words | None
    gain: str
    seconds: str
    outcome: list[Words]
    findings: list[Finding]
    events: list[tuple[Words, str]]


def metric_name(files: RunFiles) -> str:
    """The metric of the run: from the result, else the journal, else the recipe, else bits per byte."""
    lines = [files.result or {}, *files.journal, files.settings]
    return next((text(line.get("metric")) for line in lines if text(line.get("metric"))), "bits_per_byte")


def task_of(files: RunFiles) -> str:
    """Kind of the run's task; empty where it is not known."""
    task = files.settings.get("task")
    return text((files.result or {}).get("task")) or text(mapping(task).get("kind")) or text(task)


def target_value(files: RunFiles) -> float | None:
    """The target of the run, from the result or, while there is none, from the recipe."""
    return number((files.result if files.result is not None else files.settings).get("target"))


def all_rounds(files: RunFiles) -> list[RoundView]:
    """The rounds of the journal, and a last one that has metrics but is not in the journal yet."""
    metric = metric_name(files)
    found: list[RoundView] = []
    for record in files.journal:
        view = _round(files, record, metric)
        found.append(_without_echo(view, found[-1]) if found else view)
    last = max((view.round for view in found), default=0)
    found += [_round(files, {"round": at}, metric) for at in sorted(files.traces) if at > last]
    return found


def _round(files: RunFiles, record: Line, metric: str) -> RoundView:
    which, running = int(record["round"]), len(record) == 1
    value, before = number(record.get("value")), number(record.get("before"))
    accepted = record.get("accepted") is True and value is not None
    low, high = number(record.get("low")), number(record.get("high"))
    origin = number(record.get("continues_from"))
    name = text(record.get("diagnosis"))
    trace = files.traces.get(which)
    return RoundView(
        round=which,
        record=record,
        running=running,
        accepted=accepted,
        value=value,
        changes=change_words(record.get("change")),
        reason=Finding(
            diagnosis_words(name),
            diagnosis_sentence(name, text(record.get("reason"))),
            _evidence(record.get("evidence")),
        ),
        origin=None if running else say("from round", {"round": int(origin)}) if origin is not None else None,
        before=show_metric(metric, before),
        after=show_metric(metric, record.get("value")),
        interval=shown_range(metric, low, high),
        gain=show_metric(metric, record.get("gain"), sign=True),
        seconds=figures.show_seconds(record.get("seconds")),
        outcome=[] if running else _outcome(record, metric, accepted),
        findings=[_finding(found) for found in rows(record.get("findings"))],
        events=[_event(event) for event in trace.events[:8]] if trace else [],
    )


def _without_echo(view: RoundView, before: RoundView) -> RoundView:
    """The round with a shorter reason, where the round before ended with the very same sentence or numbers."""
    for found in before.findings:
        if found.name == view.reason.name and found.sentence.en == view.reason.sentence.en:
            return replace(view, reason=Finding(view.reason.name, same(""), []))
    return view


def shown_range(metric: str, low: float | None, high: float | None) -> Words | None:
    """An interval as a person reads it, or None when there is none."""
    if low is None or high is None:
        return None
    return say("to", {"low": show_metric(metric, low), "high": show_metric(metric, high)})


def _finding(found: Line) -> Finding:
    name = text(found.get("name"))
    return Finding(
        diagnosis_words(name), diagnosis_sentence(name, text(found.get("words"))), _evidence(found.get("evidence"))
    )


def _evidence(evidence: object) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), figures.show_setting(value)) for name, value in mapping(evidence).items()]


def _event(event: Line) -> tuple[Words, str]:
    name = text(event.get("event"))
    step = say("at step", {"step": figures.show_count(event.get("step"))})
    return joined([EVENTS.get(name, same(name.replace("_", " "))), step]), text(event.get("detail"))


def _outcome(record: Line, metric: str, accepted: bool) -> list[Words]:
    words = metric_words(metric)
    name = words.capital()
    first = number(record.get("before")) is None
    key = (
        ("outcome first" if first else "outcome kept")
        if accepted
        else "outcome first not kept"
        if first
        else "outcome not kept"
    )
    values: dict[str, object] = {"metric": name, "value": show_metric(metric, record.get("value"))}
    sentences = [say(key, {**values, "before": show_metric(metric, record.get("before"))})]
    gain = [number(record.get(key)) for key in ("gain", "gain_low", "gain_high")]
    if not first and None not in gain:
        shown = [show_metric(metric, part, sign=True) for part in gain]
        sentences.append(say("gain sure", {"gain": shown[0], "low": shown[1], "high": shown[2]}))
    train = number(record.get("train_value"))
    if train is not None:
        shown_train = show_metric(metric, train)
        pair = say("train and held-out", {"train": shown_train, "value": show_metric(metric, record.get("value"))})
        sentences.append(Words(pair.capital().en + ".", pair.zh + "。"))
    return sentences
