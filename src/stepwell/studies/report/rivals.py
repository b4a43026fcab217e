"""The simple models of a run beside the trained one: which is the best, and which of them answer.

A decision may let a simple model answer beside the trained one, or instead of it; that is said in plain words. This
file leaves out the picture (`stair.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepwell.studies.report.figures import number
from stepwell.studies.report.names import LOWER_IS_BETTER
from stepwell.studies.report.reading import Line, RunFiles, mapping, read_run, rows, text
from stepwell.studies.report.words import Words, members_words, metric_words, say

MODEL = "model"
"""Name of the trained model among those that decide."""

MEMBERS = "task.decision.members"


@dataclass(frozen=True)
class Rival:
    """One simple model and its value."""

    name: str
    value: float


def best_words(directory: Path) -> Words | None:
    """`verdict` of a finished run; None where there is nothing to compare.

    Args:
        directory: of the run.

    Raises:
        RunError: when it holds no run.
    """
    files = read_run(directory)
    metric = text((files.result or {}).get("metric"))
    return verdict(files, metric, mapping(mapping((files.result or {}).get("validation")).get(metric)))


def rivals(files: RunFiles, metric: str) -> list[Rival]:
    """The simple models of a run that have the metric, the best first."""
    lines = rows((files.result or files.facts).get("baselines"))
    found = [Rival(text(one.get("name")), value) for one in lines if (value := number(one.get(metric))) is not None]
    return sorted(found, key=lambda one: one.value if metric in LOWER_IS_BETTER else -one.value)


def deciding(files: RunFiles) -> list[str]:
    """Who answers: the members of the last decision that was kept; empty where the task knows no members."""
    members: object = None
    at: object = files.settings
    for part in MEMBERS.split("."):
        at = mapping(at).get(part)
    members = at
    for line in files.journal:
        pair = mapping(line.get("change")).get(MEMBERS)
        if line.get("accepted") is True and isinstance(pair, list) and len(pair) == 2:
            members = pair[1]
    return [str(one) for one in members] if isinstance(members, list) else []


def verdict(files: RunFiles, metric: str, final: Line) -> Words | None:
    """Which model is the best of all, and which one `predict` uses, in a sentence; None without any to compare with.

    Args:
        files: of the run.
        metric: that decides.
        final: what the best system measured: `value` and `low`, `high` where they are known.
    """
    found, value = rivals(files, metric), number(final.get("value"))
    if not found or value is None:
        return None
    members = deciding(files)
    if [one for one in members if one != MODEL]:
        return _of_members(members, found[0], metric, final)
    return _of_model(found[0], metric, value, final)


def _of_members(members: list[str], best: Rival, metric: str, final: Line) -> Words:
    """Of a decision in which a simple model has a say; it is taken for the least loss, not always the best metric."""
    names: dict[str, object] = {"names": members_words(members)}
    if is_ahead(best.value, float(final["value"]), metric):
        end = number(final.get("low" if metric in LOWER_IS_BETTER else "high"))
        sure = end is not None and is_ahead(best.value, end, metric)
        other = {"name": members_words([best.name]), "metric": metric_words(metric)}
        return say("another ahead" if sure else "another level", {**names, **other}).capital()
    if MODEL in members:
        return say("best together", names)
    return say("best baseline" if len(members) == 1 else "best baselines", names).capital()


def is_ahead(value: float, other: float, metric: str) -> bool:
    """Whether a value of a metric is better than another."""
    return value < other if metric in LOWER_IS_BETTER else value > other


def _of_model(best: Rival, metric: str, value: float, final: Line) -> Words:
    """Of the trained model alone, beside the best of the others."""
    name, lower = {"name": members_words([best.name])}, metric in LOWER_IS_BETTER
    worst_end = number(final.get("high" if lower else "low"))
    if is_ahead(best.value, value, metric):
        return say("baseline ahead", name).capital()
    sure = worst_end is not None and is_ahead(worst_end, best.value, metric)
    return say("model ahead" if sure else "model level", name)
