"""The training loop.

One update is: accumulate the gradient of a whole global batch, clip it, step. Around it stand measuring on held-out
text, checkpoints, a roll back after a spike, and a clock. The loop knows no metric and no task: whoever calls it
hands in an `evaluate` function, and events go to a watcher.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepwell.data import Packer
from stepwell.errors import Stopped, TrainingError
from stepwell.models import LanguageModel
from stepwell.progress import Evaluated, Fact, StepDone, Watcher, unwatched
from stepwell.runs import append_line, read_lines, sweep, to_json, write_atomically
from stepwell.tokenizers import Tokenizer
from stepwell.training.adapting import frozen_identity
from stepwell.training.clock import Clock
from stepwell.training.config import TrainingConfig
from stepwell.training.keeping import Keeper
from stepwell.training.objectives import build_objective
from stepwell.training.schedules import begin_decay, plan_span, rate_factor
from stepwell.training.state import Progress
from stepwell.training.update import Update, Updater

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
        watch: gets the events.
        stop_requested: asked after every step; True saves and raises `Stopped`.

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
        watch: Watcher = unwatched,
        stop_requested: Callable[[], bool] = bool,
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.identity, self.evaluate = json.loads(to_json(identity)), evaluate  # as a checkpoint gives it back
        self.watch, self.stop_requested = watch, stop_requested
        self.metrics = directory / "metrics.jsonl"
        sweep(directory)
        self.updater = Updater(model, packer, config, build_objective(config.objective, tokenizer), seed)
        self.identity |= frozen_identity(model, config.lora)
        self.keeper = Keeper(
            directory / "checkpoints", model, tokenizer, self.updater.optimizers, self.identity, config.keep_checkpoints
        )
        span = plan_span(config.schedule, config.steps)
        self.progress = Progress(span.decay_start, span.steps)
        self.clock = Clock(seconds)
        self._begin(start_from)

    def run(self) -> Trained:
        """Train to the end.

        Raises:
            Stopped: when `stop_requested` said so; the last checkpoint holds everything.
            TrainingError: when the loss is not finite after five rollbacks.
            DiskError: when a checkpoint cannot be written; the one before it is whole.
        """
        state = self.progress
        while state.step < state.steps and not (self.clock.is_over and self.clock.laps):
            if state.step == state.decay_start:
                self._save("stable")
            factor = state.rate_scale * rate_factor(self.config.schedule, state.span, state.step)
            update = self.updater.update(state.step, state.rows, factor)
            if not update.is_finite or state.is_spike(update.loss):
                self._roll_back(update.loss)
                state = self.progress
                continue
            self._note(update, self.config.optimizer.learning_rate * factor)
            if state.step % self.config.evaluate_every_steps == 0 or state.step >= state.steps:
                self._measure()
            self._mind_the_clock()
            if self.stop_requested():
                self._save()
                raise Stopped("stopped by hand", do="run the same command again to go on")
            if self.clock.since_save >= self.config.checkpoint_every_seconds:
                self._save()
        if state.step < state.steps:
            state.stop_reason = "deadline"
        if state.measured_step != state.step or self.keeper.path("best") is None:
            self._measure()
        best = self.keeper.path("best")
        if best is None:
            raise TrainingError(f"{self.metrics.parent}: no held-out loss is finite", do="train in float32, or longer")
        self._save()
        return Trained(best, self.keeper.path("stable"), state, state.stop_reason)

    def _note(self, update: Update, rate: float) -> None:
        """Count the step and tell about it."""
        state = self.progress
        state.step += 1
        state.rows += self.updater.rows_per_step
        state.tokens += update.num_tokens
        state.seconds += self.clock.lap()
        state.note_loss(update.loss)
        done = StepDone(
            step=state.step,
            steps=state.steps,
            loss=update.loss,
            learning_rate=rate,
            grad_norm=update.grad_norm,
            tokens=state.tokens,
            tokens_per_second=update.num_tokens / self.clock.laps[-1],
        )
        self.watch(done)
        append_line(self.metrics, {"kind": "step", **asdict(done), "seconds": state.seconds})

    def _measure(self) -> None:
        """Measure on held-out text, keep the best, and begin the decay early when it only gets worse."""
        state = self.progress
        self.model.eval()
        with self.clock.measuring():
            metrics = dict(self.evaluate(self.model))
        self.watch(Evaluated(state.step, metrics))
        append_line(self.metrics, {"kind": "evaluation", "step": state.step, "train_loss": state.loss_mean, **metrics})
        state.measured_step = state.step
        if math.isfinite(metrics["loss"]) and (state.best_loss is None or metrics["loss"] < state.best_loss):
            state.best_loss, state.best_step, state.worse = metrics["loss"], state.step, 0
            self._save("best")
        else:
            state.worse += 1
        patience = self.config.patience
        if patience is not None and state.worse >= patience and state.step < state.decay_start:
            span = begin_decay(self.config.schedule, state.step, most=state.steps - state.step)
            self._shorten(span.decay_start, span.steps, "patience")
        self._save("measured")

    def _mind_the_clock(self) -> None:
        """Fit what is left to the time that is left: fewer steps where they would not all fit.

        The stable part may grow again when the machine was busy for a while only; the decay may not.
        """
        state, ratio = self.progress, self.config.schedule.decay_ratio
        affordable = self.clock.steps_left(self.config.evaluate_every_steps)
        if affordable is None:
            return
        is_stable = state.step < state.decay_start and state.stop_reason != "patience"
        most = plan_span(self.config.schedule, self.config.steps).steps if is_stable else state.steps
        steps = min(most, state.step + affordable)
        if steps == state.steps:
            return
        decay_start = max(state.step, steps - round(ratio * steps))
        self._shorten(decay_start if is_stable else min(decay_start, state.decay_start), steps, "deadline")

    def _shorten(self, decay_start: int, steps: int, why: str) -> None:
        state = self.progress
        if why == "patience" or (steps < 0.97 * self.config.steps and state.stop_reason == "steps"):
            self._event("shortened", f"{why}: {state.steps} to {steps} steps")
            state.stop_reason = why
        state.decay_start, state.steps = decay_start, steps

    def _roll_back(self, loss: float) -> None:
        """Return to the last measurement with half the rate: its step depends on no clock, so a rerun does the same."""
        before = self.progress
        rollbacks, at = before.rollbacks + 1, before.step + 1
        if rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"{self.metrics.parent}: the loss does not stay finite",
                got=f"{loss} at step {at}, after {MAX_ROLLBACKS} rollbacks",
                do="lower training.optimizer.learning_rate, or use training.precision=float32",
            )
        self.progress = self.keeper.load(self.keeper.directory / "measured")
        self._cut_metrics(self.progress.step)
        state = self.progress
        state.rollbacks, state.rate_scale = rollbacks, before.rate_scale / 2
        state.best_loss, state.best_step = before.best_loss, before.best_step  # that checkpoint is still the best
        self._event("rolled_back", f"loss {loss:.3g} at step {at}; the rate is halved", warning=True)

    def _begin(self, start_from: Path | None) -> None:
        """Go on from the newest whole checkpoint of this directory, or begin."""
        folder, damaged = self.keeper.newest()
        for line in damaged:
            self.watch(Fact(f"{line}; an older checkpoint is used", warning=True))
        if folder is not None:
            self.progress = self.keeper.load(folder)
            self._cut_metrics(self.progress.step)
            if self.progress.step:
                self._event("resumed", f"at step {self.progress.step}")
            return
        if start_from is not None:
            span = self.progress.span
            begun = self.keeper.load(start_from, own=False)
            self.progress = Progress(
                span.decay_start,
                span.steps,
                step=begun.step,
                rows=begun.rows,
                tokens=begun.tokens,
                loss_mean=begun.loss_mean,
                loss_deviation=begun.loss_deviation,
            )
            self.progress.decay_start = max(self.progress.decay_start, self.progress.step)
        write_atomically(self.metrics, "")
        self._save("measured")
        self._save()

    def _save(self, name: str | None = None) -> None:
        """Write a checkpoint; a numbered one (to go on from) when no name is given."""
        self.keeper.save(self.progress, name)
        if name is None:
            self.clock.saved()

    def _event(self, event: str, detail: str, warning: bool = False) -> None:
        append_line(self.metrics, {"kind": "event", "step": self.progress.step, "event": event, "detail": detail})
        self.watch(Fact(f"{event.replace('_', ' ')}: {detail}", warning=warning))

    def _cut_metrics(self, step: int) -> None:
        """Forget the lines after the step that the run goes on from."""
        kept = [record for record in read_lines(self.metrics) if record["step"] <= step]
        write_atomically(self.metrics, "".join(to_json(record) + "\n" for record in kept))
