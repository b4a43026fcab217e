"""Files that are whole or not there, lines that only grow, and a lock that dies with its holder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.errors import DiskError, RunError
from stepwell.runs import (
    RunDirectory,
    append_line,
    building,
    file_checksum,
    read_lines,
    sweep,
    to_json,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced_as_a_whole(tmp_path):
    file = tmp_path / "file"
    write_atomically(file, "old\n")
    write_atomically(file, "新\n")
    assert file.read_bytes() == "新\n".encode()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_fault_while_writing_leaves_the_old_file(tmp_path, monkeypatch, call):
    file = tmp_path / "file"
    write_atomically(file, "old")
    monkeypatch.setattr(os if call == "fsync" else Path, call, full_disk)
    with pytest.raises(DiskError, match="the disk is full"):
        write_atomically(file, "new")
    monkeypatch.undo()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(DiskError, match="cannot be written"):
        write_atomically(tmp_path / "nowhere" / "file", "text")


def test_a_directory_is_built_as_a_whole(tmp_path):
    place = tmp_path / "deep" / "place"
    for content in ("old", "new"):
        with building(place) as draft:
            (draft / "file").write_text(content)
            assert not place.exists() or (place / "file").read_text() == "old"
        assert (place / "file").read_text() == content
    assert names(place.parent) == ["place"]


@pytest.mark.parametrize("fault", [ValueError("mine"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_fault_while_building_leaves_the_old_directory(tmp_path, fault):
    place = tmp_path / "place"
    with building(place) as draft:
        (draft / "file").write_text("old")

    def build() -> None:
        with building(place) as draft:
            (draft / "file").write_text("new")
            raise fault

    with pytest.raises(DiskError if isinstance(fault, OSError) else type(fault)):
        build()
    assert (place / "file").read_text() == "old"
    assert names(tmp_path) == ["place"]


@pytest.mark.parametrize("number", [1, 2], ids=["old one moved aside", "new one moved in"])
def test_a_fault_while_a_directory_is_replaced_leaves_the_old_one(tmp_path, monkeypatch, number):
    place = tmp_path / "place"
    with building(place) as draft:
        (draft / "file").write_text("old")
    calls, rename = [], Path.rename

    def fails_once(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == number:
            full_disk()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(DiskError), building(place) as draft:
        (draft / "file").write_text("new")
    assert (place / "file").read_text() == "old"
    assert names(tmp_path) == ["place"]


KILLED_WHILE_BUILDING = """
import os, signal, sys
from pathlib import Path
from stepwell.runs import building
place = Path(sys.argv[1])
with building(place) as draft:
    (draft / "file").write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED_WHILE_BUILDING, str(tmp_path / "place")], check=False)
    (tmp_path / ".vimrc.1.old").touch()
    (tmp_path / ".notes.tmp").touch()
    assert len(names(tmp_path)) == 3
    sweep(tmp_path)
    assert names(tmp_path) == [".notes.tmp", ".vimrc.1.old"]


KILLED_WHILE_REPLACING = """
import os, signal, sys
from pathlib import Path
from stepwell.runs import building
rename = Path.rename
def once(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = once
with building(Path(sys.argv[1])) as draft:
    (draft / "file").write_text("new")
"""


def test_what_was_about_to_be_replaced_comes_back(tmp_path):
    """Killed between the two renames, neither the old nor the new one has its name."""
    place = tmp_path / "best"
    with building(place) as draft:
        (draft / "file").write_text("old")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_REPLACING, str(place)], check=False)
    assert not place.exists()
    sweep(tmp_path)
    assert names(tmp_path) == ["best"]
    assert (place / "file").read_text() == "old"


def test_a_run_is_swept_when_it_is_taken(tmp_path):
    run = RunDirectory(tmp_path / "run")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_BUILDING, str(run.root / "best")], check=False)
    with run.locked():
        assert names(run.root) == ["lock"]


TEXTS = ["plain", "中文 and é", 'quotes " and \\ and \n and \r\n', "line\u2028paragraph\u2029next\x85", "\0 \x1c \x0c"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_is_one_line_whatever_it_says(tmp_path, text):
    file = tmp_path / "lines"
    append_line(file, {"text": text})
    append_line(file, {"text": "next"})
    assert [record["text"] for record in read_lines(file)] == [text, "next"]


def test_names_that_are_no_utf8_survive(tmp_path):
    name = os.fsdecode(b"novel-\xff.txt")
    write_atomically(tmp_path / "file", to_json({"source": name}))
    append_line(tmp_path / "lines", {"source": name})
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == {"source": name}
    assert read_lines(tmp_path / "lines") == [{"source": name}]


def test_a_torn_last_line_is_left_out_wherever_it_was_torn(tmp_path):
    file = tmp_path / "lines"
    append_line(file, {"round": 1})
    whole = file.read_bytes()
    append_line(file, {"text": "井 well"})
    both = file.read_bytes()
    for length in range(len(whole), len(both) - 1):
        file.write_bytes(both[:length])
        assert read_lines(file) == [{"round": 1}], length


def test_after_a_torn_line_a_new_one_begins(tmp_path):
    file = tmp_path / "lines"
    file.write_bytes(b'{"round": 1}\n{"round": 2, "text": "\xe4\xba')
    append_line(file, {"round": 2})
    assert read_lines(file) == [{"round": 1}, {"round": 2}]


def test_no_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "lines") == []


def test_a_full_disk_while_a_line_is_added_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", full_disk)
    with pytest.raises(DiskError, match="the disk is full"):
        append_line(tmp_path / "lines", {"round": 1})


def test_json_is_strict():
    assert (
        to_json({"a": float("nan"), "b": [float("inf"), (1, 2)], 3: None})
        == '{"a": null, "b": [null, [1, 2]], "3": null}'
    )
    assert to_json({"text": "水"}) == '{"text": "水"}'


def test_checksum_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert file_checksum(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"3", b"null", b'{"a": "\xff"}', b""])
def test_a_damaged_json_file_is_named(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.result.write_bytes(content)
    with pytest.raises(RunError, match=r"result\.json: is damaged"):
        run.read(run.result)


def test_a_json_file_that_is_not_there_is_none(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.read(run.result) is None


HOLDER = """
import sys
from pathlib import Path
from stepwell.runs import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_two_processes_do_not_work_on_one_run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with hold(run.root) as process:
        with pytest.raises(RunError, match="another process is working"), run.locked():
            pass
        process.kill()  # however it ends, the lock is free then
        process.wait()
    with run.locked():
        pass


def test_one_process_does_not_take_a_run_twice(tmp_path):
    run = RunDirectory(tmp_path)
    with run.locked(), pytest.raises(RunError, match="another process"), RunDirectory(tmp_path).locked():
        pass


def test_a_run_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="cannot be written"), RunDirectory(root).locked():
            pass


def test_the_lock_is_let_go_after_a_fault(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(ValueError, match="mine"), run.locked():
        raise ValueError("mine")
    with run.locked():
        pass
