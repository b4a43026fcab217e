"""docs/exactness.md says nothing without a test: every file and every test that it names is there."""

from __future__ import annotations

import re


def test_every_test_that_the_page_names_is_there(project):
    page = (project / "docs" / "exactness.md").read_text(encoding="utf-8")
    tests = project / "tests"
    files = set(re.findall(r"(?:\w+/)+test_\w+\.py", page))
    names = set(re.findall(r"\btest_\w+\b(?!\.py)", page))
    assert files
    assert len(names) > 15
    assert [name for name in sorted(files) if not (tests / name).is_file()] == []
    written = "".join((tests / name).read_text(encoding="utf-8") for name in files)
    assert [name for name in sorted(names) if f"def {name}(" not in written] == []
