"""A run that was stopped, at whatever step and in whatever way, ends as the run that was left alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import Stopped
from stepwell.models import MODELS
from stepwell.optimization import OPTIMIZERS
from stepwell.runs import read_lines
from stepwell.training import Trained, Trainer

STEPS = 12
GAUGES = ("mfu_ratio", "memory_bytes", "peak_memory_bytes", "gpu_memory_bytes", "peak_gpu_memory_bytes")


FAST = ("adamw", "muon")
RUNS = [("decoder", optimizer) for optimizer in sorted(OPTIMIZERS, key=lambda kind: kind not in FAST)]
OTHERS = [(kind, "muon") for kind, family in MODELS.items() if kind != "decoder" and family.learns == "gradient"]


@pytest.fixture(
    scope="module",
    ids=str,
    params=[*RUNS[: len(FAST)], *(pytest.param(run, marks=pytest.mark.slow) for run in [*RUNS[len(FAST) :], *OTHERS])],
)
def settings(request: pytest.FixtureRequest, rates_of, tiny_config, byte_tokenizer) -> dict[str, Any]:
    """Every optimizer with a decoder; every other kind with the optimizer that has two of them inside."""
    kind, optimizer = request.param
    rates = {**rates_of(optimizer), "objective.kind": MODELS[kind].objectives[0]}
    model = {} if kind == "decoder" else tiny_config(kind).model_copy(update={"dropout": 0.1})
    tokenizer = None if "causal" in MODELS[kind].objectives else byte_tokenizer
    return {"training": {"steps": STEPS, **rates}, "model": model, "tokenizer": tokenizer}


@pytest.fixture(scope="module")
def left_alone(settings, make_trainer, tmp_path_factory) -> Path:
    """The directory of a run that nothing happened to."""
    directory = tmp_path_factory.mktemp("left-alone")
    make_trainer(directory, **settings).run()
    return directory


def weights(directory: Path, name: str) -> dict[str, bytes]:
    folder = directory / "checkpoints" / name
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.safetensors"))}


def state(directory: Path, name: str) -> dict[str, Any] | None:
    """Everything else that a checkpoint remembers, but for the time."""
    trainer = load_checkpoint(directory / "checkpoints" / name).trainer
    return None if trainer is None else {key: value for key, value in trainer.items() if key != "seconds"}


def told(directory: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl says, without what depends on the clock and without notes about going on."""
    clock = ("seconds", "tokens_per_second", *GAUGES)
    records = read_lines(directory / "metrics.jsonl")
    return [{k: v for k, v in r.items() if k not in clock} for r in records if r.get("event") != "resumed"]


def assert_same(directory: Path, other: Path) -> None:
    for name in ("best", "stable", f"step-{STEPS:06d}"):
        assert weights(directory, name)
        assert weights(directory, name) == weights(other, name), name
        assert state(directory, name) == state(other, name), name
    assert told(directory) == told(other)


def go_on(make: Callable[[], Trainer]) -> Trained:
    """Start a run as often as it takes."""
    for _ in range(STEPS + 2):
        try:
            return make().run()
        except (Stopped, KeyboardInterrupt):
            continue
    raise AssertionError("the run never ended")


def stop_after(steps: set[int]) -> Callable[[Any], None]:
    """A watcher that breaks the run off right after these steps, before anything of them is saved; each only once."""

    def watch(event: Any) -> None:
        if getattr(event, "loss", None) is not None and event.step in steps:
            steps.discard(event.step)
            raise KeyboardInterrupt

    return watch


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 7])
def test_stopped_by_hand_and_started_again(settings, make_trainer, left_alone, tmp_path, step):
    asked: list[int] = []

    def stop_requested() -> bool:
        asked.append(1)
        return len(asked) == step

    assert_ends_like(
        left_alone,
        tmp_path,
        lambda: make_trainer(tmp_path, stop_requested=stop_requested, **settings),
    )


@pytest.mark.slow_but("'muon')-{8}", "'muon')-{9, 10")
@pytest.mark.parametrize(
    ("steps", "seconds_between_checkpoints"), [({1}, 1e9), ({12}, 1e9), ({3, 4, 9, 10}, 0)], ids=str
)
def test_broken_off_and_started_again(settings, make_trainer, left_alone, tmp_path, steps, seconds_between_checkpoints):
    rare = {**settings["training"], "checkpoint_every_seconds": seconds_between_checkpoints}
    watch = stop_after(set(steps))
    assert_ends_like(
        left_alone, tmp_path, lambda: make_trainer(tmp_path, **{**settings, "training": rare}, watch=watch)
    )


def assert_ends_like(left_alone: Path, directory: Path, make: Callable[[], Trainer]) -> None:
    go_on(make)
    assert_same(directory, left_alone)


