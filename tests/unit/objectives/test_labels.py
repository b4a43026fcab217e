"""Telling labels, and weighted causal loss, beside plain definitions; packed texts are as they are alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from stepwell.data import Packer, TokenSplit
from stepwell.models import (
    DecoderConfig,
    EncoderConfig,
    LanguageModel,
    NgramFeaturesConfig,
    TaskHeadConfig,
    build_model,
)
from stepwell.objectives import CausalConfig, CrossEntropyConfig, LabelsConfig, build_objective, causal_loss
from stepwell.objectives.fused_loss import fused_loss
from stepwell.objectives.labels import label_losses
from stepwell.objectives.losses import token_losses
from stepwell.optimization import AdamWConfig, WSDConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer
from stepwell.training import TrainingConfig, Updater

CPU = torch.device("cpu")
SHAPE = {"vocab_size": 257, "max_seq_len": 24, "num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 2,
         "head_dim": 8, "d_ff": 24}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


def model_of(kind: str = "encoder", **head: Any) -> LanguageModel:
    config = (EncoderConfig if kind == "encoder" else DecoderConfig)(
        **SHAPE, task_head=TaskHeadConfig(**{"num_outputs": 3, "dropout": 0.0, **head})
    )
    return filled(build_model(config, seed=0))


def filled(model: LanguageModel) -> LanguageModel:
    """With numbers where weights begin as zeros, so that everything matters."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def split_of(of_document: dict[str, Any] | None = None, aligned: dict[str, Any] | None = None) -> TokenSplit:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 18, size=30)
    total = int(lengths.sum())
    aligned = {name: values[:total] for name, values in (aligned or {}).items()}
    offsets = np.cumsum([0, *lengths])
    return TokenSplit(rng.integers(1, 250, total), offsets, lengths, aligned=aligned,
                      of_document=of_document or {}, whole=True)  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_beside_those_of_torch(smoothing: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 4)
    classes = torch.randint(4, (7,))
    found = label_losses(logits, classes, LabelsConfig(label_smoothing=smoothing))
    pairs = zip(logits, classes, strict=True)
    wanted = [cross_entropy(one[None], right[None], label_smoothing=smoothing) for one, right in pairs]
    torch.testing.assert_close(found, torch.stack(wanted))
    flags = torch.randint(2, (7, 4)).float()
    config = LabelsConfig(loss="binary_cross_entropy", label_smoothing=smoothing)
    right = torch.where(flags > 0, 1 - smoothing / 2, smoothing / 2)
    wanted = binary_cross_entropy_with_logits(logits, right, reduction="none").sum(1)
    torch.testing.assert_close(label_losses(logits, flags, config), wanted)
    numbers = torch.randn(7)
    found = label_losses(logits[:, :1], numbers, LabelsConfig(loss="mean_squared_error"))
    torch.testing.assert_close(found, (logits[:, 0] - numbers) ** 2)


