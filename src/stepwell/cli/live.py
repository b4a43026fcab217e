"""What a run looks like while it runs.

`LiveView` draws one picture on standard error that a person likes to watch: the rounds so far, what is changed now
and why, how far it is and how much time is left; what is worth keeping scrolls by above it. `PlainView` writes lines,
for a log or a pipe. Both are watchers of `stepwell.progress`; this file leaves out standard output, which belongs to
the result.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from stepwell.config import format_duration
from stepwell.progress import Evaluated, Event, Fact, Profiled, RoundDone, RoundStarted, RunStarted, Stage, StepDone
from stepwell.studies import baseline_words, change_words, diagnosis_words, metric_words, number, show_metric, visible

Clock = Callable[[], float]

STAGES = {
    "prepare": "reading the text",
    "tokenizer": "training the tokenizer",
    "probe": "measuring this machine",
    "rates": "trying learning rates",
    "train": "training",
    "baseline": "training a simple model",
    "evaluate": "measuring on held-out text",
    "predict": "writing samples",
    "report": "writing the report",
    "read": "reading the weights",
    "compare": "comparing",
    "write": "writing",
}
SHOWN_ROUNDS = 8
"""The live picture shows so many rounds, the newest; it must fit on a screen."""


def choose_view(json: bool, console: Console | None = None) -> LiveView | PlainView:
    """The picture for a terminal, lines for anything else and beside `--json`.

    Args:
        json: whether standard output is for a program.
        console: where to show; standard error when None.
    """
    shown = console or Console(stderr=True, highlight=False)
    if json or not shown.is_terminal or shown.is_dumb_terminal:
        return PlainView(shown)
    return LiveView(shown)


def rounds_table(journal: Sequence[Mapping[str, Any]], *, short: bool = False) -> Table:
    """The rounds as a table: what was changed, why, the metric before and after, kept or not, seconds.

    Args:
        journal: lines of journal.jsonl, in order.
        short: without the columns for why, before and seconds; it fits beside other things on a screen.
    """
    metric = next((str(line["metric"]) for line in journal if line.get("metric")), "bits_per_byte")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column("round", justify="right", no_wrap=True)
    table.add_column("changed", overflow="fold", max_width=48)
    if not short:
        table.add_column("why", overflow="fold", max_width=44)
        table.add_column("before", justify="right", no_wrap=True)
    table.add_column(metric_words(metric).en, justify="right", min_width=11)
    table.add_column("kept", no_wrap=True)
    if not short:
        table.add_column("time", justify="right", no_wrap=True)
    for line in journal:
        table.add_row(*_row(line, metric, short), style=None if line.get("accepted") is True else "dim")
    return table


def _row(line: Mapping[str, Any], metric: str, short: bool) -> list[Text]:
    kept = line.get("accepted") is True
    value = Text(show_metric(metric, line.get("value")), style="bold" if kept else "")
    low, high = number(line.get("low")), number(line.get("high"))
    if low is not None and high is not None:
        value.append(" " if short else "\n")
        value.append(f"{show_metric(metric, low)}–{show_metric(metric, high)}", style="not bold dim")
    verdict = Text("kept", style="green") if kept else Text("no")
    changed = Text(_clean(describe_change(line)))
    which = Text(str(line.get("round", "")))
    if short:
        return [which, changed, value, verdict]
    seconds = number(line.get("seconds"))
    return [
        which,
        changed,
        Text(_clean(str(line.get("reason") or diagnosis_words(str(line.get("diagnosis") or "")).en))),
        Text(show_metric(metric, line.get("before"))),
        value,
        verdict,
        Text(format_duration(seconds) if seconds is not None else "–"),
    ]


def describe_change(line: Mapping[str, Any]) -> str:
    """What a round changed in one line; a first plan, which sets everything, is called that."""
    change = line.get("change")
    pairs = list(change.values()) if isinstance(change, Mapping) else []
    if not pairs or all(isinstance(pair, (list, tuple)) and pair and pair[0] is None for pair in pairs):
        return diagnosis_words(str(line.get("diagnosis") or "")).en
    return ", ".join(words.en for words in change_words(change))


@dataclass
class _State:
    """What is known of the run at this moment."""

    started: RunStarted | None = None
    deadline: float | None = None
    stage: Stage | None = None
    round: RoundStarted | None = None
    step: StepDone | None = None
    loss: float | None = None
    recent: deque[tuple[StepDone, float]] = field(default_factory=lambda: deque(maxlen=20))
    measured: Evaluated | None = None
    journal: list[Mapping[str, Any]] = field(default_factory=list)

    def take(self, event: Event, now: float) -> None:
        """Bring the state up to date; the loss is smoothed over about twenty steps."""
        if isinstance(event, RunStarted):
            self.started = event
            self.deadline = None if event.budget_seconds is None else now + event.budget_seconds
        elif isinstance(event, Stage):
            self.stage = event
            if event.name != "train":
                self.step = None
        elif isinstance(event, RoundStarted):
            self.round, self.step, self.loss, self.measured = event, None, None, None
            self.recent.clear()
        elif isinstance(event, StepDone):
            finite = number(event.loss)
            if finite is not None:
                self.loss = finite if self.loss is None else 0.95 * self.loss + 0.05 * finite
            self.recent.append((event, now))
            self.step = event
        elif isinstance(event, Evaluated):
            self.measured = event
        elif isinstance(event, RoundDone):
            self.journal = [line for line in self.journal if line.get("round") != event.record.get("round")]
            self.journal.append(event.record)
            self.round = None

    @property
    def metric(self) -> str:
        return self.started.metric if self.started else "bits_per_byte"

    def seconds_left(self, now: float) -> float | None:
        """Until the last step, by the last twenty with what lay between them; None before there are two."""
        if len(self.recent) < 2 or self.recent[-1][0].step <= self.recent[0][0].step:
            return None
        (first, began), (last, ended) = self.recent[0], self.recent[-1]
        seconds = (ended - began) / (last.step - first.step)
        return max(0.0, (last.steps - last.step) * seconds - (now - ended))

    def tokens_per_second(self, step: StepDone) -> float:
        """Of the last twenty steps; the first of a process, which allocates and compiles, counts while it is alone."""
        speeds = [each.tokens_per_second for each, _ in self.recent if number(each.tokens_per_second)]
        if len(speeds) < 2:
            return step.tokens_per_second
        if len(self.recent) < (self.recent.maxlen or 0):
            del speeds[0]
        return len(speeds) / sum(1 / each for each in speeds)

    def mfu_ratio(self, step: StepDone) -> float | None:
        """The share of the machine's rate at that speed."""
        if step.mfu_ratio is None or not number(step.tokens_per_second):
            return None
        return step.mfu_ratio * self.tokens_per_second(step) / step.tokens_per_second


