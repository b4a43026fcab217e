"""Optimizers by kind, with the groups of parameters that they need.

Weight decay is for matrices that multiply activations; norms, biases and tables with a row for each token have no
scale that it should pull on. A kind may need several torch optimizers (Muon and AdamW), so every builder gives a
list; each group keeps its `full_rate`, which the schedule scales. The optimizers themselves come from torch, Lion and
schedule-free AdamW from the libraries of their own (extra `optimizers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, Optimizer

from stepwell.errors import UsageError
from stepwell.models import LanguageModel
from stepwell.optimization.layer_rates import scale_by_layer
from stepwell.optimization.optimizer_config import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeAdamWConfig,
    SGDConfig,
)


class Split(NamedTuple):
    """The trainable parameters of a model; each is in exactly one list.

    Attributes:
        matrices: hidden matrices.
        stacks: several matrices in one tensor (experts).
        others: norms, biases, and tables with a row for each token or position.
    """

    matrices: list[nn.Parameter]
    stacks: list[nn.Parameter]
    others: list[nn.Parameter]


def split_parameters(model: LanguageModel) -> Split:
    """Sort the trainable parameters by what an optimizer may do to them."""
    tables = {id(parameter) for parameter in model.lookup_parameters()}
    if model.task_head is not None:  # its outputs are labels, as the vocabulary's are tokens
        tables |= {id(parameter) for parameter in model.task_head.parameters()}
    split = Split([], [], [])
    for parameter in model.parameters():
        if parameter.requires_grad:
            group = 2 if id(parameter) in tables or parameter.ndim < 2 else 1 if parameter.ndim > 2 else 0
            split[group].append(parameter)
    return split


def build_sgd(model: LanguageModel, config: SGDConfig) -> list[Optimizer]:
    """SGD of torch; Nesterov's look ahead only where there is a momentum."""
    nesterov = config.nesterov and config.momentum > 0
    return [SGD(_groups(model, config), momentum=config.momentum, nesterov=nesterov, fused=True)]


def build_adam(model: LanguageModel, config: AdamConfig) -> list[Optimizer]:
    """Fused Adam of torch."""
    return [Adam(_groups(model, config), betas=(config.beta1, config.beta2), eps=config.eps, fused=True)]


def build_adamw(model: LanguageModel, config: AdamWConfig) -> list[Optimizer]:
    """Fused AdamW; matrices decay, the others do not. With a base width, each width has a group of its own."""
    split, rate = split_parameters(model), config.learning_rate
    widths: dict[int, list[nn.Parameter]] = {}
    for parameter in split.matrices + split.stacks:
        widths.setdefault(parameter.shape[-1] if config.base_width else 0, []).append(parameter)
    groups = [
        _group(parameters, rate * config.base_width / width if config.base_width else rate, config.weight_decay)
        for width, parameters in widths.items()
    ]
    groups.append(_group(split.others, rate, 0.0))
    return [AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)]


def build_muon(model: LanguageModel, config: MuonConfig) -> list[Optimizer]:
    """Muon over the hidden matrices, fused AdamW over the rest."""
    split, rate = split_parameters(model), config.adamw_learning_rate
    others = [_group(split.stacks, rate, config.weight_decay), _group(split.others, rate, 0.0)]
    others = [group for group in others if group["params"]]
    built: list[Optimizer] = []
    if split.matrices:
        groups = [_group(split.matrices, config.learning_rate, config.weight_decay)]
        built.append(Muon(groups, momentum=config.momentum, ns_steps=config.newton_schulz_steps))
    if others:  # of a LoRA there are none
        built.append(AdamW(others, betas=(config.beta1, config.beta2), eps=config.eps, fused=True))
    return built


def build_adafactor(model: LanguageModel, config: AdafactorConfig) -> list[Optimizer]:
    """Adafactor of torch."""
    eps = (None, config.min_scale)
    d, beta2_decay = config.clip_threshold, config.beta2_decay
    return [Adafactor(_groups(model, config), eps=eps, d=d, beta2_decay=beta2_decay)]


def build_lion(model: LanguageModel, config: LionConfig) -> list[Optimizer]:
    """Lion of lion-pytorch.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        from lion_pytorch import Lion
    except ImportError:
        raise _not_installed(config.kind, "lion-pytorch") from None
    return [Lion(_groups(model, config), betas=(config.beta1, config.beta2))]


def build_schedule_free_adamw(model: LanguageModel, config: ScheduleFreeAdamWConfig) -> list[Optimizer]:
    """Schedule-free AdamW of schedulefree, ready to train; `averaged` shows the weights to measure and to keep.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise _not_installed(config.kind, "schedulefree") from None
    optimizer = AdamWScheduleFree(_groups(model, config), betas=(config.beta1, config.beta2), eps=config.eps)
    optimizer.train()
    return [optimizer]


def _not_installed(kind: str, package: str) -> UsageError:
    return UsageError(
        f"training.optimizer.kind: {kind} needs the package {package}",
        do="pip install 'stepwell[optimizers]', or choose another kind",
    )


def _groups(model: LanguageModel, config: Any) -> list[dict[str, Any]]:
    """Two groups of one rate: matrices decay, the others do not."""
    split, rate = split_parameters(model), config.learning_rate
    return [
        _group(parameters, rate, decay)
        for parameters, decay in ((split.matrices + split.stacks, config.weight_decay), (split.others, 0.0))
        if parameters
    ]


def _group(parameters: list[nn.Parameter], rate: float, weight_decay: float) -> dict[str, Any]:
    return {"params": parameters, "lr": rate, "full_rate": rate, "weight_decay": weight_decay}


OPTIMIZERS: dict[str, Callable[[LanguageModel, Any], list[Optimizer]]] = {
    "sgd": build_sgd,
    "adam": build_adam,
    "adamw": build_adamw,
    "adafactor": build_adafactor,
    "lion": build_lion,
    "muon": build_muon,
    "schedule_free_adamw": build_schedule_free_adamw,
}
"""kind -> function of (model, config); a new optimizer is one function and one row."""


def build_optimizers(model: LanguageModel, config: OptimizerConfig, layer_decay: float = 1.0) -> list[Optimizer]:
    """The optimizers of a config; together they hold every trainable parameter once.

    Args:
        model: what they train.
        config: of the optimizers.
        layer_decay: see `layer_rates.layer_factors`; 1 gives all layers the same rate.

    Raises:
        ConfigError: when layers are to differ and the model has none.
        UsageError: when the library that the kind comes from is not installed.
    """
    optimizers = OPTIMIZERS[config.kind](model, config)
    scale_by_layer(optimizers, model, layer_decay)
    return optimizers


@contextmanager
def averaged(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Inside, the weights are those to measure and to keep; afterwards they are as before, bit for bit.

    Most optimizers train just those weights, and nothing happens. A schedule-free one takes its gradients elsewhere
    than at the average it arrives at, and is switched over with its `eval`; as switching back rounds, the weights are
    put aside meanwhile. So what is measured, and how often, changes nothing in the training.
    """
    switched = [optimizer for optimizer in optimizers if hasattr(optimizer, "eval")]
    groups = [group for optimizer in switched for group in optimizer.param_groups]
    aside = [(parameter, parameter.detach().clone()) for group in groups for parameter in group["params"]]
    for optimizer in switched:
        optimizer.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in aside:
                parameter.copy_(weights)
        for group in groups:
            group["train_mode"] = True
