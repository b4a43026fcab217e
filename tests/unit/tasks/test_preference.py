"""Preference: which answers stand side by side, what is left out, and which rows are no pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepwell.data import Document, Example
from stepwell.errors import ConfigError
from stepwell.tasks import Preference, PreferenceConfig
from stepwell.tokenizers import (
    ROLE_TOKENS,
    ByteBPEConfig,
    Tokenizer,
    conversational,
    encode_conversation,
    train_tokenizer,
)

ASKED = [{"role": "user", "content": "where is the boat"}]


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    settings = ByteBPEConfig(vocab_size=400, special_tokens=ROLE_TOKENS)
    return conversational(train_tokenizer([small_text(num_bytes=8_000)], settings))


def make(columns: dict[str, Any], tokenizer: Tokenizer, **settings: Any) -> Example | str:
    (one,) = Preference(PreferenceConfig(**settings)).make([Document("x", "test", columns=columns)], tokenizer)
    return one


def made(columns: dict[str, Any], tokenizer: Tokenizer, **settings: Any) -> Example:
    one = make(columns, tokenizer, **settings)
    assert isinstance(one, Example), one
    return one


def answers(one: Example, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Of each side the text, and of it what counts."""
    found = []
    for side in np.unique(one.aligned["side"]):
        here = np.flatnonzero(one.aligned["side"] == side)
        told = here[one.aligned["weight"][here] > 0] + 1
        found.append((tokenizer.decode(one.token_ids[here]), tokenizer.decode(one.token_ids[told])))
    return found


@pytest.mark.parametrize(
    "columns",
    [
        {"messages": ASKED, "chosen": "by the river", "rejected": "灯"},
        {"instruction": "where is the boat", "chosen": " by the river\n", "rejected": "灯"},
        {
            "instruction": ASKED,
            "messages": ASKED,
            "chosen": [{"role": "assistant", "content": "by the river"}],
            "rejected": "灯",
        },
        {
            "chosen": [*ASKED, {"role": "assistant", "content": "by the river"}],
            "rejected": [*ASKED, {"role": "assistant", "content": "灯"}],
        },
        {
            "messages": [{"from": "human", "value": "where is the boat"}],
            "chosen": {"from": "gpt", "value": "by the river"},
            "rejected": {"from": "gpt", "value": "灯"},
        },
    ],
)
def test_both_answers_follow_what_is_asked(columns: dict[str, Any], tokenizer: Tokenizer) -> None:
    one = made(columns, tokenizer)
    assert answers(one, tokenizer) == [("where is the boatby the river", "by the river"), ("where is the boat灯", "灯")]
    alone = encode_conversation(tokenizer, [*ASKED, {"role": "assistant", "content": "by the river"}])
    half = one.token_ids[one.aligned["side"] == 0]
    assert half.tolist() == alone.token_ids.tolist(), "as chat renders it, the end of the answer included"
    assert one.aligned["weight"].sum() == sum(len(tokenizer.encode(text)) + 1 for text in ("by the river", "灯"))
    assert one.aligned["weight"][-1] == 0


@pytest.mark.parametrize(
    ("label", "side"), [(True, 0), (1, 0), ("good", 0), ("是", 0), (False, 1), (0.0, 1), ("差", 1)]
)
def test_single_answers_have_a_side(label: object, side: int, tokenizer: Tokenizer) -> None:
    one = made({"messages": ASKED, "completion": "by the river", "label": label}, tokenizer)
    assert set(one.aligned["side"].tolist()) == {side}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"messages": ASKED, "chosen": "a", "rejected": " a "}, "are the same"),
        ({"messages": ASKED, "chosen": "a", "rejected": "  "}, "empty answer"),
        ({"messages": ASKED, "chosen": "", "rejected": "b"}, "empty answer"),
        ({"messages": ASKED, "chosen": "a"}, "no rejected"),
        ({"messages": ASKED, "rejected": "a"}, "no chosen"),
        ({"messages": ASKED, "completion": "a"}, "without a label"),
        ({"messages": ASKED, "completion": "a", "label": "maybe"}, "without a label"),
        ({"chosen": "a", "rejected": "b"}, "no messages"),
        (
            {"messages": [*ASKED, {"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"},
            "ends with an answer",
        ),
        ({"messages": ASKED * 2, "chosen": "a", "rejected": "b"}, "roles out of order"),
        (
            {
                "chosen": [*ASKED, {"role": "assistant", "content": "a"}],
                "rejected": [{"role": "user", "content": "another"}, {"role": "assistant", "content": "b"}],
            },
            "different prompts",
        ),
        ({"messages": ASKED, "chosen": "by " * 30 + "a", "rejected": "by " * 30 + "b"}, "beyond task.max_tokens"),
    ],
)
def test_no_pair_for_a_reason(columns: dict[str, Any], reason: str, tokenizer: Tokenizer) -> None:
    found = make(columns, tokenizer, max_tokens=48)
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize("max_tokens", [24, 40, 80, 160])
@pytest.mark.parametrize("turns", [1, 7])
@pytest.mark.parametrize("lengths", [(3, 40), (40, 40), (40, 3)])
def test_what_is_too_long_fits(max_tokens: int, turns: int, lengths: tuple[int, int], tokenizer: Tokenizer) -> None:
    said = [{"role": ("user", "assistant")[n % 2], "content": f"{n} under the bridge " * 3} for n in range(turns)]
    columns = {"messages": said, "chosen": "a " * lengths[0], "rejected": "b " * lengths[1]}
    whole, one = made(columns, tokenizer), made(columns, tokenizer, max_tokens=max_tokens)
    assert len(one.token_ids) <= max_tokens + 1
    assert one.left_out_tokens == len(whole.token_ids) - len(one.token_ids)
    told = [text for _, text in answers(one, tokenizer)]
    assert told[0].startswith("a")
    assert told[1].startswith("b")
    prompts = [text.removesuffix(answer) for (text, answer) in answers(one, tokenizer)]
    assert prompts[0] == prompts[1]
    assert said[-1]["content"].endswith(prompts[0][-8:]), "the end of what is asked stays"
    if one.left_out_tokens:
        assert len(one.token_ids) > max_tokens - 16 or turns > 1, "room is used"


