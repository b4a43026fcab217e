"""What a source stands for: files, folders, globs, samples and datasets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepwell.data.inputs.hub import HubInput
from stepwell.data.inputs.reading import Reading
from stepwell.data.inputs.samples import SampleInput
from stepwell.data.inputs.sources import find_inputs
from stepwell.errors import DataError


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    for name in (
        "b.md",
        "a.txt",
        "deep/er/c.jsonl.gz",
        ".hidden.txt",
        ".git/d.txt",
        "picture.png",
        "table.xlsx",
        "z.zst",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def names(folder: Path, *sources: str) -> tuple[list[str], list[str]]:
    reports: list[str] = []
    found = find_inputs(sources, reports.append)
    return [str(Path(one.name).relative_to(folder)) for one in found], reports


def test_a_folder_in_fixed_order(notes: Path) -> None:
    found, reports = names(notes, str(notes))
    assert found == ["a.txt", "b.md", "deep/er/c.jsonl.gz"]
    assert len(reports) == 1
    assert "3 files of other kinds were passed over" in reports[0]


def test_globs(notes: Path) -> None:
    assert names(notes, f"{notes}/*.md")[0] == ["b.md"]
    assert names(notes, f"{notes}/**/*.gz")[0] == ["deep/er/c.jsonl.gz"]
    assert sorted(names(notes, f"{notes}/**")[0]) == ["a.txt", "b.md", "deep/er/c.jsonl.gz"]
    assert names(notes, f"{notes}/d*")[0] == ["deep/er/c.jsonl.gz"]


def test_a_file_named_twice_comes_once(notes: Path) -> None:
    assert names(notes, str(notes / "b.md"), str(notes), f"{notes}/../notes/*.md")[0] == [
        "b.md",
        "a.txt",
        "deep/er/c.jsonl.gz",
    ]


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x", encoding="utf-8")
    assert names(tmp_path, str(tmp_path / "a[1].txt"))[0] == ["a[1].txt"]


def reading(reports: list[str]) -> Reading:
    return Reading(None, "replace", reports.append)


@pytest.mark.slow
def test_python_docs_are_prose_with_names() -> None:
    texts = ["".join(text.blocks) for text in SampleInput("sample:python-docs").read(reading([]))]
    assert sum(len(text.encode()) for text in texts) > 1_500_000
    assert any(text.startswith("textwrap.dedent\n\nRemove any common leading whitespace") for text in texts)
    assert not any(text.startswith("test.") for text in texts)


def test_python_code_is_source() -> None:
    texts = ["".join(text.blocks) for text in SampleInput("sample:python-code").read(reading([]))]
    assert sum(map(len, texts)) > 5_000_000
    assert any("def dedent(text)" in text for text in texts)


def test_a_sample_has_the_same_fingerprint_each_time() -> None:
    assert SampleInput("sample:python-docs").fingerprint() == SampleInput("sample:python-docs").fingerprint()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    pytest.importorskip("datasets")
    folder = tmp_path / "dataset"
    folder.mkdir()
    for split in ("train", "test"):
        rows = [json.dumps({"text": f"{split} row {n} 井", "label": n}) for n in range(5)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_local_dataset(dataset: Path) -> None:
    one = HubInput(f"hf://{dataset}")
    assert ["".join(text.blocks) for text in one.read(reading([]))] == [f"train row {n} 井" for n in range(5)]
    other = HubInput(f"hf://{dataset}:test")
    assert ["".join(text.blocks) for text in other.read(reading([]))] == [f"test row {n} 井" for n in range(5)]
    before = one.fingerprint()
    assert before == HubInput(f"hf://{dataset}").fingerprint()
    (dataset / "train.jsonl").write_text('{"text": "new"}', encoding="utf-8")
    assert one.fingerprint() != before


def test_a_dataset_with_one_split_needs_no_name(dataset: Path, monkeypatch) -> None:
    (dataset / "train.jsonl").unlink()
    monkeypatch.chdir(dataset.parent)
    one = HubInput("hf://./dataset")
    assert next(one.read(reading([]))).blocks == ("test row 0 井",)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with links of every sort, beside a secret."""
    folder, secret = tmp_path / "corpus", tmp_path / "secret"
    (folder / "deep").mkdir(parents=True)
    secret.mkdir()
    (secret / "secret.txt").write_text("SECRET", encoding="utf-8")
    (folder / "deep" / "a.txt").write_text("text", encoding="utf-8")
    (folder / "inside.txt").symlink_to("deep/a.txt")
    (folder / "outside.txt").symlink_to(secret / "secret.txt")
    (folder / "out").symlink_to(secret)
    (folder / "broken.txt").symlink_to("nowhere.txt")
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "deep" / "loop2").symlink_to("..")
    (folder / "to-itself.txt").symlink_to("to-itself.txt")
    return folder


