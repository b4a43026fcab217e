"""One process's work on a run directory: claim it, plan or go on, and leave everything written down.

A directory belongs to one request (what the user said, budget, target and trackers aside). The same request goes on
where it was; another one is refused. This file leaves out the loop itself (`study.py`) and the one training run
(`trial.py`).
"""

from __future__ import annotations

import datetime
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from stepwell import __version__
from stepwell.config import build, format_duration, merge, parse_duration
from stepwell.errors import BudgetError, RunError, StepwellError
from stepwell.hardware import Machine, examine
from stepwell.progress import Fact, RunStarted, Stage, Watcher
from stepwell.recipes import ALTERABLE, Draft, Recipe, fit_steps, read_recipe_file, write_recipe
from stepwell.runs import DRAFT, FORMAT, OLDER, RunDirectory, to_json, write_atomically
from stepwell.studies.baselines import measure_baselines
from stepwell.studies.budget import Budget, next_slot, num_slots
from stepwell.studies.corpus import DATA_PAGE, Corpus, describe, open_corpus
from stepwell.studies.journal import planned_judging
from stepwell.studies.planning import Planned, outlook, plan_run, shape_words
from stepwell.studies.range_test import PAGE, refuse_counting, try_rates
from stepwell.studies.report import write_report
from stepwell.studies.study import SHORTEST_ROUND_SECONDS, Study
from stepwell.studies.summary import sum_up
from stepwell.studies.trial import Trial, run_trial
from stepwell.tracking import require_trackers, tracked
from stepwell.training import Profiler

DEFAULT_BUDGET = "10m"
SHORTEST_BUDGET_SECONDS = 30.0
END_SECONDS = 10.0
"""Kept for measuring on the test text and for the report, when a plan is made."""

StopRequested = Callable[[], bool]


def run_loop(
    draft: Draft,
    out: Path,
    *,
    began: float,
    watch: Watcher,
    stop_requested: StopRequested,
    profile: bool = False,
) -> dict[str, Any]:
    """The closed loop in a directory, from where it stands.

    Args:
        draft: what the user said.
        out: the run directory.
        began: `time.monotonic()` when the process began; the budget counts from there.
        watch: gets the events.
        stop_requested: asked after every step.
        profile: look where the time of ten steps goes, once.

    Returns:
        What `result.json` holds.

    Raises:
        BudgetError: when the budget is too short for any round.
        RunError: when the directory is locked, holds another run, or the text has changed.
        Stopped: when `stop_requested` said so.
    """
    run = RunDirectory(out)
    require_trackers(draft.get("track") or ())
    with claimed(run, draft, "run"):
        budget = Budget(_budget_seconds(draft), out / "spent", began)
        resumed = run.recipe.exists()
        watch(RunStarted(out, draft.metric, draft.get("target"), budget.left, resumed))
        machine = examine()
        if resumed:
            recipe, corpus = _go_on(run, draft, watch)
        else:
            recipe, corpus = _plan_loop(run, draft, machine, budget, watch)
        budget.note(at_once=True)
        with _watched(recipe, out, watch, profile) as (told, profiler):
            study = Study(
                recipe, run, corpus, machine, budget, watch=told, stop_requested=stop_requested, profiler=profiler
            )
            try:
                reason = study.play()
                return sum_up(study, reason)
            finally:
                budget.note(at_once=True)
                if study.journal.lines:
                    watch(Stage("report"))
                    write_report(out)


