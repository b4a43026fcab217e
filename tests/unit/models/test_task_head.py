"""A head over hidden states: pooled texts, their n-grams, what is saved, and what an adapter leaves alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.errors import ConfigError
from stepwell.models import (
    DecoderConfig,
    EncoderConfig,
    FeedForwardConfig,
    LanguageModel,
    LoRAConfig,
    NgramFeaturesConfig,
    TaskHead,
    TaskHeadConfig,
    add_adapter,
    build_model,
    pooled,
)
from stepwell.models.task_head import hashed_ngrams
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

SHAPE = {"vocab_size": 257, "max_seq_len": 32, "num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 2,
         "head_dim": 8, "d_ff": 24}  # fmt: skip
NGRAMS = NgramFeaturesConfig(max_n=3, num_buckets=64)
TEXTS = [[3, 1, 4, 1, 5, 9], [2, 6], [5], [3, 5, 8, 9, 7, 9, 3, 2, 3]]


def model_with(head: TaskHeadConfig, kind: str = "encoder", **shape: Any) -> LanguageModel:
    config = (EncoderConfig if kind == "encoder" else DecoderConfig)(**{**SHAPE, **shape}, task_head=head)
    model = build_model(config, seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def packed() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """TEXTS in two rows of 12 with padding: tokens, documents of each row, pieces of all."""
    token_ids, documents = torch.zeros(2, 12, dtype=torch.int64), torch.zeros(2, 12, dtype=torch.int64)
    pieces = torch.full((2, 12), len(TEXTS))
    for row, several in enumerate(([0, 1, 2], [3])):
        at = 0
        for place, number in enumerate(several):
            here = slice(at, at + len(TEXTS[number]))
            token_ids[row, here], documents[row, here], pieces[row, here] = torch.tensor(TEXTS[number]), place, number
            at = here.stop
        documents[row, at:] = len(several)
    return token_ids, documents, pieces


def told(model: LanguageModel, text: list[int]) -> torch.Tensor:
    ids = torch.tensor([text])
    assert model.task_head is not None
    out: torch.Tensor = model.task_head(model.hidden(ids), ids, torch.zeros_like(ids), 1)
    return out[0]


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("ngrams", [None, NGRAMS], ids=["plain", "ngrams"])
@pytest.mark.parametrize("pooling", ["mean", "first", "last", "each"])
def test_packed_texts_are_told_as_alone(pooling: Any, ngrams: Any, kind: str) -> None:
    model = model_with(TaskHeadConfig(num_outputs=5, pooling=pooling, ngrams=ngrams), kind)
    token_ids, documents, pieces = packed()
    assert model.task_head is not None
    together = model.task_head(model.hidden(token_ids, documents), token_ids, pieces, len(TEXTS))
    for number, text in enumerate(TEXTS):
        here = together[pieces == number] if pooling == "each" else together[number]
        torch.testing.assert_close(here, told(model, text), atol=2e-6, rtol=1e-5)
    if pooling != "each":
        assert together.shape == (len(TEXTS), 5)
        distinct = (
            TEXTS[:3] if pooling == "first" and kind == "decoder" and ngrams is None else TEXTS
        )  # two begin alike
        assert len({round(one, 5) for one in together[:, 0].tolist()}) == len(distinct)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_pooling_beside_the_plain_definition(pooling: str) -> None:
    _, _, pieces = packed()
    hidden = torch.randn(2, 12, 7, generator=torch.Generator().manual_seed(1))
    found = pooled(hidden, pieces, len(TEXTS), pooling)
    for number in range(len(TEXTS)):
        mine = hidden[pieces == number]
        plain = {"mean": mine.mean(0), "first": mine[0], "last": mine[-1]}[pooling]
        torch.testing.assert_close(found[number], plain)


@pytest.mark.parametrize("max_n", [1, 2, 3, 5])
def test_ngrams_never_cross_texts(max_n: int) -> None:
    """As many as a plain walk over each text finds, and alike where the n-grams are alike."""
    token_ids, _, pieces = packed()
    owners, buckets = hashed_ngrams(token_ids, pieces, len(TEXTS), max_n, 1 << 40)
    of_gram: dict[tuple[int, ...], int] = {}
    for number, text in enumerate(TEXTS):
        grams = [tuple(text[at : at + n]) for n in range(1, max_n + 1) for at in range(len(text) - n + 1)]
        mine = buckets[owners == number].tolist()
        assert len(mine) == len(grams)
        for gram, bucket in zip(grams, mine, strict=True):
            assert of_gram.setdefault(gram, bucket) == bucket
    assert len(set(of_gram.values())) == len(of_gram)
    rows = [(torch.tensor([text]), torch.zeros(1, len(text), dtype=torch.int64)) for text in TEXTS]
    alone = [hashed_ngrams(ids, here, 1, max_n, 64)[1] for ids, here in rows]
    _, shared = hashed_ngrams(token_ids, pieces, len(TEXTS), max_n, 64)
    assert Counter(shared.tolist()) == Counter(torch.cat(alone).tolist())
    assert int(shared.max()) < 64


def test_hashing_spreads() -> None:
    ids = torch.randint(257, (8, 500), generator=torch.Generator().manual_seed(0))
    _, buckets = hashed_ngrams(ids, torch.zeros_like(ids), 1, 3, 1 << 18)
    grams = len({tuple(row[at : at + n]) for row in ids.tolist() for n in (1, 2, 3) for at in range(len(row) - n + 1)})
    used = len(set(buckets.tolist()))
    assert used > 0.97 * grams  # with 8,000 in 262,144 buckets about 1.5 % meet by chance


def test_weights_of_ngrams_are_a_linear_model() -> None:
    """The sum of the weights of a text's n-grams over the root of their number, beside what the hidden states say."""
    head = TaskHead(TaskHeadConfig(num_outputs=3, dropout=0.0, ngrams=NGRAMS), width=4).eval()
    assert head.table is not None
    token_ids, _, pieces = packed()
    hidden = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(2))
    before = head(hidden, token_ids, pieces, len(TEXTS))
    with torch.no_grad():
        head.table.weight.normal_(generator=torch.Generator().manual_seed(3))
    found = head(hidden, token_ids, pieces, len(TEXTS)) - before
    owners, buckets = hashed_ngrams(token_ids, pieces, len(TEXTS), 3, 64)
    for number in range(len(TEXTS)):
        mine = buckets[owners == number]
        plain = head.table.weight[mine].sum(0) / len(mine) ** 0.5
        torch.testing.assert_close(found[number], plain, atol=1e-5, rtol=1e-5)


