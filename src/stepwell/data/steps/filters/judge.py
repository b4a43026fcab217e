"""A judge that learned from examples of good and of bad text what the user wants (as for GPT-3; Brown et al., 2020).

Logistic regression on hashed words and pairs of words, in Chinese on characters; the same in every run. How often it is
right is told of examples that it did not learn from, and one that cannot tell good from bad is an error. This file
leaves out how it learns (`hashed_regression.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stepwell.data.documents import Document
from stepwell.data.steps.filters.hashed_regression import HashedRegression, cross_validated, features_of
from stepwell.data.steps.filters.passages import passages_of, sort_out
from stepwell.data.steps.filters.text_models import examples_in
from stepwell.data.steps.step import Arrays, Joined, Outcome, Sources, Step, StepConfig
from stepwell.errors import DataError

FEWEST_EXAMPLES = 20
CHANCE = 0.5
TOGETHER = 256
"""Documents that are judged at once; more are no faster."""


class JudgeConfig(StepConfig):
    """What good and bad text looks like.

    Attributes:
        good: sources of good examples; each row, or each piece of a long file, is one.
        bad: sources of bad examples.
        text_column: the column with the text, for tables of examples; found by name when absent.
        threshold: a text is kept when the probability that it is good is at least this; 0.5 means the same for good and
            bad, however many examples there are of each.
        example_bytes: of each sort, at most; of more, a sample.
        min_accuracy: mean share of the good and of the bad examples that must be told right, of those not learned from;
            0.5 is chance.
        passage_bytes: a longer text is judged in passages of about this size; null judges it whole.
        column: gives each text the probability that it is good under this name.
    """

    kind: Literal["judge"] = "judge"
    good: Sources = Field(min_length=1)
    bad: Sources = Field(min_length=1)
    text_column: str | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)
    example_bytes: int = Field(default=2 << 20, ge=10_000, le=1 << 28)
    min_accuracy: float = Field(default=0.6, ge=0, le=1)
    passage_bytes: int | None = Field(default=1 << 16, ge=4096)
    column: str | None = None

    def sides(self) -> dict[str, Sequence[str]]:
        """Sources of good and of bad examples."""
        return {"good": self.good, "bad": self.bad}

    def reads(self) -> Sequence[str]:
        return (*self.good, *self.bad)


class Judge(Step[JudgeConfig]):
    """Drop texts that are more like the bad examples than like the good ones."""

    looks: ClassVar[bool] = True

    def look(self, documents: Sequence[Document]) -> Arrays:
        """Nothing: it learns from the examples alone."""
        return {"nothing": np.zeros(0)}

    def join(self, looks: Sequence[Arrays]) -> Joined:
        """Each shard is told `weights` (2**18,) and `bias` ().

        Raises:
            DataError: when there are too few examples, or good and bad cannot be told apart.
        """
        config = self.config
        texts, is_good, num_both = self._examples()
        features = features_of(texts)
        probabilities = cross_validated(features, is_good, folds=[_fold_of(text) for text in texts])
        right_good = float((probabilities[is_good] >= CHANCE).mean())
        right_bad = float((probabilities[~is_good] < CHANCE).mean())
        accuracy = (right_good + right_bad) / 2
        if accuracy < config.min_accuracy:
            raise DataError(
                "judge: cannot tell the good examples from the bad ones",
                got=f"{accuracy:.1%} right of {len(texts):,} examples that it did not learn from",
                wanted=f"{config.min_accuracy:.0%} or more (data.steps: judge.min_accuracy)",
                do="give more examples, or examples that differ in more than what only a reader sees",
            )
        learned = HashedRegression.fit(features, is_good)
        findings = {
            "good_examples": int(is_good.sum()),
            "bad_examples": int((~is_good).sum()),
            "examples_in_both": num_both,
            "held_out_accuracy": round(accuracy, 4),
            "held_out_good_right": round(right_good, 4),
            "held_out_bad_right": round(right_bad, 4),
        }
        return Joined([{"weights": learned.weights, "bias": np.array(learned.bias)}] * len(looks), findings)

    def apply(self, documents: Sequence[Document], known: Arrays | None = None) -> Outcome:
        outcome, told = Outcome(), known or {}
        learned = HashedRegression(told["weights"], float(told["bias"]))
        for begin in range(0, len(documents), TOGETHER):
            several = [
                (one, passages_of(one, self.config.passage_bytes)) for one in documents[begin : begin + TOGETHER]
            ]
            features = features_of([passage.text for _, passages in several for passage in passages])
            chances = iter(learned.probabilities(features).tolist())
            for document, passages in several:
                self._sort_out(document, passages, [next(chances) for _ in passages], outcome)
        return outcome

    def _sort_out(
        self, document: Document, passages: Sequence[Document], chances: Sequence[float], outcome: Outcome
    ) -> None:
        column = self.config.column
        if column is not None:
            document = document.with_columns({column: round(sum(chances) / len(chances), 4)})
            passages = [
                one.with_columns({column: round(chance, 4)}) for one, chance in zip(passages, chances, strict=True)
            ]
        reasons = [None if chance >= self.config.threshold else "judged_bad" for chance in chances]
        sort_out(document, passages, reasons, outcome)

    def _examples(self) -> tuple[list[str], NDArray[np.bool_], int]:
        """Texts, whether each is good, and how many are left out because they are given as both."""
        config = self.config
        texts = {
            name: examples_in(sources, config.text_column, config.example_bytes, f"judge: {name}").texts
            for name, sources in config.sides().items()
        }
        both = set(texts["good"]) & set(texts["bad"])
        chosen = {name: [text for text in several if text not in both] for name, several in texts.items()}
        for name, several in chosen.items():
            if len(several) < FEWEST_EXAMPLES:
                more = f", and {len(both)} that are given as good and as bad" if both else ""
                raise DataError(
                    f"judge: too few {name} examples",
                    got=f"{len(several)} in {', '.join(config.sides()[name])}{more}",
                    wanted=f"{FEWEST_EXAMPLES} or more; better some hundreds",
                )
        is_good = np.repeat([True, False], [len(chosen["good"]), len(chosen["bad"])])
        return [*chosen["good"], *chosen["bad"]], is_good, len(both)


FOLDS = 5


def _fold_of(text: str) -> int:
    return Document(text, "").digest[0] % FOLDS
