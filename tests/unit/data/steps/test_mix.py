"""Sources mixed by weight or temperature: shares that are reached, held-out text that stays as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest
from in_shards import in_shards

from stepwell.data.config import DataConfig
from stepwell.data.documents import Document
from stepwell.data.prepare import prepare_text
from stepwell.data.steps.balance.mix import Mix, MixConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import DataError


def corpus() -> list[Document]:
    """30 kB of books, 90 kB of web in two files, some of each held out."""
    made = [("books", 30), ("web/a.txt", 60), ("web/b.txt", 30)]
    return [
        Document(f"{source} {number:04d} ".ljust(1000, "x"), source, split="test" if number % 10 == 9 else "train")
        for source, count in made
        for number in range(count)
    ]


def mixed(documents: Sequence[Document], shards: int = 1, seed: int = 0, **settings: object):
    return in_shards(Mix(MixConfig(**settings), Surroundings(seed)), documents, shards)


def sizes(documents: Sequence[Document]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for one in documents:
        if one.split == "train":
            counts[one.source.partition("/")[0]] += one.num_bytes
    return counts


def test_weights_are_shares_of_the_bytes():
    kept, joined, (outcome,) = mixed(corpus(), weights={"books": 2, "web/*": 1}, max_epochs=10)
    assert sizes(kept) == {"books": 162_000, "web": 81_000}
    assert not outcome.dropped
    assert outcome.findings["repeats"] == 135
    books, web = joined.findings["sources"].values()
    assert (books["before_ratio"], books["wanted_ratio"], books["after_ratio"]) == (0.25, 0.6667, 0.6667)
    assert (books["epochs"], web["epochs"]) == (6, 1)
    assert joined.findings["capped"] == []
    json.dumps(joined.findings)


def test_repeats_are_whole_marked_and_capped():
    kept, joined, _ = mixed(corpus(), weights={"books": 2, "web/*": 1})
    times = Counter(one.text for one in kept if one.split == "train" and one.source == "books")
    assert set(times.values()) == {4}
    assert joined.findings["capped"] == ["books"]
    assert joined.findings["sources"]["books"]["after_ratio"] == pytest.approx(108 / 189, abs=1e-4)
    copies = [one.columns.get("repeat") for one in kept if one.text.startswith("books 0000")]
    assert copies == [None, 1, 2, 3]


def test_held_out_documents_stay_as_they_are():
    documents = corpus()
    kept, _, _ = mixed(documents, weights={"books": 0, "web/*": 1})
    assert [one for one in kept if one.split == "test"] == [one for one in documents if one.split == "test"]
    assert sizes(kept) == {"web": 81_000}


def test_a_temperature_on_sizes():
    _, joined, _ = mixed(corpus(), temperature=2)
    wanted = {"books": 27**0.5, "web/a.txt": 54**0.5, "web/b.txt": 27**0.5}
    total = sum(wanted.values())
    for name, one in joined.findings["sources"].items():
        assert one["wanted_ratio"] == pytest.approx(wanted[name] / total, abs=1e-4)
        assert one["after_ratio"] == pytest.approx(wanted[name] / total, abs=0.01)
    assert joined.findings["sources"]["web/a.txt"]["epochs"] == 1
    as_it_was, _, _ = mixed(corpus())
    assert as_it_was == corpus()
    _, joined, _ = mixed(corpus(), temperature=None)
    assert {one["after_bytes"] for one in joined.findings["sources"].values()} == {54_000}


def test_a_fixed_size_leaves_out_what_is_too_much():
    kept, joined, (outcome,) = mixed(corpus(), weights={"books": 1, "web/*": 1}, size_ratio=1)
    assert sizes(kept) == {"books": 54_000, "web": 54_000}
    assert {reason for _, reason in outcome.dropped} == {"left_out_of_mixture"}
    assert len(outcome.dropped) == 27
    assert joined.findings["sources"]["web/*"]["epochs"] == pytest.approx(2 / 3, abs=1e-4)


def test_shards_play_no_part_and_the_seed_does():
    documents, settings = corpus(), {"weights": {"books": 1.7, "*": 1}, "size_ratio": 1.3}
    whole, joined, _ = mixed(documents, **settings)
    several, others, _ = mixed(documents, shards=11, **settings)
    assert several == whole
    assert others.findings == joined.findings
    backwards, _, _ = mixed(documents[::-1], **settings)
    assert Counter(one.text for one in backwards) == Counter(one.text for one in whole)
    other, _, _ = mixed(documents, seed=1, **settings)
    assert Counter(one.text for one in other) != Counter(one.text for one in whole)
    assert sizes(other) == sizes(whole)


def test_a_source_as_written_goes_before_patterns():
    _, joined, _ = mixed(corpus(), weights={"*": 1, "web/a.txt": 1}, max_epochs=99)
    assert {name: one["before_bytes"] for name, one in joined.findings["sources"].items()} == {
        "*": 54_000,
        "web/a.txt": 54_000,
    }


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"books": 1}, r"(?s)without a weight.*web/a.txt"),
        ({"boks": 1, "*": 1}, r"(?s)weight of no source.*boks"),
        ({"*": 0}, "every weight is 0"),
    ],
)
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(DataError, match=message):
        mixed(corpus(), weights=weights)


@pytest.mark.parametrize(
    "settings",
    [{"weights": {"a": -1}}, {"weights": {"a": float("nan")}}, {"temperature": 0}, {"max_epochs": 0.5}],
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError):
        MixConfig(**settings)


def test_in_a_recipe(tmp_path, small_text):
    for name, size in (("books", 30_000), ("web", 120_000)):
        (tmp_path / f"{name}.txt").write_text(small_text("en", size, seed=len(name)))
    sources = (str(tmp_path / "books.txt"), str(tmp_path / "web.txt"))
    step = {"kind": "mix", "weights": {sources[0]: 1, "*web*": 1}, "max_epochs": 8}
    plain = prepare_text(DataConfig(sources=sources), tmp_path / "plain")
    made = prepare_text(DataConfig(sources=sources, steps=[step]), tmp_path / "mixed")
    assert list(made.texts("validation")) == list(plain.texts("validation"))
    assert list(made.texts("test")) == list(plain.texts("test"))
    assert set(made.texts("train")) == set(plain.texts("train"))
    found = made.facts.steps[-1].findings["sources"]
    assert [one["after_ratio"] for one in found.values()] == pytest.approx([0.5, 0.5], abs=0.01)
    assert made.facts.splits["train"].bytes == sum(one["after_bytes"] for one in found.values())
