"""Learning from rewards: group relative policy optimisation (Shao et al., 2024, "DeepSeekMath").

An update draws a group of answers to each of its prompts, from the weights as they are and a seed of the step, so a run
that goes on draws the same. What is better than the mean of its group becomes likelier. Answers are drawn where the
loss is taken, since only there the weights are known. This file leaves out what a reward is (`rewards.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Batch
from stepwell.errors import ConfigError
from stepwell.models import LanguageModel
from stepwell.objectives.logprobs import Answered, at_rest, token_logprobs
from stepwell.objectives.objective import Objective
from stepwell.objectives.preference_config import GRPOConfig
from stepwell.objectives.reference import Reference
from stepwell.objectives.rewards import Written, open_reward, rewards_of
from stepwell.seeding import derive_seed
from stepwell.tokenizers import Tokenizer

LEAST_SPREAD = 1e-4
"""Added to the standard deviation of a group's rewards."""


@dataclass(frozen=True)
class Prompts:
    """What is to be answered.

    Attributes:
        prompts: P prompts, (T,) token ids each.
        rows: what the reward is told of each.
        group_size: answers to each.
        seed: decides what is drawn.
    """

    prompts: Sequence[NDArray[np.int64]]
    rows: Sequence[Mapping[str, Any]]
    group_size: int
    seed: int

    @property
    def num_targets(self) -> int:
        """Answers."""
        return len(self.prompts) * self.group_size


class Drawn(NamedTuple):
    """An answer that was drawn.

    Attributes:
        answered: with its prompt; the token that ends it included.
        logprobs: (tokens,) nats, of each token as it was drawn.
    """

    answered: Answered
    logprobs: Tensor


