"""Words on the command line: several to a flag, and signals that ask before they stop."""

from __future__ import annotations

import os
import signal
import time

import pytest

from stepwell.cli.arguments import StopSignal, repeat_flags
from stepwell.errors import Stopped


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--text a", "--text a"),
        ("--text a b c", "--text a --text b --text c"),
        ("--text a b --budget 20m", "--text a --text b --budget 20m"),
        ("recipe.yaml --text a b", "recipe.yaml --text a --text b"),
        ("--text a b --data c d --set x=1 y=2", "--text a --text b --data c --data d --set x=1 --set y=2"),
        ("--text a --text b c", "--text a --text b --text c"),
        ("RUN --prompt once -n 3 --stop x y", "RUN --prompt once -n 3 --stop x --stop y"),
        ("RUN --prompt a b", "RUN --prompt a b"),  # not an option of several words: the parser complains
        ("--text a -- b c", "--text a -- b c"),
        ("--text - b", "--text - --text b"),
        ("--text=a b", "--text=a b"),
        ("--set a=-1 b=--text", "--set a=-1 --set b=--text"),
        ("--json --text a b --json", "--json --text a --text b --json"),
        ("--text", "--text"),
        ("", ""),
    ],
)
def test_a_flag_takes_every_word_up_to_the_next_one(words: str, wanted: str) -> None:
    assert list(repeat_flags(words.split())) == wanted.split()


def test_words_with_spaces_and_empty_words_stay_whole() -> None:
    assert list(repeat_flags(["--text", "my novel.txt", "", "中文 小说.txt"])) == [
        "--text", "my novel.txt", "--text", "", "--text", "中文 小说.txt"
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_whoever_polls_and_the_second_stops_at_once(number: signal.Signals) -> None:
    with pytest.raises(Stopped, match="run the same command again") as caught, StopSignal().listening() as stop:
        assert stop() is False
        os.kill(os.getpid(), number)
        assert stop() is True
        os.kill(os.getpid(), number)
        pytest.fail("still going")
    assert caught.value.exit_code == 130


def test_a_signal_stops_at_once_when_nobody_polls() -> None:
    with pytest.raises(Stopped), StopSignal().listening():
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("still going")


def test_whoever_polled_long_ago_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped), StopSignal().listening() as stop:
        stop()
        later = time.monotonic() + 60
        monkeypatch.setattr("stepwell.cli.arguments.time.monotonic", lambda: later)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("still going")


def test_slow_steps_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a minute is no reason to throw it away: the one before took as long."""
    now = [1000.0]
    monkeypatch.setattr("stepwell.cli.arguments.time.monotonic", lambda: now[0])
    with pytest.raises(Stopped), StopSignal().listening() as stop:
        stop()
        now[0] += 60
        assert stop() is False
        now[0] += 100
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() is True
        now[0] += 1000  # far longer than any step before
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("still going")


def test_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignal().listening():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(ValueError), StopSignal().listening():
        raise ValueError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interrupt_that_a_library_turned_into_another_fault_is_still_a_stop() -> None:
    def library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("expected a file") from None

    with pytest.raises(Stopped), StopSignal().listening():
        library()


def test_a_fault_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="mine"), StopSignal().listening():
        raise TypeError("mine")
