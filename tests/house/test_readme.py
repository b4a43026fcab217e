"""What the README tells people to type exists: make targets, verbs, and every option."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.name for path in [*PROJECT.glob("README*.md"), PROJECT / "CONTRIBUTING.md"])


def commands(page: str, program: str) -> list[list[str]]:
    """The words of each line in a page's code blocks (fenced or indented) that starts with `program`."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    lines = re.findall(rf"^(?:[ ]{{4}})?(?:\$ )?({program} .+)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@cache
def help_of(verb: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stepwell", verb, "--help"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, f"stepwell {verb}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = {word for _, *words in commands(page, "make") for word in words[:1]}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_verbs_and_options_exist(page: str) -> None:
    for _, verb, *words in commands(page, "stepwell"):
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = set(re.findall(r"--[a-z][a-z-]*", help_of(verb)))
        assert options <= known, f"{page}: stepwell {verb} has no {', '.join(sorted(options - known))}"
