"""From logits to the next token.

Each rule is a plain function from logits to logits in the order and meaning of transformers (repetition penalty,
temperature, top-k, top-p, min-p), so settings found elsewhere keep their meaning here; a token that may not be drawn
has a logit of -inf. Draws invert the cumulative distribution with one uniform number from the sample's own generator,
so a sample does not depend on its neighbours in the batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from stepwell.errors import StepwellError
from stepwell.inference.params import SamplingParams
from stepwell.seeding import derive_seed

GREEDY_BELOW = 1e-4
"""A temperature below this takes the likeliest token: division would overflow and could change nothing else."""


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of seen tokens by the penalty and multiply negative ones (Keskar et al., 2019).

    Args:
        logits: (B, V) float32.
        seen: (B, V) bool, which tokens the text holds.
        penalty: above 0; 1 changes nothing.
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature, above 0. The largest logit is taken off first, so nothing overflows."""
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """Keep the k largest logits of a row, and those equal to the k-th."""
    smallest = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: Tensor, top_p: float) -> Tensor:
    """Keep the fewest tokens whose probabilities sum to at least p, one or more (Holtzman et al., 2020)."""
    ascending, order = logits.sort(descending=False)
    removed = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    removed[..., -1] = False
    return logits.masked_fill(removed.scatter(-1, order, removed), -torch.inf)


def keep_min_p(logits: Tensor, min_p: float) -> Tensor:
    """Keep tokens that are at least `min_p` times as likely as the likeliest (Nguyen et al., 2024)."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < min_p * probabilities.amax(-1, keepdim=True), -torch.inf)


def shape_distribution(logits: Tensor, params: SamplingParams) -> Tensor:
    """Temperature, top-k, top-p and min-p, those that were asked for.

    Args:
        logits: (B, V) float32, after the repetition penalty.
        params: its temperature is at least `GREEDY_BELOW`.

    Returns:
        (B, V) float32, logits of the distribution that is drawn from.
    """
    logits = apply_temperature(logits, params.temperature)
    if params.top_k is not None:
        logits = keep_top_k(logits, params.top_k)
    if params.top_p is not None and params.top_p < 1:
        logits = keep_top_p(logits, params.top_p)
    if params.min_p:
        logits = keep_min_p(logits, params.min_p)
    return logits


def draw_tokens(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Invert each row's cumulative distribution.

    Args:
        logits: (B, V) float32.
        uniforms: (B,) float64 in [0, 1).

    Returns:
        (B,) int64; never a token of zero probability.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    cumulative = cumulative / cumulative[:, -1:]  # the end is exactly 1, so a uniform number below 1 falls inside
    return torch.searchsorted(cumulative, uniforms[:, None], right=True).squeeze(1)


class Sampler:
    """Draws the next tokens of a batch and remembers what it needs for that.

    Args:
        params: how to draw.
        indices: for each row, which sample of its prompt it is; with the seed it decides the row's draws.
        texts: for each row, the tokens of the prompt's text, for the repetition penalty.
        vocab_size: V.
    """

    def __init__(
        self, params: SamplingParams, indices: Sequence[int], texts: Sequence[Sequence[int]], vocab_size: int
    ) -> None:
        self.params = params
        self.greedy = params.temperature < GREEDY_BELOW
        seed = secrets.randbits(63) if params.seed is None else params.seed
        self._generators = [torch.Generator().manual_seed(derive_seed(seed, "sample", index)) for index in indices]
        self._seen: Tensor | None = None
        if params.repetition_penalty != 1:
            self._seen = torch.zeros(len(indices), vocab_size, dtype=torch.bool)
            for row, text in zip(self._seen, texts, strict=True):
                row[torch.as_tensor(text, dtype=torch.int64)] = True

    def draw(self, logits: Tensor) -> tuple[list[int], list[float]]:
        """Choose the next token of each row.

        Args:
            logits: (B, V) float32, straight from the model.

        Returns:
            The tokens, and their log-probabilities under the model itself (nats): before penalty, temperature and
            truncation.

        Raises:
            StepwellError: when a logit is not a finite number.
        """
        if not bool(torch.isfinite(logits).all()):
            raise StepwellError(
                "the model's predictions are not finite numbers",
                got="NaN or infinity among the logits",
                do="take an earlier checkpoint, or train again with a lower learning rate",
            )
        tokens = self._choose(logits)
        logprobs = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
        if self._seen is not None:
            self._seen.scatter_(1, tokens[:, None].cpu(), True)
        return tokens.tolist(), logprobs.tolist()

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        self._generators = [self._generators[row] for row in rows]
        if self._seen is not None:
            self._seen = self._seen[list(rows)]

    def _choose(self, logits: Tensor) -> Tensor:
        if self._seen is not None:
            logits = penalize_repetition(logits, self._seen.to(logits.device), self.params.repetition_penalty)
        if self.greedy:
            return logits.argmax(-1)
        # Drawn on the CPU, so a seed means the same on every device.
        uniforms = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in self._generators])
        return draw_tokens(shape_distribution(logits, self.params), uniforms.to(logits.device))
