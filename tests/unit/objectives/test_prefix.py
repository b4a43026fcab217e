"""A prefix is seen both ways, nothing of the rest is seen before its time, and a prompt is read as it was trained."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepwell.data import Batch, Packer, TokenSplit
from stepwell.models import Decoder, DecoderConfig, build_model
from stepwell.nn import key_range
from stepwell.objectives import PrefixConfig, build_objective
from stepwell.objectives.prefix import PrefixExamples
from stepwell.optimization import AdamWConfig, build_optimizers
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

CPU, T, V = torch.device("cpu"), 16, 40
OBJECTIVE = build_objective(PrefixConfig(), train_tokenizer([], ByteBPEConfig(vocab_size=257)))

CHOICES: dict[str, dict[str, Any]] = {
    "rotary": {},
    "window": {"window": 5, "layer_pattern": ("window", "full")},
    "alibi, softcap": {"positions": {"kind": "alibi"}, "attention_softcap": 4.0},
    "learned": {"positions": {"kind": "learned"}},
    "parallel": {"parallel": True},
}


def decoder(**choice: Any) -> Decoder:
    shape = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}
    model = build_model(DecoderConfig(**{"vocab_size": V, "max_seq_len": T, **shape, **choice}), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    assert isinstance(model, Decoder)
    return model.eval()


def rows(count: int = 4) -> Batch:
    lengths = np.array([17, 3, 9, 5, 12, 2, 7, 17, 6, 10])
    ids = np.random.default_rng(0).integers(1, V, size=lengths.sum()).astype(np.uint16)
    return Packer(TokenSplit(ids, np.cumsum([0, *lengths]), lengths), T, seed=0).batch(0, count)


def pieces(examples: PrefixExamples) -> list[tuple[int, slice]]:
    """(row, places) of every document."""
    found = []
    for row, numbers in enumerate(examples.document_ids):
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1), T]
        found += [(row, slice(first, last)) for first, last in pairwise(edges)]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_prefix_is_the_beginning_of_a_document_and_the_rest_counts(seed):
    batch = rows()
    examples = OBJECTIVE.prepare(batch, seed)
    for row, places in pieces(examples):
        prefix, counted = examples.prefix[row, places], examples.counted[row, places]
        if not batch.loss_mask[row, places].all():
            assert not prefix.any()
            assert not counted.any()
            continue
        length, size = int(prefix.sum()), places.stop - places.start
        assert 1 <= length <= size
        assert prefix.tolist() == [place < length for place in range(size)]
        assert counted.tolist() == [place >= length - 1 for place in range(size)]
    assert examples.num_targets == examples.counted.sum() > 0


def test_every_length_is_as_likely():
    ids = np.arange(1, 9)[None]
    whole = Batch(ids, ids + 1, ids > 0, np.zeros(ids.shape, dtype=np.int32))
    drawn = [int(OBJECTIVE.prepare(whole, seed).prefix.sum()) for seed in range(1600)]
    assert np.bincount(drawn, minlength=9)[1:] == pytest.approx(200, abs=60)
    assert min(drawn) == 1


def test_the_mask_is_the_rule_written_out():
    prefix = torch.tensor([[1, 1, 1, 0, 0, 1, 0, 0]], dtype=torch.bool)
    documents = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1]])
    for window in (None, 2, 3):
        seen_keys = key_range(8, 8, CPU, causal=True, window=window, documents=documents, prefix=prefix)
        assert seen_keys is not None
        mask = seen_keys.mask(8)
        for query in range(8):
            for key in range(8):
                near = window is None or abs(query - key) < window
                seen = near and (key <= query or bool(prefix[0, key])) and documents[0, query] == documents[0, key]
                assert mask[0, 0, query, key] == seen, (window, query, key)


def logits_of(model: Decoder, examples: PrefixExamples) -> Tensor:
    with torch.no_grad():
        token_ids, documents = torch.from_numpy(examples.token_ids), torch.from_numpy(examples.document_ids)
        return model.unembed(model.hidden(token_ids, documents, prefix=torch.from_numpy(examples.prefix)))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("choice", CHOICES)
def test_no_prediction_sees_its_target_or_what_comes_after(choice, half):
    """Every token is changed once: predictions before it stay as they are, unless it is of the prefix."""
    model, examples = decoder(**CHOICES[choice]), OBJECTIVE.prepare(rows(2), seed=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        before, seen_ahead = logits_of(model, examples), 0
        for row, places in pieces(examples):
            for place in range(places.start + 1, places.stop):
                token_ids = examples.token_ids.copy()
                token_ids[row, place] = token_ids[row, place] % (V - 1) + 1
                changed = PrefixExamples(
                    token_ids, examples.targets, examples.document_ids, examples.prefix, examples.counted
                )
                moved = (logits_of(model, changed)[row] != before[row]).any(-1).numpy()
                counted = examples.counted[row].copy()
                counted[place:] = False
                assert not (moved & counted).any(), "a target leaks"
                assert not moved[: places.start].any()
                assert not moved[places.stop :].any()
                seen_ahead += int(moved[places.start : place].any())
        assert seen_ahead, "a prefix sees ahead"


@pytest.mark.parametrize("choice", CHOICES)
def test_packing_is_separate_documents(choice):
    packed, examples = decoder(**CHOICES[choice]), OBJECTIVE.prepare(rows(), seed=2)
    alone = decoder(**CHOICES[choice])
    loss = OBJECTIVE.loss(packed, examples, CPU)
    total = torch.zeros(())
    for row, at in pieces(examples):
        parts = (examples.token_ids, examples.targets, examples.document_ids, examples.prefix, examples.counted)
        total = total + OBJECTIVE.loss(alone, PrefixExamples(*(part[row : row + 1, at] for part in parts)), CPU)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-4)
    loss.backward()
    total.backward()
    for name, parameter in packed.named_parameters():
        torch.testing.assert_close(parameter.grad, alone.get_parameter(name).grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_prompt_is_read_as_a_prefix_and_written_on(choice):
    """Prefill both ways, then token by token = one pass with the prompt as the prefix."""
    model = decoder(**CHOICES[choice], prompt="prefix")
    token_ids = torch.randint(1, V, (2, 12), generator=torch.Generator().manual_seed(1))
    prefix = torch.arange(12)[None].expand(2, -1) < 5
    with torch.no_grad():
        whole = model.unembed(model.hidden(token_ids, prefix=prefix))
        state, logits = model.begin(token_ids[:, :5], 12)
        torch.testing.assert_close(logits, whole[:, 4], rtol=1e-4, atol=1e-4)
        for place in range(5, 12):
            logits = model.extend(state, token_ids[:, place : place + 1])
            torch.testing.assert_close(logits, whole[:, place], rtol=1e-4, atol=1e-4)
        _, plain = decoder(**CHOICES[choice]).begin(token_ids[:, :5], 12)
    assert not torch.allclose(plain, whole[:, 4], atol=1e-2), "both ways is another reading"


def test_a_prefix_tells_what_comes_back():
    """Documents repeat their first half; with the prefix seen both ways the second half is soon known."""
    random, model = np.random.default_rng(0), decoder()
    (optimizer,) = build_optimizers(model, AdamWConfig(learning_rate=0.01))
    losses = []
    for step in range(60):
        half = random.integers(1, 6, size=(16, 8))
        ids = np.concatenate((half, half), axis=1)
        batch = Batch(ids, np.roll(ids, -1, axis=1), ids > 0, np.zeros(ids.shape, dtype=np.int32))
        examples = OBJECTIVE.prepare(batch, seed=step)
        loss = OBJECTIVE.loss(model, examples, CPU) / examples.num_targets
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 1.5 < losses[0]


def test_only_a_decoder_reads_a_prefix(small_text):
    from stepwell.models import encoder_decoder_sized

    other = build_model(encoder_decoder_sized(1, vocab_size=V, max_seq_len=T))
    with pytest.raises(TypeError, match="a decoder reads a prefix both ways, a EncoderDecoder does not"):
        OBJECTIVE.loss(other, OBJECTIVE.prepare(rows(), 0), CPU)
