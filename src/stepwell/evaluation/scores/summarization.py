"""How close summaries are to those of people: ROUGE-1, ROUGE-2 and ROUGE-L, and how long they are.

rouge-score counts them, over words of our own (`words.py`): with its own tokenizer a Chinese summary has no words, and
every value is 0. A value is the mean over texts, as the field reports it. This file leaves out stems and ROUGE-Lsum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepwell.errors import DataError
from stepwell.evaluation.scores.libraries import needed
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share
from stepwell.evaluation.scores.words import words_of

KINDS = ("rouge1", "rouge2", "rougeL")


class _Words:
    """`words_of` as rouge-score wants it."""

    def tokenize(self, text: str) -> list[str]:
        return words_of(text)


@dataclass(frozen=True)
class SummaryScores(Scores):
    """What was made of each of N texts.

    Attributes:
        count: (N,) 1.
        rouge: (N, 3) F1 of ROUGE-1, ROUGE-2 and ROUGE-L, each with the reference that is nearest by it; 0 where either
            text has no word.
        words: (N,) length of the summary.
        wanted_words: (N,) mean length of its references.
    """

    count: FloatArray
    rouge: FloatArray
    words: FloatArray
    wanted_words: FloatArray

    @classmethod
    def of(cls, summaries: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> SummaryScores:
        """Scores of summaries, in any language.

        Args:
            summaries: (N,) texts.
            references: (N,) the right one of each, or the right ones.

        Raises:
            DataError: when they are not as many, or a text has no reference.
            UsageError: when rouge-score is not installed.
        """
        if len(summaries) != len(references):
            raise DataError(
                "summaries: of other texts", got=f"{len(summaries)}", wanted=f"{len(references)}, as the references"
            )
        scorer = needed("rouge_score.rouge_scorer", "ROUGE").RougeScorer(KINDS, tokenizer=_Words())
        rouge, wanted = np.zeros((len(summaries), len(KINDS))), np.zeros(len(summaries))
        for row, (summary, right) in enumerate(zip(summaries, references, strict=True)):
            ones = [right] if isinstance(right, str) else list(right)
            if not ones:
                raise DataError(f"summary {row}: has no reference", do="leave it out")
            found = scorer.score_multi(ones, summary)
            rouge[row] = [found[kind].fmeasure for kind in KINDS]
            wanted[row] = np.mean([len(words_of(one)) for one in ones])
        words = np.array([len(words_of(summary)) for summary in summaries], np.float64)
        return cls(np.ones(len(summaries)), rouge, words, wanted)

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the references differ in number or in length.
        """
        if not isinstance(other, SummaryScores) or not np.array_equal(self.wanted_words, other.wanted_words):
            raise ValueError("a paired bootstrap needs summaries of the same texts in the same order")


SummaryScores.metrics = {
    "rouge_1": Metric(
        lambda totals: totals.rouge[..., 0] / totals.count, higher_is_better=True, unit="mean F1", per="example"
    ),
    "rouge_2": Metric(
        lambda totals: totals.rouge[..., 1] / totals.count, higher_is_better=True, unit="mean F1", per="example"
    ),
    "rouge_l": Metric(
        lambda totals: totals.rouge[..., 2] / totals.count, higher_is_better=True, unit="mean F1", per="example"
    ),
    "length_ratio": Metric(
        lambda totals: share(totals.words, totals.wanted_words),
        higher_is_better=None,
        unit="words for each word of the references; 1 is as long",
        per="example",
    ),
}
