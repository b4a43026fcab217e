"""A Python process that has torch already: forked from one that waits with everything loaded.

It can be stopped in every way, and ends as any other; it only begins sooner. What must not depend on that (the run that
others are compared with, the last start after a stop) is started in the plain way, with `subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

LOADED = ["stepwell.api", "stepwell.studies.sessions", "stepwell.cli.show", "torch._dynamo", "pyarrow.ipc"]

COMMAND = """
import sys, time
from stepwell.cli import main
sys.modules[main.__module__].BEGAN = time.monotonic()
main()
"""
"""The program that `stepwell` is."""


class WarmProcess:
    """A program, started.

    Args:
        program: Python source; `COMMAND` is the real command.
        words: what stands after its name.
        said: a file for what it writes on standard error; standard output goes nowhere.
    """

    def __init__(self, program: str, words: Sequence[str], said: Path) -> None:
        multiprocessing.set_forkserver_preload(LOADED)
        self.said = said
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_run, args=(program, list(words), str(said)))
        self._process.start()

    def poll(self) -> int | None:
        """Its exit code, as of `subprocess`; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens when it has ended."""
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self) -> tuple[int, str]:
        """Its exit code, and what it said on standard error."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        self._process.close()
        return code, self.said.read_text(encoding="utf-8") if self.said.exists() else ""


def _run(program: str, words: list[str], said: str) -> None:
    for path, descriptor in ((os.devnull, 1), (said, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.argv = ["stepwell", *words]
    exec(program, {"__name__": "__main__"})
