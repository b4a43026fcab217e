"""From what the user said to a whole recipe: measure, then derive.

The order is fixed: text gives the vocabulary, the tokenizer gives tokens, a probe gives speed, speed and budget give
size, size gives batch and rates. Each derived value keeps its reason. The same planning serves `plan`, `train` and
`run`. This file leaves out the rules themselves (`recipes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepwell.checkpoints import read_config, read_tokenizer, resolve_checkpoint, verify
from stepwell.config import Config, build, counted, format_duration
from stepwell.errors import ConfigError
from stepwell.hardware import Machine
from stepwell.models import MODELS, ModelConfig, NGramConfig
from stepwell.progress import Fact, Stage, Watcher
from stepwell.recipes import (
    MEASUREMENTS,
    Draft,
    Plan,
    Recipe,
    choose_plan,
    derive_from_checkpoint,
    derive_model,
    derive_tokenizer,
    derive_training,
    plan_for_tokens,
)
from stepwell.runs import RunDirectory
from stepwell.studies.budget import GROWTH, num_slots
from stepwell.studies.corpus import AUTOMATIC, Corpus, Workers, find_tokenizer, read_text, tokenize_corpus
from stepwell.studies.examples import look_over, with_fields, with_findings, with_lengths
from stepwell.studies.probe import Speed, Speedometer, measure_speed
from stepwell.studies.vocabulary import choose_vocabulary
from stepwell.tasks import build_task
from stepwell.tokenizers import TokenizerConfig

USEFUL_SHARE = 0.8
"""Of the time for training, what ends in the final model; the rest goes into decays that are branched off."""

USUAL_JUDGING_SECONDS = 3.0
"""For samples and files, and for all of the measuring where its speed is not known."""

MEASURING_SHARE = 0.08
"""Of the time for training, what measuring on the way may take, and the measuring of a round."""

LEAST_WATCHED_BYTES, LEAST_JUDGED_BYTES = 2_000, 20_000
"""Held-out text that is measured in any case."""

STEPS_TOKENS = 2048
"""Tokens of a batch when the number of steps is fixed and nothing else is known."""

PRETRAINED_TOKENS = 2_000_000
"""Trained on after a checkpoint, as far as the batch is concerned; the clock decides how many there really are."""


class _Section(Config):
    """The part of a recipe that is needed first."""

    tokenizer: TokenizerConfig


@dataclass(frozen=True)
class Planned:
    """Everything that is decided before the first round.

    Attributes:
        recipe: resolved.
        origins: path -> where the value came from.
        corpus: text, tokenizer, tokens.
        speed: measured with the recipe's model; None when the steps were fixed and nothing was measured.
        plan: why this size.
    """

    recipe: Recipe
    origins: dict[str, str]
    corpus: Corpus
    speed: Speed | None
    plan: Plan

    @property
    def tokens(self) -> float:
        """How many are trained on, by the steps of the recipe."""
        if MODELS[self.recipe.model.kind].learns != "gradient":
            return self.plan.tokens
        return self.recipe.training.steps * self.recipe.training.global_batch_tokens

    @property
    def epochs(self) -> float:
        """How often each token of the text is seen."""
        return self.tokens / self.corpus.train.num_tokens

    @property
    def judging_seconds(self) -> float:
        """About how long measuring a finished round takes: validation text, a look at training text, samples."""
        if self.speed is None:
            return USUAL_JUDGING_SECONDS
        study, validation = self.recipe.study, self.corpus.tokens.split("validation")
        num_bytes = min(study.validation_bytes, int(validation.num_bytes.sum())) + study.watch_bytes
        tokens = num_bytes / self.corpus.bytes_per_token(validation) * build_task(self.recipe.task).measuring_passes
        return USUAL_JUDGING_SECONDS + tokens / self.speed.score_tokens_per_second

    def steps_in(self, seconds: float) -> int:
        """Updates that fit into a round of so many seconds, with its measurements on the way."""
        assert self.speed is not None
        watched = self.recipe.study.watch_bytes / self.corpus.bytes_per_token(self.corpus.train)
        measuring = MEASUREMENTS * watched / self.speed.score_tokens_per_second
        training = max(0.5 * seconds, seconds - measuring)
        return int(training * self.speed.train_tokens_per_second / self.recipe.training.global_batch_tokens)


def open_draft(draft: Draft, run: RunDirectory, watch: Watcher, workers: Workers = AUTOMATIC) -> tuple[Draft, Corpus]:
    """Read the text and what it says about the task, derive the tokenizer and train it, or take a checkpoint's."""
    draft = with_fields(draft)
    text = read_text(draft.data, run, watch, seed=draft.get("seed") or 0, workers=workers)
    draft = with_findings(draft, text)
    draft, compared = choose_vocabulary(draft, text, run, watch)
    if draft.get("init_from"):
        draft = _from_checkpoint(draft)
    elif draft.get("tokenizer.kind") == "pretrained" and draft.get("tokenizer.path"):
        given = read_tokenizer(resolve_checkpoint(Path(draft.get("tokenizer.path"))))
        tokens = given.vocab_size + (draft.get("tokenizer.extend_tokens") or 0)
        draft = draft.with_derived({"tokenizer.vocab_size": (tokens, f"of {draft.get('tokenizer.path')}")})
    else:
        derived = derive_tokenizer(
            text.facts.splits["train"].bytes,
            kind=draft.get("tokenizer.kind") or "byte_bpe",
            objective=draft.get("training.objective.kind") or MODELS[_kind_of(draft)].objectives[0],
            factor=draft.task.vocabulary_factor,
            characters_share=sum(text.facts.languages.get(name, 0.0) for name in ("zh", "ja")),
        )
        if draft.task.special_tokens:
            why = f"what {draft.task.config.kind} is written with"
            derived = {"tokenizer.special_tokens": (draft.task.special_tokens, why), **derived}
        draft = draft.with_derived(derived)
    config = tokenizer_section(draft)
    tokenizer = find_tokenizer(text, config, run, watch)
    draft = with_lengths(draft, text, tokenizer)
    corpus = replace(tokenize_corpus(text, tokenizer, draft.task.config, run, watch), compared=compared)
    look_over(corpus, draft.task.config, watch)
    reached = corpus.tokenizer.vocab_size
    if reached < config.vocab_size:
        watch(Fact(f"the text has pairs to merge for a vocabulary of {reached:,} only"))
        draft = draft.plus({"tokenizer": {"vocab_size": reached}}, f"all that the text gives of {config.vocab_size:,}")
    return draft, corpus


