"""trackio, Weights & Biases and MLflow, by stand-ins of their modules that write down what they are asked.

The stand-ins answer as the real ones do where it matters: trackio keeps its documented table, MLflow its history.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stepwell.progress import Evaluated, Event, Fact, RoundStarted, StepDone
from stepwell.tracking import TRACKERS, TrackerKind, tracked

VARIABLES = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ERROR_REPORTING", "TRACKIO_DIR", "TRACKIO_SPACE_ID",
             "TRACKIO_SERVER_URL", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY",
             "MLFLOW_HTTP_REQUEST_MAX_RETRIES")  # fmt: skip


@pytest.fixture(autouse=True)
def _untouched_environment() -> Iterator[None]:
    before = {name: os.environ.pop(name, None) for name in VARIABLES}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def follow(kind: TrackerKind, out: Path, *events: Event) -> None:
    """What one process sends; a warning is a fault."""
    said: list[Event] = []
    with tracked([kind], out, said.append) as watch:
        for event in events:
            watch(event)
    assert not [event.text for event in said if isinstance(event, Fact) and event.warning]


def step(at: int) -> StepDone:
    return StepDone(at, 10, 5.0 - 0.1 * at, 0.01, 1.5, at * 100, 1234.0)


def steps(first: int, last: int) -> list[StepDone]:
    return [step(at) for at in range(first, last + 1)]


def write_recipe(out: Path, number: int) -> None:
    folder = out / "rounds" / f"{number:02d}"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"training: {{steps: {number}00}}\nseed: 3\n", encoding="utf-8")


class WandbRun:
    def __init__(self, asked: dict[str, Any], starting_step: int) -> None:
        self.asked, self.starting_step, self.resumed = asked, starting_step, starting_step > 0
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.exit_code: int | None = None

    def log(self, values: dict[str, float], step: int) -> None:
        self.lines.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`runs`: what was begun; `there`: the next step of a run that the server knows."""
    stand_in: Any = ModuleType("wandb")
    notes = SimpleNamespace(runs=[], there=0)

    def init(**asked: Any) -> WandbRun:
        notes.runs.append(WandbRun(asked, notes.there))
        return notes.runs[-1]

    stand_in.init, stand_in.Settings = init, lambda **settings: settings
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return notes


def test_wandb_is_offline_in_the_run_directory_unless_the_environment_says_otherwise(wandb, tmp_path, monkeypatch):
    write_recipe(tmp_path, 1)
    follow("wandb", tmp_path, *steps(1, 2), Evaluated(2, {"loss": 4.0}))
    (run,) = wandb.runs
    assert run.asked["mode"] == "offline"
    assert run.asked["dir"] == str(tmp_path)
    assert run.asked["config"] == {"training.steps": 100, "seed": 3}
    assert run.asked["settings"]["silent"] is True
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    assert [at for at, _ in run.lines] == [1, 2, 2]
    assert run.lines[1][1]["train/loss"] == pytest.approx(4.8)
    assert run.lines[2][1] == {"held_out/loss": 4.0}
    assert run.exit_code == 0
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "novels")
    follow("wandb", tmp_path, step(3))
    assert (wandb.runs[1].asked["mode"], wandb.runs[1].asked["project"]) == ("online", "novels")
    assert wandb.runs[1].asked["id"] == run.asked["id"], "the same run goes on"


