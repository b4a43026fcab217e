"""Turning a source into another text: what `generate` writes is what reading everything anew for each token gives."""

from __future__ import annotations

import pytest
import torch

from stepwell.errors import UsageError
from stepwell.inference import Sampling, SamplingParams, draw, generate, generate_many, stream
from stepwell.models import EncoderDecoder, EncoderDecoderConfig, build_model
from stepwell.tokenizers import ByteBPEConfig, Roles, Tokenizer, train_tokenizer

SHAPE = {"vocab_size": 257, "max_seq_len": 16, "num_layers": 2, "d_model": 32, "num_heads": 4, "num_kv_heads": 4,
         "head_dim": 8, "d_ff": 48}  # fmt: skip
SETTINGS = {
    "greedy": SamplingParams(temperature=0),
    "penalised": SamplingParams(temperature=0, repetition_penalty=1.5),
    "sampled": SamplingParams(seed=5, n=3, top_p=0.95),
    "short": SamplingParams(seed=6, n=2, max_tokens=4),
}


@pytest.fixture(scope="module")
def model() -> EncoderDecoder:
    config = EncoderDecoderConfig(**SHAPE, prompt="source", start_ids=(3, 5), never_ids=(65, 66))
    built = build_model(config, seed=0)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    assert isinstance(built, EncoderDecoder)
    return built.eval()


@torch.no_grad()
def anew(model: EncoderDecoder, tokenizer: Tokenizer, prompt: str, params: SamplingParams, index: int) -> list[int]:
    """The oracle: source and target are read again for each token, for one sample at a time."""
    source = torch.from_numpy(tokenizer.frame(tokenizer.encode(prompt)))[None]
    sampling, drawn = Sampling(params, index, [], tokenizer), []
    while len(drawn) < params.max_tokens and len(drawn) < 15 and (not drawn or drawn[-1] != tokenizer.eos_id):
        logits = model.unembed(model.decode(torch.tensor([[3, 5, *drawn]]), model.encode(source)))[:, -1]
        logits[:, [65, 66]] = -1e30
        drawn += [one.token_id for one in draw([sampling], logits)]
    return drawn


@pytest.mark.parametrize("params", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("prompt", ["", "step", "fifteen letters"])
def test_it_is_what_reading_anew_gives(model, byte_tokenizer, prompt, params):
    completions = generate(model, byte_tokenizer, prompt, params)
    for index, completion in enumerate(completions):
        assert list(completion.token_ids) == anew(model, byte_tokenizer, prompt, params, index)
        assert completion.prompt_tokens == len(prompt) + 1
        ends = completion.token_ids[-1] == byte_tokenizer.eos_id
        assert completion.finish_reason == ("stop" if ends else "length")


def test_what_is_written_ends_where_the_model_does(model, byte_tokenizer):
    lengths = {len(c.token_ids) for c in generate(model, byte_tokenizer, "step", SamplingParams(seed=1, n=20))}
    assert max(lengths) == 15  # 16 places, 2 of them for what every target begins with, and one token is drawn only


def test_many_sources_and_a_stream(model, byte_tokenizer):
    prompts, params = ["one", "three", "two", ""], SamplingParams(seed=3, n=2)
    alone = [generate(model, byte_tokenizer, prompt, params) for prompt in prompts]
    together = generate_many(model, byte_tokenizer, prompts, params)
    assert [[one.text for one in each] for each in together] == [[one.text for one in each] for each in alone]
    pieces = list(stream(model, byte_tokenizer, "one", params))
    for index, completion in enumerate(alone[0]):
        assert "".join(piece.text for piece in pieces if piece.index == index) == completion.text


def test_a_source_that_is_too_long_is_refused(model, byte_tokenizer):
    with pytest.raises(UsageError, match="17 tokens"):
        generate(model, byte_tokenizer, "x" * 16)


def test_another_tokenizer_may_spell_what_is_written(model, byte_tokenizer):
    """Of a translator, the source has one alphabet and the target another, by the same numbers."""
    shout = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    roles = Roles(bos_id=0, eos_id=0)
    shout.token_bytes = lambda token_id, *, opens=False: b"" if token_id == 0 else b"!"  # type: ignore[method-assign]
    both = Tokenizer(byte_tokenizer._backend, roles, target=shout)
    (completion,) = generate(model, both, "step", SamplingParams(temperature=0))
    assert set(completion.text) == {"!"}
    (plain,) = generate(model, byte_tokenizer, "step", SamplingParams(temperature=0))
    assert plain.token_ids == completion.token_ids
