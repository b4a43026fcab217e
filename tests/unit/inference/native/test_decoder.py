"""Machine code against `models.Decoder`, and against itself however the work is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stepwell.errors import UsageError
from stepwell.inference.native.build import find_compiler
from stepwell.inference.native.decoder import Extension, NativeDecoder, what_is_missing
from stepwell.inference.native.layout import BLOCK_TOKENS
from stepwell.models import Decoder, DecoderConfig, build_model
from stepwell.nn import KeyValueCache, dequantize, quantize

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")

SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "max_seq_len": 600,
    "num_layers": 2,
    "d_model": 40,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "d_ff": 56,
    "residual_initialization": "same",
}
BIASES = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
KINDS: dict[str, dict[str, Any]] = {
    "ours": {},
    "Llama": {"activation": "silu", "gated": True, "qk_norm": "none", "tie_embeddings": True, "embedding_norm": False},
    "GPT-2": {
        "norm": {"kind": "layer"},
        "activation": "gelu_tanh",
        **BIASES,
        "positions": {"kind": "learned", "offset": 2},
        "qk_norm": "none",
        "num_kv_heads": 4,
    },
    "GPT-NeoX": {
        "parallel": True,
        "positions": {"kind": "rotary", "ratio": 0.5},
        "layer_pattern": ("full", "unrotated"),
        "activation": "gelu",
        **BIASES,
    },
    "Gemma": {
        "norm": {"unit_offset": True},
        "norm_placement": "sandwich",
        "activation": "gelu_tanh",
        "gated": True,
        "window": 21,
        "layer_pattern": ("window", "full"),
        "positions": {"kind": "rotary", "window_theta": 100.0},
        "attention_scale": 0.25,
        "attention_softcap": 5.0,
        "logit_softcap": 20.0,
        "embedding_scale": 6.0,
        "head_dim": 24,
    },
    "OLMo": {"norm_placement": "output", "qk_norm": "projection", "activation": "tanh", "num_kv_heads": 1},
    "post-norm": {
        "norm": {"kind": "layer", "bias": False},
        "norm_placement": "post",
        "positions": {"kind": "sinusoidal"},
        "activation": "relu",
    },
    "ALiBi": {"positions": {"kind": "alibi"}, "activation": "sigmoid"},
    "sinks": {"sinks": True, "positions": {"kind": "none"}},
}


def make(kind: str) -> Decoder:
    model = build_model(DecoderConfig(**{**SIZES, **KINDS[kind]}), seed=1).eval()
    assert isinstance(model, Decoder)
    with torch.no_grad():  # norms, biases and sinks that matter
        generator = torch.Generator().manual_seed(2)
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def text(length: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.random.default_rng(seed).integers(0, 101, length).astype(np.int32)


def blocks(length: int, first: int = 0) -> np.ndarray[Any, np.dtype[np.int32]]:
    """In an order that is not that of the text."""
    return first + np.random.default_rng(first).permutation(-(-length // BLOCK_TOKENS)).astype(np.int32)


@pytest.mark.parametrize("kind", KINDS)
def test_all_logits_are_those_of_the_model(kind: str) -> None:
    model = make(kind)
    decoder = NativeDecoder(model, weights="float32", num_blocks=40, threads=2)
    token_ids = text(300)
    told = decoder.extend([Extension(token_ids, 0, blocks(300), 300)])
    with torch.inference_mode():
        wanted = model(torch.from_numpy(token_ids).long()[None])[0]
    torch.testing.assert_close(told, wanted, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    ("weights", "coded"),
    [("float32", False), ("bfloat16", False), ("bfloat16", True), ("int8", False), ("int4", False), ("int4", True)],
)
@pytest.mark.parametrize("kind", ["ours", "Gemma", "post-norm"])
def test_a_text_is_read_to_the_bit_however_it_is_cut_and_whatever_stands_beside(
    kind: str, weights: Any, coded: bool
) -> None:
    decoder = NativeDecoder(make(kind), weights=weights, num_blocks=200, threads=2, coded_cache=coded)
    token_ids = text(560)
    first = decoder.extend([Extension(token_ids[:512], 0, blocks(560), 512)])
    rest = decoder.extend([Extension(token_ids[512:], 512, blocks(560), 48)])
    whole = torch.cat((first, rest))
    again, at = [], 0
    others = [text(90, seed) for seed in (5, 6, 7)]
    for step, size in enumerate([1, 2, 3, 5, 17, 100, 1, 130, 60, 200, 9, 16, 16]):
        beside = [
            Extension(other[step * 3 : step * 3 + 3], step * 3, blocks(90, 100 + 10 * number), 1)
            for number, other in enumerate(others[: step % 4])
        ]
        part = Extension(token_ids[at : at + size], at, blocks(560, 50), size)
        again.append(decoder.extend([*beside, part])[len(beside) :])
        at += size
    assert at == 560
    assert torch.equal(torch.cat(again), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_that_are_not_wanted_change_no_others(kind: str) -> None:
    decoder = NativeDecoder(make(kind), weights="float32", num_blocks=80, threads=2)
    token_ids, other = text(300), text(60, 1)
    whole = decoder.extend([Extension(token_ids, 0, blocks(320), 300), Extension(other, 0, blocks(60, 20), 60)])
    some = decoder.extend([Extension(token_ids, 0, blocks(320, 30), 3), Extension(other, 0, blocks(60, 60), 0)])
    assert torch.equal(some, whole[297:300])
    one = decoder.extend([Extension(other, 0, blocks(60, 70), 0), Extension(token_ids[:1], 300, blocks(320, 30), 1)])
    assert torch.equal(one, decoder.extend([Extension(token_ids[:1], 300, blocks(320), 1)]))


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_the_number_of_threads_changes_no_bit(weights: Any) -> None:
    model, token_ids = make("Llama"), text(500)
    told = []
    for threads in (1, 2, 5):
        decoder = NativeDecoder(model, weights=weights, num_blocks=40, threads=threads)
        read = decoder.extend([Extension(token_ids, 0, blocks(501), 500)])
        more = decoder.extend([Extension(token_ids[:1], 500, blocks(501), 1)])  # one query, two segments
        told.append(torch.cat((read, more)))
    assert torch.equal(told[0], told[1])
    assert torch.equal(told[0], told[2])


def rounded(matrix: torch.Tensor, weights: str) -> torch.Tensor:
    """What so many bits hold of a matrix, told plainly."""
    if weights == "bfloat16":
        return matrix.bfloat16().float()
    if weights == "int4":
        return dequantize(*quantize(matrix, "int4"), matrix.shape[1])
    groups = torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % 32)).unflatten(1, (-1, 32))
    step = (groups.abs().amax(-1, keepdim=True) / 127).half().float()
    held: torch.Tensor = ((groups / step.clamp_min(1e-12)).round() * step).flatten(1)
    return held[:, : matrix.shape[1]]


@pytest.mark.parametrize("weights", ["bfloat16", "int8", "int4"])
def test_fewer_bits_hold_what_they_say(weights: Any) -> None:
    model, token_ids = make("Llama"), text(200)
    told = NativeDecoder(model, weights=weights, num_blocks=40, threads=2).extend(
        [Extension(token_ids, 0, blocks(200), 200)]
    )
    with torch.inference_mode():
        far = model(torch.from_numpy(token_ids).long()[None])[0]
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and name != "embedding.weight":
                parameter.copy_(rounded(parameter, weights))
        head = model.embedding.weight.clone()
        hidden = model.hidden(torch.from_numpy(token_ids).long()[None])[0]
        wanted = hidden @ rounded(head, "int8" if weights == "int4" else weights).T
    off = (told - wanted).norm() / wanted.norm()
    assert off < 0.06  # what goes into a product is rounded to eight bits of a number, twenty times one after another
    assert weights == "bfloat16" or off < (told - far).norm() / far.norm()


@pytest.mark.parametrize("kind", ["ours", "Gemma", "GPT-2", "ALiBi", "sinks"])
def test_keys_and_values_in_bytes_are_those_of_a_plain_cache_that_rounds_so(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, token_ids = make(kind), text(300)

    def plain() -> torch.Tensor:
        with torch.inference_mode():
            return model.unembed(model.hidden(torch.from_numpy(token_ids).long()[None], state=model.start(1, 300))[0])

    append = KeyValueCache.append

    def rounding(cache: KeyValueCache, layer: int, keys: torch.Tensor, values: torch.Tensor) -> Any:
        return append(cache, layer, *(in_bytes(one) for one in (keys, values)))

    def off(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).norm() / b.norm())

    exact = plain()
    monkeypatch.setattr(KeyValueCache, "append", rounding)
    wanted = plain()
    decoder = NativeDecoder(model, weights="float32", num_blocks=40, threads=2, coded_cache=True)
    told = decoder.extend([Extension(token_ids, 0, blocks(300), 300)])
    assert off(wanted, exact) > 0.002  # rounding can be seen
    assert off(told, wanted) < 0.1 * off(wanted, exact)  # but for numbers that lie between two codes
    half = NativeDecoder(model, weights="bfloat16", num_blocks=40, threads=2, coded_cache=True)
    assert off(half.extend([Extension(token_ids, 0, blocks(300), 300)]), exact) < 0.03


def in_bytes(x: torch.Tensor) -> torch.Tensor:
    """Each token of each head, as 63 steps of its largest number to either side."""
    step = x.abs().amax(-1, keepdim=True) / 63
    rounded: torch.Tensor = (x / step.clamp_min(1e-30)).round() * step
    return rounded


def test_memory_of_a_block_is_about_half_in_bytes() -> None:
    model = make("Llama")

    def size(weights: Any, coded: bool) -> int:
        return NativeDecoder(model, weights=weights, num_blocks=4, threads=1, coded_cache=coded).block_bytes

    heads = 2 * 2 * 2 * BLOCK_TOKENS  # layers, key heads, keys and values
    assert size("float32", False) == heads * 16 * 4  # 8 channels take the room of 16
    assert size("bfloat16", False) in (heads * 16 * 2, heads * 16 * 4)
    assert size("float32", True) == size("int4", True) == heads * (16 + 4)


def test_more_tokens_than_a_step_has_room_for_are_refused() -> None:
    decoder = NativeDecoder(make("Llama"), weights="float32", num_blocks=4, threads=1, most_rows=8)
    with pytest.raises(ValueError, match="at most 8 tokens"):
        decoder.extend([Extension(text(9), 0, blocks(9), 1)])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"experts": {"num_experts": 2, "d_ff": 16}}, "experts"),
        ({"positions": {"kind": "relative"}}, "relative positions"),
        ({"prompt": "prefix"}, "both ways"),
    ],
)
def test_what_cannot_be_decoded_in_machine_code_is_said(more: dict[str, Any], said: str) -> None:
    model = build_model(DecoderConfig(**{**SIZES, **more}))
    assert said in str(what_is_missing(model))
    with pytest.raises(UsageError, match="machine code"):
        NativeDecoder(model, num_blocks=4, threads=1)
