"""Stochastic depth does what its paper says, and computing activations again changes no bit but the memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from stepwell.errors import UsageError
from stepwell.models import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    LanguageModel,
    ModelConfig,
    RecurrentConfig,
    build_model,
)
from stepwell.models.stack import Block
from stepwell.nn import attend

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "max_seq_len": 16,
    "num_layers": 4,
    "d_model": 32,
    "num_heads": 4,
    "num_kv_heads": 4,
    "head_dim": 8,
    "d_ff": 48,
}
HALVES: dict[str, type[ModelConfig]] = {
    "decoder": DecoderConfig,
    "encoder": EncoderConfig,
    "encoder_decoder": EncoderDecoderConfig,
}
PLACEMENTS = ["pre", "post", "output", "sandwich"]


def model_of(kind: str, **choice: Any) -> LanguageModel:
    """With weights of which each matters, ready to train."""
    model = build_model(HALVES[kind](**{**SIZES, **choice}), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.train()


def some_ids(rows: int = 3, length: int = 16) -> tuple[Tensor, Tensor]:
    """Token ids and documents of packed rows."""
    ids = torch.randint(0, 50, (rows, length), generator=torch.Generator().manual_seed(2))
    return ids, (torch.arange(length) > 9).long().expand(rows, -1)


def gradients(model: LanguageModel, half: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(3)
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = model(*some_ids()).logsumexp(-1).sum()
        auxiliary = model.auxiliary_loss()
        loss = loss if auxiliary is None else loss + auxiliary
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        ("decoder", {"dropout": 0.2, "attention_dropout": 0.1, "stochastic_depth": 0.5}),
        ("decoder", {"experts": {"num_experts": 3, "d_ff": 16}, "dropout": 0.2}),
        ("decoder", {"window": 4, "layer_pattern": ("window", "full"), "positions": {"kind": "alibi"}}),
        ("encoder", {"dropout": 0.2, "attention_dropout": 0.1}),
        ("encoder_decoder", {"dropout": 0.2, "positions": {"kind": "relative"}}),
    ],
    ids=str,
)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_activations_that_are_computed_again_give_the_same_bits(kind, choice, half):
    plain, again = model_of(kind, **choice), model_of(kind, **choice)
    again.checkpoint_activations()
    (loss, wanted), (other, got) = gradients(plain, half), gradients(again, half)
    assert torch.equal(loss, other)
    assert wanted.keys() == got.keys()
    for name, gradient in wanted.items():
        assert torch.equal(got[name], gradient), name


def peak_bytes(model: LanguageModel, length: int) -> int:
    """The most that a forward and a backward hold at a time beyond what there was, by counting every allocation."""
    ids = torch.randint(0, 50, (4, length))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        model(ids).logsumexp(-1).sum().backward()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def test_memory_grows_by_what_goes_into_a_block_alone():
    """Of a block that keeps everything some 20 vectors a token stay; of one that computes again, one."""
    deep = {"num_layers": 12, "max_seq_len": 128, "tie_embeddings": True}
    plain, again = model_of("decoder", **deep), model_of("decoder", **deep)
    again.checkpoint_activations()
    for model in (plain, again):
        gradients(model)  # gradients have their place before anything is counted
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
    full, less = peak_bytes(plain, 128), peak_bytes(again, 128)
    streams = 12 * 4 * 128 * 32 * 4  # what goes into each of 12 blocks: 4 rows of 128 tokens of 32 channels
    assert streams < less < 0.4 * full  # of the rest, a block of attention weights is the most


def test_nothing_is_computed_again_while_measuring(monkeypatch):
    model = model_of("decoder")
    model.checkpoint_activations()
    runs: list[int] = []
    forward = Block.forward
    monkeypatch.setattr(Block, "forward", lambda self, *given: (runs.append(1), forward(self, *given))[1])
    gradients(model)
    assert len(runs) == 8  # of 4 blocks, twice
    model.eval()
    gradients(model)
    assert len(runs) == 12
    model.train()
    with torch.no_grad():
        model(*some_ids())
    assert len(runs) == 16


def test_a_model_without_blocks_says_so():
    model = build_model(
        RecurrentConfig(kind="lstm", vocab_size=9, max_seq_len=8, num_layers=1, d_model=8, d_embedding=8)
    )
    with pytest.raises(UsageError, match=r"(?s)training\.checkpoint_activations.*kind lstm"):
        model.checkpoint_activations()


def test_a_run_ends_with_the_same_bits(make_trainer, tmp_path):
    """Dropout, micro-batches and all."""
    for name, again in (("plain", False), ("again", True)):
        made = make_trainer(tmp_path / name, {"steps": 4, "checkpoint_activations": again}, {"stochastic_depth": 0.3})
        assert made.model.body.checkpoint_activations == again
        made.run()
    for file in (tmp_path / "plain/checkpoints/step-000004").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again/checkpoints/step-000004" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("kind", HALVES)
def test_the_deeper_the_block_the_more_often_it_is_skipped(kind):
    model = model_of(kind, stochastic_depth=0.4)
    ratios = [block.skip_ratio for block in model.modules() if isinstance(block, Block)]
    assert ratios == pytest.approx([0.1, 0.2, 0.3, 0.4] * (2 if kind == "encoder_decoder" else 1))


@pytest.mark.parametrize(("placement", "parallel"), [*((placement, False) for placement in PLACEMENTS), ("pre", True)])
def test_a_row_gets_all_of_a_block_scaled_or_nothing(placement, parallel):
    """By the rule written out, for one block: x, or x + (what it adds) / (1 - ratio)."""
    model = model_of("decoder", num_layers=1, stochastic_depth=0.5, norm_placement=placement, parallel=parallel)
    block = model.body.blocks[0]
    x = torch.randn(64, 5, 32, generator=torch.Generator().manual_seed(0))

    def add(x: Tensor, given: Tensor, part: str, kept: Tensor) -> Tensor:
        norm = getattr(block, f"{part}_out_norm" if placement == "sandwich" else f"{part}_norm")
        if placement in ("output", "sandwich"):
            given = norm(given)
        x = x + given * kept
        return norm(x) if placement == "post" else x

    with torch.no_grad():
        torch.manual_seed(5)
        got = block(x, None, None, None, 0, None)
        torch.manual_seed(5)
        kept = (torch.rand(64, 1, 1) >= 0.5) * 2.0
        before = placement in ("pre", "sandwich")
        attended = block.attention(block.attention_norm(x) if before else x)
        if parallel:
            wanted = x + (attended + block.mlp(block.mlp_norm(x))) * kept
        else:
            wanted = add(x, attended, "attention", kept)
            wanted = add(wanted, block.mlp(block.mlp_norm(wanted) if before else wanted), "mlp", kept)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert 16 < int((kept == 0).sum()) < 48
    if placement != "post":
        assert torch.equal(got[kept[:, 0, 0] == 0], x[kept[:, 0, 0] == 0]), "a row that is skipped stays as it is"


@pytest.mark.parametrize("kind", HALVES)
def test_measuring_knows_nothing_of_it(kind):
    ids, documents = some_ids()
    with torch.no_grad():
        wanted = model_of(kind).eval()(ids, documents)
        assert torch.equal(model_of(kind, stochastic_depth=0.9).eval()(ids, documents), wanted)
        torch.manual_seed(0)
        assert not torch.equal(model_of(kind, stochastic_depth=0.9)(ids, documents), wanted)


def test_on_average_a_row_gets_what_the_block_adds():
    model = model_of("decoder", num_layers=1, stochastic_depth=0.3)
    block, x = model.body.blocks[0], torch.randn(1, 4, 32).expand(4000, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        kept = block._kept(x)
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.03)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.7])


DROPOUTS = ["dropout", "attention_dropout", "embedding_dropout"]


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("kind", HALVES)
def test_dropout_is_for_training_alone(kind, name):
    ids, documents = some_ids()
    with torch.no_grad():
        wanted, model = model_of(kind).eval()(ids, documents), model_of(kind, **{name: 0.5})
        assert torch.equal(model.eval()(ids, documents), wanted)
        torch.manual_seed(0)
        assert not torch.allclose(model.train()(ids, documents), wanted, atol=0.1)


def test_what_dropout_leaves_is_as_much_as_before_on_average():
    """Of what a block adds, and of the vectors of tokens: 0, or the value divided by the share that stays."""
    model = model_of("decoder", dropout=0.2, embedding_dropout=0.4, embedding_norm=False)
    ones = torch.ones(4, 100, 32)
    torch.manual_seed(0)
    for dropped, ratio in ((model.body.blocks[0]._drop(ones), 0.2), (model.body._ready(ones), 0.4)):
        assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - ratio)])
        assert float((dropped == 0).float().mean()) == pytest.approx(ratio, abs=0.02)


@pytest.mark.parametrize("softcap", [None, 10.0], ids=["fused", "in full"])
def test_attention_drops_weights(softcap):
    """Of values that are all 1 the mean is 1; with a share of the weights gone it is so on average alone."""
    queries, keys = torch.randn(2, 8, 4, 64, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    attended = attend(queries, keys, torch.ones_like(keys), causal=True, softcap=softcap, dropout_ratio=0.3)
    assert float(attended.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(attended.std()) > 0.1
