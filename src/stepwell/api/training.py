"""The verbs that make a model: run, plan, prepare, train, quickstart; and two that tell about it: report, doctor.

Each reads what the user said, chooses the directory and hands over to `studies`. This file leaves out how a request is
read (`requests.py`) and what is done with a finished model (`using.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from stepwell.api.requests import PathLike, Texts, free_folder, read_request
from stepwell.data import Engine
from stepwell.errors import UsageError
from stepwell.progress import Watcher, unwatched

QUICKSTART_SOURCE = "sample:python-docs"


def run(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    metric: str | None = None,
    target: float | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    track: Sequence[str] = (),
    profile: bool = False,
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool] = bool,
    began: float | None = None,
) -> dict[str, Any]:
    """The closed loop: prepare, initialise, train, predict, evaluate, adjust, and train again.

    Args:
        recipe: a recipe file.
        text: files, folders, globs, `hf://owner/name` or `sample:python-docs`.
        data: the same, for tables with a text column.
        task: what the model is for, a kind of `tasks.TASKS`; default `language_modeling`.
        metric: what is improved, one of the task's.
        target: the loop stops when validation reaches it.
        budget: wall time such as `20m`; default ten minutes.
        out: the run directory; default `runs/NAME`, after the first source.
        set: `a.b=c` values for the recipe, stronger than everything else.
        track: other programs that show how it goes: `tensorboard`, `trackio`, `wandb`, `mlflow`.
        profile: look where the time of ten training steps goes; table and trace are written to `out`/profile.
        watch: gets the events.
        stop_requested: asked after every step; True saves everything and raises `Stopped`.
        began: `time.monotonic()` from which the budget counts; default now.

    Returns:
        What `result.json` holds, and `out`.

    Raises:
        StepwellError: for anything a person can mend; see `stepwell.errors`.
    """
    from stepwell.studies import run_loop, with_all_ranks

    start = time.monotonic() if began is None else began

    def work() -> dict[str, Any]:
        draft, folder = read_request(
            recipe, text, data, task, metric, target, budget, out, set, kind="run", track=track
        )
        result = run_loop(draft, folder, began=start, watch=watch, stop_requested=stop_requested, profile=profile)
        return {**result, "out": str(folder)}

    return with_all_ranks(work, stop_requested)


def plan(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    metric: str | None = None,
    target: float | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    watch: Watcher = unwatched,
    began: float | None = None,
) -> dict[str, Any]:
    """What `run` would do with the same arguments: sizes, languages, speed, memory, model, and the time of each round.

    Text and tokenizer are prepared in the run directory, where `run` finds them.
    """
    from stepwell.studies import plan_only, with_all_ranks

    start = time.monotonic() if began is None else began

    def work() -> dict[str, Any]:
        draft, folder = read_request(recipe, text, data, task, metric, target, budget, out, set, kind="plan")
        return {**plan_only(draft, folder, began=start, watch=watch), "out": str(folder)}

    return with_all_ranks(work)


def prepare(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    engine: Engine = "auto",
    workers: int | None = None,
    watch: Watcher = unwatched,
) -> dict[str, Any]:
    """Make text ready without training: read, cleaned, chosen, split and tokenised as `run` would do it.

    Args:
        recipe: as in `run`.
        text: as in `run`.
        data: as in `run`.
        task: as in `run`; rows become examples of it.
        out: as in `run`, which finds everything there; default `runs/NAME`.
        set: as in `run`.
        engine: who does it: `serial`, `processes`, `ray`; `auto` takes processes for large text. The result is the
            same.
        workers: how many at once; default one for each core.
        watch: as in `run`.

    Returns:
        What is known about the text, what each step did, and `report`, where the page about it is.

    Raises:
        StepwellError: for anything a person can mend; see `stepwell.errors`.
    """
    from stepwell.studies import Workers, prepare_only

    if engine not in get_args(Engine):
        raise UsageError("engine: unknown", got=engine, wanted=" or ".join(get_args(Engine)))
    if workers is not None and workers < 1:
        raise UsageError("workers: must be at least 1", got=str(workers))
    draft, folder = read_request(recipe, text, data, task, None, None, None, out, set, kind="plan")
    result = prepare_only(draft, folder, workers=Workers(engine, workers), watch=watch)
    return {**result, "out": str(folder)}


def train(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    metric: str | None = None,
    budget: str | float | None = None,
    steps: int | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    track: Sequence[str] = (),
    profile: bool = False,
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool] = bool,
    began: float | None = None,
) -> dict[str, Any]:
    """One training run without the loop; with `steps`, two runs on one machine end with the same weights.

    Everything but `steps` (optimizer updates; None fills the budget) is as in `run`.

    Returns:
        The metric with its interval, steps, tokens, seconds, samples, and where the checkpoint is.
    """
    from stepwell.studies import train_once, with_all_ranks

    if steps is not None and steps < 1:
        raise UsageError("steps: must be at least 1", got=str(steps))
    start = time.monotonic() if began is None else began

    def work() -> dict[str, Any]:
        draft, folder = read_request(
            recipe, text, data, task, metric, None, budget, out, set, kind="train", steps=steps, track=track
        )
        result = train_once(
            draft, folder, steps=steps, began=start, watch=watch, stop_requested=stop_requested, profile=profile
        )
        return {**result, "out": str(folder)}

    return with_all_ranks(work, stop_requested)


def quickstart(
    *,
    out: PathLike | None = None,
    budget: str | float = "4m50s",
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool] = bool,
    began: float | None = None,
) -> dict[str, Any]:
    """`run` on the English prose that every Python carries; at most five minutes on two cores."""
    return run(
        text=[QUICKSTART_SOURCE],
        budget=budget,
        out=out if out is not None else free_folder("quickstart", "run", {"data": {"sources": (QUICKSTART_SOURCE,)}}),
        watch=watch,
        stop_requested=stop_requested,
        began=began,
    )


def report(run: PathLike) -> Path:
    """Write the report of a run again.

    Returns:
        Where it is.
    """
    from stepwell.studies import write_report

    return write_report(Path(run))


def find_rate(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    budget: str | float | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    lowest: float | None = None,
    highest: float | None = None,
    steps: int = 100,
    watch: Watcher = unwatched,
    began: float | None = None,
) -> dict[str, Any]:
    """Which learning rates the run of a recipe can bear, by the range test of Smith (2017).

    The rate grows exponentially over a hundred or so updates on the run's own text with its own model, of which nothing
    is kept but the curve. Optimizers with two rates are tried with both in proportion.

    Args:
        recipe: a recipe file; the rest is as in `run`.
        text: as in `run`.
        data: as in `run`.
        budget: as in `run`; the model is sized by it.
        out: the run directory; the page is written there.
        set: as in `run`.
        lowest: the first rate; default a thousandth of the one that would be taken.
        highest: the last rate; default a hundred times that.
        steps: updates, at least 10.
        watch: gets the events.
        began: as in `run`.

    Returns:
        `suggested`, `steepest` and `diverged` (None when nothing ran away), `values` (recipe path -> suggested rate),
        `rates`, `losses`, `smoothed`, `steps`, `seconds`, `optimizer`, `planned`, `page` and `out`.

    Raises:
        UsageError: for a model that learns by counting, or rates that do not rise.
        TrainingError: when the loss falls at no rate.
    """
    from stepwell.studies import find_rate_only, with_all_ranks

    start = time.monotonic() if began is None else began

    def work() -> dict[str, Any]:
        draft, folder = read_request(recipe, text, data, None, None, None, budget, out, set, kind="plan")
        rates: dict[str, Any] = {"lowest": lowest, "highest": highest, "steps": steps}
        return {**find_rate_only(draft, folder, began=start, watch=watch, **rates), "out": str(folder)}

    return with_all_ranks(work)


def doctor(*, measure_again: bool = True) -> dict[str, Any]:
    """What this machine is, and the settings that stepwell takes on it."""
    from stepwell.hardware import available_memory, examine

    machine = examine(measure_again=measure_again)
    return machine.as_dict() | {"available_memory_bytes": available_memory()}
