"""Around the updates: spikes, patience, the clock, checkpoints, and longer runs from shorter ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import RunError, Stopped, TrainingError
from stepwell.models import Decoder, DecoderConfig, LanguageModel
from stepwell.progress import Evaluated, Fact, StepDone
from stepwell.runs import read_lines
from stepwell.training import Progress, world
from stepwell.training.loop import MAX_ROLLBACKS

TINY = {"vocab_size": 257, "max_seq_len": 16, "num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1}
PLAIN = {"dropout": 0.0}
EACH_STEP = {"checkpoint_every_seconds": 0}


def records(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_lines(directory / "metrics.jsonl") if record["kind"] == kind]


def folders(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


class Troubled(Decoder):
    """A decoder whose loss in training is bad at some of its forward passes, counted from 1; each only once."""

    def trouble(self, passes: dict[int, float]) -> Troubled:
        self.passes, self.count = passes, 0
        return self

    def before_output(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return hidden
        self.count += 1
        return hidden * self.passes.get(self.count, 1.0)


def troubled(passes: dict[int, float]) -> Troubled:
    return Troubled(DecoderConfig(**TINY, head_dim=8, d_ff=24), seed=0).trouble(passes)


NAN = float("nan")
PASSES = 3
"""Micro-batches of one step of the tiny trainer."""


@pytest.mark.slow
@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_after_two_nans_the_run_goes_on_from_the_last_measurement_with_half_the_rate(make_trainer, tmp_path, bad):
    said: list[Any] = []
    trouble = {5 * PASSES + 2: bad, 6 * PASSES + 1: bad}
    trained = make_trainer(tmp_path, training=EACH_STEP, built=troubled(trouble), watch=said.append).run()
    assert trained.progress.step == 12
    assert trained.progress.rollbacks == 1
    assert trained.progress.rate_scale == 0.5
    (event,) = records(tmp_path, "event")
    assert event["event"] == "rolled_back"
    assert event["step"] == 4
    assert "step 7" in event["detail"]
    steps = records(tmp_path, "step")
    assert [record["step"] for record in steps] == list(range(1, 13))
    assert [record["learning_rate"] for record in steps[2:6]] == pytest.approx([0.01, 0.01, 0.005, 0.005])
    assert any(isinstance(e, Fact) and e.warning and "rolled back" in e.text for e in said)
    for name in ("best", "stable", "step-000012"):
        assert all(p.isfinite().all() for p in load_checkpoint(tmp_path / "checkpoints" / name).model.parameters())


@pytest.mark.slow
def test_a_rollback_goes_back_to_where_the_weights_were_saved(make_trainer, tmp_path):
    """Nothing was measured yet, so the run is one at half the rate from the beginning."""
    rarely = {"evaluate_every_steps": 100}
    make_trainer(tmp_path / "a", training=rarely, built=troubled({5 * PASSES + 2: NAN, 6 * PASSES + 1: NAN})).run()
    slower = {"optimizer.learning_rate": 0.005, **rarely}
    make_trainer(tmp_path / "b", training=slower, built=troubled({})).run()
    first, second = (load_checkpoint(tmp_path / name / "checkpoints" / "step-000012").model for name in "ab")
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(parameter, second.get_parameter(name))


@pytest.mark.slow
def test_a_rollback_does_not_depend_on_when_checkpoints_were_saved(make_trainer, tmp_path):
    trouble = {5 * PASSES + 1: NAN, 6 * PASSES + 1: NAN}
    for name, seconds in (("often", 0), ("never", 1e9)):
        make_trainer(tmp_path / name, training={"checkpoint_every_seconds": seconds}, built=troubled(trouble)).run()
    first, second = (
        load_checkpoint(tmp_path / name / "checkpoints" / "step-000012").model for name in ("often", "never")
    )
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name))


@pytest.mark.slow
def test_a_spike_is_rolled_back_too(make_trainer, tmp_path):
    passes = {26 * PASSES + n: 1000.0 for n in (1, 2, 3)}
    trained = make_trainer(tmp_path, training={"steps": 30, **EACH_STEP}, built=troubled(passes)).run()
    assert trained.progress.rollbacks == 1
    assert trained.progress.step == 30
    losses = [record["loss"] for record in records(tmp_path, "step")]
    assert max(losses) < 10, "the spike is in no record"


@pytest.mark.slow
def test_a_loss_that_never_is_finite_ends_the_run(make_trainer, tmp_path):
    always = dict.fromkeys(range(5 * PASSES + 1, 1000), NAN)
    trainer = make_trainer(tmp_path, training=EACH_STEP, built=troubled(always))
    with pytest.raises(TrainingError, match="does not stay finite") as caught:
        trainer.run()
    assert "nan at step 6" in str(caught.value)
    assert "learning_rate" in str(caught.value)
    rollbacks = records(tmp_path, "event")
    assert [event["event"] for event in rollbacks] == ["rolled_back"] * MAX_ROLLBACKS + ["skipped"]
    assert load_checkpoint(tmp_path / "checkpoints").provenance["step"] <= 5, "what was good is still there"


def test_the_best_model_outlives_a_rollback(make_trainer, tmp_path):
    """What was measured before a spike stays the best until something is better."""
    measured = iter([3.0, 1.0, 2.0, 2.5, 2.2, 2.1])
    trained = make_trainer(
        tmp_path,
        training={"steps": 14},
        built=troubled({9 * PASSES + 1: NAN, 10 * PASSES + 1: NAN}),
        evaluate=lambda model: {"loss": next(measured)},
    ).run()
    assert trained.progress.rollbacks == 1
    assert trained.progress.best_loss == 1.0
    assert load_checkpoint(trained.best).provenance["step"] == 8


def loss_by_call(*losses: float) -> Callable[[LanguageModel], dict[str, float]]:
    values: Iterator[float] = iter(losses)
    return lambda model: {"loss": next(values)}


@pytest.mark.slow
def test_a_measurement_that_is_not_finite_is_never_the_best(make_trainer, tmp_path):
    trained = make_trainer(tmp_path, evaluate=loss_by_call(NAN, 2.0, NAN)).run()
    assert trained.progress.best_loss == 2.0
    assert load_checkpoint(trained.best).provenance["step"] == 8
    with pytest.raises(TrainingError, match="no held-out loss is finite"):
        make_trainer(tmp_path / "never", evaluate=loss_by_call(NAN, NAN, NAN, NAN)).run()


def test_without_a_better_measurement_the_decay_begins(make_trainer, tmp_path):
    settings = {"steps": 100, "evaluate_every_steps": 2, "patience": 3, "schedule.decay_ratio": 0.25}
    trained = make_trainer(tmp_path, training=settings, evaluate=lambda model: {"loss": 1.0}).run()
    assert trained.stopped_because == "patience"
    assert trained.progress.decay_start == 8, "one first measurement and three that are no better"
    assert trained.progress.step == 11, "a quarter of all steps goes down"
    (event,) = records(tmp_path, "event")
    assert event["event"] == "shortened"
    assert event["detail"] == "patience: 100 to 11 steps"
    rates = [record["learning_rate"] for record in records(tmp_path, "step")]
    assert rates[7] == 0.01
    assert rates[8] > rates[9] > rates[10]
    assert load_checkpoint(tmp_path / "checkpoints" / "stable").provenance["step"] == 8


@pytest.mark.slow
def test_no_patience_never_stops_early(make_trainer, tmp_path):
    settings = {"steps": 20, "evaluate_every_steps": 1, "patience": "null"}
    trained = make_trainer(tmp_path, training=settings, evaluate=lambda model: {"loss": 1.0}).run()
    assert (trained.progress.step, trained.stopped_because) == (20, "steps")


@pytest.mark.slow
def test_measurements_that_get_better_are_waited_for(make_trainer, tmp_path):
    losses = loss_by_call(*(10 - 0.1 * n for n in range(20)))
    settings = {"steps": 20, "evaluate_every_steps": 1, "patience": 1}
    assert make_trainer(tmp_path, training=settings, evaluate=losses).run().stopped_because == "steps"


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def seconds_a_step(self, *seconds: float) -> Callable[[Any], None]:
        """A watcher by which step n takes the n-th of these seconds; the last one holds from then on."""

        def watch(event: Any) -> None:
            if isinstance(event, StepDone):
                self.now += seconds[min(event.step, len(seconds) - 1)]

        return watch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock of the training loop, standing still."""
    moved = Time()
    monkeypatch.setattr(world, "time", moved)
    return moved


