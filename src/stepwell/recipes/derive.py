"""What is chosen when the user says nothing: pure functions from facts to values, each with its reason.

Size follows from how many tokens can be trained on in the time there is, by a scaling law that knows repeated data
is worth less (Hoffmann et al., 2022; Muennighoff et al., 2023). Batch and rates follow from size and length;
regularisation from how often the text is seen. This file leaves out measuring: speeds come in as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepwell.config import build, flatten, merge
from stepwell.models import MODELS, ModelConfig
from stepwell.tokenizers import derive_vocab_size
from stepwell.training import TrainingConfig

Derived = Mapping[str, tuple[Any, str]]
"""Dotted recipe path -> value and reason."""

DEPTHS = range(1, 33)
SPECIAL_TOKENS = {
    "masked": ("<|mask|>",),
    "denoising": ("<|mask|>",),
    "span_corruption": tuple(f"<|span_{number}|>" for number in range(32)),
}
"""Tokens that an objective needs beside those of the text."""

SMALLEST_OF_PIECES = 1024
"""Vocabulary of a kind whose bytes and characters alone may take up 512 ids."""

PROMPTS = {"prefix": "prefix", "sequence_to_sequence": "source", "pairs": "source"}
"""What a prompt is for a model that an objective trained, where that is not a text to continue from left to right."""

MAX_SEQ_LEN = 256
LONGEST_ROW = 512
PRETRAINED_RATE = 0.03
"""Of the rates for fresh weights: what weights that are trained already can bear."""
WANTS = {
    "lora": "LoRA wants ten",
    "bottleneck": "an adapter wants ten",
    "prefix": "a prefix wants three hundred",
    "prompt": "a prompt wants three hundred",
}
ADAPTER_RATES = {"lora": 10.0, "bottleneck": 10.0, "prefix": 300.0, "prompt": 300.0}
"""Of the rates for all weights: what an adapter wants (Schulman et al., 2025, "LoRA Without Regret", for LoRA;
measured for prefix and prompt: benchmarks/LOG.md)."""
TOKENS_PER_PARAMETER = 4
MEASUREMENTS = 10
"""How often a run is measured on held-out text while it trains."""


class Rates(NamedTuple):
    """Full learning rates for a batch of 2,048 tokens.

    Attributes:
        muon: of Muon's matrices.
        beside_muon: of AdamW on everything else.
        adamw: of AdamW alone.
    """

    muon: float
    beside_muon: float
    adamw: float


USUAL_RATES = Rates(0.02, 0.005, 0.003)
RATES = {
    "lstm": Rates(0.05, 0.015, 0.01),
    "gru": Rates(0.02, 0.015, 0.01),
    "recurrent_encoder_decoder": Rates(0.02, 0.015, 0.003),
}
"""Families that learn faster at other rates than the usual ones (benchmarks/LOG.md)."""

TIMES_ADAMW = {
    "sgd": (100.0, "100 times AdamW's, as measured"),
    "adam": (1.0, "as AdamW's"),
    "adamw": (1.0, "AdamW's"),
    "adafactor": (10.0, "10 times AdamW's, as measured: it is a share of the weights' size"),
    "lion": (1 / 3, "a third of AdamW's, as its paper says"),
    "schedule_free_adamw": (3.0, "3 times AdamW's, as measured"),
}
"""Rates beside AdamW's, and why. Measured in 60 steps of 1,024 bytes on tinyshakespeare (2 layers of width 64), which
favours high rates: AdamW was best at 0.03, SGD at 1, Adafactor at 0.06, Lion at 0.003, schedule-free AdamW at 0.01."""


@dataclass(frozen=True)
class Plan:
    """What was chosen for a length of time, and what it is expected to do.

    Attributes:
        depth: the dial.
        tokens: how many will be trained on.
        epochs: how often each token of the text is seen.
        predicted_loss: by the scaling law, nats a token; good for comparing sizes, not for quoting.
    """

    depth: int
    tokens: float
    epochs: float
    predicted_loss: float


def predicted_loss(parameters: float, tokens: float, unique_tokens: float) -> float:
    """Loss by a scaling law that knows that repeated text teaches less.

    `E + A / N^alpha + B / D'^beta` (Hoffmann et al., 2022), where D' counts a repeated token for less each time it
    comes back (Muennighoff et al., 2023, "Scaling Data-Constrained Language Models", equation 5). Their half-life of 15
    repetitions is for billions of tokens; a text of a megabyte was learned by heart within ten epochs, so it is 3 here,
    and more time goes into a larger model. Their discount for many parameters is left out: dropout and early stopping
    take its place, and with it the law chose models that were measurably too small (benchmarks/LOG.md).

    Args:
        parameters: weights that multiply activations, N above 0.
        tokens: trained on, D above 0.
        unique_tokens: tokens of the text, above 0.
    """
    entropy, a, b, alpha, beta, half_life = 1.87, 521.0, 1488.0, 0.353, 0.353, 3.0
    unique = min(tokens, unique_tokens)
    repeats = tokens / unique - 1
    effective_tokens = unique * (1 + half_life * (1 - math.exp(-repeats / half_life)))
    return float(entropy + a / parameters**alpha + b / effective_tokens**beta)


def choose_plan(
    tokens_for: Callable[[int], float],
    *,
    unique_tokens: float,
    vocab_size: int,
    kind: str = "decoder",
    depths: range = DEPTHS,
) -> Plan:
    """The depth of the least predicted loss.

    Args:
        tokens_for: depth -> tokens that can be trained on.
        kind: of the model.
        unique_tokens: tokens of the training text.
        vocab_size: V; the head's multiplications count as parameters.
        depths: which to consider.
    """
    plans = []
    for depth in depths:
        tokens = max(1.0, tokens_for(depth))
        loss = predicted_loss(_matrix_parameters(kind, depth, vocab_size), tokens, unique_tokens)
        plans.append(Plan(depth, tokens, tokens / unique_tokens, loss))
    return min(plans, key=lambda plan: plan.predicted_loss)


def plan_for_tokens(tokens: float, *, unique_tokens: float, vocab_size: int, kind: str = "decoder") -> Plan:
    """The depth for a fixed number of tokens, whatever the machine: the largest with four tokens a parameter.

    Args:
        tokens: that will be trained on.
        unique_tokens: tokens of the training text.
        vocab_size: V.
        kind: of the model.
    """
    depth = 1
    while depth < DEPTHS[-1] and _matrix_parameters(kind, depth + 1, vocab_size) <= tokens / TOKENS_PER_PARAMETER:
        depth += 1
    loss = predicted_loss(_matrix_parameters(kind, depth, vocab_size), tokens, unique_tokens)
    return Plan(depth, tokens, tokens / unique_tokens, loss)


def _matrix_parameters(kind: str, depth: int, vocab_size: int) -> int:
    return max(1, MODELS[kind].sized(depth, vocab_size=vocab_size, max_seq_len=MAX_SEQ_LEN).num_matrix_parameters)


def derive_tokenizer(
    train_bytes: int, *, kind: str, objective: str, factor: float = 1.0, characters_share: float = 0.0
) -> Derived:
    """The tokenizer section.

    Args:
        train_bytes: of the text it learns from.
        kind: of the tokenizer.
        objective: kind of what the model learns from; it may need tokens of its own.
        factor: how many times the vocabulary that the size of the text asks for.
        characters_share: of the text that is Chinese or Japanese: a character is three bytes and a word or half of one,
            so three times the vocabulary is as often seen (benchmarks/LOG.md).
    """
    by_script, why = 1 + 2 * characters_share, f"{train_bytes / 1e6:,.1f} MB to learn from"
    size = derive_vocab_size(train_bytes, max(factor, by_script))
    if factor > by_script:
        why += f", {factor:g} times that for the task"
    elif by_script > 1.5:
        why += f", {by_script:.1f} times that for its characters"
    if kind in ("unigram", "wordpiece"):
        size = max(size, SMALLEST_OF_PIECES)
    values: dict[str, tuple[Any, str]] = {
        "tokenizer.kind": (kind, "reads any text"),
        "tokenizer.vocab_size": {
            "word": (10_000, "the textbooks'"),
            "character": (8192, "room for the usual characters of any language"),
        }.get(kind, (size, why)),
    }
    if objective in SPECIAL_TOKENS:
        values["tokenizer.special_tokens"] = (SPECIAL_TOKENS[objective], f"what {objective} hides text behind")
    return values


def derive_from_checkpoint(
    init_from: str,
    path: str,
    model: ModelConfig,
    num_tokens: int,
    objective: str | None = None,
    *,
    extend_tokens: int = 0,
) -> Derived:
    """Tokenizer and model sections of a run that begins from a checkpoint.

    Args:
        init_from: as the user wrote it.
        path: of the checkpoint folder.
        model: its config.
        num_tokens: of its tokenizer.
        objective: kind of what it learns now, when the user chose one; it may decide what a prompt is.
        extend_tokens: how many tokens are added to it.
    """
    why = f"of {init_from}" + (f" and {extend_tokens:,} more tokens" if extend_tokens else "")
    num_tokens += extend_tokens
    tokenizer = {"kind": "pretrained", "path": path, "vocab_size": num_tokens}
    shape = {**model.model_dump(), "vocab_size": max(model.vocab_size, num_tokens)}
    return {
        **{f"tokenizer.{name}": (value, why) for name, value in tokenizer.items()},
        **{path: (value, why) for path, value in flatten({"model": shape}).items()},
        **_prompt_for(model.kind, objective),
    }


def _prompt_for(kind: str, objective: str | None) -> Derived:
    """What a prompt is for a model that learns so, where that is not a text to continue from left to right."""
    if objective not in PROMPTS or objective not in MODELS[kind].objectives:
        return {}
    return {"model.prompt": (PROMPTS[objective], f"as {objective} trains it")}


def derive_model(
    plan: Plan, *, vocab_size: int, reason: str, kind: str = "decoder", objective: str = "causal"
) -> Derived:
    """The model section: the shape of the plan's depth, dropout by how often the text is repeated, how it is asked.

    Args:
        plan: what was chosen for the time.
        vocab_size: V.
        reason: why this depth.
        kind: of the model.
        objective: kind of what it learns; it may decide what a prompt is.
    """
    config = MODELS[kind].sized(plan.depth, vocab_size=vocab_size, max_seq_len=MAX_SEQ_LEN)
    values: dict[str, tuple[Any, str]] = {"model.kind": (kind, "the default family")}
    for name, value in config.stated().items():
        values.setdefault(f"model.{name}", (value, f"depth {plan.depth}: {reason}"))
    values["model.vocab_size"] = (vocab_size, "the tokenizer's")
    values["model.max_seq_len"] = (MAX_SEQ_LEN, "the default window")
    values |= _prompt_for(kind, objective)
    if "dropout" in type(config).model_fields:
        values["model.dropout"] = (derive_dropout(plan.epochs), f"each token is seen about {plan.epochs:.1f} times")
    return values


def derive_dropout(epochs: float) -> float:
    """Dropout by the number of epochs: none for text that is seen a few times (benchmarks/LOG.md)."""
    return 0.0 if epochs < 3 else 0.1 if epochs < 6 else 0.2 if epochs < 20 else 0.3


def derive_batch_tokens(tokens: float) -> int:
    """Tokens of an update: a power of two that grows as D^0.38 (Bergsma et al., 2025, "Power Lines")."""
    return int(2 ** min(19, max(10, round(math.log2(2048 * (tokens / 2e6) ** 0.38)))))


def derive_training(
    model: ModelConfig,
    *,
    tokens: float,
    steps: int | None,
    precision: str,
    memory_bytes: float,
    optimizer: str = "muon",
    row_tokens: int | None = None,
    batch_tokens: int | None = None,
    objective: str | None = None,
    schedule: str | None = None,
    pretrained: bool = False,
    adapter: str | None = None,
    rate: float = 1.0,
) -> Derived:
    """The training section for one run.

    Args:
        model: what is trained.
        tokens: planned for the whole run; decides the batch.
        steps: fixed by the user; None to follow from tokens.
        precision: the machine's measured choice.
        memory_bytes: what activations may take.
        optimizer: its kind, when the user chose one.
        row_tokens: length of a row, where it is known already; None for the model's window, at most 512.
        batch_tokens: of an update, when the user chose it.
        objective: its kind, when the user chose one.
        schedule: its kind, when the user chose one.
        pretrained: the weights are trained already, so steps are small.
        adapter: kind of what is learned beside them; None for the weights themselves.
        rate: share of the usual rates, for such weights as they are, that the task wants.
    """
    row = row_tokens or min(model.max_seq_len, LONGEST_ROW)
    batch = batch_tokens or max(row, derive_batch_tokens(tokens))
    steps = steps or max(20, round(tokens / batch))
    rows = max(1, batch // row)
    rates = derive_rates(model.kind, optimizer, batch)
    if pretrained:
        share = PRETRAINED_RATE * ADAPTER_RATES.get(adapter or "", 1.0) * rate
        small = "the weights are trained already" + ("" if adapter is None else f", and {WANTS[adapter]} times as much")
        small += "" if rate == 1.0 else f"; {rate:.2g} of that: the task's"
        rates = {path: (float(f"{value * share:.3g}"), small) for path, (value, _) in rates.items()}
    elif rate != 1.0:
        rates = {
            path: (float(f"{value * rate:.3g}"), f"{rate:.2g} of the usual: the task's")
            for path, (value, _) in rates.items()
        }
    return {
        "training.objective.kind": (objective or MODELS[model.kind].objectives[0], "what this family learns from"),
        "training.row_tokens": (row, "the model's window, at most 512"),
        "training.steps": (steps, f"{tokens:,.0f} tokens in batches of {batch:,}"),
        "training.global_batch_tokens": (batch, "grows with the tokens of the run"),
        "training.micro_batch": (fitting_rows(model, rows, memory_bytes, row), "fits into memory"),
        "training.precision": (precision, "measured on this machine"),
        "training.optimizer.kind": (optimizer, "small steps need no more" if pretrained else "needs the fewest steps"),
        **rates,
        **derive_schedule(steps, optimizer, schedule),
        "training.evaluate_every_steps": (max(1, steps // MEASUREMENTS), f"{MEASUREMENTS} measurements on the way"),
    }


def derive_rates(family: str, optimizer: str, batch_tokens: int) -> dict[str, tuple[Any, str]]:
    """Full learning rates for fresh weights.

    Args:
        family: kind of the model.
        optimizer: its kind; one that is not known gets AdamW's rate.
        batch_tokens: of an update; rates are known for 2,048 and grow with the root.
    """
    growth, full = math.sqrt(batch_tokens / 2048), RATES.get(family, USUAL_RATES)
    why = "grows with the root of the batch"
    if optimizer == "muon":
        return {
            "training.optimizer.adamw_learning_rate": (round(full.beside_muon * growth, 6), why),
            "training.optimizer.learning_rate": (round(full.muon * growth, 5), why),
        }
    times, source = TIMES_ADAMW.get(optimizer, TIMES_ADAMW["adam"])
    return {"training.optimizer.learning_rate": (round(full.adamw * times * growth, 6), f"{source}; {why}")}


def derive_schedule(steps: int, optimizer: str, kind: str | None = None) -> Derived:
    """The schedule section.

    Args:
        steps: of the run.
        optimizer: its kind; a schedule-free one averages weights where others lower the rate.
        kind: of the schedule, when the user chose one.
    """
    if optimizer == "schedule_free_adamw":
        chosen, why = "constant", "the optimizer's average takes the place of a falling rate"
    else:
        chosen, why = "wsd", "a longer run can go on from its stable part"
    if (kind or chosen) == "one_cycle":
        warmup, share = max(1, round(0.3 * steps)), "three tenths of the steps go up"
    else:
        warmup, share = max(1, min(40, steps // 10)), "a tenth of the steps, at most 40"
    return {
        "training.schedule.kind": (kind or chosen, why),
        "training.schedule.warmup_steps": (min(steps - 1, warmup), share),
    }


def fitting_rows(model: ModelConfig, rows: int, memory_bytes: float, row_tokens: int | None = None) -> int:
    """Rows of a micro-batch: all of them, halved until a rough count of activations fits into a third of the memory.

    Args:
        model: what is trained.
        rows: of an update.
        memory_bytes: what there is.
        row_tokens: length of a row; default max_seq_len.
    """
    per_token = 4 * (model.activations_per_token + 4 * model.vocab_size)
    while rows > 1 and rows * (row_tokens or model.max_seq_len) * per_token > memory_bytes / 3:
        rows = -(-rows // 2)
    return rows


def train_defaults(derived: Derived) -> TrainingConfig:
    """The training section when the user said nothing at all."""
    tree: dict[str, Any] = {}
    for path, (value, _) in derived.items():
        for name in reversed(path.split(".")):
            value = {name: value}
        tree = merge(tree, value)
    return build(TrainingConfig, tree["training"], where="training")
