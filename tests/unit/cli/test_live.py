"""What a person sees while a run goes on, on a terminal and in a log."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from stepwell.cli.live import LiveView, PlainView, choose_view, describe_change, rounds_table
from stepwell.progress import (
    Evaluated,
    Event,
    Fact,
    Profiled,
    ProfiledRow,
    RoundDone,
    RoundStarted,
    RunStarted,
    Stage,
    StepDone,
)

JOURNAL: list[dict[str, Any]] = [
    {"round": 1, "diagnosis": "first_plan", "reason": "sizes derived from 2.1 MB of text", "metric": "bits_per_byte",
     "change": {"training.steps": [None, 400]}, "value": 2.314, "low": 2.293, "high": 2.336, "before": None,
     "accepted": True, "seconds": 71.0},
    {"round": 2, "diagnosis": "underfitting", "reason": "两条损失曲线在最后五分之一仍在下降，所以训练得更久一些",
     "metric": "bits_per_byte",
     "change": {"training.steps": [400, 900]}, "value": 2.051, "low": 2.03, "high": 2.073, "before": 2.314,
     "accepted": True, "seconds": 152.0},
    {"round": 3, "diagnosis": "overfitting", "reason": "held-out loss [bold]turned[/bold] at step 640",
     "metric": "bits_per_byte",
     "change": {"model.dropout": [0.0, 0.1]}, "value": math.nan, "low": None, "high": None, "before": 2.051,
     "accepted": False, "seconds": None},
]  # fmt: skip


class Clock:
    """Time that goes on only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=40, color_system=None, highlight=False)


def pipe() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(thing: Any, width: int) -> str:
    console = terminal(width)
    console.print(thing)
    return written(console)


def step(at: int, loss: float = 3.0, steps: int = 400) -> StepDone:
    return StepDone(at, steps, loss, 0.003, 0.8, at * 8192, 11_234.0, 0.4, 900_000_000, 1_250_000_000)


def start(view: LiveView | PlainView) -> None:
    view(RunStarted(Path("runs/novel"), "bits_per_byte", 1.9, 300.0))


