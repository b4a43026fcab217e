"""Every layer can be built from plain numbers and used alone, with nothing else of the house."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import stepwell.nn as layers

CPU = torch.device("cpu")
PLACES = torch.arange(6)
DOCUMENTS = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 2]])
LENGTHS = torch.tensor([4, 6])


def x() -> Tensor:
    """(B, T, D) = (2, 6, 8)."""
    return torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


def heads() -> Tensor:
    """(B, H, T, E) = (2, 4, 6, 8)."""
    return torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))


def recurrent(stack: nn.Module, memory: int) -> Tensor:
    y, after = stack(x())
    assert len(after) == memory
    return y


def low_rank() -> nn.Module:
    """One whose B is not zero any more, so that A learns too."""
    layer = layers.LoRALinear(nn.Linear(8, 8), 2, 4.0)
    nn.init.normal_(layer.lora_b)
    return layer


def bottleneck() -> nn.Module:
    """One whose last map is not zero any more, so that the first learns too."""
    layer = layers.BottleneckLinear(nn.Linear(8, 8), 2)
    nn.init.normal_(layer.adapter_up)
    return layer


def prefix() -> nn.Module:
    """One whose gate is open, so that keys and values learn too."""
    layer = layers.Prefix(4, 2, 8, 3)
    nn.init.normal_(layer.prefix_gate)
    return layer


# module -> how it is built, and how it is used
MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor]]] = {
    "MLP": (lambda: layers.MLP(8, 16, "silu", gated=True), lambda mlp: mlp(x())),
    "RMSNorm": (lambda: layers.RMSNorm(8), lambda norm: norm(x())),
    "Attention": (
        lambda: layers.Attention(8, 4, 2, 8, layers.Rotary(8, 16)),
        lambda attention: attention(x(), layers.key_range(6, 6, CPU, causal=True, documents=DOCUMENTS)),
    ),
    "CrossAttention": (
        lambda: layers.CrossAttention(8, 4, 8),
        lambda attention: attention(x(), *attention.read(x()), LENGTHS[:, None] > PLACES),
    ),
    "Rotary": (lambda: layers.Rotary(8, 16), lambda rotary: rotary(heads(), start=3)),
    "LearnedPositions": (lambda: layers.LearnedPositions(6, 8), lambda table: table(PLACES)),
    "RelativeBias": (
        lambda: layers.RelativeBias(4, 8, 4, bidirectional=False),
        lambda bias: bias(torch.arange(20), torch.arange(20)),
    ),
    "Prefix": (prefix, lambda layer: layer(heads())),
    "Prompt": (lambda: layers.Prompt(x()[0, :3]), lambda prompt: prompt(x(), prompt.lead((PLACES == 0).expand(2, -1)))),
    "BottleneckLinear": (bottleneck, lambda layer: layer(x())),
    "QuantizedLinear": (lambda: layers.QuantizedLinear(nn.Linear(8, 8, bias=False), "int8"), lambda layer: layer(x())),
    "MixtureOfExperts": (lambda: layers.MixtureOfExperts(8, 16, 2, 2, "silu"), lambda experts: experts(x())),
    "Recurrent": (
        lambda: layers.Recurrent("lstm", 8, 5, 2),
        lambda stack: recurrent(stack, memory=2),
    ),
    "LoRALinear": (low_rank, lambda layer: layer(x())),
    "Alignment": (lambda: layers.Alignment(8, "additive"), lambda alignment: alignment(x(), x())),
}

CPU_CACHE = (1, 2, 4, 6, 8, CPU, torch.float32)
# everything else -> what it gives, of which shape
VALUES: dict[str, tuple[Callable[[], object], tuple[int, ...]]] = {
    "KeyValueCache": (lambda: layers.KeyValueCache(*CPU_CACHE).append(0, heads(), heads())[0], (2, 4, 6, 8)),
    "RecurrentState": (lambda: layers.RecurrentState((torch.zeros(2, 3, 5),)).memory[0], (2, 3, 5)),
    "Pieces": (lambda: layers.Pieces.find(DOCUMENTS).lengths, (5,)),
    "LinearScaling": (lambda: layers.LinearScaling(2.0).frequencies(8, 1e4, 64), (4,)),
    "DynamicScaling": (lambda: layers.DynamicScaling(2.0, 32).frequencies(8, 1e4, 64), (4,)),
    "Llama3Scaling": (lambda: layers.Llama3Scaling(2.0, 1.0, 4.0, 32).frequencies(8, 1e4, 64), (4,)),
    "YarnScaling": (lambda: layers.YarnScaling(2.0, 32).frequencies(8, 1e4, 64), (4,)),
    "Lead": (lambda: layers.Lead(PLACES[None], PLACES[None, 2:]).text_of(x()[:1]), (1, 4, 8)),
    "quantize": (lambda: layers.quantize(x()[0], "int8")[0], (6, 8)),
    "dequantize": (lambda: layers.dequantize(*layers.quantize(x()[0], "int4"), 8), (6, 8)),
    "attend": (lambda: layers.attend(heads(), heads()[:, :2], heads()[:, :2], causal=True), (2, 4, 6, 8)),
    "key_range": (lambda: layers.key_range(2, 6, CPU, causal=True, documents=DOCUMENTS).first, (2, 2)),
    "KeyRange": (lambda: layers.KeyRange(PLACES[None], PLACES[None]).mask(6), (1, 1, 6, 6)),
    "alibi_slopes": (lambda: layers.alibi_slopes(4), (4,)),
    "alibi_bias": (lambda: layers.alibi_bias(layers.alibi_slopes(4), PLACES[3:], PLACES), (1, 4, 3, 6)),
    "document_positions": (lambda: layers.document_positions(DOCUMENTS), (2, 6)),
    "sinusoidal_positions": (lambda: layers.sinusoidal_positions(6, 8), (6, 8)),
    "load_balancing_loss": (lambda: layers.load_balancing_loss([x()[0], x()[1]], 2), ()),
}
FILLS_IN_PLACE = {"initialize", "initialize_cells"}  # test_initialization.py says what they do
CHANGES_A_TREE = {
    *(
        "add_lora",
        "add_bottlenecks",
        "add_prefixes",
        "merge_adapters",
        "load_adapter",
        "adapter_tensors",
        "merged_tensors",
    ),
    *("quantize_linears", "remove_adapters", "without_adapters"),
}  # test_lora.py and test_adapters.py do
DESCRIBES = {"DecodingState", "RotaryScaling"}  # protocols and bases
SHAPES = {
    "Rotary": (2, 4, 6, 8),
    "Prefix": (2, 4, 6, 8),
    "Prompt": (2, 9, 8),
    "LearnedPositions": (6, 8),
    "RelativeBias": (1, 4, 20, 20),
    "Recurrent": (2, 6, 5),
}


def test_everything_at_the_door_is_here():
    offered = [name for name in layers.__all__ if inspect.isroutine(getattr(layers, name))]
    offered += [name for name in layers.__all__ if inspect.isclass(getattr(layers, name))]
    assert sorted([*MODULES, *VALUES, *FILLS_IN_PLACE, *CHANGES_A_TREE, *DESCRIBES]) == sorted(offered)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_runs_alone(name):
    build, use = MODULES[name]
    torch.manual_seed(0)
    module = build()
    assert type(module).__name__ == name
    output = use(module)
    assert output.shape == SHAPES.get(name, (2, 6, 8))
    assert output.isfinite().all()
    assert torch.equal(use(copy.deepcopy(module)), output)
    twin = build()
    twin.load_state_dict(module.state_dict())
    assert torch.equal(use(twin), output)
    weigh = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    if list(module.parameters()):
        (output * weigh).sum().backward()
    for parameter, tensor in module.named_parameters():
        if tensor.requires_grad:  # LoRA's matrix is frozen
            assert tensor.grad.any(), parameter


@pytest.mark.parametrize("name", VALUES)
def test_a_function_runs_alone(name):
    compute, shape = VALUES[name]
    value = compute()
    assert isinstance(value, Tensor)
    assert value.shape == shape
    assert value.isfinite().all()


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_an_activation_is_a_function_of_a_tensor(name):
    assert layers.ACTIVATIONS[name](x()).shape == (2, 6, 8)


def test_layers_know_nothing_of_the_rest_of_the_house():
    for path in Path(layers.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stepwell"):
                assert node.module.startswith("stepwell.nn."), f"{path.name} imports {node.module}"
