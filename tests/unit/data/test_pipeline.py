"""Steps over shards: the same result whoever works, killed or not, and an account that adds up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest

from stepwell.data.document_files import load_shard, save_shard, shards_of
from stepwell.data.documents import Document
from stepwell.data.engines import DoAll, opened
from stepwell.data.inputs.files import FileInput
from stepwell.data.inputs.reading import Reading
from stepwell.data.pipeline import Pipeline, _Looks, save_arrays
from stepwell.data.steps.step import Arrays, Joined, Outcome, Step, StepConfig, Surroundings


class UpperConfig(StepConfig):
    kind: Literal["upper"] = "upper"


class Upper(Step[UpperConfig]):
    """A local step."""

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome = Outcome()
        for document in documents:
            outcome.changed["upper"] += document.text != document.text.upper()
            outcome.kept.append(document.with_text(document.text.upper()))
        return outcome


class ShortConfig(StepConfig):
    kind: Literal["short"] = "short"


class Short(Step[ShortConfig]):
    """A step that must know the whole corpus: what is longer than the mean is dropped."""

    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        return {"bytes": np.array([one.num_bytes for one in documents])}

    def join(self, looks: Sequence[Arrays]) -> Joined:
        mean = np.concatenate([look["bytes"] for look in looks]).mean()
        return Joined([{"drop": look["bytes"] > mean} for look in looks], {"mean": float(mean)})

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        assert known is not None
        pairs = list(zip(documents, known["drop"], strict=True))
        return Outcome([one for one, drop in pairs if not drop], [(one, "long") for one, drop in pairs if drop])


UPPER, SHORT = Upper(UpperConfig(), Surroundings()), Short(ShortConfig(), Surroundings())


@pytest.fixture
def files(tmp_path: Path) -> list[FileInput]:
    found = []
    for number in range(7):
        path = tmp_path / f"{number}.jsonl"
        rows = [{"text": f"row {row} of file {number} " + "wörd " * ((row * 7 + number) % 11)} for row in range(20)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found.append(FileInput(str(path), path))
    return found


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr("stepwell.data.pipeline.READ_TOGETHER_BYTES", 3_000)


def through(folder: Path, files: list[FileInput], steps: list[Step], do_all: DoAll = map) -> Pipeline:
    pipeline = Pipeline(folder, do_all)
    pipeline.read([(files[:1], "validation"), (files[1:], None)], Reading(None, "replace", print), "NFC", "key")
    pipeline.do(steps)
    return pipeline


def plainly(files: list[FileInput]) -> list[Document]:
    """What `Upper, Short, Upper` makes, without shards."""
    reading = Reading(None, "replace", print)
    texts = [(text, one, number) for number, one in enumerate(files) for text in one.read(reading)]
    documents = [
        Document("".join(text.blocks).strip().upper(), one.source, is_row=True, split=None if number else "validation")
        for text, one, number in texts
    ]
    mean = np.mean([one.num_bytes for one in documents])
    return [one for one in documents if one.num_bytes <= mean]


@pytest.mark.parametrize(
    ("engine", "workers"),
    [
        ("serial", 1),
        pytest.param("processes", 2, marks=pytest.mark.slow),
        pytest.param("ray", 2, marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore:::ray")]),
    ],
)
def test_every_engine_gives_what_one_list_gives(tmp_path: Path, files, engine: str, workers: int) -> None:
    pytest.importorskip("ray") if engine == "ray" else None
    from stepwell.data.steps.repair.clean import Clean, CleanConfig

    clean = Clean(CleanConfig(), Surroundings())  # steps of this file are not found by other processes
    steps = [UPPER, SHORT, UPPER] if engine == "serial" else [clean]
    with opened(engine, workers) as do_all:
        pipeline = through(tmp_path / "work", files, steps, do_all)
        told = list(do_all(counted, [1, 2, 3])) if engine == "ray" else []
    assert len(pipeline.shards) > 2
    assert engine != "ray" or json.dumps(told) == json.dumps([counted(number) for number in (1, 2, 3)])
    if engine == "serial":
        assert list(pipeline.documents()) == plainly(files)
    else:
        other = through(tmp_path / "other", files, steps)
        assert list(pipeline.documents()) == list(other.documents())
        assert pipeline.facts == other.facts


def counted(number: int) -> dict[str, dict[str, int]]:
    """A result whose names differ from task to task."""
    return {"z": {f"reason {number}": number}, "a": {}}


def test_the_account_adds_up(tmp_path: Path, files) -> None:
    pipeline = through(tmp_path / "work", files, [UPPER, SHORT, UPPER])
    read, upper, short, again = pipeline.facts
    left = list(pipeline.documents())
    assert [one.kind for one in pipeline.facts] == ["read", "upper", "short", "upper"]
    assert read.kind == "read"
    assert (upper.documents_in, upper.documents_out, upper.changed) == (140, 140, {"upper": 140})
    assert short.documents_in == 140
    assert short.documents_out == again.documents_in == again.documents_out == len(left)
    assert short.dropped == {"long": 140 - len(left)}
    assert short.bytes_out == again.bytes_in == sum(one.num_bytes for one in left)
    assert short.findings["mean"] == pytest.approx(upper.bytes_out / 140)
    assert {one.reason for one in short.examples} == {"long"}
    assert len(short.examples) == 20
    assert again.changed == {"upper": 0}


def test_a_killed_pipeline_goes_on_with_what_is_not_done(tmp_path: Path, files, monkeypatch) -> None:
    whole = through(tmp_path / "whole", files, [UPPER, SHORT, UPPER])
    seen: list[int] = []
    apply = Upper.apply

    def dying(self, documents, known=None):
        seen.append(len(documents))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return apply(self, documents, known)

    with monkeypatch.context() as patched:
        patched.setattr(Upper, "apply", dying)
        with pytest.raises(KeyboardInterrupt):
            through(tmp_path / "work", files, [UPPER, SHORT, UPPER])
        monkeypatch.setattr(FileInput, "read", lambda *args: pytest.fail("read again"))
        patched.setattr(Upper, "apply", lambda *args: (seen.append(0), apply(*args))[1])
        again = through(tmp_path / "work", files, [UPPER, SHORT, UPPER])
    assert list(again.documents()) == list(whole.documents())
    assert again.facts == whole.facts
    assert len(seen) == 3 + 2 * len(whole.shards) - 2  # of the first pass, two shards were done


def test_a_shard_keeps_everything(tmp_path: Path) -> None:
    documents = [
        Document("一\u2028二", "a", ends=False, part=3, columns={"label": "x\u2028", "n": [1, None]}),
        Document("b" * 10, "b", is_row=True, split="test"),
    ]
    save_shard(tmp_path / "a.arrow", documents)
    assert load_shard(tmp_path / "a.arrow") == documents
    assert [len(shard) for shard in shards_of(documents * 3, 11)] == [2, 2, 2]
    save_shard(tmp_path / "none.arrow", [])
    assert load_shard(tmp_path / "none.arrow") == []


def test_a_shard_is_written_in_batches_and_read_as_it_was(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("stepwell.data.document_files.BATCH_BYTES", 40)
    splits: list = [None, "train", "test"]
    documents = [
        Document(
            f"text {n} \u4e2d\U0001f600\0",
            f"source {n % 2}",
            n % 3 == 0,
            n,
            n % 2 == 1,
            splits[n % 3],
            {"n": n} if n % 4 else {},
        )
        for n in range(25)
    ]
    save_shard(tmp_path / "a.arrow", documents)
    assert load_shard(tmp_path / "a.arrow") == documents
    assert all(type(one.ends) is bool and type(one.is_row) is bool for one in load_shard(tmp_path / "a.arrow"))


@pytest.mark.slow
def test_a_worker_loads_no_pandas(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from stepwell.data.document_files import load_shard, save_shard\n"
        "from stepwell.data.documents import Document\n"
        f"path = Path({str(tmp_path / 'a.arrow')!r})\n"
        "save_shard(path, [Document('text', 'source')]); assert load_shard(path)[0].text == 'text'\n"
        "assert 'pandas' not in sys.modules, 'it is 35 MB in every worker'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_of_a_look_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    path = tmp_path / "look.npz"
    save_arrays(path, {"few": np.arange(3), "many": np.zeros(9)})
    look = _Looks([path])[0]
    assert look["few"].tolist() == [0, 1, 2]
    assert (list(look), len(look), "many" in look, "none" in look) == (["few", "many"], 2, True, False)
    held = _Looks([path])[0]
    assert held["few"].tolist() == [0, 1, 2]
    path.unlink()
    assert held["few"].tolist() == [0, 1, 2]  # once read, it is held as long as the look is
    with pytest.raises(FileNotFoundError):
        held["many"]
