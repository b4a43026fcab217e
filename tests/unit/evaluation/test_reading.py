"""Measuring answers to questions: every question counts, and the decision is the best there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepwell.data import Document, tokenize_documents
from stepwell.evaluation import FoundAnswerScores, WrittenAnswerScores, summarize
from stepwell.evaluation.measuring.reading import choose_answering, evaluate_answers
from stepwell.inference import SamplingParams, answer_many
from stepwell.models import MODELS, LanguageModel, TaskHeadConfig, build_model
from stepwell.tasks import QuestionAnsweringConfig, maker_of
from stepwell.tokenizers import CharacterConfig, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    return train_tokenizer([small_text("mixed", 20_000)], CharacterConfig(vocab_size=400))


def model_of(kind: str, tokenizer: Tokenizer, outputs: int | None = None) -> LanguageModel:
    shape = MODELS[kind].sized(1, vocab_size=tokenizer.vocab_size, max_seq_len=128)
    head = None if outputs is None else TaskHeadConfig(num_outputs=outputs, pooling="each")
    return build_model(shape.model_copy(update={"task_head": head}), 3)


def asked(*answers: Any) -> list[Document]:
    contexts = ["老渔夫在河边画下了一盏灯。", "小姑娘在集市上数过两枚银币。", "the miller sold a boat by the river"]
    return [
        Document("x", "t", columns={"question": "谁?", "context": contexts[number % 3], "answers": one})
        for number, one in enumerate(answers)
    ]


def test_a_question_whose_answer_stands_nowhere_is_measured_and_has_no_loss(tokenizer: Tokenizer) -> None:
    task = QuestionAnsweringConfig(max_tokens=24, max_answer_tokens=6, stride_tokens=5, language="zh")
    documents = asked(["老渔夫"], ["月亮"], [])
    model = model_of("encoder", tokenizer, 2)
    split = tokenize_documents(documents, tokenizer, maker_of(task))
    scores = evaluate_answers(model, split, documents, tokenizer, task)
    assert isinstance(scores, FoundAnswerScores)
    assert len(scores) == 3
    assert scores.windows[1] == scores.nats[1] == 0
    assert scores.windows[[0, 2]].sum() == split.num_documents - (split.of_document["text"] == 1).sum()
    assert not scores.exact[1]
    assert scores.unanswerable.tolist() == [False, False, True]
    assert not scores.unanswered[2]  # without questions that have no answer in training, one is always given
    assert all(said["answer"] for said in scores.said)
    assert np.isfinite(summarize(scores)["loss"].value)


def test_the_margin_that_is_chosen_is_as_good_as_any(tokenizer: Tokenizer) -> None:
    task = QuestionAnsweringConfig(max_tokens=64, max_answer_tokens=6, language="zh", unanswerable=True)
    documents = asked([], ["集市上"], [], ["河边"], [], ["the miller"], [])
    model = model_of("encoder", tokenizer, 2)

    def value(margin: float) -> float:
        decision = task.decision.model_copy(update={"least_margin": margin})
        tried = task.model_copy(update={"decision": decision})
        scores = evaluate_answers(model, empty, documents, tokenizer, tried)
        return summarize(scores)["f1"].value

    empty = tokenize_documents(documents, tokenizer, maker_of(task))
    chosen = choose_answering(model, empty, documents, tokenizer, task, "f1").decision
    assert value(chosen.least_margin) == max(map(value, [chosen.least_margin, *np.linspace(-6, 6, 25).tolist()]))
    always = task.model_copy(update={"unanswerable": False})
    assert choose_answering(model, empty, documents, tokenizer, always, "f1") == always


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder_decoder", "decoder"])
def test_written_answers_are_measured_and_searched_for(tokenizer: Tokenizer, kind: str) -> None:
    task = QuestionAnsweringConfig(mode="generative", max_tokens=64, max_target_tokens=6, language="zh")
    documents, model = asked(["河边", "在河边"], [], ["a boat"]), model_of(kind, tokenizer)
    split = tokenize_documents(documents, tokenizer, maker_of(task))
    scores = evaluate_answers(model, split, documents, tokenizer, task)
    assert isinstance(scores, WrittenAnswerScores)
    assert scores.tokens.tolist() == [3, 1, 7]
    assert {"exact_match", "f1", "loss", "stop_ratio"} <= set(summarize(scores))
    chosen = choose_answering(model, split, documents, tokenizer, task, "f1")
    assert type(chosen.decision) is type(task.decision)
    assert QuestionAnsweringConfig.model_validate(chosen.model_dump()) == chosen


def test_the_likeliest_sentence_answers_where_it_is_better(tokenizer: Tokenizer) -> None:
    """A model that has learned nothing is no match for the sentence that shares most with the question."""
    context = "小姑娘在集市上。老渔夫在河边画下了一盏灯。很久以前。"
    documents = [
        Document(
            "x",
            "t",
            columns={"question": "老渔夫画下了什么?", "context": context, "answers": ["老渔夫在河边画下了一盏灯。"]},
        )
    ] * 3
    task = QuestionAnsweringConfig(max_tokens=64, max_answer_tokens=6, language="zh")
    model = model_of("encoder", tokenizer, 2)
    split = tokenize_documents(documents, tokenizer, maker_of(task))
    found = choose_answering(model, split, documents, tokenizer, task, "f1")
    assert found.decision.members == ("likely_sentence",)
    assert summarize(evaluate_answers(model, split, documents, tokenizer, found))["f1"].value == 1
    ((answer,),) = answer_many(model, tokenizer, found, [documents[0].columns], SamplingParams())
    assert answer.text == "老渔夫在河边画下了一盏灯。"
    assert choose_answering(model, split, documents, tokenizer, task, "loss") == task
