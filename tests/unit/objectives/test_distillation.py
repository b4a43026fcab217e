"""Learning from a teacher: the formula, beside torch's own, in a training run, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, softmax

from stepwell.checkpoints import save_checkpoint
from stepwell.data import Batch, Packer, TokenSplit
from stepwell.errors import CheckpointError, ConfigError, RunError
from stepwell.models import Decoder, DecoderConfig, Output, build_model, recurrent_sized
from stepwell.objectives import DistillationConfig, HiddenStatesConfig, build_objective, fused_loss
from stepwell.objectives.distillation import distilled_loss, state_distance, states_of
from stepwell.runs import read_lines
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

SHAPE = {"num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "d_ff": 24}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


def decoder(seed: int = 0, **changes: Any) -> Decoder:
    model = Decoder(DecoderConfig(vocab_size=257, max_seq_len=16, **{**SHAPE, **changes}), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def teacher(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "teacher", decoder(1, num_layers=4), tokenizer, provenance={})
    return tmp_path / "teacher"


def batch() -> Batch:
    lengths = np.array([5, 20, 9, 30, 14])
    ids = np.random.default_rng(0).integers(0, 257, lengths.sum()).astype(np.uint16)
    return Packer(TokenSplit(ids, np.cumsum([0, *lengths]), lengths), 16, 0).batch(0, 3)


def plainly(
    logits: torch.Tensor, told: torch.Tensor, targets: torch.Tensor, config: DistillationConfig
) -> torch.Tensor:
    """As torch has it, from all logits."""
    heat, share = config.temperature, config.teacher_share
    apart = kl_div(log_softmax(logits / heat, -1), softmax(told / heat, -1), reduction="sum")
    smoothing = config.loss.label_smoothing
    right = cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    return share * heat**2 * apart + (1 - share) * right


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(("share", "heat"), [(0.5, 2.0), (1.0, 1.0), (0.3, 0.7)])
@pytest.mark.parametrize("chunk", [1, 2**23])
def test_it_is_the_formula(
    monkeypatch: pytest.MonkeyPatch, softcap: float | None, share: float, heat: float, chunk: int
):
    import stepwell.objectives.fused_loss as fused_file

    monkeypatch.setattr(fused_file, "CHUNK_LOGITS", chunk)
    assert fused_loss is not None
    generator = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randn(size, generator=generator, dtype=torch.float64)  # noqa: E731
    hidden, weight, bias = (one.requires_grad_() for one in (draw(7, 5), draw(11, 5), draw(11)))
    taught, teacher = draw(7, 6), Output(draw(11, 6), draw(11), softcap)
    targets = torch.randint(0, 11, (7,), generator=generator)
    config = DistillationConfig(teacher="x", temperature=heat, teacher_share=share)
    logits, told = hidden @ weight.mT + bias, (taught @ teacher.weight.mT + teacher.bias)
    if softcap is not None:
        logits, told = softcap * torch.tanh(logits / softcap), softcap * torch.tanh(told / softcap)
    wanted = plainly(logits, told, targets, config)
    found = distilled_loss(hidden, Output(weight, bias, softcap), taught, teacher, targets, config)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(found, (hidden, weight, bias)),
        torch.autograd.grad(wanted, (hidden, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("own", "theirs"), [(11, 9), (9, 11)])
def test_rows_that_only_one_of_the_two_has_are_no_tokens(own: int, theirs: int):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randn(size, generator=generator)  # noqa: E731
    hidden, weight, taught, teacher = draw(7, 5).requires_grad_(), draw(own, 5), draw(7, 6), draw(theirs, 6)
    config = DistillationConfig(teacher="x", teacher_share=1.0, temperature=1.0)
    found = distilled_loss(hidden, Output(weight), taught, Output(teacher), torch.zeros(7, dtype=torch.long), config)
    told = softmax((taught @ teacher.mT)[:, :9], -1)
    guessed = log_softmax(hidden @ weight.mT, -1)[:, :9]
    wanted = (told * (told.log() - guessed)).sum()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(one, hidden)[0] for one in (found, wanted)))


def test_a_model_has_nothing_to_learn_from_itself(tokenizer: Tokenizer, tmp_path: Path):
    model = decoder(1)
    save_checkpoint(tmp_path / "self", model, tokenizer, provenance={})
    states = HiddenStatesConfig(layers="all", distance="mean_squared_error")
    config = DistillationConfig(teacher=str(tmp_path / "self"), teacher_share=1.0, hidden_states=states)
    objective = build_objective(config, tokenizer)
    loss = objective.loss(model, objective.prepare(batch(), 0), model.device)
    assert abs(loss.item()) < 1e-3
    loss.backward()
    assert max(float(one.grad.abs().max()) for one in model.parameters() if one.grad is not None) < 1e-3


@pytest.mark.parametrize("distance", ["mean_squared_error", "cosine", "relations"])
def test_distances_beside_loops(distance: str):
    generator = torch.Generator().manual_seed(0)
    own, taught = (torch.randn(2, 5, 4, generator=generator) for _ in range(2))
    documents = torch.tensor([[0, 0, 0, 1, 1], [0, 1, 1, 1, 2]])
    counted = torch.tensor([[True, True, False, True, True], [True, True, True, True, False]])
    total = 0.0
    for row in range(2):
        for at in (at for at in range(5) if counted[row, at]):
            s, t = own[row], taught[row]
            if distance == "mean_squared_error":
                total += float((s[at] - t[at]).square().mean())
            elif distance == "cosine":
                total += 1 - float(cosine_similarity(s[at], t[at], dim=0))
            else:
                seen = [u for u in range(5) if counted[row, u] and documents[row, u] == documents[row, at]]
                apart = [cosine_similarity(s[at], s[u], dim=0) - cosine_similarity(t[at], t[u], dim=0) for u in seen]
                total += float(torch.stack(apart).square().mean())
    found = state_distance(own, taught, documents, counted, HiddenStatesConfig(distance=distance))
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_states_are_those_after_each_block():
    model = decoder(0)
    ids, documents = (torch.from_numpy(one) for one in (batch().token_ids, batch().document_ids))
    caught: list[torch.Tensor] = []
    for block in model.body.blocks:
        block.register_forward_hook(lambda _module, _given, out: caught.append(out))
    last, states = states_of(model, ids, documents, of_blocks=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(states, caught, strict=True))
    assert torch.equal(last, model.hidden(ids, documents))
    assert len(states) == 2
    assert model.body.states is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden", ["null", "{distance: mean_squared_error, layers: all}", "{distance: relations, layers: last}"]
)
def test_a_student_comes_nearer_to_its_teacher(make_trainer, tokenizer, teacher, tmp_path, hidden):
    objective = f"{{kind: distillation, teacher: {teacher}, teacher_share: 1.0, hidden_states: {hidden}}}"
    trainer = make_trainer(
        tmp_path / "run", {"objective": objective, "steps": 30}, built=decoder(0), tokenizer=tokenizer
    )
    trainer.run()
    losses = [line["loss"] for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "step"]
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_goes_on_with_the_same_teacher_alone(make_trainer, tokenizer, teacher, tmp_path):
    training = {"objective": f"{{kind: distillation, teacher: {teacher}}}"}
    make_trainer(tmp_path / "run", training, tokenizer=tokenizer).run()
    make_trainer(tmp_path / "run", training, tokenizer=tokenizer).run()
    save_checkpoint(teacher, decoder(7, num_layers=4), tokenizer, provenance={})
    with pytest.raises(RunError, match="another training run"):
        make_trainer(tmp_path / "run", training, tokenizer=tokenizer)


def test_a_teacher_that_does_not_fit_is_refused(tokenizer, teacher, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        build_objective(DistillationConfig(teacher=str(tmp_path / "nowhere")), tokenizer)
    other = train_tokenizer(["another text entirely"] * 9, ByteBPEConfig(vocab_size=262))
    with pytest.raises(ConfigError, match="another tokenizer than the student"):
        build_objective(DistillationConfig(teacher=str(teacher)), other)

    def loss(config: DistillationConfig, model: Any) -> Any:
        objective = build_objective(config, tokenizer)
        return objective.loss(model, objective.prepare(batch(), 0), model.device)

    states = HiddenStatesConfig(distance="cosine")
    with pytest.raises(ConfigError, match=r"equal widths\n.*width 8 and a teacher of 16"):
        loss(DistillationConfig(teacher=str(teacher), hidden_states=states), decoder(0, d_model=8))
    recurrent = build_model(recurrent_sized(2, vocab_size=257, max_seq_len=16))
    with pytest.raises(ConfigError, match="a model has no blocks"):
        loss(DistillationConfig(teacher=str(teacher), hidden_states=HiddenStatesConfig(layers="all")), recurrent)
    assert loss(DistillationConfig(teacher=str(teacher)), recurrent).isfinite()
    short = Decoder(DecoderConfig(vocab_size=257, max_seq_len=8, **SHAPE))
    save_checkpoint(tmp_path / "short", short, tokenizer, provenance={})
    with pytest.raises(ConfigError, match=r"set training\.row_tokens=8"):
        loss(DistillationConfig(teacher=str(tmp_path / "short")), decoder())
