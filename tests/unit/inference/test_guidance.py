"""Classifier-free guidance against a plain version that reads everything anew for each token."""

from __future__ import annotations

import pytest
import torch

from stepwell.inference import Sampling, SamplingParams, draw, generate, generate_many, stream, window_start
from stepwell.models import EncoderDecoderConfig, LanguageModel, build_model
from stepwell.tokenizers import Tokenizer


@torch.no_grad()
def plain(model: LanguageModel, tokenizer: Tokenizer, prompt: str, params: SamplingParams, index: int = 0) -> list[int]:
    """The formula of the paper over two whole readings."""
    text = tokenizer.encode(prompt).tolist()
    positive = [tokenizer.bos_id, *text]
    negative = positive[-1:]
    if params.negative_prompt is not None:
        negative = [tokenizer.bos_id, *tokenizer.encode(params.negative_prompt).tolist()]
    sampling, drawn = Sampling(params, index, text, tokenizer), []

    def after(before: list[int]) -> torch.Tensor:
        ids = [*before, *drawn]
        return model(torch.tensor([ids[window_start(len(ids), model.config.max_seq_len) :]]))[:, -1].log_softmax(-1)

    while len(drawn) < params.max_tokens and (not drawn or drawn[-1] != tokenizer.eos_id):
        base = after(negative)
        drawn += [one.token_id for one in draw([sampling], params.guidance_scale * (after(positive) - base) + base)]
    return drawn


SETTINGS = {
    "greedy": {"temperature": 0, "guidance_scale": 2.0},
    "negative": {"temperature": 0, "guidance_scale": 1.7, "negative_prompt": "down, down"},
    "nothing": {"temperature": 0, "guidance_scale": 0.0, "negative_prompt": ""},
    "drawn": {"seed": 3, "n": 3, "top_p": 0.9, "guidance_scale": 1.5, "repetition_penalty": 1.2},
}


@pytest.mark.slow_but("drawn", "negative")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("max_tokens", [10, 40], ids=["within", "across the window"])
def test_it_is_the_formula(tiny_model, byte_tokenizer, settings, max_tokens):
    model, params = tiny_model(24), SamplingParams(**settings, max_tokens=max_tokens)
    found = generate(model, byte_tokenizer, "a well", params)
    for index, one in enumerate(found):
        assert list(one.token_ids) == plain(model, byte_tokenizer, "a well", params, index)


def test_a_scale_of_one_changes_nothing(tiny_model, byte_tokenizer):
    model, params = tiny_model(24), SamplingParams(seed=4, max_tokens=12)
    (usual,) = generate(model, byte_tokenizer, "well", params)
    (guided,) = generate(model, byte_tokenizer, "well", params.model_copy(update={"guidance_scale": 1.0}))
    assert guided.token_ids == usual.token_ids
    assert guided.logprobs == pytest.approx(usual.logprobs, abs=1e-4)
    (other,) = generate(model, byte_tokenizer, "well", params.model_copy(update={"guidance_scale": 4.0}))
    assert other.token_ids != usual.token_ids


def test_many_prompts_and_a_stream(tiny_model, byte_tokenizer):
    model = tiny_model(48)
    params = SamplingParams(seed=4, n=2, max_tokens=9, guidance_scale=2.0, negative_prompt="longer than the others")
    prompts = ["one", "two", "three", "x"]
    alone = [[one.token_ids for one in generate(model, byte_tokenizer, prompt, params)] for prompt in prompts]
    for pad in (False, True):
        together = generate_many(model, byte_tokenizer, prompts, params, pad=pad)
        assert [[one.token_ids for one in some] for some in together] == alone
    pieces = [piece for piece in stream(model, byte_tokenizer, "one", params) if piece.index == 1]
    assert tuple(piece.token_id for piece in pieces) == alone[0][1]


@pytest.mark.parametrize("negative", [None, "no"])
def test_of_a_source(byte_tokenizer, negative):
    config = EncoderDecoderConfig(
        vocab_size=257, max_seq_len=16, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=16,
        prompt="source",
    )  # fmt: skip
    model = build_model(config, seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4, generator=torch.Generator().manual_seed(parameter.numel()))
    params = SamplingParams(temperature=0, max_tokens=8, guidance_scale=3.0, negative_prompt=negative)
    (found,) = generate(model, byte_tokenizer, "stair", params)
    sources = [byte_tokenizer.frame(byte_tokenizer.encode(text)) for text in ("stair", negative or "")]
    drawn: list[int] = []
    with torch.no_grad():
        while len(drawn) < len(found.token_ids):
            target = torch.tensor([[*config.start_ids, *drawn]])
            memories = [model.encode(torch.from_numpy(source)[None]) for source in sources]
            after, base = (model.unembed(model.decode(target, one))[0, -1].log_softmax(-1) for one in memories)
            drawn.append(int((base + 3.0 * (after - base)).argmax()))
    assert list(found.token_ids) == drawn
