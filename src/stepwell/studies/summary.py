"""The end of a run: the best model measured in full, and the test text read once.

`result.json` is made here and nowhere else, and beside it what the model said of each validation example and where it
was wrong; the test text is shown to nobody. This file leaves out the page that shows it (`report`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stepwell.baselines import open_beside
from stepwell.checkpoints import load_checkpoint
from stepwell.evaluation import Held, Scores, answer_rows, error_report, measure_of, summarize
from stepwell.models import LanguageModel
from stepwell.progress import Stage
from stepwell.recipes import Recipe
from stepwell.runs import RunDirectory, to_json, write_atomically
from stepwell.studies.showing import SHOWN_CHARACTERS, SHOWN_EXAMPLES
from stepwell.studies.study import Study
from stepwell.tasks import members_of


def sum_up(study: Study, reason: str) -> dict[str, Any]:
    """Measure the best model and write `result.json`.

    Args:
        study: with at least one round kept.
        reason: why the loop ended.

    Returns:
        What was written.
    """
    assert study.best is not None
    recipe, run, journal = study.best.recipe, study.run, study.journal
    known = run.read(run.result)
    if known is not None and known["rounds"] == len(journal.lines) and known["target"] == study.recipe.target:
        return known  # nothing new: the test text stays unread
    study.watch(Stage("evaluate", "test text, once"))
    model = load_checkpoint(run.best).model.to(study.machine.device)
    corpus = study.corpus_of(recipe)
    beside = open_beside(run.root, members_of(recipe.task))
    at_most = recipe.study.validation_bytes
    validation = corpus.held("validation", max_bytes=at_most, beside=beside)
    scores = _on_validation(study, model, validation, recipe)
    errors = _keep_errors(run, scores, validation, recipe)
    test = corpus.tokens.split("test")
    spoken = [line for line in journal.lines if line["accepted"] and line["samples"]]
    result = {
        "task": recipe.task.kind,
        "metric": recipe.metric,
        "scoring": recipe.scoring,
        "target": study.recipe.target,
        "target_met": None if study.recipe.target is None else study.target_met(),
        "stopped_because": reason,
        "rounds": len(journal.lines),
        "validation": {name: asdict(interval) for name, interval in summarize(scores).items()},
        "test": measure(model, corpus.held("test", max_bytes=at_most, beside=beside), recipe)
        if test.num_documents
        else None,
        "best": {
            "round": study.best.trial.round,
            "path": "best",
            "parameters": recipe.model.num_parameters,
            "decoding": recipe.decoding.model_dump(),
        },
        "baselines": (run.read(run.facts) or {}).get("baselines", []),
        "samples": _answered(errors) or (spoken[-1]["samples"] if spoken else []),
        "seconds": round(study.budget.spent, 1),
    }
    write_atomically(run.result, to_json(result, indent=2))
    return result


def _on_validation(study: Study, model: LanguageModel, held: Held, recipe: Recipe) -> Scores:
    """Scores on validation text; what the best round measured is not measured again."""
    assert study.best is not None
    trial = study.best.trial
    as_then = (trial.recipe.task, trial.recipe.decoding) == (recipe.task, recipe.decoding)
    is_whole = len(trial.scores) in (held.split.num_documents, len(held.documents))
    return trial.scores if as_then and is_whole else _scores(model, held, recipe)


def _keep_errors(run: RunDirectory, scores: Scores, held: Held, recipe: Recipe) -> dict[str, Any]:
    """Write what was said of each example, and the tables of it; plain text has none."""
    rows = answer_rows(scores, held.documents, recipe.task)
    if not rows:
        return {}
    errors = error_report(scores, rows, held.documents, recipe.task, recipe.metric)
    write_atomically(run.answers, "".join(to_json(row) + "\n" for row in rows))
    write_atomically(run.errors, to_json(errors))
    return errors


def _answered(errors: dict[str, Any]) -> list[dict[str, str]]:
    """A few examples with the answers of the best model, where answers are texts."""
    rows = [row for row in errors.get("drawn", ()) if isinstance(row.get("answer"), str)]
    return [{"prompt": _beginning(row["text"]), "text": row["answer"]} for row in rows[:SHOWN_EXAMPLES]]


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _scores(model: LanguageModel, held: Held, recipe: Recipe) -> Scores:
    return measure_of(recipe.task).evaluate(model, held, recipe.task, recipe.decoding, recipe.training.precision)


def measure(model: LanguageModel, held: Held, recipe: Recipe) -> dict[str, dict[str, float | None]]:
    """Every metric with its interval, as plain values."""
    return {name: asdict(interval) for name, interval in summarize(_scores(model, held, recipe)).items()}
