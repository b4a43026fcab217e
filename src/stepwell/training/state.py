"""What a training run must remember to go on as if it had never stopped.

Weights and optimizer tensors are saved by the checkpoint; everything else is in `Progress`, plain numbers.
Randomness needs no place here: every step seeds its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from stepwell.nn import load_lora, lora_tensors
from stepwell.training.schedules import Span

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

    @property
    def span(self) -> Span:
        """Where the decay lies."""
        return Span(self.decay_start, self.steps)

    @span.setter
    def span(self, span: Span) -> None:
        self.decay_start, self.steps = span.decay_start, span.steps

    def note_loss(self, loss: float) -> None:
        """Move the running mean and deviation by one training loss."""
        if self.loss_mean is None:
            self.loss_mean, self.loss_deviation = loss, 0.0
            return
        weight = 0.05
        self.loss_deviation += weight * (abs(loss - self.loss_mean) - self.loss_deviation)
        self.loss_mean += weight * (loss - self.loss_mean)

    def is_spike(self, loss: float) -> bool:
        """Whether a training loss is not finite, or far above what the last ones were (after 20 steps)."""
        if not math.isfinite(loss):
            return True
        if self.loss_mean is None or self.step < 20:
            return False
        return loss > self.loss_mean + max(1.0, 10 * self.loss_deviation)

    def to_plain(self) -> dict[str, Any]:
        """Plain values for `trainer.json`."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The reverse of `to_plain`; values of no field are passed over."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


def optimizer_tensors(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimizers' state as named tensors (`head.weight:exp_avg`), which safetensors can hold.

    LoRA's A and B stand among them (`up.lora_a:parameter`): the weights of a checkpoint have them merged.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adapter = {f"{name}:{PARAMETER}": tensor.detach() for name, tensor in lora_tensors(model).items()}
    return adapter | {
        f"{names[id(parameter)]}:{slot}": torch.as_tensor(value)
        for optimizer in optimizers
        for parameter, slots in optimizer.state.items()
        for slot, value in slots.items()
    }


def restore_optimizers(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Put named tensors back. A parameter that they do not name (a new layer) begins without a state.

    Raises:
        ValueError: when they hold another LoRA than the model does.
    """
    slots: dict[str, dict[str, Tensor]] = {}
    adapter: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition(":")
        if slot == PARAMETER:
            adapter[name] = tensor
        else:
            slots.setdefault(name, {})[slot] = tensor.clone()
    load_lora(model, adapter)
    parameters = dict(model.named_parameters())
    for optimizer in optimizers:
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        optimizer.state.clear()
        for name, state in slots.items():
            if id(parameters[name]) in own:
                optimizer.state[parameters[name]] = state
