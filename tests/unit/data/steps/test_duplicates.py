"""Exact duplicates beside a plain walk through the corpus that remembers what it has seen."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.exact import Duplicates, DuplicatesConfig, without
from stepwell.data.steps.step import Outcome, Surroundings

HEADING, BRACKET = "Chapter 1", "}"
LONG = "This line is long enough to be judged: it has seventy bytes or more, surely."
OTHER = "And this is another line of the same kind, which is longer than sixty bytes."
CHINESE = "这一行中文足够长，所以它会被判断，一共有二十多个字。"


def run(corpus: Sequence[Document], sizes: Sequence[int] = (), **settings: object) -> Outcome:
    """What the step makes of a corpus in shards, as one outcome."""
    step = Duplicates(DuplicatesConfig(**settings), Surroundings())
    ends = np.cumsum([0, *sizes])
    shards = [list(corpus[begin:end]) for begin, end in zip(ends, [*ends[1:], None], strict=True)]
    joined = step.join([step.look(shard) for shard in shards])
    outcome = Outcome()
    for shard, known in zip(shards, joined.known, strict=True):
        one = step.apply(shard, known)
        outcome.kept += one.kept
        outcome.dropped += one.dropped
        outcome.changed += one.changed
        outcome.findings += one.findings
    return outcome


def documents_of(*texts: str, split: str | None = None) -> list[Document]:
    return [Document(text, "corpus", split=split) for text in texts]


def texts_after(*texts: str, **settings: object) -> list[str]:
    return [one.text for one in run(documents_of(*texts), **settings).kept]


def fold(text: str) -> str:
    return "".join(text.lower().split())


def plainly(texts: Sequence[str], level: str, min_bytes: int) -> list[str]:
    """Paragraphs or lines that were there before, left out of each text; what is left is joined."""
    seen: set[str] = set()
    border = "\n\n" if level == "paragraphs" else "\n"
    kept = []
    for text in texts:
        left = []
        for piece in text.split(border):
            if len(piece.strip().encode()) >= max(min_bytes, 1):
                if fold(piece) in seen:
                    continue
                seen.add(fold(piece))
            left.append(piece)
        kept.append(border.join(left).rstrip())
    return [text for text in kept if text]


def test_documents_are_the_same_without_regard_to_case_and_blanks() -> None:
    texts = ["One text.", "one  text.\n", "One text", "One other text.", "这是 一\n本书。", "这是一本书。", "ONE TEXT."]
    outcome = run(documents_of(*texts))
    assert [one.text for one in outcome.kept] == ["One text.", "One text", "One other text.", "这是 一\n本书。"]
    assert Counter(reason for _, reason in outcome.dropped) == {"same_document": 3}
    assert outcome.kept[0].source == "corpus"
    assert not outcome.changed


def test_a_short_document_is_judged_too_and_can_be_let_be() -> None:
    assert texts_after("a", "b", "a") == ["a", "b"]
    assert texts_after("a", "b", "a", documents=False) == ["a", "b", "a"]
    assert run(documents_of("a", "a", LONG, LONG), documents=False).changed == {}


def test_paragraphs_are_cut_out_and_the_rest_stays_in_its_order() -> None:
    first = f"{HEADING}\n\n{LONG}\nsecond line\n\n{OTHER}"
    again = f"{HEADING}\n\nnew one\n\n{LONG}\n  Second  line\n\nnew two\n\n{OTHER}\n\n{BRACKET}"
    outcome = run(documents_of(first, again), paragraphs=True)
    assert [one.text for one in outcome.kept] == [first, f"{HEADING}\n\nnew one\n\nnew two\n\n{BRACKET}"]
    assert outcome.changed == {"repeated_paragraphs": 1}
    assert outcome.findings == {"paragraphs_cut": 2}


def test_lines_are_cut_out_and_short_ones_stay() -> None:
    code = f"def one():\n    {LONG}\n{BRACKET}\n\n{OTHER}\n{BRACKET}"
    again = f"{BRACKET}\n{LONG}\ndef two():\n{BRACKET}\n{CHINESE}\n{CHINESE}\nend"
    outcome = run(documents_of(code, again), lines=True)
    assert [one.text for one in outcome.kept] == [code, f"{BRACKET}\ndef two():\n{BRACKET}\n{CHINESE}\nend"]
    assert outcome.changed == {"repeated_lines": 1}
    assert outcome.findings == {"lines_cut": 2}


def test_how_short_is_too_short_is_counted_in_bytes() -> None:
    assert texts_after("一二三四五\n一二三四五\nabcdefgh\nabcdefgh", lines=True, min_bytes=15) == [
        "一二三四五\nabcdefgh\nabcdefgh"
    ]
    assert texts_after("}\n}\n}\nend", lines=True, min_bytes=0) == ["}\nend"]


def test_a_document_of_nothing_else_is_dropped() -> None:
    outcome = run(documents_of(f"{LONG}\n\nand", f"{LONG}", f"{LONG}\n\n{LONG}"), paragraphs=True, documents=False)
    assert [one.text for one in outcome.kept] == [f"{LONG}\n\nand"]
    assert [reason for _, reason in outcome.dropped] == ["only_repeated"] * 2


def test_no_blank_lines_pile_up() -> None:
    text = f"{LONG}\n\nab\n\n{LONG}\n\ncd"
    assert texts_after(text, lines=True) == [f"{LONG}\n\nab\n\ncd"]
    assert without("ab\n\n\ncd", []) == "ab\n\n\ncd"
    assert without("ab\n\nxx\n \n\ncd", [(4, 7)]) == "ab\n\ncd"
    assert without("xx\n\ncd", [(0, 3)]) == "cd"
    assert without("ab\nxx\n\ncd", [(3, 6)]) == "ab\n\ncd"
    assert without("ab\n \nxx\n\n  cd", [(5, 8)]) == "ab\n \n  cd"
    assert without("ab\nxx\nyy\ncd", [(3, 6), (6, 9)]) == "ab\ncd"
    assert without("ab xx cd", [(3, 5), (4, 6)]) == "ab cd"
    assert without("ab cd ef gh", [(0, 6), (3, 5)]) == "ef gh"


def test_paragraphs_and_lines_together() -> None:
    first = f"{LONG}\n{OTHER}\n\nmiddle"
    again = f"start\n{OTHER}\ngoes on\n\n{LONG}\n{OTHER}\n\nend"
    outcome = run(documents_of(first, again), paragraphs=True, lines=True)
    assert [one.text for one in outcome.kept] == [first, "start\ngoes on\n\nend"]
    assert outcome.changed == {"repeated_paragraphs": 1, "repeated_lines": 1}


def test_held_out_texts_come_first_and_lose_no_paragraph() -> None:
    train, test = f"own words\n\n{LONG}", f"{LONG}\n\n{LONG}\n\nof the test"
    documents = [*documents_of(train), *documents_of(LONG, split="validation"), *documents_of(test, split="test")]
    assert [one.text for one in run(documents, paragraphs=True).kept] == ["own words", LONG, test]
    same = [replace(one, source=str(n)) for n, one in enumerate(documents_of(LONG, LONG, LONG))]
    splits = ["train", "validation", "test"]
    same = [replace(one, split=split) for one, split in zip(same, splits, strict=True)]
    assert [one.source for one in run(same).kept] == ["2"]
    assert [one.source for one in run(same, [1, 1]).kept] == ["2"]


def test_a_part_that_goes_on_keeps_its_end() -> None:
    part = Document(f"{LONG}\n\nnew\n", "book", ends=False)
    outcome = run([*documents_of(LONG), part], paragraphs=True)
    assert [one.text for one in outcome.kept] == [LONG, "new\n"]


PIECES = st.sampled_from(["aa", "AA", "bb b", "一二", "c", "d d d"])


@pytest.mark.slow
@given(
    st.lists(st.lists(PIECES, min_size=1, max_size=5), max_size=6),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(["paragraphs", "lines"]),
    st.sampled_from([0, 2, 4]),
)
def test_as_a_plain_walk_in_any_shards(corpus: list, sizes: list[int], level: str, min_bytes: int) -> None:
    border = "\n\n" if level == "paragraphs" else "\n"
    texts = [border.join(pieces) for pieces in corpus]
    settings = {"documents": False, level: True, "min_bytes": min_bytes}
    kept = [one.text for one in run(documents_of(*texts), sizes, **settings).kept]
    assert kept == plainly(texts, level, min_bytes)


@given(st.lists(st.tuples(PIECES, st.sampled_from([None, "train", "validation", "test"])), max_size=8),
       st.lists(st.integers(0, 3), max_size=3))  # fmt: skip
def test_documents_in_any_shards(corpus: list, sizes: list[int]) -> None:
    documents = [Document(text, str(number), split=split) for number, (text, split) in enumerate(corpus)]
    order = sorted(documents, key=lambda one: {"test": 0, "validation": 1}.get(one.split or "", 2))
    first = {fold(one.text): one for one in reversed(order)}
    assert run(documents, sizes).kept == [one for one in documents if first[fold(one.text)] is one]


def test_several_rounds_give_the_same(monkeypatch) -> None:
    documents = documents_of(*(f"text number {number % 17}" for number in range(60)))
    whole = run(documents, [20, 13])
    monkeypatch.setattr("stepwell.data.steps.duplicates.buckets.RECORDS_TOGETHER", 7)
    assert run(documents, [20, 13]).kept == whole.kept
    assert len(whole.kept) == 17


@pytest.mark.parametrize("name", ["lm/tinyshakespeare.txt", "lm/hongloumeng.zh.txt.gz"])
def test_planted_copies_in_real_text_are_found(real_data, name: str) -> None:
    data = real_data(name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()[:150_000]
    border = "\n\n" if name.endswith(".txt") else "\n"
    pieces = list(dict.fromkeys(piece for piece in text.split(border) if len(piece.encode()) >= 60))
    planted = pieces[::7]
    texts = ["\n\n".join(pieces[start : start + 10]) for start in range(0, len(pieces), 10)]
    again = ["\n\n".join([f"a new beginning {number}", *planted[number : number + 3]]) for number in range(0, 30, 3)]
    outcome = run(documents_of(*texts, *again), paragraphs=True)
    assert outcome.findings == {"paragraphs_cut": 30}
    assert [one.text for one in outcome.kept] == [*texts, *(f"a new beginning {number}" for number in range(0, 30, 3))]


def test_no_documents() -> None:
    assert run([], paragraphs=True, lines=True) == Outcome()
    step = Duplicates(DuplicatesConfig(lines=True), Surroundings())
    assert list(step.join([]).known) == []
