"""What is chosen when the user says nothing: pure functions with the properties one expects of them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.config import build, flatten, merge
from stepwell.models import MODELS, DecoderConfig, decoder_sized
from stepwell.optimization import OPTIMIZERS, SCHEDULES
from stepwell.recipes import (
    MAX_SEQ_LEN,
    Draft,
    Plan,
    Recipe,
    choose_plan,
    derive_dropout,
    derive_from_checkpoint,
    derive_model,
    derive_tokenizer,
    derive_training,
    fitting_rows,
    predicted_loss,
    train_defaults,
)
from stepwell.recipes.derive import derive_rates

TOKENS = st.floats(1e4, 1e10)
GIGABYTE = 2**30


def plan_in(seconds: float, unique_tokens: float = 1e6, speed: float = 5e4) -> Plan:
    """A plan on a machine that trains one layer at `speed` tokens a second, and deeper ones as the cube of depth."""
    return choose_plan(lambda depth: seconds * speed / depth**3, unique_tokens=unique_tokens, vocab_size=2048)


@given(parameters=st.floats(1e4, 1e9), tokens=TOKENS, more=st.floats(1.01, 100), unique=TOKENS)
def test_the_predicted_loss_never_rises_with_more_tokens(
    parameters: float, tokens: float, more: float, unique: float
) -> None:
    """Of fixed text: repeating helps less and less, but never harms in this law."""
    once = min(tokens, unique)
    assert predicted_loss(parameters, once * more, unique) <= predicted_loss(parameters, once, unique) + 1e-9


@given(parameters=st.floats(1e4, 1e8), more=st.floats(1.01, 100), tokens=TOKENS)
def test_the_predicted_loss_never_rises_with_parameters_at_equal_tokens(
    parameters: float, more: float, tokens: float
) -> None:
    assert predicted_loss(parameters * more, tokens, tokens) <= predicted_loss(parameters, tokens, tokens) + 1e-9


def test_parameters_help_only_up_to_a_point() -> None:
    losses = [predicted_loss(10.0**n, 1e6, 1e6) for n in range(4, 13)]
    gains = [before - after for before, after in pairwise(losses)]
    assert gains[0] > 0.1
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < gains[0] / 100
    assert min(losses) > 1.87  # the entropy of the text is never passed


def test_fresh_text_is_worth_more_than_repeated_text() -> None:
    assert predicted_loss(1e6, 1e8, 1e8) < predicted_loss(1e6, 1e8, 1e6)
    few, many = (predicted_loss(1e6, 1e6 * epochs, 1e6) for epochs in (2, 4))
    late, later = (predicted_loss(1e6, 1e6 * epochs, 1e6) for epochs in (200, 400))
    assert few - many > late - later


@pytest.mark.parametrize("unique_tokens", [1e4, 1e6, 1e9])
def test_more_time_never_gives_fewer_tokens_or_a_smaller_model(unique_tokens: float) -> None:
    plans = [plan_in(30 * 2.0**n, unique_tokens) for n in range(16)]
    for before, after in pairwise(plans):
        assert after.depth >= before.depth
        assert after.predicted_loss <= before.predicted_loss + 1e-9
    assert plans[-1].depth > plans[0].depth


@given(seconds=st.floats(1, 1e6), depth=st.integers(1, 32))
def test_the_chosen_plan_is_the_best_of_all(seconds: float, depth: int) -> None:
    chosen = plan_in(seconds)
    other = choose_plan(
        lambda depth: seconds * 5e4 / depth**3, unique_tokens=1e6, vocab_size=2048, depths=range(depth, depth + 1)
    )
    assert chosen.predicted_loss <= other.predicted_loss
    assert chosen.tokens == max(1.0, seconds * 5e4 / chosen.depth**3)
    assert chosen.epochs == pytest.approx(chosen.tokens / 1e6)


def test_a_plan_of_no_time_is_still_a_plan() -> None:
    plan = plan_in(0.0)
    assert plan.depth >= 1
    assert math.isfinite(plan.predicted_loss)


def test_dropout_grows_with_repetition() -> None:
    values = [derive_dropout(epochs) for epochs in (0.1, 1, 5, 6, 10, 20, 1000)]
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] < 0.5


@given(tokens=TOKENS, more=st.floats(1, 1000), steps=st.none() | st.integers(1, 10**6))
def test_batches_and_rates_grow_with_the_tokens(tokens: float, more: float, steps: int | None) -> None:
    model = decoder_sized(2, vocab_size=1024, max_seq_len=MAX_SEQ_LEN)
    few, many = (
        derive_training(model, tokens=count, steps=steps, precision="float32", memory_bytes=64 * GIGABYTE)
        for count in (tokens, tokens * more)
    )
    for path in ("training.global_batch_tokens", "training.optimizer.learning_rate"):
        assert many[path][0] >= few[path][0]
    assert many["training.optimizer.adamw_learning_rate"][0] >= few["training.optimizer.adamw_learning_rate"][0]
    batch = few["training.global_batch_tokens"][0]
    assert math.log2(batch).is_integer()
    if steps is None:
        assert few["training.steps"][0] == max(20, round(tokens / batch))
    else:
        assert few["training.steps"][0] == steps
    assert few["training.schedule.warmup_steps"][0] <= few["training.steps"][0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("steps", [None, 1, 20, 10**6])
@pytest.mark.parametrize("seconds", [1.0, 1e5])
def test_every_derived_path_is_a_field_of_the_recipe(optimizer: str, steps: int | None, seconds: float) -> None:
    """What is derived completes a draft that says nothing but where the text is."""
    plan = plan_in(seconds)
    model = derive_model(plan, vocab_size=2048, reason="a test")
    draft = Draft({"data": {"sources": ["x"]}, "tokenizer": {"kind": "byte_bpe", "vocab_size": 2048}}).with_derived(
        model
    )
    built = build(DecoderConfig, draft.tree["model"], where="test")
    training = derive_training(
        built, tokens=plan.tokens, steps=steps, precision="float32", memory_bytes=GIGABYTE, optimizer=optimizer
    )
    recipe = draft.with_derived(training).finish()
    for path, (value, reason) in {**model, **training}.items():
        assert recipe.value(path) == value, path
        assert reason
    defaults = Recipe.model_fields.keys()
    assert {path.partition(".")[0] for path in (*model, *training)} <= defaults
    assert recipe.training == train_defaults(training)
    assert recipe.training.optimizer.kind == optimizer


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("objective", ["causal", "prefix", "sequence_to_sequence"])
def test_what_is_learned_decides_what_a_prompt_is(kind: str, objective: str) -> None:
    """For a new model and for one that begins from a checkpoint; what a family cannot learn is left to the recipe."""
    wanted = {"prefix": "prefix", "sequence_to_sequence": "source"}.get(objective)
    wanted = wanted if objective in MODELS[kind].objectives else None
    derived = derive_model(plan_in(60.0), vocab_size=512, reason="a test", kind=kind, objective=objective)
    config = MODELS[kind].sized(1, vocab_size=512, max_seq_len=64)
    begun = derive_from_checkpoint("x", "/x", config, 512, objective)
    assert begun.get("model.prompt", (None,))[0] == (wanted or config.model_dump().get("prompt"))
    assert derived.get("model.prompt", (None,))[0] == wanted
    values = {path.removeprefix("model."): value for path, (value, _) in derived.items() if path.startswith("model.")}
    assert build(MODELS[kind].config, values, where="test").model_dump().get("prompt") in (wanted, "continue", None)


def test_what_the_user_chose_decides_what_is_derived_from_it() -> None:
    """AdamW has one rate, and none of Muon's fields may be derived for it."""
    model = decoder_sized(1, vocab_size=1024, max_seq_len=MAX_SEQ_LEN)
    derived = derive_training(
        model, tokens=1e6, steps=None, precision="float32", memory_bytes=GIGABYTE, optimizer="adamw"
    )
    assert not [path for path in derived if "adamw_learning_rate" in path]
    tree = {"training": {"optimizer": {"kind": "adamw", "learning_rate": 0.5}, "steps": 7}}
    training = Draft(tree).with_derived(derived).tree["training"]
    assert (training["optimizer"]["learning_rate"], training["steps"]) == (0.5, 7)
    assert flatten(merge(training, tree["training"])) == flatten(training)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", [None, *SCHEDULES])