def test_a_short_answer_stays_whole(tokenizer: Tokenizer) -> None:
    one = made({"messages": ASKED, "chosen": "by the river", "rejected": "b " * 60}, tokenizer, max_tokens=64)
    assert answers(one, tokenizer)[0][1] == "by the river"
    ends = one.token_ids[1:][one.aligned["weight"][:-1] > 0]
    assert sum(int(n) in tokenizer.stop_ids for n in ends) == 1


def test_prompts_for_a_reward(tokenizer: Tokenizer) -> None:
    columns = {"instruction": "where is 船", "answer": [1, {"x": "灯"}]}
    one = made(columns, tokenizer, reward="module:function", row_columns=("answer",))
    begin = int((one.aligned["side"] == 0).sum())
    messages = [{"role": "user", "content": "where is 船"}]
    assert one.token_ids[:begin].tolist() == list(tokenizer.chat(messages))
    told = json.loads(tokenizer.decode(one.token_ids[begin:]))
    assert told == {"messages": messages, "answer": [1, {"x": "灯"}]}
    assert np.flatnonzero(one.aligned["weight"]).tolist() == [begin - 1]
    assert set(Preference(PreferenceConfig(reward="m:f", row_columns=("answer",))).fields()) >= {"answer", "messages"}
    assert Preference(PreferenceConfig(reward="m:f")).metric == "reward"


FRESH: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("given", "settings", "wanted"),
    [
        (FRESH, {}, {"training.objective.loss.kind": "orpo"}),
        (
            {"init_from": "m"},
            {},
            {"training.objective.loss.kind": "dpo", "training.objective.reference": "m", "task.decision.reference": "m",
             "task.decision.score": "log_ratio", "task.decision.scale": 0.1},
        ),
        (
            {"init_from": "m", "training.adapter": {"kind": "lora"}},
            {},
            {"training.objective.reference": None, "task.decision.reference": "m"},
        ),
        (
            {"init_from": "m", "training.objective.loss.kind": "simpo"},
            {},
            {"training.objective.reference": None, "task.decision.reference": None, "task.decision.scale": 2.0},
        ),
        (
            {"init_from": "m"},
            {"reward": "a:b"},
            {"training.objective.kind": "grpo", "training.objective.reward": "a:b"},
        ),
    ],
)  # fmt: skip
def test_what_follows_from_the_recipe(given: dict[str, Any], settings: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = Preference(PreferenceConfig(**settings)).follows(given.get)
    assert {path: found.get(path, (None,))[0] for path in wanted} == wanted


@pytest.mark.parametrize(
    ("given", "settings"), [({"training.objective.loss.kind": "dpo"}, {}), ({}, {"reward": "a:b"})]
)
def test_fresh_weights_have_no_reference(given: dict[str, Any], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="init_from"):
        Preference(PreferenceConfig(**settings)).follows(given.get)


TURNS = [*ASKED, {"role": "assistant", "content": "there"}, {"role": "user", "content": "and the lamp"}]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("where is the boat", ASKED),
        (TURNS, TURNS),
        ({"prompt": "where is the boat", "chosen": "a", "rejected": "b"}, ASKED),
        ({"prompt": TURNS, "chosen": [{"role": "assistant", "content": "a"}]}, TURNS),
        ({"messages": None, "instruction": TURNS, "chosen": "a"}, TURNS),
        ({"messages": TURNS, "chosen": "a", "rejected": "b"}, TURNS),
        ({"chosen": [*TURNS, {"role": "assistant", "content": "a"}]}, TURNS),
    ],
)
def test_what_a_model_is_asked(asked: Any, wanted: list[dict[str, str]]) -> None:
    assert Preference(PreferenceConfig()).prompted(asked) == wanted


def test_a_prompt_may_be_messages(tokenizer: Tokenizer) -> None:
    one = made({"instruction": TURNS, "chosen": "by the river", "rejected": "灯"}, tokenizer)
    other = made({"messages": TURNS, "chosen": "by the river", "rejected": "灯"}, tokenizer)
    assert one.token_ids.tolist() == other.token_ids.tolist()
