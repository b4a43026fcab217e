"""The recipe as an object: changes by path, lengths that fit, ends that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.config import build, merge
from stepwell.errors import ConfigError
from stepwell.recipes import Recipe, fit_steps

WHOLE: dict[str, Any] = {
    "data": {"sources": ("novel.txt",)},
    "tokenizer": {"kind": "byte_bpe", "vocab_size": 512},
    "model": {"kind": "decoder", "vocab_size": 512, "max_seq_len": 64, "num_layers": 1, "d_model": 32,
              "num_heads": 2, "num_kv_heads": 2,
              "head_dim": 16, "d_ff": 64},
    "training": {"steps": 20, "global_batch_tokens": 256, "micro_batch": 2, "precision": "float32",
                 "optimizer": {"kind": "muon", "learning_rate": 0.02, "adamw_learning_rate": 0.003},
                 "schedule": {"kind": "wsd", "warmup_steps": 2}, "evaluate_every_steps": 5},
}  # fmt: skip


def recipe(**values: Any) -> Recipe:
    return build(Recipe, merge(WHOLE, values), where="test")


def test_a_change_by_path_leaves_the_rest() -> None:
    before = recipe()
    after = before.changed({"model.dropout": 0.1, "training.optimizer.learning_rate": 0.01})
    assert (after.value("model.dropout"), after.value("training.optimizer.learning_rate")) == (0.1, 0.01)
    assert before.value("model.dropout") == 0.0
    assert after.changed({"model.dropout": 0.0, "training.optimizer.learning_rate": 0.02}) == before


def test_the_weight_of_a_source_is_a_lever() -> None:
    steps = [{"kind": "mix", "weights": {"books": 1, "web": 3}}]
    before = recipe(data={"steps": steps}, study={"levers": {"data.steps.mix.weights.books": [2.0, 4.0]}})
    after = before.changed({"data.steps.mix.weights.books": 4.0})
    assert after.value("data.steps.mix.weights") == {"books": 4, "web": 3}
    assert before.value("data.steps.mix.weights.books") == 1
    with pytest.raises(ConfigError, match=r"weights\.book"):
        recipe(data={"steps": steps}, study={"levers": {"data.steps.mix.weights.book": [2.0]}})


@pytest.mark.parametrize("values", [{"model.depth": 2}, {"model.num_layers": 0}, {"nothing": 1}, {"model.head_dim": 3}])
def test_a_change_that_does_not_fit_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        recipe().changed(values)


def test_lora_changes_weights_that_are_there() -> None:
    lora = {"adapter": {"kind": "lora", "rank": 4, "targets": ["qkv"]}}
    with pytest.raises(ConfigError, match="init_from"):
        recipe(training=lora)
    with_lora = recipe(training=lora, init_from="somewhere")
    assert (with_lora.value("training.adapter.rank"), with_lora.value("training.adapter.alpha")) == (4, 32.0)
    assert with_lora.changed({"training.adapter": None}).value("training.adapter.rank") is None


@pytest.mark.parametrize("size", [511, 513])
def test_the_vocabulary_of_the_model_is_that_of_the_tokenizer(size: int) -> None:
    with pytest.raises(ConfigError, match=r"model\.vocab_size that is tokenizer\.vocab_size \(512\)"):
        recipe(model={"vocab_size": size})


@pytest.mark.parametrize(
    ("metric", "target", "fits"),
    [("bits_per_byte", 1.5, True), ("bits_per_byte", 0.0, False), ("bits_per_byte", 8.0, False),
     ("perplexity", 1.5, True), ("perplexity", 1.0, False), ("perplexity", 1e9, True),
     ("accuracy", 0.5, True), ("accuracy", 1.0, False)],
)  # fmt: skip
def test_targets_lie_where_the_metric_can_go(metric: str, target: float, fits: bool) -> None:
    if fits:
        assert recipe(metric=metric, target=target).target == target
    else:
        with pytest.raises(ConfigError, match=metric):
            recipe(metric=metric, target=target)


@pytest.mark.parametrize(("budget", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), (None, None)])
def test_the_budget_in_seconds(budget: str | None, seconds: float | None) -> None:
    assert recipe(budget=budget).budget_seconds == seconds


@pytest.mark.parametrize(
    ("steps", "since", "wanted"), [(1000, 0, 1000), (5, 0, 20), (-3, 0, 20), (100, 90, 110), (100, 400, 420)]
)
def test_steps_fit_what_was_done_already(steps: int, since: int, wanted: int) -> None:
    long = recipe(training={"steps": 500, "schedule": {"warmup_steps": 40}})
    fitted = fit_steps(long, steps, since=since)
    assert fitted.training.steps == wanted
    assert 1 <= fitted.training.schedule.warmup_steps <= max(1, wanted // 10)
    assert 1 <= fitted.training.evaluate_every_steps <= max(1, (wanted - since) // 10)


def test_a_longer_run_has_no_longer_warmup() -> None:
    assert fit_steps(recipe(), 10_000, since=0).training.schedule.warmup_steps == 2


@pytest.mark.parametrize(
    ("levers", "fault"),
    [
        ({"data.steps.clean.enabled": [False]}, "has no data.steps.clean.enabled"),
        ({"model.dropout": [2.0]}, "study.levers: model.dropout: dropout: wrong value"),
        ({"training.precision": ["int1"]}, "precision: wrong value"),
        ({"seed": [1]}, "within a section"),
        ({"data.document_bytes": [1024]}, "leave the splits alone"),
    ],
)
def test_a_lever_that_cannot_be_pulled_is_refused(levers: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        recipe(study={"levers": levers})
