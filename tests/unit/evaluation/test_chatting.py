"""How chat models are measured: the loss of answers against the chain rule by hand, form, and judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.data import Document, tokenize_documents
from stepwell.errors import UsageError
from stepwell.evaluation import ModelJudge, answers_to, evaluate_chat, is_well_formed, open_judge
from stepwell.inference import SamplingParams, generate
from stepwell.models import LanguageModel, build_model, decoder_sized
from stepwell.tasks import Chat, ChatConfig
from stepwell.tokenizers import ROLE_TOKENS, ByteBPEConfig, Tokenizer, conversational, train_tokenizer


def said(*turns: str) -> list[dict[str, str]]:
    """Turns of user and assistant."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]


DOCUMENTS = [
    Document("x", "test", columns={"messages": said(f"Number {n}?", "By the bridge. " * n, "And then?", "The river.")})
    for n in (1, 3, 2)
]
GREEDY = SamplingParams(temperature=0.0, max_tokens=12)


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    settings = ByteBPEConfig(vocab_size=400, special_tokens=ROLE_TOKENS)
    return conversational(train_tokenizer([small_text(num_bytes=8_000)], settings))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    config = decoder_sized(1, vocab_size=tokenizer.vocab_size, max_seq_len=256)
    made = build_model(config, seed=1).eval()
    torch.manual_seed(0)
    with torch.no_grad():  # a fresh head is zero, and would find every answer equally likely
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return made


def by_hand(model: LanguageModel, tokenizer: Tokenizer, messages: list[dict[str, str]]) -> tuple[float, int]:
    """The chain rule, answer by answer: each is told after the prompt that prediction would make."""
    nats, tokens = 0.0, 0
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = tokenizer.chat(messages[:place]).tolist()
        answer = [*tokenizer.encode(message["content"].strip()).tolist(), tokenizer.token_id("<|end|>")]
        with torch.no_grad():
            logits = model.unembed(model.hidden(torch.tensor([prompt + answer])))
        logprobs = logits.log_softmax(-1)[0]
        nats -= sum(float(logprobs[len(prompt) - 1 + n, token]) for n, token in enumerate(answer))
        tokens += len(answer)
    return nats, tokens


def test_the_loss_is_that_of_answers(model: LanguageModel, tokenizer: Tokenizer) -> None:
    task = ChatConfig()
    split = tokenize_documents(DOCUMENTS, tokenizer, Chat(task))
    scores = evaluate_chat(model, split, DOCUMENTS, tokenizer, task, GREEDY, answered=2)
    wanted = [by_hand(model, tokenizer, _stripped(one)) for one in DOCUMENTS]
    assert scores.nats == pytest.approx([nats for nats, _ in wanted], rel=1e-5)
    assert scores.tokens.tolist() == [tokens for _, tokens in wanted]
    assert scores.answered.tolist() == [True, False, True]
    assert scores.checked.tolist() == scores.answered.tolist()


def test_a_decision_stands_around_what_is_scored(model: LanguageModel, tokenizer: Tokenizer) -> None:
    decision = {"system": "Be brief.", "examples": [{"prompt": "a", "answer": "b"}]}
    task = ChatConfig.model_validate({"decision": decision})
    split = tokenize_documents(DOCUMENTS, tokenizer, Chat(task))
    scores = evaluate_chat(model, split, DOCUMENTS, tokenizer, task, GREEDY, answered=0)
    shown = [{"role": "system", "content": "Be brief."}, *said("a", "b")]
    for row, document in enumerate(DOCUMENTS):
        nats, tokens = by_hand(model, tokenizer, [*shown, *_stripped(document)])
        shown_nats, shown_tokens = by_hand(model, tokenizer, shown)
        assert scores.nats[row] == pytest.approx(nats - shown_nats, rel=1e-5)
        assert scores.tokens[row] == tokens - shown_tokens
    assert not scores.answered.any()


def _stripped(document: Document) -> list[dict[str, str]]:
    return [{**one, "content": one["content"].strip()} for one in document.columns["messages"]]


def test_answers_in_one_batch_are_those_alone(model: LanguageModel, tokenizer: Tokenizer) -> None:
    """Prompts of different lengths share a padded batch; the oracle asks one at a time."""
    told = answers_to(DOCUMENTS, model, tokenizer, ChatConfig(), GREEDY)
    for document, answer in zip(DOCUMENTS, told, strict=True):
        (alone,) = generate(model, tokenizer, document.columns["messages"][:-1], GREEDY)
        assert answer.token_ids == alone.token_ids
        assert answer.finish_reason == alone.finish_reason
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("Under the bridge.", True),
        ("在桥下，就在井的旁边。", True),
        ("1. one\n2. two\n3. three", True),
        ("", False),
        (" \n", False),
        ("Yes.<|im_start|>user", False),
        ("Yes.\nUser:\nAnd then?", False),
        ("again and again " * 8, False),
        ("好的" * 20, False),
    ],
)
def test_form(answer: str, is_right: bool) -> None:
    assert is_well_formed(answer) is is_right


def longer_is_better(messages: Any, first: str, second: str) -> str:
    """A judge as a user writes one."""
    assert messages[-1]["role"] == "user"
    return "tie" if len(first) == len(second) else "a" if len(first) > len(second) else "b"


def test_judges_by_name(model: LanguageModel, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "my_judge.py").write_text("def first(messages, a, b):\n    return 'a'\n", encoding="utf-8")
    monkey = pytest.MonkeyPatch()
    monkey.chdir(tmp_path)
    try:
        assert open_judge("my_judge:first")([], "x", "y") == "a"
    finally:
        monkey.undo()
    assert open_judge(longer_is_better) is longer_is_better
    for named, words in (("no_such_module:first", "no function"), ("json:loads_", "no function"), ("words", "neither")):
        with pytest.raises(UsageError, match=words):
            open_judge(named)


def test_a_model_judges_by_what_it_would_say(model: LanguageModel, tokenizer: Tokenizer) -> None:
    asked = [{"role": "user", "content": "Where?"}]
    judge = ModelJudge(model, tokenizer)
    first, second = "By the river.", "zq zq zq"
    means = [
        -nats / tokens
        for answer in (first, second)
        for nats, tokens in [by_hand(model, tokenizer, [*asked, {"role": "assistant", "content": answer}])]
    ]
    assert [judge.score(asked, one) for one in (first, second)] == pytest.approx(means, rel=1e-5)
    assert judge(asked, first, second) == ("a" if means[0] > means[1] else "b")
    assert judge(asked, second, first) == ("b" if means[0] > means[1] else "a")
    assert judge(asked, first, first) == "tie"
    assert judge(asked, first, "") == "a"
    assert np.isinf(judge.score(asked, " "))
