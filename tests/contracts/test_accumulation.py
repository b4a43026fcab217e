"""Gradient accumulation is the big batch: a sum over all targets that count, divided by their number, whatever the cut.

The truth is the closed form: every example of the global batch in one pass, in float64, the loss of each target written
out. Rows differ much in how many targets they have, and a test shows that the mean of the micro-batches' means, which
trainers were found to compute, is far from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepwell.data import Batch
from stepwell.hardware import Precision
from stepwell.models import MODELS, LanguageModel, build_model
from stepwell.objectives import (
    OBJECTIVES,
    CausalConfig,
    CrossEntropyConfig,
    DenoisingConfig,
    LossConfig,
    MaskedConfig,
    MeanSquaredErrorConfig,
    Objective,
    ObjectiveConfig,
    PrefixConfig,
    SequenceToSequenceConfig,
    SpanCorruptionConfig,
    build_objective,
)
from stepwell.optimization import OPTIMIZERS, AdamWConfig, WSDConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer
from stepwell.training import TrainingConfig, Update, Updater

T = 16
DOCUMENTS = [[16], [1], [5, 9], [2], [3, 3, 3], [8, 8], [1]]
"""Tokens of each document of each row; what is left of a row is padding. Rows have from 1 to 16 targets."""

SMOOTHED = CrossEntropyConfig(label_smoothing=0.1, z_loss=0.01)

CHOICES: dict[str, ObjectiveConfig] = {
    "causal": CausalConfig(loss=SMOOTHED),
    "masked": MaskedConfig(mask_ratio=0.5, loss=SMOOTHED),
    "span_corruption": SpanCorruptionConfig(corruption_ratio=0.4, mean_span_tokens=2.0, loss=SMOOTHED),
    "denoising": DenoisingConfig(loss=SMOOTHED),
    "prefix": PrefixConfig(loss=SMOOTHED),
    "sequence_to_sequence": SequenceToSequenceConfig(loss=SMOOTHED),
}
"""For each kind of objective what it is told. Whoever adds an objective adds a row, here and in `ORACLES`."""

OF_TASKS = {
    "contrastive": "test_contrastive",
    "distillation": "test_distillation",
    "grpo": "test_grpo",
    "labels": "test_labels",
    "pairs": "test_pairs",
    "preference": "test_preference",
    "span": "test_spans",
}
"""Objectives that need more than plain rows, and where they are compared with truths of their own."""

CASES = [
    (kind, objective)
    for kind, family in MODELS.items()
    for objective in family.objectives
    if kind != "ngram" and objective not in OF_TASKS
]

Judged = tuple[Tensor, Tensor, Tensor]
"""Logits (B, T, V), targets (B, T), and which of them count (B, T)."""


def read_causal(model: LanguageModel, rows: Any) -> Judged:
    return model(tensor(rows.token_ids), tensor(rows.document_ids)), tensor(rows.targets), tensor(rows.loss_mask)


def read_masked(model: LanguageModel, rows: Any) -> Judged:
    return model(tensor(rows.token_ids), tensor(rows.document_ids)), tensor(rows.targets), tensor(rows.hidden)


def read_prefix(model: LanguageModel, rows: Any) -> Judged:
    """One document at a time, as `read_pairs` does."""
    judged: list[Judged] = []
    for row in range(len(rows.targets)):
        for number in sorted(set(rows.document_ids[row][rows.counted[row]].tolist())):
            own = rows.document_ids[row] == number
            token_ids, prefix = tensor(rows.token_ids[row][own][None]), tensor(rows.prefix[row][own][None])
            logits = model.unembed(model.hidden(token_ids, prefix=prefix))
            judged.append((logits[0], tensor(rows.targets[row][own]), tensor(rows.counted[row][own])))
    logits, targets, counted = (torch.cat(parts) for parts in zip(*judged, strict=True))
    return logits, targets, counted


def read_pairs(model: LanguageModel, rows: Any) -> Judged:
    """Each target against its source, one at a time: packing is not what is tested here."""
    judged: list[Judged] = []
    for row in range(len(rows.targets)):
        for number in sorted(set(rows.target_numbers[row][rows.target_numbers[row] >= 0].tolist())):
            source = tensor(rows.source_ids[row][rows.source_numbers[row] == number][None])
            target = tensor(rows.targets[row][rows.target_numbers[row] == number][None])
            written = torch.cat((torch.full((1, 1), model.config.start_ids[0]), target[:, :-1]), dim=1)
            logits = model.unembed(model.decode(written, model.encode(source)))
            judged.append((logits[0], target[0], torch.ones_like(target[0], dtype=torch.bool)))
    logits, targets, counted = (torch.cat(parts) for parts in zip(*judged, strict=True))
    return logits, targets, counted


ORACLES: dict[str, Callable[[LanguageModel, Any], Judged]] = {
    "causal": read_causal,
    "masked": read_masked,
    "span_corruption": read_pairs,
    "denoising": read_pairs,
    "prefix": read_prefix,
    "sequence_to_sequence": read_pairs,
}


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


def uneven_rows() -> Batch:
    random = np.random.default_rng(0)
    token_ids, targets = np.zeros((2, len(DOCUMENTS), T), dtype=np.int64)
    loss_mask = np.zeros((len(DOCUMENTS), T), dtype=np.bool_)
    document_ids = np.zeros((len(DOCUMENTS), T), dtype=np.int32)
    for row, lengths in enumerate(DOCUMENTS):
        document_ids[row] = np.repeat(range(len(lengths) + 1), [*lengths, T - sum(lengths)])
        loss_mask[row, : sum(lengths)] = True
        at = 0
        for length in lengths:
            ids = random.integers(6, 262, size=length + 1)
            token_ids[row, at : at + length], targets[row, at : at + length] = ids[:-1], ids[1:]
            at += length
    return Batch(token_ids, targets, loss_mask, document_ids)


class Rows:
    """A packer of these rows."""

    def batch(self, first_row: int, count: int) -> Batch:
        rows, part = uneven_rows(), slice(first_row, first_row + count)
        return Batch(rows.token_ids[part], rows.targets[part], rows.loss_mask[part], rows.document_ids[part])


class Remembering(Objective[Any]):
    """An objective that remembers the examples it made: what is hidden may depend on the cut."""

    def __init__(self, objective: Objective[Any]) -> None:
        self.objective = objective
        self.examples: list[Any] = []

    def prepare(self, batch: Batch, seed: int) -> Any:
        self.examples.append(self.objective.prepare(batch, seed))
        return self.examples[-1]

    def loss(self, model: LanguageModel, examples: Any, device: torch.device) -> Tensor:
        return self.objective.loss(model, examples, device)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    special = ("<|mask|>", *(f"<|span_{number}|>" for number in range(4)))
    return train_tokenizer([], ByteBPEConfig(vocab_size=262, special_tokens=special))


@pytest.fixture(scope="module")
def fresh(tiny_config) -> Callable[..., LanguageModel]:
    """A function from a kind, and what differs, to its first variant, with weights that matter."""

    def build(kind: str, **changes: Any) -> LanguageModel:
        config = tiny_config(kind)
        config = type(config).model_validate({**config.model_dump(), "vocab_size": 262, "dropout": 0.0, **changes})
        model = build_model(config, seed=0)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
        return model

    return build


Gradients = dict[str, Tensor]


def updated(
    model: LanguageModel,
    objective: Objective[Any],
    micro_batch: int,
    clip_norm: float = 1e9,
    precision: Precision = "float32",
) -> tuple[Update, Gradients]:
    """What an update says, and the gradient that the optimizer got."""
    config = TrainingConfig(
        steps=1,
        global_batch_tokens=len(DOCUMENTS) * T,
        micro_batch=micro_batch,
        optimizer=AdamWConfig(learning_rate=1e-3),
        schedule=WSDConfig(warmup_steps=0),
        clip_norm=clip_norm,
        precision=precision,
        evaluate_every_steps=1,
    )
    updater = Updater(model, Rows(), config, objective, seed=0)  # type: ignore[arg-type]
    found: Gradients = {}

    def remember(*_: object) -> None:
        found.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    updater.optimizers[0].register_step_pre_hook(remember)
    return updater.update(0, 0, factor=1.0), found


def joined(examples: Sequence[Any]) -> SimpleNamespace:
    """The rows of all examples, one below the other; shorter ones are padded."""
    padding = {"source_numbers": -1, "target_numbers": -2}

    def lay(name: str) -> np.ndarray:
        arrays = [getattr(each, name) for each in examples]
        width = max(array.shape[1] for array in arrays)
        return np.concatenate(
            [
                np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=padding.get(name, 0))
                for array in arrays
            ]
        )

    return SimpleNamespace(**{name: lay(name) for name in vars(examples[0]) if name not in ("aligned", "of_document")})


def judge(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """The loss of each place, the formula written out."""
    if isinstance(config, MeanSquaredErrorConfig):
        peak = torch.nn.functional.one_hot(targets, logits.shape[-1])
        weight = 1 + (config.right_weight - 1) * peak
        return (weight * (logits - config.right_logit * peak) ** 2).mean(-1)
    logprobs = logits.log_softmax(-1)
    right = logprobs.gather(-1, targets[..., None])[..., 0]
    smoothing, z = config.label_smoothing, logits.exp().sum(-1).log()
    return -(1 - smoothing) * right - smoothing * logprobs.mean(-1) + config.z_loss * z**2


def closed_form(model: LanguageModel, config: ObjectiveConfig, examples: Sequence[Any]) -> tuple[float, int, Gradients]:
    """Loss, targets that count and gradient of all examples in one pass."""
    logits, targets, counted = ORACLES[config.kind](model, joined(examples))
    loss = judge(logits, targets, config.loss)[counted].sum() / counted.sum()
    model.zero_grad(set_to_none=True)
    loss.backward()
    return (
        float(loss.detach()),
        int(counted.sum()),
        {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
    )


def distance(ours: Gradients, truth: Gradients) -> float:
    """How far two gradients are apart, as a share of the longer one; a parameter without a gradient has zeros."""
    gap = sum(squares(ours[n] - truth[n]) for n in ours.keys() & truth.keys())
    gap += sum(squares(ours.get(n, truth.get(n))) for n in ours.keys() ^ truth.keys())
    return (gap / sum(map(squares, truth.values()))) ** 0.5


def squares(gradient: Tensor) -> float:
    return float(gradient.double().square().sum())


ALL = len(DOCUMENTS)


@pytest.mark.slow_but("-2]")
@pytest.mark.parametrize("micro_batch", [1, 2, ALL])
@pytest.mark.parametrize(("kind", "choice"), CASES, ids=str)
def test_an_update_is_the_closed_form(kind, choice, micro_batch, tokenizer, fresh, in_float64):
    """In float64 nothing but the order of additions differs, which is 1e-15 here."""
    assert_closed_form(CHOICES[choice], micro_batch, tokenizer, lambda: in_float64(fresh(kind)), 1e-9)


LOSSES = {"plain": CrossEntropyConfig(), "squared": MeanSquaredErrorConfig(right_weight=3.0, right_logit=5.0)}


@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_the_loss_of_a_prediction_is(loss, tokenizer, fresh, in_float64):
    config = CausalConfig(loss=LOSSES[loss])
    assert_closed_form(config, 2, tokenizer, lambda: in_float64(fresh("decoder")), 1e-9)


@pytest.mark.parametrize("micro_batch", [1, 2, ALL])
@pytest.mark.parametrize("kind", [kind for kind in MODELS if MODELS[kind].learns == "gradient"])
def test_in_float32_it_is_as_near_as_rounding_allows(kind, micro_batch, tokenizer, fresh, in_float64):
    """What a user's run computes, against the same truth: 24 bits and sums of some hundred terms leave 1e-6 or so."""
    config, models = CHOICES[MODELS[kind].objectives[0]], iter([fresh(kind), in_float64(fresh(kind))])
    assert_closed_form(config, micro_batch, tokenizer, lambda: next(models), 1e-5)


