"""Decisions about what a model says, found on held-out text without training again: one row for each task.

For labels: how much the trained model and the simple ones beside it count, how sure they may sound together
(temperature scaling, Guo et al., 2017), how much the frequencies of labels count, and from which probability on a
label is given.
The weights are those of a logarithmic opinion pool (Genest and Zidek, 1986) of the least loss, which has one minimum.
What is found is kept only if it is better by more than chance (`study.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from stepwell.evaluation import (
    Held,
    Scores,
    measure_of,
    paired_bootstrap,
    score_labels,
    told_by_members,
    values_of,
)
from stepwell.hardware import Precision
from stepwell.models import LanguageModel
from stepwell.studies.asking import decide_asking, decide_drawing
from stepwell.tasks import (
    MODEL,
    ChatConfig,
    ClassificationConfig,
    DecisionConfig,
    TaskConfig,
    decided,
    logits_of,
)

Told = Mapping[str, NDArray[np.floating[Any]]]

HEARD = 0.03
"""Who would count less than this share has no say."""

TOWARDS_EQUAL = 4.0
"""Nats, all examples together, for each squared difference between a share and an equal one."""

PRIORS = (-0.75, -0.5, -0.25, 0.25, 0.5)
"""Shares of the log frequency of each label that are added to its logit."""

THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(2, 19))

NOT_JOINED = ("majority",)
"""Simple models that have no say."""


def decide_labels(
    model: LanguageModel, held: Held, task: ClassificationConfig, precision: Precision, metric: str
) -> ClassificationConfig:
    """The decision that suits held-out texts best.

    Args:
        model: that was trained.
        held: texts with their labels, and the simple models beside.
        task: labels; of words, its `ways` of asking are tried too.
        precision: of the matrix products.
        metric: that counts where the loss cannot tell: the threshold of several labels, priors.
    """
    labels = np.asarray(held.split.of_document["label"])

    def told_by(members: Sequence[str], template: str | None) -> Told:
        put = task.model_copy(update={"decision": DecisionConfig(template=template)})
        return told_by_members(model, held.split, held.texts, held.tokenizer, put, members, precision, held.beside)

    simple = told_by([name for name in held.beside if name not in NOT_JOINED], None)
    found: list[tuple[float, ClassificationConfig]] = []
    for template in (None, *task.ways):
        told = {**told_by([MODEL], template), **simple}
        chosen = choose_decision(told, labels, task, metric)
        loss = values_of(score_labels(decided(told, chosen), labels, chosen), "loss")["loss"] if task.ways else 0.0
        put = template if MODEL in chosen.decision.members else None
        decision = chosen.decision.model_copy(update={"template": put})
        found.append((loss, chosen.model_copy(update={"decision": decision})))
    return min(found, key=lambda one: one[0])[1]


def choose_decision(told: Told, labels: NDArray[Any], task: ClassificationConfig, metric: str) -> ClassificationConfig:
    """The decision of the least loss; then, where it helps the metric by more than chance, a prior or a threshold.

    Args:
        told: member -> (N, K) probabilities, or (N, 1) numbers.
        labels: of the N texts, as the task writes them.
        task: labels.
        metric: a name of the scores' metrics.
    """

    def scored(decision: DecisionConfig) -> tuple[ClassificationConfig, Scores]:
        tried = task.model_copy(update={"decision": decision})
        return tried, score_labels(decided(told, tried), labels, tried)

    best = join_members(told, labels, task)
    if task.problem == "number":
        return scored(best)[0]
    others: Sequence[DecisionConfig]
    if task.problem == "multiple":
        others = [best.model_copy(update={"threshold": value}) for value in THRESHOLDS]
    else:
        frequency = np.log(
            np.maximum(1, np.bincount(labels.astype(np.int64), minlength=len(task.labels))) / len(labels)
        )
        others = [
            best.model_copy(update={"prior": tuple(float(f"{one:.4g}") for one in share * frequency)})
            for share in PRIORS
        ]
    now = scored(best)
    higher = now[1].metrics[metric].higher_is_better is not False
    other = max(
        (scored(one) for one in others), key=lambda one: values_of(one[1], metric)[metric] * (1 if higher else -1)
    )
    pair = (other[1], now[1]) if higher else (now[1], other[1])
    gain = paired_bootstrap(*pair, metric)
    return other[0] if gain.low is not None and gain.low > 0 else now[0]


def join_members(told: Told, labels: NDArray[Any], task: ClassificationConfig) -> DecisionConfig:
    """Who has a say, how much it counts, and how sure all sound together, by the least loss.

    Args:
        told: member -> (N, K) probabilities, or (N, 1) numbers.
        labels: of the N texts, as the task writes them.
        task: labels.
    """
    members = tuple(told)
    while True:
        weights = least_loss_weights(logits_of([told[name] for name in members], task), labels, task)
        shares = weights / weights.sum()
        heard = tuple(name for name, share in zip(members, shares, strict=True) if share >= HEARD)
        if len(heard) == len(members):
            break
        members = heard
    temperature = 1.0 if task.problem == "number" else float(f"{1 / weights.sum():.4g}")
    counts = tuple(float(f"{share:.4g}") for share in shares) if len(members) > 1 else ()
    return DecisionConfig(members=members, weights=counts, temperature=temperature)


def least_loss_weights(logits: NDArray[Any], labels: NDArray[Any], task: ClassificationConfig) -> NDArray[np.float64]:
    """(M,) weights of members, none below 0, whose sum of logits has the least loss; of numbers they sum to 1.

    Args:
        logits: (M, N, K) of M members, or (M, N, 1) numbers.
        labels: of the N texts, as the task writes them.
        task: labels.
    """
    parts = torch.from_numpy(logits)
    right = torch.from_numpy(np.asarray(labels, np.int64 if task.problem == "single" else np.float64))
    if task.problem == "number":
        parts = (parts - task.center) / task.spread
    free = torch.zeros(len(logits) + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

    def weights() -> tuple[torch.Tensor, torch.Tensor]:
        shares = free[:-1].softmax(0)
        return shares, shares if task.problem == "number" else shares * free[-1].exp()

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        shares, counts = weights()
        joined = torch.einsum("m,mnk->nk", counts, parts)
        if task.problem == "single":
            nats = cross_entropy(joined, right)
        elif task.problem == "multiple":
            nats = binary_cross_entropy_with_logits(joined, right)
        else:
            nats = mse_loss(joined[:, 0], right)
        value = nats + TOWARDS_EQUAL / len(labels) * ((shares - 1 / len(shares)) ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return np.asarray(weights()[1].detach().numpy(), np.float64)


DECIDERS: dict[str, Callable[[LanguageModel, Held, Any, Precision, str], TaskConfig]] = {
    "classification": decide_labels,
    "chat": decide_asking,
    "generation": decide_drawing,
}
"""Kind of a task -> function of (model, held, task, precision, metric) that gives the task with another decision."""

DECIDED_BY = {"generation": "variety_gap"}
"""Kind of a task -> the metric that its decision changes, where that is not the run's."""


def has_choice(task: TaskConfig) -> bool:
    """Whether there is something to decide on without training again."""
    known = task.kind in DECIDERS or measure_of(task).decide is not None
    return known and not (isinstance(task, ChatConfig) and not task.ways)


def decide(model: LanguageModel, held: Held, task: Any, precision: Precision, metric: str) -> TaskConfig:
    """A task with the decision that suits a model best on held-out examples, by `DECIDERS` or by its measure.

    Args:
        model: that was trained.
        held: examples.
        task: for which `has_choice`.
        precision: of the matrix products.
        metric: that counts.
    """
    if task.kind in DECIDERS:
        return DECIDERS[task.kind](model, held, task, precision, metric)
    found = measure_of(task).decide
    assert found is not None
    chosen: TaskConfig = found(model, held, task, metric, precision)
    return chosen
