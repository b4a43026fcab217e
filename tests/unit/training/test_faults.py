"""What a training run does when things go wrong: bad numbers, no memory, a full disk, a clock that jumps."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stepwell.checkpoints import load_checkpoint
from stepwell.data.tokens import packing
from stepwell.errors import DiskError, Stopped, TrainingError
from stepwell.models import Decoder, DecoderConfig
from stepwell.progress import Fact
from stepwell.runs import read_lines
from stepwell.training import Trainer, keeping
from stepwell.training.memory import is_out_of_memory
from stepwell.training.update import Update

OWN_THREADS = ("stepwell-data", "stepwell-writer")
"""Names of the threads that a training begins; a tracker of another test may still hang in one of its own."""

SHAPE = {"vocab_size": 257, "max_seq_len": 16, "num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1}
NAN, INFINITY = float("nan"), float("inf")


def records(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_lines(directory / "metrics.jsonl") if record["kind"] == kind]


def events(directory: Path, without: tuple[str, ...] = ("resumed",)) -> list[tuple[str, int]]:
    return [(r["event"], r["step"]) for r in records(directory, "event") if r["event"] not in without]


def weights(directory: Path, name: str = "step-000012") -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((directory / "checkpoints" / name).glob("*.safetensors"))}


class Troubled(Decoder):
    """A decoder whose logits are spoilt on some of the rows, told by their tokens: whoever goes on meets them again."""

    bad: tuple[torch.Tensor, ...] = ()

    def hidden(self, token_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        hidden = super().hidden(token_ids, *others, **more)
        if self.training and any(torch.equal(token_ids, rows) for rows in self.bad):
            hidden = hidden * NAN
        return hidden


def troubled(make_trainer: Callable[..., Trainer], directory: Path, steps: list[int], **settings: Any) -> Trainer:
    """A trainer that finds a NaN in the second micro-batch of these steps, counted from 1."""
    model = Troubled(DecoderConfig(**SHAPE, head_dim=8, d_ff=24), seed=0)
    trainer = make_trainer(directory, built=model, **settings)
    packer = trainer.updater.packer
    model.bad = tuple(torch.from_numpy(packer.batch(5 * (step - 1) + 2, 2).token_ids) for step in steps)
    return trainer


def test_one_bad_step_is_skipped_and_nothing_else_happens(make_trainer, tmp_path):
    said: list[Any] = []
    trainer = troubled(make_trainer, tmp_path, [6], watch=said.append)
    trained = trainer.run()
    state = trained.progress
    assert (state.step, state.skipped, state.rollbacks, state.rate_scale) == (12, 1, 0, 1.0)
    assert state.rows == 12 * 5, "its rows count as consumed"
    assert events(tmp_path) == [("skipped", 6)]
    (event,) = records(tmp_path, "event")
    assert event["detail"] == "loss nan, gradient norm nan at step 6; no weight was changed"
    assert [r["step"] for r in records(tmp_path, "step")] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    assert any(isinstance(e, Fact) and e.warning and "skipped: loss nan" in e.text for e in said)
    tokens = [r["tokens"] for r in records(tmp_path, "step")]
    assert tokens[5] - tokens[4] == trainer.updater.packer.batch(30, 5).num_targets, "it learned nothing of step 6"


@pytest.mark.slow
def test_a_skipped_step_leaves_weights_and_optimizer_alone(make_trainer, tmp_path):
    def stopped_after(steps: int, directory: Path) -> None:
        asked = iter([False] * (steps - 1) + [True])
        with pytest.raises(Stopped):
            troubled(make_trainer, directory, [6], stop_requested=lambda: next(asked)).run()

    stopped_after(5, tmp_path / "before")
    stopped_after(6, tmp_path / "after")
    assert weights(tmp_path / "before", "step-000005") == weights(tmp_path / "after", "step-000006")
    assert len(weights(tmp_path / "after", "step-000006")) == 2


@pytest.mark.slow
def test_what_comes_after_a_skipped_step_is_the_run_without_it(make_trainer, tmp_path):
    """Beside the plain oracle: the same updates made by hand, but for the bad one."""
    troubled(make_trainer, tmp_path / "run", [6]).run()
    plain = make_trainer(tmp_path / "plain", built=Decoder(DecoderConfig(**SHAPE, head_dim=8, d_ff=24), seed=0))
    rates = {r["step"]: r["learning_rate"] / 0.01 for r in records(tmp_path / "run", "step")}
    for step in sorted(rates):
        plain.updater.update(step - 1, 5 * (step - 1), rates[step])
    found = load_checkpoint(tmp_path / "run" / "checkpoints" / "step-000012").model
    for name, parameter in plain.model.named_parameters():
        assert torch.equal(parameter, found.get_parameter(name)), name


@pytest.mark.parametrize("steps", [[4], [8], [12], [7], [1]], ids=str)
def test_a_bad_step_where_something_else_is_due(make_trainer, tmp_path, steps):
    """At a measurement, at the last step, where the decay begins, at the first."""
    trained = troubled(make_trainer, tmp_path, steps).run()
    assert [r["step"] for r in records(tmp_path, "evaluation")] == [4, 8, 12]
    assert trained.stable is not None
    assert trained.progress.step == 12


@pytest.mark.slow
def test_two_bad_steps_in_a_row_roll_back_and_two_apart_do_not(make_trainer, tmp_path):
    apart = troubled(make_trainer, tmp_path / "apart", [6, 8]).run()
    assert (apart.progress.skipped, apart.progress.rollbacks) == (2, 0)
    with pytest.raises(TrainingError, match="does not stay finite"):
        troubled(make_trainer, tmp_path / "row", [6, 7]).run()  # the same rows are met again each time
    assert events(tmp_path / "row") == [("rolled_back", 4)] * 5 + [("skipped", 6)]


@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (INFINITY, 1.0), (1.0, NAN), (1.0, INFINITY)])
def test_what_a_bad_step_is(make_trainer, tmp_path, loss, norm):
    trainer = make_trainer(tmp_path)
    spoil(trainer, {3: Update(loss, norm, 1, 1, is_finite=False)})
    assert trainer.run().progress.skipped == 1


def spoil(trainer: Trainer, bad: dict[int, Update], at_full_rate: bool = False) -> Trainer:
    """Let the updates of some steps, from 1, say something else, and change nothing."""
    update = trainer.updater.update

    def spoilt(step: int, first_row: int, factor: float) -> Update:
        if step + 1 in bad and (trainer.progress.rate_scale == 1 or not at_full_rate):
            return bad[step + 1]
        return update(step, first_row, factor)

    trainer.updater.update = spoilt  # type: ignore[method-assign]
    return trainer


def test_after_a_roll_back_a_bad_step_is_skipped_first_again(make_trainer, tmp_path):
    """The measurement that it went back to came after a skipped step: that one counts no more."""
    trainer = spoil(make_trainer(tmp_path), {8: BAD, 9: BAD}, at_full_rate=True)
    spoil(trainer, {9: BAD})
    state = trainer.run().progress
    assert (state.rollbacks, state.skipped) == (1, 2)
    assert events(tmp_path) == [("skipped", 8), ("rolled_back", 8), ("skipped", 9)]


BAD = Update(NAN, NAN, 1, 1, is_finite=False)


ALL_WAYS = list(itertools.product([(7, 8), (6, 7, 10)], [0, 1e9], [{5}, {6}, {4, 6}, {3, 5, 6, 7, 9}]))
SOME_WAYS = [((6, 7, 10), 0, {3, 5, 6, 7, 9}), ((7, 8), 1e9, {6})]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "saved_seconds", "stops"),
    [way if way in SOME_WAYS else pytest.param(*way, marks=pytest.mark.slow) for way in ALL_WAYS],
    ids=str,
)
def test_faults_are_met_again_in_the_same_way(make_trainer, tmp_path, bad, saved_seconds, stops):
    """Broken off around a skipped step and a roll back, the run still ends as the one that was left alone."""

    def make(directory: Path, **settings: Any) -> Trainer:
        training = {"checkpoint_every_seconds": saved_seconds, "keep.every_steps": 3}
        trainer = make_trainer(directory, training=training, **settings)
        return spoil(trainer, dict.fromkeys(bad, BAD), at_full_rate=True)

    make(tmp_path / "whole").run()
    left = set(stops)
    trainer = make(tmp_path / "parts")

    def watch(event: Any) -> None:
        """Break off at each of the steps once; where there is a roll back, after it."""
        step = getattr(event, "step", None)
        if step in left and (len(bad) == 1 or step < 5 or trainer.progress.rollbacks):
            left.discard(step)
            raise KeyboardInterrupt

    for _ in range(10):
        trainer = make(tmp_path / "parts", watch=watch)
        try:
            trainer.run()
            break
        except KeyboardInterrupt:
            continue
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert events(tmp_path / "parts") == events(tmp_path / "whole")
    clock = ("seconds", "tokens_per_second", "mfu_ratio", "memory_bytes", "peak_memory_bytes")
    steps = [[{k: v for k, v in r.items() if k not in clock} for r in records(tmp_path / name, "step")]
             for name in ("parts", "whole")]  # fmt: skip
    assert steps[0] == steps[1]
    assert [r["step"] for r in steps[0]] == sorted({r["step"] for r in steps[0]}), "every step is told once"


class Memory:
    """A machine that has room for so many rows at once."""

    def __init__(self, trainer: Trainer, rows: int, fault: Callable[[], BaseException], at: str = "forward") -> None:
        self.rows, self.asked = rows, []
        objective = trainer.updater.objective
        loss = objective.loss

        def counted(model: Any, examples: Any, device: Any) -> torch.Tensor:
            self.asked.append(len(examples.token_ids))
            found = loss(model, examples, device)
            if len(examples.token_ids) > self.rows:
                if at == "forward":
                    raise fault()
                found.register_hook(lambda gradient: (_ for _ in ()).throw(fault()))
            return found

        objective.loss = counted


FAULTS: dict[str, Callable[[], BaseException]] = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "Linux": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4096000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "Windows": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes."),
    "numpy": lambda: MemoryError("Unable to allocate 8.00 GiB"),
    "bare": MemoryError,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_without_memory_the_micro_batch_is_halved(make_trainer, tmp_path, name):
    """Same rows, same gradient up to rounding: without dropout, within 1e-5 of the undisturbed run after 12 steps."""
    settings: dict[str, Any] = {"training": {"micro_batch": 4}, "model": {"dropout": 0.0}}
    plain = make_trainer(tmp_path / "plain", **settings).run()
    said: list[Any] = []
    trainer = make_trainer(tmp_path / "tight", watch=said.append, **settings)
    memory = Memory(trainer, 1, FAULTS[name])
    trained = trainer.run()
    assert max(memory.asked[2:]) == 1
    assert memory.asked[:2] == [4, 2], "halved, and halved again"
    assert trained.progress.micro_batch == 1
    assert (trained.progress.rows, trained.progress.tokens) == (plain.progress.rows, plain.progress.tokens)
    first, second = (records(tmp_path / name, "step") for name in ("plain", "tight"))
    assert [r["loss"] for r in second] == pytest.approx([r["loss"] for r in first], rel=1e-5)
    expected = load_checkpoint(plain.best).model
    for key, parameter in load_checkpoint(trained.best).model.named_parameters():
        torch.testing.assert_close(parameter, expected.get_parameter(key), atol=1e-4, rtol=1e-4)
    assert events(tmp_path / "tight") == [("micro_batch_halved", 1)] * 2
    assert "no memory for 4 rows at step 1; from here 2 at once, the global batch is the same" in said[0].text
    assert said[0].warning


@pytest.mark.slow
def test_memory_that_runs_out_in_the_backward_leaves_no_half_gradient(make_trainer, tmp_path):
    """The fault comes in the second micro-batch of three, when a gradient is there already."""
    settings: dict[str, Any] = {"model": {"dropout": 0.0}}
    make_trainer(tmp_path / "plain", **settings).run()
    trainer = make_trainer(tmp_path / "tight", **settings)
    memory = Memory(trainer, 99, FAULTS["Linux"], at="backward")
    calls = iter([99] * 7 + [1] * 100)
    objective, loss = trainer.updater.objective, trainer.updater.objective.loss
    objective.loss = lambda *words: (setattr(memory, "rows", next(calls)), loss(*words))[1]  # type: ignore[func-returns-value]
    trainer.run()
    assert events(tmp_path / "tight") == [("micro_batch_halved", 3)]
    first, second = (records(tmp_path / name, "step") for name in ("plain", "tight"))
    assert [r["grad_norm"] for r in second] == pytest.approx([r["grad_norm"] for r in first], rel=1e-4)
    assert [r["loss"] for r in second] == pytest.approx([r["loss"] for r in first], rel=1e-5)


@pytest.mark.slow
def test_the_smaller_micro_batch_is_remembered(make_trainer, tmp_path):
    """The next process does not run into the same wall, and ends with the same bits."""
    settings: dict[str, Any] = {"training": {"micro_batch": 4}}
    whole = make_trainer(tmp_path / "whole", **settings)
    Memory(whole, 2, FAULTS["GPU"])
    whole.run()
    asked = iter([False] * 4 + [True])
    first = make_trainer(tmp_path / "parts", stop_requested=lambda: next(asked), **settings)
    Memory(first, 2, FAULTS["GPU"])
    with pytest.raises(Stopped):
        first.run()
    second = make_trainer(tmp_path / "parts", **settings)
    memory = Memory(second, 2, FAULTS["GPU"])
    second.run()
    assert max(memory.asked) == 2
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_a_roll_back_does_not_forget_it(make_trainer, tmp_path):
    trainer = spoil(make_trainer(tmp_path, training={"micro_batch": 4}), {6: BAD, 7: BAD}, at_full_rate=True)
    memory = Memory(trainer, 99, FAULTS["GPU"])
    update = trainer.updater.update

    def tighter(step: int, first_row: int, factor: float) -> Update:
        memory.rows = 99 if step < 4 and trainer.progress.rate_scale == 1 else 2  # tight after the measurement
        return update(step, first_row, factor)

    trainer.updater.update = tighter  # type: ignore[method-assign]
    trained = trainer.run()
    assert (trained.progress.rollbacks, trained.progress.micro_batch) == (1, 2)


def test_no_memory_for_one_row_is_said(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, training={"micro_batch": 4})
    Memory(trainer, 0, FAULTS["Linux"])
    with pytest.raises(TrainingError, match="no memory for a single row") as caught:
        trainer.run()
    assert "you tried to allocate 4096000000 bytes" in str(caught.value)
    assert "row_tokens" in str(caught.value)


def test_no_memory_for_the_optimizer_is_said_and_not_tried_again(make_trainer, tmp_path, monkeypatch):
    """It may have changed some of the weights already."""
    trainer = make_trainer(tmp_path)
    calls: list[int] = []

    def step() -> None:
        calls.append(1)
        raise FAULTS["GPU"]()

    monkeypatch.setattr(trainer.updater.optimizers[0], "step", step)
    with pytest.raises(TrainingError, match="no memory for the optimizer's state"):
        trainer.run()
    assert calls == [1]


def test_no_memory_for_measuring_is_said_and_the_steps_are_not_lost(make_trainer, tmp_path):
    def evaluate(model: Any) -> dict[str, float]:
        raise FAULTS["Linux"]()

    settings = {"checkpoint_every_seconds": 0}
    with pytest.raises(TrainingError, match="no memory for measuring on held-out text"):
        make_trainer(tmp_path, training=settings, evaluate=evaluate).run()
    assert make_trainer(tmp_path, training=settings).progress.step == 3


@pytest.mark.parametrize("fault", [RuntimeError("shape '[2]' is invalid"), ValueError("memory")], ids=repr)
def test_other_faults_are_not_taken_for_a_lack_of_memory(make_trainer, tmp_path, fault):
    assert not is_out_of_memory(fault)
    trainer = make_trainer(tmp_path)
    Memory(trainer, 0, lambda: fault)
    with pytest.raises(type(fault)) as caught:
        trainer.run()
    assert caught.value is fault


@pytest.mark.parametrize("name", FAULTS)
def test_a_lack_of_memory_is_recognised(name):
    assert is_out_of_memory(FAULTS[name]())


@pytest.fixture
def real_lack() -> BaseException:
    """What this machine says when far too much is asked for."""
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


def test_what_torch_really_says_is_recognised(real_lack):
    assert is_out_of_memory(real_lack)


def slow_writes(monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> list[str]:
    """Let every write wait for a gate; returns the names of what was written."""
    written: list[str] = []
    write = keeping.write_snapshot

    def waits(path: Path, *words: Any) -> None:
        gate.wait(10)
        write(path, *words)
        written.append(path.name)

    monkeypatch.setattr(keeping, "write_snapshot", waits)
    return written


def test_training_goes_on_while_a_checkpoint_is_written(make_trainer, tmp_path, monkeypatch):
    """And what is written is the moment it was taken at, however far the weights have moved since."""
    gate, steps = threading.Event(), []
    gate.set()
    trainer = make_trainer(tmp_path, training={"keep.every_steps": 2, "evaluate_every_steps": 100})
    trainer.keeper.wait()
    gate.clear()
    written = slow_writes(monkeypatch, gate)

    def watch(event: Any) -> None:
        steps.append(getattr(event, "step", 0))
        if len(steps) == 3:
            assert not written, "step 3 is done while the checkpoint of step 2 waits"
            gate.set()

    trainer.record.watch = watch
    trainer.run()
    assert written[0] == "step-000002"
    asked = iter([False, True])
    with pytest.raises(Stopped):
        make_trainer(tmp_path / "two", training={"evaluate_every_steps": 100}, stop_requested=lambda: next(asked)).run()
    assert weights(tmp_path, "step-000002") == weights(tmp_path / "two", "step-000002")


@pytest.mark.parametrize("end", ["stopped", "interrupted", "finished"])
def test_a_run_never_ends_with_an_unwritten_checkpoint(make_trainer, tmp_path, monkeypatch, end):
    asked = iter([False] * 3 + [True])

    def watch(event: Any) -> None:
        if end == "interrupted" and getattr(event, "step", 0) == 4:
            threading.Timer(0.2, gate.set).start()
            raise KeyboardInterrupt

    stop = (lambda: next(asked)) if end == "stopped" else bool
    trainer = make_trainer(tmp_path, training={"keep.every_steps": 3}, watch=watch, stop_requested=stop)
    gate = threading.Event()
    written = slow_writes(monkeypatch, gate)
    if end != "interrupted":
        threading.Timer(0.05, gate.set).start()
    with contextlib.suppress(Stopped, KeyboardInterrupt):
        trainer.run()
    assert {"stopped": "step-000004", "interrupted": "step-000003", "finished": "step-000012"}[end] in written
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(OWN_THREADS)]


@pytest.mark.slow
@pytest.mark.parametrize("at", ["step-000004", "step-000012", "best", "measured", "stable"])
def test_a_checkpoint_that_cannot_be_written_is_told(make_trainer, tmp_path, monkeypatch, at):
    """At one of the next steps, or at the end; with room again the run goes on to the same bits."""
    make_trainer(tmp_path / "whole").run()
    trainer = make_trainer(tmp_path / "run", training={"keep.every_steps": 4})
    write = keeping.write_snapshot

    def fails(path: Path, *words: Any) -> None:
        if path.name == at:
            raise DiskError(f"{path}: the disk is full")
        write(path, *words)

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "write_snapshot", fails)
        with pytest.raises(DiskError, match=f"{at}: the disk is full"):
            trainer.run()
    make_trainer(tmp_path / "run", training={"keep.every_steps": 4}).run()
    for name in ("best", "stable", "step-000012"):
        assert weights(tmp_path / "run", name) == weights(tmp_path / "whole", name)


def test_a_checkpoint_that_cannot_be_written_is_told_at_the_next_step(make_trainer, tmp_path, monkeypatch):
    def fails(path: Path, *words: Any) -> None:
        raise DiskError(f"{path}: the disk is full")

    def watch(event: Any) -> None:
        for thread in threading.enumerate():
            if thread.name == "stepwell-writer":
                thread.join()

    trainer = make_trainer(tmp_path, training={"keep.every_steps": 3, "evaluate_every_steps": 100}, watch=watch)
    trainer.keeper.wait()
    monkeypatch.setattr(keeping, "write_snapshot", fails)
    with pytest.raises(DiskError, match="step-000003"):
        trainer.run()
    assert [r["step"] for r in records(tmp_path, "step")][-1] in (3, 4)


def test_a_stop_that_cannot_be_saved_is_no_orderly_stop(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, stop_requested=lambda: True)
    trainer.keeper.wait()

    def fails(path: Path, *words: Any) -> None:
        raise DiskError("the disk is full")

    monkeypatch.setattr(keeping, "write_snapshot", fails)
    with pytest.raises(DiskError):
        trainer.run()


@pytest.mark.slow
def test_metrics_that_cannot_be_written_end_the_run_with_a_word_and_nothing_is_lost(
    make_trainer, tmp_path, monkeypatch
):
    make_trainer(tmp_path / "whole").run()
    opened = Path.open

    def full(self: Path, mode: str = "r", *words: Any, **more: Any) -> Any:
        if self.name == "metrics.jsonl" and "a" in mode and len(read_lines(self)) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(self, mode, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(DiskError, match=r"metrics.jsonl: the disk is full"):
            make_trainer(tmp_path / "run").run()
    make_trainer(tmp_path / "run").run()
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert [r["step"] for r in records(tmp_path / "run", "step")] == list(range(1, 13))


@pytest.mark.slow
def test_checkpoints_at_multiples_of_every_steps_stay(make_trainer, tmp_path):
    settings = {"keep.last": 1, "keep.every_steps": 5, "checkpoint_every_seconds": 0}
    make_trainer(tmp_path, training=settings).run()
    numbered = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert numbered == ["step-000005", "step-000010", "step-000012"]


@pytest.mark.slow
@pytest.mark.parametrize("longer", [False, True], ids=["the same run", "a longer one"])
def test_going_on_packs_no_epoch_that_is_over(make_trainer, tmp_path, monkeypatch, longer):
    settings: dict[str, Any] = {"evaluate": lambda model: {"loss": 1.0}}
    short = {"steps": 60, "patience": "null", "evaluate_every_steps": 60}
    make_trainer(tmp_path / "run", training=short, **settings).run()
    packed: list[int] = []
    make = packing.PackedEpoch
    monkeypatch.setattr(packing, "PackedEpoch", lambda *words: (packed.append(1), make(*words))[1])
    fresh = make_trainer(tmp_path / "fresh", **settings).updater.packer
    fresh.batch(59 * 5, 5)
    assert len(packed) > 3, "that many epochs were read"
    packed.clear()
    if longer:
        stable = tmp_path / "run" / "checkpoints" / "stable"
        make_trainer(tmp_path / "longer", training={**short, "steps": 120}, start_from=stable, **settings)
    else:
        make_trainer(tmp_path / "run", training=short, **settings)
    assert len(packed) <= 1


def test_nothing_in_the_package_asks_what_time_it_is_on_the_wall(project):
    """Neither for a duration nor for an order; trackers stamp what they record, and do not reckon with it.

    Inputs compare the stamps of a file to see that it is still the same, and a server says when it made an answer.
    """
    beside = {"tracking", "inputs", "serving"}
    asks = [f"{file.name}: {word}" for file in (project / "src").rglob("*.py") if not beside & set(file.parts)
            for word in ("time.time(", "st_mtime", "getmtime") if word in file.read_text(encoding="utf-8")]  # fmt: skip
    assert asks == []


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(make_trainer, tmp_path, monkeypatch):
    """Durations are taken by a clock that only goes forward, and no file's time is looked at."""
    make_trainer(tmp_path / "whole", seconds=1e6).run()
    hours = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    asked = iter([False] * 4 + [True])
    with pytest.raises(Stopped):
        make_trainer(tmp_path / "run", seconds=1e6, stop_requested=lambda: next(asked)).run()
    for file in (tmp_path / "run" / "checkpoints").rglob("*"):
        os.utime(file, (0, 0))
    make_trainer(tmp_path / "run", seconds=1e6).run()
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert all(r["tokens_per_second"] > 0 for r in records(tmp_path / "run", "step"))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_fault_in_the_rows_ends_the_run_at_their_step(make_trainer, tmp_path, workers):
    trainer = make_trainer(tmp_path, training={"data_workers": workers})
    prepare = trainer.updater.objective.prepare

    def spoilt(batch: Any, seed: int) -> Any:
        if (batch.token_ids[0] == trainer.updater.packer.batch(20, 1).token_ids[0]).all():
            raise ValueError("token 999 of 257")
        return prepare(batch, seed)

    trainer.updater.objective.prepare = spoilt
    with pytest.raises(TrainingError, match="step 5: rows 20 to 24 cannot be prepared") as caught:
        trainer.run()
    assert "token 999 of 257" in str(caught.value)
    assert [r["step"] for r in records(tmp_path, "step")] == [1, 2, 3, 4]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(OWN_THREADS)]