def test_every_schedule_goes_with_every_optimizer(optimizer: str, schedule: str | None) -> None:
    model = decoder_sized(1, vocab_size=1024, max_seq_len=MAX_SEQ_LEN)
    facts = {"tokens": 1e6, "steps": 100, "precision": "float32", "memory_bytes": GIGABYTE}
    derived = derive_training(model, optimizer=optimizer, schedule=schedule, **facts)
    training = train_defaults(derived)
    usual = "constant" if optimizer == "schedule_free_adamw" else "wsd"
    assert training.schedule.kind == (schedule or usual)
    assert training.schedule.warmup_steps == (30 if schedule == "one_cycle" else 10)
    assert derived["training.optimizer.learning_rate"][1]


def test_rates_of_other_optimizers_are_told_beside_adamws() -> None:
    adamw, lion, sgd = (
        derive_rates("decoder", kind, 2048)["training.optimizer.learning_rate"] for kind in ("adamw", "lion", "sgd")
    )
    assert (adamw[0], lion[0], sgd[0]) == pytest.approx((0.003, 0.001, 0.3))
    assert "a third of AdamW's" in lion[1]


def test_a_low_rank_change_has_ten_times_the_rate_of_trained_weights() -> None:
    model = decoder_sized(1, vocab_size=1024, max_seq_len=MAX_SEQ_LEN)
    path, facts = "training.optimizer.learning_rate", {"tokens": 1e6, "steps": None, "precision": "float32"}
    plain, small, change = (
        derive_training(model, memory_bytes=GIGABYTE, optimizer="adamw", **facts, **begun)[path]
        for begun in ({}, {"pretrained": True}, {"pretrained": True, "adapter": "lora"})
    )
    assert small[0] == pytest.approx(0.03 * plain[0], rel=1e-2)
    assert change[0] == pytest.approx(10 * small[0], rel=1e-2)
    assert "LoRA" in change[1]


