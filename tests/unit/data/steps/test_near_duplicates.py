"""Near duplicates beside the truth: every pair compared by its sets, whatever the shards and the order of the work."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.buckets import records_of
from stepwell.data.steps.duplicates.clusters import CROWD, Clusters, clusters_of
from stepwell.data.steps.duplicates.near_duplicates import NearDuplicates, NearDuplicatesConfig
from stepwell.data.steps.duplicates.shingles import Shingles, shingles_of
from stepwell.data.steps.duplicates.sketches import (
    PERMUTATIONS,
    SKETCH_HASHES,
    Sketches,
    bands_of,
    rows_of_a_band,
    sketches_of,
)
from stepwell.data.steps.step import Surroundings


def step_of(**settings: float) -> NearDuplicates:
    return NearDuplicates(NearDuplicatesConfig(**settings), Surroundings())


def documents_of(texts: Sequence[str]) -> list[Document]:
    return [Document(text, "corpus", is_row=True) for text in texts]


def kept_of(step: NearDuplicates, shards: Sequence[Sequence[Document]]) -> tuple[list[Document], dict]:
    """What a step keeps of a corpus in shards, and what it finds."""
    joined = step.join([step.look(shard) for shard in shards])
    outcomes = [step.apply(shard, known) for shard, known in zip(shards, joined.known, strict=True)]
    assert {reason for outcome in outcomes for _, reason in outcome.dropped} <= {"near_duplicate"}
    return [one for outcome in outcomes for one in outcome.kept], dict(joined.findings)


def in_shards(documents: Sequence[Document], sizes: Sequence[int]) -> list[list[Document]]:
    ends = np.cumsum([0, *sizes])
    return [list(documents[begin:end]) for begin, end in zip(ends, [*ends[1:], None], strict=True)]


def plain_jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def truly_dropped(texts: Sequence[str], threshold: float, length: int) -> tuple[set[int], int]:
    """Texts that are not the first of their cluster, and the number of pairs, when every pair is compared."""
    shingles = shingles_of(texts, length, length)
    sets = [set(shingles.of(number).tolist()) for number in range(len(texts))]
    clusters = list(range(len(texts)))
    pairs = 0
    for one, other in combinations(range(len(texts)), 2):
        smaller, larger = sorted((len(sets[one]), len(sets[other])))
        if smaller and smaller >= threshold * larger and plain_jaccard(sets[one], sets[other]) >= threshold:
            pairs += 1
            first, later = sorted((clusters[one], clusters[other]))
            clusters = [first if cluster == later else cluster for cluster in clusters]
    return {number for number, cluster in enumerate(clusters) if cluster != number}, pairs


def edited(text: str, ratio: float, rng: random.Random, by_character: bool) -> str:
    """A text with some of its words or characters replaced, left out or said twice."""
    units = list(text) if by_character else text.split(" ")
    ways: list[Callable[[str], list[str]]] = [
        lambda unit: [rng.choice(units)],
        lambda unit: [],
        lambda unit: [unit, unit],
    ]
    changed = [rng.choice(ways)(unit) if rng.random() < ratio else [unit] for unit in units]
    return ("" if by_character else " ").join(unit for several in changed for unit in several)


def planted(texts: Sequence[str], copies: int, seed: int, by_character: bool) -> list[str]:
    """Texts with edited copies among them, from nearly the same to half the same."""
    rng = random.Random(seed)
    more = [
        edited(text, ratio, rng, by_character)
        for text in texts[:copies]
        for ratio in rng.sample([0.003, 0.01, 0.02, 0.025, 0.03, 0.05, 0.1], 2)
    ]
    everything = [*texts, *more]
    rng.shuffle(everything)
    return everything


def english_news(real_data: Callable[[str], Path]) -> list[str]:
    rows = gzip.decompress(real_data("classification/news.en.jsonl.gz").read_bytes()).decode().splitlines()
    return [json.loads(row)["text"] for row in rows]


def chinese_passages(real_data: Callable[[str], Path]) -> list[str]:
    rows = gzip.decompress(real_data("classification/sentiment.zh.jsonl.gz").read_bytes()).decode().splitlines()
    return [text for text in (json.loads(row)["text"] for row in rows) if len(text) > 100]


@pytest.mark.parametrize(("threshold", "length"), [(0.8, 5), (0.6, 3)])
def test_english_as_every_pair_compared_would_say(real_data, threshold: float, length: int) -> None:
    texts = planted(english_news(real_data)[:120], 60, 1, by_character=False)
    expected, pairs = truly_dropped(texts, threshold, length)
    documents = documents_of(texts)
    kept, findings = kept_of(step_of(threshold=threshold, words=length), [documents])
    dropped = set(range(len(texts))) - {documents.index(one) for one in kept}
    assert pairs > 40
    assert len(dropped & expected) / len(dropped) >= 0.98
    assert len(dropped & expected) / len(expected) >= 0.98
    assert sum(int(size) * count for size, count in findings["clusters_by_size"].items()) - findings["clusters"] == len(
        dropped
    )


def test_chinese_as_every_pair_compared_would_say(real_data) -> None:
    texts = planted(chinese_passages(real_data)[:150], 70, 2, by_character=True)
    expected, pairs = truly_dropped(texts, 0.8, 5)
    documents = documents_of(texts)
    kept, _ = kept_of(step_of(), [documents])
    dropped = set(range(len(texts))) - {documents.index(one) for one in kept}
    assert pairs > 30
    assert len(dropped & expected) / len(dropped) >= 0.98
    assert len(dropped & expected) / len(expected) >= 0.98


def test_mixed_text(real_data) -> None:
    pairs = zip(english_news(real_data)[:60], chinese_passages(real_data)[:60], strict=True)
    texts = [f"{english[:600]}\n{chinese}" for english, chinese in pairs]
    near = [f"{text[:300]} 改 {text[301:]}。" for text in texts[:20]]
    only_half = [text[: len(text) // 2] for text in texts[20:40]]
    kept, findings = kept_of(step_of(), [documents_of(texts + near + only_half)])
    assert [one.text for one in kept] == texts + only_half
    assert findings["clusters_by_size"] == {"2": 20}


CORPUS = [
    "a b c d e f g h i j k l m n o p q r s t",
    "A b c d e f g h i j k l m n o p q r s t!",
    "a b c d e f g h i j k l m n o p q r s x",
    "b c d e f g h i j k l m n o p q r s t u",
    "春天的花园里开满了红色的花朵和绿色的草",
    "春天的花园里，开满了红色的花朵和绿色的草。",
    "春天的花园里开满了红色的花朵和绿色的树",
    "too short",
    "too short",
    "nothing like any of the others here at all, really nothing",
    "...",
    "...",
]
SPLITS = st.sampled_from([None, None, "train", "validation", "test"])


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(CORPUS), SPLITS), max_size=14),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_shards_change_nothing(corpus: list, sizes: list[int], threshold: float) -> None:
    documents = [Document(text, f"source {number}", split=split) for number, (text, split) in enumerate(corpus)]
    step = step_of(threshold=threshold)
    whole, findings = kept_of(step, [documents])
    kept, again = kept_of(step, in_shards(documents, sizes))
    assert kept == whole
    assert again == findings


def test_no_shards_and_empty_shards() -> None:
    step = step_of()
    assert kept_of(step, [])[1]["clusters"] == 0
    assert kept_of(step, [[], documents_of(CORPUS[:2]), []])[1]["clusters"] == 1


def test_held_out_text_is_kept_before_all_other_and_test_before_validation() -> None:
    documents = [replace(one, source=str(number)) for number, one in enumerate(documents_of(CORPUS[:1] * 6))]
    splits = [None, "train", "validation", "test", "test", "train"]
    documents = [replace(one, split=split) for one, split in zip(documents, splits, strict=True)]
    assert kept_of(step_of(), [documents])[1]["near_held_out"] == 3
    assert [one.source for one in kept_of(step_of(), [documents[:2], documents[2:]])[0]] == ["3"]
    assert [one.source for one in kept_of(step_of(), [[*documents[:3], *documents[5:]]])[0]] == ["2"]
    assert [one.source for one in kept_of(step_of(), [[*documents[:2], *documents[5:]]])[0]] == ["0"]


def test_real_text_of_which_some_is_held_out(real_data) -> None:
    texts = planted(english_news(real_data)[:60], 50, 6, by_character=False)
    rng = random.Random(6)
    splits = [rng.choice([None, "train", "validation", "test"]) for _ in texts]
    documents = [Document(text, str(number), split=splits[number]) for number, text in enumerate(texts)]
    ranked = sorted(documents, key=lambda one: {"test": 0, "validation": 1}.get(one.split or "", 2))
    expected, pairs = truly_dropped([one.text for one in ranked], 0.8, 5)
    kept, _ = kept_of(step_of(), in_shards(documents, [40, 1]))
    dropped = [one for one in documents if one not in kept]
    assert pairs > 20
    assert {one.source for one in dropped} == {ranked[number].source for number in expected}


def test_what_is_alike_by_way_of_another_is_one_cluster() -> None:
    words = [f"w{number}" for number in range(40)]
    chain = [" ".join(words[start : start + 30]) for start in range(0, 9, 3)]
    kept, findings = kept_of(step_of(threshold=0.75, words=1), [documents_of(chain)])
    assert [one.text for one in kept] == chain[:1]
    assert findings["largest_clusters"] == [{"documents": 3, "texts": [text[:80] for text in chain]}]
    assert plain_jaccard(set(chain[0].split()), set(chain[2].split())) < 0.75


def test_texts_without_an_ngram_are_left_alone() -> None:
    texts = ["too short", "too short", "...", "...", "一二三四", "一二三四"]
    assert len(kept_of(step_of(), [documents_of(texts)])[0]) == 6


def test_the_largest_clusters_are_shown_in_any_script() -> None:
    texts = ["一二三四五六七八九十" * 20] * 3 + CORPUS[:2]
    _, findings = kept_of(step_of(), [documents_of(texts[:1]), documents_of(texts[1:])])
    assert findings["largest_clusters"][0] == {"documents": 3, "texts": [texts[0][:80]] * 3}
    assert findings["largest_clusters"][1] == {"documents": 2, "texts": CORPUS[:2]}
    assert findings["clusters_by_size"] == {"2": 1, "3": 1}
    json.dumps(findings)


def test_many_copies_of_one_text_are_one_cluster() -> None:
    kept, findings = kept_of(step_of(), [documents_of([f"{CORPUS[0]} {n % 3}" for n in range(6 * CROWD)])])
    assert len(kept) == 1
    assert findings["clusters_by_size"] == {str(6 * CROWD): 1}
    assert "not_compared_in_crowds" not in findings


def one_lot(band: np.ndarray) -> list[np.ndarray]:
    """The records of a band of all documents, in one lot."""
    hashes = band.astype(np.uint64).reshape(-1, 1)
    return [records_of(hashes, np.zeros(len(band), np.uint8), np.arange(len(band)))]


def test_a_crowd_is_not_compared_pair_by_pair_and_that_is_told() -> None:
    count = 4 * CROWD
    sketches = Sketches(np.arange(count, dtype=np.uint32), np.arange(count), np.ones(count, np.int64))
    clusters, left_out = clusters_of([one_lot(np.zeros(count))], sketches, 0.8)  # one band, all different
    assert left_out == count - CROWD
    assert len(set(clusters.all_roots().tolist())) == count


def test_clusters_are_those_of_a_plain_union_find() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 50, 300):
        one, other = rng.integers(0, count, (2, count // 2))
        plain = list(range(count))
        for first, later in zip(one, other, strict=True):
            low, high = sorted((plain[first], plain[later]))
            plain = [low if root == high else root for root in plain]
        clusters = Clusters(count)
        for part in np.array_split(np.arange(len(one)), 3):
            clusters.join(one[part], other[part])
        assert clusters.all_roots().tolist() == plain


def sets_as_shingles(sets: Sequence[np.ndarray]) -> Shingles:
    return Shingles(np.concatenate(sets), np.cumsum([0, *(len(one) for one in sets)]))


def test_similarity_is_exact_for_texts_that_are_kept_whole() -> None:
    rng = np.random.default_rng(1)
    pool = rng.integers(0, 2**64, 4500, np.uint64)
    sets = [rng.choice(pool, size, replace=False) for size in (1, 5, 300, 700, 900, SKETCH_HASHES - 1)]
    sketches = sketches_of(sets_as_shingles([np.concatenate([one, one[:3]]) for one in sets]))
    one, other = np.array(list(combinations(range(len(sets)), 2))).T
    expected = [plain_jaccard(set(sets[a].tolist()), set(sets[b].tolist())) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(sketches.jaccard(one, other), expected, rtol=1e-12)


def test_similarity_of_long_texts_is_off_by_no_more_than_the_docstring_says() -> None:
    rng = np.random.default_rng(2)
    errors = []
    for size in (6000, 20_000):
        for _ in range(30):
            both, alone = rng.integers(0, 2**64, int(size * 0.8), np.uint64), rng.integers(0, 2**64, size, np.uint64)
            half = int(size * 0.1)
            sets = [np.concatenate([both, alone[:half]]), np.concatenate([both, alone[half : 2 * half]])]
            sketches = sketches_of(sets_as_shingles(sets))
            assert sketches.sizes.tolist() == [SKETCH_HASHES] * 2
            errors.append(float(sketches.jaccard(np.array([0]), np.array([1]))[0]) - 0.8)
    assert abs(np.mean(errors)) < 0.003
    assert 0.003 < np.std(errors) < 0.008


def test_similarity_of_long_texts_is_that_of_the_smallest_hashes(monkeypatch) -> None:
    monkeypatch.setattr("stepwell.data.steps.duplicates.sketches.SKETCH_HASHES", 8)
    rng = np.random.default_rng(4)
    for _ in range(200):
        pool = rng.integers(0, 2**32, 30, np.uint64) << np.uint64(32)
        one, other = (set(rng.choice(pool, size, replace=False).tolist()) for size in rng.integers(1, 20, 2))
        known = min((sorted(full)[7] for full in (one, other) if len(full) >= 8), default=2**64)
        expected = len({n for n in one & other if n <= known}) / len({n for n in one | other if n <= known})
        sketches = sketches_of(sets_as_shingles([np.array(list(full), np.uint64) for full in (one, other)]))
        assert sketches.jaccard(np.array([0]), np.array([1]))[0] == pytest.approx(expected)


def test_all_pairs_of_a_bucket_are_compared() -> None:
    hashes = np.array([1, 2, 3, 4, 3, 4, 5, 6, 7], np.uint32)  # the second and the third are alike, and no others
    sketches = Sketches(hashes, np.array([0, 2, 4, 6]), np.array([2, 2, 2, 3]))
    clusters, left_out = clusters_of([one_lot(np.zeros(4))], sketches, 0.8)
    assert clusters.all_roots().tolist() == [0, 1, 1, 3]
    assert not left_out


def test_many_pairs_are_compared_in_parts(monkeypatch) -> None:
    shingles = shingles_of(CORPUS, 1, 1)
    sketches = sketches_of(shingles)
    one, other = np.array(list(combinations(range(len(CORPUS)), 2))).T
    whole = sketches.jaccard(one, other)
    monkeypatch.setattr("stepwell.data.steps.duplicates.sketches.PAIRS_TOGETHER_HASHES", 30)
    np.testing.assert_array_equal(sketches.jaccard(one, other), whole)


@pytest.mark.parametrize(("threshold", "rows"), [(0.5, 3), (0.7, 4), (0.8, 6), (0.9, 10), (1.0, 128)])
def test_bands_find_what_is_just_alike_enough(threshold: float, rows: int) -> None:
    def recall(rows: int) -> float:
        return 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows)

    assert rows_of_a_band(threshold) == rows
    assert recall(rows) >= 0.99
    assert rows == PERMUTATIONS or recall(rows + 1) < 0.99


def test_bands_are_shared_as_often_as_the_similarity_says() -> None:
    rng = np.random.default_rng(3)
    both, alone = rng.integers(0, 2**64, (400, 80), np.uint64), rng.integers(0, 2**64, (400, 20), np.uint64)
    sets = [np.concatenate(pair) for both_, alone_ in zip(both, alone, strict=True)
            for pair in ((both_, alone_[:10]), (both_, alone_[10:]))]  # fmt: skip
    bands = bands_of(sets_as_shingles(sets), 1)
    assert bands.shape == (800, PERMUTATIONS)
    assert abs((bands[::2] == bands[1::2]).mean() - 0.8) < 0.01
    several = bands_of(sets_as_shingles(sets), 6)
    assert several.shape == (800, 21)
    assert abs((several[::2] == several[1::2]).mean() - 0.8**6) < 0.03
