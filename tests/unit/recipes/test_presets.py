"""Presets are recipes that hold together, and lie below what the user says."""

from __future__ import annotations

import pytest

from stepwell.config import build
from stepwell.errors import ConfigError
from stepwell.models import MODELS, build_model
from stepwell.recipes import PRESETS, begin_draft, derive_model, plan_for_tokens

FLAGS = {"data": {"sources": ["x.txt"]}}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_a_model(name):
    draft = begin_draft(flags=FLAGS, assignments=[f"preset={name}"])
    kind = draft.get("model.kind")
    plan = plan_for_tokens(1e5, unique_tokens=1e5, vocab_size=300, kind=kind)
    draft = draft.with_derived(derive_model(plan, vocab_size=300, reason="", kind=kind))
    config = build(MODELS[kind].config, draft.tree["model"], where="test")
    for path, value in PRESETS[name]["model"].items():
        given = config.model_dump()[path]
        assert given == value or value.items() <= given.items(), path
    assert sum(p.numel() for p in build_model(config).parameters()) == config.num_parameters


def test_what_the_user_says_is_stronger():
    draft = begin_draft(flags=FLAGS, assignments=["preset=llama", "model.gated=false", "model.norm.eps=1e-4"])
    assert draft.get("model.gated") is False
    assert draft.get("model.activation") == "silu"
    assert draft.tree["model"]["norm"] == {"kind": "rms", "eps": 1e-4}
    assert draft.origins["model.activation"] == "preset llama"
    assert draft.origins["model.gated"] == "--set"


def test_another_kind_replaces_the_model_of_a_preset():
    draft = begin_draft(flags=FLAGS, assignments=["preset=llama", "model.kind=lstm"])
    assert draft.tree["model"] == {"kind": "lstm"}


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ConfigError, match="lstm-textbook"):
        begin_draft(flags=FLAGS, assignments=["preset=lama"])
