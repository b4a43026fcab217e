"""How much reward a model gets for its own answers, and how far it is from where it began.

Held-out prompts are answered once each, and the user's function judges the answers. The divergence is estimated on what
the model itself has drawn (k3, Schulman 2020). This file leaves out the reward (`objectives`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.checkpoints import load_checkpoint
from stepwell.data import TokenSplit
from stepwell.evaluation.measuring.preferring import read_answers
from stepwell.evaluation.scores.metrics import FloatArray, Metric
from stepwell.evaluation.scores.preference import DivergenceScores
from stepwell.hardware import Precision
from stepwell.inference import SamplingParams, generate_many
from stepwell.models import LanguageModel
from stepwell.objectives import Answered, Written, open_reward, rewards_of
from stepwell.tasks import PreferenceConfig
from stepwell.tokenizers import Tokenizer

ANSWERED = 32
"""Held-out prompts that are answered, spread evenly."""


ANSWER_TOKENS = 128
"""Longest answer that is drawn on the way."""


@dataclass(frozen=True)
class RewardedScores(DivergenceScores):
    """What N answers got, and how far they are from what the reference would say.

    Attributes:
        count: (N,) 1.
        reward: (N,).
        stopped: (N,) 1 where an answer ended by itself.
    """

    count: FloatArray
    reward: FloatArray
    stopped: FloatArray


RewardedScores.metrics = {
    "reward": Metric(
        lambda totals: totals.reward / totals.count, higher_is_better=True, unit="reward of an answer", per="example"
    ),
    "loss": Metric(
        lambda totals: -totals.reward / totals.count, higher_is_better=False, unit="reward, negated", per="example"
    ),
    "stop_rate": Metric(
        lambda totals: totals.stopped / totals.count,
        higher_is_better=True,
        unit="share of answers that stopped by themselves",
        per="example",
    ),
    **DivergenceScores.metrics,
}


def evaluate_rewards(
    model: LanguageModel,
    split: TokenSplit,
    tokenizer: Tokenizer,
    task: PreferenceConfig,
    params: SamplingParams,
    precision: Precision = "float32",
    *,
    with_reference: bool = True,
) -> RewardedScores:
    """Answer held-out prompts and have the answers judged.

    Args:
        model: a causal language model.
        split: examples of `task`.
        tokenizer: of the split.
        task: names the reward and the reference.
        params: how answers are drawn; without a seed always the same draws.
        precision: of the matrix products.
        with_reference: whether the divergence is measured.

    Raises:
        UsageError: when the reward fails.
    """
    assert task.reward is not None
    numbers = range(0, split.num_documents, -(-split.num_documents // ANSWERED))
    prompts, rows = zip(*(_asked(split, number, tokenizer) for number in numbers), strict=True)
    drawn = params.model_copy(update={"n": 1, "seed": params.seed or 0})
    told = [some[0] for some in generate_many(model, tokenizer, prompts, drawn, pad=True)]
    written = [Written(str(row["messages"][-1]["content"]), one.text, row) for row, one in zip(rows, told, strict=True)]
    rewards = rewards_of(open_reward(task.reward), written)
    nothing = [np.zeros(0)] * len(told)
    own, then = nothing, nothing
    if with_reference and task.decision.reference is not None:
        answered = [
            Answered(np.concatenate([prompt, np.array(one.token_ids, np.int64)]), len(prompt))
            for prompt, one in zip(prompts, told, strict=True)
        ]
        reference = load_checkpoint(Path(task.decision.reference)).model.to(model.device)
        own, then = read_answers(model, answered, precision), read_answers(reference, answered, precision)
    moved = DivergenceScores.of(own, then)
    return RewardedScores(
        **moved.arrays(),
        count=np.ones(len(told)),
        reward=np.array(rewards),
        stopped=np.array([one.finish_reason == "stop" for one in told], np.float64),
    )


def _asked(split: TokenSplit, number: int, tokenizer: Tokenizer) -> tuple[NDArray[np.int64], Mapping[str, Any]]:
    """The prompt of an example, and what the reward is told of it."""
    ids = np.asarray(split.document(number), np.int64)
    begin = int((np.asarray(split.aligned["side"][split.offsets[number] : split.offsets[number + 1]]) == 0).sum())
    return ids[:begin], json.loads(tokenizer.decode(ids[begin:]))
