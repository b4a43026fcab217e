"""The journal: one line a round, in order, and what the loop asks of it.

A line holds plain values only, so a process that goes on, the report and a person read the same thing. This file
leaves out how a round is played.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepwell.evaluation import Interval
from stepwell.recipes import Recipe
from stepwell.runs import RunDirectory, append_line, read_lines
from stepwell.studies.diagnosis import Finding
from stepwell.studies.report import change_words, diagnosis_words

LEVERS = (
    "tokenizer.vocab_size",
    "model.num_layers",
    "model.d_model",
    "model.dropout",
    "training.steps",
    "training.global_batch_tokens",
    "training.optimizer.learning_rate",
    "training.optimizer.weight_decay",
    "decoding.repetition_penalty",
)
"""Recipe paths that a round may change by itself, as the journal names them; a recipe may add others."""

Line = dict[str, Any]
Changed = dict[str, list[Any]]


class Journal:
    """The lines of a run, on disk and in memory.

    Args:
        path: `journal.jsonl`; it need not be there yet.
        judging_seconds: how long measuring a round takes, as far as the plan knows.
    """

    def __init__(self, path: Path, judging_seconds: float = 3.0) -> None:
        self._path, self._planned_judging = path, judging_seconds
        self.lines: list[Line] = read_lines(path)

    def add(self, line: Line) -> None:
        """Write a line."""
        append_line(self._path, line)
        self.lines.append(line)

    def trained(self) -> int:
        """How many rounds trained a model."""
        return sum(bool(line["steps"]) for line in self.lines)

    def best(self) -> Line | None:
        """The last round that trained a model and was kept."""
        return next((line for line in reversed(self.lines) if line["accepted"] and line["steps"]), None)

    def decided(self) -> Interval | None:
        """The value of the best round after the last decision about what it says; None without one that was kept."""
        best = self.best()
        later = self.lines[self.lines.index(best) + 1 :] if best else []
        kept = [line for line in later if line["accepted"] and line["diagnosis"] == "decision"]
        return Interval(kept[-1]["value"], kept[-1]["low"], kept[-1]["high"]) if kept else None

    def prediction_changes(self) -> dict[str, Any]:
        """What kept rounds since the best one changed without training: recipe path -> value."""
        best = self.best()
        later = self.lines[self.lines.index(best) + 1 :] if best else []
        kept = [line for line in later if line["accepted"] and not line["steps"]]
        return {path: pair[1] for line in kept for path, pair in line["change"].items()}

    def findings(self) -> list[Finding]:
        """What was found in the best round."""
        best = self.best()
        return [Finding(f["name"], f["evidence"], f["words"]) for f in best["findings"]] if best else []

    def judging_seconds(self) -> float:
        """How long measuring a round takes, at most, as far as is known."""
        return max((line["judging_seconds"] for line in self.lines if line["steps"]), default=self._planned_judging)


def differences(before: Recipe | None, after: Recipe) -> Changed:
    """Recipe path -> [before, after] of the levers that differ; all of them for a first plan."""
    paths = dict.fromkeys([*LEVERS, *after.study.levers])
    pairs = {path: [None if before is None else before.value(path), after.value(path)] for path in paths}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def describe(changed: Mapping[str, list[Any]]) -> str:
    """A change in a few words, for the screen."""
    if all(before is None for before, _ in changed.values()):
        return diagnosis_words("first_plan").en
    return ", ".join(words.en for words in change_words(changed))


def begin_line(number: int, finding: Finding, changed: Changed, *, key: str, metric: str, before: float | None) -> Line:
    """The part of a line that is known before the round: what is changed, and why."""
    return {
        "round": number,
        "diagnosis": finding.name,
        "evidence": finding.as_dict()["evidence"],
        "reason": finding.words,
        "change": changed,
        "key": key,
        "metric": metric,
        "before": before,
    }


def gain_fields(gain: Interval | None) -> dict[str, float | None]:
    """The gain of a round and its paired interval, as fields of a line."""
    if gain is None:
        return {"gain": None, "gain_low": None, "gain_high": None}
    return {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}


def planned_judging(run: RunDirectory) -> float:
    """How long measuring a round takes, as the plan of a run has it, in seconds."""
    return float(((run.read(run.facts) or {}).get("plan") or {}).get("judging_seconds", 3.0))
