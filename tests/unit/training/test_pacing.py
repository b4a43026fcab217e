"""Ramps are straight lines over the steps, take each row once, and are the same after a stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.data import Batch, Packer, TokenSplit
from stepwell.errors import Stopped
from stepwell.runs import read_lines
from stepwell.training import BatchRampConfig, CurriculumConfig
from stepwell.training.pacing import context_at, cut_documents, rows_at

STEPS = 12


def test_a_batch_grows_in_a_straight_line():
    config = BatchRampConfig(start_ratio=0.25, ramp_steps=6)
    assert [rows_at(config, 8, step) for step in range(9)] == [2, 3, 4, 5, 6, 7, 8, 8, 8]
    assert [rows_at(None, 8, step) for step in range(3)] == [8, 8, 8]
    assert [rows_at(config, 1, step) for step in range(8)] == [1] * 8
    assert rows_at(BatchRampConfig(start_ratio=1.0, ramp_steps=5), 7, 0) == 7


def test_contexts_grow_in_a_straight_line():
    config = CurriculumConfig(start_tokens=4, ramp_steps=6)
    assert [context_at(config, 16, step) for step in range(8)] == [4, 6, 8, 10, 12, 14, 16, 16]
    assert context_at(None, 16, 0) == 16
    assert context_at(CurriculumConfig(start_tokens=100, ramp_steps=6), 16, 0) == 16


def packed() -> Batch:
    lengths = np.array([17, 3, 9, 5, 12, 2, 7, 17, 6, 11])
    ids = np.random.default_rng(0).integers(1, 200, size=lengths.sum()).astype(np.uint16)
    return Packer(TokenSplit(ids, np.cumsum([0, *lengths]), lengths), 16, seed=0).batch(0, 5)


@pytest.mark.parametrize("context", [1, 3, 4, 15, 16, 99])
def test_documents_are_cut_every_so_many_tokens_from_where_they_begin(context):
    whole = packed()
    cut = cut_documents(whole, context)
    assert (~whole.loss_mask).any()
    for row in range(len(whole.token_ids)):
        wanted, number, before, age = [], -1, None, 0
        for document, counts in zip(whole.document_ids[row].tolist(), whole.loss_mask[row].tolist(), strict=True):
            age = 0 if document != before else age + 1
            number += document != before or (counts and age % context == 0)
            wanted.append(number)
            before = document
        assert cut.document_ids[row].tolist() == wanted
    assert cut.document_ids.dtype == whole.document_ids.dtype
    assert np.array_equal(cut.targets, whole.targets)
    assert cut.num_targets == whole.num_targets


RAMP = {"batch_ramp.start_ratio": 0.2, "batch_ramp.ramp_steps": 6}
CURRICULUM = {"curriculum.start_tokens": 2, "curriculum.ramp_steps": 6}
NOISE = {"gradient_noise.variance": 0.01}
CHOICES = {"ramp": RAMP, "curriculum": CURRICULUM, "noise": NOISE, "all": {**RAMP, **CURRICULUM, **NOISE}}


def watch_rows(trainer: Any) -> list[tuple[int, int]]:
    """(first row, how many) of every batch that is asked for."""
    asked: list[tuple[int, int]] = []
    batch = trainer.updater.packer.batch

    def remember(first_row: int, count: int) -> Batch:
        asked.append((first_row, count))
        return batch(first_row, count)

    trainer.updater.packer.batch = remember
    return asked


@pytest.mark.parametrize("workers", [0, 1])
def test_a_ramp_takes_each_row_once(workers, make_trainer, tmp_path):
    trainer = make_trainer(
        tmp_path, {"steps": 8, "data_workers": workers, **RAMP}, evaluate=lambda model: {"loss": 1.0}
    )
    asked = watch_rows(trainer)
    progress = trainer.run().progress
    sizes = [1, 2, 2, 3, 4, 4, 5, 5]  # of 5 rows: from a fifth of them, by a sixth of the rest at a time
    assert [trainer.updater.rows_at(step) for step in range(8)] == sizes
    assert progress.rows == sum(sizes)
    taken = sorted({row for first, count in asked for row in range(first, first + count)})
    assert taken[: sum(sizes)] == list(range(sum(sizes)))
    firsts = [first for first, _ in asked]
    assert len(set(firsts)) == len(firsts)


def test_contexts_reach_the_objective_as_they_should(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(
        tmp_path, {"steps": 8, "data_workers": 0, **CURRICULUM}, evaluate=lambda model: {"loss": 1.0}
    )
    seen: list[Batch] = []
    prepare = trainer.updater.objective.prepare
    monkeypatch.setattr(
        trainer.updater.objective, "prepare", lambda batch, seed: (seen.append(batch), prepare(batch, seed))[1]
    )
    trainer.run()
    longest = [
        max(
            int(np.bincount(numbers[mask]).max())
            for batch in seen[3 * step : 3 * step + 3]
            for numbers, mask in zip(batch.document_ids, batch.loss_mask, strict=True)
        )
        for step in range(8)
    ]
    assert longest[:6] == [2, 4, 7, 9, 11, 14]
    assert longest[6] > 14


def test_targets_of_an_update_are_as_many_as_ever(make_trainer, tmp_path):
    told = []
    for name, choice in (("plain", {}), ("short", CURRICULUM)):
        make_trainer(tmp_path / name, {"steps": 4, **choice}, evaluate=lambda model: {"loss": 1.0}).run()
        steps = [line for line in read_lines(tmp_path / name / "metrics.jsonl") if line["kind"] == "step"]
        told.append([(line["tokens"], line["learning_rate"]) for line in steps])
    assert told[0] == told[1]


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(choice, make_trainer, tmp_path):
    settings = {"steps": STEPS, **CHOICES[choice]}
    make_trainer(tmp_path / "whole", settings).run()
    for step in (2, 5):
        asked = iter([False] * (step - 1) + [True])
        go_on(lambda: make_trainer(tmp_path / str(step), settings, stop_requested=lambda: next(asked, False)))  # noqa: B023
        name = f"checkpoints/step-{STEPS:06d}"
        for file in sorted((tmp_path / "whole" / name).glob("*.safetensors")):
            assert file.read_bytes() == (tmp_path / str(step) / name / file.name).read_bytes(), file.name
        losses = [
            [line["loss"] for line in read_lines(tmp_path / run / "metrics.jsonl") if line["kind"] == "step"]
            for run in ("whole", str(step))
        ]
        assert losses[0] == losses[1]


def go_on(make: Callable[[], Any]) -> None:
    for _ in range(3):
        try:
            make().run()
        except Stopped:
            continue
        return
    raise AssertionError("the run never ended")


def test_short_contexts_are_separate_documents_to_the_model(make_trainer, tmp_path):
    """With a context of one token, a token is told from the one before it alone: words before it change nothing."""
    model = make_trainer(tmp_path, {"steps": 3}).model.eval()
    batch = cut_documents(packed(), 1)
    documents, swapped = torch.from_numpy(batch.document_ids), torch.from_numpy(batch.token_ids).flip(0)
    with torch.no_grad():
        hidden = model.hidden(torch.from_numpy(batch.token_ids), documents)
        swapped[:, -1] = torch.from_numpy(batch.token_ids)[:, -1]
        other = model.hidden(swapped, documents)
    kept = torch.from_numpy(batch.loss_mask)[:, -1]
    assert kept.any()
    torch.testing.assert_close(hidden[kept, -1], other[kept, -1])
