"""One round's work: train, measure, and let the model speak.

A trial lives in its own folder of the run with its recipe, metrics, checkpoints and scores, so it can be read back
by a later process without training again. This file leaves out what the numbers mean (`diagnosis.py`) and whether
they are good enough (`study.py`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stepwell.baselines import open_beside
from stepwell.checkpoints import load_checkpoint
from stepwell.config import build
from stepwell.errors import RunError
from stepwell.evaluation import Interval, Scores, bootstrap, measure_of, values_of
from stepwell.hardware import Machine
from stepwell.models import LanguageModel, NGram
from stepwell.progress import Stage, Watcher
from stepwell.recipes import Recipe, write_recipe
from stepwell.runs import RunDirectory, read_lines, to_json, write_atomically
from stepwell.studies.beginning import begin_model, count_once, identity_of
from stepwell.studies.corpus import Corpus
from stepwell.studies.crew import train_together
from stepwell.studies.showing import show
from stepwell.tasks import members_of
from stepwell.training import Evaluate, Profiler


@dataclass(frozen=True)
class Trial:
    """What a round of training left.

    Attributes:
        round: its number, from 1.
        recipe: what was done.
        checkpoint: the model to judge it by.
        stable: where a longer run can go on from, or None.
        scores: on the judged validation documents.
        value: the metric with its interval.
        train_loss: on a like amount of training text, without dropout.
        train_value: the metric on that text.
        lines: of metrics.jsonl.
        samples: prompts and completions.
        repetition: share of repeated 4-grams in each sample.
        steps: updates made, those before it that it went on from included.
        tokens: trained on, likewise.
        stable_step: where the stable checkpoint stands, 0 without one.
        tokens_per_second: of this round's training, measurements on the way included.
        training_seconds: of this round.
        mfu_ratio: share of the machine's measured rate at that speed; None when it is not known.
        peak_memory_bytes: of the process while it trained; of the GPU's tensors where there is one.
    """

    round: int
    recipe: Recipe
    checkpoint: Path
    stable: Path | None
    scores: Scores
    value: Interval
    train_loss: float
    train_value: float
    lines: list[dict[str, Any]]
    samples: list[dict[str, str]]
    repetition: list[float]
    steps: int
    tokens: int
    stable_step: int
    tokens_per_second: float
    training_seconds: float
    mfu_ratio: float | None = None
    peak_memory_bytes: int | None = None

    def measured(self) -> dict[str, Any]:
        """What the journal says of the trial, beside its metric."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "tokens_per_second": round(self.tokens_per_second, 1),
            "training_seconds": round(self.training_seconds, 1),
            "mfu_ratio": self.mfu_ratio,
            "peak_memory_bytes": self.peak_memory_bytes,
            "parameters": self.recipe.model.num_parameters,
            "train_value": self.train_value,
            "samples": self.samples,
        }


def run_trial(
    number: int,
    recipe: Recipe,
    corpus: Corpus,
    run: RunDirectory,
    machine: Machine,
    *,
    start_from: Path | None,
    seconds: float | None,
    watch: Watcher,
    stop_requested: Callable[[], bool],
    profiler: Profiler | None = None,
) -> Trial:
    """Train by a recipe, or go on where an earlier process stopped.

    Args:
        number: of the round; names the folder.
        recipe: what to do.
        corpus: of its tokenizer.
        run: the run directory.
        machine: where tensors go.
        start_from: a stable checkpoint to go on from; its model may have fewer layers.
        seconds: to end within; None for no limit.
        watch: gets the events.
        stop_requested: asked after every step.
        profiler: is told of every step.

    Raises:
        Stopped: when `stop_requested` said so.
        TrainingError: when the loss does not stay finite.
        DiskError: when something cannot be written.
    """
    folder = run.round(number)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "recipe.yaml", write_recipe(recipe, {}))
    watch(Stage("train", f"round {number}"))
    model, evaluate = begin_model(recipe, corpus, watch), watcher_of(recipe, corpus)
    if isinstance(model, NGram):
        counted = count_once(model, corpus, folder, evaluate, identity_of(number, recipe, corpus), watch)
        return judge(number, recipe, corpus, run, machine, counted, watch)
    trained = train_together(
        number,
        recipe,
        model,
        corpus,
        run,
        machine,
        evaluate=evaluate,
        start_from=start_from,
        seconds=seconds,
        watch=watch,
        stop_requested=stop_requested,
        profiler=profiler,
    )
    return judge(number, recipe, corpus, run, machine, trained.best, watch)


