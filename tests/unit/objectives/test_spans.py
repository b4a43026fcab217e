"""Finding passages: the loss beside cross-entropy on each text alone, packed or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stepwell.data import Batch
from stepwell.evaluation.measuring.reading import nats_of
from stepwell.models import MODELS, DecoderConfig, EncoderConfig, TaskHeadConfig, build_model
from stepwell.objectives import SpanConfig, SpanObjective, span_losses
from stepwell.tasks import BEGIN, CANDIDATE, END


def marks_of(length: int, first: int, begins: list[int], ends: list[int]) -> np.ndarray:
    marks = np.zeros(length, np.uint8)
    marks[first:] = CANDIDATE
    marks[begins] |= BEGIN
    marks[ends] |= END
    return marks


TEXTS = [marks_of(9, 3, [4], [6]), marks_of(5, 2, [4], [4]), marks_of(7, 1, [2, 5], [3, 6]), marks_of(2, 1, [1], [1])]


def packed(rows: list[list[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Marks and pieces of texts laid into rows."""
    marks, pieces = np.zeros((len(rows), length), np.uint8), np.full((len(rows), length), len(TEXTS))
    number = 0
    for row, texts in enumerate(rows):
        at = 0
        for text in texts:
            size = len(TEXTS[text])
            marks[row, at : at + size], pieces[row, at : at + size] = TEXTS[text], number
            at, number = at + size, number + 1
    return marks, pieces


def test_the_loss_is_cross_entropy_over_the_places_of_each_text() -> None:
    marks, pieces = packed([[0, 1], [2, 3]], 16)
    scores = torch.randn(2, 16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = span_losses(scores, torch.from_numpy(marks), torch.from_numpy(pieces), len(TEXTS))
    for number, text in enumerate(TEXTS):
        mine = scores[torch.from_numpy(pieces == number)]
        allowed = torch.from_numpy(text > 0)
        expected = 0.0
        for column, bit in ((0, BEGIN), (1, END)):
            logits = mine[allowed, column]
            right = torch.from_numpy((text & bit) > 0)[allowed].nonzero()[:, 0]
            each = torch.stack([-cross_entropy(logits[None], one[None]) for one in right])
            expected += -0.5 * torch.logsumexp(each, 0).item()
        assert found[number].item() == pytest.approx(expected, rel=1e-5)
        assert nats_of(mine.numpy(), text) == pytest.approx(expected, rel=1e-6)


def test_a_text_without_places_costs_nothing_and_gradients_are_finite() -> None:
    marks, pieces = packed([[0, 1], [2, 3]], 16)
    marks[pieces == 1] = 0
    scores = (1e3 * torch.randn(2, 16, 2, generator=torch.Generator().manual_seed(1))).requires_grad_()
    found = span_losses(scores, torch.from_numpy(marks), torch.from_numpy(pieces), len(TEXTS))
    found.sum().backward()
    assert found[1] == 0
    assert torch.isfinite(found).all()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[torch.from_numpy(marks == 0)].any()


def batch_of(rows: list[list[int]], length: int, weights: list[float]) -> Batch:
    marks, pieces = packed(rows, length)
    rng = np.random.default_rng(0)
    ids_of = [rng.integers(3, 40, len(text)) for text in TEXTS]
    token_ids, document_ids = np.zeros((len(rows), length), np.int64), np.zeros((len(rows), length), np.int32)
    for row, texts in enumerate(rows):
        at = 0
        for place, text in enumerate(texts):
            token_ids[row, at : at + len(TEXTS[text])] = ids_of[text]
            document_ids[row, at : at + len(TEXTS[text])] = place
            at += len(TEXTS[text])
        document_ids[row, at:] = len(texts)
    order = [text for texts in rows for text in texts]
    beside = {"weight": np.array([weights[text] for text in order], np.float32)}
    mask = pieces < len(TEXTS)
    return Batch(token_ids, token_ids, mask, document_ids, {"span": marks}, beside)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_packing_changes_nothing_and_what_weighs_nothing_does_not_count(family: str) -> None:
    shape = {"vocab_size": 40, "d_model": 32, "num_layers": 1, "num_heads": 2, "head_dim": 16, "d_ff": 32}
    shape |= {"num_kv_heads": 2, "max_seq_len": 32, "dropout": 0.0}
    head = TaskHeadConfig(num_outputs=2, pooling="each", dropout=0.0)
    config = (EncoderConfig if family == "encoder" else DecoderConfig)(**shape, task_head=head)  # type: ignore[arg-type]
    model, objective = build_model(config, 0), SpanObjective(SpanConfig())
    weights = [1.0, 0.0, 2.0, 1.0]
    losses = []
    for rows, length in (([[0, 1], [2, 3]], 16), ([[3], [1], [2], [0]], 9), ([[2, 1, 0, 3]], 23)):
        examples = objective.prepare(batch_of(rows, length, weights), 0)
        assert examples.num_targets == 3
        losses.append(objective.loss(model, examples, torch.device("cpu")).item())
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-5)
    without = batch_of([[0, 1], [2, 3]], 16, [1.0, 0.0, 2.0, 1.0])
    changed = without.aligned["span"].copy()
    changed[0, 9 + 2 : 9 + 4] |= BEGIN | END  # of the text that weighs nothing
    again = Batch(
        without.token_ids,
        without.targets,
        without.loss_mask,
        without.document_ids,
        {"span": changed},
        without.of_document,
    )
    assert objective.loss(model, objective.prepare(again, 0), torch.device("cpu")).item() == pytest.approx(losses[0])


def test_a_model_without_a_task_head_is_refused() -> None:
    config = MODELS["decoder"].sized(1, vocab_size=40, max_seq_len=32)
    objective = SpanObjective(SpanConfig())
    examples = objective.prepare(batch_of([[0]], 16, [1.0] * 4), 0)
    with pytest.raises(TypeError, match="task head"):
        objective.loss(build_model(config, 0), examples, torch.device("cpu"))