class LiveView:
    """One picture on a terminal, drawn anew a few times a second; a watcher and a context manager.

    Args:
        console: where to draw, normally standard error.
        clock: seconds that only go up.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._state = _State()
        # Standard output is the result's: it must not be drawn into the picture.
        self._live = Live(
            console=console, refresh_per_second=8, transient=True, redirect_stdout=False, get_renderable=self.picture
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take an event in; what is worth keeping is written above the picture."""
        self._state.take(event, self._clock())
        if isinstance(event, Fact):
            mark = Text("! ", style="bold yellow") if event.warning else Text("· ", style="dim")
            self._console.print(_hanging(mark, Text(_clean(event.text), style="yellow" if event.warning else "")))
        if isinstance(event, Profiled):
            self._console.print(profile_table(event), Text(_places(event), style="dim"), "")

    def picture(self) -> RenderableType:
        """The picture of this moment."""
        state = self._state
        parts: list[RenderableType] = [Text(""), self._top()]
        if state.journal:
            parts.append(rounds_table(state.journal[-SHOWN_ROUNDS:], short=True))
        elif state.round or state.stage:
            parts.append(Text(""))
        if state.round is not None:
            parts.append(self._round(state.round))
        parts.append(self._work())
        return Group(*parts)

    def _top(self) -> Table:
        """The run at the left, the time left in its budget at the right."""
        state = self._state
        top = Table.grid(Column(ratio=1, no_wrap=True, overflow="ellipsis"), Column(justify="right", no_wrap=True))
        top.expand = True
        name = Text("stepwell", style="bold")
        if state.started is not None:
            name.append(f"  {_clean(str(state.started.out))}", style="not bold dim")
            if state.started.target is not None:
                target = show_metric(state.metric, state.started.target)
                name.append(f"  target {target}", style="not bold dim")
        left = Text("")
        if state.deadline is not None:
            seconds = state.deadline - self._clock()
            left = Text(f"{format_duration(max(0.0, seconds))} left", style="cyan" if seconds > 0 else "yellow")
        top.add_row(name, left)
        return top

    def _round(self, started: RoundStarted) -> RenderableType:
        head = Text(f"round {started.round}  ", style="bold cyan")
        head.append(_clean(started.change), style="not cyan")
        return Group(head, Text(_clean(", ".join(_reasons(started))), style="dim"))

    def _work(self) -> RenderableType:
        """The step bar while training, else the name of what is going on."""
        state = self._state
        if state.step is None:
            return Text(_clean(stage_words(state.stage)), style="dim")
        step, left = state.step, state.seconds_left(self._clock())
        bar = Table.grid(Column(ratio=1), Column(no_wrap=True, justify="right"), padding=(0, 2, 0, 0), expand=True)
        bar.add_row(
            ProgressBar(total=max(1, step.steps), completed=step.step, complete_style="cyan", finished_style="cyan"),
            Text(f"{step.step:,} / {step.steps:,}").append(
                "" if left is None else f"   {format_duration(left)} to go", style="dim"
            ),
        )
        return Group(bar, _pairs(self._learning(step)), _pairs(self._machine(step)))

    def _learning(self, step: StepDone) -> list[tuple[str, str]]:
        """How well it learns."""
        state = self._state
        pairs = [("loss", "not finite" if state.loss is None else f"{state.loss:.3f}")]
        if state.measured is not None and state.metric in state.measured.metrics:
            pairs.append(("held-out", show_metric(state.metric, state.measured.metrics[state.metric])))
        gradient = number(step.grad_norm)
        return [
            *pairs,
            ("rate", f"{step.learning_rate:.2e}"),
            ("gradient norm", "not finite" if gradient is None else f"{gradient:.2f}"),
        ]

    def _machine(self, step: StepDone) -> list[tuple[str, str]]:
        """What it costs the machine."""
        share = self._state.mfu_ratio(step)
        gives = "" if share is None else f" ({percent(share)} of the machine's rate)"
        pairs = [("tokens/s", speed(self._state.tokens_per_second(step)) + gives)]
        for name, now, peak in memory_of(step):
            pairs.append((name, f"{now:.1f} GB" if peak is None else f"{now:.1f} GB (peak {peak:.1f})"))
        return pairs


