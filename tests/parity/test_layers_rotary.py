"""Rotary positions against transformers: frequencies, attention factor and the turning of part of the channels."""

from __future__ import annotations

import types

import pytest
import torch

from stepwell.nn import ROTARY_SCALINGS, Rotary
from stepwell.nn.rotary_scaling import rotary_frequencies

transformers = pytest.importorskip("transformers")

SETTINGS = {
    "linear": [{"factor": 1.0}, {"factor": 8.0}],
    "dynamic": [{"factor": 1.0}, {"factor": 4.0}],
    "llama3": [
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 512},
        {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 8192},
        {"factor": 3.0, "low_freq_factor": 0.5, "high_freq_factor": 9.0, "original": 2048},
    ],
    "yarn": [
        {"factor": 4.0, "original": 512},
        {"factor": 40.0, "original": 4096, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
        {"factor": 4.0, "original": 32768, "attention_factor": 0.7},
        {"factor": 40.0, "original": 4096, "mscale": 1.0, "mscale_all_dim": 0.8},
        {"factor": 0.5, "original": 4096},
        {"factor": 4.0, "original": 4, "beta_fast": 1.0},
    ],
}
CASES = [(kind, values) for kind, settings in SETTINGS.items() for values in settings]
MAX_SEQ_LEN = 16_384


def reference(kind, values, size, theta, original, precise, monkeypatch):
    """Their inverse frequencies and attention factor, in float32 as they are or in float64."""
    rope = transformers.modeling_rope_utils
    if precise:
        double = {"float": torch.float64, "float32": torch.float64}
        monkeypatch.setattr(rope, "torch", types.SimpleNamespace(**{**vars(torch), **double}))
    parameters = {"rope_type": kind, "rope_theta": theta, **{k: v for k, v in values.items() if k != "original"}}
    if kind != "linear":
        parameters["original_max_position_embeddings"] = original
    limit = original if kind == "dynamic" else MAX_SEQ_LEN
    config = transformers.LlamaConfig(
        hidden_size=4 * size, num_attention_heads=4, max_position_embeddings=limit, rope_parameters=parameters
    )
    return rope.ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=MAX_SEQ_LEN if kind == "dynamic" else None)


@pytest.mark.parametrize(("kind", "values"), CASES, ids=str)
@pytest.mark.parametrize(("size", "theta"), [(64, 10_000.0), (128, 500_000.0)])
@pytest.mark.parametrize(("precise", "tolerance"), [(True, 1e-12), (False, 2e-6)], ids=["float64", "float32"])
def test_frequencies_and_factor(kind, values, size, theta, precise, tolerance, monkeypatch):
    original = values.get("original", 2048)
    ours = {k: v for k, v in values.items() if k != "original"}
    if kind != "linear":
        ours["original_max_seq_len"] = original
    scaling = ROTARY_SCALINGS[kind](**ours)
    theirs, factor = reference(kind, values, size, theta, original, precise, monkeypatch)
    frequencies = rotary_frequencies(size, theta, MAX_SEQ_LEN, scaling)
    torch.testing.assert_close(frequencies, theirs.double(), rtol=tolerance, atol=0)
    assert scaling.length_factor() == pytest.approx(factor, rel=1e-12)


def test_every_scaling_is_compared():
    assert set(SETTINGS) == set(ROTARY_SCALINGS)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_part_of_the_channels_is_gpt_neox(ratio):
    from transformers.models.gpt_neox import modeling_gpt_neox as theirs

    config = transformers.GPTNeoXConfig(
        hidden_size=64,
        num_attention_heads=4,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": ratio},
    )
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(2, 4, 20, 16, generator=generator) for _ in range(2))
    tables = theirs.GPTNeoXRotaryEmbedding(config)(queries, torch.arange(20)[None])
    expected = theirs.apply_rotary_pos_emb(queries, keys, *tables)
    rotary = Rotary(16, 64, ratio=ratio)
    for ours, wanted in zip((rotary(queries), rotary(keys)), expected, strict=True):
        torch.testing.assert_close(ours, wanted, atol=2e-6, rtol=1e-5)