def break_off_within(trainer: Trainer, forwards: set[int]) -> Trainer:
    """Break a run off in the middle of an accumulation: within these forwards of this process, from 1, each once."""
    loss, count = trainer.updater.objective.loss, 0

    def breaking(*words: Any) -> Any:
        nonlocal count
        count += 1
        if count in forwards:
            forwards.discard(count)
            raise KeyboardInterrupt
        return loss(*words)

    trainer.updater.objective.loss = breaking  # type: ignore[method-assign]
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("seconds_between_checkpoints", [pytest.param(1e9, marks=pytest.mark.proof), 0])
def test_broken_off_between_micro_batches(settings, make_trainer, left_alone, tmp_path, seconds_between_checkpoints):
    """A step has three: the half of it that was done is forgotten, and done again exactly."""
    training = {**settings["training"], "checkpoint_every_seconds": seconds_between_checkpoints}
    forwards = {2, 6, 20}  # in the first step, at the end of the second, and later
    assert_ends_like(
        left_alone,
        tmp_path,
        lambda: break_off_within(make_trainer(tmp_path, **{**settings, "training": training}), forwards),
    )
    assert not forwards, "each of them broke the run off"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param((3,), marks=pytest.mark.proof), (0, 2, 1, 0, 4)], ids=str)
def test_whoever_makes_the_rows_ready(settings, make_trainer, left_alone, tmp_path, workers):
    """In line, by several threads, and by another number of them each time the run goes on."""
    numbers, watch = iter(workers), stop_after({2, 5, 6, 10} if len(workers) > 1 else set())

    def make() -> Trainer:
        training = {**settings["training"], "data_workers": next(numbers), "checkpoint_every_seconds": 0}
        return make_trainer(tmp_path, **{**settings, "training": training}, watch=watch)

    assert_ends_like(left_alone, tmp_path, make)


@pytest.mark.slow
def test_over_the_borders_of_epochs(make_trainer, tmp_path):
    """Three epochs of 67 rows or so, broken off right before, at and after their borders, and in their middle."""
    long = {"training": {"steps": 45, "checkpoint_every_seconds": 0}}
    whole = make_trainer(tmp_path / "whole", **long)
    packer = whole.updater.packer
    borders = [sum(packer.row_count(e) for e in range(epoch + 1)) // 5 for epoch in range(3)]
    assert borders[-1] < 45
    whole.run()
    watch = stop_after({7, *(border + shift for border in borders for shift in (-1, 0, 1, 2))})
    numbers = iter([0, 1, 2] * 20)

    def make() -> Trainer:
        return make_trainer(
            tmp_path / "parts", training={**long["training"], "data_workers": next(numbers)}, watch=watch
        )

    for _ in range(20):
        try:
            make().run()
            break
        except KeyboardInterrupt:
            continue
    assert weights(tmp_path / "parts", "step-000045") == weights(tmp_path / "whole", "step-000045")
    assert state(tmp_path / "parts", "step-000045") == state(tmp_path / "whole", "step-000045")
    assert told(tmp_path / "parts") == told(tmp_path / "whole")


def test_a_finished_run_stays_as_it_is(settings, make_trainer, left_alone, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(left_alone, copy)
    trained = make_trainer(copy, **settings).run()
    assert trained.progress.step == STEPS
    assert trained.stopped_because == "steps"
    assert_same(copy, left_alone)


def test_the_seed_of_dropout_matters(settings, make_trainer, left_alone, tmp_path):
    """Otherwise the tests above would hold for a run without randomness."""
    make_trainer(tmp_path, **settings, seed=1).run()
    assert weights(tmp_path, "best") != weights(left_alone, "best")


@pytest.mark.slow
def test_patience_is_not_forgotten(settings, make_trainer, tmp_path):
    """Measurements that are no better are counted across a stop."""
    patient = {**settings, "training": {**settings["training"], "steps": 40, "evaluate_every_steps": 2, "patience": 3}}
    patient["evaluate"] = lambda model: {"loss": 1.0}
    whole = make_trainer(tmp_path / "whole", **patient).run()
    asked = iter([False] * 4 + [True] + [False] * 40)
    parts = go_on(lambda: make_trainer(tmp_path / "parts", stop_requested=lambda: next(asked), **patient))
    assert whole.stopped_because == parts.stopped_because == "patience"
    assert whole.progress.span == parts.progress.span
    assert told(tmp_path / "parts") == told(tmp_path / "whole")


@pytest.mark.slow
def test_rounds_that_began_elsewhere_go_on_bit_for_bit_too(settings, make_trainer, left_alone, tmp_path):
    longer = {
        **settings,
        "training": {**settings["training"], "steps": 18},
        "start_from": left_alone / "checkpoints" / "stable",
    }
    make_trainer(tmp_path / "whole", **longer).run()
    watch = stop_after({9, 15})
    go_on(lambda: make_trainer(tmp_path / "parts", watch=watch, **longer))
    for name in ("best", "step-000018"):
        assert weights(tmp_path / "parts", name) == weights(tmp_path / "whole", name)
    assert told(tmp_path / "parts") == told(tmp_path / "whole")


def test_what_a_damaged_checkpoint_held_is_done_again(settings, make_trainer, left_alone, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(left_alone, copy)
    damaged = copy / "checkpoints" / f"step-{STEPS:06d}" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    said: list[Any] = []
    make_trainer(copy, **settings, watch=said.append).run()
    assert any("optimizer.safetensors" in getattr(event, "text", "") for event in said)
    assert_same(copy, left_alone)