@pytest.mark.slow
def test_a_deadline_shortens_the_run_and_keeps_the_decay(make_trainer, tmp_path, clock):
    trainer = make_trainer(tmp_path, training={"steps": 1000}, seconds=50, watch=clock.seconds_a_step(1.0))
    trained = trainer.run()
    assert trained.stopped_because == "deadline"
    assert 45 <= trained.progress.step <= 50
    assert clock.now <= 50
    assert 25 <= trained.progress.decay_start <= 35, "40 % of the steps go down"
    rates = [record["learning_rate"] for record in records(tmp_path, "step")]
    assert rates[-1] < 0.15 * max(rates)
    assert records(tmp_path, "event")[0]["detail"].startswith("deadline: 1000 to ")
    assert records(tmp_path, "evaluation")[-1]["step"] == trained.progress.step, "the last model is measured"


@pytest.mark.slow
def test_steps_that_become_slow_in_the_decay_still_end_in_time(make_trainer, tmp_path, clock):
    slow = clock.seconds_a_step(*[1.0] * 40, 3.0)
    trained = make_trainer(tmp_path, training={"steps": 60}, seconds=70, watch=slow).run()
    assert clock.now <= 73
    assert trained.progress.step < 60
    assert trained.stopped_because == "deadline"
    assert records(tmp_path, "evaluation")[-1]["step"] == trained.progress.step, "the last model is measured"


