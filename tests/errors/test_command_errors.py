"""When things go wrong at the command line: what, got, wanted, what to do; no traceback, and no litter."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell import api

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, as a person would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def novel(tmp_path: Path, small_text: Callable[..., str]) -> Path:
    path = tmp_path / "novel.txt"
    path.write_text(small_text("mixed", 60_000), encoding="utf-8")
    return path


@pytest.fixture
def copied_run(trained_run: Path, tmp_path: Path) -> Path:
    """A trained run that may be damaged."""
    shutil.copytree(trained_run, tmp_path / "run")
    return tmp_path / "run"


def failed(ran: Any, code: int, *words: str) -> str:
    """The message of a command that failed as it should: nothing on standard output, no traceback."""
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert "something went wrong inside" not in ran.err
    assert "stepwell: " in ran.err
    for word in words:
        assert word in ran.err
    return str(ran.err)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


TINY = ["tokenizer.vocab_size=300", "model.num_layers=1", "model.d_model=16", "model.num_heads=1",
        "model.num_kv_heads=1", "model.head_dim=16", "model.d_ff=16", "model.max_seq_len=32",
        "study.sample_tokens=5"]  # fmt: skip


@pytest.mark.parametrize("verb", ["run", "plan", "train"])
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_no_such_file(stepwell: Command, tmp_path: Path, verb: str, json: list[str]) -> None:
    (tmp_path / "novel.txt").write_text("x", encoding="utf-8")
    failed(stepwell(verb, "--text", "nvel.txt", "--out", "out", *json), 1, "nvel.txt: no such file",
           "did you mean novel.txt?")  # fmt: skip
    assert everything(tmp_path) == {"novel.txt"}


def test_an_empty_file_and_an_empty_folder(stepwell: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "folder").mkdir()
    failed(stepwell("run", "--text", "empty.txt", "--out", "out"), 1, "empty.txt")
    failed(stepwell("run", "--text", "folder", "--out", "out"), 1, "folder")
    assert everything(tmp_path) == {"empty.txt", "folder"}


def test_too_little_text_says_how_much_is_needed(stepwell: Command, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("A short story.\n\n" * 30, encoding="utf-8")
    message = failed(stepwell("run", "--text", "short.txt", "--out", "out"), 1, "got:", "wanted:")
    assert "20" in message
    assert "kB" in message or "bytes" in message
    assert everything(tmp_path) == {"short.txt"}


def test_a_binary_file(stepwell: Command, tmp_path: Path) -> None:
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 1000)
    failed(stepwell("train", "--text", "picture.txt", "--steps", 5, "--out", "out"), 1, "picture.txt", "binary")
    assert everything(tmp_path) == {"picture.txt"}


def test_nothing_to_read(stepwell: Command) -> None:
    failed(stepwell("run"), 2, "nothing to read", "--text", "stepwell quickstart")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("data:\n  source: novel.txt\n", ["recipe.yaml: data.source: unknown field", "did you mean sources?"]),
        ("data: {sources: novel.txt}\nmodel:\n  num_layer: 2\n", ["model.num_layer: unknown", "num_layers"]),
        ("data: {sources: novel.txt}\nmodel:\n  num_layers: two\n", ["model.num_layers", "'two'", "wanted:"]),
        ("data: {sources: novel.txt}\nbudget: soon\n", ["budget: cannot be read", "soon", "20m"]),
        ("data: novel.txt\n", ["data", "novel.txt"]),
        ("- novel.txt\n", ["is not a recipe"]),
        ("data: [\n", ["is not YAML"]),
    ],
)
def test_a_recipe_that_cannot_be_meant(stepwell: Command, tmp_path: Path, recipe: str, words: list[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    failed(stepwell("run", "recipe.yaml", "--out", "out"), 2, *words)
    assert everything(tmp_path) == {"recipe.yaml"}


def test_no_such_recipe(stepwell: Command) -> None:
    failed(stepwell("run", "none.yaml"), 2, "none.yaml: no such recipe")


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "1s"], ["budget: too short", "1 s", "at least 30 s"]),
        (["--budget", "0"], ["budget", "above zero"]),
        (["--budget", "-5m"], ["budget", "-5m"]),
        (["--budget", "abc"], ["budget", "abc", "20m"]),
        (["--target", "-1"], ["target", "-1", "between 0 and 8"]),
        (["--metric", "accuracy", "--target", "2"], ["target", "between 0 and 1"]),
        (["--metric", "perplexity", "--target", "0.5"], ["target", "between 1"]),
        (["--metric", "bleu"], ["metric", "bleu", "bits_per_byte"]),
        (["--task", "chess"], ["task", "chess", "language_modeling"]),
        (["--set", "model.num_layer=2"], ["model.num_layer: unknown field", "did you mean num_layers?"]),
        (["--set", "nonsense"], ["--set: cannot be read", "nonsense"]),
    ],
)
def test_what_cannot_be_is_bad_usage_before_any_text_is_read(
    stepwell: Command, novel: Path, verb: str, options: list[str], words: list[str]
) -> None:
    ran = stepwell(verb, "--text", novel, "--out", "out", *options)
    failed(ran, 2, *words)
    assert "reading the text" not in ran.err
    assert everything(novel.parent) == {"novel.txt"}


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["run", "--bogus"],
        ["run", "--target", "high"],
        ["predict"],
        ["evaluate", "somewhere"],
        ["score", "somewhere"],
        ["train", "--text", "novel.txt", "--steps", "many"],
        ["train", "--text", "novel.txt", "--steps", "0"],
        ["predict", "somewhere"],
        ["predict", "somewhere", "--prompt", "a", "--input", "b"],
        ["predict", "somewhere", "--input", "none.txt"],
    ],
)
def test_bad_usage_is_2(stepwell: Command, words: list[str]) -> None:
    failed(stepwell(*words), 2)


def test_bad_sampling_is_2_before_the_model_is_read(stepwell: Command, trained_run: Path) -> None:
    for option, value in (("--temperature", -1), ("--top-p", 0), ("--top-k", 0), ("--max-tokens", 0), ("-n", 0)):
        failed(stepwell("predict", trained_run, "--prompt", "a", option, value), 2)


def test_no_such_run(stepwell: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Some text.", encoding="utf-8")
    for words in (["predict", "nowhere", "--prompt", "a"], ["score", "nowhere", "--text", "a"], ["report", "nowhere"],
                  ["evaluate", "nowhere", "--data", "text.txt"]):  # fmt: skip
        failed(stepwell(*words), 1, "nowhere")
    (tmp_path / "folder").mkdir()
    for words in (
        ["predict", "folder", "--prompt", "a"],
        ["report", "folder"],
        ["predict", "text.txt", "--prompt", "a"],
    ):
        failed(stepwell(*words), 1)
    assert everything(tmp_path) == {"text.txt", "folder"}


def test_nothing_to_measure(stepwell: Command, trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    failed(stepwell("evaluate", trained_run, "--data", "empty.txt"), 1, "empty.txt")
    failed(stepwell("evaluate", trained_run, "--data", "none.txt"), 1, "none.txt: no such file")
    failed(stepwell("score", trained_run, "--text", ""), 2, "nothing to score")


WEIGHTS, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.json"


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, CONFIG, "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "removed"])
def test_a_damaged_checkpoint_is_named_and_a_good_one_offered(
    stepwell: Command, copied_run: Path, name: str, damage: str
) -> None:
    checkpoint = copied_run / "rounds" / "01" / "checkpoints" / "best"
    hurt(checkpoint / name, damage)
    message = failed(stepwell("predict", checkpoint, "--prompt", "a"), 1, name if name != "manifest.json" else "best")
    offered = message.partition("use the newest good one: ")[2].strip()
    assert Path(offered).is_dir()
    assert Path(offered) != checkpoint
    assert stepwell("predict", offered, "--prompt", "a", "--max-tokens", 2).code == 0


def test_a_damaged_tokenizer_is_named_when_nothing_else_is_left(
    stepwell: Command, copied_run: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone" / "model"
    shutil.copytree(copied_run / "rounds" / "01" / "checkpoints" / "best", alone)
    (alone / TOKENIZER).write_text("{}", encoding="utf-8")
    failed(stepwell("predict", alone, "--prompt", "a"), 1, TOKENIZER)


def hurt(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(content[:half] if damage == "truncated" else content[:half] + b"\x00#" + content[half + 2 :])


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed"])
@pytest.mark.parametrize("what", ["data/tokens-*/*.bin", "data/text-*/*.bin", "tokenizers/*.json"])
def test_damaged_shards_and_tokenizers_of_a_run_are_named_and_made_again(
    stepwell: Command, copied_run: Path, trained_run: Path, what: str, damage: str
) -> None:
    """They can be made again from the text, so the run goes on; it says so unless the file was simply not there."""
    victim = sorted(copied_run.glob(what))[0]
    good = victim.read_bytes()
    hurt(victim, damage)
    ran = stepwell("train", "--out", copied_run)
    assert ran.code == 0, ran.err
    assert victim.read_bytes() == good
    if damage != "removed":
        assert victim.parent.name in ran.err
        assert "warning" in ran.err


@pytest.mark.slow
def test_every_numbered_checkpoint_damaged(stepwell: Command, copied_run: Path) -> None:
    """Each is named, and the run begins anew rather than from a part of a model."""
    folders = sorted((copied_run / "rounds" / "01" / "checkpoints").glob("step-*"))
    for folder in folders:
        hurt(folder / WEIGHTS, "truncated")
    ran = stepwell("train", "--out", copied_run)
    assert ran.code == 0, ran.err
    for folder in folders:
        assert f"{folder.name}/{WEIGHTS}" in ran.err


def test_a_damaged_run_json(stepwell: Command, copied_run: Path) -> None:
    (copied_run / "run.json").write_text('{"format": 1, "kin', encoding="utf-8")
    failed(stepwell("train", "--out", copied_run), 1, "run.json: is damaged")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1, 2]",
        '{"format": 2, "kind": "train", "request": {}}',
        '{"name": "another program"}',
        '{"kind": "train", "request": 3}',
    ],
)
def test_a_run_json_of_something_else(stepwell: Command, novel: Path, content: str) -> None:
    out = novel.parent / "out"
    out.mkdir()
    (out / "run.json").write_text(content, encoding="utf-8")
    failed(stepwell("train", "--out", "out", "--steps", 5), 1, "run.json")
    failed(stepwell("train", "--text", novel, "--out", "out", "--steps", 5), 1, "run.json")
    assert (out / "run.json").read_text(encoding="utf-8") == content


def test_a_directory_with_foreign_files_is_left_alone(stepwell: Command, novel: Path) -> None:
    folder = novel.parent / "photos"
    folder.mkdir()
    (folder / "summer.jpg").write_bytes(b"x")
    for verb in (["run"], ["train", "--steps", 5], ["plan"]):
        failed(stepwell(*verb, "--text", novel, "--out", folder), 1, "photos: is not empty and holds no run",
               "summer.jpg", "--out")  # fmt: skip
        assert everything(folder) == {"summer.jpg"}


def test_a_directory_of_another_run_or_of_another_kind(stepwell: Command, copied_run: Path, novel: Path) -> None:
    before = everything(copied_run)
    failed(stepwell("train", "--text", novel, "--steps", 5, "--out", copied_run), 1, "holds another run", "--out")
    failed(stepwell("run", "--text", novel, "--out", copied_run), 1, "holds the work of `stepwell train`", "--out")
    assert everything(copied_run) == before


@pytest.mark.parametrize("verb", [["run"], ["train", "--steps", "5"], ["plan"]])
@pytest.mark.parametrize("out", ["occupied", "occupied/below"])
def test_a_file_in_place_of_the_directory(stepwell: Command, novel: Path, verb: list[str], out: str) -> None:
    (novel.parent / "occupied").write_text("a file", encoding="utf-8")
    failed(stepwell(*verb, "--text", novel, "--out", out), 1, "occupied", "cannot be written", "--out")
    assert (novel.parent / "occupied").read_text(encoding="utf-8") == "a file"


def test_a_run_that_another_process_holds(stepwell: Command, copied_run: Path) -> None:
    import subprocess

    hold = (
        "import sys, pathlib; from stepwell.runs import RunDirectory\n"
        "with RunDirectory(pathlib.Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold, copied_run], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            failed(stepwell("train", "--out", copied_run), 1, "another process is working on this run")
        finally:
            other.communicate("")
    assert stepwell("train", "--out", copied_run).code == 0  # let go when its holder ended


@pytest.mark.slow
def test_text_that_has_changed_since(stepwell: Command, novel: Path) -> None:
    train = ["train", "--text", novel, "--steps", 2, "--out", "out", "--set", *TINY]
    assert stepwell(*train).code == 0
    with novel.open("a", encoding="utf-8") as file:
        file.write("\n\nOne more paragraph, which was not there before.\n")
    failed(stepwell(*train), 1, "the text has changed", "--out")


@pytest.mark.slow
def test_the_same_command_without_out_goes_on_where_it_was(
    stepwell: Command, novel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C says "run the same command again": it must find the run that it began."""
    from stepwell.cli import arguments

    train = ["train", "--text", novel, "--steps", 6, "--set", *TINY]
    polled = []
    monkeypatch.setattr(arguments.StopSignal, "__call__", lambda self: polled.append(1) or len(polled) >= 3)
    stopped = stepwell(*train)
    assert stopped.code == 130
    assert "run the same command again to go on" in stopped.err
    assert "Traceback" not in stopped.err
    monkeypatch.undo()
    monkeypatch.chdir(novel.parent)
    assert stepwell(*train).code == 0
    assert [path.name for path in (novel.parent / "runs").iterdir()] == ["novel"]
    lines = (novel.parent / "runs" / "novel" / "rounds" / "01" / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"event": "resumed", "detail": "at step 3"' in lines
    assert stepwell("train", "--out", "runs/novel", "--steps", 6).code == 0  # the rest of the request is known there


def test_ctrl_c_while_nothing_polls_says_how_to_go_on(
    stepwell: Command, novel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stepwell.studies.planning.read_text", interrupted)
    ran = stepwell("run", "--text", novel, "--out", "out")
    assert (ran.code, ran.out) == (130, "")
    assert "run the same command again to go on" in ran.err
    assert "Traceback" not in ran.err
    ran = stepwell("plan", "--text", novel, "--out", "plan")  # nothing to go on with, but no traceback either
    assert (ran.code, ran.out) == (130, "")
    assert "Traceback" not in ran.err


def test_debug_shows_the_traceback_and_nothing_else_does(stepwell: Command) -> None:
    shown = stepwell("run", "--text", "none.txt", "--debug")
    assert shown.code == 1
    assert "Traceback (most recent call last)" in shown.err
    assert "none.txt: no such file" in shown.err
    failed(stepwell("run", "--text", "none.txt"), 1)


def test_a_fault_of_ours_is_one_line_unless_debug(stepwell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("a [bold]fault\x1b[31m")

    monkeypatch.setattr(api, "doctor", broken)
    quiet = stepwell("doctor")
    assert quiet.code == 1
    assert "something went wrong inside: ZeroDivisionError: a [bold]fault" in quiet.err
    assert "--debug" in quiet.err
    assert "Traceback" not in quiet.err
    assert "\x1b" not in quiet.err
    assert "Traceback" in stepwell("doctor", "--debug").err


def test_the_report_of_a_corpus_with_markup_runs_nothing(stepwell: Command, tmp_path: Path, small_text: Any) -> None:
    """From the corpus through samples, tokens and facts into the page: markup stays text."""
    evil = "<script>window.x=1</script><img src=x onerror=window.x=1> "
    text = small_text("en", 40_000).replace(". ", f". {evil}")
    (tmp_path / "evil.txt").write_text(text, encoding="utf-8")
    assert stepwell("train", "--text", "evil.txt", "--steps", 2, "--out", "out", "--set", *TINY,
                    "study.prompts=[<script>window.x=2</script>]").code == 0  # fmt: skip
    line = {"round": 1, "diagnosis": "first_plan", "change": {}, "metric": "bits_per_byte", "value": 2.0, "low": None,
            "high": None, "before": None, "accepted": True, "seconds": 1.0, "steps": 2,
            "samples": [{"prompt": evil, "text": evil}]}  # fmt: skip
    (tmp_path / "out" / "journal.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    ran = stepwell("report", "out", "--json")
    assert ran.code == 0
    page = Path(json.loads(ran.out)["report"]).read_text(encoding="utf-8")
    assert "window.x=1" in page
    assert "<script>window" not in page
    assert "<img src=x" not in page
