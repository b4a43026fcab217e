"""LoRA beside the plain formula W + s B A, and in a tree of layers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from stepwell.nn import (
    MLP,
    Attention,
    LoRALinear,
    adapter_tensors,
    add_lora,
    load_adapter,
    merge_adapters,
    merged_tensors,
)


class Tree(nn.Module):
    """Attention and a gated MLP, and a head that no target names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = Attention(16, 4, 2, 4, qkv_bias=True)
        self.mlp = MLP(16, 24, "silu", gated=True, bias=True)
        self.head = nn.Linear(16, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.mlp(x + self.attention(x)))


EVERY = ("qkv", "out", "up", "down")


def tree(**settings) -> Tree:
    """With LoRA in it that changes something."""
    module = Tree()
    add_lora(module, **{"rank": 3, "alpha": 6.0, "targets": EVERY, **settings})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in adapter_tensors(module).items():
            if name.endswith("lora_b"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return module


def x() -> Tensor:
    return torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("stabilized", "scale"), [(False, 6.0 / 4), (True, 6.0 / 2)])
def test_a_layer_is_the_formula(stabilized, scale):
    torch.manual_seed(0)
    base = nn.Linear(8, 5).double()
    layer = LoRALinear(base, 4, 6.0, rank_stabilized=stabilized).double()
    nn.init.normal_(layer.lora_b)
    a, b = layer.lora_a.detach().clone().requires_grad_(), layer.lora_b.detach().clone().requires_grad_()
    x = torch.randn(3, 7, 8, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(3, 7, 5, dtype=torch.float64)
    plain = x @ (base.weight.detach() + scale * b @ a).mT + base.bias.detach()
    wanted = torch.autograd.grad((plain * weigh).sum(), (x, a, b))
    output = layer(x)
    found = torch.autograd.grad((output * weigh).sum(), (x, layer.lora_a, layer.lora_b))
    torch.testing.assert_close(output, plain, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_at_the_beginning_nothing_is_changed():
    module = Tree()
    before = module(x())
    add_lora(module, rank=3, alpha=6.0, targets=EVERY)
    assert torch.equal(module(x()), before)


def test_a_is_drawn_by_the_seed_as_a_linear_layer_is_drawn():
    first, same, other = (tree(seed=seed) for seed in (0, 0, 1))
    name = "mlp.up.lora_a"
    assert torch.equal(adapter_tensors(first)[name], adapter_tensors(same)[name])
    assert not torch.equal(adapter_tensors(first)[name], adapter_tensors(other)[name])
    wide = LoRALinear(nn.Linear(400, 4), 50, 1.0).lora_a.detach()
    assert wide.abs().max() <= 1 / math.sqrt(400)
    assert float(wide.std()) == pytest.approx(1 / math.sqrt(3 * 400), rel=0.03)


def test_only_a_and_b_learn():
    module = tree()
    module(x()).square().sum().backward()
    learned = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    layers = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert learned == {f"{layer}.{part}" for layer in layers for part in ("lora_a", "lora_b")}
    assert learned == adapter_tensors(module).keys()
    assert all(parameter.grad.any() for parameter in adapter_tensors(module).values())


def test_the_forward_pass_costs_one_product_and_two_thin_ones():
    from torch.utils.flop_counter import FlopCounterMode

    layer = LoRALinear(nn.Linear(64, 96), 4, 8.0)
    rows = torch.randn(32, 64, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        output = layer(rows)
    thin, whole = 2 * 32 * 4 * (64 + 96), 2 * 32 * 64 * 96
    assert forward.get_total_flops() == whole + thin
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == whole + 2 * thin  # nothing for the gradient of the frozen matrix


def test_merged_is_the_plain_tree():
    module = tree(dropout=0.5).eval()
    before, tensors = module(x()), merged_tensors(module)
    plain = Tree()
    plain.load_state_dict(tensors)
    torch.testing.assert_close(plain(x()), before)
    assert not torch.equal(plain(x()), Tree()(x()))
    merge_adapters(module)
    assert {name: type(part) for name, part in module.named_modules()} == {n: type(p) for n, p in plain.named_modules()}
    assert module.state_dict().keys() == plain.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_tree_without_lora_merges_to_itself():
    module = Tree()
    assert adapter_tensors(module) == {}
    assert merged_tensors(module).keys() == dict(module.named_parameters()).keys()
    assert merged_tensors(module)["head.weight"] is module.head.weight


def test_an_adapter_goes_from_tree_to_tree():
    module, other = tree(), tree(seed=5)
    load_adapter(other, {name: tensor.clone() for name, tensor in adapter_tensors(module).items()})
    assert torch.equal(other(x()), module(x()))
    for misfit in (tree(rank=2), tree(targets=("qkv",))):
        with pytest.raises(ValueError, match="lora_a"):
            load_adapter(other, adapter_tensors(misfit))


def test_dropout_is_for_the_change_alone_and_for_training_alone():
    module, dropping = tree(), tree(dropout=0.9)
    assert torch.equal(dropping.eval()(x()), module.eval()(x()))
    first, second = dropping.train()(x()), dropping(x())
    assert not torch.equal(first, second)
    zero = Tree()
    add_lora(zero, rank=3, alpha=6.0, targets=EVERY, dropout=0.9)
    assert torch.equal(zero.train()(x()), Tree()(x()))


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"query, value.*down, head, out, qkv, up"):
        add_lora(Tree(), rank=3, alpha=6.0, targets=("query", "qkv", "value"))


def test_under_autocast_it_is_near_and_gives_its_precision():
    module = tree()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.mlp.up(x())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), module.mlp.up(x()), atol=0.03, rtol=0.03)
    rounded.sum().backward()
    assert module.mlp.up.lora_a.grad.dtype == torch.float32


def test_a_copy_is_its_own():
    module = tree()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.mlp.up.lora_b.zero_()
    assert not torch.equal(twin(x()), module(x()))