class PlainView:
    """Lines on standard error: one for a stage, a fact and a round, and one about every five seconds while training.

    Args:
        console: where to write.
        clock: seconds that only go up.
        every_seconds: least time between two lines about steps.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic, every_seconds: float = 5.0) -> None:
        self._console, self._clock, self._every_seconds = console, clock, every_seconds
        self._state = _State()
        self._last_step_line = -every_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._console.file.flush()

    def __call__(self, event: Event) -> None:
        """Write what the event says, if it is time to."""
        now = self._clock()
        self._state.take(event, now)
        if isinstance(event, StepDone):
            if now - self._last_step_line < self._every_seconds and event.step != event.steps:
                return
            self._last_step_line = now
        for line in self._lines(event, now):
            self._console.print(Text(_clean(line)), soft_wrap=True)

    def _lines(self, event: Event, now: float) -> list[str]:
        if isinstance(event, Profiled):
            rows = [f"  {row.share_ratio:6.1%}  {_milliseconds(row.seconds)}  {row.name}" for row in event.rows]
            return [f"profile of {event.steps} steps: share of the time, time of a step", *rows, _places(event)]
        line = self._line(event, now)
        return [line] if line else []

    def _line(self, event: Event, now: float) -> str:
        if isinstance(event, RunStarted):
            budget = "" if event.budget_seconds is None else f", {format_duration(event.budget_seconds)} to spend"
            return f"{'going on' if event.resumed else 'starting'} in {event.out}{budget}"
        if isinstance(event, Stage):
            return stage_words(event)
        if isinstance(event, Fact):
            return f"warning: {event.text}" if event.warning else event.text
        if isinstance(event, RoundStarted):
            return ", ".join([f"round {event.round}: {event.change}", *_reasons(event)])
        if isinstance(event, StepDone):
            return self._step_line(event, now)
        if isinstance(event, Evaluated):
            found = (f"{metric_words(name).en} {show_metric(name, value)}" for name, value in event.metrics.items())
            return f"step {event.step}: held-out {', '.join(found)}"
        return _round_line(event.record) if isinstance(event, RoundDone) else ""

    def _step_line(self, event: StepDone, now: float) -> str:
        state = self._state
        parts = [
            "loss not finite" if state.loss is None else f"loss {state.loss:.3f}",
            f"rate {event.learning_rate:.2e}",
            f"gradient norm {event.grad_norm:.2f}",
            f"{speed(state.tokens_per_second(event))} tokens/s",
        ]
        share = state.mfu_ratio(event)
        if share is not None:
            parts.append(f"{percent(share)} of the machine's rate")
        parts += [f"{name} {used:.1f} GB" for name, used, _ in memory_of(event)]
        left = state.seconds_left(now) if state.deadline is None else max(0.0, state.deadline - now)
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return f"step {event.step}/{event.steps}: {', '.join(parts)}"


def memory_of(step: StepDone) -> list[tuple[str, float, float | None]]:
    """The memory that a step tells of: a name, GB now, and GB at most where it is known."""
    found = [
        ("memory", step.memory_bytes, step.peak_memory_bytes),
        ("GPU", step.gpu_memory_bytes, step.peak_gpu_memory_bytes),
    ]
    return [(name, now / 1e9, None if peak is None else peak / 1e9) for name, now, peak in found if now is not None]


def profile_table(profiled: Profiled) -> Table:
    """The costliest operations: share of all time, time and calls of a step."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column(f"profile of {profiled.steps} steps", no_wrap=True, overflow="ellipsis", max_width=44)
    for heading in ("share", "a step", "calls"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in profiled.rows:
        name = Text(_clean(row.name))
        table.add_row(name, f"{row.share_ratio:.1%}", _milliseconds(row.seconds), f"{row.calls:,.0f}")
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.2f} ms"


