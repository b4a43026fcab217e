"""What a task head says of texts, in batches and alone, and the answers that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.baselines import TextModel
from stepwell.data import Document, tokenize_documents
from stepwell.errors import CheckpointError, UsageError
from stepwell.evaluation import evaluate_classification
from stepwell.inference import Answer, SamplingParams, answer_many, tell_labels, tell_token_labels
from stepwell.models import (
    DecoderConfig,
    EncoderConfig,
    LanguageModel,
    NgramFeaturesConfig,
    TaskHeadConfig,
    build_model,
)
from stepwell.tasks import Classification, ClassificationConfig, DecisionConfig, LanguageModelingConfig, told_by_head
from stepwell.tokenizers import Tokenizer

SHAPE = {"vocab_size": 257, "max_seq_len": 32, "num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 2,
         "head_dim": 8, "d_ff": 24}  # fmt: skip
SINGLE = ClassificationConfig(problem="single", labels=("a", "b", "c"), max_tokens=32)
DOCUMENTS = [np.array(ids) for ids in ([5, 6, 7], [1], [9] * 20, [2, 3], [5, 6, 7], list(range(10, 32)))]


def model_of(kind: str = "encoder", **head: Any) -> LanguageModel:
    settings = TaskHeadConfig(**{"num_outputs": 3, "ngrams": NgramFeaturesConfig(num_buckets=64), **head})
    model = build_model((EncoderConfig if kind == "encoder" else DecoderConfig)(**SHAPE, task_head=settings), seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_texts_in_a_batch_are_told_as_alone(pooling: str, kind: str) -> None:
    model = model_of(kind, pooling=pooling).train()
    alone = np.concatenate([tell_labels(model, [ids]) for ids in DOCUMENTS])
    for batch_tokens in (1, 30, 4096):
        together = tell_labels(model, DOCUMENTS, batch_tokens=batch_tokens)
        np.testing.assert_allclose(together, alone, atol=2e-6)
    assert np.array_equal(alone[0], alone[4])
    assert model.training  # as it was before


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_tokens_in_a_batch_are_told_as_alone(kind: str) -> None:
    model = model_of(kind, pooling="each")
    together = tell_token_labels(model, DOCUMENTS)
    assert [one.shape for one in together] == [(len(ids), 3) for ids in DOCUMENTS]
    for ids, told in zip(DOCUMENTS, together, strict=True):
        np.testing.assert_allclose(told, tell_token_labels(model, [ids])[0], atol=2e-6)


def test_nothing_to_tell_and_nothing_to_tell_it() -> None:
    assert tell_labels(model_of(), []).shape == (0, 3)
    assert tell_token_labels(model_of(pooling="each"), []) == []
    with pytest.raises(CheckpointError, match="has no task head"):
        tell_labels(build_model(EncoderConfig(**SHAPE), seed=0), DOCUMENTS)


class Constant(TextModel):
    """A simple model that says the same of each text."""

    name = "bag"

    def __init__(self, *chances: float) -> None:
        super().__init__("single", len(chances))
        self.chances = chances

    def fit(self, texts: Sequence[str], labels: np.ndarray, seed: int = 0) -> None:
        pass

    def take(self, tensors: Any) -> None:
        pass

    def tell(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(np.array(self.chances), (len(texts), 1))


def answered(task: ClassificationConfig, asked: list[Any], beside: Any = None, **head: Any) -> list[Answer]:
    model, tokenizer = model_of(**head), _tokenizer()
    return [one for (one,) in answer_many(model, tokenizer, task, asked, SamplingParams(), beside)]


def _tokenizer() -> Tokenizer:
    from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


def test_answers_are_the_labels_with_their_probabilities() -> None:
    asked = ["a text", {"sentence": "一段文字"}, "a text " * 40]
    answers = answered(SINGLE, asked)
    task, tokenizer = Classification(SINGLE), _tokenizer()
    rows = [ids for ids, _ in task.read([task.document(one) for one in asked], tokenizer)]
    assert len(rows[2]) == 32  # of a long text the beginning is read
    wanted = told_by_head(tell_labels(model_of(), rows), SINGLE)
    for answer, chances in zip(answers, wanted, strict=True):
        assert answer.text == SINGLE.labels[int(chances.argmax())]
        assert dict(answer.probabilities) == pytest.approx(dict(zip(SINGLE.labels, chances, strict=True)), abs=1e-6)
        assert list(answer.probabilities.values()) == sorted(answer.probabilities.values(), reverse=True)


def test_who_the_decision_listens_to_answers() -> None:
    task = SINGLE.model_copy(update={"decision": DecisionConfig(members=("bag",))})
    (answer,) = answered(task, ["x"], {"bag": Constant(0.1, 0.2, 0.7)})
    assert answer.text == "c"
    assert answer.probabilities["b"] == pytest.approx(0.2)
    several = ClassificationConfig(problem="multiple", labels=("a", "b", "c"),
                                   decision=DecisionConfig(members=("bag",), threshold=0.2))  # fmt: skip
    (answer,) = answered(several, ["x"], {"bag": Constant(0.1, 0.2000001, 0.7)})
    assert answer.text == "b, c"
    number = ClassificationConfig(problem="number", center=2.0, spread=3.0)
    (answer,) = answered(number, ["x"], num_outputs=1)
    assert answer.probabilities == {}
    assert np.isfinite(float(answer.text))


def test_what_lacks_the_text_is_refused() -> None:
    with pytest.raises(UsageError, match="has no text"):
        answered(SINGLE, [{"label": "a"}])
    with pytest.raises(UsageError, match="is no text"):
        answer_many(model_of(), _tokenizer(), LanguageModelingConfig(), [{"text": "x"}], SamplingParams())


def test_what_is_measured_is_what_is_answered() -> None:
    """The accuracy of the scores is the share of right answers, and the loss that of their probabilities."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd 井"), size=int(rng.integers(2, 25)))) + "x" for _ in range(40)]
    labels = rng.choice(list("abc"), size=40).tolist()
    documents = [Document(text, "s", columns={"label": label}) for text, label in zip(texts, labels, strict=True)]
    task = SINGLE.model_copy(update={"decision": DecisionConfig(members=("model", "bag"), temperature=1.7)})
    split = tokenize_documents(documents, _tokenizer(), Classification(task))
    beside: Any = {"bag": Constant(0.5, 0.3, 0.2)}
    scores = evaluate_classification(model_of(), split, texts, _tokenizer(), task, beside=beside)
    answers = answered(task, texts, beside)
    right = [answer.text == label for answer, label in zip(answers, labels, strict=True)]
    assert scores.exact.tolist() == right  # type: ignore[attr-defined]
    nats = [-np.log(answer.probabilities[label]) for answer, label in zip(answers, labels, strict=True)]
    np.testing.assert_allclose(scores.nats, nats, atol=1e-5)  # type: ignore[attr-defined]
    assert 0 < sum(right) < 40


def test_numbers_are_measured_in_their_own_unit() -> None:
    task = ClassificationConfig(problem="number", center=10.0, spread=4.0, max_tokens=32)
    numbers = [4.0, 9.5, 18.0]
    documents = [Document(f"text {n}", "s", columns={"label": n}) for n in numbers]
    split = tokenize_documents(documents, _tokenizer(), Classification(task))
    scores: Any = evaluate_classification(
        model_of(num_outputs=1), split, [one.text for one in documents], _tokenizer(), task
    )
    told = [float(one.text) for one in answered(task, [one.text for one in documents], num_outputs=1)]
    np.testing.assert_allclose(scores.distance, np.abs(np.array(told) - numbers), rtol=2e-3)
