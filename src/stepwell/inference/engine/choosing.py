"""The next tokens of samples with the usual rules, in machine code.

Temperature, top-k, top-p and min-p are drawn by `native/choice.h`, as `sampling.draw` does, which knows all the other
rules; both take their random numbers from the sample. This file leaves out those rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from stepwell.errors import StepwellError
from stepwell.inference.native.decoder import NativeDecoder
from stepwell.inference.params import SamplingParams
from stepwell.inference.sampling import Drawn, Sampling

KNOWN = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "n", "best_of", "stop", "stop_token_ids")
"""Fields that a request with the usual rules may set, beside `ignore_eos` and `logprobs`."""


def is_usual(params: SamplingParams) -> bool:
    """Whether nothing but the usual rules is asked for."""
    plain = SamplingParams()
    known = {name: getattr(plain, name) for name in (*KNOWN, "ignore_eos", "logprobs")}
    return params.model_copy(update=known) == plain


def choose(
    decoder: NativeDecoder, samplings: Sequence[Sampling], rows: Sequence[int], logits: Tensor
) -> list[Drawn | StepwellError]:
    """The next token of each sample, which takes it.

    Args:
        decoder: whose threads do the work.
        samplings: with the usual rules.
        rows: which row of the logits is whose.
        logits: (B, V) float32.

    Returns:
        For each its token, or what is wrong with its logits.
    """
    rules = []
    for one in samplings:
        kept = one.rules
        uniform = 0.0 if kept.greedy else one.uniform()
        top_p = 1.0 if kept.top_p is None else kept.top_p
        rules.append((uniform, 0.0 if kept.greedy else kept.temperature, kept.top_k or 0, top_p, kept.min_p or 0.0))
    drawn: list[Drawn | StepwellError] = []
    for sampling, row, choice in zip(samplings, rows, decoder.choose(logits, rows, rules).tolist(), strict=True):
        token_id, logit, log_sum = choice
        if token_id < 0:
            drawn.append(
                StepwellError(
                    "the model's predictions are not finite numbers",
                    got="NaN or infinity among the logits",
                    do="take an earlier checkpoint, or train again with a lower learning rate",
                )
            )
            continue
        sampling.take(token_id, 1.0)
        drawn.append(Drawn(token_id, logit - log_sum, _likeliest(logits[row], sampling.params.logprobs or 0, log_sum)))
    return drawn


def _likeliest(row: Tensor, count: int, log_sum: float) -> tuple[tuple[int, float], ...]:
    """The likeliest tokens with their log-probabilities; among equals the lower number comes first."""
    if not count:
        return ()
    logits = row.numpy()
    least = np.partition(logits, len(logits) - count)[len(logits) - count] if count < len(logits) else -np.inf
    ids = np.flatnonzero(logits >= least)
    order = ids[np.argsort(-logits[ids], kind="stable")][:count]
    return tuple((int(token_id), float(logits[token_id] - log_sum)) for token_id in order)
