"""What TensorBoard's own reader finds in the event files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.progress import Evaluated, Event, Fact, RoundDone, RoundStarted, StepDone
from stepwell.tracking import tracked

pytest.importorskip("tensorboard")


def step(at: int, loss: float | None = None) -> StepDone:
    return StepDone(at, 10, 5.0 - 0.1 * at if loss is None else loss, 0.01, 1.5, at * 100, 1234.0)


def follow(out: Path, *events: Event) -> list[Event]:
    """Track events in one process, so to say; returns what the watcher behind got."""
    said: list[Event] = []
    with tracked(["tensorboard"], out, said.append) as watch:
        for event in events:
            watch(event)
    assert not [event for event in said if isinstance(event, Fact) and event.warning]
    return said


def read(folder: Path) -> Callable[[str], dict[int, float]]:
    """Scalars by step as TensorBoard shows them; a step that stands twice is a fault."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown: Any = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    shown.Reload()

    def scalars(tag: str) -> dict[int, float]:
        if tag not in shown.Tags()["scalars"]:
            return {}
        found = [(each.step, each.value) for each in shown.Scalars(tag)]
        assert len(dict(found)) == len(found), "a step twice"
        return dict(found)

    return scalars


def test_every_number_of_a_step_and_of_a_measurement_is_there(tmp_path: Path) -> None:
    said = follow(tmp_path, *(step(at) for at in range(1, 5)), Evaluated(4, {"loss": 4.2, "bits_per_byte": 2.1}))
    assert "tensorboard --logdir" in next(event.text for event in said if isinstance(event, Fact))
    assert len(said) == 6, "the watcher behind gets every event"
    shown = read(tmp_path / "tensorboard" / "round-01")
    assert shown("train/loss") == pytest.approx({1: 4.9, 2: 4.8, 3: 4.7, 4: 4.6})
    assert shown("train/learning_rate") == pytest.approx(dict.fromkeys(range(1, 5), 0.01))
    assert shown("train/grad_norm")[3] == 1.5
    assert shown("train/tokens")[4] == 400
    assert shown("train/tokens_per_second")[1] == 1234.0
    assert shown("held_out/bits_per_byte") == pytest.approx({4: 2.1})
    assert shown("train/step") == {}


def test_a_number_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    follow(tmp_path, step(1), step(2, loss=float("nan")), step(3))
    shown = read(tmp_path / "tensorboard" / "round-01")
    assert list(shown("train/loss")) == [1, 3]
    assert list(shown("train/grad_norm")) == [1, 2, 3]


def test_a_run_that_goes_on_has_every_step_once(tmp_path: Path) -> None:
    """The first process came to step 6 and died; the next one goes on from the checkpoint at step 4."""
    follow(tmp_path, *(step(at, loss=9.0) for at in range(1, 7)), Evaluated(6, {"loss": 9.0}))
    follow(tmp_path, *(step(at, loss=1.0) for at in range(5, 9)), Evaluated(6, {"loss": 1.0}))
    shown = read(tmp_path / "tensorboard" / "round-01")
    assert shown("train/loss") == {1: 9, 2: 9, 3: 9, 4: 9, 5: 1, 6: 1, 7: 1, 8: 1}
    assert shown("held_out/loss") == {6: 1.0}


def test_a_measurement_alone_after_going_on_keeps_its_step(tmp_path: Path) -> None:
    """A process that was stopped between the last step and its measurement measures when it goes on."""
    follow(tmp_path, step(1), step(2))
    follow(tmp_path, Evaluated(2, {"loss": 4.0}))
    shown = read(tmp_path / "tensorboard" / "round-01")
    assert list(shown("train/loss")) == [1, 2]
    assert list(shown("held_out/loss")) == [2]


def test_a_rollback_replaces_the_steps_that_are_done_again(tmp_path: Path) -> None:
    follow(
        tmp_path,
        *(step(at, loss=9.0) for at in range(1, 6)),
        Evaluated(4, {"loss": 9.0}),
        *(step(at, loss=1.0) for at in range(4, 8)),
        Evaluated(4, {"loss": 1.0}),
    )
    shown = read(tmp_path / "tensorboard" / "round-01")
    assert shown("train/loss") == {1: 9, 2: 9, 3: 9, 4: 1, 5: 1, 6: 1, 7: 1}
    assert shown("held_out/loss") == {4: 1.0}


def test_each_round_has_a_folder_and_its_judgement(tmp_path: Path) -> None:
    def record(number: int, value: float) -> dict[str, Any]:
        return {"round": number, "metric": "bits_per_byte", "value": value, "low": None, "high": 3.0, "steps": 2}

    follow(
        tmp_path,
        RoundStarted(1, "first_plan", "first plan"),
        *(step(at) for at in (1, 2)),
        RoundDone(record(1, 2.5)),
        RoundStarted(2, "underfitting", "more steps"),
        *(step(at) for at in (1, 2)),
        RoundDone(record(2, 2.25)),
        RoundStarted(3, "repetition", "another temperature"),
        RoundDone({"round": 3, "metric": "repetition", "value": 0.5, "steps": 0}),
    )
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["round-01", "round-02"]
    for number, value in ((1, 2.5), (2, 2.25)):
        shown = read(tmp_path / "tensorboard" / f"round-{number:02d}")
        assert shown("validation/bits_per_byte") == {2: value}
        assert shown("validation/bits_per_byte_high") == {2: 3.0}
        assert shown("validation/bits_per_byte_low") == {}
        assert list(shown("train/loss")) == [1, 2]


def test_the_recipe_stands_beside_the_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "rounds" / "01").mkdir(parents=True)
    (tmp_path / "rounds" / "01" / "recipe.yaml").write_text("training: {steps: 77}\n", encoding="utf-8")
    follow(tmp_path, step(1))
    shown: Any = EventAccumulator(str(tmp_path / "tensorboard" / "round-01"))
    shown.Reload()
    (text,) = shown.Tensors("recipe/text_summary")
    assert b"training.steps | 77" in text.tensor_proto.string_val[0]
