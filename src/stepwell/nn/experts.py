"""Mixture of experts: many MLPs, few of which each token visits (Shazeer et al., 2017; Jiang et al., 2024, "Mixtral").

A router gives each token its best experts and their shares; tokens are sorted by expert, so that an expert is one
matrix product over its own tokens. A loss keeps the experts equally busy (Fedus et al., 2022, "Switch"). This file
leaves out capacities: no token is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from stepwell.nn.activations import ACTIVATIONS, ActivationName


class MixtureOfExperts(nn.Module):
    """Route, widen, activate, narrow, add up.

    Args:
        d_model: width D of the stream.
        d_ff: width F inside an expert.
        num_experts: experts X.
        experts_per_token: experts that a token visits, from 1 to X.
        activation: name of the activation.
        gated: multiply the activated rows (the first F of `up`) by the others (Shazeer, 2020, "GLU Variants").
        normalize_weights: let the shares of a token's experts sum to one.

    Raises:
        ValueError: when experts_per_token is not in [1, X].
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        num_experts: int,
        experts_per_token: int,
        activation: ActivationName,
        *,
        gated: bool = True,
        normalize_weights: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= experts_per_token <= num_experts:
            raise ValueError(
                f"a token visits {experts_per_token} of {num_experts} experts; choose from 1 to {num_experts}"
            )
        self.experts_per_token, self.activation = experts_per_token, activation
        self.gated, self.normalize_weights = gated, normalize_weights
        self.router = nn.Linear(d_model, num_experts, bias=False)
        self.up = nn.Parameter(torch.empty(num_experts, 2 * d_ff if gated else d_ff, d_model))
        self.down = nn.Parameter(torch.empty(num_experts, d_model, d_ff))
        for weight in (self.up, self.down):
            nn.init.uniform_(weight, -(weight.shape[2] ** -0.5), weight.shape[2] ** -0.5)  # as nn.Linear begins
        self.routing: Tensor | None = None
        """Router logits (N, X) of the last forward in training; None before it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        tokens = x.flatten(0, -2)
        logits = self.router(tokens)
        if self.training:
            self.routing = logits
        shares, chosen = logits.float().softmax(-1).topk(self.experts_per_token)
        if self.normalize_weights:
            shares = shares / shares.sum(-1, keepdim=True)
        visits = self._visit(tokens, chosen)
        return (visits * shares.to(x.dtype).unsqueeze(-1)).sum(1).view_as(x)

    def balance_loss(self, mask: Tensor | None = None) -> Tensor:
        """How unequally the last forward in training used the experts (see `load_balancing_loss`).

        Args:
            mask: (B, T) or (B * T), nonzero at tokens that count; None for all.

        Raises:
            RuntimeError: when no forward was made in training.
        """
        if self.routing is None:
            raise RuntimeError("the experts have seen no batch in training; call the model in train() mode first")
        return load_balancing_loss([self.routing], self.experts_per_token, mask)

    def _visit(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        """What each of its experts (N, k) answers to each token (N, D): (N, k, D)."""
        order = chosen.flatten().argsort(stable=True)
        sizes = chosen.flatten().bincount(minlength=self.up.shape[0]).tolist()
        groups = tokens.index_select(0, order // self.experts_per_token).split(sizes)  # backward keeps its order
        answers = torch.cat([self._expert(expert, group) for expert, group in enumerate(groups) if group.shape[0]])
        return answers[order.argsort()].view(*chosen.shape, -1)

    def _expert(self, expert: int, tokens: Tensor) -> Tensor:
        activate, inner = ACTIVATIONS[self.activation], linear(tokens, self.up[expert])
        if self.gated:
            gate, value = inner.chunk(2, dim=-1)
            return linear(activate(gate) * value, self.down[expert])
        return linear(activate(inner), self.down[expert])

    def __getstate__(self) -> dict[str, Any]:
        """Without the last routing: a copy of a model has seen no batch, and a tensor with a history has no copy."""
        return {**self.__dict__, "routing": None}


def load_balancing_loss(router_logits: Sequence[Tensor], experts_per_token: int, mask: Tensor | None = None) -> Tensor:
    """How unequally experts are used (Fedus et al., 2022, equations 4 to 6, as Mixtral counts).

    X * sum over experts of f * P, where f is the number of visits to an expert for each token and P its mean
    probability, both over the tokens of all layers together. Equal use gives experts_per_token, more is worse.

    Args:
        router_logits: one (N, X) tensor for each layer, from 1 layer.
        experts_per_token: experts that a token visits.
        mask: N values of any shape, nonzero at tokens that count, the same for all layers; None for all.

    Returns:
        A scalar, float32.
    """
    logits = torch.stack([layer.float() for layer in router_logits])
    probabilities = logits.softmax(-1)
    counted = torch.ones_like(logits[0, :, 0]) if mask is None else mask.flatten().to(logits)
    num_tokens = len(router_logits) * counted.sum()
    visits = torch.zeros_like(probabilities).scatter(-1, probabilities.topk(experts_per_token).indices, 1.0)
    visits_per_token = torch.einsum("lnx,n->x", visits, counted) / num_tokens
    mean_probability = torch.einsum("lnx,n->x", probabilities, counted) / num_tokens
    return logits.shape[-1] * visits_per_token @ mean_probability
