"""What the READMEs tell people to type works: every option exists, every command runs, both languages agree."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stepwell.cli import main

PROJECT = Path(__file__).resolve().parents[2]
READMES = sorted(path.name for path in PROJECT.glob("README*.md"))
PAGES = [
    *READMES,
    "CONTRIBUTING.md",
    "docs/concepts.md",
    "docs/data.md",
    "docs/engine.md",
    "docs/families.md",
    "docs/training.md",
]

SMALLER = {
    "classification --budget 20m": "classification --budget 30s --set study.max_rounds=1 training.steps=20",
    "--budget 20m": "--budget 30s",
    "--budget 40m": "--budget 30s",
    "budget: 20m": "budget: 30s\nstudy: {max_rounds: 1}\ntraining: {steps: 20}",
    'budget="20m"': 'budget="30s"',
    "--steps 300": "--steps 20",
    "recipe.yaml --out": "recipe.yaml --set study.max_rounds=1 training.steps=60 --out",
}
"""How a README's command is made small enough for a test. Every budget and every number of steps stands here."""

APART = ("run", "predict")
"""Verbs whose first line is a process of its own, as for a reader; in a process that has torch, a line takes less."""


def commands(page: str, program: str) -> list[list[str]]:
    """The words of each line in a page's code blocks (fenced or indented) that starts with `program`."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    fenced = "".join(re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    indented = "".join(re.findall(r"^ {4}(\S.*\n)", text, flags=re.MULTILINE))
    lines = re.findall(rf"^(?:\$ )?({program} .+)$", fenced + indented, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of a language, made small."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    return [
        smaller(block) for block in re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    ]


def smaller(text: str) -> str:
    """A README's code with budgets and steps that a test can afford."""
    for written, tested in SMALLER.items():
        text = text.replace(written, tested)
    return text


def options_of(verb: str) -> set[str]:
    """The long options that a verb takes."""
    command = get_command(sys.modules[main.__module__].app).commands[verb]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def python(words: list[str], folder: Path) -> tuple[int, str, str]:
    """Exit code and output of a Python of its own."""
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=folder,
        timeout=300,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = {word for _, *words in commands(page, "make") for word in words[:1]}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_verbs_and_options_exist(page: str) -> None:
    for _, verb, *words in commands(page, "stepwell"):
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = options_of(verb) | {"--debug"}  # any command takes that
        assert options <= known, f"{page}: stepwell {verb} has no {', '.join(sorted(options - known))}"


@pytest.mark.parametrize("page", [*PAGES, "docs/design.md", "docs/recipe.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [target for target in targets if target and not ((PROJECT / page).parent / target).exists()]


def test_both_languages_show_the_same() -> None:
    def shown(page: str) -> list[str]:
        """All code of a page without comments and without the words in the reader's language."""
        code = [block for language in ("sh", "yaml", "python") for block in blocks(page, language)]
        plain = re.sub(r"\s+# .*", "", "\n".join(code))
        return re.sub(
            r"""(--prompt|score \S+ --text|predict\("\S+",) ('[^']*'|"[^"]*")""", r"\1 ...", plain
        ).splitlines()

    english, *others = READMES
    assert english == "README.md"
    assert others
    for page in others:
        assert shown(page) == shown(english), page


def test_every_budget_in_a_readme_can_be_made_small() -> None:
    for page in READMES:
        text = (PROJECT / page).read_text(encoding="utf-8")
        given = re.findall(r"--budget \S+|^budget: \S+|budget=\"\w+\"|--steps \d+", text, flags=re.MULTILINE)
        assert set(given) <= set(SMALLER), page


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory, small_text: Callable[..., str]) -> Path:
    """A folder with the files that the READMEs name."""
    folder = tmp_path_factory.mktemp("reader")
    for number, name in enumerate(("novel.txt", "notes/diary.txt", "more/letters.md", "other.txt")):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(small_text("mixed", 60_000, seed=number), encoding="utf-8")
    praise, blame = ("quiet and clean", "friendly and warm"), ("loud and dirty", "cold and rude")
    rows = [f"The {thing} was {said}. {n},{label}" for n in range(200) for thing in ("room", "staff")
            for label, several in (("good", praise), ("bad", blame)) for said in several]  # fmt: skip
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    write_published_model(folder / "SmolLM2-135M-Instruct")
    return folder


def write_published_model(folder: Path) -> None:
    """A tiny Llama with random weights and a chat template, as transformers publishes it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=257, max_position_embeddings=256, bos_token_id=0, eos_token_id=0, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    train_tokenizer([], ByteBPEConfig(vocab_size=257)).save(folder / "tokenizer.json")
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")


@pytest.mark.slow
def test_commands_run(
    reader: Path, stepwell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every `stepwell` line of both pages, in the order of the pages; a line that both have runs once."""
    monkeypatch.chdir(reader)
    [recipe] = blocks("README.md", "yaml")
    Path("novel.yaml").write_text(recipe, encoding="utf-8")
    lines = [line for page in READMES for block in blocks(page, "sh") for line in block.splitlines()]
    typed = list(dict.fromkeys(line for line in lines if line.startswith("stepwell ")))
    apart = [next(line for line in typed if line.startswith(f"stepwell {verb} ")) for verb in APART]
    for line in typed:
        words = shlex.split(line, comments=True)[1:]
        code, out, err = python(["-m", "stepwell", *words], reader) if line in apart else stepwell(*words)
        assert code == 0, f"{line}\n{out}\n{err}"
        assert out.strip(), line
        check_result(line, out, reader)
    [program], *others = (blocks(page, "python") for page in READMES)
    code, out, err = python(["-c", program], reader)
    assert code == 0, f"{out}\n{err}"
    assert "'low'" in out
    for [program] in others:
        exec(program, {})
        assert "'low'" in capsys.readouterr().out


def check_result(line: str, shown: str, reader: Path) -> None:
    """What the page promises of a command is there."""
    words = shlex.split(line, comments=True)
    verb = words[1]
    if verb == "run":
        out = reader / words[words.index("--out") + 1]
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
        most = {"bits_per_byte": 8, "accuracy": 1}[result["metric"]]
        assert 0 < result["validation"][result["metric"]]["value"] <= most
        assert (out / "report.html").stat().st_size > 10_000
        assert (out / "best" / "model.safetensors").exists()
        assert "report.html" in shown
    if verb == "predict" and words[2] == "runs/reviews":
        assert shown.split()[0] in ("good", "bad")
    elif verb == "predict" and "--chat" not in words:
        assert shown.count(words[words.index("--prompt") + 1]) >= (3 if "-n" in words else 1)
    if verb == "evaluate":
        assert "bits per byte" in shown
    if verb == "plan":
        assert "round 1" in shown
