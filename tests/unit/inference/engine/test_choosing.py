"""Tokens drawn in machine code, against `sampling.draw`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stepwell.errors import StepwellError
from stepwell.inference import SamplingParams
from stepwell.inference.engine.choosing import choose, is_usual
from stepwell.inference.native.build import find_compiler
from stepwell.inference.native.decoder import NativeDecoder
from stepwell.inference.sampling import Sampling, draw
from stepwell.models import DecoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")

ROWS = 200


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the well is deep"], ByteBPEConfig(vocab_size=270))


@pytest.fixture(scope="module")
def decoder() -> NativeDecoder:
    config = DecoderConfig(
        vocab_size=270, max_seq_len=16, num_layers=1, d_model=32, num_heads=2, num_kv_heads=2, head_dim=16, d_ff=32
    )
    return NativeDecoder(build_model(config), weights="float32", num_blocks=1, threads=2)


@pytest.mark.parametrize(
    "rules",
    [
        {"temperature": 0.0},
        {},
        {"temperature": 0.3},
        {"temperature": 5.0},
        {"top_k": 1},
        {"top_k": 7},
        {"top_k": 1000},
        {"top_p": 0.1},
        {"top_p": 0.9, "temperature": 0.7},
        {"top_p": 0.9999999, "temperature": 3.0},
        {"min_p": 0.05},
        {"top_k": 40, "top_p": 0.95, "min_p": 0.01, "temperature": 0.8},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_the_same_tokens_are_drawn(
    decoder: NativeDecoder, tokenizer: Tokenizer, rules: dict[str, Any], spread: float
) -> None:
    logits = spread * torch.randn(ROWS, tokenizer.vocab_size, generator=torch.Generator().manual_seed(0))
    params = [SamplingParams(seed=row, **rules) for row in range(ROWS)]
    assert all(is_usual(one) for one in params)
    wanted = draw([Sampling(one, 0, [], tokenizer) for one in params], logits)
    told = choose(decoder, [Sampling(one, 0, [], tokenizer) for one in params], range(ROWS), logits)
    others = 0
    for mine, theirs in zip(told, wanted, strict=True):
        assert not isinstance(mine, StepwellError)
        others += mine.token_id != theirs.token_id
        if mine.token_id == theirs.token_id:
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
    assert others <= 1  # a random number that falls on a border


def test_rows_are_taken_in_any_order_and_equal_logits_fall_to_the_lower_number(
    decoder: NativeDecoder, tokenizer: Tokenizer
) -> None:
    logits = torch.zeros(3, tokenizer.vocab_size)
    logits[0, 9], logits[2, [5, 4]] = 1.0, 2.0
    params = SamplingParams(temperature=0.0, logprobs=2)
    samplings = [Sampling(params, 0, [], tokenizer) for _ in range(2)]
    first, second = choose(decoder, samplings, [2, 0], logits)
    assert not isinstance(first, StepwellError)
    assert not isinstance(second, StepwellError)
    assert (first.token_id, second.token_id) == (4, 9)
    assert [token for token, _ in first.likeliest] == [4, 5]
    assert samplings[0].token_ids == [4]


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_that_rows_error_alone(
    decoder: NativeDecoder, tokenizer: Tokenizer, spoiled: float
) -> None:
    logits = torch.zeros(2, tokenizer.vocab_size)
    logits[0, 260] = spoiled
    told = choose(decoder, [Sampling(SamplingParams(seed=1), 0, [], tokenizer) for _ in range(2)], [0, 1], logits)
    assert isinstance(told[0], StepwellError)
    assert not isinstance(told[1], StepwellError)


def test_what_is_asked_for_beside_the_usual_is_seen() -> None:
    assert is_usual(SamplingParams(top_k=3, stop=("a",), seed=3, n=2, logprobs=3))
    for params in ({"repetition_penalty": 1.1}, {"min_tokens": 2}, {"logit_bias": {3: 1.0}}, {"typical_p": 0.5}):
        assert not is_usual(SamplingParams(**params))
