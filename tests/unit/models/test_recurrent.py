"""Recurrent language models: what is built, how it begins, and that it learns."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from stepwell.models import RecurrentConfig, build_model, lstm_textbook, recurrent_sized
from stepwell.models.decoder_config import decoder_sized

BASE = {"kind": "lstm", "vocab_size": 50, "max_seq_len": 16, "d_embedding": 12, "d_model": 8, "num_layers": 2}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_it_learns_real_text(kind, learned_share):
    config = RecurrentConfig(
        kind=kind, vocab_size=256, max_seq_len=64, d_embedding=48, d_model=64, num_layers=1, dropout=0.1
    )
    assert learned_share(build_model(config)) < 0.8


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_dial_has_the_matrices_of_a_decoder(kind):
    for depth in (1, 2, 4, 8):
        decoder = decoder_sized(depth, vocab_size=1000, max_seq_len=64)
        recurrent = recurrent_sized(depth, vocab_size=1000, max_seq_len=64, kind=kind)
        assert recurrent.kind == kind
        assert recurrent.num_matrix_parameters == pytest.approx(decoder.num_matrix_parameters, rel=0.1)


def test_operations_are_two_for_each_weight_that_multiplies():
    config = RecurrentConfig(**BASE)
    matrices = 4 * 8 * (12 + 8) + 4 * 8 * (8 + 8)
    assert config.num_matrix_parameters == matrices
    assert config.train_flops_per_token == 6 * (matrices + 50 * 8)


def test_the_textbook_model_is_keras_but_for_a_second_bias():
    """What Keras prints for it, layer by layer; torch's cells have two bias vectors, of which one is enough."""
    printed = {"embedding": 2_560_000, "lstm": 197_120, "lstm_1": 131_584, "dense": 1_290_000}
    second_biases = 2 * 4 * 128
    config = lstm_textbook()
    assert config.num_parameters == sum(printed.values()) + second_biases
    model = build_model(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sizes["embedding.weight"] == printed["embedding"]
    for layer, name in enumerate(("lstm", "lstm_1")):
        cell = sum(size for part, size in sizes.items() if part.endswith(f"_l{layer}"))
        assert cell == printed[name] + second_biases // 2
    assert sizes["head.weight"] + sizes["head_bias"] == printed["dense"]


@pytest.mark.parametrize("changes", [{"dropout": 1.0}, {"num_layers": 0}, {"kind": "rnn"}], ids=str)
def test_shapes_that_cannot_be_are_refused(changes):
    with pytest.raises(ValidationError):
        RecurrentConfig(**{**BASE, **changes})


def test_tied_embeddings_of_another_width_are_refused_by_name():
    with pytest.raises(ValidationError, match="d_embedding that is d_model where tie_embeddings"):
        RecurrentConfig(**BASE, tie_embeddings=True)


def test_a_seed_decides_the_weights():
    first, same, other = (build_model(RecurrentConfig(**BASE), seed) for seed in (1, 1, 2))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, same.get_parameter(name))
    assert not torch.equal(first.recurrent.cells.weight_hh_l1, other.recurrent.cells.weight_hh_l1)


def test_memories_are_orthogonal_and_forget_gates_open():
    cells = build_model(RecurrentConfig(**BASE)).recurrent.cells
    for layer in range(2):
        for gate in getattr(cells, f"weight_hh_l{layer}").split(8):
            torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
        biases = getattr(cells, f"bias_ih_l{layer}") + getattr(cells, f"bias_hh_l{layer}")
        assert biases.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16


@torch.no_grad()
def test_it_remembers_beyond_its_window():
    """The state of an LSTM has no end: only the house's window (`inference.window_start`) lets go of tokens."""
    model = build_model(RecurrentConfig(**BASE)).eval()
    token_ids = torch.randint(0, 50, (1, 40), generator=torch.Generator().manual_seed(0))
    state = model.start(1)
    model.extend(state, token_ids[:, :39])
    torch.testing.assert_close(model.extend(state, token_ids[:, 39:]), model(token_ids)[:, -1])


def test_another_state_is_refused():
    model = build_model(RecurrentConfig(**BASE))
    with pytest.raises(TypeError, match="extends a RecurrentState, not a list"):
        model.hidden(torch.zeros(1, 1, dtype=torch.int64), state=[])
