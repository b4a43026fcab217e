"""DoRA, bottleneck adapters and matrices in few bits beside their formulas, and in a tree of layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from stepwell.nn import (
    MLP,
    Attention,
    BottleneckLinear,
    LoRALinear,
    Prefix,
    QuantizedLinear,
    adapter_tensors,
    add_bottlenecks,
    add_lora,
    add_prefixes,
    dequantize,
    load_adapter,
    merge_adapters,
    merged_tensors,
    quantize,
    quantize_linears,
)

FORMATS = ("bfloat16", "int8", "int4")
EVERY = ("qkv", "out", "up", "down")


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


def moved(module: nn.Module) -> nn.Module:
    """With everything that an adapter learns away from where it begins."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in adapter_tensors(module).values():
            tensor += torch.randn(tensor.shape, generator=generator) * 0.2
    return module


def x() -> Tensor:
    return torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("has_bias", [False, True])
def test_dora_is_the_formula(has_bias):
    torch.manual_seed(0)
    base = nn.Linear(8, 5, bias=has_bias).double()
    layer = LoRALinear(base, 4, 6.0, dora=True).double()
    assert torch.allclose(layer.lora_magnitude, base.weight.norm(dim=1))
    moved(layer)
    a, b, m = (one.detach().clone().requires_grad_() for one in (layer.lora_a, layer.lora_b, layer.lora_magnitude))
    x = torch.randn(3, 7, 8, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(3, 7, 5, dtype=torch.float64)
    changed = base.weight.detach() + 6.0 / 4 * b @ a
    plain = x @ (m[:, None] * changed / changed.detach().norm(dim=1, keepdim=True)).mT
    plain = plain + base.bias.detach() if has_bias else plain
    wanted = torch.autograd.grad((plain * weigh).sum(), (x, a, b, m))
    output = layer(x)
    found = torch.autograd.grad((output * weigh).sum(), (x, layer.lora_a, layer.lora_b, layer.lora_magnitude))
    torch.testing.assert_close(output, plain, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_row_of_zeros_stays_one_under_dora():
    base = nn.Linear(8, 5)
    nn.init.zeros_(base.weight[2].detach())
    layer = LoRALinear(base, 2, 4.0, dora=True)
    output = layer(x()[..., :8])
    assert output.isfinite().all()
    output.sum().backward()
    assert layer.lora_b.grad.isfinite().all()


def test_a_bottleneck_is_the_formula():
    torch.manual_seed(0)
    base = nn.Linear(8, 5)
    layer = moved(BottleneckLinear(base, 3))
    rows = torch.randn(4, 8)
    y = rows @ base.weight.mT + base.bias
    inside = torch.nn.functional.gelu(y @ layer.adapter_down.mT + layer.adapter_down_bias)
    torch.testing.assert_close(layer(rows), y + inside @ layer.adapter_up.mT + layer.adapter_up_bias)


@pytest.mark.parametrize("kind", ["lora", "dora", "bottleneck", "prefix"])
@pytest.mark.parametrize("weights", [None, *FORMATS])
def test_at_the_beginning_an_adapter_changes_nothing_and_it_alone_learns(kind, weights):
    module = Tree()
    if weights is not None:
        quantize_linears(module, weights, besides=("head",))
    before = module(x())
    if kind == "bottleneck":
        add_bottlenecks(module, width=2, targets=("out", "down"))
    elif kind == "prefix":
        add_prefixes(module, num_tokens=3)
    else:
        add_lora(module, rank=3, alpha=6.0, targets=EVERY, dora=kind == "dora")
    torch.testing.assert_close(module(x()), before, rtol=1e-5, atol=1e-5)
    moved(module)(x()).square().sum().backward()
    learned = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert learned == adapter_tensors(module).keys()
    assert all(parameter.grad.any() for parameter in adapter_tensors(module).values())


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("weights", [None, *FORMATS])
def test_merged_is_a_plain_tree_that_computes_the_same(dora, weights):
    module = Tree()
    if weights is not None:
        quantize_linears(module, weights, besides=("head",))
    add_lora(module, rank=3, alpha=6.0, targets=("qkv", "down"), dora=dora)
    before, tensors = moved(module)(x()), merged_tensors(module)
    plain = Tree()
    plain.load_state_dict(tensors)
    torch.testing.assert_close(plain(x()), before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(x()), Tree()(x()), atol=1e-3)
    merge_adapters(module)
    assert {name: type(part) for name, part in module.named_modules()} == {n: type(p) for n, p in plain.named_modules()}
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_a_bottleneck_cannot_be_merged():
    module = Tree()
    add_bottlenecks(module, width=2, targets=("out", "down"))
    assert merged_tensors(module).keys() == dict(Tree().named_parameters()).keys()
    with pytest.raises(ValueError, match=r"attention\.out: a BottleneckLinear cannot be merged"):
        merge_adapters(module)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_a_prefix_is_attention_over_its_keys_times_the_gate(num_kv_heads):
    layer = Prefix(4, num_kv_heads, 8, 3)
    nn.init.normal_(layer.prefix_gate)
    queries = torch.randn(2, 4, 5, 8)
    keys, values = (one[None].expand(2, -1, -1, -1) for one in (layer.prefix_keys, layer.prefix_values))
    attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, enable_gqa=True)
    torch.testing.assert_close(layer(queries), layer.prefix_gate.tanh()[:, None, None] * attended)


def test_a_prefix_cannot_be_merged():
    module = Tree()
    add_prefixes(module, num_tokens=3)
    assert merged_tensors(module).keys() == dict(Tree().named_parameters()).keys()
    with pytest.raises(ValueError, match=r"attention\.prefix: a Prefix cannot be merged"):
        merge_adapters(module)
    with pytest.raises(ValueError, match="no self-attention"):
        add_prefixes(module.mlp, num_tokens=3)


def test_what_one_tree_learned_goes_to_another_of_the_same_shape():
    trees = []
    for seed, width in ((0, 2), (1, 2), (0, 3)):
        module = Tree()
        add_bottlenecks(module, width=width, targets=("out", "down"), seed=seed)
        trees.append(module)
    first, second, other = moved(trees[0]), trees[1], trees[2]
    assert not torch.equal(first(x()), second(x()))
    load_adapter(second, adapter_tensors(first))
    assert torch.equal(first(x()), second(x()))
    with pytest.raises(ValueError, match="adapter_down"):
        load_adapter(other, adapter_tensors(first))


@pytest.mark.parametrize("width", [1, 63, 64, 65, 130])
@pytest.mark.parametrize("weights", FORMATS)
def test_no_weight_is_off_by_more_than_half_a_level(width, weights):
    matrix = torch.randn(7, width, generator=torch.Generator().manual_seed(3))
    matrix[3] = 0
    codes, scales = quantize(matrix, weights)
    back = dequantize(codes, scales, width)
    assert back.shape == matrix.shape
    assert not back[3].any()
    if weights == "bfloat16":
        assert torch.equal(back, matrix.bfloat16().float())
        return
    step = scales if weights == "int8" else scales[..., 0].float().repeat_interleave(32, 1)[:, :width]
    assert ((back - matrix).abs() <= 0.5001 * step + 2**-10 * matrix.abs().max()).all()
    assert all(len(set(row.tolist())) <= (255 if weights == "int8" else 16) for row in back[:, :32])


def test_sixteen_levels_of_a_group_are_held_as_they_are():
    """What a Q4_1 file has: a step and a lowest level in float16 for each 32 weights."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 16, (5, 2, 32), generator=generator)
    levels[..., 0], levels[..., 1] = 0, 15
    step, low = (torch.rand(5, 2, 1, generator=generator).mul(scale).half().float() for scale in (0.01, -0.08))
    matrix = (levels * step + low).flatten(1)
    back = dequantize(*quantize(matrix, "int4"), 64)
    torch.testing.assert_close(back, matrix, rtol=1e-6, atol=5e-5)
    assert (back == matrix).float().mean() > 0.5


@pytest.mark.parametrize("weights", FORMATS)
def test_a_product_and_its_gradient_are_those_of_the_matrix(weights):
    torch.manual_seed(0)
    base = nn.Linear(70, 9)
    layer = QuantizedLinear(base, weights)
    rows = torch.randn(4, 3, 70, requires_grad=True)
    plain = rows @ layer.matrix().mT + base.bias
    weigh = torch.randn(4, 3, 9)
    (wanted,) = torch.autograd.grad((plain * weigh).sum(), rows)
    (found,) = torch.autograd.grad((layer(rows) * weigh).sum(), rows)
    torch.testing.assert_close(layer(rows), plain)
    torch.testing.assert_close(found, wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(rows).dtype == torch.bfloat16


@pytest.mark.parametrize(("weights", "most"), [("bfloat16", 0.5), ("int8", 0.26), ("int4", 0.157)])
def test_what_the_bits_take(weights, most):
    base = nn.Linear(256, 128, bias=False)
    layer = QuantizedLinear(base, weights)
    held = sum(buffer.numel() * buffer.element_size() for buffer in layer.buffers())
    assert held <= most * base.weight.numel() * 4


def test_backward_keeps_the_codes_and_not_the_matrix():
    layer = QuantizedLinear(nn.Linear(256, 128, bias=False), "int4")
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(torch.randn(4, 256, requires_grad=True))
    assert sum(kept) == sum(buffer.numel() * buffer.element_size() for buffer in layer.buffers())


def test_a_copy_of_an_adapted_tree_is_its_own():
    module = Tree()
    quantize_linears(module, "int4", besides=("head",))
    add_lora(module, rank=3, alpha=6.0, targets=EVERY)
    twin = moved(copy.deepcopy(module))
    assert not torch.equal(twin(x()), module(x()))
