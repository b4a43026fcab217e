"""Means of the weights over steps, which are measured and kept as the best ones in their place.

Steps jump about what they are looking for, and the mean of many of them lies nearer to it (Polyak and Juditsky, 1992).
Training itself knows nothing of it: the mean is put into the model's place while the model is measured and saved. The
arithmetic is torch's (`torch.optim.swa_utils`). This file leaves out means that an optimizer keeps itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from stepwell.optimization.regularization_config import AveragingConfig, ExponentialAverageConfig

SLOT, COUNT = "average", "weights:averaged_steps"
"""Names among the tensors of a checkpoint: `head.weight:average`, and how many steps the mean is of."""


class WeightAverage:
    """The mean of the trained weights of a model.

    Args:
        model: its weights are read by `note`, and replaced for a while by `in_place`.
        config: which mean; None for none, and nothing here does anything.

    Attributes:
        count: steps that the mean is of.
    """

    def __init__(self, model: nn.Module, config: AveragingConfig | None) -> None:
        self.model, self.config = model, config
        self.count = 0
        self._means: dict[str, Tensor] = {}

    def note(self, step: int, steps: int) -> None:
        """Take the weights after an update into the mean.

        Args:
            step: updates made.
            steps: of the whole run, as it is planned by now.
        """
        config = self.config
        if config is None or not (self.count or self._begins(step, steps)):
            return
        weights = self._weights()
        if not self.count:
            self._means = {name: weight.clone() for name, weight in weights.items()}
        else:
            update: Callable[..., Any] = get_swa_multi_avg_fn()
            if isinstance(config, ExponentialAverageConfig):
                update = get_ema_multi_avg_fn(min(config.decay, (1 + self.count) / (10 + self.count)))
            update([self._means[name] for name in weights], list(weights.values()), self.count)
        self.count += 1

    def _begins(self, step: int, steps: int) -> bool:
        assert self.config is not None
        return isinstance(self.config, ExponentialAverageConfig) or step > (1 - self.config.last_ratio) * steps

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the model has the mean for its weights, where there is one already."""
        if not self.count:
            yield
            return
        weights = self._weights()
        before = {name: weight.clone() for name, weight in weights.items()}
        _copy(self._means, weights)
        try:
            yield
        finally:
            _copy(before, weights)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it."""
        if not self.count:
            return {}
        means = {f"{name}:{SLOT}": mean for name, mean in self._means.items()}
        return {**means, COUNT: torch.tensor(self.count)}

    def take_up(self, tensors: Mapping[str, Tensor], begins: bool = False) -> dict[str, Tensor]:
        """Go on from what a checkpoint kept.

        Args:
            tensors: of the checkpoint; where none is of a mean, it begins anew.
            begins: it does so in any case.

        Returns:
            What is not of the mean.
        """
        rest = {key: tensor for key, tensor in tensors.items() if key != COUNT and not key.endswith(f":{SLOT}")}
        self.count, self._means = 0, {}
        if self.config is not None and COUNT in tensors and not begins:
            self.count = int(tensors[COUNT])
            self._means = {name: tensors[f"{name}:{SLOT}"].clone() for name in self._weights()}
        return rest

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
