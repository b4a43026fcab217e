"""The training loop.

One update is: accumulate the gradient of a whole global batch, clip it, step. Around it stand measuring on held-out
text, checkpoints, a clock, and what is done when things go wrong: a step that is not finite is skipped, a second one or
a spike is rolled back, and where memory runs out the micro-batch is halved. The loop knows no metric and no task:
whoever calls it hands in an `evaluate` function, and events go to a watcher.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stepwell.data import Packer
from stepwell.errors import Stopped, TrainingError
from stepwell.hardware import held_memory
from stepwell.models import LanguageModel
from stepwell.objectives import build_objective
from stepwell.optimization import Span, begin_decay, fit_span, note_measurement, plan_span, rate_factor
from stepwell.progress import Evaluated, Fact, StepDone, Watcher, unwatched
from stepwell.runs import sweep, to_json
from stepwell.tokenizers import Tokenizer
from stepwell.training.adapting import frozen_identity
from stepwell.training.clock import Clock
from stepwell.training.compiling import FROM_STEP, Compiled, is_compile_fault
from stepwell.training.config import TrainingConfig
from stepwell.training.gauge import Gauge
from stepwell.training.keeping import Keeper
from stepwell.training.memory import is_out_of_memory, needing_memory
from stepwell.training.profiling import Profiler
from stepwell.training.record import Record
from stepwell.training.state import Progress
from stepwell.training.update import Update, Updater
from stepwell.training.world import World

Evaluate = Callable[[LanguageModel], Mapping[str, float]]
"""Measures a model on held-out text; `loss` among the values is what the best checkpoint has least of."""

MAX_ROLLBACKS = 5


@dataclass(frozen=True)
class Trained:
    """What a training run left.

    Attributes:
        best: checkpoint of the lowest held-out loss.
        stable: checkpoint where the decay began, from which a longer run can go on; None when there was no stable part.
        progress: the last state.
        stopped_because: `steps`, `patience` or `deadline`.
    """

    best: Path
    stable: Path | None
    progress: Progress
    stopped_because: str


class Trainer:
    """One training run in one directory. Made again with the same arguments after a crash, it goes on where it was.

    Args:
        model: freshly built; its weights are replaced when the run goes on or starts from a checkpoint.
        tokenizer: saved with every checkpoint.
        packer: the training data.
        config: what to do.
        directory: gets `metrics.jsonl` and `checkpoints/`.
        seed: of dropout; the packer and the model have their own.
        identity: plain values that say which run this is; a directory of another identity is refused.
        evaluate: measures on held-out text.
        start_from: a checkpoint with optimizer state to begin from instead of from fresh weights; its model may have
            fewer layers.
        seconds: time to end within, the decay included; None for no limit.
        gflops: measured rate of a matrix product here, all ranks together; None when it is not known.
        profiler: is told of every step.
        watch: gets the events.
        stop_requested: asked after every step; True saves and raises `Stopped`.
        world: the ranks that train together, each with a trainer of its own; default alone. Only rank 0 measures,
            writes (but for its own shards) and tells.

    Raises:
        RunError: when the directory holds a training run of another identity.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        packer: Packer,
        config: TrainingConfig,
        directory: Path,
        *,
        seed: int,
        identity: Mapping[str, Any],
        evaluate: Evaluate,
        start_from: Path | None = None,
        seconds: float | None = None,
        gflops: float | None = None,
        profiler: Profiler | None = None,
        watch: Watcher = unwatched,
        stop_requested: Callable[[], bool] = bool,
        world: World | None = None,
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.identity, self.evaluate = json.loads(to_json(identity)), evaluate  # as a checkpoint gives it back
        self.stop_requested, self.profiler = stop_requested, profiler
        self.world = World.alone() if world is None else world
        if self.world.is_main:
            sweep(directory)
        self.record = Record(directory / "metrics.jsonl", watch, is_silent=not self.world.is_main)
        objective = build_objective(config.objective, tokenizer)
        self.updater = Updater(model, packer, config, objective, seed, self.world)
        self.identity |= objective.identity() | frozen_identity(model, config.adapter, config.freeze)
        self.keeper = Keeper(
            directory / "checkpoints",
            model,
            tokenizer,
            self.updater.optimizers,
            self.identity,
            config.keep,
            self.updater.average,
            self.updater.spread,
            self.world,
        )
        span = plan_span(config.schedule, config.steps)
        self.progress = Progress(span.decay_start, span.steps)
        self.clock, self.gauge = Clock(seconds, self.world), Gauge(model, gflops)
        self.compiled = Compiled(model, config, self.record)
        self._begin(start_from, seconds)

    def run(self) -> Trained:
        """Train to the end.

        Raises:
            Stopped: when `stop_requested` said so; the last checkpoint holds everything.
            TrainingError: when the loss is not finite after five rollbacks, or there is no memory for one row.
            DiskError: when a checkpoint cannot be written; the one before it is whole.
        """
        try:
            with held_memory(), self.updater.feed.working(self.config.data_workers):
                return self._train()
        finally:
            self.keeper.wait()  # however it ends, what was begun is on disk

    def _train(self) -> Trained:
        state = self.progress
        while state.step < state.steps and not (self.clock.is_over and self.clock.laps):
            if state.step == state.decay_start:
                self._save("stable")
            factor = state.rate_scale * rate_factor(self.config.schedule, state.span, state.step, state.reductions)
            update = self._update(factor)
            is_bad = state.is_spike(update.loss) if update.is_finite else not self._skip(update)
            if is_bad:
                self._roll_back(update)
                state = self.progress
                continue
            if update.is_finite:
                self._note(update, self.config.optimizer.learning_rate * factor)
            if state.step % self.config.evaluate_every_steps == 0 or state.step >= state.steps:
                self._measure()
            self._mind_the_clock()
            self._keep()
        if state.step < state.steps:
            state.stop_reason = "deadline"
        if state.measured_step != state.step or self.keeper.path("best") is None:
            self._measure()
        best = self.keeper.path("best")
        if best is None:
            raise TrainingError(
                f"{self.record.path.parent}: no held-out loss is finite", do="use float32, or more steps"
            )
        if state.step <= state.decay_start:
            self._save("stable")  # no decay has begun, so a longer run can go on from the end
        self._save()
        return Trained(best, self.keeper.path("stable"), state, state.stop_reason)

    def _update(self, factor: float) -> Update:
        """Make one update. Where memory runs out it is made again in micro-batches of half the rows.

        Raises:
            TrainingError: when there is no memory for one row.
        """
        state = self.progress
        while True:
            try:
                self.compiled.mind(state)
                return self.updater.update(state.step, state.rows, factor)
            except (RuntimeError, MemoryError) as fault:
                words = str(fault).strip().partition("\n")[0] or type(fault).__name__
                is_compiling = is_compile_fault(fault)
                # with other ranks: they are in the middle of this update
                if not is_compiling and (not is_out_of_memory(fault) or self.world.size > 1):
                    raise
            if is_compiling:
                self.compiled.give_up(state, words)
            else:
                self._halve(words)  # out here, where the fault no longer holds on to what the forward had made

    def _halve(self, words: str) -> None:
        rows = min(self.updater.micro_batch, self.updater.rows_at(self.progress.step))
        if rows == 1:
            raise TrainingError(
                f"{self.record.path.parent}: there is no memory for a single row",
                got=words,
                do="use shorter rows (training.row_tokens) or a smaller model, or end other programs",
            )
        self.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.updater.micro_batch = self.progress.micro_batch = rows // 2
        step = self.progress.step + 1
        detail = (
            f"no memory for {rows} rows at step {step}; from here {rows // 2} at once, the global batch is the same"
        )
        self.record.happened(step, "micro_batch_halved", detail, warning=True)

    def _skip(self, update: Update) -> bool:
        """Pass over rows whose loss or gradient is not finite; the weights are as before.

        Returns:
            Whether that is enough: not after the step before was passed over too.
        """
        state = self.progress
        if state.skipped_last:
            return False
        self._count()
        state.skipped, state.skipped_last = state.skipped + 1, True
        detail = (
            f"loss {update.loss:.3g}, gradient norm {update.grad_norm:.3g} at step {state.step}; no weight was changed"
        )
        self.record.happened(state.step, "skipped", detail, warning=True)
        return True

    def _count(self) -> None:
        """Count a step and the rows it took."""
        state = self.progress
        state.step += 1
        state.rows += self.updater.rows_at(state.step - 1)
        state.seconds += self.clock.lap()
        if state.step - 1 == self.compiled.since:
            self.clock.discount_lap()

    def _keep(self) -> None:
        """Save when it is time to, or when a stop was asked for.

        Raises:
            Stopped: when everything is on disk.
        """
        if self.world.any(self.stop_requested()):
            self._save()
            self.keeper.wait()
            raise Stopped("stopped by hand", do="run the same command again to go on")
        every = self.config.keep.every_steps
        is_kept = every is not None and self.progress.step % every == 0
        if is_kept or self.clock.since_save >= self.config.checkpoint_every_seconds:
            self._save()
        self.keeper.check()

    def _note(self, update: Update, rate: float) -> None:
        """Count the step and tell about it."""
        self._count()
        state = self.progress
        self.updater.average.note(state.step, state.steps)
        state.tokens += update.num_tokens
        state.skipped_last = False
        state.note_loss(update.loss)
        speed, memory = update.num_tokens / self.clock.laps[-1], self.gauge.memory()
        done = StepDone(
            step=state.step,
            steps=state.steps,
            loss=update.loss,
            learning_rate=rate,
            grad_norm=update.grad_norm,
            tokens=state.tokens,
            tokens_per_second=speed,
            mfu_ratio=self.gauge.mfu_ratio(speed),
            memory_bytes=memory.now,
            peak_memory_bytes=memory.peak,
            gpu_memory_bytes=memory.gpu,
            peak_gpu_memory_bytes=memory.gpu_peak,
        )
        self.record.tell(done, "step", asdict(done) | {"seconds": state.seconds})
        if self.profiler is not None:
            self.profiler.step()

    def _measure(self) -> None:
        """Measure on held-out text, keep the best, and begin the decay early when it only gets worse."""
        state = self.progress
        self.model.eval()
        with self.updater.evaluated_weights():
            whole = self.updater.spread.whole()
            with self.clock.measuring(), needing_memory("measuring on held-out text", "take a smaller model"):
                metrics = self.world.broadcast(dict(self.evaluate(whole)) if self.world.is_main else None)
            measured = Evaluated(state.step, metrics)
            line = {"step": state.step, "train_loss": state.loss_mean, **metrics}
            self.record.tell(measured, "evaluation", line)
            state.measured_step = state.step
            if math.isfinite(metrics["loss"]) and (state.best_loss is None or metrics["loss"] < state.best_loss):
                state.best_loss, state.best_step, state.worse = metrics["loss"], state.step, 0
                self._save("best", whole)
            else:
                state.worse += 1
        state.plateau = note_measurement(self.config.schedule, state.plateau, metrics["loss"])
        patience = self.config.patience
        if patience is not None and state.worse >= patience:
            self._shorten(begin_decay(self.config.schedule, state.span, state.step), "patience")
        self._save("measured")

    def _mind_the_clock(self) -> None:
        """Fit what is left to the time that is left: fewer steps where they would not all fit.

        A run may grow again, to what was planned, when the machine was busy for a while only.
        """
        state = self.progress
        affordable = self.clock.steps_left(self.config.evaluate_every_steps)
        if affordable is None:
            return
        most = state.steps if state.stop_reason == "patience" else self.config.steps
        steps = min(most, state.step + affordable)
        if steps != state.steps:
            self._shorten(fit_span(self.config.schedule, state.span, state.step, steps), "deadline")

    def _shorten(self, span: Span, why: str) -> None:
        state = self.progress
        if span == state.span:
            return
        if why == "patience" or (span.steps < 0.97 * self.config.steps and state.stop_reason == "steps"):
            self.record.happened(state.step, "shortened", f"{why}: {state.steps} to {span.steps} steps")
            state.stop_reason = why
        state.span = span

    def _roll_back(self, update: Update) -> None:
        """Return to the last measurement with half the rate: its step depends on no clock, so a rerun does the same."""
        before = self.progress
        rollbacks, at = before.rollbacks + 1, before.step + 1
        if rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"{self.record.path.parent}: the loss does not stay finite",
                got=f"{update.loss} at step {at}, after {MAX_ROLLBACKS} rollbacks",
                do="lower training.optimizer.learning_rate, or use training.precision=float32",
            )
        self.progress = state = self.keeper.load(self.keeper.directory / "measured")
        state.rollbacks, state.rate_scale = rollbacks, before.rate_scale / 2
        state.best_loss, state.best_step = before.best_loss, before.best_step  # that checkpoint is still the best
        state.micro_batch, state.seconds = before.micro_batch, before.seconds
        state.skipped_last = False
        self._save()  # later ones go with it: whoever goes on does so from here
        self.keeper.wait()
        self.record.forget_after(state.step)
        what = f"loss {update.loss:.3g}, gradient norm {update.grad_norm:.3g}"
        self.record.happened(state.step, "rolled_back", f"{what} at step {at}; the rate is halved", warning=True)

    def _begin(self, start_from: Path | None, seconds: float | None) -> None:
        """Go on from the newest whole checkpoint of this directory, or begin."""
        folder, damaged = self.keeper.newest()
        for line in damaged:
            self.record.watch(Fact(f"{line}; an older checkpoint is used", warning=True))
        if folder is not None:
            self.progress = self.keeper.load(folder)
            if self.world.size > 1:
                self.progress.compile_from = None  # a run that one process began may have one
            self.updater.micro_batch = self.progress.micro_batch or self.config.micro_batch
            self.updater.packer.take_up(self.progress.epoch_ends)
            self.record.forget_after(self.progress.step)
            if self.progress.step:
                self.record.happened(self.progress.step, "resumed", f"at step {self.progress.step}")
            return
        if start_from is not None:
            span = self.progress.span
            begun = self.keeper.load(start_from, own=False)
            self.updater.packer.take_up(begun.epoch_ends)
            self.progress = Progress(
                span.decay_start,
                span.steps,
                step=begun.step,
                rows=begun.rows,
                tokens=begun.tokens,
                loss_mean=begun.loss_mean,
                loss_deviation=begun.loss_deviation,
            )
            self.progress.plateau = begun.plateau
            self.progress.decay_start = max(self.progress.decay_start, self.progress.step)
        if self.world.size == 1 and self.compiled.is_worth_it(seconds, self.gauge.gflops):
            self.progress.compile_from = self.progress.step + FROM_STEP
        self.record.begin()
        self._save("measured")
        self._save()

    def _save(self, name: str | None = None, whole: LanguageModel | None = None) -> None:
        """Write a checkpoint; a numbered one (to go on from) when no name is given, one to use of a whole model."""
        self.progress.epoch_ends = self.updater.packer.whereabouts(self.progress.rows)
        self.keeper.save(self.progress, name, whole)
        if name is None:
            self.clock.saved()
