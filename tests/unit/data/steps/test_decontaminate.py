"""Leaks beside plain sets of n-grams: planted lines are found, other text is not, whatever the shards."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.decontaminate import Decontaminate, DecontaminateConfig
from stepwell.data.steps.step import Outcome, Surroundings
from stepwell.errors import DataError

LINE = "Whoever finds the seventh lantern behind the old mill may keep it until the next full moon rises"
ZH_LINE = "谁要是在老磨坊后面找到第七盏灯笼，就可以一直留着它直到下一个满月升起。"


def step_of(**settings: object) -> Decontaminate:
    return Decontaminate(DecontaminateConfig(**{"action": "drop", **settings}), Surroundings())


def run(corpus: Sequence[Document], sizes: Sequence[int] = (), **settings: object) -> tuple[Outcome, dict]:
    """What the step makes of a corpus in shards, as one outcome, and what it finds."""
    step = step_of(**settings)
    ends = np.cumsum([0, *sizes])
    shards = [list(corpus[begin:end]) for begin, end in zip(ends, [*ends[1:], None], strict=True)]
    joined = step.join([step.look(shard) for shard in shards])
    outcome = Outcome()
    for shard, known in zip(shards, joined.known, strict=True):
        one = step.apply(shard, known)
        outcome.kept += one.kept
        outcome.dropped += one.dropped
    return outcome, dict(joined.findings)


def corpus_of(train: Sequence[str], validation: Sequence[str] = (), test: Sequence[str] = ()) -> list[Document]:
    splits = {"train": train, "validation": validation, "test": test}
    return [Document(text, f"{name}.txt", split=name) for name, texts in splits.items() for text in texts]


def dropped_of(outcome: Outcome) -> list[str]:
    assert {reason for _, reason in outcome.dropped} <= {"leak"}
    assert all(one.split == "train" for one, _ in outcome.dropped)
    return [one.text for one, _ in outcome.dropped]


def test_a_leaked_line_is_found_in_the_middle_of_a_document() -> None:
    leaking = f"Some words before. {LINE.upper()}!!! And some after it, that are of no matter."
    documents = corpus_of(["Text of its own. " * 5, leaking], [f"Question: {LINE}"], ["nothing " * 20])
    outcome, findings = run(documents)
    assert dropped_of(outcome) == [leaking]
    assert findings["training_documents"] == 2
    assert findings["leaking_documents"] == 1
    assert findings["leaking_ratio"] == 0.5
    assert findings["held_out"]["validation"] == {
        "documents": 1,
        "leaked_documents": 1,
        "leaked_ratio": 1.0,
        "leaked_ngrams_ratio": round(6 / 7, 6),
        "too_short_documents": 0,
    }
    assert findings["held_out"]["test"]["leaked_documents"] == 0
    assert findings["examples"] == [
        {"source": "train.txt", "ngrams": 6, "of": "validation", "held_out_source": "validation.txt", "passage": LINE}
    ]


def test_the_longest_passage_is_shown() -> None:
    words = LINE.split()
    other = " ".join(f"other{number}" for number in range(15))
    held_out = f"{other} between them {LINE}"
    _, findings = run(corpus_of([f"first {' '.join(words)} then {other}"], [held_out]))
    assert findings["examples"][0]["passage"] == LINE
    assert findings["examples"][0]["ngrams"] == 6 + 3
    long = " ".join(f"word{number}" for number in range(90))
    _, findings = run(corpus_of([long], [long]))
    assert findings["examples"][0]["passage"] == long[:200] + "..."


def test_a_leaked_chinese_line() -> None:
    leaking = f"前面的话。{ZH_LINE}后面的话，没有什么关系。"
    documents = corpus_of(
        ["另外一段文字，和别的都不一样，讲的是别的事情，没有人知道。", leaking], [], [f"题目：{ZH_LINE}"]
    )
    outcome, findings = run(documents)
    assert dropped_of(outcome) == [leaking]
    assert findings["examples"][0]["passage"] == ZH_LINE
    json.dumps(findings)


@pytest.mark.parametrize(
    ("line", "units", "dropped"),
    [(LINE, 12, 0), (LINE, 13, 1), (ZH_LINE, 18, 0), (ZH_LINE, 19, 1)],  # of the Chinese, the 18th is a comma
)
def test_how_much_is_a_leak(line: str, units: int, dropped: int) -> None:
    part = " ".join(line.split()[:units]) if " " in line else line[:units]
    documents = corpus_of([f"{part} / and then it goes on in its own way here"], [line])
    outcome, _ = run(documents, characters=18)
    assert len(outcome.dropped) == dropped


def test_least_ngrams() -> None:
    documents = corpus_of([" ".join(LINE.split()[:14]) + " or not", LINE], [], [LINE])
    assert len(run(documents, least_ngrams=2)[0].dropped) == 2
    outcome, findings = run(documents, least_ngrams=3)
    assert dropped_of(outcome) == [LINE]
    assert [one["ngrams"] for one in findings["examples"]] == [6]


def test_common_phrases_may_be_let_be() -> None:
    other = " ".join(reversed(LINE.split()))
    documents = corpus_of([f"{number} {LINE}" for number in range(4)] + [other], [LINE], [other])
    assert len(run(documents)[0].dropped) == 5
    assert len(run(documents, [2, 1], common_documents=4)[0].dropped) == 5
    outcome, findings = run(documents, [2, 1], common_documents=3)
    assert dropped_of(outcome) == [other]
    assert findings["held_out"]["validation"]["leaked_documents"] == 0
    assert len(findings["examples"]) == 1


def test_a_short_text_leaks_as_a_whole_only() -> None:
    short = "What stands behind the old mill?"
    documents = corpus_of(
        ["WHAT stands, behind the old mill", f"{short} It is a lantern", "thanks"], [short, "thanks!"]
    )
    outcome, _ = run(documents)
    assert dropped_of(outcome) == []  # six words are too few to say anything
    seven = "What stands there behind the old mill?"
    documents = corpus_of([seven.upper(), f"{seven} It is a lantern"], [seven])
    outcome, findings = run(documents)
    assert dropped_of(outcome) == [seven.upper()]
    assert findings["examples"][0]["passage"] == seven


def test_report_drops_nothing() -> None:
    outcome, findings = run(corpus_of([LINE, "other"], [LINE]), action="report")
    assert len(outcome.kept) == 3
    assert not outcome.dropped
    assert findings["leaking_documents"] == 1


def test_without_leaks_an_error_is_none() -> None:
    outcome, findings = run(corpus_of([LINE], [ZH_LINE], [LINE[::-1]]), action="error")
    assert len(outcome.kept) == 3
    assert findings["leaking_documents"] == 0
    assert findings["examples"] == []
    assert run([], action="error")[1]["leaking_ratio"] == 0.0


def test_benchmarks_are_read_by_rows(tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_text(
        "".join(json.dumps({"question": text, "n": 1}) + "\n" for text in ["short one", LINE, ZH_LINE, "再短"]),
        encoding="utf-8",
    )
    (tmp_path / "essay.txt").write_text("An essay of its own.\n" * 9, encoding="utf-8")
    benchmarks = (str(tmp_path / "quiz.jsonl"), str(tmp_path / "essay.txt"))
    documents = corpus_of(["nothing at all", f"It says: {ZH_LINE}"], ["held out"])
    outcome, findings = run(documents, [1], benchmarks=benchmarks, benchmark_column="question")
    assert dropped_of(outcome) == [f"It says: {ZH_LINE}"]
    assert findings["held_out"][benchmarks[0]]["documents"] == 4
    assert findings["held_out"][benchmarks[0]]["leaked_documents"] == 1
    assert findings["held_out"][benchmarks[0]]["too_short_documents"] == 2
    assert findings["held_out"][benchmarks[1]]["leaked_ratio"] == 0.0
    assert findings["examples"][0]["of"] == findings["examples"][0]["held_out_source"] == benchmarks[0]
    assert DecontaminateConfig(benchmarks=benchmarks).reads() == benchmarks


def test_what_is_wrong_with_a_benchmark_is_told(tmp_path: Path) -> None:
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text(f'{{"text": "{LINE}"}}\n' * 200 + '{"text": \n', encoding="utf-8")
    outcome, findings = run(corpus_of([f"{LINE}."], ["held out"]), benchmarks=str(quiz))
    assert len(outcome.dropped) == 1
    assert len(findings["benchmark_problems"]) == 1
    assert "quiz.jsonl" in findings["benchmark_problems"][0]


def plain_ngrams(text: str, length: int) -> set[tuple[str, ...]]:
    words = text.split()
    whole = {tuple(words)} if length > len(words) >= length / 2 else set()
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)} or whole


WORDS = st.lists(st.sampled_from("abc"), min_size=0, max_size=7).map(" ".join)


@given(
    st.lists(st.tuples(WORDS, st.sampled_from(["train", "train", "validation", "test"])), max_size=9),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 2),
)
def test_as_plain_sets_say_in_any_shards(corpus: list, sizes: list[int], common: int | None, least: int) -> None:
    documents = [Document(text, str(number), split=split) for number, (text, split) in enumerate(corpus)]
    ngrams = [plain_ngrams(text, 4) for text, _ in corpus]
    training = [mine for mine, (_, split) in zip(ngrams, corpus, strict=True) if split == "train"]
    held_out = {one for mine, (_, split) in zip(ngrams, corpus, strict=True) if split != "train" for one in mine}
    if common is not None:
        held_out = {one for one in held_out if sum(one in mine for mine in training) <= common}
    expected = []
    for document in documents:
        words = document.text.split()
        places = [tuple(words[start : start + 4]) for start in range(len(words) - 3)] or [tuple(words)]
        if document.split == "train" and sum(one in held_out for one in places) >= least:
            expected.append(document)
    settings = {"words": 4, "common_documents": common, "least_ngrams": least}
    outcome, findings = run(documents, sizes, **settings)
    assert [one for one, _ in outcome.dropped] == expected
    assert outcome.kept == [one for one in documents if one not in expected]
    assert findings == run(documents, **settings)[1]
    if least == 1:
        leaked = set().union(*training, set()) & held_out
        for name, found in findings["held_out"].items():
            mine = [one for one, (_, split) in zip(ngrams, corpus, strict=True) if split == name]
            assert found["documents"] == len(mine)
            assert found["leaked_documents"] == sum(bool(one & leaked) for one in mine)


def test_several_rounds_give_the_same(monkeypatch) -> None:
    documents = corpus_of([f"{n} {LINE} {n % 3} {ZH_LINE}" for n in range(9)], [LINE, "other " * 30], [ZH_LINE])
    whole = run(documents, [4, 2], common_documents=100)
    monkeypatch.setattr("stepwell.data.steps.duplicates.leaks.HASHES_TOGETHER", 5)
    assert run(documents, [4, 2], common_documents=100) == whole
    assert whole[1]["leaking_documents"] == 9


@pytest.mark.parametrize("name", ["classification/news.en.jsonl.gz", "classification/sentiment.zh.jsonl.gz"])
def test_lines_planted_in_real_text_are_found(real_data, name: str) -> None:
    rows = gzip.decompress(real_data(name).read_bytes()).decode().splitlines()[:1200]
    texts = list(dict.fromkeys(json.loads(row)["text"] for row in rows))
    texts = [text for text in texts if len(text) > 120]
    documents = [
        Document(text, name, split="test" if number % 10 == 0 else "train") for number, text in enumerate(texts)
    ]
    already, _ = run(documents)  # real text has leaks of its own
    documents = already.kept
    rng = random.Random(3)
    lines = [one.text[30:110] if "zh" not in name else one.text[20:60] for one in documents if one.split == "test"]
    lines = [" ".join(line.split()[1:-1]) if "zh" not in name else line for line in lines]
    planted = set()
    for number in rng.sample([n for n, one in enumerate(documents) if one.split == "train"], len(lines) // 2):
        text = documents[number].text
        place = rng.randrange(len(text))
        documents[number] = replace(documents[number], text=f"{text[:place]}\n{lines.pop()}\n{text[place:]}")
        planted.add(number)
    outcome, findings = run(documents, [50, 100], words=10, characters=13)
    found = {documents.index(one) for one, _ in outcome.dropped}
    clean = {documents.index(one) for one, _ in run(already.kept, words=10, characters=13)[0].dropped}
    assert len(planted & found) >= 0.95 * len(planted)
    assert len(found - clean - planted) == 0
    assert findings["leaking_documents"] == len(found)


def test_an_error_says_what_leaked_how_much_and_what_to_do() -> None:
    documents = corpus_of([LINE, f"{LINE} {LINE}", "other", ZH_LINE], [LINE, "own"], [ZH_LINE])
    with pytest.raises(DataError) as error:
        run(documents, action="error")
    assert "3 of 4 training documents" in error.value.got
    assert "1 of 2 in validation, 1 of 1 in test" in error.value.got
    assert f'train.txt and validation (validation.txt): "{LINE}"' in error.value.got
    assert "data.steps.decontaminate.action=drop" in error.value.do