@pytest.mark.slow
def test_a_machine_that_was_busy_for_a_while_gives_the_steps_back(make_trainer, tmp_path, clock):
    """Twenty slow steps at the beginning, then fast ones: the time is used all the same."""
    busy = clock.seconds_a_step(*[3.0] * 20, *[0.5] * 1000)
    trained = make_trainer(tmp_path, training={"steps": 1000, "patience": "null"}, seconds=200, watch=busy).run()
    assert 190 <= clock.now <= 201
    assert trained.progress.step > 250, "60 s for 20 steps, then two a second"
    assert 0.5 <= trained.progress.decay_start / trained.progress.step <= 0.7
    rates = [record["learning_rate"] for record in records(tmp_path, "step")]
    assert rates[-1] < 0.15 * max(rates)


@pytest.mark.slow
def test_enough_time_changes_nothing(make_trainer, tmp_path, clock):
    trained = make_trainer(tmp_path / "a", seconds=1000, watch=clock.seconds_a_step(1.0)).run()
    make_trainer(tmp_path / "b").run()
    assert trained.stopped_because == "steps"
    weights = [(tmp_path / name / "checkpoints" / "best" / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_no_time_at_all_still_leaves_a_model_of_one_step(make_trainer, tmp_path, clock):
    trained = make_trainer(tmp_path, seconds=0).run()
    assert trained.progress.step == 1
    assert load_checkpoint(trained.best).provenance["step"] == 1
    assert trained.stopped_because == "deadline"


def test_metrics_say_what_happened(make_trainer, tmp_path):
    events: list[Any] = []
    trained = make_trainer(tmp_path, watch=events.append).run()
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["kind"] in ("step", "evaluation") for line in lines)
    steps, evaluations = records(tmp_path, "step"), records(tmp_path, "evaluation")
    assert [record["step"] for record in steps] == list(range(1, 13))
    names = {"kind", "step", "steps", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "seconds"}
    names |= {"mfu_ratio", "memory_bytes", "peak_memory_bytes", "gpu_memory_bytes", "peak_gpu_memory_bytes"}
    assert set(steps[0]) == names
    assert steps[-1]["tokens"] == trained.progress.tokens
    assert [b["tokens"] - a["tokens"] > 0 for a, b in pairwise(steps)] == [True] * 11
    assert [b["seconds"] > a["seconds"] for a, b in pairwise(steps)] == [True] * 11
    assert [record["step"] for record in evaluations] == [4, 8, 12]
    assert evaluations[0]["loss"] > evaluations[-1]["loss"], "it learns"
    assert 0 < evaluations[-1]["train_loss"] < 6
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, 13))
    assert [event.step for event in events if isinstance(event, Evaluated)] == [4, 8, 12]
    assert [e.loss for e in events if isinstance(e, StepDone)] == [record["loss"] for record in steps]


