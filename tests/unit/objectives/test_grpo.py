"""GRPO: drawing, advantages and the loss beside plain formulas; rewards that fail."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.data import Batch, Document, Example, Packer, TokenSplit
from stepwell.errors import ConfigError, UsageError
from stepwell.models import DecoderConfig, LanguageModel, LoRAConfig, add_adapter, build_model
from stepwell.objectives import GRPOConfig, GRPOObjective, Written, open_reward, rewards_of
from stepwell.objectives.grpo import advantages, answer_loss, draw, read_together
from stepwell.tasks import Preference, PreferenceConfig
from stepwell.tokenizers import ROLE_TOKENS, ByteBPEConfig, Tokenizer, conversational, train_tokenizer

CPU = torch.device("cpu")

REWARDS = """
def length(prompt, completion, row):
    assert row["messages"][-1]["content"] == prompt
    return len(completion) * row["worth"]

def raises(prompt, completion, row):
    raise KeyError("answer")

def nothing(prompt, completion, row):
    return float("nan") if "2" in prompt else 1

def words(prompt, completion, row):
    return "good"

number = 3
"""


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    settings = ByteBPEConfig(vocab_size=300, special_tokens=ROLE_TOKENS)
    return conversational(train_tokenizer([small_text(num_bytes=4_000)], settings))


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rewards") / "rewards.py"
    path.write_text(REWARDS, encoding="utf-8")
    return str(path)


def tiny(tokenizer: Tokenizer) -> LanguageModel:
    config = DecoderConfig(
        vocab_size=tokenizer.vocab_size, max_seq_len=64, d_model=16, num_layers=2, num_heads=2, num_kv_heads=2,
        head_dim=8, d_ff=32,
    )  # fmt: skip
    model = build_model(config)
    torch.manual_seed(0)
    for parameter in model.parameters():  # a fresh head is all zeros, and says nothing of what it reads
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch_of(tokenizer: Tokenizer, count: int = 3) -> Batch:
    task = Preference(PreferenceConfig(reward="m:f", row_columns=("worth",)))
    rows = [Document("x", "test", columns={"instruction": f"say {n}", "worth": n}) for n in range(count)]
    examples = [one for one in task.make(rows, tokenizer) if isinstance(one, Example)]
    lengths = [len(one.token_ids) for one in examples]
    split = TokenSplit(
        np.concatenate([one.token_ids for one in examples]),
        np.cumsum([0, *lengths]),
        np.array(lengths),
        aligned={name: np.concatenate([one.aligned[name] for one in examples]) for name in ("weight", "side")},
        whole=True,
    )
    packer = Packer(split, 160, seed=0)
    return packer.batch(0, packer.row_count(0))


def test_advantages_as_the_formula() -> None:
    rewards = [[1.0, 2.0, 4.0], [0.5, 0.5, 0.5]]
    for scaled in (True, False):
        found = advantages(torch.tensor(rewards), scaled=scaled)
        for row, told in zip(rewards, found.tolist(), strict=True):
            mean = sum(row) / 3
            spread = math.sqrt(sum((one - mean) ** 2 for one in row) / 2) + 1e-4 if scaled else 1.0
            assert told == pytest.approx([(one - mean) / spread for one in row], abs=1e-6)


@pytest.mark.parametrize("advantage", [1.5, -0.7])
@pytest.mark.parametrize("has_reference", [True, False])
def test_a_loss_as_the_formula(advantage: float, has_reference: bool) -> None:
    own, drawn, before = [-1.0, -2.0, -0.2], [-1.5, -1.0, -0.2], [-1.1, -2.5, -0.1]
    config = GRPOConfig(reward="m:f", clip=0.3, divergence_weight=0.2)
    wanted = 0.0
    for now, then, reference in zip(own, drawn, before, strict=True):
        ratio = math.exp(now - then)
        gained = min(ratio * advantage, min(max(ratio, 0.7), 1.3) * advantage)
        apart = math.exp(reference - now) - (reference - now) - 1 if has_reference else 0.0
        wanted += (-gained + 0.2 * apart) / 3
    found = answer_loss(
        torch.tensor(own), torch.tensor(drawn), torch.tensor(before) if has_reference else None,
        torch.tensor(advantage), config,
    )  # fmt: skip
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_answers_are_drawn_as_the_model_says(tokenizer: Tokenizer) -> None:
    model, prompt = tiny(tokenizer), np.array([1, 5, 9])
    stop_ids = frozenset(range(100))
    drawn = draw(model, prompt, 6, max_tokens=7, stop_ids=stop_ids, seed=3)
    again = draw(model, prompt, 6, max_tokens=7, stop_ids=stop_ids, seed=3)
    other = draw(model, prompt, 6, max_tokens=7, stop_ids=stop_ids, seed=4)
    ids = [one.answered.token_ids.tolist() for one in drawn]
    assert ids == [one.answered.token_ids.tolist() for one in again]
    assert ids != [one.answered.token_ids.tolist() for one in other]
    assert len({tuple(one) for one in ids}) > 1
    for one in ids:
        answer = one[3:]
        assert one[:3] == prompt.tolist()
        assert all(token not in stop_ids for token in answer[:-1])
        assert len(answer) == 7 or answer[-1] in stop_ids
    told = read_together(model, [one.answered for one in drawn], CPU)
    for one, own in zip(drawn, told, strict=True):
        torch.testing.assert_close(own.detach(), one.logprobs, rtol=1e-4, atol=1e-4)
        plain = torch.log_softmax(model(torch.from_numpy(one.answered.token_ids)[None, :-1]), -1)[0]
        wanted = plain.gather(1, torch.from_numpy(one.answered.token_ids)[1:, None])[2:, 0]
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-4)


def test_a_prompt_that_fills_the_window(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="no room for an answer"):
        draw(tiny(tokenizer), np.ones(64, np.int64), 2, max_tokens=4, stop_ids=frozenset(), seed=0)


def test_a_batch_is_a_pure_function_of_weights_and_seed(tokenizer: Tokenizer, rewards: str) -> None:
    objective = GRPOObjective(GRPOConfig(reward=f"{rewards}:length", group_size=3, max_answer_tokens=5), tokenizer)
    examples = objective.prepare(batch_of(tokenizer), 7)
    assert examples.num_targets == 9
    assert sorted(row["worth"] for row in examples.rows) == [0, 1, 2]
    for prompt, row in zip(examples.prompts, examples.rows, strict=True):
        assert prompt.tolist() == list(tokenizer.chat([{"role": "user", "content": f"say {row['worth']}"}]))
    model = tiny(tokenizer)
    add_adapter(model, LoRAConfig(rank=2))
    model.train()
    first, second = (objective.loss(model, examples, CPU) for _ in range(2))
    assert first.item() == second.item()
    first.backward()
    grads = [one.grad for one in model.parameters() if one.requires_grad]
    assert any(one is not None and float(one.abs().sum()) for one in grads)
    assert model.training
    other = objective.loss(model, objective.prepare(batch_of(tokenizer), 8), CPU)
    assert other.item() != first.item()


def test_what_is_rewarded_becomes_likelier(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text("def few(p, c, row):\n    return -len(c)\n", encoding="utf-8")
    config = GRPOConfig(reward=f"{tmp_path}/r.py:few", group_size=8, max_answer_tokens=8, divergence_weight=0.0)
    objective, model = GRPOObjective(config, tokenizer), tiny(tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    batch, lengths = batch_of(tokenizer, 2), []
    for step in range(25):
        examples = objective.prepare(batch, step)
        optimizer.zero_grad()
        (objective.loss(model, examples, CPU) / examples.num_targets).backward()
        optimizer.step()
        drawn = draw(model, examples.prompts[0], 16, max_tokens=8, stop_ids=tokenizer.stop_ids, seed=step)
        lengths.append(np.mean([len(objective._words(one.answered)) for one in drawn]))
    assert np.mean(lengths[-5:]) < 0.7 * np.mean(lengths[:5])


@pytest.mark.parametrize(
    ("name", "what"),
    [("raises", "KeyError: 'answer'"), ("nothing", "nan"), ("words", "ValueError")],
)
def test_a_reward_that_fails_is_told_with_its_prompt(name: str, what: str, rewards: str) -> None:
    written = [Written(f"say {n}", "灯", {}) for n in (1, 2, 22)]
    with pytest.raises(UsageError) as told:
        rewards_of(open_reward(f"{rewards}:{name}"), written)
    count, prompt = ("2 of 3", "say 2") if name == "nothing" else ("3 of 3", "say 1")
    assert count in told.value.what
    assert what in str(told.value.got)
    assert repr(prompt) in str(told.value.got)


@pytest.mark.parametrize("name", ["none", "number"])
def test_no_such_reward(name: str, rewards: str) -> None:
    with pytest.raises(UsageError, match=r"reward: .*rewards.py"):
        open_reward(f"{rewards}:{name}")


@pytest.mark.parametrize("named", ["nowhere/file.py:f", "no_such_module_here:f"])
def test_no_such_place(named: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        open_reward(named)


def test_a_reward_in_a_module() -> None:
    assert open_reward("json:dumps") is json.dumps
    assert rewards_of(lambda prompt, completion, row: 2, [Written("a", "b", {})]) == [2.0]


def test_settings() -> None:
    found: Any = GRPOConfig(reward="a.b:c")
    assert found.clip == 0.2
    with pytest.raises(ValueError, match="reward"):
        GRPOConfig(reward="no function")