def tokenizer_section(draft: Draft) -> TokenizerConfig:
    """The tokenizer's settings, once they are derived."""
    return build(_Section, {"tokenizer": draft.tree["tokenizer"]}, where="recipe").tokenizer


def _from_checkpoint(draft: Draft) -> Draft:
    """A draft with the tokenizer and the model of the checkpoint that it begins from.

    Raises:
        CheckpointError: when there is no whole checkpoint.
        ConfigError: when the user asks for another family.
    """
    folder = resolve_checkpoint(Path(draft.get("init_from")))
    verify(folder)
    model = read_config(folder)
    if draft.get("model.kind") not in (None, model.kind):
        raise ConfigError(
            "model.kind: is not that of init_from", got=draft.get("model.kind"), wanted=f"{model.kind}, as in {folder}"
        )
    values = derive_from_checkpoint(
        draft.get("init_from"),
        str(folder),
        model,
        read_tokenizer(folder).vocab_size,
        draft.get("training.objective.kind"),
        extend_tokens=draft.get("tokenizer.extend_tokens") or 0,
    )
    return draft.with_derived(values)


def plan_run(
    draft: Draft, run: RunDirectory, machine: Machine, watch: Watcher, *, seconds: float | None, steps: int | None
) -> Planned:
    """Complete a draft.

    Args:
        draft: what the user said.
        run: where text and tokens are kept.
        machine: measured.
        watch: gets the events.
        seconds: for training, all rounds together; None when `steps` is given.
        steps: of a single run; the size then follows from them, and nothing that varies is measured.

    Raises:
        DataError: when the text cannot be read or is too little.
        ConfigError: when the user's values do not fit together.
    """
    draft, corpus = open_draft(draft, run, watch)
    pretrained = draft.get("init_from") is not None
    optimizer = draft.get("training.optimizer.kind") or ("adamw" if pretrained else "muon")
    kind = _kind_of(draft)
    vocab_size = draft.get("model.vocab_size") or corpus.tokenizer.vocab_size
    plan, reason, steps = _choose_size(draft, corpus, machine, optimizer, watch, seconds=seconds, steps=steps)
    if not pretrained:
        objective = draft.get("training.objective.kind") or MODELS[kind].objectives[0]
        derived = derive_model(plan, vocab_size=vocab_size, reason=reason, kind=kind, objective=objective)
        draft = draft.with_derived(derived)
        if "mask_id" in MODELS[kind].config.model_fields:
            draft = draft.with_derived({"model.mask_id": (corpus.tokenizer.mask_id, "the tokenizer's")})
    model = build(MODELS[kind].config, draft.tree["model"], where="recipe: model")
    draft = draft.with_derived(
        derive_training(
            model,
            tokens=plan.tokens,
            steps=steps or draft.get("training.steps"),
            precision=machine.precision,
            memory_bytes=machine.memory_bytes / 2,  # not what is free now: the choice must repeat
            optimizer=optimizer,
            row_tokens=draft.get("training.row_tokens"),
            batch_tokens=draft.get("training.global_batch_tokens"),
            objective=draft.get("training.objective.kind"),
            schedule=draft.get("training.schedule.kind"),
            pretrained=pretrained,
            adapter=draft.get("training.adapter.kind"),
            rate=draft.task.tuning_rate if pretrained else draft.task.rate,
        )
    )
    recipe = draft.finish()
    speed = None
    if seconds is not None and MODELS[kind].learns == "gradient":
        speed = measure_speed(recipe.model, recipe.training, corpus, machine)
        draft = draft.with_derived(_measured_bytes(recipe, corpus, speed, seconds))
        recipe = draft.finish()
    planned = Planned(recipe, draft.origins, corpus, speed, plan)
    _tell(planned, watch)
    return planned


