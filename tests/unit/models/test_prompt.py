"""A learned prompt beside the plain model that has its vectors as tokens of a larger vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stepwell.models import (
    Decoder,
    DecoderConfig,
    Encoder,
    EncoderConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    LanguageModel,
    PromptTuningConfig,
    RecurrentConfig,
    RecurrentLanguageModel,
    add_adapter,
    remove_adapter,
    without_adapter,
)

SHAPE = {
    "vocab_size": 40,
    "max_seq_len": 12,
    "d_model": 16,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 4,
    "d_ff": 24,
}
KINDS = {
    "rotary": {},
    "alibi": {"positions": {"kind": "alibi"}},
    "relative": {"positions": {"kind": "relative", "num_buckets": 4, "max_distance": 8}},
    "none": {"positions": {"kind": "none"}},
    "learned": {"positions": {"kind": "learned"}},
    "sinusoidal, scaled, normalised": {
        "positions": {"kind": "sinusoidal"},
        "embedding_scale": 4.0,
        "embedding_norm": True,
    },
}
NUM_VECTORS = 3


def randomize(model: LanguageModel, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


def prompted(kind: str) -> Decoder:
    model = Decoder(DecoderConfig.model_validate({**SHAPE, "num_layers": 2, **KINDS[kind]}))
    randomize(model)
    add_adapter(model, PromptTuningConfig(num_tokens=NUM_VECTORS))
    return model.eval()


@torch.no_grad()
def with_tokens(model: Decoder) -> Decoder:
    """A plain decoder of a larger vocabulary, whose last tokens are the vectors."""
    config = model.config.model_copy(update={"vocab_size": 40 + NUM_VECTORS, "max_seq_len": 12 + NUM_VECTORS})
    plain = Decoder(config)
    tensors = model.tensors()
    assert model.body.prompt is not None
    vectors = model.body.prompt.prompt_vectors
    for name in ("embedding.weight", "head.weight"):
        if name in tensors:
            tensors[name] = torch.cat((tensors[name], vectors))
    plain.load_tensors({name: tensors[name] for name in plain.tensors()})
    return plain.eval()


def ids(*shape: int) -> Tensor:
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["rotary", "alibi", "relative", "none"])
@torch.no_grad()
def test_vectors_are_read_as_tokens_would_be(kind):
    model, token_ids = prompted(kind), ids(2, 12)
    vectors = torch.arange(40, 40 + NUM_VECTORS).expand(2, -1)
    wanted = with_tokens(model)(torch.cat((vectors, token_ids), 1))[:, NUM_VECTORS:, :40]
    torch.testing.assert_close(model(token_ids), wanted, rtol=1e-4, atol=1e-4)
    with without_adapter(model):
        assert not torch.allclose(model(token_ids), wanted, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_packed_rows_are_their_documents_alone(kind):
    model, token_ids = prompted(kind), ids(2, 12)
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [0] * 11 + [1]])
    packed = model(token_ids, documents)
    for row, lengths in enumerate(([5, 4, 3], [11, 1])):
        alone = [model(part[None])[0] for part in token_ids[row].split(lengths)]
        torch.testing.assert_close(packed[row], torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_step_by_step_is_the_whole_text_at_once(kind):
    model, token_ids = prompted(kind), ids(2, 12)
    whole, state = model(token_ids), model.start(2, 12)
    for begin, end in ((0, 4), (4, 5), (5, 12)):
        torch.testing.assert_close(
            model.extend(state, token_ids[:, begin:end]), whole[:, end - 1], rtol=1e-4, atol=1e-4
        )
        assert state.length == end


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_on_the_left_changes_nothing(kind):
    model, token_ids = prompted(kind), ids(2, 8)
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[0, :3] = False
    state, logits = model.begin(token_ids, 12, mask)
    after = model.extend(state, ids(2, 1))
    for row, begin in ((0, 3), (1, 0)):
        alone, wanted = model.begin(token_ids[row : row + 1, begin:], 12)
        torch.testing.assert_close(logits[row : row + 1], wanted, rtol=1e-4, atol=1e-4)
        wanted = model.extend(alone, ids(2, 1)[row : row + 1])
        torch.testing.assert_close(after[row : row + 1], wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_prompt_that_is_read_both_ways_keeps_its_vectors():
    model = Decoder(DecoderConfig.model_validate({**SHAPE, "num_layers": 2, "prompt": "prefix"}))
    randomize(model)
    add_adapter(model.eval(), PromptTuningConfig(num_tokens=NUM_VECTORS))
    token_ids = ids(1, 8)
    prefix = (torch.arange(8) < 5)[None]
    state, logits = model.begin(token_ids[:, :5], 12)
    wanted = model.unembed(model.hidden(token_ids, prefix=prefix))
    torch.testing.assert_close(logits, wanted[:, 4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.extend(state, token_ids[:, 5:]), wanted[:, -1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_encoder_reads_it_in_each_document():
    model = Encoder(EncoderConfig.model_validate({**SHAPE, "num_layers": 2, "mask_id": 1}))
    randomize(model)
    token_ids, documents = ids(1, 9), torch.tensor([[0] * 5 + [1] * 4])
    before = model.eval().hidden(token_ids, documents)
    add_adapter(model, PromptTuningConfig(num_tokens=NUM_VECTORS))
    packed = model.eval().hidden(token_ids, documents)
    alone = torch.cat([model.hidden(token_ids[:, :5]), model.hidden(token_ids[:, 5:])], 1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(packed, before, atol=1e-2)
    remove_adapter(model)
    assert torch.equal(model.hidden(token_ids, documents), before)


@torch.no_grad()
def test_an_encoder_decoder_reads_it_before_each_source():
    model = EncoderDecoder(EncoderDecoderConfig.model_validate({**SHAPE, "num_layers": 1}))
    randomize(model)
    add_adapter(model, PromptTuningConfig(num_tokens=NUM_VECTORS))
    assert model.eval().decoder.prompt is None
    sources, targets = ids(1, 9), ids(1, 6)
    numbers = (torch.tensor([[0] * 5 + [1] * 4]), torch.tensor([[0] * 2 + [1] * 4]))
    packed = model.pairs(sources, numbers[0], targets, numbers[1])
    for pair in range(2):
        source, target = sources[:, numbers[0][0] == pair], targets[:, numbers[1][0] == pair]
        alone = model.decode(target, model.encode(source))
        torch.testing.assert_close(packed[:, numbers[1][0] == pair], alone, rtol=1e-4, atol=1e-4)


def test_it_alone_learns():
    model = prompted("rotary")
    documents = torch.tensor([[0] * 5 + [1] * 7])
    model.train()(ids(1, 12), documents).square().sum().backward()
    assert {name for name, one in model.named_parameters() if one.grad is not None} == {"body.prompt.prompt_vectors"}
    assert model.body.prompt is not None
    grad = model.body.prompt.prompt_vectors.grad
    assert grad is not None
    assert grad.abs().sum(1).min() > 0
    assert model.body.prompt.prompt_vectors in set(model.lookup_parameters())


def test_a_model_without_blocks_has_no_place_for_it():
    shape = {"vocab_size": 40, "d_embedding": 8, "d_model": 16, "num_layers": 1, "max_seq_len": 12}
    model = RecurrentLanguageModel(RecurrentConfig(kind="lstm", **shape))
    with pytest.raises(ValueError, match="no stack of Transformer blocks"):
        add_adapter(model, PromptTuningConfig())