def plan_only(draft: Draft, out: Path, *, began: float, watch: Watcher) -> dict[str, Any]:
    """What a run would do, how long it would take and what it would need; nothing is trained to keep."""
    run = RunDirectory(out)
    with claimed(run, draft, None):
        seconds = _budget_seconds(draft)
        machine = examine()
        budget = Budget(seconds, out / "no-run", began)
        watch(RunStarted(out, draft.metric, draft.get("target"), seconds))
        planned = plan_run(draft, run, machine, watch, seconds=_for_training(budget), steps=None)
        speed, recipe = planned.speed, planned.recipe
        rounds = outlook(planned, _for_training(budget)) if speed is not None else []
        return {
            "task": recipe.task.kind,
            "metric": recipe.metric,
            **describe(planned.corpus, recipe.tokenizer),
            "machine": machine.as_dict(),
            "model": recipe.model.model_dump() | {"parameters": recipe.model.num_parameters},
            "shape": shape_words(recipe.model),
            "reason": next((why for why in planned.origins.values() if why.startswith("derived: depth")), ""),
            "training": recipe.training.model_dump(),
            "tokens_per_second": None if speed is None else round(speed.train_tokens_per_second),
            "score_tokens_per_second": None if speed is None else round(speed.score_tokens_per_second),
            "memory_bytes": None if speed is None else speed.memory_bytes,
            "epochs": round(planned.epochs, 2),
            "rounds": rounds,
            "seconds": round(seconds, 1),
            "setup_seconds": round(budget.spent, 1),
            "recipe": write_recipe(recipe, planned.origins),
        }


@contextmanager
def _watched(recipe: Recipe, out: Path, watch: Watcher, profile: bool) -> Iterator[tuple[Watcher, Profiler | None]]:
    """The watcher with the recipe's trackers beside it, and a profiler where one is asked for; both end with the body.

    Raises:
        UsageError: when a tracker's library is missing.
    """
    require_trackers(recipe.track)
    with tracked(recipe.track, out, watch) as told:
        profiler = Profiler(out / "profile", told) if profile else None
        try:
            yield told, profiler
        finally:
            if profiler is not None:
                profiler.close()


def find_rate_only(
    draft: Draft,
    out: Path,
    *,
    began: float,
    watch: Watcher,
    lowest: float | None = None,
    highest: float | None = None,
    steps: int = 100,
) -> dict[str, Any]:
    """Try learning rates on the run that would be planned; `try_rates` says what comes back."""
    run = RunDirectory(out)
    refuse_counting(draft.get("model.kind") or "")
    with claimed(run, draft, None):
        fixed = draft.get("training.steps")
        budget = Budget(None if fixed else _budget_seconds(draft), out / "no-run", began)
        watch(RunStarted(out, draft.metric, None, budget.seconds))
        machine = examine()
        seconds = None if fixed else _for_training(budget)
        planned = plan_run(draft, run, machine, watch, seconds=seconds, steps=fixed)
        return try_rates(planned, run, machine, watch, lowest=lowest, highest=highest, steps=steps)


def train_once(
    draft: Draft,
    out: Path,
    *,
    steps: int | None,
    began: float,
    watch: Watcher,
    stop_requested: StopRequested,
    profile: bool = False,
) -> dict[str, Any]:
    """One training run, without the loop.

    Args:
        draft: what the user said.
        out: the run directory.
        steps: of the run; None to fill the budget.
        began: as in `run_loop`.
        watch: gets the events.
        stop_requested: asked after every step.
        profile: as in `run_loop`.

    Returns:
        Validation metric, steps, tokens, seconds and where the model is.
    """
    run = RunDirectory(out)
    require_trackers(draft.get("track") or ())
    steps = steps or draft.get("training.steps")
    request = draft.plus({"training": {"steps": steps}}, "flag") if steps else draft
    with claimed(run, request, "train"):
        seconds = None if steps else _budget_seconds(draft)
        budget = Budget(seconds, out / "spent", began)
        resumed = run.recipe.exists()
        watch(RunStarted(out, draft.metric, None, seconds, resumed))
        machine = examine()
        if resumed:
            recipe, corpus = _go_on(run, request, watch)
        else:
            for_training = None if seconds is None else _for_training(budget)
            planned = plan_run(request, run, machine, watch, seconds=for_training, steps=steps)
            recipe, corpus = planned.recipe, planned.corpus
            if for_training is not None and planned.speed is not None and draft.get("training.steps") is None:
                recipe = fit_steps(recipe, most_steps(recipe, planned.steps_in(for_training)), since=0)
            _write_plan(run, planned, recipe, machine, corpus)
        with _watched(recipe, out, watch, profile) as (told, profiler):
            trial = run_trial(
                1,
                recipe,
                corpus,
                run,
                machine,
                start_from=None,
                seconds=None if seconds is None else budget.left - END_SECONDS / 2 - planned_judging(run),
                watch=told,
                stop_requested=stop_requested,
                profiler=profiler,
            )
        return _trained(run, trial, budget)