def watcher_of(recipe: Recipe, corpus: Corpus) -> Evaluate:
    """The measurement on the way, on a thin slice of validation text."""
    held, measure = corpus.held("validation", max_bytes=recipe.study.watch_bytes), measure_of(recipe.task)

    def evaluate(model: LanguageModel) -> dict[str, float]:
        return measure.watched(model, held, recipe.task, recipe.training.precision)

    return evaluate


def judge(
    number: int,
    recipe: Recipe,
    corpus: Corpus,
    run: RunDirectory,
    machine: Machine,
    checkpoint: Path,
    watch: Watcher,
) -> Trial:
    """Measure a trained model on the validation text and let it show what it does."""
    watch(Stage("evaluate", "validation text"))
    model, precision, study = (
        load_checkpoint(checkpoint).model.to(machine.device),
        recipe.training.precision,
        recipe.study,
    )
    measure, task, decoding = measure_of(recipe.task), recipe.task, recipe.decoding
    beside = open_beside(run.root, members_of(task))
    held = corpus.held("validation", max_bytes=study.validation_bytes, beside=beside)
    scores = measure.evaluate(model, held, task, decoding, precision)
    seen = corpus.held("train", max_bytes=study.watch_bytes, beside=beside)
    train = measure.watched(model, seen, task, precision)
    if recipe.metric not in train:
        train = values_of(measure.evaluate(model, seen, task, decoding, precision), "loss", recipe.metric)
    watch(Stage("predict", "samples"))
    samples, repetition = show(model, corpus, recipe)
    folder = run.round(number)
    np.savez(folder / "scores.npz", allow_pickle=False, **scores.arrays())
    write_atomically(folder / "said.jsonl", "".join(to_json(one) + "\n" for one in scores.said))
    steps = [line for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "step"]
    last = steps[-1]
    first = steps[0] if len(steps) > 1 else {"tokens": 0, "seconds": 0.0}
    stable = run.read(folder / "checkpoints" / "stable" / "provenance.json")
    tokens_per_second = (last["tokens"] - first["tokens"]) / max(1e-9, last["seconds"] - first["seconds"])
    summary = {
        "train_loss": train["loss"],
        "train_value": train[recipe.metric],
        "samples": samples,
        "repetition": repetition,
        "steps": last["step"],
        "tokens": last["tokens"],
        "stable_step": stable["step"] if stable else 0,
        "tokens_per_second": tokens_per_second,
        "training_seconds": last["seconds"],
        **_costs(steps, tokens_per_second),
    }
    write_atomically(folder / "judged.json", to_json(summary))
    return read_trial(number, run)


def _costs(steps: Sequence[Mapping[str, Any]], tokens_per_second: float) -> dict[str, Any]:
    """The share of the machine's rate at a speed, and the most memory there was; None where the steps do not tell."""
    shares = [line["mfu_ratio"] / line["tokens_per_second"] for line in steps if line.get("mfu_ratio")]
    peaks = [line.get("peak_gpu_memory_bytes") or line.get("peak_memory_bytes") for line in steps]
    return {
        "mfu_ratio": round(shares[-1] * tokens_per_second, 4) if shares else None,
        "peak_memory_bytes": max((peak for peak in peaks if peak), default=None),
    }


def read_trial(number: int, run: RunDirectory) -> Trial:
    """A finished trial, from its folder.

    Raises:
        RunError: when a file of it is damaged.
    """
    folder = run.round(number)
    recipe = build(Recipe, yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8")), where=str(folder))
    summary = run.read(folder / "judged.json") or {}
    try:
        with np.load(folder / "scores.npz") as arrays:
            scores = measure_of(recipe.task).scores(recipe.task)(**{name: arrays[name] for name in arrays.files})
        said = read_lines(folder / "said.jsonl")
        scores = scores.saying(said if len(said) == len(scores) else ())
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{folder / 'scores.npz'}: is damaged or missing", got=str(error), do="start again with another --out"
        ) from None
    stable = folder / "checkpoints" / "stable"
    return Trial(
        round=number,
        recipe=recipe,
        checkpoint=folder / "checkpoints" / "best",
        stable=stable if stable.exists() else None,
        scores=scores,
        value=bootstrap(scores, recipe.metric, resamples=recipe.study.resamples),
        lines=read_lines(folder / "metrics.jsonl"),
        **summary,
    )
