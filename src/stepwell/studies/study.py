"""The closed loop: train, measure, diagnose, adjust, and train again.

Every round is a recipe with something changed for a reason. It is kept only if it beats the best by more than the
noise, on the same validation documents. The loop ends when the target is met, the budget is spent or no remedy is left.
Everything is written down as it happens, so a run that was killed goes on in the round it was in. This file leaves out
the summing up (`summary.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepwell.baselines import open_beside
from stepwell.checkpoints import load_checkpoint, save_checkpoint
from stepwell.evaluation import Interval, bootstrap, measure_of, paired_bootstrap, paired_means, repeated_ngram_ratio
from stepwell.hardware import Machine
from stepwell.progress import Event, RoundDone, RoundStarted, Watcher
from stepwell.recipes import Recipe, fit_steps
from stepwell.runs import RunDirectory, to_json, write_atomically
from stepwell.studies.budget import Budget, next_slot, num_slots
from stepwell.studies.corpus import Corpus, open_corpus, read_text
from stepwell.studies.deciding import DECIDED_BY, decide, has_choice
from stepwell.studies.diagnosis import Case, Finding, diagnose
from stepwell.studies.journal import Journal, Line, begin_line, describe, differences, gain_fields, planned_judging
from stepwell.studies.remedies import LEVER, Change, propose
from stepwell.studies.speaking import prompts_of, speak
from stepwell.studies.trial import Trial, read_trial, run_trial
from stepwell.training import Profiler

SHORTEST_ROUND_SECONDS = 8.0
DECISION = Finding("decision", {}, "what the model says may be decided on otherwise, without training")
FIRST_PLAN = Finding("first_plan", {}, "the plan for this text, this machine and this budget")


@dataclass
class Best:
    """The best model so far: its trial, its recipe with what later rounds changed about prediction, and its value."""

    trial: Trial
    recipe: Recipe
    value: Interval


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
        profiler: looks at ten steps of the first training.
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
        profiler: Profiler | None = None,
    ) -> None:
        self.recipe, self.run, self.corpus, self.machine, self.budget = recipe, run, corpus, machine, budget
        self.watch, self.stop_requested, self.profiler = watch, stop_requested, profiler
        self.metric = measure_of(recipe.task).metrics[recipe.metric]
        self.journal = Journal(run.journal, planned_judging(run))
        self.best = self._recall()

    def play(self) -> str:
        """Play rounds until there is a reason to stop.

        Returns:
            The reason: `target_met`, `max_rounds`, `budget_spent` or `nothing_left`.

        Raises:
            Stopped: when `stop_requested` said so; the next call goes on.
            StepwellError: when a round cannot be finished.
        """
        while (reason := self._reason_to_stop()) is None:
            change = self._next_change()
            if change is None:
                return "budget_spent" if self._untried() else "nothing_left"
            line = self._retrain(change) if change.retrains else self._predict_otherwise(change)
            self.journal.add(line)
            self._forget(line["round"])
            self.watch(RoundDone(line))
        return reason

    def target_met(self) -> bool:
        """Whether the best round reaches the target on validation."""
        target = self.recipe.target
        if target is None or self.best is None:
            return False
        value = self.best.value.value
        return bool(value >= target if self.metric.higher_is_better else value <= target)

    def _reason_to_stop(self) -> str | None:
        if self.target_met():
            return "target_met"
        if len(self.journal.lines) >= self.recipe.study.max_rounds:
            return "max_rounds"
        if self.journal.lines and self._seconds_for_rounds() < SHORTEST_ROUND_SECONDS:
            return None if self._members_wait() else "budget_spent"
        return None

    def _members_wait(self) -> bool:
        """Whether it is still open which of the simple models and the trained one answer: that takes a moment."""
        decision = Change(DECISION, {}, goes_on=False, retrains=False)
        tried = {line["key"] for line in self.journal.lines}
        has_members = hasattr(getattr(self.recipe.task, "decision", None), "members")
        return (
            self.best is not None
            and self._may_decide()
            and has_members
            and bool(self._baselines())
            and self._key(decision) not in tried
        )

    def _seconds_for_rounds(self) -> float:
        """What is left, but for the end: measuring on validation and test text, the report, and some air."""
        return self.budget.left - 3.0 - 0.015 * (self.budget.seconds or 0.0) - 2 * self.journal.judging_seconds()

    def _slot_seconds(self) -> float:
        """Time for the next round's training, measuring left out."""
        to_come = max(1, num_slots(self.budget.seconds or 0.0) - self.journal.trained())
        if not self.journal.lines and self.recipe.usual_passes:
            to_come = 1  # it ends when the examples were seen as often as is usual
        slot = next_slot(self._seconds_for_rounds(), to_come) - self.journal.judging_seconds()
        return slot if self.journal.lines else max(slot, SHORTEST_ROUND_SECONDS)

    def _next_change(self) -> Change | None:
        """The most urgent remedy for the best round that was not tried and pays; decoding when no training does."""
        if self.best is None:
            return Change(FIRST_PLAN, {}, goes_on=False)
        decide = Change(DECISION, {}, goes_on=False, retrains=False)
        if self._may_decide() and self._key(decide) not in {line["key"] for line in self.journal.lines}:
            return decide  # it costs seconds
        fitting = [change for change in self._untried() if not change.retrains or self._has_time_for(change)]
        return min(fitting, key=lambda change: not change.retrains, default=None)

    def _may_decide(self) -> bool:
        """Whether the task has something to decide on that the recipe does not fix."""
        fixed = any(f"{path}.".startswith("task.decision.") for path in self.recipe.study.fixed)
        return has_choice(self.recipe.task) and not fixed

    def _untried(self) -> list[Change]:
        """Every remedy for the best round that was not tried on it, the most urgent first."""
        assert self.best is not None
        tried = {line["key"] for line in self.journal.lines}
        proposed = propose(self.journal.findings(), self.best.recipe)
        return [change for change in proposed if self._key(change) not in tried and self._is_allowed(change)]

    def _is_allowed(self, change: Change) -> bool:
        """Whether it leaves alone what the recipe fixes; and per-token values of two tokenizers do not compare.

        A lever is not put back to where it was in the first round.
        """
        if change.finding.name == LEVER and all(self.recipe.value(path) == to for path, to in change.values.items()):
            return False
        fixed = set(self.recipe.study.fixed)
        if self.metric.per == "token":
            fixed.add("tokenizer.vocab_size")
        return fixed.isdisjoint(change.values)

    def _has_time_for(self, change: Change) -> bool:
        """A round must come as far as the best one did: through its decay again, or all the way when it begins anew."""
        assert self.best is not None
        best, slot = self.best.trial, self._slot_seconds()
        goes_on = change.goes_on and best.stable is not None
        share = 1 - best.stable_step / best.steps if goes_on else 1.0
        return slot >= max(SHORTEST_ROUND_SECONDS, 0.95 * share * best.tokens / best.tokens_per_second)

    def _key(self, change: Change) -> str:
        """Names a change of the best round, so that it is tried once; a lever is tried once in a run."""
        best = 0 if self.best is None or change.finding.name == LEVER else self.best.trial.round
        return f"{best}:{change.finding.name}:{to_json(change.values)}"

    def _retrain(self, change: Change) -> Line:
        """A round of training."""
        number, began, before = len(self.journal.lines) + 1, self.budget.spent, self.best
        self.budget.note(at_once=True)
        stable = before.trial.stable if before is not None and change.goes_on else None
        slot = self._slot_seconds()
        recipe = self._recipe_of(change, stable is not None, slot)
        self._enter(number, self._key(change))
        changed = differences(None if before is None else before.trial.recipe, recipe)
        self.watch(RoundStarted(number, change.finding.name, describe(changed), slot if slot < float("inf") else None))
        corpus = self.corpus_of(recipe)
        trial = run_trial(
            number,
            recipe,
            corpus,
            self.run,
            self.machine,
            start_from=stable,
            seconds=slot if slot < float("inf") else None,
            watch=self._timed,
            stop_requested=self.stop_requested,
            profiler=self.profiler,
        )
        changed["training.steps"] = [None if before is None else before.trial.steps, trial.steps]
        gain = None if before is None else self._gain(before.trial, trial)
        accepted = gain is None or (gain.low is not None and gain.low > 0)
        value = None if before is None else before.trial.value.value
        line = {
            **begin_line(
                number, change.finding, changed, key=self._key(change), metric=self.recipe.metric, before=value
            ),
            "continues_from": before.trial.round if before is not None and stable is not None else None,
            **asdict(trial.value),
            **gain_fields(gain),
            "accepted": accepted,
            **trial.measured(),
            "findings": [finding.as_dict() for finding in diagnose(self._case(trial, corpus))],
        }
        if accepted:
            self._keep(trial, trial.recipe, corpus)
        seconds = self.budget.spent - began
        judging = max(0.5, seconds - line["training_seconds"])
        return line | {"seconds": round(seconds, 1), "judging_seconds": round(judging, 1)}

    def _recipe_of(self, change: Change, goes_on: bool, slot: float) -> Recipe:
        """The recipe of a round, its steps fitted to the time it has."""
        if self.best is None:
            return self.recipe
        best, recipe = self.best, self._undecided(self.best.recipe.changed(change.values))
        if slot == float("inf"):
            return fit_steps(recipe, 2 * best.trial.steps, since=0)
        cost = recipe.model.train_flops_per_token / best.recipe.model.train_flops_per_token
        speed = best.trial.tokens_per_second / cost
        steps = int(slot * speed / recipe.training.global_batch_tokens)
        if recipe.usual_passes:
            steps = min(steps, 2 * best.trial.steps)
        since = best.trial.stable_step if goes_on else 0
        return fit_steps(recipe, since + steps, since=since)

    def _undecided(self, recipe: Recipe) -> Recipe:
        """A recipe with the decision that the run began with: what was found for one model is not the next one's."""
        decision = getattr(self.recipe.task, "decision", None)
        if decision is None:
            return recipe
        return recipe.model_copy(update={"task": recipe.task.model_copy(update={"decision": decision})})

    def _enter(self, number: int, key: str) -> None:
        """Open the folder of a round; one that an earlier process began for another change is cleared."""
        folder = self.run.round(number)
        mark = folder / "change.txt"
        if mark.exists() and mark.read_text(encoding="utf-8") != key:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, key)

    def _forget(self, number: int) -> None:
        """Remove the checkpoints of a finished round that no later one can need."""
        for folder in (self.run.round(number) / "checkpoints").glob("*"):
            if folder.name not in ("best", "stable"):
                shutil.rmtree(folder, ignore_errors=True)

    def corpus_of(self, recipe: Recipe) -> Corpus:
        """The text of a recipe in its tokens; what is held out is that of the first round, whatever the recipe."""
        if (recipe.tokenizer, recipe.data) == (self.recipe.tokenizer, self.recipe.data):
            return self.corpus
        text = self.corpus.text
        if recipe.data != self.recipe.data:
            text = read_text(recipe.data, self.run, self.watch, seed=recipe.seed, held_out=text)
        return open_corpus(recipe, self.run, self.watch, text)

    def _gain(self, before: Trial, after: Trial) -> Interval:
        """How much better a trial is than another, with a paired interval; above zero is better."""
        pair = (after, before) if self.metric.higher_is_better else (before, after)
        first, second = (trial.scores for trial in pair)
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
            tokens_to_come=max(0.0, self._seconds_for_rounds()) * trial.tokens_per_second,
        )

    def _predict_otherwise(self, change: Change) -> Line:
        """A round that changes only what is made of a model's predictions."""
        return self._decide_again(change) if change.finding is DECISION else self._decode_again(change)

    def _decide_again(self, change: Change) -> Line:
        """A round that decides otherwise about what the best model says; it costs no training."""
        assert self.best is not None
        number, began = len(self.journal.lines) + 1, self.budget.spent
        self.watch(RoundStarted(number, change.finding.name, change.finding.words))
        before, precision = self.best.recipe, self.best.recipe.training.precision
        beside = open_beside(self.run.root, [one["name"] for one in self._baselines()])
        corpus, loaded = self.corpus_of(before), load_checkpoint(self.run.best)
        model = loaded.model.to(self.machine.device)
        held = corpus.held("validation", max_bytes=before.study.validation_bytes, beside=beside)
        found = decide(model, held, before.task, precision, self.recipe.metric)
        recipe = before.model_copy(update={"task": found})
        measure = measure_of(before.task)
        old, new = (measure.evaluate(model, held, one.task, one.decoding, precision) for one in (before, recipe))
        metric = DECIDED_BY.get(before.task.kind, self.recipe.metric)
        higher = new.metrics[metric].higher_is_better
        gain = paired_bootstrap(*((new, old) if higher else (old, new)), metric)
        surer = paired_bootstrap(old, new, "loss")
        accepted = any(one.low is not None and one.low > 0 for one in (gain, surer)) and gain.value >= 0
        value = bootstrap(new, self.recipe.metric, resamples=self.recipe.study.resamples)
        changed = {
            path: [before.value(path), recipe.value(path)]
            for path in (f"task.decision.{name}" for name in found.model_dump()["decision"])
            if before.value(path) != recipe.value(path)
        }
        line = {
            **begin_line(
                number,
                change.finding,
                changed,
                key=self._key(change),
                metric=self.recipe.metric,
                before=self.best.value.value,
            ),
            "continues_from": self.best.trial.round,
            **asdict(value),
            **gain_fields(gain),
            "accepted": accepted,
            "steps": 0,
            "tokens": 0,
            "parameters": recipe.model.num_parameters,
            "samples": [],
            "findings": [],
            "decided_by": {metric: [bootstrap(one, metric, resamples=1).value for one in (old, new)]},
        }
        if accepted:
            self._keep(self.best.trial, recipe, corpus, value)
        return line | {"seconds": round(self.budget.spent - began, 1)}

    def _baselines(self) -> list[dict[str, Any]]:
        return list((self.run.read(self.run.facts) or {}).get("baselines", []))

    def _decode_again(self, change: Change) -> Line:
        """A round that changes only how completions are drawn; it costs no training."""
        assert self.best is not None
        number, began = len(self.journal.lines) + 1, self.budget.spent
        before, recipe = self.best.recipe, self.best.recipe.changed(change.values)
        changed = differences(before, recipe)
        self.watch(RoundStarted(number, change.finding.name, describe(changed)))
        loaded = load_checkpoint(self.run.best)
        loaded.model.to(self.machine.device)
        prompts = prompts_of(recipe, self.corpus)
        _, old = speak(loaded.model, loaded.tokenizer, prompts, before)
        samples, new = speak(loaded.model, loaded.tokenizer, prompts, recipe)
        gain = paired_means(old, new)
        accepted = gain.low is not None and gain.low > 0
        if accepted:
            self._keep(self.best.trial, recipe, self.corpus_of(recipe))
        value = float(np.mean(old))
        return {
            **begin_line(number, change.finding, changed, key=self._key(change), metric="repetition", before=value),
            "continues_from": self.best.trial.round,
            **asdict(Interval(float(np.mean(new)), None, None)),
            **gain_fields(gain),
            "accepted": accepted,
            "steps": 0,
            "tokens": 0,
            "parameters": recipe.model.num_parameters,
            "samples": samples,
            "findings": [],
            "seconds": round(self.budget.spent - began, 1),
        }

    def _keep(self, trial: Trial, recipe: Recipe, corpus: Corpus, value: Interval | None = None) -> None:
        """Make a model the best one: it goes to `best/`, with the decoding that suits it."""
        loaded = load_checkpoint(trial.checkpoint)
        made_by = {"round": trial.round, "task": recipe.task.model_dump(), "decoding": recipe.decoding.model_dump()}
        save_checkpoint(self.run.best, loaded.model, corpus.tokenizer, provenance={**loaded.provenance, **made_by})
        self.best = Best(trial, recipe, trial.value if value is None else value)

    def _recall(self) -> Best | None:
        """The best round of an earlier process."""
        line = self.journal.best()
        if line is None:
            return None
        trial = read_trial(line["round"], self.run)
        recipe, value = trial.recipe.changed(self.journal.prediction_changes()), self.journal.decided()
        return Best(trial, recipe, trial.value if value is None else value)

    def _timed(self, event: Event) -> None:
        self.budget.note()
        self.watch(event)