@pytest.mark.parametrize("width", [80, 120])
def test_the_rounds_table_fits(width: int) -> None:
    lines = shown(rounds_table(JOURNAL), width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    whole = " ".join("\n".join(lines).split())
    for part in ("first plan", "2.314", "2.293–2.336", "kept", "1 m 11 s", "2 m 32 s", "NaN", "no"):
        assert part in whole
    assert "[bold]" in whole


def test_the_rounds_table_of_nothing() -> None:
    assert "round" in shown(rounds_table([]), 80)


def test_a_first_plan_is_called_that() -> None:
    assert describe_change(JOURNAL[0]) == "first plan"
    assert describe_change(JOURNAL[1]) == "steps 400 → 900"


@pytest.mark.parametrize("width", [80, 120])
def test_the_picture_tells_round_step_loss_speed_and_time_left(width: int) -> None:
    clock, console = Clock(), terminal(width)
    view = LiveView(console, clock)
    start(view)
    for line in JOURNAL:
        view(RoundDone(line))
    view(RoundStarted(4, "underfitting", "步数 400 → 900，学习率 0.003 → 0.006，" * 4, 72.0))
    view(Stage("train"))
    view(step(100))
    view(Evaluated(100, {"bits_per_byte": 2.21}))
    clock.now += 60
    picture = shown(view.picture(), width)
    whole = (
        "runs/novel", "target 1.900", "4 m 00 s left", "round 4", "still learning", "about 1 m 12 s", "100 / 400",
        "loss 3.000", "rate 3.00e-03", "gradient norm 0.80", "held-out 2.210", "2.314", "kept",
        "tokens/s 11.2k (40% of the machine's rate)", "memory 0.9 GB (peak 1.2)",
    )  # fmt: skip
    for part in whole:
        assert part in picture
    assert max(cell_len(line) for line in picture.splitlines()) <= width


def test_the_picture_before_anything_is_known() -> None:
    assert "starting" in shown(LiveView(terminal()).picture(), 80)


def test_the_picture_stays_small_after_many_rounds() -> None:
    view = LiveView(terminal())
    for at in range(1, 40):
        view(RoundDone(JOURNAL[1] | {"round": at}))
    assert len(shown(view.picture(), 80).splitlines()) < 20


def test_a_loss_that_is_not_finite_does_not_spoil_the_mean() -> None:
    view = LiveView(terminal())
    view(RoundStarted(1, "first_plan", "first plan"))
    view(step(1, 4.0))
    view(step(2, math.nan))
    view(step(3, 4.0))
    assert "loss 4.000" in shown(view.picture(), 80)


def test_facts_are_kept_above_the_picture_and_cannot_steer_the_terminal() -> None:
    console = terminal()
    with LiveView(console) as view:
        start(view)
        view(Fact("a.txt: 3 bytes \x1b[31m were [b]no[/b] UTF-8\nreally", warning=True))
    assert "! a.txt: 3 bytes ␛[31m were [b]no[/b] UTF-8 really" in written(console)


def test_the_terminal_is_whole_again_after_a_fault() -> None:
    console = terminal()

    def stopped_by_hand() -> None:
        with LiveView(console) as view:
            start(view)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_by_hand()
    assert "\x1b[?25h" in written(console)


def test_plain_lines() -> None:
    clock, console = Clock(), pipe()
    events: list[Event] = [
        Stage("prepare", "novel.txt"),
        Fact("2.1 MB of English"),
        Fact("3 bytes were no UTF-8", warning=True),
        RoundStarted(2, "underfitting", "steps 400 → 900", 72.0),
        step(1),
        Evaluated(1, {"bits_per_byte": 2.5}),
        RoundDone(JOURNAL[1]),
        RoundDone(JOURNAL[2]),
    ]
    with PlainView(console, clock) as view:
        start(view)
        for event in events:
            view(event)
    assert written(console).splitlines() == [
        "starting in runs/novel, 5 m 00 s to spend",
        "reading the text: novel.txt",
        "2.1 MB of English",
        "warning: 3 bytes were no UTF-8",
        "round 2: steps 400 → 900, still learning, about 1 m 12 s",
        "step 1/400: loss 3.000, rate 3.00e-03, gradient norm 0.80, 11.2k tokens/s, 40% of the machine's rate, "
        "memory 0.9 GB, 5 m 00 s left",
        "step 1: held-out bits per byte 2.500",
        "round 2: bits per byte 2.051 (2.030 to 2.073), before 2.314, kept",
        "round 3: bits per byte NaN, before 2.051, not kept",
    ]


def test_plain_lines_about_steps_come_every_five_seconds() -> None:
    clock, console = Clock(), pipe()
    view = PlainView(console, clock)
    for at in range(1, 101):
        view(step(at, steps=100))
        clock.now += 0.5
    lines = written(console).splitlines()
    assert [line.split("/")[0] for line in lines] == [
        f"step {at}" for at in (1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100)
    ]


def test_the_time_to_go_follows_the_last_steps() -> None:
    """Twenty steps of a second are followed by twenty of three: 60 steps are left, of three seconds each."""
    clock, console = Clock(), terminal()
    view = LiveView(console, clock)
    for at in range(1, 41):
        clock.now += 1.0 if at <= 20 else 3.0
        view(step(at, steps=100))
        if at == 20:
            assert "1 m 20 s to go" in shown(view.picture(), 80)
    assert "3 m 00 s to go" in shown(view.picture(), 80)
    clock.now += 30.0
    assert "2 m 30 s to go" in shown(view.picture(), 80), "it goes on between two steps"


def test_nothing_is_foretold_from_one_step() -> None:
    view = LiveView(terminal(), Clock())
    view(step(1))
    assert "to go" not in shown(view.picture(), 80)


def test_the_speed_is_that_of_the_last_steps_without_the_first_of_all() -> None:
    """The mean of equal steps at 1,000 and 3,000 tokens/s is 1,500: what was done over what it took."""
    view, rates = PlainView(console := pipe(), Clock(), every_seconds=0), [10.0, 1000.0, 3000.0]
    for at, rate in enumerate(rates, start=1):
        view(StepDone(at, 3, 3.0, 0.01, 0.8, at, rate, rate / 10_000))
    lines = written(console).splitlines()
    assert "10 tokens/s, 0.1% of the machine's rate" in lines[0]
    assert "1,000 tokens/s, 10% of the machine's rate" in lines[1]
    assert "1,500 tokens/s, 15% of the machine's rate" in lines[2]


def test_a_gpu_has_a_memory_of_its_own() -> None:
    view = LiveView(terminal(), Clock())
    view(StepDone(1, 9, 3.0, 0.01, 0.8, 1, 10.0, None, 1_000_000_000, 2_000_000_000, 3_000_000_000, 4_000_000_000))
    picture = shown(view.picture(), 120)
    assert "memory 1.0 GB (peak 2.0)" in picture
    assert "GPU 3.0 GB (peak 4.0)" in picture
    assert "machine's rate" not in picture, "it is not known"


PROFILED = Profiled(Path("runs/novel/profile"), 10, tuple(ProfiledRow(f"aten::{n}", 0.5 / n, 0.02 / n, 40.0 * n)
                                                         for n in range(1, 11)))  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_a_profile_is_kept_above_the_picture(width: int) -> None:
    console = terminal(width)
    with LiveView(console) as view:
        view(PROFILED)
    lines = written(console).splitlines()
    assert max(cell_len(line) for line in lines if "\x1b" not in line) <= width
    whole = "\n".join(lines)
    for part in ("profile of 10 steps", "aten::1 ", "aten::10", "50.0%", "20.00 ms", "400", "trace.json"):
        assert part in whole


def test_a_profile_in_lines() -> None:
    console = pipe()
    PlainView(console)(PROFILED)
    lines = written(console).splitlines()
    assert len(lines) == 12
    assert lines[1].split() == ["50.0%", "20.00", "ms", "aten::1"]
    assert "runs/novel/profile/table.txt" in lines[-1]


def test_a_long_plain_line_is_not_broken() -> None:
    console = pipe()
    PlainView(console)(Fact("word " * 60))
    assert len(written(console).splitlines()) == 1


def test_which_view() -> None:
    assert isinstance(choose_view(json=False, console=terminal()), LiveView)
    assert isinstance(choose_view(json=True, console=terminal()), PlainView)
    assert isinstance(choose_view(json=False, console=pipe()), PlainView)