@pytest.mark.parametrize("micro_batch", [1, ALL])
@pytest.mark.parametrize("kind", [kind for kind in MODELS if MODELS[kind].learns == "gradient"])
def test_in_half_precision_the_gradient_points_the_same_way(kind, micro_batch, tokenizer, fresh, in_float64):
    """Eight bits leave some percent of noise; what may not happen is that all of it becomes longer or shorter."""
    config = CHOICES[MODELS[kind].objectives[0]]
    objective = Remembering(build_objective(config, tokenizer))
    update, gradient = updated(fresh(kind), objective, micro_batch, precision="bfloat16")
    loss, _, truth = closed_form(in_float64(fresh(kind)), config, objective.examples)
    assert update.loss == pytest.approx(loss, rel=5e-3)
    assert distance(gradient, truth) < 0.05
    along = sum(float((gradient[name] * truth[name]).sum()) for name in truth) / sum(map(squares, truth.values()))
    assert along == pytest.approx(1, abs=5e-3)


def assert_closed_form(
    config: ObjectiveConfig, micro_batch: int, tokenizer: Tokenizer, make: Callable[[], LanguageModel], tolerance: float
) -> None:
    objective = Remembering(build_objective(config, tokenizer))
    update, gradient = updated(make(), objective, micro_batch)
    assert len(objective.examples) == -(-ALL // micro_batch)
    loss, num_targets, truth = closed_form(make(), config, objective.examples)
    assert update.num_targets == num_targets
    assert update.loss == pytest.approx(loss, rel=tolerance)
    assert update.grad_norm == pytest.approx(sum(map(squares, truth.values())) ** 0.5, rel=tolerance)
    assert distance(gradient, truth) < tolerance


def test_the_mean_of_means_is_something_else(tokenizer, fresh, in_float64):
    """Otherwise the tests above could not fail: this is what they are there to find."""
    config, model = CHOICES["causal"], in_float64(fresh("decoder"))
    means = [closed_form(model, config, [Rows().batch(row, 1)]) for row in range(ALL)]
    wrong_loss = sum(loss for loss, _, _ in means) / ALL
    wrong = {name: sum(found[name] for _, _, found in means) / ALL for name in means[0][2]}
    update, gradient = updated(in_float64(fresh("decoder")), build_objective(config, tokenizer), micro_batch=1)
    assert abs(wrong_loss - update.loss) > 0.01 * update.loss
    assert distance(wrong, gradient) > 0.3


@pytest.mark.parametrize("choice", CHOICES)
def test_rows_differ_much_in_what_counts(choice, tokenizer):
    objective = build_objective(CHOICES[choice], tokenizer)
    counts = [objective.prepare(Rows().batch(row, 1), seed=row).num_targets for row in range(len(DOCUMENTS))]
    assert max(counts) >= 3 * max(1, min(counts))


def test_every_objective_has_a_row():
    assert CHOICES.keys() == ORACLES.keys()
    assert CHOICES.keys() | OF_TASKS.keys() == OBJECTIVES.keys()
    units = Path(__file__).parents[1] / "unit" / "objectives"
    assert all((units / f"{name}.py").exists() for name in OF_TASKS.values())


@pytest.mark.parametrize("share", [1e-3, 0.5, 0.999, 1.001, 100.0])
def test_the_gradient_is_clipped_exactly_at_clip_norm(share, tokenizer, fresh, in_float64):
    """Below the limit not a bit changes; above it the direction stays, and the length is the limit (torch: to 1e-6)."""
    objective = build_objective(CHOICES["causal"], tokenizer)
    whole, gradient = updated(in_float64(fresh("decoder")), objective, 2)
    limit = share * whole.grad_norm
    clipped, left = updated(in_float64(fresh("decoder")), objective, 2, clip_norm=limit)
    assert clipped.grad_norm == whole.grad_norm
    if limit > whole.grad_norm:
        assert all(torch.equal(left[name], grad) for name, grad in gradient.items())
        return
    length = float(torch.nn.utils.get_total_norm(list(left.values())))
    assert limit * (1 - 2e-6 / min(1.0, whole.grad_norm)) <= length <= limit
    assert distance(left, {name: grad * (limit / whole.grad_norm) for name, grad in gradient.items()}) < 1e-5


def test_only_the_balance_of_experts_depends_on_the_cut(tokenizer, fresh, in_float64):
    """It judges what a forward pass used, so it is counted for each micro-batch (docs/exactness.md says how much)."""
    objective = build_objective(CHOICES["causal"], tokenizer)

    def gradient(balance: float, micro_batch: int) -> Gradients:
        experts = {"num_experts": 4, "d_ff": 24, "balance": balance}
        return updated(in_float64(fresh("decoder", experts=experts)), objective, micro_batch)[1]

    assert distance(gradient(0.0, 1), gradient(0.0, len(DOCUMENTS))) < 1e-9
    assert 0 < distance(gradient(0.01, 1), gradient(0.01, len(DOCUMENTS))) < 0.05


@pytest.mark.slow_but("muon", "lion")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_whole_run_does_not_depend_on_the_cut(optimizer, rates_of, make_trainer, in_float64, tmp_path):
    """Many updates, each on what the one before left: a difference would grow."""
    losses = []
    for micro_batch in (2, 5):
        directory = tmp_path / str(micro_batch)
        training = {**rates_of(optimizer), "steps": 8, "micro_batch": micro_batch}
        trainer = make_trainer(directory, training, model={"dropout": 0.0})
        in_float64(trainer.model)
        trainer.run()
        records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        losses.append([record["loss"] for record in records if "loss" in record])
    assert losses[0][-1] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
