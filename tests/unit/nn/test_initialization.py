"""Initial weights: the spread of every scheme, what is treated apart, and the seed that decides them all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from stepwell.nn import (
    SCHEMES,
    LearnedPositions,
    MixtureOfExperts,
    RelativeBias,
    RMSNorm,
    initialize,
    initialize_cells,
)


class Tree(nn.Module):
    """A table and two projections, one of which writes into the stream."""

    def __init__(self, width: int = 300) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, width)
        self.inner = nn.ModuleDict({"up": nn.Linear(width, 2 * width), "down": nn.Linear(2 * width, width)})
        self.norm = RMSNorm(width)


class Forest(nn.Module):
    """One of each kind that has weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree(20)
        self.places = LearnedPositions(400, 100, offset=2)
        self.bias = RelativeBias(64, 2000, 64, bidirectional=True)
        self.experts = MixtureOfExperts(160, 100, 4, 2, "silu")
        self.lstm = nn.LSTM(30, 24, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(30, 24)


STANDARD_DEVIATIONS = {
    "normal": lambda fan_in, fan_out: 0.02,
    # the normal distribution within two standard deviations: 1 - 2 * 2 * density(2) / probability
    "truncated_normal": lambda fan_in, fan_out: 0.02 * math.sqrt(1 - 4 * 0.0539910 / 0.9544997),
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "kaiming": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "scaled_normal": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
    "orthogonal": lambda fan_in, fan_out: math.sqrt(1 / max(fan_in, fan_out)),
}


def built(kind: type[nn.Module], scheme: str, **settings) -> nn.Module:
    module = kind()
    initialize(module, scheme, seed=0, **settings)
    return module.requires_grad_(False)


def assert_drawn(weight: Tensor, expected: float) -> None:
    assert float(weight.std()) == pytest.approx(expected, rel=0.03)
    assert abs(float(weight.mean())) < 0.03 * expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_have_the_moments_of_their_scheme(scheme):
    tree = built(Tree, scheme, embedding_std=0.3)
    for linear in tree.inner.values():
        assert_drawn(linear.weight, STANDARD_DEVIATIONS[scheme](linear.in_features, linear.out_features))
        assert not linear.bias.any()
    assert_drawn(tree.embedding.weight, 0.3)
    assert bool((tree.norm.weight == 1).all())


@pytest.mark.parametrize("scheme", ["xavier", "kaiming", "scaled_normal", "orthogonal"])
def test_width_aware_schemes_keep_the_size_of_what_passes(scheme):
    gains = []
    for width in (32, 512):
        linear = nn.Sequential(nn.Linear(width, width))
        initialize(linear, scheme, seed=0)
        x = torch.randn(200, width, generator=torch.Generator().manual_seed(1))
        gains.append(float((linear(x).std() / x.std()).detach()))
    assert gains[0] == pytest.approx(gains[1], rel=0.1)


def test_truncated_normal_ends_at_two_standard_deviations():
    weight = built(Tree, "truncated_normal").inner["up"].weight
    assert 0.0399 < float(weight.abs().max()) <= 0.04


@pytest.mark.parametrize("name", ["up", "down"])
def test_orthogonal_matrices_are_orthonormal(name):
    weight = built(Tree, "orthogonal").inner[name].weight
    product = weight.mT @ weight if name == "up" else weight @ weight.mT
    torch.testing.assert_close(product, torch.eye(300), atol=1e-5, rtol=0)


def before_there_were_other_modules(module: nn.Module, scheme: str, seed: int, num_layers: int) -> None:
    """The draws that models trained so far began with."""
    generator = torch.Generator().manual_seed(seed)
    draw = {
        "normal": lambda weight: weight.normal_(0, 0.02, generator=generator),
        "xavier": lambda weight: nn.init.xavier_uniform_(weight, generator=generator),
        "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator),
        "scaled_normal": lambda weight: weight.normal_(0, weight.shape[1] ** -0.5, generator=generator),
    }[scheme]
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding):
            part.weight.normal_(0, 0.02, generator=generator)
        elif isinstance(part, nn.Linear):
            draw(part.weight)
            if name.endswith("down"):
                part.weight.mul_((2 * num_layers) ** -0.5)