def _trained(run: RunDirectory, trial: Trial, budget: Budget) -> dict[str, Any]:
    value = trial.value
    return {
        "task": trial.recipe.task.kind,
        "metric": trial.recipe.metric,
        "scoring": trial.recipe.scoring,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "train_value": trial.train_value,
        "steps": trial.steps,
        "tokens": trial.tokens,
        "parameters": trial.recipe.model.num_parameters,
        "seconds": round(budget.spent, 1),
        "tokens_per_second": round(trial.tokens_per_second, 1),
        "mfu_ratio": trial.mfu_ratio,
        "peak_memory_bytes": trial.peak_memory_bytes,
        "checkpoint": str(trial.checkpoint.relative_to(run.root)),
        "samples": trial.samples,
    }


def _plan_loop(
    run: RunDirectory, draft: Draft, machine: Machine, budget: Budget, watch: Watcher
) -> tuple[Recipe, Corpus]:
    planned = plan_run(draft, run, machine, watch, seconds=_for_training(budget), steps=None)
    recipe, corpus = planned.recipe, planned.corpus
    baselines = measure_baselines(recipe, corpus, run, machine, _for_training(budget), watch)
    if planned.speed is not None and draft.get("training.steps") is None:
        recipe = fit_steps(recipe, most_steps(recipe, planned.steps_in(first_slot(recipe, budget))), since=0)
    _write_plan(run, planned, recipe, machine, corpus, baselines=baselines)
    return recipe, corpus


def first_slot(recipe: Recipe, budget: Budget) -> float:
    """Seconds for the first round; all of them where it ends when examples were seen as often as is usual."""
    rounds = 1 if recipe.usual_passes else num_slots(budget.seconds or 0.0)
    return max(next_slot(_for_training(budget), rounds), SHORTEST_ROUND_SECONDS)


def most_steps(recipe: Recipe, steps: int) -> int:
    """So many steps as there is time for; of a task whose examples are seen a number of times, not more than that."""
    return min(steps, recipe.training.steps) if recipe.usual_passes else steps