@given(depth=st.integers(1, 16), rows=st.integers(1, 512), memory=st.floats(1e6, 1e12), vocab=st.integers(300, 65536))
def test_micro_batches_fit_into_memory(depth: int, rows: int, memory: float, vocab: int) -> None:
    model = decoder_sized(depth, vocab_size=vocab, max_seq_len=MAX_SEQ_LEN)
    fitting = fitting_rows(model, rows, memory)
    assert 1 <= fitting <= rows
    assert fitting_rows(model, rows, 10 * memory) >= fitting
    assert fitting_rows(model, rows, 1e18) == rows


@pytest.mark.parametrize(
    ("factor", "characters_share", "size", "why"),
    [(1, 0.0, 1024, "1.0 MB to learn from"), (1, 0.1, 1024, "1.0 MB to learn from"),
     (1, 0.97, 4096, "2.9 times that for its characters"), (4, 0.5, 4096, "4 times that for the task")],
)  # fmt: skip
def test_a_vocabulary_for_characters(factor: float, characters_share: float, size: int, why: str) -> None:
    derived = derive_tokenizer(
        1_000_000, kind="byte_bpe", objective="causal", factor=factor, characters_share=characters_share
    )
    found, reason = derived["tokenizer.vocab_size"]
    assert (found, why in reason) == (size, True)
