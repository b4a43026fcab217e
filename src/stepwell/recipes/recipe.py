"""The recipe: one frozen object that says everything a run does.

It is composed of the configs of the rooms below, each beside the class that it builds. A round of the loop is a
recipe with a few values changed, so the journal can name every change by its path. This file leaves out where values
come from (`draft.py`) and what is derived (`derive.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stepwell.config import Config, build, merge, parse_duration
from stepwell.data import DataConfig
from stepwell.inference import SamplingParams
from stepwell.models import MODELS, AnyModelConfig
from stepwell.recipes.derive import MEASUREMENTS
from stepwell.tasks import TASKS, AnyTaskConfig, LanguageModelingConfig, build_task
from stepwell.tokenizers import TokenizerConfig, TrainedConfig
from stepwell.tracking import TrackerKind
from stepwell.training import TrainingConfig

ALTERABLE = ("budget", "target", "track")
"""What may be another value when a run goes on; everything else says which run it is."""


class StudyConfig(Config):
    """How the closed loop searches.

    Attributes:
        max_rounds: the loop ends after so many rounds, whatever is left of the budget.
        resamples: bootstrap draws.
        validation_bytes: held-out text that a round is judged by, at most, in bytes; so much of the test text is read.
        watch_bytes: held-out text that is measured while training goes on, at most, in bytes.
        prompts: beginnings that every round completes; taken from held-out text when empty.
        sample_tokens: length of those completions.
        baselines: simpler models to compare with: `kneser_ney_5` counts bytes, `feed_forward` (Bengio et al., 2003) is
            trained for a tenth of the time.
        fixed: recipe paths that no round may change (`model.num_layers`, `task.decision`); the loop begins from your
            values and may change any other.
        levers: recipe paths with values that rounds shall try (`data.steps.quality.enabled: [true, false]`), before
            anything that the loop finds by itself. Where text changes, what is held out stays as it was.
        tokenizers: as in the tokenizer section, compared on held-out text before the first round, which takes the one
            whose tokens stand for most text among those that give all text back and of whose entries at most a fifth
            are rare; none are compared where the tokenizer section says a kind or a size.
    """

    max_rounds: Annotated[int, Field(ge=1)] = 8
    resamples: Annotated[int, Field(ge=100)] = 2000
    validation_bytes: Annotated[int, Field(ge=1000)] = 400_000
    watch_bytes: Annotated[int, Field(ge=1000)] = 30_000
    prompts: tuple[str, ...] = ()
    sample_tokens: Annotated[int, Field(ge=1)] = 100
    baselines: tuple[Literal["kneser_ney_5", "feed_forward"], ...] = ("kneser_ney_5",)
    fixed: tuple[str, ...] = ()
    levers: Mapping[str, tuple[Any, ...]] = {}
    tokenizers: tuple[Annotated[TrainedConfig, Field(discriminator="kind")], ...] = ()


class Recipe(Config):
    """Everything a run does.

    Attributes:
        preset: an architecture by name, of which every value may be said otherwise; None for stepwell's own.
        task: what the model is for, as its kind alone or with settings.
        metric: what the loop improves and the target is stated in; one of the task's.
        target: the loop stops when validation reaches it; None for no target.
        budget: wall time of the whole run (`90s`, `20m`, `1h30m`); None takes ten minutes, and no limit
            where the number of steps is fixed.
        seed: decides every draw of the run.
        init_from: a run or a checkpoint to begin from: its tokenizer, its model, its weights; None for fresh weights.
        word_vectors: a file of word vectors (word2vec, fastText) that the embedding begins from.
        data: sources, cleaning and splits.
        tokenizer: which tokenizer is trained.
        model: which model is built.
        training: how it is trained.
        decoding: how completions are drawn.
        study: how the loop searches.
        track: other programs that show how the training goes, beside metrics.jsonl; their files stand in the run
            directory.
    """

    preset: str | None = None
    task: AnyTaskConfig = LanguageModelingConfig()
    metric: str = "bits_per_byte"
    target: float | None = None
    budget: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    init_from: str | None = None
    word_vectors: str | None = None
    data: DataConfig
    tokenizer: TokenizerConfig
    model: AnyModelConfig
    training: TrainingConfig
    decoding: SamplingParams = SamplingParams(temperature=0.8, seed=0)
    study: StudyConfig = StudyConfig()
    track: tuple[TrackerKind, ...] = ()

    @field_validator("budget")
    @classmethod
    def _reads_as_duration(cls, budget: str | None) -> str | None:
        if budget is not None:
            parse_duration(budget)
        return budget

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        metrics = TASKS[self.task.kind].metrics
        if self.metric not in metrics:
            raise ValueError(f"a metric of {self.task.kind} ({', '.join(metrics)}), not {self.metric}")
        lowest, highest = metrics[self.metric]
        if self.target is not None and not lowest < self.target < highest:
            raise ValueError(f"a target that {self.metric} can reach: between {lowest:g} and {highest:g}")
        for path, values in self.study.levers.items():
            if self.value(path) is None:
                raise ValueError(f"study.levers that this recipe has; it has no {path}")
            for value in values:
                self._pulled(path, value)
        rows, tokens = self.model.vocab_size, self.tokenizer.vocab_size
        if rows < tokens or (rows > tokens and self.init_from is None):  # published tables may have rows to spare
            raise ValueError(f"a model.vocab_size that is tokenizer.vocab_size ({self.tokenizer.vocab_size})")
        if (self.training.adapter is not None or self.training.freeze) and self.init_from is None:
            raise ValueError("an init_from, whose weights training.adapter or training.freeze keeps")
        objectives = MODELS[self.model.kind].objectives
        if self.training.objective.kind not in objectives:
            raise ValueError(
                f"a training.objective that model.kind {self.model.kind} learns from: {' or '.join(objectives)}"
            )
        return self

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else parse_duration(self.budget)

    @property
    def usual_passes(self) -> float:
        """How often the examples of its task are usually seen; 0 for as long as there is time."""
        return build_task(self.task).passes(self.init_from is not None)

    @property
    def scoring(self) -> Literal["causal", "masked"]:
        """Whether a token is told from those before it, or from both sides; the numbers of the two do not compare."""
        return "masked" if self.training.objective.kind == "masked" else "causal"

    def changed(self, values: Mapping[str, Any]) -> Self:
        """A recipe with some values replaced.

        Args:
            values: dotted path -> new value.

        Raises:
            ConfigError: when a path or a value does not fit.
        """
        tree = self.model_dump()
        for path, value in values.items():
            for name in reversed(path.split(".")):
                value = {name: value}
            tree = merge(tree, value)
        return build(type(self), tree, where="recipe")

    def _pulled(self, path: str, value: Any) -> None:
        """See that a lever can have a value.

        Raises:
            ValueError: when it cannot.
        """
        section, _, rest = path.partition(".")
        cls = type(getattr(self, section))
        if not rest or not issubclass(cls, Config):
            raise ValueError(f"study.levers within a section such as model or training, not {path}")
        if section == "data" and not rest.startswith("steps."):
            raise ValueError(f"study.levers that leave the splits alone: of data.steps, not {path}")
        nested: Any = value
        for name in reversed(rest.split(".")):
            nested = {name: nested}
        build(cls, merge(getattr(self, section).model_dump(), nested), where=f"study.levers: {path}")

    def value(self, path: str) -> Any:
        """The value at a dotted path; None where the kinds of this recipe have no such field.

        One of several steps is named by its kind: `data.steps.quality.enabled`; one value of a mapping by its key:
        `data.steps.mix.weights.books`.
        """
        value: Any = self
        for name in path.split("."):
            if isinstance(value, tuple):
                value = next((one for one in value if getattr(one, "kind", None) == name), None)
            elif isinstance(value, Mapping):
                value = value.get(name)
            else:
                value = getattr(value, name, None)
        return value


def fit_steps(recipe: Recipe, steps: int, *, since: int) -> Recipe:
    """A recipe of another length: steps, and what depends on them.

    Args:
        recipe: any.
        steps: where the run ends; at least 20 after `since`.
        since: the step that it goes on from.
    """
    steps, schedule = max(since + 20, steps), recipe.training.schedule
    most = schedule.most_warmup_ratio
    return recipe.changed(
        {
            "training.steps": steps,
            "training.schedule.warmup_steps": min(schedule.warmup_steps, max(1, int(most * steps))),
            "training.evaluate_every_steps": max(1, (steps - since) // MEASUREMENTS),
        }
    )
