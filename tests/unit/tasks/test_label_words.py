"""Labels in words: what is read and what counts, and how likely each word is beside one forward pass for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stepwell.data import Document
from stepwell.errors import DataError
from stepwell.inference import tell_words
from stepwell.models import DecoderConfig, build_model
from stepwell.tasks import ClassificationConfig, DecisionConfig, LabelWords, build_task
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

TEXTS = ["a good film", "a bad film\nLabel: good", "很好的电影", "很差的电影\n类别：好"] * 20


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, ByteBPEConfig(vocab_size=300))


def task_with(**values: Any) -> LabelWords:
    task = build_task(ClassificationConfig(mode="words", problem="single", labels=("bad", "good"), **values))
    assert isinstance(task, LabelWords)
    return task


def test_only_the_word_and_its_end_count(tokenizer: Tokenizer) -> None:
    document = Document("a good film", "s", columns={"label": "good", "weight": 2.0})
    (example,) = task_with().make([document], tokenizer)
    assert not isinstance(example, str)
    prompt = int(example.of_document["source_tokens"])
    ids = np.asarray(example.token_ids)
    assert tokenizer.decode(ids[1:prompt].tolist()) == "a good film\nLabel:"
    assert tokenizer.decode(ids[prompt:-1].tolist()) == " good"
    assert ids[-1] == tokenizer.eos_id
    assert example.aligned["weight"].tolist() == [0.0] * (prompt - 1) + [2.0] * (len(ids) - prompt) + [0.0]
    assert example.of_document["label"] == 1


@pytest.mark.parametrize(
    ("template", "words", "said"),
    [
        ("{text}\nLabel:", ("no", "yes"), " yes"),
        ("{text}\nLabel: ", ("no", "yes"), "yes"),
        ("{text}\n类别：", ("差", "好"), "好"),
        ("类别？{text}", (), " good"),
    ],
)
def test_a_word_stands_apart_from_what_is_before_it(
    tokenizer: Tokenizer, template: str, words: tuple[str, ...], said: str
) -> None:
    (_, ids) = task_with(template=template, words=words).candidates(tokenizer)
    expected = "good" if template.endswith("{text}") else said
    assert tokenizer.decode(ids[:-1].tolist()) == expected


def test_a_long_text_loses_its_end_and_the_question_stays(tokenizer: Tokenizer) -> None:
    task = task_with(max_tokens=40)
    ((ids, left_out),) = task.read([Document("a good film " * 50, "s")], tokenizer)
    assert left_out > 0
    assert tokenizer.decode(ids[1:].tolist()).endswith("\nLabel:")
    (example,) = task.make([Document("a good film " * 50, "s", columns={"label": "bad"})], tokenizer)
    assert not isinstance(example, str)
    assert len(example.token_ids) <= 41
    assert example.left_out_tokens == left_out


def test_another_way_of_asking_reads_as_much_of_a_text_and_changes_no_example(tokenizer: Tokenizer) -> None:
    shown = "a good film -> good\n{text} ->"
    task = task_with(max_tokens=40, decision=DecisionConfig(template=shown))
    document = Document("a bad film " * 50, "s", columns={"label": "bad"})
    ((ids, left_out),) = task.read([document], tokenizer)
    ((plain, left_out_plain),) = task_with(max_tokens=40).read([document], tokenizer)
    before, after = tokenizer.decode(ids[1:].tolist()).split("\n")
    assert before == "a good film -> good"
    assert after == tokenizer.decode(plain[1:].tolist()).removesuffix("\nLabel:") + " ->"
    assert left_out == left_out_plain
    ((example,), (wanted,)) = (one.make([document], tokenizer) for one in (task, task_with(max_tokens=40)))
    assert not isinstance(example, str)
    assert not isinstance(wanted, str)
    assert np.array_equal(example.token_ids, wanted.token_ids)


def test_a_head_is_not_asked_in_words() -> None:
    with pytest.raises(ValueError, match="for mode=words"):
        ClassificationConfig(ways=("{text}?",))


@pytest.mark.parametrize("words", [("one",), ("same", "same")])
def test_words_that_do_not_fit_the_labels(tokenizer: Tokenizer, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="one word for each label"):
        task_with(words=words).candidates(tokenizer)


def test_a_template_that_takes_all_the_room(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="leaves no room"):
        task_with(max_tokens=8).read([Document("a", "s")], tokenizer)


def test_a_word_is_as_likely_as_its_tokens_one_after_another(tokenizer: Tokenizer) -> None:
    """By a forward pass over each prompt with each word, alone."""
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, max_seq_len=64, num_layers=2, d_model=32, num_heads=2,
                           num_kv_heads=2, head_dim=16, d_ff=64)  # fmt: skip
    model = build_model(config, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    task = task_with(words=("bad", "very good"))
    words = task.candidates(tokenizer)
    prompts = [ids for ids, _ in task.read([Document(text, "s") for text in TEXTS[:4]], tokenizer)]
    told = tell_words(model, prompts, words)
    for row, prompt in enumerate(prompts):
        for column, word in enumerate(words):
            ids = torch.from_numpy(np.concatenate([prompt, word]))
            with torch.inference_mode():
                logprobs = model.unembed(model.hidden(ids[None, :-1]))[0].log_softmax(-1)
            right = logprobs.gather(1, ids[1:, None])[len(prompt) - 1 :].sum()
            assert told[row, column] == pytest.approx(float(right), abs=1e-4)
    assert tell_words(model, [], words).shape == (0, 2)
