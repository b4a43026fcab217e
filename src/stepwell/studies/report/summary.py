"""The top and the end of the page: how far the run came, and what to do with it.

The heading and its few sentences say what somebody who was not there wants to know first. Numbers come from the
result, or from the journal while there is no result yet. This file leaves out everything between the key figures and
the commands.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from stepwell.studies.report import figures
from stepwell.studies.report.commands import WRITES_ON, use_commands
from stepwell.studies.report.figures import number, show_metric
from stepwell.studies.report.names import TASKS
from stepwell.studies.report.reading import Line, RunFiles, mapping, rows, text
from stepwell.studies.report.rivals import verdict
from stepwell.studies.report.rounds import RoundView, metric_name, shown_range, task_of
from stepwell.studies.report.words import Words, metric_words, same, say, stop_words


@dataclass(frozen=True)
class Headline:
    """The top of the page: what was done, how far it came, and why it ended."""

    run: str
    title: str
    task: Words
    heading: Words
    sentences: list[Words]
    unfinished: bool
    footer: Words


def headline(files: RunFiles, rounds: list[RoundView]) -> Headline:
    """The run in a few sentences."""
    metric, result = metric_name(files), files.result or {}
    words = metric_words(metric)
    final = final_value(files, rounds)
    value = number(final.get("value"))
    first = next((view.value for view in rounds if view.value is not None), None)
    count = sum(not view.running for view in rounds)
    in_rounds = say("one round") if count == 1 else say("rounds", {"n": _spelled(count)})
    shown: dict[str, object] = {"metric": words, "rounds": in_rounds, "last": show_metric(metric, value)}
    if count == 0:
        heading = say("not begun")
    elif value is None:
        heading = say("none kept")
    elif first is None or count == 1 or show_metric(metric, first) == show_metric(metric, value):
        heading = say("single", shown)
    else:
        heading = say("improved", {**shown, "first": show_metric(metric, first)})
    task = task_of(files)
    sentences = _lead(task, metric, words, final, first) if value is not None else []
    if said := verdict(files, metric, final):
        sentences.append(said)
    sentences += _ending(metric, result, value)
    running = [view for view in rounds if view.running]
    if running and not result:
        steps = files.traces[running[-1].round].steps
        step = figures.show_count(steps[-1]["step"] if steps else 0)
        sentences.append(say("under way", {"round": running[-1].round, "step": step}))
    return Headline(
        run=_name(files.directory),
        title=f"{_name(files.directory)} · {heading.en} · stepwell",
        task=TASKS.get(task, same(task.replace("_", " "))).capital(),
        heading=heading,
        sentences=sentences,
        unfinished=not result,
        footer=say("made by", {"run": _name(files.directory)}),
    )


def final_value(files: RunFiles, rounds: list[RoundView]) -> Line:
    """The final measurement on held-out text: from the result, else the best kept round's."""
    measured = mapping(mapping((files.result or {}).get("validation")).get(metric_name(files)))
    if number(measured.get("value")) is not None:
        return measured
    kept = [view.record for view in rounds if view.accepted]
    return kept[-1] if kept else {}


def _lead(task: str, metric: str, words: Words, final: Line, first: float | None) -> list[Words]:
    value = float(final["value"])
    low, high = number(final.get("low")), number(final.get("high"))
    interval: object = ""
    if low is not None and high is not None:
        interval = say("interval", {"low": show_metric(metric, low), "high": show_metric(metric, high)})
    key = "lead other" if not task or task in WRITES_ON else "lead examples"
    key = "lead bits_per_byte" if metric == "bits_per_byte" else key
    found = [say(key, {"metric": words, "value": show_metric(metric, value), "interval": interval})]
    if first is not None and metric in figures.RATIOS:
        if show_metric(metric, first) != show_metric(metric, value):
            points = f"{100 * abs(value - first):.1f}"
            found.append(say("points fewer" if value < first else "points more", {"points": points}))
    elif first and abs(value / first - 1) >= 0.005:
        ratio = figures.show_ratio(abs(value / first - 1))
        found.append(say("fewer" if value < first else "more", {"ratio": ratio}))
    return found