def test_tokens_per_second_divide_by_the_time_that_went_by(make_trainer, tmp_path, clock):
    """From the end of one step to the end of the next, waiting for rows included, measurements left out."""
    trainer = make_trainer(tmp_path, training={"steps": 8})
    seconds, update, evaluate = iter([2.0, 5.0, 1.0, 0.5, 4.0, 4.0, 4.0, 4.0]), trainer.updater.update, trainer.evaluate
    taken: list[tuple[int, float]] = []

    def timed(step: int, first_row: int, factor: float) -> Any:
        taken.append((0, next(seconds)))
        clock.now += taken[-1][1]
        done = update(step, first_row, factor)
        taken[-1] = (done.num_tokens, taken[-1][1])
        return done

    def slow(model: LanguageModel) -> Any:
        clock.now += 1000
        return evaluate(model)

    trainer.updater.update, trainer.evaluate = timed, slow
    trainer.run()
    steps = records(tmp_path, "step")
    assert [r["tokens_per_second"] for r in steps] == pytest.approx([tokens / seconds for tokens, seconds in taken])
    elapsed = [b["seconds"] - a["seconds"] for a, b in pairwise(steps)]
    assert elapsed == pytest.approx([5, 1, 0.5, 1004, 4, 4, 4]), "the time of the run leaves nothing out"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_rate_told_is_the_one_that_was_used(make_trainer, tmp_path, kind):
    """Warm-up, stable part, decay, and half of it after a roll back."""
    rates = {"optimizer.kind": kind, "optimizer.learning_rate": 0.01}
    if kind == "muon":
        rates["optimizer.adamw_learning_rate"] = 0.003
    trainer = make_trainer(tmp_path, training=rates, built=troubled({5 * PASSES + 1: NAN, 6 * PASSES + 1: NAN}))
    used: list[float] = []
    optimizer = next(o for o in trainer.updater.optimizers if o.param_groups[0]["full_rate"] == 0.01)
    step = optimizer.step
    optimizer.step = lambda: (used.append(optimizer.param_groups[0]["lr"]), step())[1]
    trainer.run()
    told = [record["learning_rate"] for record in records(tmp_path, "step")]
    assert told == pytest.approx(used[:4] + used[5:])  # the fifth was rolled back
    assert len(set(told)) > 4


