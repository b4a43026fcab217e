"""Preference: losses beside the formulas, answers that do not see each other, and what a reference says."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepwell.data import Batch
from stepwell.errors import ConfigError, DataError
from stepwell.models import DecoderConfig, LanguageModel, LoRAConfig, Output, add_adapter, build_model
from stepwell.objectives import (
    Answered,
    DPOConfig,
    KTOConfig,
    ORPOConfig,
    PreferenceObjective,
    PreferenceObjectiveConfig,
    SimPOConfig,
    answer_logprobs,
    answer_losses,
    pair_losses,
    token_logprobs,
)
from stepwell.objectives.preference import Side, compared
from stepwell.tokenizers import CharacterConfig, Tokenizer, train_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["abcdefghij klmnop"], CharacterConfig())


def tiny(tokenizer: Tokenizer) -> LanguageModel:
    config = DecoderConfig(
        vocab_size=tokenizer.vocab_size,
        max_seq_len=32,
        d_model=16,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=8,
        d_ff=32,
    )
    model = build_model(config)
    torch.manual_seed(0)
    for parameter in model.parameters():  # a fresh head is all zeros, and says nothing of what it reads
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


# ---- plain oracles, one pair at a time, in Python's own floats


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def plain_pair(config: Any, c: float, nc: int, rc: float, r: float, nr: int, rr: float) -> float:
    """As the papers (and trl) write them."""
    if isinstance(config, SimPOConfig):
        return -math.log(sigmoid(config.beta * (c / nc - r / nr - config.margin / config.beta)))
    if isinstance(config, ORPOConfig):
        pc, pr = math.exp(c / nc), math.exp(r / nr)
        return -c / nc - config.odds_weight * math.log(sigmoid(math.log((pc / (1 - pc)) / (pr / (1 - pr)))))
    if config.form == "ipo":
        return ((c - rc) / nc - (r - rr) / nr - 1 / (2 * config.beta)) ** 2
    logits = config.beta * ((c - r) - (rc - rr))
    smooth = config.label_smoothing
    return -(1 - smooth) * math.log(sigmoid(logits)) - smooth * math.log(sigmoid(-logits))


PAIRED = (
    DPOConfig(),
    DPOConfig(beta=0.5, label_smoothing=0.2),
    DPOConfig(form="ipo", beta=0.3),
    ORPOConfig(odds_weight=0.7),
    SimPOConfig(beta=1.5, margin=0.4),
)


def sides(rows: list[tuple[float, int, float]]) -> Side:
    sums, lengths, reference = (torch.tensor([row[n] for row in rows], dtype=torch.float64) for n in range(3))
    return Side(sums.requires_grad_(), lengths, reference)


@pytest.mark.parametrize("config", PAIRED, ids=lambda one: f"{one.kind}-{getattr(one, 'form', '')}")
def test_pairs_as_the_formulas(config: Any) -> None:
    better, worse = (
        [(-12.0, 6, -13.5), (-4.0, 2, -3.0), (-90.0, 40, -80.0)],
        [(-9.0, 5, -9.5), (-8.0, 3, -7.0), (-2.0, 1, -2.5)],
    )
    found = pair_losses(sides(better), sides(worse), config)
    wanted = [plain_pair(config, *c, *r) for c, r in zip(better, worse, strict=True)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("config", PAIRED, ids=lambda one: f"{one.kind}-{getattr(one, 'form', '')}")
def test_gradients_of_pairs(config: Any) -> None:
    def losses(better: Tensor, worse: Tensor) -> Tensor:
        lengths, reference = torch.tensor([6.0, 2.0]).double(), torch.tensor([-13.0, -3.0]).double()
        return pair_losses(Side(better, lengths, reference), Side(worse, lengths, reference), config)

    given = [torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in ([-12.0, -4.0], [-9.0, -8.0])]
    assert torch.autograd.gradcheck(losses, given)


def test_certain_answers_have_a_finite_loss() -> None:
    sure, unsure = sides([(0.0, 3, 0.0)]), sides([(-3e4, 3, 0.0)])
    for config in PAIRED:
        for better, worse in ((sure, unsure), (unsure, sure)):
            loss = pair_losses(better, worse, config).sum()
            assert math.isfinite(loss.item())
            assert all(torch.isfinite(one).all() for one in torch.autograd.grad(loss, [better.sums, worse.sums]))


def test_single_answers_as_the_formula() -> None:
    config = KTOConfig(beta=0.3, desirable_weight=1.2, undesirable_weight=0.8)
    rows, is_good, baseline = [(-12.0, 6, -13.5), (-4.0, 2, -3.0), (-9.0, 2, -8.0)], [True, False, True], 0.25
    found = answer_losses(sides(rows), torch.tensor(is_good), baseline, config)
    wanted = [
        1.2 * (1 - sigmoid(0.3 * (own - then - baseline)))
        if good
        else 0.8 * (1 - sigmoid(0.3 * (baseline - (own - then))))
        for (own, _, then), good in zip(rows, is_good, strict=True)
    ]
    assert found.tolist() == pytest.approx(wanted, rel=1e-6)


# ---- log-probabilities of tokens


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("has_bias", [False, True])
def test_token_logprobs_as_log_softmax(softcap: float | None, has_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("stepwell.objectives.logprobs.CHUNK_LOGITS", 33)  # three rows at a time
    hidden, weight = (torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (10, 11))
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if has_bias else None
    targets, worth = torch.randint(11, (10,)), torch.randn(10, dtype=torch.float64)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    plain = torch.log_softmax(logits, 1).gather(1, targets[:, None]).squeeze(1)
    told = token_logprobs(hidden, Output(weight, bias, softcap), targets)
    torch.testing.assert_close(told, plain)
    learned = [one for one in (hidden, weight, bias) if one is not None]
    for own, other in zip(
        torch.autograd.grad((told * worth).exp().sum(), learned),
        torch.autograd.grad((plain * worth).exp().sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


def test_a_frozen_map_gets_no_gradient() -> None:
    hidden, weight = torch.randn(4, 3, requires_grad=True), torch.randn(7, 3)
    token_logprobs(hidden, Output(weight), torch.tensor([0, 1, 2, 6])).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


# ---- packed rows


def packed(examples: list[list[list[tuple[list[int], list[int], int]]]], length: int = 32) -> Batch:
    """Rows of examples, each a list of (prompt, answer, side)."""
    shape = (len(examples), length)
    token_ids, targets, ids = (np.zeros(shape, np.int64) for _ in range(3))
    mask, weight, side = np.zeros(shape, bool), np.zeros(shape, np.float32), np.zeros(shape, np.int8)
    for row, documents in enumerate(examples):
        at = 0
        for number, document in enumerate(documents):
            tokens = [t for prompt, answer, _ in document for t in (*prompt, *answer)]
            counts = [n for prompt, answer, _ in document for n in (*[0] * len(prompt), *[1] * len(answer))]
            which = [s for prompt, answer, s in document for _ in (*prompt, *answer)]
            here = slice(at, at + len(tokens) - 1)
            token_ids[row, here], targets[row, here], ids[row, here] = tokens[:-1], tokens[1:], number
            mask[row, here], weight[row, here], side[row, here] = True, counts[1:], which[:-1]
            at += len(tokens) - 1
        ids[row, at:] = len(documents)
    return Batch(token_ids, targets, mask, ids.astype(np.int32), {"weight": weight, "side": side})


FIRST = [([1, 5, 6], [7, 8, 2], 0), ([1, 5, 6], [9, 2], 1)]
SECOND = [([1, 4], [3, 8, 9, 2], 0), ([1, 4], [6, 6, 2], 1)]
THIRD = [([1, 7, 7, 7], [5, 2], 0), ([1, 7, 7, 7], [8, 8, 8, 2], 1)]
BATCH = packed([[FIRST, SECOND], [THIRD]])


def test_answers_are_found() -> None:
    found = compared(BATCH, DPOConfig())
    wanted = [(prompt + answer, len(prompt)) for one in (FIRST, SECOND, THIRD) for prompt, answer, _ in one]
    assert [(one.token_ids.tolist(), one.begin) for one in found.answered] == wanted
    assert found.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.num_targets == 3
    assert compared(BATCH, KTOConfig()).num_targets == 6


def plain_sums(model: LanguageModel, answered: list[tuple[list[int], list[int], int]]) -> Tensor:
    """Each answer read by itself, with all logits."""
    sums = []
    for prompt, answer, _ in answered:
        ids = torch.tensor([prompt + answer])
        told = torch.log_softmax(model(ids[:, :-1]), -1)[0].gather(1, ids[0, 1:, None]).squeeze(1)
        sums.append(told[len(prompt) - 1 :].sum())
    return torch.stack(sums)


@pytest.mark.parametrize(
    "config", [DPOConfig(beta=0.4), ORPOConfig(), SimPOConfig(), KTOConfig(beta=0.4)], ids=lambda one: one.kind
)
def test_a_packed_batch_as_single_answers(config: Any, tokenizer: Tokenizer) -> None:
    """The loss and its gradient are those of answers that are read one by one."""
    model = tiny(tokenizer)
    before = copy.deepcopy(model)
    add_adapter(model, LoRAConfig(rank=2, targets=("qkv", "up")))
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    objective = PreferenceObjective(PreferenceObjectiveConfig(loss=config), tokenizer)
    examples = objective.prepare(BATCH, 0)
    loss = objective.loss(model, examples, CPU)
    rows = [one for document in (FIRST, SECOND, THIRD) for one in document]
    own, then = plain_sums(model, rows), plain_sums(before, rows).detach()
    lengths = torch.tensor([len(answer) for _, answer, _ in rows])
    side = Side(own, lengths, then if config.kind in ("dpo", "kto") else torch.zeros(6))
    if isinstance(config, KTOConfig):
        mixed = [(a[0][0], b[0][1], 0) for a, b in ((FIRST, SECOND), (SECOND, THIRD), (THIRD, FIRST))]
        with torch.no_grad():
            baseline = max(0.0, float((plain_sums(model, mixed) - plain_sums(before, mixed)).mean()))
        wanted = answer_losses(side, torch.tensor([True, False] * 3), baseline, config).sum()
    else:
        wanted = pair_losses(Side(*(one[::2] for one in side)), Side(*(one[1::2] for one in side)), config).sum()
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    learned = [one for one in model.parameters() if one.requires_grad]
    for found, plain in zip(torch.autograd.grad(loss, learned), torch.autograd.grad(wanted, learned), strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-5)


def test_a_model_that_has_learned_nothing_is_its_reference(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer)
    add_adapter(model, LoRAConfig(rank=2))
    objective = PreferenceObjective(PreferenceObjectiveConfig(), tokenizer)
    examples = objective.prepare(BATCH, 0)
    assert float(objective.loss(model, examples, CPU).detach()) == pytest.approx(3 * math.log(2), abs=1e-4)
    assert objective.reference is not None
    alone = [float(one.sum()) for one in answer_logprobs(model, examples.answered)]
    assert objective.reference.sums(model, examples.answered).tolist() == alone


def test_a_reference_is_asked_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(tokenizer)
    add_adapter(model, LoRAConfig(rank=2))
    objective = PreferenceObjective(PreferenceObjectiveConfig(), tokenizer)
    asked: list[Answered] = []
    plain = answer_logprobs

    def counting(of: LanguageModel, answered: list[Answered]) -> list[Tensor]:
        asked.extend(answered)
        return plain(of, answered)

    monkeypatch.setattr("stepwell.objectives.reference.answer_logprobs", counting)
    for rows in ([[FIRST, SECOND], [THIRD]], [[THIRD, FIRST]], [[SECOND], [FIRST]]):
        objective.loss(model, objective.prepare(packed(rows), 0), CPU)
    assert len(asked) == 6


def test_dropout_is_not_in_the_reference(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer)
    add_adapter(model, LoRAConfig(rank=2, dropout=0.5))
    model.train()
    answered = compared(BATCH, DPOConfig()).answered
    first, second = (answer_logprobs(model, answered)[0].tolist() for _ in range(2))
    assert first == second
    assert model.training


def test_no_reference_is_an_error(tokenizer: Tokenizer) -> None:
    objective = PreferenceObjective(PreferenceObjectiveConfig(), tokenizer)
    with pytest.raises(ConfigError, match="there is none"):
        objective.loss(tiny(tokenizer), objective.prepare(BATCH, 0), CPU)


def test_another_tokenizer_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from stepwell.checkpoints import save_checkpoint

    save_checkpoint(tmp_path / "model", tiny(tokenizer), tokenizer, provenance={})
    other = train_tokenizer(["something else"], CharacterConfig())
    config = PreferenceObjectiveConfig(reference=str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="another tokenizer"):
        PreferenceObjective(config, other)
    objective = PreferenceObjective(config, tokenizer)
    assert objective.identity()["reference_sha256"]
    model = tiny(tokenizer)
    found = float(objective.loss(model, objective.prepare(BATCH, 0), CPU).detach())
    assert found == pytest.approx(3 * math.log(2), abs=1e-4), "it is the model itself"
    torch.nn.init.normal_(next(model.parameters()), std=0.3)
    found = float(objective.loss(model, objective.prepare(BATCH, 0), CPU).detach())
    assert found != pytest.approx(3 * math.log(2), abs=1e-4)


def test_a_single_answer_has_no_pair() -> None:
    alone = packed([[FIRST, SECOND[:1]]])
    with pytest.raises(DataError, match="kto"):
        compared(alone, DPOConfig())
    found = compared(alone, KTOConfig())
    assert found.num_targets == 3
    assert [(one.token_ids.tolist(), one.begin) for one in found.elsewhere] == [
        ([1, 5, 6, 3, 8, 9, 2], 3),
        ([1, 4, 7, 8, 2], 2),
    ]
    assert not compared(packed([[FIRST]]), KTOConfig()).elsewhere, "one prompt has nothing beside it"
