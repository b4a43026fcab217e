"""A draft: layer over layer, each value with where it came from, every wrong name caught at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stepwell.config import build, flatten
from stepwell.errors import ConfigError, UsageError
from stepwell.recipes import Draft, Recipe, begin_draft, read_recipe_file, write_recipe

FLAGS: dict[str, Any] = {"data": {"sources": ["novel.txt"]}}

WHOLE: dict[str, Any] = {
    "data": {"sources": ("novel.txt",)},
    "tokenizer": {"kind": "byte_bpe", "vocab_size": 512},
    "model": {"kind": "decoder", "vocab_size": 512, "max_seq_len": 64, "num_layers": 1, "d_model": 32,
              "num_heads": 2, "num_kv_heads": 2,
              "head_dim": 16, "d_ff": 64},
    "training": {"steps": 20, "global_batch_tokens": 256, "micro_batch": 2, "optimizer": {"learning_rate": 0.001},
                 "schedule": {"warmup_steps": 2}, "precision": "float32", "evaluate_every_steps": 5},
}  # fmt: skip
WHOLE["training"]["optimizer"]["kind"] = "adamw"
WHOLE["training"]["schedule"]["kind"] = "wsd"


def recipe_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_later_layers_win_and_each_value_knows_its_layer(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "budget: 1h\nseed: 1\ndata:\n  sources: novel.txt\n  test_ratio: 0.2\n")
    draft = begin_draft(path, flags={"budget": "20m", "metric": "accuracy"}, assignments=["metric=perplexity"])
    assert (draft.get("budget"), draft.get("seed"), draft.get("metric")) == ("20m", 1, "perplexity")
    assert draft.get("data") == {"sources": "novel.txt", "test_ratio": 0.2}
    assert draft.origins == {
        "budget": "flag",
        "seed": "recipe file",
        "metric": "--set",
        "data.sources": "recipe file",
        "data.test_ratio": "recipe file",
    }


def test_what_the_user_said_is_never_overwritten_by_what_is_derived() -> None:
    draft = begin_draft(flags=FLAGS, assignments=["training.optimizer.kind=adamw", "model.num_layers=1"])
    derived = {
        "training.optimizer.kind": ("muon", "needs the fewest steps"),
        "model.num_layers": (6, "depth 6"),
        "model.d_model": (384, "depth 6"),
    }
    after = draft.with_derived(derived)
    assert after.get("training.optimizer.kind") == "adamw"
    assert after.get("model.num_layers") == 1
    assert after.get("model.d_model") == 384
    assert after.origins["model.num_layers"] == "--set"
    assert after.origins["model.d_model"] == "derived: depth 6"
    assert draft.get("model.d_model") is None  # a draft is a value, not a place


def test_what_is_derived_first_stays() -> None:
    draft = Draft({}).with_derived({"model.num_layers": (2, "a")}).with_derived({"model.num_layers": (3, "b")})
    assert draft.get("model.num_layers") == 2
    assert draft.origins["model.num_layers"] == "derived: a"


def test_a_value_set_to_null_is_said_too() -> None:
    draft = begin_draft(flags=FLAGS, assignments=["training.patience=null"]).with_derived(
        {"training.patience": (4, "")}
    )
    assert draft.get("training.patience") is None


@pytest.mark.parametrize(
    ("assignment", "path", "nearest"),
    [
        ("model.num_layer=2", "model.num_layer", "num_layers"),
        ("modle.num_layers=2", "modle", "model"),
        ("training.optimizer.learning_rat=0.1", "training.optimizer", "learning_rate"),
        ("training.schedule.warmup=3", "training.schedule", "warmup_steps"),
        ("data.source=x", "data.source", "sources"),
        ("study.max_round=2", "study.max_round", "max_rounds"),
        ("decoding.temprature=1", "decoding.temprature", "temperature"),
        ("budjet=20m", "budjet", "budget"),
    ],
)
def test_an_unknown_field_names_its_path_and_the_nearest_right_name(assignment: str, path: str, nearest: str) -> None:
    kinds = ["training.optimizer.kind=muon", "training.schedule.kind=wsd"]
    with pytest.raises(ConfigError) as caught:
        begin_draft(flags=FLAGS, assignments=[*kinds, assignment])
    assert path in caught.value.what
    assert "unknown field" in caught.value.what
    assert caught.value.do == f"did you mean {nearest}?"


@pytest.mark.parametrize(
    "assignment",
    [
        "model.num_layers=two",
        "model.num_layers=0",
        "model.num_layers=1.5",
        "training.steps=-1",
        "training.precision=float16",
        "training.optimizer.kind=sgdw",
        "metric=bleu",
        "task=poetry",
        "budget=soon",
        "budget=-5m",
        "seed=-1",
        "study.first_round_ratio=0",
        "target=.nan",
        "data.sources=[]",
        "data.test_ratio=2",
        "model=7",
    ],
)
def test_a_wrong_value_names_its_path(assignment: str) -> None:
    with pytest.raises(UsageError) as caught:
        begin_draft(flags=FLAGS, assignments=[assignment])
    path = assignment.partition("=")[0].removesuffix(".kind")
    assert path.rpartition(".")[2] in caught.value.what
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("metric", "target"),
    [("bits_per_byte", -1), ("bits_per_byte", 0), ("bits_per_byte", 9), ("perplexity", 0.5), ("accuracy", 2),
     ("accuracy", 0), ("accuracy", 1)],
)  # fmt: skip
def test_a_target_that_no_model_can_reach_is_refused_before_any_text_is_read(metric: str, target: float) -> None:
    with pytest.raises(UsageError) as caught:
        begin_draft(flags={**FLAGS, "metric": metric, "target": target})
    assert "target" in str(caught.value)
    assert "between" in str(caught.value.wanted)


def test_a_target_without_a_metric_is_one_of_bits_per_byte() -> None:
    assert begin_draft(flags={**FLAGS, "target": 1.5}).get("target") == 1.5
    with pytest.raises(UsageError):
        begin_draft(flags={**FLAGS, "target": 8.5})


def test_without_sources_there_is_nothing_to_read() -> None:
    with pytest.raises(UsageError, match="nothing to read"):
        begin_draft(flags={"budget": "20m"})


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"a: [1", ConfigError), (b"- a\n- b\n", ConfigError), (b"", ConfigError), (b"just words", ConfigError),
     (b"\xff\xfe\x00a", UsageError), (b"a: &x [*x]\nb: !!python/object:os.system {}\n", ConfigError)],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes, kind: type[Exception]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(kind, match=r"recipe\.yaml"):
        read_recipe_file(path)


def test_no_such_recipe_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such recipe"):
        read_recipe_file(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe_file(tmp_path)


AWKWARD: list[dict[str, Any]] = [
    {},
    {"budget": "1h30m", "target": 1.5, "seed": 2**40},
    {"data": {"sources": ["a: b.txt", "# no comment", "日本 語.txt", "line\nbreak", "'\"", "*.md", "null", "1.0", ""]}},
    {"decoding": {"stop": ["\n\n", "---", "~", "yes", "\t", "\u2028", "\x07"], "top_p": None}},
    {"study": {"prompts": ["Once: upon # a time", "%TAG", "- x", "? y", "👩‍👧 好"]}},
    {"training": {"optimizer": {"learning_rate": 1e-05, "eps": 1e-12}}},
]


@pytest.mark.parametrize("values", AWKWARD, ids=range(len(AWKWARD)))
def test_a_written_recipe_reads_back_equal(tmp_path: Path, values: dict[str, Any]) -> None:
    draft = Draft(WHOLE).plus(values, "--set")
    recipe = draft.finish()
    origins = dict.fromkeys(flatten(recipe.model_dump()), "derived: because\nof # this: 'and' \"that\"")
    path = recipe_file(tmp_path, write_recipe(recipe, origins))
    tree = read_recipe_file(path)
    assert build(Recipe, tree, where="test") == recipe
    assert begin_draft(path).finish() == recipe
    assert write_recipe(begin_draft(path).finish(), origins) == path.read_text(encoding="utf-8")


def test_a_written_recipe_says_where_each_value_came_from() -> None:
    draft = Draft(WHOLE).with_derived({"study.max_rounds": (5, "five are enough")})
    text = write_recipe(draft.finish(), draft.origins)
    assert "  max_rounds: 5  # derived: five are enough" in text.splitlines()
    assert yaml.safe_load(text)["study"]["max_rounds"] == 5


@pytest.mark.parametrize("more", [["model.kind=encoder"], ["init_from=somewhere"]])
def test_fields_of_an_objective_belong_to_the_family(more):
    """Nobody has to say that an encoder learns from hidden tokens before saying how many are hidden."""
    draft = begin_draft(flags=FLAGS, assignments=["training.objective.mask_ratio=0.2", *more])
    assert draft.get("training.objective.mask_ratio") == 0.2


def test_fields_of_another_objective_are_refused():
    with pytest.raises(ConfigError, match="mask_ratio"):
        begin_draft(flags=FLAGS, assignments=["training.objective.mask_ratio=0.2", "model.kind=lstm"])


def test_steps_are_named_by_their_kind(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "data:\n  sources: novel.txt\n  steps: [clean]\n")
    draft = begin_draft(path, assignments=["data.steps.clean.control_characters=false"])
    assert [step.model_dump()["control_characters"] for step in draft.data.steps] == [False]
    mapping = begin_draft(flags=FLAGS, assignments=["data.steps.clean.enabled=false"])
    assert [(step.kind, step.enabled) for step in mapping.data.steps] == [("clean", False)]
    assert [step.kind for step in begin_draft(flags=FLAGS, assignments=["data.steps=clean"]).data.steps] == ["clean"]
    with pytest.raises(ConfigError, match="each step once"):
        begin_draft(recipe_file(tmp_path, "data:\n  sources: a\n  steps: [clean, clean]\n"))
    with pytest.raises(ConfigError, match=r"steps\.0: unknown kind\n.*cleen\n.*one of clean, .*\n.*did you mean clean"):
        begin_draft(recipe_file(tmp_path, "data:\n  sources: a\n  steps: [cleen]\n"))


def test_a_written_recipe_has_a_line_for_each_setting_of_a_step() -> None:
    steps = [{"kind": "clean", "control_characters": False}]
    recipe = build(Recipe, WHOLE | {"data": {"sources": ("novel.txt",), "steps": steps}}, where="test")
    text = write_recipe(recipe, {"data.steps": "recipe file"})
    assert "  steps:  # recipe file\n    - kind: clean\n" in text
    assert build(Recipe, yaml.safe_load(text), where="test") == recipe
    changed = recipe.changed({"data.steps.clean.enabled": False})
    assert changed.value("data.steps.clean.enabled") is False
    assert recipe.value("data.steps.clean.enabled") is True
    assert recipe.value("data.steps.quality.enabled") is None
