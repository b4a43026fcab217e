"""Every verb on a small trained model, through the real command, for a person and for a program."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from stepwell import api
from stepwell.errors import UsageError

Command = Callable[..., Any]

SMALL = ["tokenizer.vocab_size=400", "model.num_layers=1", "model.d_model=32", "model.num_heads=2",
         "model.num_kv_heads=1", "model.head_dim=16", "model.d_ff=64", "model.max_seq_len=64",
         "study.sample_tokens=20"]  # fmt: skip
PROMPT = "The old teacher"


def json_of(ran: Any) -> dict[str, Any]:
    """The one JSON object on standard output of a command that went well."""
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 1
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_every_command_is_a_function_of_the_same_name() -> None:
    from stepwell.cli.main import app

    commands = {info.callback.__name__: info.callback for info in app.registered_commands if info.callback}
    verbs = {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    assert set(commands) | {"stream", "find_rate", "answer_rows"} == verbs  # other forms of predict and train
    renamed = {
        "set_": "set",
        "input_": None,
        "prompt": "prompts",
        "json": None,
        "stop": None,
        "n": None,
        "no_parity": "parity",
        "find_lr": "recipe",
        "show_dropped": None,
        "rows": None,
    }
    sampling = {"max_tokens", "temperature", "top_k", "top_p", "min_p", "seed"}
    for name, command in commands.items():
        wanted = {renamed.get(one, one) for one in inspect.signature(command).parameters} - sampling - {None}
        verb = api.find_rate if name == "doctor" else getattr(api, name)
        assert wanted <= set(inspect.signature(verb).parameters), name
        assert "json" in inspect.signature(command).parameters, name


def test_help_and_version(stepwell: Command) -> None:
    from stepwell import __version__
    from stepwell.cli.main import app

    assert stepwell("--version").out == f"stepwell {__version__}\n"
    whole = stepwell("--help")
    assert (whole.code, whole.err) == (0, "")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert name in whole.out
        one = stepwell(name, "--help")
        assert one.code == 0
        assert "--json" in one.out
    bare = stepwell()
    assert "Commands" in bare.out
    assert bare.err == ""


@pytest.mark.slow
def test_train_twice_gives_the_same_bytes(trained_run: Path, tmp_path: Path) -> None:
    again = api.train(text=trained_run.parent / "text.txt", steps=20, out=tmp_path / "again", set=SMALL)
    for name in ("best", "step-000020"):
        folder = Path("rounds") / "01" / "checkpoints" / name
        assert weights(trained_run / folder) == weights(tmp_path / "again" / folder)
    assert (again["steps"], again["metric"]) == (20, "bits_per_byte")
    assert again["low"] < again["value"] < again["high"]


@pytest.mark.slow
def test_train_with_another_seed_gives_other_bytes(trained_run: Path, tmp_path: Path) -> None:
    api.train(text=trained_run.parent / "text.txt", steps=20, out=tmp_path / "other", set=[*SMALL, "seed=1"])
    folder = Path("rounds") / "01" / "checkpoints" / "step-000020"
    assert weights(trained_run / folder) != weights(tmp_path / "other" / folder)


def test_train_again_in_the_same_place_is_done_at_once(stepwell: Command, trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    events: list[Any] = []
    result = api.train(out=tmp_path / "run", watch=events.append)
    assert result["steps"] == 20
    assert not [event for event in events if type(event).__name__ == "StepDone"]
    shown = stepwell("train", "--out", tmp_path / "run")
    assert shown.code == 0
    assert "20 steps" in shown.out


@pytest.mark.slow
def test_a_run_from_the_resolved_recipe_of_another(trained_run: Path, tmp_path: Path) -> None:
    api.train(trained_run / "recipe.yaml", out=tmp_path / "again")
    folder = Path("rounds") / "01" / "checkpoints" / "step-000020"
    assert weights(trained_run / folder) == weights(tmp_path / "again" / folder)


def test_what_the_user_set_is_in_the_resolved_recipe_with_its_origin(tmp_path: Path, trained_run: Path) -> None:
    import yaml

    values = [*SMALL, "training.optimizer.kind=adamw", "training.patience=null"]
    api.train(text=trained_run.parent / "text.txt", steps=3, out=tmp_path / "run", set=values)
    text = (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text)
    assert (recipe["model"]["num_layers"], recipe["training"]["optimizer"]["kind"]) == (1, "adamw")
    assert recipe["training"]["patience"] is None
    assert recipe["training"]["steps"] == 3
    assert "num_layers: 1  # --set" in text
    assert "steps: 3  # flag" in text
    assert "# derived: " in text


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_few_steps(trained_run: Path, tmp_path: Path, steps: int) -> None:
    result = api.train(text=trained_run.parent / "text.txt", steps=steps, out=tmp_path / "run", set=SMALL)
    assert result["steps"] == steps
    assert math.isfinite(result["value"])


def test_a_text_with_fewer_tokens_than_asked_for(tmp_path: Path) -> None:
    """Few different words give few pairs to merge: the vocabulary is as large as the text makes it."""
    import random

    rng = random.Random(0)
    words = ["aa", "ab", "ba", "bb"]
    pages = [" ".join(rng.choice(words) for _ in range(60)) for _ in range(200)]
    (tmp_path / "few.txt").write_text("\n\n".join(pages), encoding="utf-8")
    tiny = [value for value in SMALL if not value.startswith("tokenizer")]
    api.train(text=tmp_path / "few.txt", steps=2, out=tmp_path / "run", set=[*tiny, "tokenizer.vocab_size=20000"])
    recipe = (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    assert "all that the text gives of 20,000" in recipe
    completion = api.predict(tmp_path / "run", "aa", {"max_tokens": 3})[0][0]
    assert len(completion.token_ids) <= 3
    again = api.train(tmp_path / "run" / "recipe.yaml", out=tmp_path / "run")
    assert again["steps"] == 2


@pytest.mark.slow
def test_steps_that_the_user_set_shape_what_is_derived(trained_run: Path, tmp_path: Path) -> None:
    """A warm-up that was derived for another length would not fit."""
    planned = api.plan(text=trained_run.parent / "text.txt", out=tmp_path / "run", set=[*SMALL, "training.steps=15"])
    assert planned["training"]["steps"] == 15
    assert planned["training"]["schedule"]["warmup_steps"] < 15
    batch, passes = planned["training"]["global_batch_tokens"], planned["epochs"]
    fewer = api.plan(text=trained_run.parent / "text.txt", out=tmp_path / "fewer", set=[*SMALL, "training.steps=5",
                     f"training.global_batch_tokens={batch}"])  # fmt: skip
    assert fewer["epochs"] == pytest.approx(passes / 3, abs=0.02)  # what is told is what is trained


@pytest.mark.parametrize("weights", ["plain", "auto"])
def test_predict_streams_the_prompt_and_what_follows(stepwell: Command, trained_run: Path, weights: str) -> None:
    words = ["predict", trained_run, "--prompt", PROMPT, "--max-tokens", 8, "--seed", 3, "--weights", weights]
    shown = stepwell(*words)
    assert shown.code == 0
    assert shown.out.startswith(PROMPT)
    assert shown.out.endswith("\n")
    (one,) = json_of(stepwell(*words, "--json"))["completions"]
    assert shown.out == f"{PROMPT}{one['text']}\n"
    assert one["prompt"] == PROMPT
    assert len(one["token_ids"]) <= 8
    assert one["finish_reason"] in ("length", "stop")


@pytest.mark.parametrize("weights", ["plain", "auto"])
def test_one_prompt_is_streamed_at_a_time(trained_run: Path, weights: str) -> None:
    with pytest.raises(UsageError, match="one at a time"):
        api.stream(trained_run, [PROMPT, PROMPT], weights=weights)


def test_predict_seeds_and_samples(stepwell: Command, trained_run: Path) -> None:
    def texts(*words: object) -> list[str]:
        found = json_of(stepwell("predict", trained_run, "--prompt", PROMPT, "--max-tokens", 12, "--json", *words))
        return [one["text"] for one in found["completions"]]

    three = texts("-n", 3, "--seed", 5)
    assert len(set(three)) == 3
    assert texts("-n", 3, "--seed", 5) == three
    assert texts("-n", 1, "--seed", 5) == three[:1]
    assert texts("-n", 3, "--seed", 6) != three
    assert texts("--temperature", 0) == texts("--temperature", 0) == texts("--top-k", 1)


def test_predict_stops_before_a_text(stepwell: Command, trained_run: Path) -> None:
    words = ["predict", trained_run, "--prompt", PROMPT, "--max-tokens", 20, "--temperature", 0, "--json"]
    whole = json_of(stepwell(*words))["completions"][0]["text"]
    end = whole[4:6]
    found = json_of(stepwell(*words, "--stop", end, "never this"))["completions"][0]
    assert found["text"] == whole[: whole.index(end)]
    assert found["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_predict_a_file_of_prompts(stepwell: Command, trained_run: Path, tmp_path: Path, kind: str) -> None:
    prompts = [PROMPT, "老渔夫在河边", "the"]
    lines = prompts if kind == "txt" else [json.dumps({"prompt": prompt, "id": 1}) for prompt in prompts]
    (tmp_path / f"prompts.{kind}").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    words = ["predict", trained_run, "--input", tmp_path / f"prompts.{kind}", "--max-tokens", 5, "--seed", 1]
    found = json_of(stepwell(*words, "-n", 2, "--json"))["completions"]
    assert [(one["prompt"], one["index"]) for one in found] == [(prompt, n) for prompt in prompts for n in (0, 1)]
    shown = stepwell(*words)
    assert [prompt for prompt in prompts if prompt in shown.out] == prompts


@pytest.mark.parametrize(
    ("more", "said"), [([], "no answer to learn from"), (["-n", 2], "one answer each"), (["--chat"], "one answer each")]
)
def test_rows_of_what_is_no_answer_are_refused_and_leave_no_file(
    stepwell: Command, trained_run: Path, tmp_path: Path, more: list[object], said: str
) -> None:
    found = stepwell("predict", trained_run, "--prompt", PROMPT, "--rows", tmp_path / "rows.jsonl", *more)
    assert found.code != 0
    assert said in " ".join(found.err.split())
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize(
    "text", ["The miller forgot seven letters.", "老渔夫在河边带来了一盏灯。", "\x00\U0001f409 <|endoftext|>"]
)
def test_score_sums_up(stepwell: Command, trained_run: Path, text: str) -> None:
    found = json_of(stepwell("score", trained_run, "--text", text, "--json"))
    logprobs = [token["logprob"] for token in found["tokens"]]
    assert all(logprob <= 0 for logprob in logprobs)
    assert all(isinstance(token["id"], int) and isinstance(token["token"], str) for token in found["tokens"])
    total = sum(logprobs)
    assert total == pytest.approx(found["logprob"], abs=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(-total / len(logprobs)), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(-total / math.log(2) / len(text.encode()), rel=1e-4)
    assert stepwell("score", trained_run, "--text", text).code == 0


def test_evaluate_says_what_score_says(stepwell: Command, trained_run: Path, tmp_path: Path) -> None:
    """One document that goes on is scored the same way, but for the end token that the file ends with."""
    text = "The miller forgot seven letters by the river. " * 12 + "老渔夫带来了一盏灯。"
    (tmp_path / "page.txt").write_text(text, encoding="utf-8")
    found = json_of(stepwell("evaluate", trained_run, "--data", tmp_path / "page.txt", "--json"))
    assert found["num_examples"] == 1
    scored = json_of(stepwell("score", trained_run, "--text", text, "--json"))
    assert found["num_tokens"] == len(scored["tokens"]) + 1
    nats = found["metrics"]["loss"]["value"] * found["num_tokens"]
    end = nats + scored["logprob"]
    assert 0 < end < 20  # the end token's own nats
    assert found["metrics"]["bits_per_byte"]["value"] == pytest.approx(nats / math.log(2) / len(text.encode()))
    assert found["metrics"]["loss"]["low"] is None  # one document says nothing about others


def test_evaluate(stepwell: Command, trained_run: Path) -> None:
    found = json_of(stepwell("evaluate", trained_run, "--data", trained_run.parent / "text.txt", "--json"))
    assert found.keys() == {"task", "scoring", "num_examples", "num_tokens", "metrics", "errors"}
    assert found["task"] == "language_modeling"
    assert found["num_examples"] > 10
    assert {"bits_per_byte", "perplexity", "loss", "accuracy"} <= found["metrics"].keys()
    for interval in found["metrics"].values():
        assert interval.keys() == {"value", "low", "high"}
        assert interval["low"] < interval["value"] < interval["high"]
    shown = stepwell("evaluate", trained_run, "--data", trained_run.parent / "text.txt")
    assert f"{found['metrics']['bits_per_byte']['value']:.4f}" in shown.out


@pytest.mark.slow
def test_compare(stepwell: Command, trained_run: Path, tmp_path: Path) -> None:
    text = trained_run.parent / "text.txt"
    shutil.copytree(trained_run / "rounds" / "01" / "checkpoints" / "best", tmp_path / "same")
    same = json_of(stepwell("compare", trained_run, tmp_path / "same", "--data", text, "--json"))
    assert same["num_examples"] > 10
    assert same["examples"] == {"first": [], "second": []}
    for found in same["metrics"].values():
        assert found["first"] == found["second"]
        assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert found["better"] is None
    fresh = json_of(stepwell("train", "--text", text, "--steps", "1", "--out", tmp_path / "run", "--json", "--set",
                             *SMALL, "tokenizer.vocab_size=300"))  # fmt: skip
    assert fresh["steps"] == 1
    other = json_of(stepwell("compare", tmp_path / "run", trained_run, "--data", text, "--json"))
    assert list(other["metrics"]) == ["bits_per_byte"]  # of two tokenizers
    bits = other["metrics"]["bits_per_byte"]
    assert bits["better"] == "second"
    assert bits["difference"]["low"] > 0
    own = json_of(stepwell("evaluate", trained_run, "--data", text, "--json"))
    assert bits["second"] == own["metrics"]["bits_per_byte"]
    assert other["examples"]["first"] == []
    best = other["examples"]["second"][0]
    assert best["first"] > best["second"]
    assert best["text"] in text.read_text(encoding="utf-8")
    shown = stepwell("compare", tmp_path / "run", trained_run, "--data", text)
    assert "the second is better by most in" in shown.out


def test_a_masked_model_and_another_are_not_compared(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter(["causal", "masked", "causal", "masked"])
    monkeypatch.setattr("stepwell.api.measuring._scoring", lambda loaded: next(seen))
    with pytest.raises(UsageError, match="say different things"):
        api.compare(trained_run, trained_run, trained_run.parent / "text.txt")
    with pytest.raises(UsageError, match="nothing to measure on"):
        api.compare(trained_run, trained_run, [])


def test_a_checkpoint_and_its_run_are_the_same_model(trained_run: Path) -> None:
    best = trained_run / "rounds" / "01" / "checkpoints" / "best"
    assert api.score(trained_run, "the river")["logprob"] == api.score(best, "the river")["logprob"]


@pytest.mark.slow
def test_doctor(stepwell: Command) -> None:
    found = json_of(stepwell("doctor", "--json"))
    assert {
        "cpu",
        "cores",
        "gpu",
        "bf16",
        "vnni",
        "amx",
        "memory_bytes",
        "gflops",
        "precision",
        "threads",
    } <= found.keys()
    assert found["gflops"]["float32"] > 0
    shown = stepwell("doctor")
    assert shown.code == 0
    assert found["precision"] in shown.out


@pytest.fixture
def rate_recipe(tmp_path: Path, small_text: Callable[..., str]) -> Path:
    """A recipe of a tiny model on a text beside it."""
    (tmp_path / "text.txt").write_text(small_text("en", 60_000), encoding="utf-8")
    tree = {"data": {"sources": [str(tmp_path / "text.txt")]}, "training": {"steps": 40}}
    for assignment in SMALL:
        path, _, value = assignment.partition("=")
        section, _, name = path.partition(".")
        tree.setdefault(section, {})[name] = int(value)
    (tmp_path / "recipe.yaml").write_text(json.dumps(tree), encoding="utf-8")
    return tmp_path / "recipe.yaml"


@pytest.mark.slow
def test_doctor_finds_a_learning_rate(stepwell: Command, rate_recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    slow = ["--set", "training.optimizer.kind=adamw", "training.global_batch_tokens=256"]
    found = json_of(stepwell("doctor", "--find-lr", rate_recipe, "--out", out, *slow, "--json"))
    assert found["optimizer"] == "adamw"
    assert found["planned"] / 100 < found["suggested"] < found["planned"] * 100
    assert found["values"] == {"training.optimizer.learning_rate": found["suggested"]}
    assert found["steps"] == len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) <= 100
    assert min(found["smoothed"]) < found["smoothed"][0]
    page = (out / "learning-rate.html").read_text(encoding="utf-8")
    assert found["page"] == str(out / "learning-rate.html")
    assert page.count("<svg class=") == 2
    assert f"suggested {found['suggested']:g}" in page
    shown = stepwell("doctor", "--find-lr", rate_recipe, "--out", out, *slow)
    assert shown.code == 0, shown.err
    assert f"suggested  {found['suggested']:g} for adamw" in shown.out, "the same again"
    assert f"--set training.optimizer.learning_rate={found['suggested']:g}" in shown.out
    trained = stepwell("train", rate_recipe, "--out", out, "--set", "training.steps=20", "--json")
    assert json_of(trained)["steps"] == 20, "the folder is still free for the run"


@pytest.mark.slow
def test_doctor_finds_both_rates_of_muon(rate_recipe: Path, tmp_path: Path) -> None:
    found = api.find_rate(rate_recipe, out=tmp_path / "run", set=["training.global_batch_tokens=256"], steps=40)
    values = found["values"]
    assert found["optimizer"] == "muon"
    assert values["training.optimizer.learning_rate"] == found["suggested"]
    ratio = values["training.optimizer.adamw_learning_rate"] / found["suggested"]
    assert ratio == pytest.approx(0.005 / 0.02, rel=0.1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--find-lr", "RECIPE", "--set", "model={kind: ngram}"], "ngram learns by counting"),
        (["--find-lr", "absent.yaml"], "absent.yaml: no such recipe"),
        (["--find-lr", "RECIPE", "--set", "training.optimizer.kind=adamx"], "training.optimizer"),
        (["--out", "somewhere"], "go with --find-lr"),
    ],
    ids=["counting", "absent", "wrong", "alone"],
)
def test_doctor_says_what_it_cannot_find_a_rate_for(
    stepwell: Command, rate_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "ngram" in words[-1]:
        rate_recipe.write_text(json.dumps({"data": {"sources": ["text.txt"]}}), encoding="utf-8")
    ran = stepwell("doctor", *[str(rate_recipe) if word == "RECIPE" else word for word in words])
    assert ran.code == 2
    assert told in ran.err
    assert not ran.out
    assert not (tmp_path / "runs").exists()


def test_arguments_that_are_no_utf8_are_text_too(stepwell: Command, trained_run: Path) -> None:
    """A shell may hand over any bytes; Python reads them as lone surrogates."""
    odd = "caf\udce9"
    assert stepwell("score", trained_run, "--text", odd, "--json").code == 0
    assert stepwell("predict", trained_run, "--prompt", odd, "--max-tokens", 3, "--json").code == 0
    assert stepwell("predict", trained_run, "--prompt", odd, "--max-tokens", 3).code == 0
