"""What a training run must remember to go on as if it had never stopped.

Weights and optimizer tensors are saved by the checkpoint; everything else is in `Progress`, plain numbers.
Randomness needs no place here: every step seeds its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from stepwell.nn import adapter_tensors, load_adapter
from stepwell.optimization import Plateau, Span

GROUP_STATE = ("k", "weight_sum", "lr_max")
"""What schedule-free optimizers count for a whole group: steps, weight of the average, highest rate."""

PARAMETER = "parameter"
"""The slot of what is learned itself, beside those of the optimizers."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        decay_start: step at which the decay begins.
        steps: step at which the run ends.
        step: updates made.
        rows: rows of data consumed; the next batch begins here.
        epoch_ends: where the epochs before that row end (`Packer.whereabouts`).
        compile_from: the first step that trains compiled; None for none.
        micro_batch: rows of one forward and backward since memory ran out; None as configured.
        skipped: steps whose loss or gradient was not finite.
        skipped_last: whether the last step was one.
        tokens: targets that counted so far.
        seconds: time spent training, over all processes.
        rate_scale: product of the reductions after rollbacks, in (0, 1].
        rollbacks: how many there were.
        loss_mean: running mean of the training loss, nats a token.
        loss_deviation: running mean of its absolute deviation.
        best_loss: lowest held-out loss so far.
        best_step: where that was.
        worse: measurements since then.
        measured_step: where the last measurement was.
        stop_reason: why the decay began early (`patience`, `deadline`), if it did.
        plateau_best: what the schedule `plateau` remembers; so are the next two (`schedules.Plateau`).
        plateau_worse: measurements without a better one.
        reductions: how often the rate was lowered.
    """

    decay_start: int
    steps: int
    step: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rate_scale: float = 1.0
    rollbacks: int = 0
    loss_mean: float | None = None
    loss_deviation: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0
    measured_step: int = 0
    stop_reason: str = "steps"
    epoch_ends: dict[str, Any] = field(default_factory=dict)
    compile_from: int | None = None
    micro_batch: int | None = None
    skipped: int = 0
    skipped_last: bool = False
    plateau_best: float | None = None
    plateau_worse: int = 0
    reductions: int = 0

    @property
    def span(self) -> Span:
        """Where the decay lies."""
        return Span(self.decay_start, self.steps)

    @span.setter
    def span(self, span: Span) -> None:
        self.decay_start, self.steps = span.decay_start, span.steps

    @property
    def plateau(self) -> Plateau:
        """What reduce on plateau remembers."""
        return Plateau(self.plateau_best, self.plateau_worse, self.reductions)

    @plateau.setter
    def plateau(self, plateau: Plateau) -> None:
        self.plateau_best, self.plateau_worse, self.reductions = plateau.best, plateau.worse, plateau.reductions

    def note_loss(self, loss: float) -> None:
        """Move the running mean and deviation by one training loss."""
        if self.loss_mean is None:
            self.loss_mean, self.loss_deviation = loss, 0.0
            return
        weight = 0.05
        self.loss_deviation += weight * (abs(loss - self.loss_mean) - self.loss_deviation)
        self.loss_mean += weight * (loss - self.loss_mean)

    def is_spike(self, loss: float) -> bool:
        """Whether a training loss is far above what the last ones were (after 20 steps)."""
        if self.loss_mean is None or self.step < 20:
            return False
        return loss > self.loss_mean + max(1.0, 10 * self.loss_deviation)

    def to_plain(self) -> dict[str, Any]:
        """Plain values for `trainer.json`."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The reverse of `to_plain`; values of no field are passed over."""
        return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})


def optimizer_tensors(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimizers' state as named tensors (`head.weight:exp_avg`), which safetensors can hold.

    What an adapter has learned stands among them (`up.lora_a:parameter`): a checkpoint may have it merged. What is
    counted for a group stands under its place (`group.0.1:weight_sum`).
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adapter = {f"{name}:{PARAMETER}": tensor.detach() for name, tensor in adapter_tensors(model).items()}
    counted = {
        f"{place}:{slot}": torch.tensor(group[slot], dtype=torch.int64 if slot == "k" else torch.float64)
        for place, group in _groups(optimizers).items()
        for slot in GROUP_STATE
        if slot in group
    }
    remembered = {
        f"{names[id(parameter)]}:{slot}": torch.as_tensor(value)
        for optimizer in optimizers
        for parameter, slots in optimizer.state.items()
        for slot, value in slots.items()
    }
    return adapter | counted | remembered


def restore_optimizers(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Put named tensors back. A parameter that they do not name (a new layer) begins without a state.

    Raises:
        ValueError: when they hold another adapter than the model does.
    """
    slots: dict[str, dict[str, Tensor]] = {}
    adapter: dict[str, Tensor] = {}
    groups = _groups(optimizers)
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition(":")
        if slot == PARAMETER:
            adapter[name] = tensor
        elif slot in GROUP_STATE:
            groups.get(name, {})[slot] = tensor.item()
        else:
            slots.setdefault(name, {})[slot] = tensor.clone()
    load_adapter(model, adapter)
    parameters = dict(model.named_parameters())
    for optimizer in optimizers:
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        optimizer.state.clear()
        for name, state in slots.items():
            if id(parameters[name]) in own:
                optimizer.state[parameters[name]] = state


def _groups(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, dict[str, Any]]:
    """Every group by its place: number of the optimizer, number in it."""
    return {
        f"group.{number}.{which}": group
        for number, optimizer in enumerate(optimizers)
        for which, group in enumerate(optimizer.param_groups)
    }
