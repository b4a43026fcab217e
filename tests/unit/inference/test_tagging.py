"""What a tagger says of texts, and how it is scored, with a small model that has learned nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from stepwell.baselines import Tagger
from stepwell.data import Document
from stepwell.evaluation import evaluate_tagging, summarize
from stepwell.evaluation.measuring.telling_tags import choose_tagger
from stepwell.inference import tag_texts, tell_tags, tell_token_labels
from stepwell.inference.answers.tags import marked_text
from stepwell.models import LanguageModel, NgramFeaturesConfig, TaskHeadConfig, build_model, encoder_sized
from stepwell.tasks import Tagging, TaggingConfig, spans_of
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

TASK = TaggingConfig(scheme="BIO", tags=("O", "B-place", "I-place"), cut="signs", max_tokens=24)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the boat in Paris and New York sails"] * 50, ByteBPEConfig(vocab_size=300))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    head = TaskHeadConfig(num_outputs=3, pooling="each", ngrams=NgramFeaturesConfig(num_buckets=512), transitions=True)
    config = encoder_sized(1, vocab_size=tokenizer.vocab_size, max_seq_len=32)
    made = build_model(config.model_copy(update={"task_head": head}), seed=1)
    torch.manual_seed(2)
    assert made.task_head is not None
    for weight in made.task_head.parameters():
        torch.nn.init.normal_(weight)
    return made


def test_spans_have_their_places_and_probabilities(model: LanguageModel, tokenizer: Tokenizer) -> None:
    text = "  The boat,  in Paris: sails... to New York!"
    ((answer,),) = tag_texts(model, tokenizer, TASK, [text])
    assert answer.found
    for one, after in pairwise([*answer.found, None]):
        assert text[one["start"] : one["end"]] == one["text"]  # type: ignore[index]
        assert 0 < one["probability"] <= 1  # type: ignore[index]
        assert after is None or one["end"] <= after["start"]  # type: ignore[index]
    assert answer.text == marked_text(text, answer.found, TASK)
    assert len(answer.text) == len(text) + sum(len(" []place") for _ in answer.found)


def test_a_span_is_as_probable_as_all_sequences_that_have_it(model: LanguageModel, tokenizer: Tokenizer) -> None:
    words = ["in", "New", "York", "."]
    reader = Tagging(TASK)
    told = tell_tags(model, TASK, reader.read([reader.document({"tokens": words})], tokenizer))
    ((answer,),) = tag_texts(model, tokenizer, TASK, [{"tokens": words}])
    score = {}
    for path in product(range(3), repeat=4):
        whole = [3, *path, 3]
        total = sum(told.scores[0][at, tag] for at, tag in enumerate(path))
        score[path] = math.exp(total + sum(told.transitions[pair] for pair in pairwise(whole)))
    names = [TASK.tags[tag] for tag in max(score, key=lambda path: score[path])]
    assert [TASK.tags[tag] for tag in told.tags[0]] == names
    assert [one["type"] for one in answer.found] == [kind for kind, _, _ in spans_of(names)]
    for one, (_, first, last) in zip(answer.found, spans_of(names), strict=True):
        part = tuple(told.tags[0][first:last])
        right = sum(chance for path, chance in score.items() if path[first:last] == part) / sum(score.values())
        assert one["probability"] == pytest.approx(right)


def test_a_long_text_is_answered_whole(model: LanguageModel, tokenizer: Tokenizer) -> None:
    text = "The boat in Paris sails. " * 20
    ((answer,),) = tag_texts(model, tokenizer, TASK, [text])
    assert answer.found[-1]["end"] > len(text) - 30
    assert all(text[one["start"] : one["end"]] == one["text"] for one in answer.found)
    assert [one.text for (one,) in tag_texts(model, tokenizer, TASK, ["", text])] == ["", answer.text]


def test_plain_tags_are_said_word_by_word(model: LanguageModel, tokenizer: Tokenizer) -> None:
    plain = TaggingConfig(scheme="plain", tags=("DET", "NOUN", "VERB"), cut="blanks")
    ((answer,),) = tag_texts(model, tokenizer, plain, ["the boat sails"])
    assert [one["text"] for one in answer.found] == ["the", "boat", "sails"]
    assert answer.text == " ".join(f"{one['text']}/{one['type']}" for one in answer.found)


def test_scores_are_of_all_words_and_their_loss_is_that_of_the_chain(
    model: LanguageModel, tokenizer: Tokenizer
) -> None:
    rows = [
        (["in", "Paris", "."], ["O", "B-place", "O"]),
        (["Rome", "is", "far"] * 12, ["B-place", "O", "O"] * 12),  # longer than max_tokens
        (["a", "ship"], ["O", "B-ship"]),  # of a type that the model does not know
    ]
    documents = [Document("text", "file", columns={"words": words, "tag": tags}) for words, tags in rows]
    scores = evaluate_tagging(model, documents, tokenizer, TASK)
    assert scores.tokens.tolist() == [3, 36, 2]
    assert scores.true.sum(1).tolist() == [1, 12, 1]
    assert not scores.both[2].any()
    assert np.isnan(scores.nats).tolist() == [False, False, True]

    (read,) = Tagging(TASK).read(documents[:1], tokenizer)
    (outputs,) = tell_token_labels(model, [read.token_ids])
    assert model.task_head is not None
    assert model.task_head.transitions is not None
    between = model.task_head.transitions.detach().numpy()
    every = []
    for path in product(range(3), repeat=3):
        score = sum(outputs[first, tag] for first, tag in zip(read.firsts, path, strict=True))
        every.append((path, float(score + sum(between[pair] for pair in pairwise([3, *path, 3])))))
    total = math.log(sum(math.exp(score) for _, score in every))
    assert scores.nats[0] == pytest.approx(total - dict(every)[(0, 1, 0)], rel=1e-4)
    assert "span_f1" in summarize(scores)


class Places(Tagger):
    """Whatever is written large is a place."""

    name = "perceptron"

    def tell(self, words: Sequence[Sequence[str]]) -> list[list[str]]:
        return [["B-place" if word[:1].isupper() else "O" for word in sentence] for sentence in words]

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Places:
        return cls()


def test_a_simple_tagger_answers_where_it_is_better(model: LanguageModel, tokenizer: Tokenizer) -> None:
    columns = {"words": ["a", "boat", "in", "Paris"], "tag": ["O", "O", "O", "B-place"]}
    documents, beside = [Document("a boat in Paris", "t", columns=columns)] * 3, {"perceptron": Places()}
    found = choose_tagger(model, documents, tokenizer, TASK, "span_f1", "float32", beside)
    assert found.decision.members == ("perceptron",)
    scores = evaluate_tagging(model, documents, tokenizer, found, beside=beside)
    assert summarize(scores)["span_f1"].value == 1
    assert summarize(scores)["loss"] == summarize(evaluate_tagging(model, documents, tokenizer, TASK))["loss"]
    ((answer,),) = tag_texts(model, tokenizer, found, ["The boat, in Paris."], beside)
    assert answer.text == "[The place] boat, in [Paris place]."
    assert list(answer.found[1]) == ["type", "text", "start", "end"]


def test_a_model_stays_where_nothing_is_better(model: LanguageModel, tokenizer: Tokenizer) -> None:
    read = Tagging(TASK)
    document = read.document({"tokens": ["a", "boat", "in", "Paris"]})
    told = tell_tags(model, TASK, read.read([document], tokenizer)).tags[0]
    said = Document(document.text, "t", columns={**document.columns, "tag": [TASK.tags[tag] for tag in told]})
    found = choose_tagger(model, [said] * 2, tokenizer, TASK, "token_accuracy", "float32", {"perceptron": Places()})
    assert found.decision.members == ("model",)