def _places(profiled: Profiled) -> str:
    """Where the files of a profile are, and what opens them."""
    return _clean(f"{profiled.folder / 'table.txt'}; {profiled.folder / 'trace.json'} opens in ui.perfetto.dev")


def _pairs(pairs: Sequence[tuple[str, str]]) -> Text:
    """Names, dim, with their values."""
    line = Text()
    for name, value in pairs:
        line.append(f"{name} ", style="dim").append(value).append("   ")
    line.rstrip()
    return line


def stage_words(stage: Stage | None) -> str:
    """What is going on, in plain words."""
    if stage is None:
        return "starting"
    name = STAGES.get(stage.name, stage.name.replace("_", " "))
    detail = baseline_words(stage.detail.replace(" ", "_")).en if stage.name == "baseline" else stage.detail
    return f"{name}: {detail}" if detail else name


def speed(tokens_per_second: float) -> str:
    """A rate of tokens: `812`, `12.3k`."""
    found = number(tokens_per_second)
    if found is None:
        return "–"
    return f"{found / 1000:.1f}k" if found >= 10_000 else f"{found:,.0f}"


def percent(ratio: float) -> str:
    """A share of a whole, with a decimal where it is small: `41%`, `3.2%`."""
    return f"{ratio:.0%}" if ratio >= 0.0995 else f"{ratio:.1%}"


def _reasons(started: RoundStarted) -> list[str]:
    """Why a round is made, unless its change already says so, and about how long it takes."""
    why = diagnosis_words(started.diagnosis).en
    reasons = [why] if why and why != started.change else []
    if started.planned_seconds is not None:
        reasons.append(f"about {format_duration(started.planned_seconds)}")
    return reasons


def _round_line(record: Mapping[str, Any]) -> str:
    metric = str(record.get("metric") or "bits_per_byte")
    low, high = number(record.get("low")), number(record.get("high"))
    interval = "" if low is None or high is None else f" ({show_metric(metric, low)} to {show_metric(metric, high)})"
    before = "" if number(record.get("before")) is None else f", before {show_metric(metric, record['before'])}"
    verdict = "kept" if record.get("accepted") is True else "not kept"
    value = show_metric(metric, record.get("value"))
    return f"round {record.get('round')}: {metric_words(metric).en} {value}{interval}{before}, {verdict}"


def _hanging(mark: Text, words: Text) -> Table:
    """A mark with a text that wraps beside it."""
    grid = Table.grid(padding=0)
    grid.add_row(mark, words)
    return grid


def _clean(text: str) -> str:
    """One line of text that cannot steer the terminal."""
    return visible(text.replace("\n", " ").replace("\t", " "))
