"""A checkpoint is whole or it is named: what, where, and which good one is there instead."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from stepwell.checkpoints import (
    load_checkpoint,
    newest_good,
    prune,
    read_optimizer,
    resolve_checkpoint,
    save_checkpoint,
    store,
    take_snapshot,
    verify,
    write_snapshot,
)
from stepwell.errors import CheckpointError, DiskError
from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.runs import file_checksum, to_json
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

SHAPE = {"max_seq_len": 8, "num_layers": 1, "d_model": 8, "num_heads": 1, "num_kv_heads": 1, "head_dim": 8, "d_ff": 8}


def model(seed: int = 0, **changes: Any) -> LanguageModel:
    return build_model(DecoderConfig(**{"vocab_size": 257, **SHAPE, **changes}), seed)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """257 tokens: the end of text and the bytes."""
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.fixture
def save(tokenizer: Tokenizer) -> Callable[..., Path]:
    """A function of a path (and the model's seed) that saves a checkpoint with everything in it."""

    def saved(path: Path, seed: int = 0) -> Path:
        state = {"head.weight:exp_avg": torch.full((3,), float(seed)), "head.weight:step": torch.tensor(2.0)}
        save_checkpoint(
            path, model(seed), tokenizer, provenance={"seed": seed}, optimizer=state, trainer={"step": seed}
        )
        return path

    return saved


FILES = ["config.json", "model.safetensors", "optimizer.safetensors", "provenance.json", "tokenizer.json"]
FILES += ["trainer.json"]


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def rewrite_manifest(path: Path) -> None:
    """Make the checksums right again, as after a change by hand."""
    checksums = {name: file_checksum(path / name) for name in contents(path) if name != "manifest.json"}
    (path / "manifest.json").write_text(to_json({"format": store.FORMAT, "sha256": checksums}), encoding="utf-8")


def test_what_is_saved_is_loaded(save, tmp_path, tokenizer):
    path = save(tmp_path / "run", seed=3)
    assert sorted(contents(path)) == sorted([*FILES, "manifest.json"])
    loaded = load_checkpoint(path)
    for name, parameter in model(3).named_parameters():
        assert torch.equal(loaded.model.get_parameter(name), parameter)
    assert not loaded.model.training
    assert loaded.tokenizer.fingerprint == tokenizer.fingerprint
    assert loaded.provenance == {"seed": 3}
    assert loaded.trainer == {"step": 3}
    assert loaded.path == path
    assert read_optimizer(path)["head.weight:exp_avg"].tolist() == [3, 3, 3]
    assert read_optimizer(path)["head.weight:step"].shape == ()


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_stored_once_and_stay_tied(tmp_path, tokenizer, tied):
    built = model(tie_embeddings=tied)
    save_checkpoint(tmp_path / "c", built, tokenizer, provenance={})
    loaded = load_checkpoint(tmp_path / "c").model
    assert len(list(loaded.parameters())) == len(list(built.parameters()))
    assert (loaded.head is None) is tied


def test_a_model_without_trainer_state_cannot_go_on(tmp_path, tokenizer):
    save_checkpoint(tmp_path / "c", model(), tokenizer, provenance={})
    assert load_checkpoint(tmp_path / "c").trainer is None
    with pytest.raises(CheckpointError, match="no optimizer state"):
        read_optimizer(tmp_path / "c")


def test_saving_twice_gives_the_same_bytes(save, tmp_path):
    assert contents(save(tmp_path / "a")) == contents(save(tmp_path / "b"))


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(content[:-1])
    elif how == "empty":
        file.write_bytes(b"")
    else:
        at = len(content) // 2
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


HOWS = ["missing", "truncated", "empty", "one bit"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(save, tmp_path, name, how):
    path = save(tmp_path / "step-000001")
    damage(path / name, how)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert caught.value.what.startswith(f"{path / name}: is ")
    assert caught.value.do is None, "there is no other to offer"


@pytest.mark.parametrize("how", HOWS[:3])
def test_a_damaged_manifest_is_named(save, tmp_path, how):
    path = save(tmp_path / "step-000001")
    damage(path / "manifest.json", how)
    with pytest.raises(CheckpointError, match="manifest"):
        load_checkpoint(path)


@pytest.mark.parametrize("record", ["null", "[]", '{"format": 1}', '{"format": 1, "sha256": 3}', '{"sha256": {}}'])
def test_a_manifest_of_another_form_is_damaged(save, tmp_path, record):
    path = save(tmp_path / "c")
    (path / "manifest.json").write_text(record)
    with pytest.raises(CheckpointError, match=r"manifest\.json: is damaged"):
        verify(path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "provenance.json"])
def test_a_manifest_that_forgets_a_part_does_not_hide_its_loss(save, tmp_path, name):
    path = save(tmp_path / "c")
    (path / name).unlink()
    rewrite_manifest(path)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path)


