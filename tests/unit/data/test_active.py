"""What to label next: measures by their formulas, k-center beside the plain greedy choice."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from stepwell.data.active import choose_to_label, k_center, uncertainty
from stepwell.data.text_classifier import features
from stepwell.errors import DataError

ROWS = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0.6, 0.2, 0.2]])


def test_the_measures():
    assert uncertainty(ROWS, "least_confidence").tolist() == pytest.approx([0, 0.5, 2 / 3, 0.4])
    assert uncertainty(ROWS, "margin").tolist() == pytest.approx([0, 1, 1, 0.6])
    entropy = [0, np.log(2) / np.log(3), 1, -(0.6 * np.log(0.6) + 0.4 * np.log(0.2)) / np.log(3)]
    assert uncertainty(ROWS, "entropy").tolist() == pytest.approx(entropy)


def test_the_least_sure_first_and_of_equals_the_first():
    assert choose_to_label(ROWS, 3).tolist() == [1, 2, 3]
    assert choose_to_label(ROWS, 9, by="entropy").tolist() == [2, 3, 1, 0]
    assert choose_to_label(ROWS, 0).tolist() == []
    assert choose_to_label(np.zeros((0, 3)), 4).tolist() == []


def plain_k_center(vectors, count, centers):
    chosen = []
    for _ in range(count):
        near = [*centers, *(vectors[place] for place in chosen)]
        distances = [min((np.linalg.norm(one - other) for other in near), default=np.inf) for one in vectors]
        chosen.append(max((one for one in range(len(vectors)) if one not in chosen), key=lambda one: distances[one]))
    return chosen


@pytest.mark.parametrize("centers", [0, 3])
def test_k_center_is_the_plain_greedy_choice(centers: int):
    random = np.random.default_rng(centers)
    vectors, there = random.standard_normal((40, 3)), random.standard_normal((centers, 3))
    assert k_center(vectors, 8, there if centers else None).tolist() == plain_k_center(vectors, 8, there)


def test_copies_are_chosen_once_while_there_are_others():
    vectors = np.array([[0.0, 0]] * 5 + [[1.0, 0], [0, 1.0]])
    assert sorted(k_center(vectors, 3).tolist()) == [0, 5, 6]
    assert sorted(k_center(vectors, 7).tolist()) == list(range(7))


@pytest.mark.parametrize("diversity", ["k_center", "clusters"])
def test_hard_cases_of_one_kind_are_not_chosen_together(diversity):
    random = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), 25)
    vectors = np.eye(4)[kinds] * 10 + random.standard_normal((100, 4)) * 0.1
    unsure = np.where(kinds == 0, 0.5, 0.6)  # the first kind is the least sure
    probabilities = np.stack([unsure, 1 - unsure], axis=1)
    assert set(kinds[choose_to_label(probabilities, 10)]) == {0}
    chosen = choose_to_label(probabilities, 10, vectors=vectors, diversity=diversity)
    assert set(kinds[chosen]) == {0, 1, 2, 3}
    again = choose_to_label(probabilities, 10, vectors=vectors, diversity=diversity)
    assert chosen.tolist() == again.tolist()


def test_what_is_near_labelled_texts_comes_late():
    vectors = np.array([[0.0], [1.0], [5.0], [9.0]])
    probabilities = np.full((4, 2), 0.5)
    alone = choose_to_label(probabilities, 1, vectors=vectors)
    beside = choose_to_label(probabilities, 1, vectors=vectors, labelled=np.array([[0.0], [9.0]]))
    assert (alone.tolist(), beside.tolist()) == ([0], [2])


def test_clusters_of_copies_still_give_so_many():
    probabilities = np.full((30, 2), 0.5)
    chosen = choose_to_label(probabilities, 5, vectors=np.zeros((30, 2)), diversity="clusters")
    assert len(set(chosen.tolist())) == 5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.6]], "row 0 is none"),
        ([[0.5, 0.5], [1.2, -0.2]], "row 1 is none"),
        ([[0.5, 0.5], [np.nan, 1.0]], "row 1 is none"),
        ([[1.0]], "wrong shape"),
        ([1.0, 0.0], "wrong shape"),
    ],
)
def test_what_is_no_probability(rows, message):
    with pytest.raises(DataError, match=message):
        uncertainty(np.array(rows))


def test_vectors_of_other_texts():
    with pytest.raises(DataError, match="do not fit"):
        choose_to_label(ROWS, 2, vectors=np.zeros((3, 2)))
    with pytest.raises(DataError, match="do not fit"):
        choose_to_label(ROWS, 2, vectors=np.zeros((4, 2)), labelled=np.zeros((1, 3)))


@pytest.mark.slow
def test_chosen_labels_teach_more_than_drawn_ones(real_data):
    """Six rounds of 100 labels on real reviews: a model of the chosen ones is better than one of as many at random."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    with gzip.open(real_data("classification/sentiment.zh.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    labels = np.array([row["label"] for row in rows])
    texts = TfidfVectorizer(analyzer=lambda text: features(text[:300]), min_df=2, sublinear_tf=True)
    found = texts.fit_transform([row["text"] for row in rows])
    vectors = found @ np.random.default_rng(0).standard_normal((found.shape[1], 64)) / 8
    right = {True: 0.0, False: 0.0}
    for seed in range(2):
        mixed = np.random.default_rng(seed).permutation(len(labels))
        for chosen in (True, False):
            test, known, rest = mixed[:1500], mixed[1500:1600], mixed[1600:5500]
            for _ in range(7):
                model = LogisticRegression(C=10).fit(found[known], labels[known])
                pick = np.arange(100)
                if chosen:
                    several = {"vectors": vectors[rest], "labelled": vectors[known]}
                    pick = choose_to_label(model.predict_proba(found[rest]), 100, **several)
                known, rest = np.append(known, rest[pick]), np.delete(rest, pick)
            right[chosen] += float((model.predict(found[test]) == labels[test]).mean()) / 2
    assert right[True] > right[False] + 0.01
