"""A text is cut into a source and a target, both encoder-decoders write the one for the other, and nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stepwell.data import Batch, Packer, TokenSplit
from stepwell.inference import SamplingParams, generate
from stepwell.models import (
    EncoderDecoder,
    EncoderDecoderConfig,
    RecurrentEncoderDecoder,
    RecurrentEncoderDecoderConfig,
    build_model,
)
from stepwell.objectives import SequenceToSequenceConfig, build_objective
from stepwell.objectives.corruption import Pairs
from stepwell.optimization import AdamWConfig, build_optimizers
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

CPU, T, V = torch.device("cpu"), 24, 300
SIZES = {"vocab_size": V, "max_seq_len": T, "num_layers": 2, "d_model": 32}
MODELS = {
    "encoder_decoder": EncoderDecoderConfig(
        **SIZES, num_heads=4, num_kv_heads=4, head_dim=8, d_ff=48, qk_norm="none", embedding_norm=False, start_ids=(5,)
    ),
    "additive": RecurrentEncoderDecoderConfig(**SIZES, d_embedding=16, attention="additive", start_ids=(5,)),
    "dot": RecurrentEncoderDecoderConfig(**SIZES, d_embedding=32, attention="dot", start_ids=(5,)),
}


@pytest.fixture(scope="module")
def tokenizer(small_text) -> Tokenizer:
    return train_tokenizer([small_text("en")], ByteBPEConfig(vocab_size=V))


@pytest.fixture(scope="module")
def batch(tokenizer) -> Batch:
    """Documents of 1 to 20 tokens and their end, packed."""
    random = np.random.default_rng(0)
    lengths = np.append(random.integers(1, 21, size=30), [1, 1])
    ids = [np.append(random.integers(3, V, size=length), tokenizer.eos_id) for length in lengths]
    return Packer(
        TokenSplit(np.concatenate(ids).astype(np.uint16), np.cumsum([0, *(lengths + 1)]), lengths), T, 0
    ).batch(0, 4)


def build(name: str, seed: int = 0) -> EncoderDecoder | RecurrentEncoderDecoder:
    model = build_model(MODELS[name], seed=seed)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    assert isinstance(model, EncoderDecoder | RecurrentEncoderDecoder)
    return model.eval()


def pairs_of(pairs: Pairs) -> list[tuple[int, int, Tensor, Tensor]]:
    """(row, number, source, target) of every pair."""
    found = []
    for row, numbers in enumerate(pairs.target_numbers):
        for number in np.unique(numbers[numbers >= 0]).tolist():
            source = pairs.source_ids[row][pairs.source_numbers[row] == number]
            target = pairs.targets[row][numbers == number]
            found.append((row, number, torch.from_numpy(source), torch.from_numpy(target)))
    return found


def test_source_and_target_are_the_text(tokenizer, batch):
    objective = build_objective(SequenceToSequenceConfig(), tokenizer)
    cuts: dict[int, list[int]] = {}
    for seed in range(40):
        pairs = objective.prepare(batch, seed)
        for _, number, source, target in pairs_of(pairs):
            assert source[-1] == target[-1] == tokenizer.eos_id
            text = [*source[:-1].tolist(), *target[:-1].tolist()]
            cuts.setdefault(number, []).append(len(source) - 1)
            assert 1 <= len(source) - 1 <= len(text) - 1 or len(text) < 2
        texts = sorted([*s[:-1].tolist(), *t[:-1].tolist()] for _, _, s, t in pairs_of(pairs))
        assert seed == 0 or texts == before  # noqa: F821
        before = texts  # noqa: F841
    longest = max(cuts.values(), key=max)
    assert len(set(longest)) > 8, "the cut is random"
    assert objective.prepare(batch, 3).num_targets == sum(
        len(pair[3]) for pair in pairs_of(objective.prepare(batch, 3))
    )


def read(model: EncoderDecoder | RecurrentEncoderDecoder, pairs: Pairs) -> Tensor:
    """Logits of every place of the targets, packed."""
    numbers = torch.from_numpy(pairs.target_numbers)
    begins = torch.ones_like(numbers, dtype=torch.bool)
    begins[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    written = torch.from_numpy(pairs.targets).roll(1, dims=1).masked_fill(begins, 5)
    sources = torch.from_numpy(pairs.source_ids), torch.from_numpy(pairs.source_numbers)
    return model.unembed(model.pairs(*sources, written, numbers))


@pytest.mark.parametrize("name", MODELS)
def test_packed_pairs_are_separate_pairs(name, tokenizer, batch):
    model, alone = build(name), build(name)
    pairs = build_objective(SequenceToSequenceConfig(), tokenizer).prepare(batch, 0)
    together, total = read(model, pairs), torch.zeros(())
    for row, number, source, target in pairs_of(pairs):
        written = torch.cat((torch.tensor([5]), target[:-1]))[None]
        logits = alone.unembed(alone.decode(written, alone.encode(source[None])))[0]
        torch.testing.assert_close(together[row][pairs.target_numbers[row] == number], logits, rtol=1e-4, atol=1e-4)
        total = total + torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    objective = build_objective(SequenceToSequenceConfig(), tokenizer)
    loss = objective.loss(model, pairs, CPU)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-3)
    loss.backward()
    total.backward()
    for parameter_name, parameter in model.named_parameters():
        wanted = alone.get_parameter(parameter_name).grad
        if wanted is not None:
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_no_prediction_sees_its_target_or_what_comes_after(name, tokenizer, batch):
    model = build(name)
    pairs = build_objective(SequenceToSequenceConfig(), tokenizer).prepare(batch, 0)
    with torch.no_grad():
        before = read(model, pairs)
        for row, number, _, target in pairs_of(pairs)[:8]:
            places = np.flatnonzero(pairs.target_numbers[row] == number)
            for place in places[:: max(1, len(target) // 3)]:
                targets = pairs.targets.copy()
                targets[row, place] = 3 + (targets[row, place] + 1) % (V - 3)
                after = read(model, Pairs(pairs.source_ids, pairs.source_numbers, targets, pairs.target_numbers))
                moved = ((after - before).abs().amax(-1) > 1e-4).numpy()
                moved[row, place + 1 : places[-1] + 1] = False
                assert not moved.any()


def test_pairs_find_each_other_by_number_in_any_order():
    model = build("additive")
    sources, targets = torch.arange(3, 15)[None], torch.arange(20, 32)[None]
    numbers = torch.tensor([[0] * 3 + [1] * 4 + [2] * 5])
    turned = torch.cat((sources[:, 7:], sources[:, :3], sources[:, 3:7]), dim=1)
    moved = torch.tensor([[2] * 5 + [0] * 3 + [1] * 4])
    with torch.no_grad():
        torch.testing.assert_close(
            model.pairs(turned, moved, targets, numbers), model.pairs(sources, numbers, targets, numbers)
        )


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_is_a_source_and_its_target_is_written_token_by_token(name, tokenizer):
    """As one pass over what was written says, after the start token."""
    model = build_model(MODELS[name].model_copy(update={"prompt": "source"}), seed=0)
    model.load_tensors(build(name).tensors())
    (written,) = generate(model.eval(), tokenizer, "the cat", SamplingParams(temperature=0, max_tokens=12))
    source = torch.tensor(tokenizer.frame(tokenizer.encode("the cat")))[None]
    ids = torch.tensor([[5, *written.token_ids]])
    with torch.no_grad():
        logits = model.unembed(model.decode(ids[:, :-1], model.encode(source)))
    assert logits.argmax(-1).tolist() == [list(written.token_ids)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["encoder_decoder", "additive"])
def test_how_a_text_goes_on_is_learned(name, tokenizer):
    """Of three texts of 11 tokens; without the source, nobody knows which of some 30 tokens comes first."""
    model = build_model(MODELS[name], seed=0).train()
    objective = build_objective(SequenceToSequenceConfig(), tokenizer)
    (optimizer,) = build_optimizers(model, AdamWConfig(learning_rate=0.01))
    texts = [[*range(start, start + 11), tokenizer.eos_id] for start in (3, 103, 203)] * 4
    lengths = np.array([len(text) for text in texts])
    split = TokenSplit(np.concatenate(texts).astype(np.uint16), np.cumsum([0, *lengths]), lengths)
    losses = []
    for step in range(120):
        pairs = objective.prepare(Packer(split, T, 0).batch(0, 6), step)
        loss = objective.loss(model, pairs, CPU) / pairs.num_targets
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.35 < 5 < losses[0]  # 0.55 for those who do not look at the source
