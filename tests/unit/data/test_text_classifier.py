"""A classifier that is only asked about texts it has not seen, beside one that is fitted by hand."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest
from numpy.typing import NDArray

from stepwell.data.text_classifier import FOLDS, FoldedClassifier, features, folds_of
from stepwell.errors import DataError

WORDS = [("sun sea sand beach", "snow ice frost cold"), ("阳光沙滩海水", "冰雪寒风霜冻")]


def digests_of(texts: list[str]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(blake2b(one.encode(), digest_size=16).digest() for one in texts), np.uint64).reshape(
        -1, 2
    )


def made(count: int, seed: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """Texts of two subjects in two languages; what is not of the subject is noise."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(count):
        label, language = int(random.integers(2)), number % 2
        pool = WORDS[language][label].split() if language == 0 else list(WORDS[1][label])
        noise = [f"w{one}" for one in random.integers(0, 500, 4)]
        texts.append(" ".join([*random.choice(pool, 3), *noise]))
        labels.append(label)
    return texts, np.array(labels)


def fitted(texts: list[str], labels: NDArray[np.int64]) -> tuple[FoldedClassifier, NDArray[np.int64]]:
    digests = digests_of(texts)
    folds = folds_of(digests, labels)
    return FoldedClassifier(texts, labels, folds, digests, int(labels.max()) + 1), folds


def test_words_and_characters_are_features():
    assert features("A cat!") == ["a", "cat", "!", "a cat", "cat !"]
    assert features("好酒店") == ["好", "酒", "店", "好 酒", "酒 店"]
    assert [one for one in features("hotels") if one.startswith("#")] == ["#<hot", "#hote", "#otel", "#tels", "#els>"]
    assert features("bad😡 ❤") == ["bad", "😡", "❤", "bad 😡", "😡 ❤"]
    assert features("  ,, ") == []


def test_folds_are_even_in_each_class_and_equal_texts_share_one():
    texts, labels = made(400)
    texts[10:20] = ["the same text"] * 10
    digests = digests_of(texts)
    folds = folds_of(digests, labels)
    assert len(set(folds[10:20].tolist())) == 1
    for label in (0, 1):
        counts = np.bincount(np.delete(folds, slice(10, 20))[np.delete(labels, slice(10, 20)) == label])
        assert len(counts) == FOLDS
        assert counts.max() - counts.min() <= 2
    mixed = np.random.default_rng(1).permutation(400)
    np.testing.assert_array_equal(folds_of(digests[mixed], labels[mixed]), folds[mixed])


def test_no_model_is_asked_about_what_it_learned():
    """Each text's probabilities are those of a plain model that is fitted on the other folds."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = made(120)
    models, folds = fitted(texts, labels)
    rows = TfidfVectorizer(analyzer=features, sublinear_tf=True).fit_transform(texts)
    plain = np.zeros((120, 2))
    for fold in range(FOLDS):
        model = LogisticRegression(C=2.0, tol=1e-8, max_iter=1_000).fit(rows[folds != fold], labels[folds != fold])
        plain[folds == fold] = model.predict_proba(rows[folds == fold])
    found = models.probabilities(texts, folds)
    np.testing.assert_allclose(found, plain, atol=0.01)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == labels).mean() > 0.9


def test_a_text_of_no_fold_gets_the_mean_of_all_models():
    texts, labels = made(100)
    models, _ = fitted(texts, labels)
    several = np.stack([models.probabilities(["snow and ice"], np.array([fold])) for fold in range(FOLDS)])
    np.testing.assert_allclose(models.probabilities(["snow and ice"], np.array([-1])), several.mean(axis=0))
    assert models.probabilities([], np.zeros(0, np.int64)).shape == (0, 2)


def test_the_order_of_the_texts_plays_no_part():
    texts, labels = made(150)
    mixed = np.random.default_rng(2).permutation(150)
    models, folds = fitted(texts, labels)
    others, other_folds = fitted([texts[place] for place in mixed], labels[mixed])
    np.testing.assert_array_equal(
        models.probabilities(texts, folds)[mixed], others.probabilities([texts[place] for place in mixed], other_folds)
    )


def test_vectors_are_near_where_words_are():
    texts, labels = made(100)
    models, _ = fitted(texts, labels)
    one, same, other = models.vectors(["snow ice frost", "frost snow cold", "sun sea beach"])
    assert one @ same > one @ other + 0.2
    assert models.vectors([]).shape == (0, 64)


def test_without_the_library_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.linear_model", None)
    texts, labels = made(20)
    with pytest.raises(DataError, match=r"stepwell\[data\]"):
        fitted(texts, labels)


def test_texts_without_words_are_an_error():
    with pytest.raises(DataError, match=r"(?s)nothing to learn from.*\.\.\."):
        fitted(["..." * number for number in range(1, 21)], np.arange(20) % 2)
