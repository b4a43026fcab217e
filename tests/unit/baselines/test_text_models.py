"""Simple models of labels: they learn, say the same again, and are read back bit for bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.baselines import TEXT_MODELS, Features, TextModel, is_dense, load_simple_model, open_beside
from stepwell.baselines.text_models import as_told, loss_of
from stepwell.errors import CheckpointError

WORDS = {
    "en": (
        ["goal", "match", "coach", "league"],
        ["stock", "bank", "market", "price"],
        ["song", "film", "stage", "actor"],
    ),
    "zh": (["进球", "比赛", "教练", "联赛"], ["股票", "银行", "市场", "价格"], ["歌曲", "电影", "舞台", "演员"]),
}
FILLER = {"en": ["the", "a", "of", "today", "again", "with"], "zh": ["今天", "我们", "的", "再次", "和", "了"]}
LEARNED = [name for name in TEXT_MODELS if name != "majority"]


def texts_of(language: str, count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts with two words of their class among filler, and their classes."""
    rng = random.Random(seed)
    texts, classes = [], []
    for _ in range(count):
        one = rng.randrange(3)
        words = [*rng.sample(WORDS[language][one], 2), *rng.sample(FILLER[language], 3)]
        rng.shuffle(words)
        texts.append((" " if language == "en" else "").join(words))
        classes.append(one)
    return texts, np.array(classes)


def labels_for(problem: str, classes: np.ndarray) -> np.ndarray:
    if problem == "single":
        return classes
    if problem == "multiple":  # the class, and whether it is not the first
        return np.concatenate([np.eye(3)[classes], (classes > 0)[:, None]], axis=1).astype(np.float32)
    return 1000.0 * classes + 500


OUTPUTS = {"single": 3, "multiple": 4, "number": 1}


def fitted(name: str, problem: Any, language: str = "en", count: int = 120) -> TextModel:
    texts, classes = texts_of(language, count)
    model = TEXT_MODELS[name](problem, OUTPUTS[problem])
    model.fit(texts, labels_for(problem, classes), seed=1)
    return model


def right_share(problem: str, told: np.ndarray, classes: np.ndarray) -> float:
    labels = labels_for(problem, classes)
    if problem == "single":
        return float((told.argmax(1) == labels).mean())
    if problem == "multiple":
        return float(((told > 0.5) == (labels > 0.5)).all(1).mean())
    return float((np.abs(told[:, 0] - labels) < 500).mean())


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("problem", ["single", "multiple", "number"])
@pytest.mark.parametrize("name", LEARNED)
def test_a_small_rule_is_learned(name: str, problem: str, language: str) -> None:
    held, classes = texts_of(language, 60, seed=99)
    model = fitted(name, problem, language, 400)
    assert right_share(problem, model.tell(held), classes) > 0.9


@pytest.mark.slow_but("single")
@pytest.mark.parametrize("problem", ["single", "multiple", "number"])
@pytest.mark.parametrize("name", list(TEXT_MODELS))
def test_what_is_told_has_the_right_form(name: str, problem: Any) -> None:
    model = fitted(name, problem, count=40)
    told = model.tell(["goal match", "nothing known", "市场"])
    assert told.shape == (3, OUTPUTS[problem])
    assert told.dtype == np.float64
    assert np.isfinite(told).all()
    if problem != "number":
        assert (told >= 0).all()
        assert (told <= 1).all()
    if problem == "single":
        np.testing.assert_allclose(told.sum(1), 1, atol=1e-6)


@pytest.mark.slow_but("single-en")
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("problem", ["single", "multiple", "number"])
@pytest.mark.parametrize("name", list(TEXT_MODELS))
def test_read_back_it_says_the_same_bits(name: str, problem: Any, language: str, tmp_path: Path) -> None:
    model = fitted(name, problem, language, count=40)
    path = tmp_path / "some" / f"{name}.safetensors"
    model.save(path)
    again = load_simple_model(path)
    held = [*texts_of(language, 20, seed=3)[0], "quite another text", "别的", "x"]
    assert type(again) is type(model)
    assert np.array_equal(again.tell(held), model.tell(held))


@pytest.mark.parametrize("name", list(TEXT_MODELS))
def test_a_text_is_told_as_it_is_alone(name: str) -> None:
    """Whatever stands beside it: longer texts, shorter ones, none."""
    model = fitted(name, "single", count=40)
    held = ["goal", "the bank of the market", "song " * 60, "a", "price price film"]
    together = model.tell(held)
    for number, text in enumerate(held):
        np.testing.assert_allclose(model.tell([text])[0], together[number], atol=1e-6)
    assert model.tell([]).shape == (0, 3)


@pytest.mark.parametrize("name", list(TEXT_MODELS))
def test_the_same_seed_learns_the_same(name: str) -> None:
    """And draws nothing from the generator that all share."""
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first, second = fitted(name, "single", count=40), fitted(name, "single", count=40)
    assert torch.equal(torch.rand(1), before)
    held = texts_of("en", 20, seed=3)[0]
    assert np.array_equal(first.tell(held), second.tell(held))