class GRPOObjective(Objective[Prompts]):
    """Make rewarded answers likelier.

    Args:
        config: the reward, and how much it counts.
        tokenizer: of the model that learns.

    Raises:
        UsageError: when there is no such reward.
        CheckpointError: when there is no such reference.
        ConfigError: when the reference has another tokenizer.
    """

    def __init__(self, config: GRPOConfig, tokenizer: Tokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.reward = open_reward(config.reward)
        self.reference = Reference(config.reference, tokenizer) if config.divergence_weight else None

    def identity(self) -> dict[str, Any]:
        """The reference's weights, by their checksum."""
        return {} if self.reference is None else self.reference.identity()

    def prepare(self, batch: Batch, seed: int) -> Prompts:
        """The prompts of a batch with their rows."""
        prompts, rows = [], []
        pieces, sides = batch.pieces.ravel(), batch.aligned["side"].ravel()
        for piece in range(int(pieces[batch.loss_mask.ravel()].max(initial=-1)) + 1):
            here = np.flatnonzero(pieces == piece)
            ids = np.append(batch.token_ids.flat[here], batch.targets.flat[here[-1]])
            begin = int((sides[here] == 0).sum())
            prompts.append(ids[:begin])
            rows.append(json.loads(self.tokenizer.decode(ids[begin:])))
        return Prompts(prompts, rows, self.config.group_size, seed)

    def loss(self, model: LanguageModel, examples: Prompts, device: torch.device) -> Tensor:
        """Summed over the answers that are drawn, each the mean over its tokens.

        Raises:
            UsageError: when the reward fails.
            ConfigError: when a prompt leaves no room for an answer, or there is no reference.
        """
        groups = [
            draw(
                model,
                prompt,
                examples.group_size,
                max_tokens=self.config.max_answer_tokens,
                stop_ids=self.tokenizer.stop_ids,
                seed=derive_seed(examples.seed, "answers", number),
            )
            for number, prompt in enumerate(examples.prompts)
        ]
        written = [
            Written(str(row["messages"][-1]["content"]), self._words(one.answered), row)
            for row, group in zip(examples.rows, groups, strict=True)
            for one in group
        ]
        rewards = torch.tensor(rewards_of(self.reward, written), device=device).view(len(groups), -1)
        worth = advantages(rewards, scaled=self.config.scaled)
        losses = [self._group_loss(model, group, its, device) for group, its in zip(groups, worth, strict=True)]
        return torch.stack(losses).sum()

    def _words(self, one: Answered) -> str:
        """An answer in words, without the token that ends it."""
        ids = one.token_ids[one.begin :]
        return self.tokenizer.decode(ids[:-1] if int(ids[-1]) in self.tokenizer.stop_ids else ids)

    def _group_loss(self, model: LanguageModel, group: Sequence[Drawn], worth: Tensor, device: torch.device) -> Tensor:
        answered = [one.answered for one in group]
        told = read_together(model, answered, device)
        then = [None] * len(group) if self.reference is None else self.reference.logprobs(model, answered)
        losses = [
            answer_loss(own, one.logprobs, before, its, self.config)
            for own, one, before, its in zip(told, group, then, worth, strict=True)
        ]
        return torch.stack(losses).sum()


def advantages(rewards: Tensor, *, scaled: bool) -> Tensor:
    """How much better each answer is than its group.

    Args:
        rewards: (P, G), G from 2.
        scaled: in standard deviations of the group.

    Returns:
        (P, G).
    """
    apart = rewards - rewards.mean(1, keepdim=True)
    return apart / (rewards.std(1, keepdim=True) + LEAST_SPREAD) if scaled else apart


def answer_loss(own: Tensor, drawn: Tensor, reference: Tensor | None, advantage: Tensor, config: GRPOConfig) -> Tensor:
    """The loss of an answer, the mean over its tokens.

    Args:
        own: (tokens,) nats, with a gradient.
        drawn: (tokens,) nats, as they were drawn.
        reference: (tokens,) nats, by the reference; None for none.
        advantage: scalar.
        config: clipping, and the weight of the divergence.
    """
    ratio = (own - drawn).exp()
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    losses = -torch.minimum(ratio * advantage, clipped * advantage)
    if reference is not None:
        away = reference - own
        losses = losses + config.divergence_weight * (away.exp() - away - 1)
    return losses.mean()


@torch.no_grad()
def draw(
    model: LanguageModel,
    prompt: NDArray[np.int64],
    count: int,
    *,
    max_tokens: int,
    stop_ids: frozenset[int],
    seed: int,
) -> list[Drawn]:
    """Draw answers from a model as it is, at temperature 1.

    Args:
        model: a causal language model; dropout is left out.
        prompt: (T,) token ids.
        count: of answers.
        max_tokens: of an answer, and no more than the model's window takes.
        stop_ids: tokens that end one.
        seed: decides what is drawn.

    Raises:
        ConfigError: when the prompt fills the window.
    """
    most = min(max_tokens, model.config.max_seq_len - len(prompt))
    if most < 1:
        raise ConfigError(
            "training.objective: a prompt leaves no room for an answer",
            got=f"{len(prompt)} tokens, and a window of {model.config.max_seq_len}",
            do="set task.max_tokens to less, or model.max_seq_len to more",
        )
    generator = torch.Generator().manual_seed(seed)
    ends = torch.tensor(sorted(stop_ids))
    tokens, told = [], []
    is_open = torch.ones(count, dtype=torch.bool)
    lengths = torch.zeros(count, dtype=torch.int64)
    with at_rest(model):
        ids = torch.from_numpy(prompt).to(model.device).expand(count, -1)
        state, logits = model.begin(ids, len(prompt) + most)
        for _ in range(most):
            logprobs = torch.log_softmax(logits.float().cpu(), 1)
            chosen = torch.multinomial(logprobs.exp(), 1, generator=generator)
            tokens.append(chosen)
            told.append(logprobs.gather(1, chosen))
            lengths += is_open
            is_open &= ~torch.isin(chosen[:, 0], ends)
            if not is_open.any() or len(tokens) == most:
                break
            logits = model.extend(state, chosen.to(model.device))
    drawn, logprobs = torch.cat(tokens, 1), torch.cat(told, 1)
    return [
        Drawn(
            Answered(np.concatenate([prompt, drawn[row, :length].numpy()]), len(prompt)),
            logprobs[row, :length].to(model.device),
        )
        for row, length in enumerate(lengths.tolist())
    ]


def read_together(model: LanguageModel, answered: Sequence[Answered], device: torch.device) -> list[Tensor]:
    """Log-probabilities of answers' tokens, with their gradient; (tokens,) each.

    Args:
        model: a causal language model.
        answered: they share a batch.
        device: where the model lives.
    """
    longest = max(len(one.token_ids) for one in answered)
    token_ids = np.zeros((len(answered), longest), np.int64)  # what stands behind an answer is seen by none before it
    for row, one in enumerate(answered):
        token_ids[row, : len(one.token_ids)] = one.token_ids
    ids = torch.from_numpy(token_ids).to(device)
    hidden = model.hidden(ids[:, :-1])
    lengths = [len(one.token_ids) - one.begin for one in answered]
    rows = torch.cat([hidden[row, one.begin - 1 : len(one.token_ids) - 1] for row, one in enumerate(answered)])
    targets = torch.cat([ids[row, one.begin : len(one.token_ids)] for row, one in enumerate(answered)])
    return list(token_logprobs(model.before_output(rows), model.output(), targets).split(lengths))
