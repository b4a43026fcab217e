"""Several ranks train as one process does, go on as another number of ranks, and say who was lost."""

from __future__ import annotations

import importlib.util
import json
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore
from warm_process import WarmProcess

from stepwell.checkpoints import load_checkpoint, read_optimizer, verify
from stepwell.errors import ConfigError, Stopped
from stepwell.optimization import OPTIMIZERS
from stepwell.runs import read_lines
from stepwell.training import World
from stepwell.training.spread import SHARDED_OPTIMIZERS

HERE = Path(__file__).parent
STEPS = 12


def scenarios() -> list[str]:
    """The names in `spread_ranks.py`."""
    spec = importlib.util.spec_from_file_location("spread_ranks", HERE / "spread_ranks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.SCENARIOS)


SCENARIOS = scenarios()


RANK = """
import os, runpy
os.environ.update({environment!r})
runpy.run_path({path!r}, run_name="__main__")
"""


def launch(
    script: str, *words: object, size: int = 2, timeout_seconds: int = 60, others_seconds: float = 8
) -> list[tuple[int, str]]:
    """Run a file as several ranks; returns exit code and standard error of each.

    Args:
        script: beside this file.
        words: after its name.
        size: how many ranks.
        timeout_seconds: after which a rank that does not answer is told of.
        others_seconds: as with torchrun, the others have so long to end too, when one has ended by a fault.
    """
    meeting_point = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun holds it
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(meeting_point.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "STEPWELL_RANK_TIMEOUT_SECONDS": str(timeout_seconds),
    }
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for rank in range(size):
            environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            program = RANK.format(environment=environment, path=str(HERE / script))
            started.append(WarmProcess(program, [*map(str, words)], Path(folder) / f"{rank}.txt"))
        try:
            while all(process.poll() in (None, 0) for process in started) and None in [each.poll() for each in started]:
                time.sleep(0.05)
            end = time.monotonic() + others_seconds
            while None in [process.poll() for process in started] and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            for process in started:
                process.send_signal(signal.SIGKILL)
        return [process.wait() for process in started]


@pytest.fixture(scope="module")
def updates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from `auto` (one process), `ddp` or `fsdp` (two) to where the scenarios' results are."""
    made: dict[str, Path] = {}

    def run(way: str) -> Path:
        if way not in made:
            made[way] = tmp_path_factory.mktemp(way)
            ended = launch("spread_ranks.py", made[way], way, *SCENARIOS, size=1 if way == "auto" else 2)
            assert [code for code, _ in ended] == [0] * len(ended), ended
        return made[way]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_ranks_make_the_updates_of_one_process(updates, way):
    """Uneven masks, odd numbers of rows, a rank without rows, clipping, every kind of model, DDP and FSDP2."""
    numbers_of_targets = set()
    for name in SCENARIOS:  # in one test: what they share takes half a minute
        alone, together = (json.loads((updates(each) / f"{name}.json").read_text()) for each in ("auto", way))
        for step, (one, two) in enumerate(zip(alone, together, strict=True)):
            assert two[0] == pytest.approx(one[0], rel=1e-5), (name, step)
            assert two[1] == pytest.approx(one[1], rel=1e-3), (name, step)
            assert two[2:] == one[2:], (name, step)
        expected, got = (load_file(updates(each) / f"{name}.safetensors") for each in ("auto", way))
        assert expected.keys() == got.keys(), name
        for key, tensor in expected.items():
            # Muon makes its matrices orthogonal in bfloat16, which blows roundings up.
            far = (got[key] - tensor).abs().max()
            assert far <= (3e-2 if name == "muon" else 1e-4), (name, key)
        numbers_of_targets |= {targets for _, _, targets, _ in alone} if name == "few" else set()
    assert len(numbers_of_targets) > 1, "rows with as many targets would let the mean of the ranks' means pass"


def losses(directory: Path) -> list[float]:
    return [line["loss"] for line in read_lines(directory / "metrics.jsonl") if line["kind"] == "step"]


@pytest.fixture(scope="module")
def alone(make_trainer, tmp_path_factory) -> Path:
    """The directory of a run by one process that nothing happened to."""
    directory = tmp_path_factory.mktemp("alone")
    make_trainer(directory).run()
    return directory


@pytest.mark.slow
def test_a_run_goes_on_as_another_number_of_ranks(alone, make_trainer, tmp_path):
    """Two ranks with shards, then one, then two with copies: the same rows in the same order, so the same losses."""
    ended = launch("trainer_ranks.py", tmp_path, "fsdp", 4, "none")
    assert [code for code, _ in ended] == [130, 130], ended
    assert sum("Stopped|" in words for _, words in ended) == 1, "one rank speaks for all"
    newest = tmp_path / "checkpoints" / "step-000004"
    verify(newest)
    assert list(newest.glob("shard-*.safetensors"))
    asked: list[int] = []

    def stop_requested() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Stopped):
        make_trainer(tmp_path, stop_requested=stop_requested).run()
    assert len(losses(tmp_path)) == 7
    ended = launch("trainer_ranks.py", tmp_path, "ddp", 0, "none")
    assert [code for code, _ in ended] == [0, 0], ended
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=1e-5)
    assert not list((tmp_path / "checkpoints" / f"step-{STEPS:06d}").glob("shard-*.safetensors"))
    for folder in ("best", f"step-{STEPS:06d}"):
        one, two = (load_checkpoint(each / "checkpoints" / folder) for each in (alone, tmp_path))
        for name, parameter in one.model.named_parameters():
            torch.testing.assert_close(two.model.get_parameter(name), parameter, atol=1e-3, rtol=0)
    assert (tmp_path / "checkpoints" / "best" / "model.safetensors").exists(), "what is used is one file"
    slots = [read_optimizer(each / "checkpoints" / f"step-{STEPS:06d}") for each in (alone, tmp_path)]
    assert slots[0].keys() == slots[1].keys()
    assert all(slots[0][name].shape == slots[1][name].shape for name in slots[0])