def test_the_gradient_norm_told_is_that_of_the_step_before_clipping(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, training={"clip_norm": 0.01}, model=PLAIN)
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def noted(parameters: Any, most: float) -> torch.Tensor:
        parameters = list(parameters)
        norms.append(float(torch.cat([p.grad.flatten() for p in parameters]).norm()))
        return clip(parameters, most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
        trainer.run()
    assert [record["grad_norm"] for record in records(tmp_path, "step")] == pytest.approx(norms, rel=1e-5)
    assert min(norms) > 0.01


def test_the_loss_told_is_the_mean_over_the_tokens_that_count(make_trainer, tmp_path):
    """Beside the plain oracle: all rows of the step at once, without dropout, before the update."""
    trainer = make_trainer(tmp_path, model=PLAIN, training={"steps": 3})
    update, expected = trainer.updater.update, []

    def checked(step: int, first_row: int, factor: float) -> Any:
        batch = trainer.updater.packer.batch(first_row, 5)
        ids, targets, mask, documents = map(
            torch.from_numpy, (batch.token_ids, batch.targets, batch.loss_mask, batch.document_ids)
        )
        with torch.no_grad():
            logits = trainer.model(ids, documents)
        expected.append(float(torch.nn.functional.cross_entropy(logits[mask], targets[mask])))
        return update(step, first_row, factor)

    trainer.updater.update = checked
    trainer.run()
    assert [record["loss"] for record in records(tmp_path, "step")] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_what_is_kept(make_trainer, tmp_path):
    make_trainer(tmp_path, training={"keep.last": 3, **EACH_STEP}).run()
    assert folders(tmp_path) == ["best", "measured", "stable", "step-000010", "step-000011", "step-000012"]
    best = load_checkpoint(tmp_path / "checkpoints" / "best")
    assert best.trainer is None
    assert best.provenance == {"test": 1, "step": 12, "tokens": records(tmp_path, "step")[-1]["tokens"]}
    stable = load_checkpoint(tmp_path / "checkpoints" / "stable")
    assert stable.trainer is not None
    assert stable.trainer["step"] == stable.trainer["decay_start"] == 7


def test_the_best_is_the_one_of_the_least_loss(make_trainer, tmp_path):
    trained = make_trainer(tmp_path, evaluate=loss_by_call(2.0, 1.0, 1.5)).run()
    assert trained.progress.best_step == 8
    assert load_checkpoint(trained.best).provenance["step"] == 8


def test_stopping_by_hand_saves_and_says_how_to_go_on(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, stop_requested=lambda: True)
    with pytest.raises(Stopped, match="run the same command again") as caught:
        trainer.run()
    assert caught.value.exit_code == 130
    assert folders(tmp_path) == ["measured", "step-000000", "step-000001"]
    assert make_trainer(tmp_path).run().progress.step == 12
    assert [event["event"] for event in records(tmp_path, "event")] == ["resumed"]


def test_another_run_in_the_directory_is_refused(make_trainer, tmp_path):
    make_trainer(tmp_path).run()
    with pytest.raises(RunError, match="holds another training run"):
        make_trainer(tmp_path, identity={"test": 2})
    assert folders(tmp_path) == ["best", "measured", "stable", "step-000000", "step-000012"]


def test_an_identity_may_hold_any_plain_values(make_trainer, tmp_path):
    identity = {"sources": ("a", "b"), 3: 1.5, "nothing": None}
    for _ in range(2):
        make_trainer(tmp_path, identity=identity).run()


@pytest.mark.slow
def test_what_killed_processes_left_is_removed(make_trainer, tmp_path):
    make_trainer(tmp_path).run()
    for draft in (tmp_path / ".metrics.jsonl.1.stepwell-draft", tmp_path / "checkpoints" / ".best.1.stepwell-draft"):
        draft.mkdir()
    make_trainer(tmp_path).run()
    assert folders(tmp_path) == ["best", "measured", "stable", "step-000000", "step-000012"]
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_newest_checkpoint_does_not_push_out_good_ones(make_trainer, tmp_path):
    def train(steps: int, keep: int = 2) -> None:
        asked = iter([False] * (steps - 1) + [True])
        with pytest.raises(Stopped):
            make_trainer(tmp_path, training={"keep.last": keep}, stop_requested=lambda: next(asked)).run()

    train(2)
    train(3)
    (tmp_path / "checkpoints" / "step-000005" / "model.safetensors").write_bytes(b"")
    train(1, keep=1)
    assert folders(tmp_path) == ["best", "measured", "step-000003"]


@pytest.mark.slow
def test_going_on_from_the_stable_checkpoint_is_the_longer_run(make_trainer, tmp_path):
    """The stable part knows nothing of how long the run is, so both ways give the same weights."""
    make_trainer(tmp_path / "short").run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    longer = make_trainer(tmp_path / "longer", training={"steps": 20}, start_from=stable)
    assert longer.progress.step == 7
    assert longer.run().progress.step == 20
    make_trainer(tmp_path / "whole", training={"steps": 20}).run()
    last = "checkpoints/step-000020/model.safetensors"
    assert (tmp_path / "longer" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()
    told, whole = (records(tmp_path / name, "step") for name in ("longer", "whole"))
    assert [r["loss"] for r in told] == [r["loss"] for r in whole[7:]]
    assert told[-1]["tokens"] == whole[-1]["tokens"]


@pytest.mark.slow
def test_going_on_forgets_what_belonged_to_the_shorter_run(make_trainer, tmp_path):
    make_trainer(tmp_path / "short", evaluate=lambda model: {"loss": 0.1}).run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    trained = make_trainer(tmp_path / "longer", training={"steps": 20}, start_from=stable).run()
    assert trained.progress.best_loss > 0.1
    assert trained.best.is_relative_to(tmp_path / "longer")
    assert trained.best.exists()


@pytest.mark.slow
def test_going_on_with_other_dropout_and_rates(make_trainer, tmp_path):
    make_trainer(tmp_path / "short").run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    changes = {"steps": 20, "optimizer.learning_rate": 0.004}
    trainer = make_trainer(tmp_path / "longer", training=changes, model={"dropout": 0.4}, start_from=stable)
    first = load_checkpoint(stable).model
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, first.get_parameter(name))
    trainer.run()
    assert records(tmp_path / "longer", "step")[0]["learning_rate"] == pytest.approx(0.004)
    assert load_checkpoint(tmp_path / "longer" / "checkpoints").model.config.dropout == 0.4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_new_layers_begin_as_the_identity_and_learn(make_trainer, tmp_path, kind):
    optimizer = {"optimizer.kind": kind, "optimizer.learning_rate": 0.01}
    if kind == "muon":
        optimizer["optimizer.adamw_learning_rate"] = 0.01
    make_trainer(tmp_path / "short", training=optimizer, model=PLAIN).run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    deeper = make_trainer(
        tmp_path / "deeper",
        training={"steps": 20, **optimizer},
        model={**PLAIN, "num_layers": 4, "residual_initialization": "zero"},
        start_from=stable,
    )
    tokens = torch.randint(0, 12, (2, 16), generator=torch.Generator().manual_seed(0)) ** 2
    with torch.no_grad():
        shallow = load_checkpoint(stable).model
        assert torch.equal(deeper.model.eval()(tokens), shallow(tokens))
    new = deeper.model.body.blocks[3].mlp.down.weight
    assert not new.any()
    deeper.run()
    assert new.any()


@pytest.mark.parametrize("misfit", [{"d_model": 32}, {"num_layers": 1}, {"d_ff": 16}], ids=str)
def test_a_checkpoint_of_another_shape_is_refused(make_trainer, tmp_path, misfit):
    make_trainer(tmp_path / "short").run()
    stable = tmp_path / "short" / "checkpoints" / "stable"
    with pytest.raises(RunError, match="another shape"):
        make_trainer(tmp_path / "other", model=misfit, start_from=stable)
    assert not (tmp_path / "other" / "metrics.jsonl").exists()


def test_a_checkpoint_without_optimizer_state_is_refused(make_trainer, tmp_path):
    trained = make_trainer(tmp_path / "short").run()
    with pytest.raises(RunError, match="cannot be trained further"):
        make_trainer(tmp_path / "other", start_from=trained.best)


@pytest.mark.parametrize(
    ("steps", "loss", "is_spike"),
    [(100, 2.5, False), (100, 3.2, True), (19, 3.2, False), (100, NAN, False), (100, float("inf"), True)],
)
def test_what_a_spike_is(steps, loss, is_spike):
    progress = Progress(decay_start=500, steps=1000)
    for step in range(steps):
        progress.step += 1
        progress.note_loss(2.0 + 0.05 * (-1) ** step)
    assert progress.is_spike(loss) is is_spike


def test_a_noisy_run_has_no_spikes():
    progress = Progress(decay_start=500, steps=1000)
    for step in range(200):
        progress.step += 1
        loss = 2.0 + 0.8 * (-1) ** step
        assert not progress.is_spike(loss)
        progress.note_loss(loss)


def test_progress_comes_back_from_plain_values():
    progress = Progress(decay_start=5, steps=10, step=3, loss_mean=0.1, best_loss=None, stop_reason="patience")
    assert Progress.from_plain(json.loads(json.dumps(progress.to_plain() | {"identity": {}}))) == progress
