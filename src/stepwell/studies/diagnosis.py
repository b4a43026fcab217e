"""What is wrong with a model, by named rules over measured evidence.

Each rule looks at one trial and either finds its fault, with the numbers that show it, or finds nothing. Rules know
no remedy; `remedies.py` knows those. Adding a rule is one function and one row. This file leaves out whether mending
the fault would pay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.evaluation import bootstrap
from stepwell.models import MODELS
from stepwell.studies.trial import Trial

STEEP = 0.15
"""An expected fall beyond this means that the run had only begun, when every rate looks too low."""


@dataclass(frozen=True)
class Finding:
    """A fault that was found.

    Attributes:
        name: of the rule.
        evidence: the numbers that show it.
        words: one sentence for a person.
    """

    name: str
    evidence: dict[str, float]
    words: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the journal."""
        rounded = {key: float(f"{value:.4g}") for key, value in self.evidence.items()}
        return {"name": self.name, "evidence": rounded, "words": self.words}


@dataclass(frozen=True)
class Case:
    """What the rules look at.

    Attributes:
        trial: the round.
        rare_ratio: share of the vocabulary that the training text holds fewer than ten times.
        bytes_per_token: of the validation text.
        text_repetition: repeated 4-grams in held-out text itself, of the samples' length.
        unique_tokens: of the training text.
        tokens_to_come: that what is left of the budget buys at this round's speed; infinity without a budget.
    """

    trial: Trial
    rare_ratio: float
    bytes_per_token: float
    text_repetition: float
    unique_tokens: int
    tokens_to_come: float

    @property
    def gap(self) -> float:
        """How much worse held-out text is than training text, as a share."""
        return 1 - self.trial.train_loss / bootstrap(self.trial.scores, "loss", resamples=1).value

    @property
    def epochs(self) -> float:
        """How often the training text was seen."""
        return self.trial.tokens / self.unique_tokens

    def held_out(self) -> list[tuple[int, float]]:
        """Step and loss of each measurement on the way."""
        return [(line["step"], line["loss"]) for line in self.trial.lines if line["kind"] == "evaluation"]

    def events(self, name: str) -> int:
        """How often something happened."""
        return sum(line["kind"] == "event" and line["event"] == name for line in self.trial.lines)

    def decay_start(self) -> int:
        """The first step whose rate is clearly below the highest one after warm-up."""
        rates = [(line["step"], line["learning_rate"]) for line in self.trial.lines if line["kind"] == "step"]
        highest = max((rate for _, rate in rates), default=0.0)
        last_full = max((step for step, rate in rates if rate > 0.999 * highest), default=0)
        return last_full + 1


def instability(case: Case) -> Finding | None:
    """The loss ran away and the trainer rolled back."""
    rollbacks = case.events("rolled_back")
    if not rollbacks:
        return None
    return Finding(
        "instability", {"rollbacks": rollbacks}, f"the loss ran away {rollbacks} times; the rate is too high"
    )


def overfitting(case: Case) -> Finding | None:
    """Held-out loss turned while training loss fell, or the two lie far apart after many passes."""
    points = case.held_out()
    if len(points) < 3:
        return None
    best = min(points, key=lambda point: point[1])
    rise = points[-1][1] / best[1] - 1
    evidence = {"gap": case.gap, "rise_since_best": rise, "epochs": case.epochs}
    if rise > 0.005 and best[0] < points[-1][0]:
        words = f"held-out loss was lowest at step {best[0]:,} and has risen by {rise:.1%} since"
        return Finding("overfitting", evidence, words)
    if case.gap > 0.12 and case.epochs > 3:
        words = f"training text is {case.gap:.0%} easier than held-out text after {case.epochs:.1f} passes"
        return Finding("overfitting", evidence, words)
    return None


def learning_rate_too_high(case: Case) -> Finding | None:
    """The stable part stood still and only the decay brought the loss down."""
    falls = _falls_in_decay(case)
    if falls is None or falls[0] > 0.002 or falls[1] < 0.03:
        return None
    evidence = {"expected_fall": falls[0], "fall_in_decay": falls[1]}
    return Finding("learning_rate_too_high", evidence, "the loss stood still until the rate went down")


def learning_rate_too_low(case: Case) -> Finding | None:
    """The decay bought no more than going on at the full rate would have, so the rate left no noise to remove."""
    falls = _falls_in_decay(case)
    if falls is None or not 0.01 < falls[0] < STEEP or falls[1] > 1.1 * falls[0]:
        return None
    evidence = {"expected_fall": falls[0], "fall_in_decay": falls[1]}
    return Finding("learning_rate_too_low", evidence, "lowering the rate at the end brought nothing extra")