def words_of(ended: list[tuple[int, str]], rank: int) -> list[str]:
    return [line for line in ended[rank][1].splitlines() if line.count("|") >= 2]


@pytest.mark.slow
def test_a_fault_of_one_rank_ends_all_and_is_told_by_it(tmp_path):
    ended = launch("trainer_ranks.py", tmp_path, "ddp", 0, "fails")
    assert [code for code, _ in ended] == [1, 1]
    assert words_of(ended, 1) == ["1|DataError|rows: cannot be read; do: mend them"]
    (silent,) = words_of(ended, 0)
    assert silent == "1|EndedElsewhere|rank 1: rows: cannot be read; do: mend them"


@pytest.mark.slow
def test_a_rank_that_hangs_is_named(tmp_path):
    ended = launch("trainer_ranks.py", tmp_path, "ddp", 0, "hangs", timeout_seconds=3, others_seconds=0)
    (said,) = words_of(ended, 0)
    assert said.startswith("1|TrainingError|rank 1 of 2: hangs"), said
    assert "no answer for 3 s" in said


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_what_cannot_be_sharded_is_refused_by_name(kind, make_trainer, tmp_path):
    if kind in SHARDED_OPTIMIZERS:
        assert kind.replace("_adamw", "").replace("_", " ").replace("adamw", "even") in SCENARIOS, (
            "it is compared above"
        )
        return
    training = {"parallel": "fsdp", "optimizer.kind": kind, "optimizer.learning_rate": 0.01}
    with pytest.raises(ConfigError, match=f"training.optimizer.kind: cannot update shards\ngot: {kind}"):
        make_trainer(tmp_path, training, world=World(0, 2))


def test_an_adapter_is_not_sharded(make_trainer, tmp_path):
    with pytest.raises(ConfigError, match=r"training.adapter: does not work on shards"):
        make_trainer(tmp_path, {"parallel": "fsdp", "adapter": "{kind: lora, rank: 2}"}, world=World(0, 2))


def test_alone_every_verb_is_the_identity():
    world = World.alone()
    value = {"any": ["thing", None]}
    assert world.is_main
    assert world.sum(1, 2.5) == (1, 2.5)
    assert world.any(True)
    assert not world.any(False)
    assert world.broadcast(value) is value
    with pytest.raises(ValueError, match="as it is"), world.together():
        raise ValueError("as it is")