def test_dropout_is_for_training_alone() -> None:
    head = TaskHead(TaskHeadConfig(num_outputs=3, dropout=0.5, ngrams=NGRAMS.model_copy(update={"dropout": 0.5})), 4)
    with torch.no_grad():
        head.table.weight.normal_()  # type: ignore[union-attr]
    token_ids, _, pieces = packed()
    hidden = torch.randn(2, 12, 4)
    out = [head(hidden, token_ids, pieces, len(TEXTS)) for _ in range(2)]
    assert not torch.equal(*out)
    head.eval()
    out = [head(hidden, token_ids, pieces, len(TEXTS)) for _ in range(2)]
    assert torch.equal(*out)


@pytest.mark.parametrize(
    "head",
    [
        TaskHeadConfig(num_outputs=4),
        TaskHeadConfig(num_outputs=4, ngrams=NGRAMS),
        TaskHeadConfig(num_outputs=4, pooling="each", transitions=True, ngrams=NGRAMS),
    ],
    ids=["plain", "ngrams", "transitions"],
)
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_parameters_are_counted_and_saved(head: TaskHeadConfig, kind: str, tmp_path: Path) -> None:
    model = model_with(head, kind)
    assert model.task_head is not None
    assert sum(one.numel() for one in model.task_head.parameters()) == head.num_parameters(16)
    assert sum(one.numel() for one in model.parameters()) == model.config.num_parameters
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    save_checkpoint(tmp_path / "model", model, tokenizer, provenance={})
    again = load_checkpoint(tmp_path / "model").model
    assert again.config == model.config
    for (name, one), (_, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name
    assert torch.equal(told(model, TEXTS[0]), told(again.eval(), TEXTS[0]))


def test_every_parameter_of_the_head_learns() -> None:
    model = model_with(TaskHeadConfig(num_outputs=4, ngrams=NGRAMS)).train()
    told(model, TEXTS[3]).square().sum().backward()
    assert model.task_head is not None
    for name, parameter in model.task_head.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any(), name
    assert model.task_head.table is not None
    rows = model.task_head.table.weight.grad.any(1).nonzero().flatten().tolist()  # type: ignore[union-attr]
    _, buckets = hashed_ngrams(torch.tensor([TEXTS[3]]), torch.zeros(1, 9, dtype=torch.int64), 1, 3, 64)
    assert rows == sorted(set(buckets.tolist()))


def test_beside_an_adapter_the_whole_head_learns_and_nothing_else_of_the_model(tmp_path: Path) -> None:
    model = model_with(TaskHeadConfig(num_outputs=4, ngrams=NGRAMS))
    before = told(model, TEXTS[0]).detach()
    add_adapter(model, LoRAConfig(rank=2), seed=0)
    assert torch.allclose(told(model, TEXTS[0]), before)  # a LoRA begins with nothing
    learning = {name for name, one in model.named_parameters() if one.requires_grad}
    heads = {name for name in learning if name.startswith("task_head.")}
    assert heads == {"task_head.map.weight", "task_head.map.bias", "task_head.table.weight"}
    assert all(name.endswith((".lora_a", ".lora_b")) for name in learning - heads)
    assert learning > heads
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in learning:
                parameter += 0.1
    after = told(model, TEXTS[0]).detach()
    save_checkpoint(tmp_path / "model", model, train_tokenizer([], ByteBPEConfig(vocab_size=257)), provenance={})
    torch.testing.assert_close(told(load_checkpoint(tmp_path / "model").model.eval(), TEXTS[0]).detach(), after)
    assert not torch.allclose(after, before)


def test_a_family_that_learns_no_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="not for this family") as caught:
        build_model(
            FeedForwardConfig(vocab_size=257, max_seq_len=8, context_size=2, d_embedding=4, d_hidden=4,
                              task_head=TaskHeadConfig(num_outputs=2)), seed=0)  # fmt: skip
    assert "encoder" in str(caught.value)


def test_a_head_does_not_change_what_the_model_is_without_it() -> None:
    """The same seed gives the same weights beside the head, whatever the head."""
    plain = build_model(EncoderConfig(**SHAPE), seed=3).state_dict()
    headed = build_model(EncoderConfig(**SHAPE, task_head=TaskHeadConfig(num_outputs=9)), seed=3).state_dict()
    assert set(headed) - set(plain) == {"task_head.map.weight", "task_head.map.bias"}
    assert all(torch.equal(headed[name], one) for name, one in plain.items())
    assert np.isfinite(headed["task_head.map.weight"].numpy()).all()
