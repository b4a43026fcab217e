"""Preference from rows to answers: pairs, single answers and a reward, from fresh weights and from a model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from stepwell import api
from stepwell.errors import DataError, StepwellError, UsageError

pytestmark = pytest.mark.slow

WORDS = {
    "en": ("by the {} of {}", "thank you, the {} is here", "no, the {} is not for you", "lamp boat map coin gate"),
    "zh": ("在{}旁边问{}", "谢谢，{}在这里", "不行，{}不给你", "灯 船 图 钱 门"),
}
SMALL = ["tokenizer.vocab_size=320", "model.num_layers=2", "model.d_model=48", "model.num_heads=2",
         "model.num_kv_heads=2", "model.head_dim=24", "model.d_ff=96", "training.global_batch_tokens=1024",
         "data.deduplicate=false", "study.resamples=100", "study.sample_tokens=8",
         "training.evaluate_every_steps=60"]  # fmt: skip
GOES_ON = [one for one in SMALL if not one.startswith(("model.", "tokenizer."))]


def pairs(language: str, count: int, seed: int) -> list[dict[str, str]]:
    rng, (asked, good, bad, things) = random.Random(seed), WORDS[language]
    found = []
    for _ in range(count):
        thing = rng.choice(things.split())
        prompt = asked.format(rng.randrange(10**6), thing)
        found.append({"prompt": prompt, "chosen": good.format(thing), "rejected": bad.format(thing)})
    return found


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def metrics(run: Path, data: Path) -> dict[str, float]:
    return {name: one["value"] for name, one in api.evaluate(run, data)["metrics"].items()}


@pytest.fixture(scope="module", params=["en", "zh"])
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A model that learned from pairs with fresh weights (ORPO), held-out pairs, and their language."""
    folder, language = tmp_path_factory.mktemp("preference"), str(request.param)
    data = write(folder / "pairs.jsonl", pairs(language, 700, 1))
    held = write(folder / "held.jsonl", pairs(language, 40, 2))
    api.train(data=data, task="preference", steps=60, out=folder / "run", set=SMALL)
    return folder / "run", held, language


