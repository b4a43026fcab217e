"""Training compiled is training, begins late, and is given up where it cannot be."""

from __future__ import annotations

import warnings

import pytest
import torch

from stepwell.hardware import cache_directory
from stepwell.models import MODELS, DecoderConfig, build_model
from stepwell.objectives import CrossEntropyConfig
from stepwell.objectives.losses import summed_loss
from stepwell.training import TrainingConfig
from stepwell.training.compiling import Compiled, is_compile_fault
from stepwell.training.record import Record
from stepwell.training.state import Progress

TINY = DecoderConfig(
    vocab_size=50, d_model=32, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=16, d_ff=64, max_seq_len=32
)


def training(**changes: object) -> TrainingConfig:
    values = {
        "steps": 100,
        "global_batch_tokens": 64,
        "micro_batch": 2,
        "optimizer": {"kind": "adamw", "learning_rate": 0.01},
        "schedule": {"kind": "wsd", "warmup_steps": 1},
        "precision": "bfloat16",
        "evaluate_every_steps": 50,
    }
    return TrainingConfig.model_validate({**values, **changes})


def compiled(tmp_path, model=None, told=None, **changes: object) -> Compiled:
    record = Record(tmp_path / "metrics.jsonl", [].append if told is None else told.append)
    return Compiled(model or build_model(TINY), training(**changes), record)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "cache"))


def test_it_pays_for_long_runs_only(tmp_path):
    one = compiled(tmp_path)
    assert not one.is_worth_it(60, 400)
    assert one.is_worth_it(3600, 400)
    one._marker.parent.mkdir(parents=True)
    one._marker.touch()  # what was compiled before costs less
    assert one.is_worth_it(200, 400)


def test_a_run_of_steps_is_judged_by_the_rate_alone(tmp_path):
    assert not compiled(tmp_path).is_worth_it(None, 400)
    assert compiled(tmp_path, steps=10**9).is_worth_it(None, 400)
    assert not compiled(tmp_path, steps=10**9).is_worth_it(None, None)


def test_the_user_decides(tmp_path):
    assert compiled(tmp_path, compile=True).is_worth_it(1, 400)
    assert not compiled(tmp_path, compile=False).is_worth_it(10**6, 400)
    assert not compiled(tmp_path, precision="float32").is_worth_it(10**6, 400)


@pytest.mark.parametrize("kind", ["pairs", "span_corruption", "denoising", "sequence_to_sequence"])
def test_rows_of_many_lengths_are_not_compiled_again_and_again(tmp_path, kind):
    assert not compiled(tmp_path, objective={"kind": kind}).is_worth_it(10**6, 400)
    assert compiled(tmp_path, objective={"kind": kind}, compile=True).is_worth_it(1, 400)


def test_a_model_without_blocks_or_a_machine_without_a_compiler_is_left_alone(tmp_path, monkeypatch):
    lstm = build_model(MODELS["lstm"].sized(1, vocab_size=50, max_seq_len=32))
    assert not compiled(tmp_path, lstm, compile=True).is_worth_it(10**6, 400)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not compiled(tmp_path, compile=True).is_worth_it(10**6, 400)


@pytest.mark.slow
def test_what_cannot_be_compiled_is_trained_without(tmp_path):
    told: list = []
    one = compiled(tmp_path, told=told)
    state = Progress(0, 10, step=3, compile_from=3)
    one.mind(state)
    assert one.since == 3
    assert one.stacks[0].compiled
    one.give_up(state, "no such intrinsic")
    assert state.compile_from is None
    assert one.since is None
    assert not one.stacks[0].compiled
    assert told[-1].warning
    assert "no such intrinsic" in told[-1].text


def test_a_fault_of_the_compiler_is_told_from_one_of_the_model():
    inner = type("Fault", (RuntimeError,), {"__module__": "torch._inductor.exc"})("x")
    outer = RuntimeError("y")
    outer.__cause__ = inner
    assert is_compile_fault(outer)
    assert not is_compile_fault(RuntimeError("z"))


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_the_model_as_written(tmp_path):
    model = build_model(TINY, seed=1).train()
    torch.nn.init.normal_(model.head.weight)
    token_ids = torch.randint(50, (2, 32), generator=torch.Generator().manual_seed(0))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.hidden(token_ids).flatten(0, 1)
            loss = summed_loss(model, hidden, token_ids.flatten(), CrossEntropyConfig())
        loss.backward()
        return [loss.detach(), *(each.grad.clone() for each in model.parameters())]

    wanted = gradients()
    one = compiled(tmp_path, model, compile=True)
    with warnings.catch_warnings():
        one.mind(Progress(0, 10, step=2, compile_from=2))
        got = gradients()
    assert (cache_directory() / "inductor").is_dir()
    for mine, other in zip(got, wanted, strict=True):
        assert (mine - other).norm() <= 0.02 * other.norm()
    model.eval()
    assert torch.equal(model(token_ids), build_like(model)(token_ids))  # prediction knows nothing of it


def build_like(model):
    other = build_model(model.config)
    other.load_tensors(model.tensors())
    return other.eval()
