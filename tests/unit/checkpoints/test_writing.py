"""Writing in the background: one thing at a time, in order, and nothing that went wrong is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stepwell.checkpoints import Writer
from stepwell.errors import DiskError


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stepwell-writer"]


def test_the_caller_goes_on_while_a_job_runs_and_the_next_one_waits():
    writer, gate, done = Writer(), threading.Event(), []

    def first() -> None:
        gate.wait()
        done.append("first")

    writer.start(first)
    writer.check()
    assert not done, "start and check wait for nothing"
    threading.Timer(0.02, gate.set).start()
    writer.start(lambda: done.append("second"))
    assert done[0] == "first"
    assert len(writers()) <= 1, "at most one is in flight"
    writer.wait()
    assert done == ["first", "second"]
    assert not writers()


@pytest.mark.parametrize("by", ["wait", "start", "check"])
def test_a_fault_is_raised_by_the_next_call_and_once(by):
    writer, fault = Writer(), DiskError("c: the disk is full")

    def fail() -> None:
        raise fault

    writer.start(fail)
    writers_end()
    with pytest.raises(DiskError) as caught:
        writer.start(lambda: None) if by == "start" else getattr(writer, by)()
    assert caught.value is fault
    writer.check()
    writer.wait()
    ran = []
    writer.start(lambda: ran.append(1))
    writer.wait()
    assert ran, "with room again it goes on"


def writers_end() -> None:
    for thread in writers():
        thread.join()


def test_whatever_ends_a_job_is_told():
    writer = Writer()
    writer.start(lambda: sys.exit(3))
    with pytest.raises(SystemExit):
        writer.wait()


LEAVES = """
import sys, threading
from pathlib import Path
from stepwell.checkpoints import Writer
leaves = threading.Event()
def job():
    threading.main_thread().join()
    Path(sys.argv[1]).write_text("whole")
Writer().start(job)
raise RuntimeError("the process ends by a fault")
"""


@pytest.mark.slow
def test_a_process_that_ends_by_a_fault_writes_what_it_has_begun(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, str(tmp_path / "it")], capture_output=True, text=True, check=False
    )
    assert "ends by a fault" in done.stderr
    assert (tmp_path / "it").read_text() == "whole"