def test_fresh_weights_learn_what_is_better(learned: tuple[Path, Path, str]) -> None:
    run, held, language = learned
    found = metrics(run, held)
    assert found["preference_accuracy"] == 1
    assert found["margin"] > 1
    row = pairs(language, 1, 3)[0]
    (answer,) = api.predict(run, row["prompt"], {"temperature": 0})[0]
    assert answer.text.startswith(row["chosen"][:2])
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("learned", "loss", "adapter"),
    [
        ("en", "dpo", "full"),
        ("zh", "dpo", "lora"),
        pytest.param("en", "kto", "lora", marks=pytest.mark.proof),
        pytest.param("en", "simpo", "lora", marks=pytest.mark.proof),
    ],
    indirect=["learned"],
)
def test_what_was_better_becomes_worse(
    learned: tuple[Path, Path, str], loss: str, adapter: str, tmp_path: Path
) -> None:
    """From a model that likes one kind of answer, pairs the other way round make it like the other kind."""
    run, held, language = learned
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs(language, 700, 4)]
    if loss == "kto":  # single answers
        turned = [
            {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
            for number, row in enumerate(turned)
            for side in (["chosen", "rejected"][number % 2],)
        ]
    kinds = [f"init_from={run}", "training.objective.kind=preference", f"training.objective.loss.kind={loss}"]
    rate = ["training.optimizer.learning_rate=0.005"]
    out = tmp_path / "turned"
    api.train(
        data=write(tmp_path / "pairs.jsonl", turned), task="preference", steps=40, out=out,
        set=[*GOES_ON, *kinds, *([f"training.adapter.kind={adapter}"] if adapter != "full" else []), *rate],
    )  # fmt: skip
    found = metrics(out, held)
    assert found["preference_accuracy"] < 0.2
    if loss != "simpo":
        assert found["kl"] > 0
    compared = api.compare(run, out, held)["metrics"]["preference_accuracy"]
    assert compared["better"] == "first"


@pytest.mark.parametrize("learned", ["en"], indirect=True)
def test_a_reward_is_raised(learned: tuple[Path, Path, str], tmp_path: Path) -> None:
    run, _, language = learned
    reward = tmp_path / "reward.py"
    reward.write_text(
        "def short(prompt, completion, row):\n    assert row['worth'] == 1\n    return -len(completion)\n",
        encoding="utf-8",
    )
    rows = [{"prompt": row["prompt"], "worth": 1} for row in pairs(language, 1500, 5)]
    data, out = write(tmp_path / "prompts.jsonl", rows), tmp_path / "grpo"
    held = write(tmp_path / "held.jsonl", rows[:30])
    settings = [f"init_from={run}", f"task.reward={reward}:short", "task.row_columns=[worth]", "decoding.max_tokens=24",
                "training.objective.kind=grpo", "training.objective.max_answer_tokens=24",
                "training.objective.group_size=4", "training.optimizer.learning_rate=0.003"]  # fmt: skip
    told = api.train(data=data, task="preference", steps=12, out=out, set=[*GOES_ON, *settings])
    assert told["metric"] == "reward"
    before = -len(WORDS[language][1].format("灯" if language == "zh" else "lamp"))
    found = metrics(out, held)
    assert found["reward"] > 0.7 * before, "shorter than what it was taught"
    assert found["kl"] > 0


@pytest.mark.parametrize("learned", ["en"], indirect=True)
def test_a_reward_that_raises_loses_nothing(learned: tuple[Path, Path, str], tmp_path: Path) -> None:
    """The run ends with the prompt, and goes on to the same weights once the function is mended."""
    run, _, language = learned
    rows = [{"prompt": row["prompt"]} for row in pairs(language, 1500, 5)]
    data, reward, broken = write(tmp_path / "prompts.jsonl", rows), tmp_path / "reward.py", tmp_path / "broken"
    reward.write_text(
        f"import pathlib\ncalls = 0\ndef short(prompt, completion, row):\n    global calls\n    calls += 1\n"
        f"    if pathlib.Path({str(broken)!r}).exists() and calls > 90:\n        raise KeyError('answer')\n"
        "    return -len(completion)\n",
        encoding="utf-8",
    )
    settings = [*GOES_ON, f"init_from={run}", f"task.reward={reward}:short", "training.objective.kind=grpo",
                "training.objective.max_answer_tokens=8", "training.objective.group_size=2",
                "training.adapter.kind=lora", "training.checkpoint_every_seconds=0.001",
                "decoding.max_tokens=8"]  # fmt: skip
    broken.touch()
    with pytest.raises(UsageError, match="reward: fails for"):
        api.train(data=data, task="preference", steps=10, out=tmp_path / "stopped", set=settings)
    broken.unlink()
    resumed = api.train(data=data, task="preference", steps=10, out=tmp_path / "stopped", set=settings)
    whole = api.train(data=data, task="preference", steps=10, out=tmp_path / "whole", set=settings)
    weights = [
        (tmp_path / name / one["checkpoint"] / "model.safetensors").read_bytes()
        for name, one in (("stopped", resumed), ("whole", whole))
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rejected": ""}, "an empty answer"),
        ({"rejected": None}, "no rejected answer"),
        ({"chosen": "灯", "rejected": "灯"}, "the same"),
    ],
)
def test_rows_that_are_no_pairs(change: dict[str, Any], what: str, tmp_path: Path) -> None:
    rows = [{**row, **change} if number % 20 == 0 else row for number, row in enumerate(pairs("en", 400, 1))]
    with pytest.raises(DataError) as told:
        api.train(data=write(tmp_path / "p.jsonl", rows), task="preference", steps=20, out=tmp_path / "run", set=SMALL)
    assert what in str(told.value.got)


def test_dpo_needs_a_model_to_begin_from(tmp_path: Path) -> None:
    data = write(tmp_path / "p.jsonl", list(pairs("en", 400, 1)))
    kinds = ["training.objective.kind=preference", "training.objective.loss.kind=dpo"]
    with pytest.raises(StepwellError, match="init_from"):
        api.train(data=data, task="preference", steps=20, out=tmp_path / "run", set=[*SMALL, *kinds])