def _falls_in_decay(case: Case) -> tuple[float, float] | None:
    """How far held-out loss would have fallen at the full rate by the end, and how far it fell in the decay.

    The first continues the power law (loss ~ step^-a) through the second half of the stable part. None where the
    schedule has no such two parts: only `wsd` does.
    """
    if case.trial.recipe.training.schedule.kind != "wsd":
        return None
    points, start = case.held_out(), case.decay_start()
    stable = [point for point in points if point[0] <= start]
    decay = [point for point in points if point[0] > start]
    if len(stable) < 4 or len(decay) < 2:
        return None
    half = np.log(np.array(stable[len(stable) // 2 - 1 :]))
    slope = min(0.0, float(np.polyfit(half[:, 0], half[:, 1], 1)[0]))
    expected = 1 - (decay[-1][0] / stable[-1][0]) ** slope
    return float(expected), 1 - decay[-1][1] / stable[-1][1]


def too_many_tokens(case: Case) -> Finding | None:
    """The model has seen so many tokens for its size that a larger one would use them better."""
    ratio = case.trial.tokens / case.trial.recipe.model.num_matrix_parameters
    if ratio < 40 or case.gap > 0.06:
        return None
    evidence = {"tokens_per_parameter": ratio, "gap": case.gap}
    words = f"{ratio:.0f} tokens a parameter and almost no gap: room for a larger model"
    return Finding("too_many_tokens", evidence, words)


def too_few_tokens(case: Case) -> Finding | None:
    """The model is so large for all that it can see within the budget that a smaller one would come further."""
    ratio = (case.trial.tokens + case.tokens_to_come) / case.trial.recipe.model.num_matrix_parameters
    if ratio > 0.25:
        return None
    words = f"only {ratio:.2f} tokens a parameter by the end of the budget: the model is too large for the time"
    return Finding("too_few_tokens", {"tokens_per_parameter": ratio}, words)


def tokenizer_misfit(case: Case) -> Finding | None:
    """Too much of the vocabulary is too rare to be learned."""
    if case.rare_ratio < 0.25:
        return None
    evidence = {"rare_ratio": case.rare_ratio, "bytes_per_token": case.bytes_per_token}
    words = f"{case.rare_ratio:.0%} of the vocabulary stands in the training text fewer than ten times"
    return Finding("tokenizer_misfit", evidence, words)


def underfitting(case: Case) -> Finding | None:
    """Training and held-out loss were both still falling, beyond what the decay explains."""
    points, start = case.held_out(), case.decay_start()
    stable = [loss for step, loss in points if step <= start] or [loss for _, loss in points]
    if len(stable) < 2 or case.gap > 0.2:
        return None
    half = stable[len(stable) // 2 - 1] if len(stable) > 2 else stable[0]
    fall = 1 - stable[-1] / half
    if fall < 0.004:
        return None
    evidence = {"fall_in_second_half": fall, "gap": case.gap, "epochs": case.epochs}
    part = "stable part" if any(step <= start for step, _ in points) else "run"
    return Finding("underfitting", evidence, f"held-out loss fell by {fall:.1%} in the second half of the {part}")


def repetition(case: Case) -> Finding | None:
    """Samples repeat themselves more than the text does."""
    samples = float(np.mean(case.trial.repetition)) if case.trial.repetition else 0.0
    excess = samples - case.text_repetition
    if excess < 0.08:
        return None
    evidence = {"samples": samples, "text": case.text_repetition}
    words = f"{samples:.0%} of the samples' 4-grams are repeats, against {case.text_repetition:.0%} in the text"
    return Finding("repetition", evidence, words)


RULES: tuple[Callable[[Case], Finding | None], ...] = (
    instability,
    overfitting,
    learning_rate_too_high,
    learning_rate_too_low,
    too_few_tokens,
    tokenizer_misfit,
    too_many_tokens,
    underfitting,
    repetition,
)
"""Every rule, the most urgent first."""


OF_ANY_MODEL = (tokenizer_misfit, repetition)
"""Rules that hold for a model that learned by counting too; the others look at a training by gradient."""


OF_ENDLESS_TEXT = (too_few_tokens, too_many_tokens, tokenizer_misfit, repetition)
"""Rules that weigh a model's size against its text; not for a task whose examples are seen a number of times."""


def diagnose(case: Case) -> list[Finding]:
    """All that the rules find, in their order."""
    recipe = case.trial.recipe
    counted, examples = MODELS[recipe.model.kind].learns == "counting", bool(recipe.usual_passes)
    rules = [
        rule
        for rule in RULES
        if not (counted and rule not in OF_ANY_MODEL) and not (examples and rule in OF_ENDLESS_TEXT)
    ]
    return [found for rule in rules if (found := rule(case)) is not None]
