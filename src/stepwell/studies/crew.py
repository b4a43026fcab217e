"""Several ranks at one run: rank 0 does everything, and calls the others to what they share, training and its speed.

Before each piece of shared work rank 0 says plainly what it is (a recipe, paths, numbers); the others make the same
trainer of it, with a watcher that looks away, and join. Prepared text and checkpoints lie in the run directory, which
all ranks must see. Alone, a process is rank 0 and calls nobody. This file leaves out how ranks talk (`training.World`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepwell.config import build
from stepwell.data import Packer
from stepwell.hardware import Machine
from stepwell.models import LanguageModel
from stepwell.progress import Watcher, unwatched
from stepwell.recipes import Recipe
from stepwell.runs import RunDirectory, to_json
from stepwell.seeding import derive_seed
from stepwell.studies.beginning import begin_model, identity_of
from stepwell.studies.corpus import Tokens
from stepwell.studies.probe import ProbedShape, train_for_a_while
from stepwell.training import Evaluate, Profiler, Trained, Trainer, World

Result = dict[str, Any]


def with_all_ranks(work: Callable[[], Result], stop_requested: Callable[[], bool] = bool) -> Result:
    """Do a piece of work on rank 0, while the other ranks help where it calls them.

    Args:
        work: what one process alone would do; its result is plain.
        stop_requested: asked after every training step, on every rank.

    Returns:
        What the work returned, on every rank.

    Raises:
        EndedElsewhere: on every rank but the one that tells of a fault.
        StepwellError: what the work raised; or, when a rank is lost or hangs, a TrainingError that names it.
    """
    world = World.from_environment()
    if world.size == 1:
        return work()
    with world.together():
        if world.is_main:
            result = work()
            world.broadcast({"job": "end", "result": json.loads(to_json(result))})
            return result
        while (job := world.broadcast(None))["job"] != "end":
            _help(job, world, stop_requested)
        return dict(job["result"])


def _help(job: Mapping[str, Any], world: World, stop_requested: Callable[[], bool]) -> None:
    """What a rank does when rank 0 calls it."""
    tokens, machine = Tokens.from_plain(job["tokens"]), Machine(**job["machine"])
    if job["job"] == "probe":
        shape = build(ProbedShape, job["shape"], where="rank 0")
        train_for_a_while(shape, tokens, machine, world)
        return
    recipe = build(Recipe, job["recipe"], where="rank 0")
    start_from = None if job["start_from"] is None else Path(job["start_from"])
    model = begin_model(recipe, tokens, unwatched)
    _trainer(
        job["round"],
        recipe,
        model,
        tokens,
        RunDirectory(Path(job["run"])),
        machine,
        start_from=start_from,
        seconds=job["seconds"],
        stop_requested=stop_requested,
    ).run()


def train_together(
    number: int,
    recipe: Recipe,
    model: LanguageModel,
    tokens: Tokens,
    run: RunDirectory,
    machine: Machine,
    *,
    evaluate: Evaluate,
    start_from: Path | None,
    seconds: float | None,
    watch: Watcher,
    stop_requested: Callable[[], bool],
    profiler: Profiler | None,
) -> Trained:
    """Train on all ranks; only rank 0 calls this.

    Args:
        number: of the round.
        recipe: what to do.
        model: before its first step.
        tokens: to train on.
        run: the run directory.
        machine: where tensors go.
        evaluate: measures on held-out text.
        start_from: a stable checkpoint to go on from, or None.
        seconds: to end within; None for no limit.
        watch: gets the events.
        stop_requested: asked after every step.
        profiler: is told of every step of rank 0; or None.

    Raises:
        StepwellError: as `Trainer` does.
    """
    world = World.from_environment()
    if world.size > 1:
        world.broadcast(
            {
                "job": "train",
                "round": number,
                "recipe": recipe.model_dump(mode="json"),
                "tokens": tokens.to_plain(),
                "machine": machine.as_dict(),
                "run": str(run.root.resolve()),
                "start_from": None if start_from is None else str(start_from),
                "seconds": seconds,
            }
        )
    return _trainer(
        number,
        recipe,
        model,
        tokens,
        run,
        machine,
        evaluate=evaluate,
        start_from=start_from,
        seconds=seconds,
        watch=watch,
        stop_requested=stop_requested,
        profiler=profiler,
    ).run()


def _not_here(model: LanguageModel) -> dict[str, float]:
    raise AssertionError("rank 0 measures")


def _trainer(
    number: int,
    recipe: Recipe,
    model: LanguageModel,
    tokens: Tokens,
    run: RunDirectory,
    machine: Machine,
    *,
    evaluate: Evaluate = _not_here,
    start_from: Path | None,
    seconds: float | None,
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool],
    profiler: Profiler | None = None,
) -> Trainer:
    """The trainer of a round; the same on every rank, but for who measures and who watches."""
    world, training = World.from_environment(), recipe.training
    gflops = machine.gflops.get(training.precision)
    return Trainer(
        model.to(machine.device),
        tokens.tokenizer,
        Packer(tokens.train, training.row_length(recipe.model.max_seq_len), derive_seed(recipe.seed, "data")),
        training,
        run.round(number),
        seed=recipe.seed,
        identity=identity_of(number, recipe, tokens),
        evaluate=evaluate,
        start_from=start_from,
        seconds=seconds,
        gflops=None if gflops is None else gflops * world.size,
        profiler=profiler,
        watch=watch,
        stop_requested=stop_requested,
        world=world,
    )
