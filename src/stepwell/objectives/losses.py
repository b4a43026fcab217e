"""How a prediction is judged: cross-entropy or squared error, for each token.

What is reported as the training loss is what is minimised: with label smoothing, a z-loss or squared errors it is not
the plain cross-entropy, and it compares only with runs of the same loss. The loss on held-out text (`evaluation`) is
always plain cross-entropy, and compares with all. This file leaves out which tokens are predicted (the objectives).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from stepwell.models import LanguageModel
from stepwell.objectives.config import CrossEntropyConfig, LossConfig, MeanSquaredErrorConfig
from stepwell.objectives.fused_loss import fused_loss


def token_losses(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """The loss of each prediction, plainly.

    Args:
        logits: (N, V) float32 or bfloat16; computed with in float32.
        targets: (N,) int64, the right tokens.
        config: which loss.

    Returns:
        (N,) float32. Of `cross_entropy` nats: -log p(target), a share of which label smoothing replaces by the mean of
        -log p over all tokens, plus `z_loss` times the squared log-sum-exp of the logits. Of `mean_squared_error`
        (k (f_target - M)^2 + sum over the others of f^2) / V.
    """
    logits = logits.float()
    if isinstance(config, MeanSquaredErrorConfig):
        return _squared_errors(logits, targets, config)
    return _cross_entropies(logits, targets, config)


def summed_loss(
    model: LanguageModel,
    hidden: Tensor,
    targets: Tensor,
    config: LossConfig,
    counted: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The loss of all predictions of a model, as every objective takes it; their logits are never there together.

    Args:
        model: turns hidden states into logits.
        hidden: (..., D), the states that predict.
        targets: (...) int64, the right tokens.
        config: which loss.
        counted: (...) bool, which predictions count; None for all.
        weights: (...) float32, how much each counts; None for 1.

    Returns:
        Scalar float32, the sum of `token_losses`.
    """
    hidden, targets = hidden.flatten(0, -2), targets.flatten()
    if counted is not None and not bool(counted.all()):
        places = counted.flatten().nonzero().squeeze(1)
        hidden, targets = hidden.index_select(0, places), targets[places]
        weights = None if weights is None else weights.flatten()[places]
    weights = None if weights is None else weights.flatten()
    return fused_loss(model.before_output(hidden), model.output(), targets, config, weights)


def _cross_entropies(logits: Tensor, targets: Tensor, config: CrossEntropyConfig) -> Tensor:
    losses = cross_entropy(logits, targets, reduction="none", label_smoothing=config.label_smoothing)
    return losses + config.z_loss * logits.logsumexp(dim=-1).square() if config.z_loss else losses


def _squared_errors(logits: Tensor, targets: Tensor, config: MeanSquaredErrorConfig) -> Tensor:
    right = logits.gather(-1, targets[:, None]).squeeze(-1)
    others = logits.square().sum(dim=-1) - right.square()
    return (config.right_weight * (right - config.right_logit).square() + others) / logits.shape[-1]
