"""The same seed on the same machine gives the same bits, in one process and from one process to another.

Another number of threads adds in another order: then losses agree to a tolerance (docs/exactness.md). Everything that
a training run leaves is compared: each loss, each gradient norm, and the bytes of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from stepwell.models import MODELS, build_model

SETTINGS: dict[str, Any] = {
    "training": {"steps": 4},
    "model": {"d_model": 128, "num_heads": 4, "head_dim": 32, "d_ff": 512, "max_seq_len": 128, "dropout": 0.1},
}
"""Large enough that torch shares the work among its threads."""

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONHASHSEED": "random"}
"""Threads that wait leave the core to other tests; each process shuffles sets in its own way."""

SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from conftest import tiny_trainer
torch.set_num_threads(int(sys.argv[2]))
settings = json.loads(sys.argv[4])
tiny_trainer(Path(sys.argv[3]), **settings).run()
"""


def told(directory: Path) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    records = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [(record["loss"], record["grad_norm"]) for record in records if record["kind"] == "step"]


def digest(directory: Path) -> str:
    """Of the weights that the run ended with, and of its optimizer."""
    last = max((directory / "checkpoints").glob("step-*"))
    files = sorted(last.glob("*.safetensors"))
    assert len(files) == 2
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@pytest.mark.slow_but("[decoder-", "lstm-float32")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [kind for kind in MODELS if MODELS[kind].learns == "gradient"])
def test_twice_in_one_process(kind, precision, make_trainer, tiny_config, byte_tokenizer, tmp_path):
    settings = {
        "training": {"steps": 3, "objective.kind": MODELS[kind].objectives[0], "precision": precision},
        "model": tiny_config(kind).model_copy(update={"dropout": 0.1}),
        "tokenizer": byte_tokenizer,
    }
    for name in ("one", "two"):
        make_trainer(tmp_path / name, **settings).run()
    assert told(tmp_path / "one") == told(tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    make_trainer(tmp_path / "other", **settings, seed=1).run()
    assert digest(tmp_path / "one") != digest(tmp_path / "other"), "the seed decides nothing"


WIDE = {"d_model": 64, "d_embedding": 64, "d_hidden": 64, "d_ff": 64, "max_seq_len": 64, "dropout": 0.0}
EXPERTS = {"experts": {"num_experts": 6, "experts_per_token": 4, "d_ff": 32}}
LEARNERS = [(kind, {}) for kind in MODELS if MODELS[kind].learns == "gradient"]


@pytest.mark.parametrize(("kind", "more"), [*LEARNERS, ("decoder", EXPERTS)], ids=str)
def test_with_several_threads(kind, more, tiny_config):
    """Threads that add to one place in the order in which they come would give another gradient each time."""
    config = tiny_config(kind)
    fields = {name: value for name, value in WIDE.items() if name in type(config).model_fields}
    model = build_model(type(config).model_validate({**config.model_dump(), **fields, **more})).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    token_ids = torch.randint(0, config.vocab_size, (15, 64), generator=generator)
    document_ids = (torch.arange(64) // torch.arange(17, 32)[:, None]).int()

    def gradient() -> list[torch.Tensor]:
        model.zero_grad()
        cross_entropy(model(token_ids, document_ids).flatten(0, 1), token_ids.flatten()).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, *others = (gradient() for _ in range(4))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        assert all(torch.equal(one, same) for one, same in zip(first, other, strict=True))


@pytest.fixture(scope="module")
def run_apart(tmp_path_factory, project) -> Callable[..., Path]:
    """A function that trains in a process of its own, with so many threads, and gives the directory of the run."""

    @cache
    def run(threads: int, precision: str, which: int) -> Path:
        directory: Path = tmp_path_factory.mktemp("run")
        settings = {**SETTINGS, "training": {**SETTINGS["training"], "precision": precision}}
        command = [sys.executable, "-c", SCRIPT, str(project / "tests"), str(threads), str(directory)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **QUIET}
        subprocess.run([*command, json.dumps(settings)], check=True, env=environment, timeout=300)
        return directory

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threads", "precision"), [(2, "bfloat16"), pytest.param(1, "float32", marks=pytest.mark.proof)]
)
def test_from_one_process_to_another(run_apart, threads, precision):
    """The seeds of Python's own hashes differ between the two, so no order of a set or dict may decide anything."""
    one, two = run_apart(threads, precision, 1), run_apart(threads, precision, 2)
    assert told(one) == told(two)
    assert digest(one) == digest(two)


@pytest.mark.slow
def test_the_number_of_threads_changes_rounding_only(run_apart):
    one, two = told(run_apart(1, "float32", 1)), told(run_apart(2, "float32", 1))
    for (loss, norm), (other_loss, other_norm) in zip(one, two, strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)
