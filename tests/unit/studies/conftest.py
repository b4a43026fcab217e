"""Made-up trials, and a study in which training is made up too: scores by script, time by a clock that is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepwell.checkpoints import save_checkpoint
from stepwell.config import build, merge
from stepwell.data import DataConfig
from stepwell.evaluation import Interval, LanguageModelingScores
from stepwell.hardware import Machine
from stepwell.models import build_model
from stepwell.progress import Event
from stepwell.recipes import Recipe, write_recipe
from stepwell.runs import RunDirectory, append_line, to_json, write_atomically
from stepwell.studies import study as study_file
from stepwell.studies.budget import Budget
from stepwell.studies.corpus import Corpus, find_tokenizer, read_text, tokenize_corpus
from stepwell.studies.diagnosis import Finding
from stepwell.studies.study import Study
from stepwell.studies.trial import Trial, read_trial
from stepwell.tasks import LanguageModelingConfig
from stepwell.tokenizers import ByteBPEConfig

WHOLE: dict[str, Any] = {
    "data": {"sources": ("made up",)},
    "tokenizer": {"kind": "byte_bpe", "vocab_size": 640},
    "model": {"kind": "decoder", "vocab_size": 640, "max_seq_len": 32, "num_layers": 2, "d_model": 16,
              "num_heads": 2, "num_kv_heads": 2,
              "head_dim": 8, "d_ff": 32},
    "training": {"steps": 400, "global_batch_tokens": 256, "micro_batch": 2, "precision": "float32",
                 "optimizer": {"kind": "muon", "learning_rate": 0.02, "adamw_learning_rate": 0.003},
                 "schedule": {"kind": "wsd", "warmup_steps": 10}, "evaluate_every_steps": 40},
    "study": {"resamples": 500, "max_rounds": 20},
}  # fmt: skip


def recipe_with(**values: Any) -> Recipe:
    """A small whole recipe with some values changed by section."""
    return build(Recipe, merge(WHOLE, values), where="test")


def scores_of(
    bits: float, noise: float = 0.0, seed: int = 0, documents: int = 60, right: float = 200.0
) -> LanguageModelingScores:
    """Scores of made-up documents that differ in difficulty; `noise` is what this model alone adds, as a share."""
    hardness = np.random.default_rng(99).normal(1.0, 0.2, documents)
    own = np.random.default_rng(seed).normal(0.0, noise, documents)
    size = np.full(documents, 1000)
    nats = bits * np.log(2) * size * hardness / hardness.mean() * (1 + own - own.mean())
    return LanguageModelingScores(nats, size // 2, size, np.full(documents, right))


def trial_with(train_bits: float = 1.95, **fields: Any) -> Trial:
    """A made-up trial in which nothing is wrong; `train_bits` is bits per byte of training text."""
    model = recipe_with().model
    whole: dict[str, Any] = {
        "round": 1, "recipe": recipe_with(), "checkpoint": Path("none"), "stable": None, "scores": scores_of(2.0),
        "value": Interval(2.0, 1.9, 2.1), "lines": [], "samples": [],
        "train_loss": train_bits * 2 * np.log(2), "train_value": train_bits,
        "repetition": [0.05, 0.05], "steps": 400, "tokens": 10 * model.num_matrix_parameters, "stable_step": 240,
        "tokens_per_second": 1000.0, "training_seconds": 10.0,
    }  # fmt: skip
    return Trial(**whole | fields)


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    return recipe_with


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., Trial]:
    return trial_with


@pytest.fixture(scope="session")
def make_scores() -> Callable[..., LanguageModelingScores]:
    return scores_of


@dataclass
class Outcome:
    """What a made-up round brings."""

    bits: float
    findings: tuple[str, ...] = ()
    noise: float = 0.0
    right: float = 200.0
    stable: bool = True
    seconds: float | None = None
    raises: type[BaseException] | None = None


@dataclass
class Stage:
    """A run directory with a study whose training is made up."""

    run: RunDirectory
    corpus: Corpus
    recipe: Recipe
    script: list[Outcome]
    now: float = 1000.0
    budget: float | None = 600.0
    played: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def study(self) -> Study:
        """The study as a new process would make it."""
        began = self.now
        clock = Budget(self.budget, self.run.root / "spent", began)
        machine = Machine("made up", 1, 2**33, "cpu", None, False, False, False, {}, "float32", 1)
        return Study(self.recipe, self.run, self.corpus, machine, clock, watch=self.events.append, stop_requested=bool)

    def train(
        self, number: int, recipe: Recipe, corpus: Corpus, run: RunDirectory, machine: Machine, **how: Any
    ) -> Trial:
        """In place of `run_trial`: no training, but every file that a round leaves."""
        self.played.append({"number": number, "recipe": recipe, "vocab_size": corpus.tokenizer.vocab_size, **how})
        outcome = self.script[len(self.played) - 1]
        if outcome.raises is not None:
            self.now += 5.0
            raise outcome.raises("made up")
        planned = how["seconds"] if how["seconds"] is not None else 10.0
        trained = planned if outcome.seconds is None else outcome.seconds
        self.now += trained + 1.0  # and a second to judge
        folder = run.round(number)
        write_atomically(folder / "recipe.yaml", write_recipe(recipe, {}))
        model = build_model(recipe.model)
        for name in ("best", "stable")[: 1 + outcome.stable]:
            save_checkpoint(folder / "checkpoints" / name, model, corpus.tokenizer, provenance={"step": 5})
        scores = scores_of(outcome.bits, outcome.noise, seed=number, right=outcome.right)
        np.savez(folder / "scores.npz", **{n: getattr(scores, n) for n in ("nats", "tokens", "bytes", "correct")})
        append_line(folder / "metrics.jsonl", {"kind": "step", "step": recipe.training.steps, "learning_rate": 1.0})
        summary = {
            "train_loss": outcome.bits, "train_value": outcome.bits, "repetition": [0.0],
            "samples": [{"prompt": "a", "text": "b"}],
            "steps": recipe.training.steps, "tokens": recipe.training.steps * 256,
            "stable_step": recipe.training.steps // 2 if outcome.stable else 0, "tokens_per_second": 2560.0,
            "training_seconds": trained,
        }  # fmt: skip
        write_atomically(folder / "judged.json", to_json(summary))
        return read_trial(number, run)

    def found(self, _: object) -> list[Finding]:
        """In place of `diagnose`: what the script says of the round that was just played."""
        return [Finding(name, {"number": 1.0}, name) for name in self.script[len(self.played) - 1].findings]


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory, small_text: Callable[..., str]) -> Corpus:
    root = tmp_path_factory.mktemp("corpus")
    (root / "text.txt").write_text(small_text("mixed", 60_000), encoding="utf-8")
    run = RunDirectory(root / "run")
    text = read_text(DataConfig(sources=(str(root / "text.txt"),)), run, lambda event: None)
    tokenizer = find_tokenizer(text, ByteBPEConfig(vocab_size=640), run, lambda event: None)
    return tokenize_corpus(text, tokenizer, LanguageModelingConfig(), run, lambda event: None)


@pytest.fixture
def make_stage(tmp_path: Path, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """The function `stage(script, budget=600, **values of the recipe)`; an outcome is its fields."""

    def make(script: list[dict[str, Any]], budget: float | None = 600.0, **values: Any) -> Stage:
        run = RunDirectory(tmp_path / "run")
        run.root.mkdir()
        outcomes = [Outcome(**outcome) for outcome in script]
        stage = Stage(run, small_corpus, recipe_with(**values), outcomes, budget=budget)
        clock = SimpleNamespace(monotonic=lambda: stage.now)
        monkeypatch.setattr("stepwell.studies.budget.time", clock)
        monkeypatch.setattr(study_file, "run_trial", stage.train)
        monkeypatch.setattr(study_file, "diagnose", stage.found)
        return stage

    return make