def _write_plan(
    run: RunDirectory,
    planned: Planned,
    recipe: Recipe,
    machine: Machine,
    corpus: Corpus,
    baselines: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write facts and recipe, the recipe last: where it stands, the plan is whole and a run goes on from it."""
    facts = describe(corpus, recipe.tokenizer) | {
        "machine": machine.as_dict(),
        "environment": environment(),
        "text_key": corpus.text.key,
        "plan": {
            "epochs": round(planned.epochs, 2),
            "tokens": round(planned.tokens),
            "tokens_per_second": round(planned.speed.train_tokens_per_second) if planned.speed else None,
            "judging_seconds": round(planned.judging_seconds, 1),
        },
        "baselines": list(baselines),
    }
    write_atomically(run.facts, to_json(facts, indent=2))
    write_atomically(run.recipe, write_recipe(recipe, planned.origins))


def environment() -> dict[str, str]:
    """Versions that a number depends on."""
    return {
        "stepwell": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
    }


def _go_on(run: RunDirectory, draft: Draft, watch: Watcher) -> tuple[Recipe, Corpus]:
    """Recipe and corpus of a run that was planned before; budget, target and trackers may be new ones."""
    tree = read_recipe_file(run.recipe)
    new = {name: draft.get(name) for name in ALTERABLE if draft.get(name) is not None}
    recipe = build(Recipe, merge(tree, new), where=str(run.recipe))
    corpus = open_corpus(recipe, run, watch)
    known = (run.read(run.facts) or {}).get("text_key")
    if known is not None and known != corpus.text.key:
        raise RunError(
            f"{run.root}: the text has changed since this run began",
            do="choose another --out for the new text",
        )
    watch(Fact(f"going on with {run.root}"))
    return recipe, corpus


@contextmanager
def claimed(run: RunDirectory, draft: Draft, kind: str | None) -> Iterator[None]:
    """Hold a directory for a request; one in which nothing came about is given back as it was.

    Args:
        run: the directory.
        draft: the request.
        kind: `run` or `train`; None for a plan or a preparation, which claim nothing.
    """
    is_new = not run.root.exists()
    _refuse_strangers(run)
    try:
        with run.locked():
            if kind is not None:
                _claim(run, draft, kind)
            try:
                yield
            except StepwellError:
                if kind is not None and not run.recipe.exists():
                    run.identity.unlink(missing_ok=True)
                raise
    except StepwellError:
        if is_new and not any(path.is_file() for path in run.root.rglob("*") if path.name not in ("lock", "spent")):
            shutil.rmtree(run.root, ignore_errors=True)
        raise


def _refuse_strangers(run: RunDirectory) -> None:
    """Leave a folder of somebody else alone, without so much as a lock in it.

    Raises:
        RunError: when there is something else in it than what a run, a plan or a preparation begins with.
    """
    if not run.root.is_dir() or run.identity.exists():
        return
    own = ("lock", "spent", "data", "tokenizers", PAGE, DATA_PAGE)
    strange = [p.name for p in run.root.iterdir() if p.name not in own and not p.name.endswith((DRAFT, OLDER))]
    if strange:
        raise RunError(
            f"{run.root}: is not empty and holds no run",
            got=", ".join(sorted(strange)[:5]),
            do="choose another --out",
        )


def _claim(run: RunDirectory, draft: Draft, kind: str) -> None:
    """Make the directory this request's, or see that it is already.

    Raises:
        RunError: when it holds another run.
    """
    request = {name: value for name, value in draft.tree.items() if name not in ALTERABLE}
    identity = run.read_identity()
    if identity is None:
        record = {
            "format": FORMAT,
            "kind": kind,
            "request": request,
            "budget": draft.get("budget"),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "stepwell": __version__,
        }
        write_atomically(run.identity, to_json(record, indent=2))
        return
    if identity["kind"] != kind:
        raise RunError(f"{run.root}: holds the work of `stepwell {identity['kind']}`", do="choose another --out")
    if not _same(identity["request"], request) and not _is_resolved(run, request):
        raise RunError(
            f"{run.root}: holds another run",
            got=to_json(request),
            wanted=to_json(identity["request"]),
            do="choose another --out, or repeat the first command to go on",
        )


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return bool(json.loads(to_json(first)) == json.loads(to_json(second)))


def _is_resolved(run: RunDirectory, request: Mapping[str, Any]) -> bool:
    """Whether a request is the run's own resolved recipe."""
    if not run.recipe.exists():
        return False
    resolved = read_recipe_file(run.recipe)
    return _same({k: v for k, v in resolved.items() if k not in ALTERABLE}, request)


def _budget_seconds(draft: Draft) -> float:
    """The budget in seconds.

    Raises:
        BudgetError: when it is too short for any round.
    """
    seconds = parse_duration(draft.get("budget") or DEFAULT_BUDGET)
    if seconds < SHORTEST_BUDGET_SECONDS:
        raise BudgetError(
            "budget: too short to train and measure anything",
            got=format_duration(seconds),
            wanted=f"at least {format_duration(SHORTEST_BUDGET_SECONDS)}",
            do="give more time: --budget 5m",
        )
    return seconds


def _for_training(budget: Budget) -> float:
    """Seconds for all training rounds together, as far as one knows before the first."""
    measuring = 3.0 * num_slots(budget.seconds or 0.0)
    return max(10.0, 0.97 * budget.left - END_SECONDS - measuring)
