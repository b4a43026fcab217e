"""Rows for new tokens: the mean of the rows that they replace, in every table, and everything else as it was."""

from __future__ import annotations

import pytest
import torch

from stepwell.errors import UsageError
from stepwell.models import MODELS, build_model, load_extended

OLD, SPARE = 43, 3
PARTS = [[1], [2, 3, 4], [5, 5, 39]]
LEARNING = [kind for kind, family in MODELS.items() if family.learns == "gradient"]


def config_of(kind: str, vocab_size: int):
    config = MODELS[kind].sized(1, vocab_size=OLD, max_seq_len=16)
    return config.model_copy(update={"vocab_size": vocab_size})


def drawn(kind: str, vocab_size: int):
    """A model whose every number was drawn, biases too."""
    model = build_model(config_of(kind, vocab_size))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.tensors().values():
            tensor.copy_(torch.randn(tensor.shape, generator=random))
    return model


@pytest.mark.parametrize("kind", LEARNING)
@pytest.mark.parametrize("rows", [OLD, OLD + 2, OLD + len(PARTS) + SPARE])
def test_new_rows_are_means(kind, rows):
    old = drawn(kind, rows).tensors()
    new = build_model(config_of(kind, max(rows, OLD + len(PARTS))), seed=1)
    load_extended(new, old, OLD, PARTS)
    grown = 0
    for name, tensor in new.tensors().items():
        if len(tensor) == len(old[name]) != rows:
            assert torch.equal(tensor, old[name])
            continue
        grown += 1
        assert torch.equal(tensor[:OLD], old[name][:OLD])
        for number, ids in enumerate(PARTS):
            torch.testing.assert_close(tensor[OLD + number], old[name][ids].mean(0))
        assert torch.equal(tensor[OLD + len(PARTS) :], old[name][OLD + len(PARTS) :])
    assert grown >= 1


@pytest.mark.parametrize("kind", [kind for kind in LEARNING if MODELS[kind].objectives[0] == "causal"])
def test_old_tokens_get_the_same_odds(kind):
    """Between any two old tokens nothing changes; what the new ones take, they take of both alike."""
    old = drawn(kind, OLD).eval()
    new = build_model(config_of(kind, OLD + len(PARTS))).eval()
    load_extended(new, old.tensors(), OLD, PARTS)
    ids = torch.randint(0, OLD, (2, 9), generator=torch.Generator().manual_seed(0))
    if old.reads_source:
        return
    with torch.no_grad():
        torch.testing.assert_close(new(ids)[..., :OLD], old(ids), rtol=1e-4, atol=1e-4)


def test_no_new_tokens():
    old = drawn("decoder", OLD)
    new = build_model(config_of("decoder", OLD))
    load_extended(new, old.tensors(), OLD, [])
    assert all(torch.equal(tensor, old.tensors()[name]) for name, tensor in new.tensors().items())


def test_what_does_not_fit():
    old, new = drawn("decoder", OLD).tensors(), build_model(config_of("decoder", OLD + 3))
    with pytest.raises(ValueError, match="fewer than the 44 old tokens"):
        load_extended(new, old, OLD + 1, [[1], [2]])
    with pytest.raises(ValueError, match="rows"):
        load_extended(new, old, OLD, [[OLD], [1], [2]])
    with pytest.raises(ValueError, match="of another shape"):
        load_extended(new, old, OLD, [[1]])
    counting = build_model(config_of("ngram", OLD))
    with pytest.raises(UsageError, match="no embeddings to begin from"):
        load_extended(counting, {}, OLD, [[1]])
