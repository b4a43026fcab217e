"""The report of prepared text says what the corpus is, and what it does not know."""

from __future__ import annotations

import html
import html.parser
import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell.config import build
from stepwell.data import DataConfig, PreparedText, StepFacts, compare_tokenizers, prepare_text
from stepwell.data.facts import DroppedExample
from stepwell.data.steps.catalog import STEPS
from stepwell.errors import DiskError
from stepwell.studies.report import render_data_report, write_data_report
from stepwell.studies.report.corpus import names
from stepwell.studies.report.corpus.counts import (
    SPLITS,
    count_labels,
    count_tokens,
    count_words,
    lengths_of,
    sample_of,
)
from stepwell.studies.report.corpus.findings import counts_of, view_of
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

WORDS_EN = ["river", "stone", "window", "garden", "letter", "winter", "market", "silver", "bridge"]
WORDS_ZH = ["河流", "石头", "窗户", "花园", "信件", "冬天", "集市", "银币", "桥梁"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedText:
    """English and Chinese rows with labels, some the same, some empty, and a line that stands in all of them."""
    root = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    rows = []
    for number in range(400):
        words, space = (WORDS_EN, " ") if number % 2 else (WORDS_ZH, "")
        text = f"Number {number}: " + space.join(rng.choices(words, k=rng.randint(5, 80)))
        label = "common" if number % 5 else "rare"
        rows.append({"text": text + "\nThe line that stands in every one.", "label": label, "id": number})
    rows += [*rows[:20], {"text": "\x07", "label": "common", "id": 0}]
    (root / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    config = {"sources": [str(root / "rows.jsonl")], "columns": ["label", "id"], "steps": [{"kind": "clean"}]}
    return prepare_text(build(DataConfig, config, where="test"), root / "out")


@pytest.fixture(scope="module")
def tokenizer(prepared: PreparedText) -> Tokenizer:
    return train_tokenizer(list(prepared.texts("train")), ByteBPEConfig(vocab_size=400))


def text_of(page: str) -> str:
    """What stands in a page, without elements; each element's text on a line of its own."""
    body = page[page.index("<main>") : page.index("</main>")]
    return html.unescape(re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", "\n", body)))


def with_steps(prepared: PreparedText, *steps: StepFacts) -> PreparedText:
    """The same text with other steps told about."""
    return replace(prepared, facts=replace(prepared.facts, steps=steps))


def test_the_page_has_the_numbers_of_the_corpus(prepared: PreparedText) -> None:
    text = text_of(render_data_report(prepared))
    facts = prepared.facts
    assert f"{facts.documents} documents" in text
    for split in facts.splits.values():
        assert f"\n{split.documents}\n" in text
    assert facts.sources[0].source in text
    dropped = sum(count for step in facts.steps for count in step.dropped.values())
    assert dropped >= 20
    assert f"The steps dropped {dropped} documents" in text
    assert "Chinese" in text
    assert "English" in text


def test_every_step_is_told_with_its_counts(prepared: PreparedText) -> None:
    page = render_data_report(prepared)
    text = text_of(page)
    for step in prepared.facts.steps:
        if step.documents_in:
            assert f"\n{step.documents_in}\n" in text
    for name in ("Read", "Clean", "Cut and split", "Same pieces", "same text as one before"):
        assert name in text
    steps = page[page.index('id="steps"') : page.index('id="reasons"')]
    assert "B/s" in steps


def test_dropped_texts_are_shown_with_their_source(prepared: PreparedText) -> None:
    step = next(step for step in prepared.facts.steps if step.kind == "same_pieces")
    text = text_of(render_data_report(prepared))
    assert step.examples[0].text.splitlines()[0] in text
    assert f"{min(20, step.dropped['same_text'])} of {step.dropped['same_text']} shown" in text


def test_what_was_not_looked_for_is_said(prepared: PreparedText) -> None:
    text = text_of(render_data_report(prepared))
    assert "no step decontaminate" in text
    assert "no step protect" in text
    assert "no tokenizer was given" in text
    assert "near_duplicates" in text


def test_what_steps_find_has_its_part(prepared: PreparedText) -> None:
    steps = (
        StepFacts("near_duplicates", 10, 8, 100, 80, 0.5, dropped={"near_duplicate": 2},
                  findings={"clusters": 1, "cluster_sizes": {"2": 7, "10": 1},
                            "largest": [{"size": 3, "texts": ["one", "two"], "jaccard_ratio": 0.87}]}),
        StepFacts("decontaminate", 8, 7, 80, 70, 0.1, dropped={"leaked": 1}, findings={"benchmark": "secret exam"}),
        StepFacts("protect", 7, 7, 70, 70, 0.1, changed={"email": 3}),
        StepFacts("language", 7, 7, 70, 70, 0.1, findings={"paragraphs": {"en": 5, "fr": 2}}),
        StepFacts("a_new_step", 7, 6, 70, 60, 0.1, dropped={"some_new_reason": 1},
                  examples=(DroppedExample("some_new_reason", "src", "gone"),), findings={"nothing": {}, "none": None}),
    )  # fmt: skip
    page = render_data_report(with_steps(prepared, *steps))
    parts = {name: text_of("<main>" + part + "</main>")
             for name, part in re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.S)}  # fmt: skip
    assert "cluster sizes" in parts["duplicates"].lower()
    assert parts["duplicates"].index("\n2\n") < parts["duplicates"].index("\n10\n")
    assert "87 %" in parts["duplicates"]
    assert "one\ntwo" in parts["duplicates"]
    assert "secret exam" in parts["leakage"]
    assert "e-mail" in parts["personal"]
    assert "fr" in parts["findings"]
    assert "Some new reason" in parts["reasons"]
    assert "gone" in parts["reasons"]
    assert "no step" not in parts["leakage"] + parts["personal"]


def test_texts_shown_from_before_masking_are_named(prepared: PreparedText) -> None:
    example = (DroppedExample("too_few_words", "src", "call 13800138000"),)
    quality = StepFacts("quality", 9, 8, 9, 9, 0.1, dropped={"too_few_words": 1}, examples=example)
    protect = StepFacts("protect", 9, 9, 9, 9, 0.1, changed={"phone": 1})
    warning = "put protect before them"
    assert warning in render_data_report(with_steps(prepared, quality, protect))
    assert warning not in render_data_report(with_steps(prepared, protect, quality))
    counts = replace(quality, examples=(), findings={"short": 3})
    assert warning not in render_data_report(with_steps(prepared, counts, protect))
    lines = replace(counts, findings={"line: call 13800138000": 3})
    assert warning in render_data_report(with_steps(prepared, lines, protect))
    assert warning not in render_data_report(with_steps(prepared, quality))


def test_the_page_speaks_both_languages(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    page = render_data_report(prepared, tokenizer=tokenizer, label_column="label")
    assert page.count('class="en"') == page.count('class="zh"') > 60
    for words in ("各步骤做了什么", "去掉了什么，为什么", "文档长度", "高频词", "词表是否合适", "标签", "泄漏"):
        assert words in page
    for wording in re.findall(r'class="zh" lang="zh-Hans">([^<]*)<', page):
        assert re.search("[\u4e00-\u9fff]", wording) or not re.search("[A-Za-z]{4}", wording), wording


def test_labels_are_counted_by_class_and_split(prepared: PreparedText) -> None:
    labels = count_labels(prepared)
    assert [one.column for one in labels] == ["label"]  # the numbers of the rows are no classes
    counted = Counter(columns["label"] for name in SPLITS for columns in prepared.each_columns(name))
    assert {name: one.total() for name, one in labels[0].classes.items()} == counted
    assert [one.column for one in count_labels(prepared, "id")] == ["id", "label"]
    text = text_of(render_data_report(prepared))
    assert "Column label" in text
    assert "common has 4" in text
    assert "Other columns" not in text
    text = text_of(render_data_report(prepared, label_column="id"))
    assert text.index("Column id") < text.index("Other columns") < text.index("Column label")
    named = with_steps(prepared, StepFacts("labels", 9, 9, 9, 9, 0.1, findings={"column": "label"}))
    assert "Column label" in text_of(render_data_report(named))


def test_values_that_cannot_be_labels_are_left_alone() -> None:
    class Odd:
        def each_columns(self, split: str) -> list[dict[str, Any]]:
            if split != "train":
                return []
            odd: list[Any] = [None, 1.5, ["a"], {"b": 1}, "x" * 500, float("nan")]
            return [{"odd": odd[n % 6], "one": "same", "yes": n % 2 == 0, "n": n} for n in range(60)]

    labels = count_labels(Odd())  # type: ignore[arg-type]
    assert [one.column for one in labels] == ["yes"]
    assert set(labels[0].classes) == {"True", "False"}


def test_words_are_counted_as_by_hand() -> None:
    counts = count_words(
        ["The cat, the CAT's hat; 12 cats_2.\nA line of a page", "the dog\nA line of a page", "天天天"]
    )
    assert dict(counts.words)["the"] == 3
    assert dict(counts.words)["cat's"] == 1
    assert counts.total == sum(count for _, count in counts.words) == 18
    assert sum(len(word) * count for word, count in counts.chinese) == 3
    assert counts.lines == []  # two documents are not several
    many = count_words(["A line of a page\nA line of a page"] * 3)
    assert many.lines == [("A line of a page", 3)]  # documents, not places


def test_lines_that_stand_everywhere_are_shown(prepared: PreparedText) -> None:
    assert "The line that stands in every one." in text_of(render_data_report(prepared))


@pytest.mark.parametrize(
    "sizes", [[1], [5, 5, 5], [1, 1_000_000], list(range(1, 3000)), [4096] * 50 + [4095], [0, 0, 3], [2**40, 7]]
)
def test_the_histogram_counts_every_document_once(sizes: list[int]) -> None:
    lengths = lengths_of(np.array(sizes, np.int64))
    assert lengths is not None
    assert sum(count for _, _, count in lengths.bars) == len(sizes)
    assert all(low < high for low, high, _ in lengths.bars)
    assert [high for _, high, _ in lengths.bars[:-1]] == [low for low, _, _ in lengths.bars[1:]]
    for low, high, count in lengths.bars:
        assert count == sum(low <= max(size, 1) < high for size in sizes)
    assert len(lengths.bars) <= 48
    assert lengths.median == pytest.approx(float(np.median(np.maximum(sizes, 1))))


def test_no_documents_have_no_lengths() -> None:
    assert lengths_of(np.zeros(0, np.int64)) is None


def test_tokens_are_counted_as_by_hand(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    samples = {name: sample_of(prepared, name) for name in SPLITS}
    counts = count_tokens(tokenizer, samples)
    assert counts is not None
    counted: Counter[int] = Counter()
    for text in prepared.texts("train"):
        counted.update(tokenizer.encode(text).tolist())
    assert counts.total == counted.total()
    assert counts.whole
    assert counts.bytes_per_token["train"] == pytest.approx(prepared.facts.splits["train"].bytes / counted.total())
    assert counts.most[0][1] == counted.most_common(1)[0][1]
    long = [n for n in range(tokenizer.vocab_size) if len(tokenizer.token_bytes(n)) > 1]
    assert counts.entries == len(long)
    assert counts.unseen == sum(counted[n] == 0 for n in long)
    assert counts.rare == sum(counted[n] < 10 for n in long)
    most = sorted(counted.values(), reverse=True)
    assert sum(most[: counts.half]) >= counted.total() / 2 > sum(most[: counts.half - 1])
    text = text_of(render_data_report(prepared, tokenizer=tokenizer))
    assert "Bytes per token, train" in text
    assert "Most frequent tokens" in text


def test_compared_tokenizers_stand_beside_each_other(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    assert "beside each other" not in text_of(render_data_report(prepared, tokenizer=tokenizer))
    choices = [ByteBPEConfig(vocab_size=280), ByteBPEConfig(vocab_size=400)]
    small, large = (one.as_dict() for one in compare_tokenizers(prepared, choices))
    page = render_data_report(prepared, tokenizer=tokenizer, compared=[small, large | {"chosen": True}])
    assert page.count("<b>byte_bpe</b>") == 1
    words = text_of(page)
    assert "Tokenizers beside each other" in words
    assert f"{large['bytes_per_token']:.3g}" in words
    assert "分词器比较" in page


def test_a_large_text_is_sampled_evenly(prepared: PreparedText) -> None:
    whole, some = sample_of(prepared, "train"), sample_of(prepared, "train", 4000)
    assert whole.whole
    assert not some.whole
    assert some.bytes <= 3 * 4000
    texts = list(prepared.texts("train"))
    places = [texts.index(text) for text in some.texts]
    assert len({after - before for before, after in pairwise(places)}) == 1


def test_findings_of_any_shape_are_shown() -> None:
    view = view_of({
        "count": 3, "share_ratio": 0.25, "size_bytes": 2_000_000, "words": "as they are", "empty": [], "none": {},
        "by_name": {"b": 1, "a": 5}, "things": [{"x": 1, "y": "one"}, {"x": 2}], "list": ["p", "q"],
        "groups": [{"texts": ["first", "second"]}], "line: one: two": 4, "line: three": 6, "line: odd": "no number",
        "nested": {"en": {"kept": 1}, "zh": {"kept": 2}}, "odd": {"a": [1], "b": "c"}, "flag": True, "absent": None,
    })  # fmt: skip
    facts = {name.en: value for name, value in view.facts}
    assert facts["count"] == "3"
    assert facts["share ratio"] == "25 %"
    assert facts["size bytes"] == "2.00 MB"
    assert facts["words"] == "as they are"
    assert {"flag", "absent", "odd"} <= set(facts)
    assert "empty" not in facts
    assert [[name.en for name, _, _ in counts.rows] for counts in view.counts] == [["three", "one: two"], ["a", "b"]]
    assert facts["line: odd"] == "no number"
    tables = {table.name.en: table for table in view.tables}
    assert [name.en for name, _ in tables["things"].head] == ["x", "y"]
    assert tables["things"].rows == [[["1"], ["one"]], [["2"], ["–"]]]
    assert [row[0] for row in tables["nested"].rows] == [["en"], ["zh"]]
    assert [row[0] for row in tables["list"].rows] == [["p"], ["q"]]
    assert tables["groups"].rows == [[["first", "second"]]]


def test_every_step_has_a_name_in_both_languages() -> None:
    assert set(STEPS) | {"read", "cut", "same_pieces"} <= set(names.STEPS)
    for name in [*names.STEPS.values(), *names.NAMES.values()]:
        assert re.search("[\u4e00-\u9fff]", name.zh), name
    assert names.named("documents_in_zh").zh == "中文文档"
    assert names.named("duplicate_5_grams").en == "repeated 5-grams"
    assert names.named("lines_cut").zh == "删去的行"
    assert names.named("a_new_reason") == ("a new reason", "a new reason")
    assert names.named("line: var a_b") == ("line: var a_b", "line: var a_b")


def test_long_lists_are_cut_and_it_is_said(prepared: PreparedText) -> None:
    counts = counts_of({f"reason {n}": n for n in range(80)})
    assert (len(counts.rows), counts.more) == (50, 30)
    step = StepFacts("quality", 9, 1, 9, 1, 0.1, dropped={f"r{n}": 1 for n in range(80)})
    assert "and 30 more" in text_of(render_data_report(with_steps(prepared, step)))
    many = replace(prepared, facts=replace(prepared.facts, problems=tuple(f"problem {n}" for n in range(100))))
    text = text_of(render_data_report(many))
    assert "problem 39" in text
    assert "problem 41" not in text
    assert "and 60 more" in text


def test_sizes_of_clusters_stay_in_their_order() -> None:
    assert [name.en for name, _, _ in counts_of({"10": 1, "2": 9, "3": 20}).rows] == ["2", "3", "10"]


def test_the_same_text_gives_the_same_page(prepared: PreparedText, tokenizer: Tokenizer) -> None:
    assert render_data_report(prepared, tokenizer=tokenizer) == render_data_report(prepared, tokenizer=tokenizer)


def test_the_page_needs_no_other_host(prepared: PreparedText) -> None:
    found: list[str] = []

    class Addresses(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value or "" for name, value in attrs if name in ("href", "src", "srcset", "action"))

    Addresses().feed(render_data_report(prepared))
    assert found == []


def test_the_report_is_written_whole_or_not_at_all(prepared: PreparedText, tmp_path: Path) -> None:
    path = tmp_path / "data.html"
    path.write_text("an older one", encoding="utf-8")
    assert write_data_report(prepared, path, recipe="data:\n  sources: [a.txt]") == path
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "sources: [a.txt]" in page
    assert [file.name for file in tmp_path.iterdir()] == ["data.html"]
    with pytest.raises(DiskError):
        write_data_report(prepared, tmp_path / "no" / "such" / "place.html")


def test_a_text_that_says_little(tmp_path: Path) -> None:
    """One document in each split, no steps that drop, no words."""
    for name in ("train", "validation"):
        (tmp_path / f"{name}.txt").write_text("1234567890 " * 2500 + name[0], encoding="utf-8")
    config = {"sources": [str(tmp_path / "train.txt")], "validation": [str(tmp_path / "validation.txt")],
              "test_ratio": 0, "validation_ratio": 0, "document_bytes": 1 << 20}  # fmt: skip
    prepared = prepare_text(build(DataConfig, config, where="test"), tmp_path / "out")
    text = text_of(render_data_report(with_steps(prepared)))
    assert "2 documents" in text
    assert "No step dropped a document." in text
    assert "Nothing was dropped." in text
    assert "No column of labels" in text


def test_chinese_words_without_the_library(prepared: PreparedText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    counts = count_words(["天气好", "天"])
    assert counts.chinese[0] == ("天", 2)
    assert not counts.segmented
    assert "words need the library rjieba" in text_of(render_data_report(prepared))


@pytest.mark.slow
def test_the_page_is_made_without_torch(prepared: PreparedText) -> None:
    script = (
        "import sys; from stepwell.studies.report import render_data_report as render\n"
        "assert callable(render); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