def test_wandb_is_sent_no_step_that_it_has(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.there = 5  # the next step: 4 is the last one there
    follow("wandb", tmp_path, *steps(3, 6))
    assert [at for at, _ in wandb.runs[0].lines] == [5, 6]


def test_each_round_is_a_run_of_its_own_in_one_group(wandb, tmp_path):
    follow("wandb", tmp_path, step(1), RoundStarted(2, "underfitting", "more"), step(1))
    first, second = (run.asked for run in wandb.runs)
    assert first["group"] == second["group"] == tmp_path.name
    assert first["id"] != second["id"]
    assert first["reinit"] == "create_new"


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `trackio.init` was asked; the database is the one that trackio's documentation describes."""
    stand_in: Any = ModuleType("trackio")
    asked: list[dict[str, Any]] = []

    def init(**said: Any) -> SimpleNamespace:
        import huggingface_hub.constants as hub

        asked.append({**said, "network": not hub.HF_HUB_OFFLINE})
        path = Path(os.environ["TRACKIO_DIR"]) / f"{said['project']}.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.write("* Trackio project initialized\n")
        database = sqlite3.connect(path, check_same_thread=False)
        database.execute("CREATE TABLE IF NOT EXISTS metrics (run_name TEXT, step INTEGER, metrics TEXT)")

        def log(values: dict[str, float], step: int) -> None:
            database.execute("INSERT INTO metrics VALUES (?, ?, ?)", (said["name"], step, repr(sorted(values))))
            database.commit()

        return SimpleNamespace(log=log, finish=database.close)

    stand_in.init = init
    monkeypatch.setitem(sys.modules, "trackio", stand_in)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return asked


def recorded(path: Path) -> list[int]:
    database = sqlite3.connect(path)
    found = [at for (at,) in database.execute("SELECT step FROM metrics ORDER BY rowid")]
    database.close()
    return found


def test_trackio_stays_in_the_run_directory_and_goes_on_without_doubles(trackio, tmp_path, capsys):
    import huggingface_hub.constants as hub

    follow("trackio", tmp_path, *steps(1, 5))
    follow("trackio", tmp_path, *steps(4, 7))
    assert recorded(tmp_path / "trackio" / f"{tmp_path.name}.db") == [1, 2, 3, 4, 5, 6, 7]
    assert [each["resume"] for each in trackio] == ["allow", "allow"]
    assert [each["network"] for each in trackio] == [False, False]
    assert hub.HF_HUB_OFFLINE is False, "only while trackio begins"
    assert capsys.readouterr().out == "", "standard output is the result's"


def test_trackio_may_use_the_network_where_the_user_named_a_place(trackio, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_SPACE_ID", "someone/space")
    follow("trackio", tmp_path, step(1))
    assert trackio[0]["network"] is True


class MLflowServer:
    """Experiments and runs as MLflow's client shows them."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.experiments: dict[str, str | None] = {}
        self.runs: list[SimpleNamespace] = []

    def client(self, tracking_uri: str) -> MLflowServer:
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self.experiments[name] = artifact_location
        return name

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        info = SimpleNamespace(run_id=str(len(self.runs)))
        run = SimpleNamespace(info=info, name=run_name, tags=tags, metrics=[], params={}, status="RUNNING", batches=[])
        self.runs.append(run)
        return run

    def search_runs(self, experiments: list[str], filter_string: str, **_: Any) -> list[SimpleNamespace]:
        return [run for run in self.runs if filter_string == f"tags.`stepwell.run` = '{run.tags['stepwell.run']}'"]

    def get_metric_history(self, run: str, name: str) -> list[SimpleNamespace]:
        return [metric for metric in self.runs[int(run)].metrics if metric.key == name]

    def update_run(self, run: str, status: str) -> None:
        self.runs[int(run)].status = status

    set_terminated = update_run

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert len(params) <= 100
        self.runs[int(run)].metrics.extend(metrics)
        self.runs[int(run)].params.update({param.key: param.value for param in params})


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> MLflowServer:
    server = MLflowServer()

    class RunStatus:
        RUNNING, FINISHED, KILLED = range(3)

        @staticmethod
        def to_string(status: int) -> str:
            return ("RUNNING", "FINISHED", "KILLED")[status]

    entities: Any = ModuleType("mlflow.entities")
    entities.Metric = lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step)
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)
    entities.RunStatus, entities.ViewType = RunStatus, SimpleNamespace(ACTIVE_ONLY=1)
    tracking: Any = ModuleType("mlflow.tracking")
    tracking.MlflowClient = server.client
    for name, module in (
        ("mlflow", ModuleType("mlflow")),
        ("mlflow.entities", entities),
        ("mlflow.tracking", tracking),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return server


def test_mlflow_keeps_a_database_in_the_run_directory_and_goes_on_without_doubles(mlflow, tmp_path):
    write_recipe(tmp_path, 1)
    follow("mlflow", tmp_path, *steps(1, 5), Evaluated(5, {"loss": 4.0}))
    assert mlflow.runs[0].status == "FINISHED"
    follow("mlflow", tmp_path, *steps(4, 7))
    (run,) = mlflow.runs
    assert mlflow.uris == [f"sqlite:///{tmp_path.resolve()}/mlflow/mlflow.db"] * 2
    assert (tmp_path / "mlflow").is_dir()
    assert mlflow.experiments == {tmp_path.name: (tmp_path.resolve() / "mlflow" / "artifacts").as_uri()}
    assert [metric.step for metric in run.metrics if metric.key == "train/loss"] == [1, 2, 3, 4, 5, 6, 7]
    assert [metric.value for metric in run.metrics if metric.key == "held_out/loss"] == [4.0]
    assert run.params == {"training.steps": "100", "seed": "3"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_goes_to_the_server_that_the_user_named(mlflow, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.invalid")
    follow("mlflow", tmp_path, step(1))
    assert mlflow.uris == ["https://example.invalid"]
    assert mlflow.experiments == {tmp_path.name: None}
    assert not (tmp_path / "mlflow").exists()


def test_mlflow_says_that_a_stopped_run_was_stopped(mlflow, tmp_path):
    def stopped() -> None:
        with tracked(["mlflow"], tmp_path, lambda event: None) as watch:
            watch(step(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert mlflow.runs[0].status == "KILLED"


@pytest.mark.parametrize("kind", TRACKERS)
def test_every_tracker_says_where_to_look(kind: TrackerKind, tmp_path: Path) -> None:
    assert str(tmp_path) in TRACKERS[kind].advice(tmp_path)