LABELS = {
    "cross_entropy": (np.arange(30) % 3, {}),
    "binary_cross_entropy": ((np.arange(90).reshape(30, 3) % 4 == 1).astype(np.float32), {}),
    "mean_squared_error": (np.linspace(-2, 2, 30).astype(np.float32), {"num_outputs": 1}),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("loss", list(LABELS))
def test_packed_texts_cost_what_they_cost_alone(loss: Any, kind: str, weighted: bool, tokenizer: Any) -> None:
    """The loss of a batch is the sum over its texts, each by its weight; and so is the gradient."""
    labels, head = LABELS[loss]
    weights = np.linspace(0, 3, 30).astype(np.float32) if weighted else np.ones(30, np.float32)
    split = split_of({"label": labels, **({"weight": weights} if weighted else {})})
    model = model_of(kind, **head, ngrams=NgramFeaturesConfig(num_buckets=32))
    config = LabelsConfig(loss=loss)
    objective = build_objective(config, tokenizer)
    batch = Packer(split, 24, seed=0).batch(0, Packer(split, 24, seed=0).row_count(0))
    examples = objective.prepare(batch, seed=0)
    assert examples.num_targets == 30
    together = objective.loss(model, examples, CPU)
    alone: Any = 0.0
    for number in range(30):
        ids = torch.from_numpy(split.document(number)[:-1].astype(np.int64))[None]
        logits = model.task_head(model.hidden(ids), ids, torch.zeros_like(ids), 1)  # type: ignore[misc]
        right = torch.from_numpy(np.asarray(labels)[number : number + 1])
        alone = alone + label_losses(logits, right, config).sum() * float(weights[number])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)
    learning = [one for one in model.parameters() if one.requires_grad]
    ours = torch.autograd.grad(together, learning, allow_unused=True)
    theirs = torch.autograd.grad(alone, learning, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


def test_labels_of_tokens_count_where_there_is_one(tokenizer: Any, in_float64: Any) -> None:
    """0 is no label; each token weighs what its text weighs."""
    marks = np.random.default_rng(3).integers(0, 4, size=600).astype(np.int16)
    weights = np.linspace(0.5, 2, 30).astype(np.float32)
    split = split_of({"text": np.arange(30), "weight": weights}, {"label": marks})
    model = in_float64(model_of(pooling="each"))
    objective = build_objective(LabelsConfig(), tokenizer)
    packer = Packer(split, 24, seed=0)
    examples = objective.prepare(packer.batch(0, packer.row_count(0)), seed=0)
    inputs = [slice(split.offsets[n], split.offsets[n + 1] - 1) for n in range(30)]
    assert examples.num_targets == sum(int((split.aligned["label"][here] > 0).sum()) for here in inputs)
    plain = torch.zeros(())
    for number, here in enumerate(inputs):
        ids = torch.from_numpy(split.token_ids[here].astype(np.int64))[None]
        logits = model.task_head(model.hidden(ids), ids, torch.zeros_like(ids), 1)[0]  # type: ignore[misc]
        labels = torch.from_numpy(split.aligned["label"][here].astype(np.int64))
        there = labels > 0
        plain = plain + cross_entropy(logits[there], labels[there] - 1, reduction="sum") * float(weights[number])
    torch.testing.assert_close(objective.loss(model, examples, CPU), plain, atol=1e-6, rtol=1e-6, check_dtype=False)


def test_a_model_without_a_head_is_refused(tokenizer: Any) -> None:
    objective = build_objective(LabelsConfig(), tokenizer)
    examples = objective.prepare(Packer(split_of({"label": np.arange(30) % 3}), 24, seed=0).batch(0, 2), seed=0)
    with pytest.raises(TypeError, match="without a task head"):
        objective.loss(build_model(EncoderConfig(**SHAPE), seed=0), examples, CPU)


@pytest.mark.parametrize("chunk", [2**23, 400])
@pytest.mark.parametrize(
    "config", [CrossEntropyConfig(), CrossEntropyConfig(label_smoothing=0.1, z_loss=0.01)], ids=str
)
def test_weighted_fused_loss_beside_the_plain_one(config: Any, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradients, in one chunk and in many; a weight of 0 is as if the row were not there."""
    monkeypatch.setattr("stepwell.objectives.fused_loss.CHUNK_LOGITS", chunk)
    model = filled(build_model(DecoderConfig(**SHAPE), seed=1))
    torch.manual_seed(0)
    targets, weights = torch.randint(257, (11,)), torch.rand(11) * 2
    weights[4] = 0
    found = []
    hidden = torch.randn(11, 16, requires_grad=True)
    for fast in (True, False):
        output = model.output()
        if fast:
            loss = fused_loss(hidden, output, targets, config, weights)
        else:
            logits = hidden @ output.weight.mT if output.bias is None else hidden @ output.weight.mT + output.bias
            loss = (token_losses(logits, targets, config) * weights).sum()
        found.append((loss, *torch.autograd.grad(loss, (hidden, output.weight))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not found[0][1][4].any()
    assert found[0][1][3].any()


def test_weights_of_tokens_reach_the_causal_loss(tokenizer: Any) -> None:
    """Through packed rows: each prediction counts by the weight that stands at the token that makes it."""
    weights = np.random.default_rng(2).choice([0.0, 0.5, 2.0], size=600).astype(np.float32)
    split = split_of(aligned={"weight": weights})
    model = filled(build_model(DecoderConfig(**SHAPE), seed=1))
    objective = build_objective(CausalConfig(), tokenizer)
    packer = Packer(split, 24, seed=0)
    batch = packer.batch(0, packer.row_count(0))
    examples = objective.prepare(batch, seed=0)
    plain, counted = 0.0, 0
    for number in range(30):
        here = slice(split.offsets[number], split.offsets[number + 1] - 1)
        ids = torch.from_numpy(split.document(number).astype(np.int64))
        with torch.no_grad():
            logits = model.unembed(model.hidden(ids[None, :-1]))[0]
        losses = cross_entropy(logits, ids[1:], reduction="none").numpy()
        plain += float((losses * split.aligned["weight"][here]).sum())
        counted += int((split.aligned["weight"][here] > 0).sum())
    assert examples.num_targets == counted
    assert objective.loss(model, examples, CPU).item() == pytest.approx(plain, rel=1e-5)
    unweighted = Packer(split_of(), 24, seed=0).batch(0, packer.row_count(0))
    assert plain != pytest.approx(causal_loss(model, unweighted, CPU).item(), rel=0.01)


def test_an_update_with_weights_learns_what_weighs(tokenizer: Any) -> None:
    """Of documents that contradict each other, those that weigh nothing are as if they were not there."""
    ids = np.tile(np.array([0, 7, 11, 0, 7, 13]), 60)
    weights = np.repeat(np.where(ids.reshape(-1, 3)[:, 2] == 11, 2.0, 0.0), 3).astype(np.float32)
    split = TokenSplit(ids.astype(np.uint16), np.arange(0, 361, 3), np.full(120, 3), aligned={"weight": weights})
    model = build_model(DecoderConfig(**SHAPE), seed=1)
    training = TrainingConfig(steps=20, global_batch_tokens=8 * 24, micro_batch=3, precision="float32",
                              optimizer=AdamWConfig(learning_rate=0.02), schedule=WSDConfig(warmup_steps=0),
                              evaluate_every_steps=20)  # fmt: skip
    updater = Updater(model, Packer(split, 24, seed=0), training, build_objective(CausalConfig(), tokenizer), seed=0)
    for step in range(20):
        updater.update(step, step * updater.rows_per_step, 1.0)
    with torch.no_grad():
        chances = model.unembed(model.eval().hidden(torch.tensor([[0, 7]])))[0, -1].softmax(-1)
    assert chances[11] > 0.9
    assert chances[13] < 0.02
