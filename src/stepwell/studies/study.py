"""The closed loop: train, measure, diagnose, adjust, and train again.

Every round is a recipe with something changed for a reason. It is kept only if it beats the best by more than the noise, on the same validation documents. The loop
ends when the target is met, the budget is spent or no remedy is left; then, once, the test split is read. Everything is written
down as it happens, so a run that was killed goes on in the round it was in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.config import format_duration
from stepwell.evaluation import METRICS, Interval, evaluate_kneser_ney, paired_bootstrap, repeated_ngram_ratio
from stepwell.evaluation import bootstrap as with_interval
from stepwell.hardware import Machine
from stepwell.progress import Fact, RoundDone, RoundStarted, Stage, Watcher
from stepwell.recipes import Recipe
from stepwell.runs import RunDirectory, append_line, read_lines, to_json, write_atomically
from stepwell.studies.budget import Budget, next_slot, num_slots
from stepwell.studies.corpus import Corpus, open_corpus
from stepwell.studies.diagnosis import Case, Finding, diagnose
from stepwell.studies.remedies import Change, propose
from stepwell.studies.trial import Trial, measure_all, prompts_of, read_trial, run_trial, speak

SHORTEST_ROUND_SECONDS = 8.0
FIRST_PLAN = Finding("first_plan", {}, "the plan for this text, this machine and this budget")


@dataclass
class _Best:
    """The best round so far: its trial, and the recipe with what later rounds changed about decoding."""

    trial: Trial
    recipe: Recipe


class Study:
    """The loop over one run directory.

    Args:
        recipe: resolved; the first round does what it says.
        run: where everything is written.
        corpus: of the recipe.
        machine: where tensors go.
        budget: the clock.
        watch: gets the events.
        stop_requested: asked after every step.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunDirectory,
        corpus: Corpus,
        machine: Machine,
        budget: Budget,
        *,
        watch: Watcher,
        stop_requested: Callable[[], bool],
    ) -> None:
        self.recipe, self.run_directory, self.corpus, self.machine, self.budget = recipe, run, corpus, machine, budget
        self.watch, self.stop_requested = watch, stop_requested
        self.journal = read_lines(run.journal)
        self.metric = METRICS[recipe.metric]
        self.tried: set[str] = {str(line["key"]) for line in self.journal}
        self.best: _Best | None = self._recall()

    def run(self) -> dict[str, Any]:
        """Play rounds until there is a reason to stop, then sum up.

        Returns:
            What `result.json` holds.

        Raises:
            Stopped: when `stop_requested` said so; the next call goes on.
            StepwellError: when the first round cannot be finished.
        """
        reason = self._reason_to_stop()
        while reason is None:
            change = self._next_change()
            if change is None:
                reason = "nothing_left"
                break
            record = self._retrain(change) if change.retrains else self._decode_again(change)
            append_line(self.run_directory.journal, record)
            self.journal.append(record)
            self.tried.add(record["key"])
            self.watch(RoundDone(record))
            reason = self._reason_to_stop()
        return self._finish(reason)

    @property
    def _reserve(self) -> float:
        """Seconds to keep for the end: measuring on validation and test text in full, the report, and some air."""
        return 4.0 + 0.02 * (self.budget.seconds or 0.0) + self._scoring_seconds(final=True)

    def _scoring_seconds(self, *, final: bool) -> float:
        """About how long measuring takes, from how long it took before."""
        known = [line["judging_seconds"] for line in self.journal if line.get("judging_seconds")]
        once = max(known, default=3.0)
        return once * (2.0 if final else 1.0)

    def _reason_to_stop(self) -> str | None:
        if self._target_met():
            return "target_met"
        if len(self.journal) >= self.recipe.study.max_rounds:
            return "max_rounds"
        if self.budget.left - self._reserve < SHORTEST_ROUND_SECONDS and self.journal:
            return "budget_spent"
        return None

    def _target_met(self) -> bool:
        target = self.recipe.target
        if target is None or self.best is None:
            return False
        value = self.best.trial.value.value
        return value >= target if self.metric.higher_is_better else value <= target

    def _next_change(self) -> Change | None:
        """The most urgent remedy that was not tried on the best round; longer training when there is time for it."""
        if self.best is None:
            return Change(FIRST_PLAN, {}, goes_on=False)
        last = self.journal[-1]
        findings = [Finding(f["name"], f["evidence"], f["words"]) for f in self._best_record()["findings"]]
        ready = [c for c in propose(findings, self.best.recipe) if self._key(c) not in self.tried]
        retraining = [c for c in ready if c.retrains and self._has_time_for(c)]
        decoding = [c for c in ready if not c.retrains]
        if retraining:
            return retraining[0]
        return decoding[0] if decoding and last["diagnosis"] != "repetition" else None

    def _has_time_for(self, change: Change) -> bool:
        """A round that begins anew must be able to see at least as many tokens as the best one did."""
        assert self.best is not None
        slot = self._slot_seconds()
        if change.goes_on and self.best.trial.stable is not None:
            return slot >= SHORTEST_ROUND_SECONDS
        return slot >= 0.9 * self._training_seconds(self.best.trial)

    def _training_seconds(self, trial: Trial) -> float:
        """Time that the updates of a trial and of those it goes on from took."""
        record = next(line for line in self.journal if line["round"] == trial.round)
        return trial.tokens / max(1e-9, record["tokens_per_second"])

    def _slot_seconds(self) -> float:
        """Time for the next round's training, measuring left out."""
        left = self.budget.left - self._reserve
        if left == float("inf"):
            return left
        trained = sum(bool(line["steps"]) for line in self.journal)
        to_come = max(1, num_slots(self.budget.seconds or 0.0) - trained)
        return next_slot(left, to_come) - self._scoring_seconds(final=False)

    def _key(self, change: Change) -> str:
        """Names a change of the best round, so that it is tried once."""
        best = 0 if self.best is None else self.best.trial.round
        return f"{best}:{change.finding.name}:{to_json(change.values)}"

    def _retrain(self, change: Change) -> dict[str, Any]:
        """A round of training."""
        number, began = len(self.journal) + 1, self.budget.spent
        self.budget.note(at_once=True)
        base = self.recipe if self.best is None else self.best.recipe
        stable = self.best.trial.stable if self.best is not None and change.goes_on else None
        slot = self._slot_seconds()
        recipe, before = self._sized(base.changed(change.values), stable is not None, slot), self.best
        changed = _differences(None if before is None else before.trial.recipe, recipe)
        planned = slot if slot != float("inf") else None
        self.watch(RoundStarted(number, change.finding.name, describe(changed), planned))
        corpus = self.corpus
        if recipe.tokenizer != self.recipe.tokenizer:
            corpus = open_corpus(recipe, self.run_directory, self.watch, self.corpus.text)
        trial = run_trial(
            number,
            recipe,
            corpus,
            self.run_directory,
            self.machine,
            start_from=stable,
            seconds=planned,
            watch=self._timed,
            stop_requested=self.stop_requested,
        )
        gain = None if before is None else self._gain(before.trial.scores, trial)
        accepted = gain is None or (gain.low is not None and gain.low > 0)
        findings = diagnose(self._case(trial, corpus))
        if accepted:
            self._keep(trial, recipe, corpus)
        steps = [line for line in trial.lines if line["kind"] == "step"]
        seconds = self.budget.spent - began
        trained_tokens, trained_seconds = (steps[-1]["tokens"] - steps[0]["tokens"], steps[-1]["seconds"])
        return {
            **self._line(number, change, changed, None if before is None else before.trial.value.value),
            "continues_from": before.trial.round if before is not None and stable is not None else None,
            **asdict(trial.value),
            **_gain_fields(gain),
            "accepted": accepted,
            "seconds": round(seconds, 1),
            "steps": trial.steps,
            "tokens": trial.tokens,
            "tokens_per_second": round(trained_tokens / max(1e-9, trained_seconds), 1),
            "judging_seconds": round(max(0.5, seconds - trained_seconds), 1),
            "parameters": recipe.model.num_parameters,
            "train_value": trial.train_bits_per_byte if recipe.metric == "bits_per_byte" else None,
            "samples": trial.samples,
            "findings": [finding.as_dict() for finding in findings],
        }

    def _sized(self, recipe: Recipe, goes_on: bool, slot: float) -> Recipe:
        """Set the number of steps to what fits into the slot."""
        if self.best is None or slot == float("inf"):
            first = self.recipe.training.steps
            return recipe if self.best is None else recipe.changed({"training.steps": 2 * first})
        record = self._best_record()
        batch = recipe.training.global_batch_tokens
        shrunk = self.best.recipe.model.train_flops_per_token / recipe.model.train_flops_per_token
        steps = max(20, int(slot * record["tokens_per_second"] * shrunk / batch))
        if goes_on:
            steps += self._stable_step()
        warmup = min(recipe.training.schedule.warmup_steps, steps - 1)
        interval = max(1, (steps - (self._stable_step() if goes_on else 0)) // 10)
        return recipe.changed(
            {
                "training.steps": steps,
                "training.schedule.warmup_steps": warmup,
                "training.evaluate_every_steps": interval,
            }
        )

    def _stable_step(self) -> int:
        assert self.best is not None
        assert self.best.trial.stable is not None
        provenance = self.run_directory.read(self.best.trial.stable / "provenance.json") or {}
        return int(provenance.get("step", 0))

    def _gain(self, before: Any, trial: Trial) -> Interval:
        """How much better a trial is than the best, with a paired interval; above zero is better."""
        first, second = (trial.scores, before) if self.metric.higher_is_better else (before, trial.scores)
        return paired_bootstrap(first, second, self.recipe.metric, resamples=self.recipe.study.resamples)

    def _case(self, trial: Trial, corpus: Corpus) -> Case:
        texts = corpus.text.texts("validation")
        length = trial.recipe.study.sample_tokens
        known = [repeated_ngram_ratio(corpus.tokenizer.encode(texts[n])[:length]) for n in range(min(50, len(texts)))]
        return Case(
            trial,
            rare_ratio=corpus.rare_ratio(),
            bytes_per_token=corpus.bytes_per_token(corpus.tokens.split("validation")),
            text_repetition=float(np.mean(known)),
            unique_tokens=corpus.train.num_tokens,
        )

    def _decode_again(self, change: Change) -> dict[str, Any]:
        """A round that changes only how completions are drawn; it costs no training."""
        assert self.best is not None
        number, began = len(self.journal) + 1, self.budget.spent
        before, recipe = self.best.recipe, self.best.recipe.changed(change.values)
        changed = _differences(before, recipe)
        self.watch(RoundStarted(number, change.finding.name, describe(changed)))
        loaded = load_checkpoint(self.run_directory.best)
        prompts = prompts_of(recipe, self.corpus)
        _, old = speak(loaded.model, loaded.tokenizer, prompts, before.decoding, before)
        samples, new = speak(loaded.model, loaded.tokenizer, prompts, recipe.decoding, recipe)
        accepted = new < old - 0.02
        if accepted:
            self.best.recipe = recipe
        return {
            **self._line(number, change, changed, old),
            "metric": "repetition",
            "continues_from": self.best.trial.round,
            "value": new,
            "low": None,
            "high": None,
            **_gain_fields(Interval(old - new, None, None)),
            "accepted": accepted,
            "seconds": round(self.budget.spent - began, 1),
            "steps": 0,
            "tokens": 0,
            "parameters": recipe.model.num_parameters,
            "train_value": None,
            "samples": samples if accepted else [],
            "findings": self._best_record()["findings"],
        }

    def _line(self, number: int, change: Change, changed: dict[str, Any], before: float | None) -> dict[str, Any]:
        return {
            "round": number,
            "diagnosis": change.finding.name,
            "evidence": change.finding.as_dict()["evidence"],
            "reason": change.finding.words,
            "change": changed,
            "key": self._key(change),
            "metric": self.recipe.metric,
            "before": before,
        }

    def _best_record(self) -> dict[str, Any]:
        assert self.best is not None
        return next(line for line in self.journal if line["round"] == self.best.trial.round)

    def _keep(self, trial: Trial, recipe: Recipe, corpus: Corpus) -> None:
        """Make a trial the best one: its model goes to `best/`."""
        loaded = load_checkpoint(trial.checkpoint)
        save_checkpoint(
            self.run_directory.best,
            loaded.model,
            corpus.tokenizer,
            provenance={**loaded.provenance, "round": trial.round, "decoding": recipe.decoding.model_dump()},
        )
        self.best = _Best(trial, recipe)

    def _recall(self) -> _Best | None:
        """The best round of an earlier process."""
        kept = [line for line in self.journal if line["accepted"] and line["steps"]]
        if not kept:
            return None
        trial = read_trial(kept[-1]["round"], self.run_directory)
        recipe = trial.recipe
        for line in self.journal[self.journal.index(kept[-1]) :]:
            if line["accepted"] and not line["steps"]:
                recipe = recipe.changed({path: pair[1] for path, pair in line["change"].items()})
        return _Best(trial, recipe)

    def _timed(self, event: Any) -> None:
        self.budget.note()
        self.watch(event)

    def _finish(self, reason: str) -> dict[str, Any]:
        """Read the test split, once, and sum up."""
        assert self.best is not None
        self.watch(Stage("evaluate", "test text, once"))
        loaded = load_checkpoint(self.run_directory.best)
        recipe = self.best.recipe
        corpus = self.corpus
        if recipe.tokenizer != corpus.tokenizer:
            corpus = open_corpus(recipe, self.run_directory, self.watch, corpus.text)
        test = corpus.tokens.split("test")
        kept = [line for line in self.journal if line["accepted"] and line["samples"]]
        result = {
            "task": recipe.task,
            "metric": recipe.metric,
            "target": recipe.target,
            "target_met": self._target_met() if recipe.target is not None else None,
            "stopped_because": reason,
            "rounds": len(self.journal),
            "seconds": round(self.budget.spent, 1),
            "validation": measure_all(loaded.model, corpus.judged(recipe.study.validation_bytes), recipe),
            "test": measure_all(loaded.model, test, recipe) if test.num_documents else None,
            "best": {
                "round": self.best.trial.round,
                "path": "best",
                "parameters": recipe.model.num_parameters,
                "decoding": recipe.decoding.model_dump(),
            },
            "baselines": (self.run_directory.read(self.run_directory.facts) or {}).get("baselines", []),
            "samples": kept[-1]["samples"] if kept else [],
        }
        result["seconds"] = round(self.budget.spent, 1)
        write_atomically(self.run_directory.result, to_json(result, indent=2))
        self.budget.note(at_once=True)
        for folder in self.run_directory.root.glob("rounds/*/checkpoints/step-*"):
            shutil.rmtree(folder, ignore_errors=True)
        return result


def kneser_ney_baseline(corpus: Corpus, max_bytes: int) -> dict[str, Any]:
    """A 5-gram model over bytes on the same documents: what counting alone reaches."""
    train, validation = corpus.text.texts("train"), corpus.text.texts("validation")
    stride = max(1, int(np.ceil(np.diff(validation.offsets).sum() / max_bytes)))
    chosen = range(0, len(validation), stride)
    scores = evaluate_kneser_ney(
        train,
        [validation[n] for n in chosen],
        train_ends=train.ends,
        validation_ends=validation.ends[::stride],
    )
    return {"name": "kneser_ney_5", **{"bits_per_byte": with_interval(scores, "bits_per_byte").value}}


def _differences(before: Recipe | None, after: Recipe) -> dict[str, Any]:
    """Recipe path -> [before, after] of what a round changed; the whole plan for the first."""
    paths = [
        "tokenizer.vocab_size",
        "model.num_layers",
        "model.d_model",
        "model.dropout",
        "training.steps",
        "training.global_batch_tokens",
        "training.optimizer.learning_rate",
        "training.optimizer.weight_decay",
        "decoding.repetition_penalty",
    ]
    pairs = {path: [None if before is None else before.value(path), after.value(path)] for path in paths}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def describe(changed: dict[str, Any]) -> str:
    """A change in a few words, for the screen."""
    if all(before is None for before, _ in changed.values()):
        return "first_plan"
    return ", ".join(f"{path.rpartition('.')[2]} {before} to {after}" for path, (before, after) in changed.items())


def _gain_fields(gain: Interval | None) -> dict[str, float | None]:
    if gain is None:
        return {"gain": None, "gain_low": None, "gain_high": None}
    return {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}


def first_round_steps(recipe: Recipe, tokens_per_second: float, seconds: float) -> Recipe:
    """Size the first round to its slot."""
    steps = max(20, int(seconds * tokens_per_second / recipe.training.global_batch_tokens))
    warmup = min(recipe.training.schedule.warmup_steps, max(1, steps // 10))
    return recipe.changed(
        {
            "training.steps": steps,
            "training.schedule.warmup_steps": warmup,
            "training.evaluate_every_steps": max(1, steps // 10),
        }
    )


def announce(facts: dict[str, Any], watch: Watcher) -> None:
    """Say what counting alone reaches, so that every later number has a measure."""
    for baseline in facts.get("baselines", []):
        watch(Fact(f"to beat: a Kneser-Ney 5-gram over the same bytes has {baseline['bits_per_byte']:.3f} bits per byte"))


__all__ = ["Study", "announce", "describe", "first_round_steps", "format_duration", "kneser_ney_baseline"]
