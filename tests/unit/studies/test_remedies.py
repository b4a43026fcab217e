"""Every finding has a remedy, and a remedy turns its lever the right way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepwell.recipes import Recipe
from stepwell.studies.diagnosis import RULES, Finding
from stepwell.studies.remedies import REMEDIES, Change, propose

MakeRecipe = Callable[..., Recipe]


def remedies(name: str, recipe: Recipe) -> list[Change]:
    return propose([Finding(name, {}, name)], recipe)


def test_every_rule_has_a_remedy_and_every_remedy_a_rule() -> None:
    assert REMEDIES.keys() == {rule.__name__ for rule in RULES}
    assert all(REMEDIES.values())


def test_every_change_gives_a_recipe_that_holds_together(make_recipe: MakeRecipe) -> None:
    for name in REMEDIES:
        recipe = make_recipe(model={"num_layers": 4})
        for _ in range(30):  # again and again, as a long study may
            changes = remedies(name, recipe)
            if not changes:
                break
            changed = recipe.changed(changes[0].values)
            assert changed != recipe or not changes[0].values
            recipe = changed


@pytest.mark.parametrize("name", ["overfitting", "too_few_tokens", "tokenizer_misfit", "repetition"])
def test_levers_that_have_an_end_come_to_it(make_recipe: MakeRecipe, name: str) -> None:
    recipe = make_recipe(model={"num_layers": 4})
    for _ in range(30):
        changes = remedies(name, recipe)
        if not changes:
            return
        recipe = recipe.changed(changes[0].values)
    pytest.fail("there is no end")


@pytest.mark.parametrize(("name", "slower"), [("instability", True), ("learning_rate_too_high", True),
                                              ("learning_rate_too_low", False)])  # fmt: skip
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_rates(make_recipe: MakeRecipe, name: str, slower: bool, optimizer: str) -> None:
    rates: dict[str, Any] = {"kind": optimizer, "learning_rate": 0.01}
    if optimizer == "muon":
        rates["adamw_learning_rate"] = 0.002
    recipe = make_recipe(training={"optimizer": rates})
    change = remedies(name, recipe)[0]
    assert change.goes_on
    assert set(change.values) == {f"training.optimizer.{field}" for field in rates if field != "kind"}
    for path, value in change.values.items():
        assert (value < recipe.value(path)) is slower
    assert recipe.changed(change.values).training.optimizer.kind == optimizer


def test_more_of_the_same_changes_nothing_but_the_length(make_recipe: MakeRecipe) -> None:
    (change,) = remedies("underfitting", make_recipe())
    assert (change.values, change.goes_on, change.retrains) == ({}, True, True)


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5, 1.0])
def test_regularising_never_takes_away(make_recipe: MakeRecipe, decay: float) -> None:
    recipe = make_recipe(training={"optimizer": {"weight_decay": decay}}, model={"dropout": 0.15})
    (change,) = remedies("overfitting", recipe)
    assert change.values["model.dropout"] == 0.2
    assert change.values["training.optimizer.weight_decay"] >= max(decay, 0.1)


def test_an_optimizer_whose_decay_is_of_another_size_keeps_to_it(make_recipe: MakeRecipe) -> None:
    for optimizer, least, most in (("lion", 1.0, 8.0), ("sgd", 5e-4, 4e-3), ("adam", 1e-4, 1e-3)):
        rates = {"kind": optimizer, "learning_rate": 0.01, "weight_decay": 0.0}
        decays = []
        for dropout in (0.0, 0.0, 0.1, 0.1, 0.2, 0.3):
            recipe = make_recipe(training={"optimizer": rates}, model={"dropout": dropout})
            (change,) = remedies("overfitting", recipe)
            rates["weight_decay"] = change.values["training.optimizer.weight_decay"]
            decays.append(rates["weight_decay"])
        assert decays[0] == least
        assert decays == sorted(decays)
        assert decays[-1] == most


def test_growing_keeps_what_was_learned(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(model={"num_layers": 1, "residual_initialization": "same"})
    grow, longer = remedies("too_many_tokens", recipe)
    assert grow.values == {"model.num_layers": 2, "model.residual_initialization": "zero"}
    assert grow.goes_on
    assert longer.values == {}
    six = make_recipe(model={"num_layers": 6})
    assert remedies("too_many_tokens", six)[0].values["model.num_layers"] == 9


def test_shrinking_begins_anew_with_fewer_parameters(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(model={"num_layers": 4, "d_model": 256, "num_heads": 4, "num_kv_heads": 4, "head_dim": 64,
                                "d_ff": 1024})  # fmt: skip
    (change,) = remedies("too_few_tokens", recipe)
    assert not change.goes_on
    assert recipe.changed(change.values).model.num_parameters < recipe.model.num_parameters
    (less,) = remedies("too_few_tokens", make_recipe(model={"num_layers": 3, "d_model": 192, "d_ff": 768}))
    assert less.values["model.num_layers"] == 2
    assert remedies("too_few_tokens", make_recipe(model={"num_layers": 1})) == []


def test_a_smaller_vocabulary_begins_anew(make_recipe: MakeRecipe) -> None:
    (change,) = remedies("tokenizer_misfit", make_recipe())
    assert change.values == {"tokenizer.vocab_size": 320, "model.vocab_size": 320}
    assert not change.goes_on
    assert remedies("tokenizer_misfit", make_recipe().changed(change.values)) == []


def test_decoding_needs_no_training(make_recipe: MakeRecipe) -> None:
    (change,) = remedies("repetition", make_recipe())
    assert change.values == {"decoding.repetition_penalty": 1.1}
    assert not change.retrains


def test_the_most_urgent_comes_first(make_recipe: MakeRecipe) -> None:
    findings = [Finding(name, {}, name) for name in ("instability", "too_many_tokens", "underfitting")]
    changes = propose(findings, make_recipe())
    assert [change.finding.name for change in changes] == [
        "instability", "too_many_tokens", "too_many_tokens", "underfitting"
    ]  # fmt: skip
    assert propose([], make_recipe()) == []
