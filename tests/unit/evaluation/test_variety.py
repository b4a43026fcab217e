"""How varied a model writes: beginnings, gaps by hand, and the way of drawing that comes nearest to the text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stepwell.data import Document, tokenize_documents
from stepwell.evaluation import bootstrap, choose_drawing, evaluate_generation, evaluate_language_modeling
from stepwell.evaluation.measuring import variety
from stepwell.evaluation.measuring.variety import TRIED, WrittenScores, beginnings_of
from stepwell.inference import SamplingParams
from stepwell.models import LanguageModel, build_model, decoder_sized
from stepwell.tasks import DrawingConfig, GenerationConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

TASK = GenerationConfig(texts=4, prompt_words=3)
PARAMS = SamplingParams(temperature=1.0)


@pytest.fixture(scope="module")
def documents(small_text: Callable[..., str]) -> list[Document]:
    parts = [small_text(language, num_bytes=1_500, seed=n) for n, language in enumerate(("en", "zh", "en", "zh"))]
    return [Document(text, "test") for text in [*parts, "short"]]


@pytest.fixture(scope="module")
def tokenizer(documents: list[Document]) -> Tokenizer:
    return train_tokenizer([one.text for one in documents], ByteBPEConfig(vocab_size=500))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    return build_model(decoder_sized(1, vocab_size=tokenizer.vocab_size, max_seq_len=256), seed=1).eval()


def test_beginnings_are_words_and_what_follows(documents: list[Document], tokenizer: Tokenizer) -> None:
    found = beginnings_of(tokenize_documents(documents, tokenizer), tokenizer, TASK)
    assert [one.document for one in found] == [0, 1, 2, 3], "the short one is not gone on with"
    for one in found:
        text = documents[one.document].text.lstrip()
        assert text.startswith(one.prompt + one.rest[:20])
        assert len(tokenizer.encode(one.rest)) <= variety.WRITTEN_TOKENS + 1
    assert len(found[0].prompt.split()) == 3
    assert len(found[1].prompt) == 3, "a Chinese character is a word"


def test_likelihood_is_that_of_language_modelling(
    documents: list[Document], tokenizer: Tokenizer, model: LanguageModel
) -> None:
    split = tokenize_documents(documents, tokenizer)
    scores = evaluate_generation(model, split, tokenizer, TASK, PARAMS)
    plain = evaluate_language_modeling(model, split)
    assert bootstrap(scores, "bits_per_byte").value == bootstrap(plain, "bits_per_byte").value
    assert scores.written.tolist() == [1, 1, 1, 1, 0]
    assert (scores.real_ngrams[:4] > 0).all()
    again = evaluate_generation(model, split, tokenizer, TASK, PARAMS)
    assert np.array_equal(scores.distinct, again.distinct), "without a seed always the same draws"


def row(distinct: list[int], repeated: float, real_distinct: list[int], real_repeated: float) -> WrittenScores:
    one = np.ones(1)
    hundred = np.full((1, 3), 100)
    return WrittenScores(
        nats=one, tokens=np.ones(1, np.int64), bytes=np.ones(1, np.int64), correct=one, written=one,
        ngrams=hundred, distinct=np.array([distinct]), repeated=np.array([repeated]),
        real_ngrams=hundred, real_distinct=np.array([real_distinct]), real_repeated=np.array([real_repeated]),
    )  # fmt: skip


def test_the_gap_by_hand() -> None:
    scores = row([50, 60, 70], 0.3, [60, 80, 100], 0.1)
    assert bootstrap(scores, "variety_gap", resamples=1).value == pytest.approx((0.1 + 0.2 + 0.3 + 0.2) / 4)
    same = row([60, 80, 100], 0.1, [60, 80, 100], 0.1)
    assert bootstrap(same, "variety_gap", resamples=1).value == 0


def test_the_nearest_way_of_drawing_is_taken(
    documents: list[Document], tokenizer: Tokenizer, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of made-up writers one copies the text, at one of the settings."""
    split = tokenize_documents(documents, tokenizer)
    wanted = TRIED[5]

    def write(
        model: object, tokenizer: object, beginnings: list[variety.Beginning], params: SamplingParams
    ) -> list[str]:
        right = all(getattr(params, name) == value for name, value in wanted.items())
        return [one.rest if right else "well " * 40 for one in beginnings]

    monkeypatch.setattr(variety, "written", write)
    decision, table = choose_drawing(model, split, tokenizer, TASK, PARAMS)
    assert decision == DrawingConfig(**wanted)
    assert len(table) == len(TRIED)
    assert [one["variety_gap"] == 0 for one in table].index(True) == 5
    assert choose_drawing(model, split.chosen(np.array([4])), tokenizer, TASK, PARAMS) == (TASK.decision, [])
