"""No document can hang, crash or fill a preparation: its parser runs in a process that can be ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stepwell.parsers import process
from stepwell.parsers.process import CannotBeParsed, Parsed, ParserProcess

LONG = 60.0


@pytest.fixture(scope="module")
def child() -> Iterator[ParserProcess]:
    one = ParserProcess("hostile_parsers")
    yield one
    one.close()


def test_it_gives_what_the_parser_gives(child: ParserProcess) -> None:
    for text in ("井 text", "", "lone \ud800", "x" * 3_000_000):
        assert child.parse("echo", text.encode("utf-8", errors="surrogatepass"), LONG) == Parsed([text])


@pytest.mark.slow
def test_a_parser_that_never_ends(child: ParserProcess) -> None:
    parsed = child.parse("forever", b"", 0.9)
    assert parsed == Parsed(["the first part"], "it could not be taken apart within 0.9 seconds")
    assert child.parse("echo", b"next", LONG) == Parsed(["next"])


def test_a_parser_that_never_comes_back_from_c_code(child: ParserProcess) -> None:
    assert child.parse("stuck", b"", 0.3) == Parsed([], "it could not be taken apart within 0.3 seconds")


def test_a_document_as_a_whole_has_a_limit_too(monkeypatch) -> None:
    assert list(process._timed(iter(["a", "b"]), LONG)) == ["a", "b"]
    monkeypatch.setattr(process, "MOST_PARTS", -1)
    parts = process._timed(iter(["a", "b"]), LONG)
    assert next(parts) == "a"
    with pytest.raises(CannotBeParsed, match="could not be taken apart within"):
        next(parts)


def test_a_child_that_nobody_waits_for_ends_by_itself(child: ParserProcess) -> None:
    """As when this process is killed: the alarm is the system's, and the end of the questions is the end."""
    started = child._started()
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.close()
    assert started.wait(timeout=LONG) == 0
    started.stdout.close()


def test_a_parser_that_crashes(child: ParserProcess) -> None:
    parsed = child.parse("crash", b"", LONG)
    assert list(parsed.parts) == ["before"]
    assert "its parser crashed" in str(parsed.problem)
    assert child.parse("echo", b"next", LONG) == Parsed(["next"])


def test_a_parser_that_wants_all_memory(child: ParserProcess) -> None:
    parsed = child.parse("devour", b"", LONG)
    assert list(parsed.parts) == []
    assert "MemoryError" in str(parsed.problem)


def test_parsers_that_refuse_or_fail(child: ParserProcess) -> None:
    assert child.parse("refuse", b"", LONG) == Parsed(["page one"], "1 of its 2 pages could not be read")
    assert child.parse("fail", b"", LONG) == Parsed([], "it is damaged (ValueError: no)")
    assert child.parse("deep", b"", LONG) == Parsed(["3000"])


def test_text_without_end(child: ParserProcess, monkeypatch) -> None:
    monkeypatch.setattr(process, "MOST_CHARACTERS", 1 << 25)
    parsed = child.parse("endless", b"", LONG)
    assert "more than 33,554,432 characters" in str(parsed.problem)
    assert child.parse("echo", b"next", LONG) == Parsed(["next"])


def test_it_works_off_the_main_thread_and_for_several_at_once(child: ParserProcess) -> None:
    got: dict[int, Parsed] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            got[number] = child.parse("echo", str(number).encode(), LONG)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: Parsed([str(number)]) for number in range(4)}


def test_a_child_that_died_is_started_again(child: ParserProcess) -> None:
    child.parse("echo", b"x", LONG)
    running = child._process
    assert running is not None
    running.kill()
    running.wait()
    assert child.parse("echo", b"next", LONG) == Parsed(["next"])
    child.close()
    assert child.parse("echo", b"again", LONG) == Parsed(["again"])
