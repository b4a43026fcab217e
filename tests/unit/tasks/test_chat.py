"""Chat: which tokens count, what is left out, and how a model is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepwell.config import build
from stepwell.data import Document, Example, text_of
from stepwell.errors import ConfigError, UsageError
from stepwell.tasks import Chat, ChatConfig, ChatDecisionConfig
from stepwell.tokenizers import ROLE_TOKENS, ByteBPEConfig, Tokenizer, conversational, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    settings = ByteBPEConfig(vocab_size=400, special_tokens=ROLE_TOKENS)
    return conversational(train_tokenizer([small_text(num_bytes=8_000)], settings))


def said(*turns: str, system: str | None = None) -> list[dict[str, str]]:
    """Turns of user and assistant."""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]


def document(messages: list[dict[str, str]]) -> Document:
    return Document(text_of([messages]) or "x", "test", columns={"messages": messages})


def made(messages: list[dict[str, str]], tokenizer: Tokenizer, **settings: Any) -> Example:
    (one,) = Chat(ChatConfig(**settings)).make([document(messages)], tokenizer)
    assert isinstance(one, Example), one
    return one


def counted(one: Example, tokenizer: Tokenizer) -> str:
    """The tokens that count, as the vocabulary writes their text."""
    targets = one.token_ids[1:][one.aligned["weight"][:-1] > 0]
    return "".join(tokenizer.decode([n]) or f"<{tokenizer.token(int(n))}>" for n in targets)


def test_answers_count_with_their_ends(tokenizer: Tokenizer) -> None:
    one = made(said("one", "two", "three", "four", system="s"), tokenizer)
    assert counted(one, tokenizer) == "two<<|end|>>four<<|end|>>"
    assert one.aligned["weight"][-1] == 0
    assert len(one.aligned["weight"]) == len(one.token_ids)
    assert one.left_out_tokens == 0


def test_the_oldest_turns_go_first(tokenizer: Tokenizer) -> None:
    long = said(*[f"{n} by the river" for n in range(12)], system="sys")
    whole = made(long, tokenizer)
    short = made(long, tokenizer, max_tokens=60)
    assert len(short.token_ids) <= 61
    assert short.left_out_tokens == len(whole.token_ids) - len(short.token_ids) > 0
    text = tokenizer.decode(short.token_ids)
    assert text.startswith("sys")
    assert text.endswith("11 by the river")
    assert counted(short, tokenizer).endswith("<<|end|>>")
    kept = counted(short, tokenizer).count("<<|end|>>")
    again = made([long[0], *long[-2 * kept :]], tokenizer)
    assert again.token_ids.tolist() == short.token_ids.tolist()
    larger = made([long[0], *long[-2 * (kept + 1) :]], tokenizer)
    assert len(larger.token_ids) > 61, "as many turns as fit are kept"


def test_a_single_exchange_loses_its_end(tokenizer: Tokenizer) -> None:
    one = made(said("a", "b " * 100), tokenizer, max_tokens=20)
    assert len(one.token_ids) == 21
    assert counted(one, tokenizer).startswith("b b")
    assert "<|end|>" not in counted(one, tokenizer)
    assert one.left_out_tokens > 0


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (said("a " * 100, "b"), "no room for an answer"),
        (said("a"), "no answer"),
        (said("a", ""), "an empty answer"),
        (said("a", "b")[::-1], "roles out of order"),
        ([], "no messages"),
    ],
)
def test_no_example_for_a_reason(tokenizer: Tokenizer, messages: list[dict[str, str]], reason: str) -> None:
    (found,) = Chat(ChatConfig(max_tokens=20)).make([document(messages)], tokenizer)
    assert isinstance(found, str)
    assert reason in found


def test_what_comes_after_the_last_answer_is_left_out(tokenizer: Tokenizer) -> None:
    open_ended, closed = made(said("a", "b", "c"), tokenizer), made(said("a", "b"), tokenizer)
    assert open_ended.token_ids.tolist() == closed.token_ids.tolist()
    assert (bool(open_ended.remark), bool(closed.remark)) == (True, False)


def test_what_steps_took_out_of_the_text_is_named(tokenizer: Tokenizer) -> None:
    """Steps change the text, and not the messages: who removes names from a text must know that."""
    messages = said("I am Anna Smith", "Hello, Anna!")
    cleaned = Document("I am [NAME]\nHello, [NAME]!", "test", columns={"messages": messages})
    (one,) = Chat(ChatConfig()).make([cleaned], tokenizer)
    assert isinstance(one, Example)
    assert "steps changed the text" in one.remark
    assert not made(messages, tokenizer).remark


def test_nobody_ends_a_turn_by_writing_so(tokenizer: Tokenizer) -> None:
    one = made(said("x<|end|><|assistant|>", "y<|end|>z"), tokenizer)
    special = [tokenizer.token(int(n)) for n in one.token_ids if int(n) in tokenizer.special_ids]
    assert special == ["<|user|>", "<|end|>", "<|assistant|>", "<|end|>"]


DECISION = ChatDecisionConfig.model_validate(
    {"system": "sys", "examples": [{"prompt": "p", "answer": "a"}], "template": "Q: {prompt}!"}
)


def test_how_a_model_is_asked() -> None:
    plain, framed = Chat(ChatConfig()), Chat(ChatConfig(decision=DECISION))
    assert plain.asked("hi") == said("hi")
    assert plain.asked(said("a", "b", "c")) == said("a", "b", "c")
    assert plain.asked({"messages": said("a", "b", "c", "d")}) == said("a", "b", "c")
    assert plain.asked({"instruction": "Add.", "input": "1 2"}) == said("Add.\n\n1 2")
    assert framed.asked("hi") == said("p", "a", "Q: hi!", system="sys")
    assert framed.asked(said("a", "b", "c", system="own")) == said("p", "a", "a", "b", "Q: c!", system="own")
    with pytest.raises(UsageError, match="roles out of order"):
        plain.asked(said("a", "b")[::-1])


def test_a_decision_changes_no_answer(tokenizer: Tokenizer) -> None:
    """The same tokens count, whatever stands around them, and it is no part of what the examples depend on."""
    plain, framed = Chat(ChatConfig(max_tokens=24)), Chat(ChatConfig(max_tokens=24, decision=DECISION))
    assert plain.key == framed.key
    for messages in (said("a", "b", "c", "d"), said("a", "b " * 50), said(*["by the river"] * 8)):
        first, second = (
            reader.example(document(messages), tokenizer, framed=reader is framed) for reader in (plain, framed)
        )
        assert isinstance(first, Example)
        assert isinstance(second, Example)
        assert counted(first, tokenizer) == counted(second, tokenizer)
        assert len(second.token_ids) > len(first.token_ids)
        assert tokenizer.decode(second.token_ids).startswith("sysp")


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="template"):
        build(ChatConfig, {"decision": {"template": "no place"}}, where="task")
    assert np.isfinite(Chat(ChatConfig()).tuning_epochs)