def test_another_format_is_refused(save, tmp_path):
    path = save(tmp_path / "c")
    record = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(path)


MISFITS = {
    "wider": {"d_ff": 16},
    "deeper": {"num_layers": 2},
    "tied": {"tie_embeddings": True},
    "another kind": {"kind": "abacus"},
    "unknown field": {"colour": "blue"},
    "wrong value": {"num_layers": 0},
}


@pytest.mark.parametrize("changes", MISFITS.values(), ids=MISFITS)
def test_a_config_that_does_not_fit_the_weights_is_refused(save, tmp_path, changes):
    path = save(tmp_path / "c")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))
    rewrite_manifest(path)
    with pytest.raises(Exception, match=r"(does not fit its config|config\.json)") as caught:
        load_checkpoint(path)
    assert hasattr(caught.value, "exit_code")


def test_the_newest_good_one_is_offered(save, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").touch()
    for round_, step in ((1, 10), (1, 20), (2, 10), (2, 20)):
        path = save(run / "rounds" / f"0{round_}" / "checkpoints" / f"step-0000{step}")
        os.utime(path, (100 * round_ + step,) * 2)
    best = save(run / "best")
    os.utime(best, (0, 0))
    checkpoints = run / "rounds" / "02" / "checkpoints"
    damage(best / "model.safetensors", "one bit")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(run)
    assert caught.value.do == f"use the newest good one: {checkpoints / 'step-000020'}"
    damage(checkpoints / "step-000020" / "config.json", "truncated")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(run)
    assert caught.value.do == f"use the newest good one: {checkpoints / 'step-000010'}"
    with pytest.raises(CheckpointError, match="step-000010"):
        load_checkpoint(checkpoints / "step-000020")


def test_models_of_other_runs_are_never_offered(save, tmp_path):
    runs = tmp_path / "runs"
    other = save(runs / "other" / "rounds" / "01" / "checkpoints" / "best")
    save(runs / "best")
    mine = save(runs / "mine" / "best")
    for run in (runs / "other", runs / "mine"):
        (run / "run.json").touch()
    (runs / "other" / "data").mkdir()
    damage(mine / "model.safetensors", "one bit")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(runs / "mine")
    assert caught.value.do is None
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(runs / "other" / "typo")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(runs / "other" / "data")
    assert resolve_checkpoint(runs / "other") == other


def test_what_a_path_stands_for(save, tmp_path):
    run = tmp_path / "run"
    early = save(run / "rounds" / "01" / "checkpoints" / "step-000001")
    (run / "run.json").touch()
    draft = run / "rounds" / "01" / "checkpoints" / ".best.1.stepwell-draft"
    shutil.copytree(early, draft)
    assert resolve_checkpoint(run) == early
    assert resolve_checkpoint(run / "rounds" / "01") == early
    assert resolve_checkpoint(early.parent) == early
    assert resolve_checkpoint(early) == early
    best = save(run / "best")
    assert resolve_checkpoint(run) == resolve_checkpoint(best) == best
    with pytest.raises(CheckpointError, match="no such file or directory"):
        resolve_checkpoint(run / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for neither in ("empty", "file"):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            resolve_checkpoint(tmp_path / neither)


def test_the_newest_whole_checkpoint_of_a_training_run(save, tmp_path):
    assert newest_good(tmp_path) == (None, [])
    paths = [save(tmp_path / f"step-{step:06d}") for step in (5, 30, 200, 1_000_000)]
    (tmp_path / "step-best").mkdir()
    assert newest_good(tmp_path) == (paths[3], [])
    damage(paths[3] / "trainer.json", "missing")
    damage(paths[2] / "manifest.json", "empty")
    found, damaged = newest_good(tmp_path)
    assert found == paths[1]
    assert [str(path) in line for path, line in zip([paths[3], paths[2]], damaged, strict=True)] == [True, True]
    for path in paths[:2]:
        damage(path / "model.safetensors", "one bit")
    assert newest_good(tmp_path)[0] is None


def test_prune_keeps_the_last_ones_and_the_named_ones(tmp_path):
    for name in ("step-000001", "step-000009", "step-000010", "step-000100", "best", "stable", "step-x"):
        (tmp_path / name).mkdir()
    prune(tmp_path, keep=2, newest=100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "stable", "step-000010", "step-000100", "step-x"]
    prune(tmp_path, keep=2, newest=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "stable", "step-000010", "step-x"]


def test_prune_keeps_one_every_so_many_steps(tmp_path):
    for step in (0, 3, 4, 8, 10, 11, 12, 16):
        (tmp_path / f"step-{step:06d}").mkdir()
    prune(tmp_path, keep=1, newest=12, every_steps=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000004", "step-000008", "step-000012"]


def test_a_snapshot_is_of_its_moment(tmp_path):
    """What the model becomes while it is written does not reach the disk."""
    built, tokenizer = model(), train_tokenizer([], ByteBPEConfig(vocab_size=257))
    state = {"a:exp_avg": torch.ones(3)}
    before = {name: tensor.clone() for name, tensor in built.tensors().items()}
    snapshot = take_snapshot(built, tokenizer, provenance={}, optimizer=state, trainer={"step": 1})
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.zero_()
    state["a:exp_avg"].zero_()
    write_snapshot(tmp_path / "c", snapshot)
    for name, tensor in load_checkpoint(tmp_path / "c").model.tensors().items():
        assert torch.equal(tensor, before[name])
    assert read_optimizer(tmp_path / "c")["a:exp_avg"].tolist() == [1, 1, 1]


def test_what_is_later_is_said_by_steps_and_not_by_a_clock(save, tmp_path):
    """Copied by a tool that loses times, or written while the clock was set back."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").touch()
    for number, (round_, step) in enumerate([(1, 10), (1, 200), (2, 10), (2, 90), (2, 100)]):
        path = save(run / "rounds" / f"0{round_}" / "checkpoints" / f"step-{step:06d}")
        os.utime(path, (1e9 - 100 * number,) * 2)
    rounds = run / "rounds"
    assert resolve_checkpoint(run) == rounds / "02" / "checkpoints" / "step-000100"
    damage(rounds / "02" / "checkpoints" / "step-000100" / "model.safetensors", "one bit")
    assert resolve_checkpoint(run) == rounds / "02" / "checkpoints" / "step-000090"
    assert resolve_checkpoint(rounds / "01") == rounds / "01" / "checkpoints" / "step-000200"


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITES = ["weights", "optimizer", "tokenizer", "config", "provenance", "trainer", "manifest", "synced", "renamed"]


@pytest.mark.parametrize("at", WRITES)
@pytest.mark.parametrize("there", ["one before", "none before"])
def test_a_fault_at_any_write_leaves_what_was_there(save, tmp_path, monkeypatch, at, there):
    place = tmp_path / "best"
    before = contents(save(place)) if there == "one before" else None
    fail_at(monkeypatch, at)
    with pytest.raises(DiskError, match="the disk is full"):
        save(place, seed=1)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == (["best"] if before else [])
    if before is not None:
        assert contents(place) == before
    assert load_checkpoint(save(place, seed=1)).provenance == {"seed": 1}, "with room again it goes on"


def fail_at(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Let the disk be full at one of the writes."""
    if at in ("weights", "optimizer"):
        calls, save_file = [], store.save_file

        def fails(tensors: Any, path: Path) -> None:
            calls.append(path)
            if path.name.startswith({"weights": "model", "optimizer": "optimizer"}[at]):
                path.write_bytes(b"half of it")
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
            save_file(tensors, path)

        monkeypatch.setattr(store, "save_file", fails)
    elif at == "synced":
        monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(full_disk()))
    elif at == "renamed":
        rename = Path.rename

        def fails_to_move(self: Path, target: Path) -> Path:
            if Path(target).name == "best" and "draft" in self.name:
                raise full_disk()
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fails_to_move)
    else:
        opened = Path.open

        def fails_to_open(self: Path, mode: str = "r", *more: Any, **others: Any) -> Any:
            if self.name == f"{at}.json" and "w" in mode:
                raise full_disk()
            return opened(self, mode, *more, **others)

        monkeypatch.setattr(Path, "open", fails_to_open)
        if at == "tokenizer":
            monkeypatch.setattr(Tokenizer, "save", lambda self, path: (_ for _ in ()).throw(full_disk()))


SMALL_DISK = """
import resource, sys
from pathlib import Path
from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.errors import DiskError
loaded = load_checkpoint(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    save_checkpoint(Path(sys.argv[1]), loaded.model, loaded.tokenizer, provenance={"seed": 1})
except DiskError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 2000, 5000], ids=["nothing", "half the weights", "no tokenizer"])
def test_files_that_cannot_grow_leave_the_last_checkpoint_good(save, tmp_path, limit):
    pytest.importorskip("resource")
    path = save(tmp_path / "best")
    before = contents(path)
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(path), str(limit)], capture_output=True, text=True, check=False
    )
    assert "the disk is full" in done.stdout, done.stderr
    assert contents(path) == before
    assert [place.name for place in tmp_path.iterdir()] == ["best"]