def _measured_bytes(recipe: Recipe, corpus: Corpus, speed: Speed, seconds: float) -> dict[str, tuple[Any, str]]:
    """How much held-out text is measured, where a slow model would spend its time on nothing else."""
    bytes_per_second = speed.score_tokens_per_second * corpus.bytes_per_token(corpus.tokens.split("validation"))
    affordable = int(MEASURING_SHARE * seconds * bytes_per_second)
    values = {}
    for name, most, least in (
        ("watch_bytes", affordable // MEASUREMENTS, LEAST_WATCHED_BYTES),
        ("validation_bytes", int(affordable / build_task(recipe.task).measuring_passes), LEAST_JUDGED_BYTES),
    ):
        if most < getattr(recipe.study, name):
            values[f"study.{name}"] = (max(least, most), f"takes about {MEASURING_SHARE:.0%} of the time")
    return values


def _choose_size(
    draft: Draft,
    corpus: Corpus,
    machine: Machine,
    optimizer: str,
    watch: Watcher,
    *,
    seconds: float | None,
    steps: int | None,
) -> tuple[Plan, str, int | None]:
    """How large the model is and how long it is trained: the plan, why, and how many steps, where these are fixed."""
    kind, task, unique = _kind_of(draft), draft.task, corpus.train.num_tokens
    vocab_size = draft.get("model.vocab_size") or corpus.tokenizer.vocab_size
    if draft.get("init_from") is not None:
        passes = task.passes(pretrained=True)
        usual = passes * unique if passes else PRETRAINED_TOKENS
        tokens = steps * STEPS_TOKENS if steps else usual
        plan, reason = Plan(0, tokens, tokens / unique, math.nan), ""
    elif steps is not None:
        batch = draft.get("training.global_batch_tokens") or STEPS_TOKENS
        plan = plan_for_tokens(steps * batch, unique_tokens=unique, vocab_size=vocab_size, kind=kind)
        reason = f"fits {steps:,} steps"
    elif passes := task.passes(pretrained=False):
        plan = Plan(task.depth, passes * unique, passes, math.nan)
        reason = f"usual for {task.config.kind}"
    elif MODELS[kind].learns == "counting":
        plan, steps, reason = Plan(1, unique, 1.0, math.nan), 1, "one look at the text"
    else:
        watch(Stage("probe", "training speed by size"))
        known = Speedometer(kind, corpus, machine, optimizer, draft.get("training.row_tokens"))
        useful = USEFUL_SHARE * (seconds or 0.0)
        plan = choose_plan(
            lambda depth: useful * known.tokens_per_second(depth),
            unique_tokens=unique,
            vocab_size=vocab_size,
            kind=kind,
        )
        reason = f"least predicted loss in {format_duration(useful)} of training"
    return plan, reason, steps


def _kind_of(draft: Draft) -> str:
    """The family that the user chose.

    Raises:
        ConfigError: when there is no such family.
    """
    kind = draft.get("model.kind") or draft.task.family
    if kind not in MODELS:
        raise ConfigError("model.kind: no such family", got=str(kind), wanted=f"one of {', '.join(MODELS)}")
    return str(kind)


def _tell(planned: Planned, watch: Watcher) -> None:
    watch(Fact(_words(planned)))
    if unseen := never_seen(planned.recipe, planned.corpus):
        watch(Fact(unseen, warning=True))


def _words(planned: Planned) -> str:
    model, speed = planned.recipe.model, planned.speed
    rate = f", {speed.train_tokens_per_second:,.0f} tokens/s" if speed else ""
    passes = f"about {planned.epochs:.1f} passes over the text"
    return f"plan: {shape_words(model)}, vocabulary {model.vocab_size:,}, {passes}{rate}"


def never_seen(recipe: Recipe, corpus: Corpus) -> str | None:
    """What to say where an order leaves documents for a time after the end of training; None where it does not."""
    tokens, epoch = recipe.training.steps * recipe.training.global_batch_tokens, corpus.train.num_tokens
    if corpus.train.order is None or tokens >= epoch or MODELS[recipe.model.kind].learns != "gradient":
        return None
    return (
        f"order: training takes {tokens:,} tokens and an epoch in order has {epoch:,}, so the last "
        f"{1 - tokens / epoch:.0%} are never seen; train longer, or leave the step order out"
    )


def shape_words(model: ModelConfig) -> str:
    """A model's family and size: `decoder of 3 layers, 192 wide, 2.4 M parameters`."""
    words = model.kind.replace("_", "-")
    if isinstance(model, NGramConfig):
        return f"{words} of order {model.order}"
    layers, width = getattr(model, "num_layers", None), getattr(model, "d_model", None)
    if layers is not None and width is not None:
        words += f" of {counted(layers, 'layer')}, {width} wide"
    return f"{words}, {model.num_parameters / 1e6:,.1f} M parameters"


def outlook(planned: Planned, seconds: float) -> list[dict[str, Any]]:
    """The rounds as they are planned.

    Args:
        planned: with a measured speed.
        seconds: for training, all rounds together.

    Returns:
        One plain record a round: its number, seconds, and steps reached at its end.
    """
    rounds = num_slots(seconds)
    first = seconds / sum(GROWTH**n for n in range(rounds))
    slots = [first * GROWTH**n for n in range(rounds)]
    return [{"round": n, "seconds": round(s, 1), "steps": planned.steps_in(s)} for n, s in enumerate(slots, start=1)]