TOLD = {
    "outside.txt: a link that leaves": 1,
    "out: a link that leaves": 1,
    "broken.txt: a link to what is not there": 1,
    "to-itself.txt: a link to what is not there": 1,
}


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.txt", "/*"])
def test_links_that_leave_the_folder_are_told_and_not_followed(linked: Path, pattern: str) -> None:
    reports: list[str] = []
    found = find_inputs([f"{linked}{pattern}"], reports.append)
    texts = {"".join(text.blocks) for one in found for text in one.read(reading(reports))}
    assert texts == {"text"}
    assert len(found) == 1  # the link inside is the same file
    for told, count in TOLD.items():
        if pattern != "/**/*.txt" or not told.startswith("out:"):
            assert sum(f"/{told}" in report for report in reports) == count, (told, reports)


@pytest.mark.parametrize("pattern", ["*/*.txt", "o*/s*", "[o]ut/secret.txt", "deep/loop*/out/*"])
def test_no_pattern_leads_through_a_link_out_of_the_folder(linked: Path, pattern: str) -> None:
    reports: list[str] = []
    try:
        found = find_inputs([f"{linked}/{pattern}"], reports.append)
    except DataError:
        found = []
    assert [one.name for one in found if "secret" in one.name] == []
    assert any("a link that leaves" in report for report in reports)


def test_a_link_that_is_named_is_followed(linked: Path, tmp_path: Path) -> None:
    for source in (linked / "outside.txt", linked / "out"):
        (found,) = find_inputs([str(source)], print)
        assert ["".join(text.blocks) for text in found.read(reading([]))] == ["SECRET"]


def test_what_never_ends_is_passed_over(notes: Path) -> None:
    os.mkfifo(notes / "pipe.txt")
    found, reports = names(notes, str(notes))
    assert found == ["a.txt", "b.md", "deep/er/c.jsonl.gz"]
    assert f"{notes}/pipe.txt: no regular file; passed over" in reports


def test_patterns_find_what_the_shell_would(notes: Path, monkeypatch) -> None:
    monkeypatch.chdir(notes)
    found = find_inputs(["*.txt", "./deep/*/c.*", "*/*/*.gz"], print)
    assert [one.name for one in found] == ["a.txt", "deep/er/c.jsonl.gz"]
    assert [one.name for one in find_inputs([".*.txt"], print)] == [".hidden.txt"]
    assert [one.name for one in find_inputs(["[ab].*"], print)] == ["a.txt", "b.md"]
    assert [Path(one.name).name for one in find_inputs(["d*/../b.md"], print)] == ["b.md"]
    (notes / "deep" / ".more").mkdir()
    (notes / "deep" / ".more" / "x.txt").write_text("x", encoding="utf-8")
    assert [one.name for one in find_inputs(["*/.more/*.txt"], print)] == ["deep/.more/x.txt"]


def test_a_folder_that_cannot_be_listed_is_told(notes: Path, monkeypatch) -> None:
    before = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("er"):
            raise PermissionError(13, "Permission denied", str(path))
        return before(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, reports = names(notes, str(notes))
    assert found == ["a.txt", "b.md"]
    assert f"{notes}/deep/er: cannot be listed (Permission denied); passed over" in reports
