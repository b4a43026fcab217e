"""Lines that many documents share go, wherever shards begin, and nothing else does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.repair import boilerplate
from stepwell.data.steps.repair.boilerplate import Boilerplate, BoilerplateConfig, without_lines
from stepwell.data.steps.step import Outcome, Surroundings

NAVIGATION = "Home\nNews\nAbout us\n\n"
FOOTER = "\n\nShare this page\n© 2024 Example Ltd."
CHINESE_HEADER = "首页\n新闻\n关于我们\n"


def pages(small_text: Any, seed: int = 0) -> tuple[list[Document], list[str]]:
    """Web pages of two sources, some with boilerplate, and what they are without it."""
    rng = random.Random(seed)
    documents, bare = [], []
    for language in ("en", "zh"):
        text = small_text(language, 30_000, seed)
        for number, body in enumerate(text.strip().split("\n\n")):
            body = f"{body}\n{body[::-1]}"
            bare.append(body)
            if rng.random() < 0.4:
                top = NAVIGATION if language == "en" else CHINESE_HEADER
                end = FOOTER if language == "en" else f"\n阅读（{number}）"
                body = f"{top}{body}{end}"
            documents.append(Document(body, language))
    order = rng.sample(range(len(bare)), len(bare))
    return [documents[n] for n in order], [bare[n] for n in order]


def run(documents: Sequence[Document], shard: int = 50, **settings: Any) -> list[Outcome]:
    step = Boilerplate(BoilerplateConfig(**settings), Surroundings())
    shards = [documents[n : n + shard] for n in range(0, len(documents), shard)]
    joined = step.join([step.look(one) for one in shards])
    return [step.apply(one, known) for one, known in zip(shards, joined.known, strict=True)]


def texts(outcomes: Sequence[Outcome]) -> list[str]:
    return [one.text for outcome in outcomes for one in outcome.kept]


def plainly(documents: Sequence[Document], config: BoilerplateConfig) -> list[set[str]]:
    """The oracle: for each document its lines that are boilerplate, counted with dictionaries."""
    held = [{line for line in one.text.split("\n") if line.strip()} for one in documents]
    total: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    seen: set[str] = set()
    for one, lines in zip(documents, held, strict=True):
        if one.text in seen:
            continue
        seen.add(one.text)
        if len([line for line in one.text.split("\n") if line.strip()]) > 1:
            total[one.source] += 1
            counts.update({(one.source, boilerplate._plain(line)) for line in lines})
    return [
        {
            line
            for line in lines
            if counts[one.source, boilerplate._plain(line)]
            >= max(config.min_documents, config.min_ratio * total[one.source])
            and sum(map(str.isalpha, line)) >= 2
            and not line.rstrip().endswith((":", "："))
        }
        for one, lines in zip(documents, held, strict=True)
    ]


def test_pages_lose_their_boilerplate_and_nothing_else(small_text: Any) -> None:
    documents, bare = pages(small_text)
    outcomes = run(documents)
    assert [text.strip() for text in texts(outcomes)] == bare
    found = sum((outcome.findings for outcome in outcomes), Counter())
    assert found["line: home"] == found["line: © 0 example ltd."] == sum(NAVIGATION in one.text for one in documents)
    assert found["line: 阅读（0）"] == found["line: 首页"]
    assert sum(outcome.changed["lines"] for outcome in outcomes) == sum(
        one.text != text for one, text in zip(documents, bare, strict=True)
    )


def test_the_same_wherever_shards_begin(small_text: Any) -> None:
    documents, _ = pages(small_text, seed=1)
    whole = texts(run(documents, len(documents)))
    assert all(texts(run(documents, shard)) == whole for shard in (1, 7, 64))


@pytest.mark.parametrize("sketch", [1, 64, 1 << 22])
def test_as_counted_plainly_however_small_the_first_count(
    sketch: int, small_text: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boilerplate, "SKETCH_SIZE", sketch)
    documents, _ = pages(small_text, seed=2)
    documents += documents[:20]
    config = BoilerplateConfig(min_documents=3, min_ratio=0.02)
    expected = [
        without_lines(one.text, unwanted)[0] if unwanted else one.text
        for one, unwanted in zip(documents, plainly(documents, config), strict=True)
    ]
    assert texts(run(documents, min_documents=3, min_ratio=0.02)) == expected
    assert expected != [one.text for one in documents]


def test_what_is_never_boilerplate() -> None:
    code = [Document(f"def f{chr(97 + n)}():\n    x = {n}\n}}\n---\n", "s") for n in range(20)]
    assert texts(run(code)) == [one.text for one in code]
    talk = [Document(f"User:\nquestion {chr(97 + n)} please\n答：\nanswer {chr(97 + n)}", "s") for n in range(20)]
    assert texts(run(talk)) == [one.text for one in talk]
    assert "User:" not in texts(run(talk, skip_labels=False))[0]
    same = [Document("很好，推荐！", "s")] * 30  # duplicates, and not of this step
    assert texts(run(same)) == ["很好，推荐！"] * 30


def test_copies_of_a_document_count_once() -> None:
    copies = [Document("The well is deep.\nIts water is cold.", "s")] * 30
    others = [Document(f"Read more\nText {chr(97 + n)}.", "s") for n in range(12)]
    mixed = [one for pair in zip(copies, others, strict=False) for one in pair] + copies
    for shard in (5, 1000):
        assert texts(run(mixed, shard)) == [one.text.removeprefix("Read more\n") for one in mixed]


def test_few_documents_or_another_source_are_not_many() -> None:
    few = [Document(f"Read more\nText {chr(97 + n)}.", "s") for n in range(9)]
    assert texts(run(few)) == [one.text for one in few]
    two = [Document(f"Read more\nText {chr(97 + n)}.", f"s{n % 2}") for n in range(18)]
    assert texts(run(two)) == [one.text for one in two]
    assert texts(run(two, min_documents=9)) == [f"Text {chr(97 + n)}." for n in range(18)]


def test_documents_of_nothing_else_are_dropped() -> None:
    documents = [Document(f"Home\nNews\nText {chr(97 + n)}.", "s") for n in range(12)] + [Document("Home\nNews", "s")]
    outcomes = run(documents)
    assert [reason for outcome in outcomes for _, reason in outcome.dropped] == ["only_boilerplate"]
    assert not run([])


def test_gaps_are_closed_and_indentation_stays() -> None:
    assert without_lines("a\n\nAd\n\nb", {"Ad"}) == ("a\n\nb", ["Ad"])
    assert without_lines("Ad\n\n  a\n\n\nb\nAd\nAd", {"Ad"}) == ("  a\n\n\nb", ["Ad"] * 3)
    assert without_lines("a\nAd\nb", {"Ad"}) == ("a\nb", ["Ad"])
