"""Prepared text: cleaned, deduplicated, split for good, and written once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stepwell.config import build
from stepwell.data import DataConfig, PreparedText, pipeline, prepare_text, read_documents
from stepwell.data.documents import SPLITS
from stepwell.progress import Fact


@pytest.fixture
def novel(tmp_path: Path, small_text) -> Path:
    path = tmp_path / "novel.txt"
    path.write_text(small_text("mixed", 60_000), encoding="utf-8")
    return path


def prepare(tmp_path: Path, *sources: Path | str, **settings) -> PreparedText:
    return prepare_text(DataConfig(sources=tuple(map(str, sources)), **settings), tmp_path / "out")


def split_by_text(prepared: PreparedText) -> dict[str, str]:
    return {text: name for name in SPLITS for text in prepared.texts(name)}


def test_what_goes_in_comes_out(tmp_path: Path, novel: Path) -> None:
    prepared = prepare(tmp_path, novel)
    assert prepared.path == tmp_path / "out" / f"text-{prepared.key}"
    facts = prepared.facts
    texts = [text for name in SPLITS for text in prepared.texts(name)]
    whole = novel.read_text(encoding="utf-8").strip()
    assert facts.documents == len(texts)
    assert facts.bytes == sum(len(text.encode()) for text in texts) == len(whole.encode())
    assert facts.characters == len(whole)
    assert sorted(texts) == sorted(document.text for document in read_documents(DataConfig(sources=(str(novel),))))
    assert {name: len(prepared.texts(name)) for name in SPLITS} == {n: s.documents for n, s in facts.splits.items()}
    assert min(split.documents for split in facts.splits.values()) > 0
    assert set(facts.languages) >= {"en", "zh"}
    assert facts.sources[0].source == str(novel)
    for name in SPLITS:
        assert prepared.num_bytes(name).tolist() == [len(text.encode()) for text in prepared.texts(name)]
        assert type(facts).from_dict(json.loads(json.dumps(facts.as_dict()))) == facts


def test_texts_are_a_sequence(tmp_path: Path, novel: Path) -> None:
    texts = prepare(tmp_path, novel).texts("train")
    assert texts[-1] == texts[len(texts) - 1] == list(texts)[-1]
    assert texts[1:3] == [texts[1], texts[2]]
    with pytest.raises(IndexError):
        texts[len(texts)]


def test_only_the_last_piece_ends(tmp_path: Path, novel: Path) -> None:
    documents = list(read_documents(DataConfig(sources=(str(novel), str(novel)))))
    assert [document.ends for document in documents[:-1]] == [False] * (len(documents) - 1)
    assert documents[-1].ends
    assert "".join(document.text for document in documents) == novel.read_text(encoding="utf-8").strip()


def test_unchanged_inputs_are_not_prepared_twice(tmp_path: Path, novel: Path, monkeypatch) -> None:
    first = prepare(tmp_path, novel)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.Pipeline, "read", lambda *args: pytest.fail("read again"))
        assert prepare(tmp_path, novel) == first
    novel.write_text(novel.read_text(encoding="utf-8") + "\n\nA new paragraph.", encoding="utf-8")
    assert prepare(tmp_path, novel).key != first.key
    assert prepare(tmp_path, novel, validation_ratio=0.2).key != first.key


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, novel: Path) -> None:
    one = prepare(tmp_path / "1", novel)
    other = prepare(tmp_path / "2", novel)
    for file in sorted(one.path.iterdir()):
        assert file.read_bytes() == (other.path / file.name).read_bytes()


def test_one_more_file_and_a_longer_tail_move_nothing(tmp_path: Path, small_text) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(small_text("mixed", 40_000, seed=n), encoding="utf-8")
    before = split_by_text(prepare(tmp_path, folder))
    (folder / "0-more.txt").write_text(small_text("en", 30_000, seed=9), encoding="utf-8")
    with (folder / "2.txt").open("a", encoding="utf-8") as file:
        file.write("\n" + small_text("zh", 5_000, seed=10))
    after = split_by_text(prepare(tmp_path, folder))
    moved = {text for text in before if text in after and before[text] != after[text]}
    assert not moved
    assert len(before.keys() - after.keys()) <= 1  # the piece before the new tail
    assert len(after) > len(before)


def test_duplicates_are_left_out(tmp_path: Path) -> None:
    rows = [
        json.dumps({"text": f"Row number {n % 500}, which is not so very short at all. 井水很凉。"})
        for n in range(1_000)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    facts = prepare(tmp_path, tmp_path / "rows.jsonl").facts
    assert (facts.documents, facts.duplicates) == (500, 500)
    kept = prepare(tmp_path, tmp_path / "rows.jsonl", deduplicate=False)
    assert (kept.facts.documents, kept.facts.duplicates) == (1_000, 0)
    splits = [set(kept.texts(name)) for name in SPLITS]
    assert not splits[0] & splits[1] | splits[0] & splits[2] | splits[1] & splits[2]


@pytest.mark.parametrize("deduplicate", [True, False])
def test_own_files_for_validation_and_test(tmp_path: Path, small_text, deduplicate: bool) -> None:
    rows = [f"Row number {n}, which is long enough to count for something here." for n in range(600)]
    held = {"validation": [*rows[:40], "only for validation"], "test": rows[40:60]}
    for name, texts in {"all": rows, **held}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    prepared = prepare(
        tmp_path,
        tmp_path / "all.jsonl",
        validation=(str(tmp_path / "validation.jsonl"),),
        test=(str(tmp_path / "test.jsonl"),),
        deduplicate=deduplicate,
    )
    assert list(prepared.texts("validation")) == held["validation"]
    assert list(prepared.texts("test")) == held["test"]
    assert list(prepared.texts("train")) == rows[60:]
    assert prepared.facts.duplicates == 60


def test_only_a_validation_file_leaves_the_test_share(tmp_path: Path, novel: Path, small_text) -> None:
    (tmp_path / "held.txt").write_text(small_text("en", 3_000, seed=5), encoding="utf-8")
    alone = split_by_text(prepare(tmp_path, novel))
    prepared = prepare(tmp_path, novel, validation=(str(tmp_path / "held.txt"),))
    for text, split in split_by_text(prepared).items():
        if text in alone:
            assert split == ("train" if alone[text] == "validation" else alone[text])


def test_rows_are_documents_and_long_rows_are_cut(tmp_path: Path, small_text) -> None:
    rows = ["short", small_text("en", 9_000), small_text("en", 30_000, seed=3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows), encoding="utf-8")
    documents = list(read_documents(DataConfig(sources=(str(tmp_path / "rows.jsonl"),))))
    assert documents[0].text == "short"
    assert max(len(document.text.encode()) for document in documents) <= 4096
    assert sum(document.ends for document in documents) == 3


def test_a_text_in_many_blocks_is_the_same_text(tmp_path: Path, novel: Path, monkeypatch) -> None:
    whole = [document.text for document in read_documents(DataConfig(sources=(str(novel),), document_bytes=512))]
    monkeypatch.setattr("stepwell.data.inputs.decoding.HEAD_BYTES", 100)
    monkeypatch.setattr("stepwell.data.inputs.decoding.CHUNK_BYTES", 1_000)
    monkeypatch.setattr("stepwell.data.inputs.decoding.BLOCK_CHARACTERS", 5_000)
    blocks = [document.text for document in read_documents(DataConfig(sources=(str(novel),), document_bytes=512))]
    assert "".join(blocks) == "".join(whole)
    assert max(len(text.encode()) for text in blocks) <= 512


def test_a_damaged_package_is_made_again(tmp_path: Path, novel: Path) -> None:
    config = DataConfig(sources=(str(novel),))
    prepared = prepare_text(config, tmp_path)
    whole = {file.name: file.read_bytes() for file in prepared.path.iterdir()}
    for name in ("train.bin", "validation.offsets.npy", "manifest.json"):
        for damage in (b"", whole[name][:-5], None):
            file = prepared.path / name
            file.unlink() if damage is None else file.write_bytes(damage)
            events: list[object] = []
            assert prepare_text(config, tmp_path, events.append) == prepared
            assert any(isinstance(event, Fact) and event.warning and name in event.text for event in events)
            assert {file.name: file.read_bytes() for file in prepared.path.iterdir()} == whole
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [prepared.path.name]


def test_a_draft_of_a_killed_process_is_no_obstacle(tmp_path: Path, novel: Path) -> None:
    config = DataConfig(sources=(str(novel),))
    prepared = prepare_text(config, tmp_path)
    draft = prepared.path.rename(tmp_path / f".{prepared.path.name}.draft")
    (draft / "train.bin").write_bytes(b"half")
    assert prepare_text(config, tmp_path) == prepared
    assert not draft.exists()


def test_what_was_wrong_is_told_each_time(tmp_path: Path, novel: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    novel.rename(folder / "novel.txt")
    (folder / "latin.txt").write_bytes(b"caf\xe9 in latin")
    (folder / "sheet.xlsx").write_bytes(b"x")
    for _ in range(2):
        events: list[Fact] = []
        facts = prepare_text(DataConfig(sources=(str(folder),)), tmp_path / "out", events.append).facts
        assert [event.text for event in events if isinstance(event, Fact) and event.warning] == list(facts.problems)
        assert len(facts.problems) == 2
    many = prepare(tmp_path, folder, encoding_errors="skip")
    assert "skipped" in many.facts.problems[1]


def test_the_languages_do_not_depend_on_the_order(tmp_path: Path, small_text) -> None:
    texts = {"a": small_text("en", 30_000), "b": small_text("zh", 30_000)}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    one = prepare(tmp_path, tmp_path / "a.txt", tmp_path / "b.txt").facts.languages
    other = prepare(tmp_path, tmp_path / "b.txt", tmp_path / "a.txt").facts.languages
    assert one == other
    assert one["en"] == pytest.approx(0.5, abs=0.1)
    assert one["zh"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lm/hongloumeng.zh.txt.gz", "lm/tinyshakespeare.txt", "classification/sentiment.zh.jsonl.gz"]
)
def test_real_text(tmp_path: Path, real_data, name: str) -> None:
    prepared = prepare(tmp_path, real_data(name))
    facts = prepared.facts
    assert next(iter(facts.languages)) == ("zh" if ".zh" in name else "en")
    assert 0.03 < facts.splits["validation"].bytes / facts.bytes < 0.2
    assert np.concatenate([prepared.num_bytes(split) for split in SPLITS]).max() <= 4096


def test_a_single_source_needs_no_brackets() -> None:
    assert build(DataConfig, {"sources": "novel.txt", "test": "held.txt"}, where="recipe").sources == ("novel.txt",)


def test_text_prepared_in_two_ways_is_judged_by_the_same(tmp_path: Path, novel: Path) -> None:
    base = prepare(tmp_path, novel)
    other_way = DataConfig(sources=(str(novel),), validation_ratio=0.5, document_bytes=512)
    other = prepare_text(other_way, tmp_path / "out", held_out=base)
    for split in ("validation", "test"):
        assert list(other.documents(split)) == list(base.documents(split))
    held_out = {text for split in ("validation", "test") for text in base.texts(split)}
    alone = prepare_text(other_way, tmp_path / "out")
    assert list(other.texts("train")) == [text for text in alone.texts("train") if text not in held_out]
    assert other.key != alone.key


def test_a_held_out_text_that_was_repaired_since_is_not_learned(tmp_path: Path, small_text) -> None:
    paragraphs = small_text("mixed", 60_000).split("\n\n")
    rows = [json.dumps({"text": paragraph[:40] + "\x07" + paragraph[40:]}) for paragraph in paragraphs]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = {"sources": [str(tmp_path / "rows.jsonl")], "validation_ratio": 0.3}
    broken = prepare_text(build(DataConfig, words, where="test"), tmp_path / "out")
    clean = build(DataConfig, {**words, "steps": ["clean"]}, where="test")
    held_out = {text.replace("\x07", "") for name in ("validation", "test") for text in broken.texts(name)}
    alone = set(prepare_text(clean, tmp_path / "out").texts("train"))
    assert alone & held_out  # a repaired text may be drawn for another split
    judged = prepare_text(clean, tmp_path / "out", held_out=broken)
    assert not set(judged.texts("train")) & held_out
    assert len(judged.texts("train")) > 0.3 * len(paragraphs)
    assert list(judged.texts("validation")) == list(broken.texts("validation"))