@pytest.mark.parametrize(
    ("scheme", "total"),
    [("normal", 1.6470), ("xavier", 35.0673), ("kaiming", 43.0336), ("scaled_normal", 30.5407)],
)
def test_the_draws_are_golden(scheme, total):
    def model() -> nn.Module:
        blocks = [nn.ModuleDict({"up": nn.Linear(4, 6), "norm": RMSNorm(6), "down": nn.Linear(6, 4)}) for _ in range(2)]
        return nn.Sequential(nn.Embedding(5, 4), *blocks, nn.Linear(4, 5, bias=False)).requires_grad_(False)

    ours, before = model(), model()
    initialize(ours, scheme, seed=7, residual="depth_scaled", residual_names=("down",), num_layers=2)
    before_there_were_other_modules(before, scheme, seed=7, num_layers=2)
    matrices = [parameter for parameter in ours.parameters() if parameter.ndim > 1]
    for weight, old in zip(matrices, (p for p in before.parameters() if p.ndim > 1), strict=True):
        assert torch.equal(weight, old)
    assert sum(float(weight.double().abs().sum()) for weight in matrices) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize(("residual", "factor"), [("same", 1.0), ("depth_scaled", 8**-0.5), ("zero", 0.0)])
def test_projections_into_the_stream_are_treated_apart(residual, factor):
    treatment = {"residual": residual, "residual_names": ("out", "down"), "num_layers": 4}
    plain, treated = built(Forest, "normal"), built(Forest, "normal", **treatment)
    for name, parameter in plain.named_parameters():
        down = name in ("tree.inner.down.weight", "experts.down")
        torch.testing.assert_close(treated.get_parameter(name), (factor if down else 1.0) * parameter, msg=name)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_expert_is_drawn_as_a_matrix_of_its_own(scheme):
    experts = built(Forest, scheme).experts
    for weight, fans in ((experts.up, (160, 200)), (experts.down, (100, 160))):
        for expert in weight:
            assert_drawn(expert, STANDARD_DEVIATIONS[scheme](*fans))
        assert len({float(expert[0, 0]) for expert in weight}) == 4
    if scheme == "orthogonal":
        torch.testing.assert_close(experts.up[1].mT @ experts.up[1], torch.eye(160), atol=1e-5, rtol=0)


def test_tables_of_positions_are_drawn_as_embeddings():
    forest = built(Forest, "xavier", embedding_std=0.1)
    assert_drawn(forest.places.weight, 0.1)
    assert_drawn(forest.bias.table.weight, 0.1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_recurrent_matrices_are_orthogonal_gate_by_gate(scheme):
    forest = built(Forest, scheme)
    for cells, num_gates in ((forest.lstm, 4), (forest.gru, 3)):
        matrices = [weight for name, weight in cells.named_parameters() if name.startswith("weight_hh")]
        gates = [gate for weight in matrices for gate in weight.split(24)]
        assert len(gates) == num_gates * len(matrices)
        for gate in gates:
            torch.testing.assert_close(gate @ gate.mT, torch.eye(24), atol=1e-5, rtol=0)
    expected = STANDARD_DEVIATIONS[scheme](30, 24)
    assert float(forest.lstm.weight_ih_l0.std()) == pytest.approx(expected, rel=0.08)  # the fans of one gate
    assert float(forest.gru.weight_ih_l0.std()) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
def test_only_the_forget_gate_of_an_lstm_begins_open(forget_bias):
    forest = Forest().requires_grad_(False)
    for cells in (forest.lstm, forest.gru):
        initialize_cells(cells, "xavier", torch.Generator().manual_seed(0), forget_bias=forget_bias)
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        bias = getattr(forest.lstm, f"bias_ih_{suffix}") + getattr(forest.lstm, f"bias_hh_{suffix}")
        assert bias.view(4, 24).tolist() == [[value] * 24 for value in (0.0, forget_bias, 0.0, 0.0)]
    assert not torch.cat((forest.gru.bias_ih_l0, forest.gru.bias_hh_l0)).any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides_every_weight_and_nothing_else_does(scheme):
    torch.manual_seed(1)
    first, second, other = Forest(), Forest(), Forest()
    initialize(first, scheme, seed=5)
    before = torch.random.get_rng_state()
    initialize(second, scheme, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    initialize(other, scheme, seed=6)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name
        assert torch.equal(parameter, other.get_parameter(name)) == (parameter.ndim == 1), name


def test_a_matrix_without_a_rule_is_named():
    model = nn.ModuleDict({"odd": nn.Bilinear(2, 3, 4)})
    with pytest.raises(TypeError, match="no rule fills the matrices of odd, a Bilinear"):
        initialize(model, "normal", seed=0)