def _ending(metric: str, result: Line, value: float | None) -> list[Words]:
    found: list[Words] = []
    target = number(result.get("target"))
    reason = text(result.get("stopped_because"))
    if target is not None:
        shown = show_metric(metric, target)
        if result.get("target_met") is True:
            found.append(say("target met", {"target": shown}))
        elif value is not None:
            found.append(say("target missed", {"target": shown, "distance": show_metric(metric, abs(value - target))}))
    if reason and not (reason == "target_met" and target is not None):
        found.append(stop_words(reason))
    if number(result.get("seconds")) is not None:
        found.append(say("took", {"time": figures.show_seconds(result["seconds"])}))
    return found


def _spelled(count: int) -> Words:
    names = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return Words(names[count] if count < len(names) else str(count), str(count))


def key_figures(files: RunFiles, rounds: list[RoundView]) -> list[tuple[Words, Words, Words | None]]:
    """The few numbers at the top: name, value, and a small line under it."""
    metric, result, found = metric_name(files), files.result or {}, []
    for split, key in (("validation", "held-out"), ("test", "test once")):
        measured = mapping(mapping(result.get(split)).get(metric)) or (
            final_value(files, rounds) if split == "validation" else {}
        )
        if number(measured.get("value")) is not None:
            value = same(show_metric(metric, measured["value"]))
            found.append(
                (
                    say(key, {"metric": metric_words(metric)}),
                    value,
                    shown_range(metric, number(measured.get("low")), number(measured.get("high"))),
                )
            )
    for name in ("perplexity", "accuracy"):
        measured = mapping(mapping(result.get("validation")).get(name))
        if name != metric and number(measured.get("value")) is not None:
            low, high = number(measured.get("low")), number(measured.get("high"))
            found.append(
                (metric_words(name).capital(), same(show_metric(name, measured["value"])), shown_range(name, low, high))
            )
    parameters = number(mapping(result.get("best")).get("parameters"))
    kept = [view for view in rounds if view.accepted]
    if parameters is None and kept:
        parameters = number(kept[-1].record.get("parameters"))
    if parameters:  # a model that counts has none
        found.append((say("parameters"), same(figures.show_count(parameters)), None))
    done = sum(not view.running for view in rounds)
    if done:
        found.append((say("rounds kept"), say("n of m", {"n": len(kept), "m": done}), None))
    seconds = number(result.get("seconds"))
    if seconds is not None:
        rate = number(kept[-1].record.get("tokens_per_second")) if kept else None
        under = None if rate is None else say("at speed", {"n": figures.show_count(round(rate))})
        found.append((say("time"), same(figures.show_seconds(seconds)), under))
    return found


def speed(rounds: list[RoundView]) -> list[tuple[Words, str]]:
    """How fast the kept round was trained, the share of what the machine can do, and the most memory it took."""
    record = next((view.record for view in reversed(rounds) if view.accepted), {})
    rate, share = number(record.get("tokens_per_second")), number(record.get("mfu_ratio"))
    found = [] if rate is None else [(say("tokens a second"), figures.show_count(round(rate)))]
    if share is not None:
        found.append((say("of the rate"), figures.show_ratio(share)))
    if number(record.get("peak_memory_bytes")) is not None:
        found.append((say("memory at most"), figures.show_memory(record["peak_memory_bytes"])))
    return found


def commands(files: RunFiles) -> list[tuple[Words, str]]:
    """What to type next: what it does, and the command."""
    run = shlex.quote(_name(files.directory))
    recipe = shlex.quote(str(Path(_name(files.directory)) / "recipe.yaml"))
    finished = files.result is not None
    has_model = any(line.get("accepted") is True for line in files.journal)
    found = [] if finished else [(say("cmd go on"), f"stepwell run {recipe} --out {run}")]
    if has_model:
        asked = rows((files.result or {}).get("samples"))
        found += use_commands(task_of(files), _name(files.directory), text(asked[0].get("prompt")) if asked else "")
    if finished:
        longer = shlex.quote(_name(files.directory).rstrip("/") + "-longer")
        found.append((say("cmd more"), f"stepwell run {recipe} --budget 1h --out {longer}"))
    return [*found, (say("cmd report"), f"stepwell report {run}")]


def _name(directory: Path) -> str:
    """The run directory as one would type it from here."""
    here = Path.cwd()
    return str(directory.relative_to(here)) if directory.is_relative_to(here) and directory != here else str(directory)