def test_the_commonest_label() -> None:
    model = TEXT_MODELS["majority"]("single", 3)
    model.fit(["x"] * 4, np.array([2, 2, 0, 2]))
    np.testing.assert_allclose(model.tell(["a", "b"]), [[0.25, 0, 0.75]] * 2)
    mean = TEXT_MODELS["majority"]("number", 1)
    mean.fit(["x"] * 3, np.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(mean.tell(["a"]), [[3.0]])


def test_the_linear_model_beside_scikit_learn() -> None:
    """One border for each class over TF-IDF of words and pairs, as the library itself puts it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import LinearSVC

    texts, classes = texts_of("en", 80)
    vectors = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
    theirs = OneVsRestClassifier(LinearSVC(C=1.0, random_state=0)).fit(vectors.fit_transform(texts), classes)
    held = texts_of("en", 30, seed=8)[0]
    logits = 3 * theirs.decision_function(vectors.transform(held))
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(fitted("linear", "single", count=80).tell(held), wanted, atol=1e-3)


def test_naive_bayes_weighs_an_ngram_by_how_much_likelier_it_is() -> None:
    """By its definition, counted in a loop."""
    texts, classes = texts_of("en", 60)
    model = fitted("naive_bayes", "single", count=60)
    assert model.features is not None
    rows = model.features.rows(texts)
    scale = model._scale(rows, classes == 1)  # type: ignore[attr-defined]
    seen = rows.toarray() > 0
    for column in range(0, seen.shape[1], 17):
        ours = (1 + seen[classes == 1, column].sum()) / (1 + seen[classes == 1].sum(0)).sum()
        theirs = (1 + seen[classes != 1, column].sum()) / (1 + seen[classes != 1].sum(0)).sum()
        assert scale[column] == pytest.approx(np.log(ours / theirs), abs=1e-5)
    assert np.ptp(scale) > 1


def test_a_label_that_every_text_has_and_one_that_none_has() -> None:
    texts, classes = texts_of("en", 40)
    labels = np.stack([np.ones(40), np.zeros(40), classes == 0], axis=1).astype(np.float32)
    model = TEXT_MODELS["linear"]("multiple", 3)
    model.fit(texts, labels)
    told = model.tell(["goal", "bank"])
    assert (told[:, 0] > 0.9).all()
    assert (told[:, 1] < 0.1).all()


def test_texts_of_which_every_symbol_is_rare(tmp_path: Path) -> None:
    """Nothing is known of any word, so nothing is said but how often labels are right; and it is read back."""
    model = TEXT_MODELS["convolution"]("single", 2)
    model.fit(["one", "two", "three", "four"], np.array([0, 1, 0, 1]))
    assert model.symbols == []  # type: ignore[attr-defined]
    model.save(tmp_path / "convolution.safetensors")
    again = load_simple_model(tmp_path / "convolution.safetensors")
    assert np.array_equal(again.tell(["one", "x y"]), model.tell(["one", "x y"]))


def test_losses() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]])
    single = -logits.log_softmax(-1)[[0, 1], [0, 1]].mean()
    torch.testing.assert_close(loss_of(logits, torch.tensor([0, 1]), "single"), single)
    flags = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    several = -(flags * logits.sigmoid().log() + (1 - flags) * (-logits).sigmoid().log()).sum(1).mean()
    torch.testing.assert_close(loss_of(logits, flags, "multiple"), several)
    torch.testing.assert_close(loss_of(logits[:, :1], torch.tensor([1.0, 1.0]), "number"), torch.tensor(0.625))
    assert as_told(logits.double(), "number") is not None


@pytest.mark.parametrize(
    ("texts", "dense"),
    [
        (["今天天气很好", "好"], True),
        (["a plain text"], False),
        (["iPhone 16 上市, price $999 in stores now"], False),
        (["こんにちは"], True),
        ([""], False),
    ],
)
def test_scripts_without_spaces(texts: list[str], dense: bool) -> None:
    assert is_dense(texts) is dense


def test_features_read_back_are_the_same() -> None:
    texts = texts_of("en", 50)[0]
    features = Features.of(texts, ("words", "pieces"))
    again = Features(features.vocabularies, features.idf)
    assert (features.rows(texts[:9]) != again.rows(texts[:9])).nnz == 0
    assert features.rows(texts[:9]).shape == (9, features.size)
    lengths = np.asarray(features.rows(texts[:9]).multiply(features.rows(texts[:9])).sum(1)).ravel()
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_models_beside_a_run(tmp_path: Path) -> None:
    """Found from the run, and from a checkpoint in it; one that is missing or damaged is named."""
    fitted("linear", "single", count=40).save(tmp_path / "run" / "baselines" / "linear.safetensors")
    for place in (tmp_path / "run", tmp_path / "run" / "rounds" / "1" / "checkpoints" / "last"):
        place.mkdir(parents=True, exist_ok=True)
        assert list(open_beside(place, ("model", "linear"))) == ["linear"]
    with pytest.raises(CheckpointError, match=r"bag\.safetensors: is damaged or missing"):
        open_beside(tmp_path / "run", ("bag",))
    (tmp_path / "run" / "baselines" / "bag.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"bag\.safetensors: is damaged or missing"):
        open_beside(tmp_path / "run", ("bag",))
    assert open_beside(tmp_path / "nowhere", ("model",)) == {}
