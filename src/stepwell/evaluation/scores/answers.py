"""How right answers to questions are: exact match and F1 as SQuAD and CMRC 2018 define them.

SQuAD compares bags of words without articles and punctuation; CMRC 2018 the longest run of characters and words that
two Chinese answers share. Of several right answers the nearest counts. A question without an answer is answered rightly
by saying nothing. This file leaves out how an answer is found, and the articles of other languages.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import DataError
from stepwell.evaluation.scores.libraries import needed
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores, share
from stepwell.evaluation.scores.translation import CHINESE

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

_HAN = re.compile("[\u4e00-\u9fa5]")
_SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""Those that CMRC 2018 leaves out; a dot of an ellipsis is none of them."""


@dataclass(frozen=True)
class AnswerScores(Scores):
    """What was made of each of N questions.

    Attributes:
        count: (N,) 1.
        exact: (N,) whether the answer is a right one.
        f1: (N,) in [0, 1], how near it is to the nearest right one.
        unanswerable: (N,) whether the question has no answer.
        unanswered: (N,) whether it has none, and none was given.
    """

    count: FloatArray
    exact: NDArray[np.bool_]
    f1: FloatArray
    unanswerable: NDArray[np.bool_]
    unanswered: NDArray[np.bool_]

    @classmethod
    def of(
        cls, answers: Sequence[str], right: Sequence[str] | Sequence[Sequence[str]], language: str | None = None
    ) -> AnswerScores:
        """Scores of answers.

        Args:
            answers: (N,) texts; an empty one says that there is no answer.
            right: (N,) the right answer to each, or the right ones; none, or empty ones, where there is none.
            language: of the answers; Chinese is compared as CMRC 2018 does it, all else as SQuAD does. Default
                Chinese where a right answer (or, without one, the answer) has a Chinese character.

        Raises:
            DataError: when they are not as many.
            UsageError: when NLTK, which cuts what is not Chinese in a Chinese answer, is not installed.
        """
        if len(answers) != len(right):
            raise DataError(
                "answers: to other questions", got=f"{len(answers)}", wanted=f"{len(right)}, as the right ones"
            )
        exact, f1, none = (np.zeros(len(answers)) for _ in range(3))
        for row, (answer, ones) in enumerate(zip(answers, right, strict=True)):
            several = [ones] if isinstance(ones, str) else list(ones)
            way = chinese_parts if _is_chinese(language, several, answer) else english_parts
            wanted = [one for one in several if way(one)[0]] or [""]
            pairs = [_compared(answer, one, way) for one in wanted]
            exact[row], f1[row] = (max(values) for values in zip(*pairs, strict=True))
            none[row] = wanted == [""]
        unanswerable = none.astype(bool)
        return cls(np.ones(len(answers)), exact.astype(bool), f1, unanswerable, unanswerable & exact.astype(bool))

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the questions differ in number, or in which of them have an answer.
        """
        if not isinstance(other, AnswerScores) or not np.array_equal(self.unanswerable, other.unanswerable):
            raise ValueError("a paired bootstrap needs answers to the same questions in the same order")


Parts = Callable[[str], tuple[str, list[str]]]


def english_parts(answer: str) -> tuple[str, list[str]]:
    """An answer as SQuAD compares it: small letters, no punctuation, no articles; and its words."""
    words = _ARTICLE.sub(" ", answer.lower().translate(_PUNCTUATION)).split()
    return " ".join(words), words


def chinese_parts(answer: str) -> tuple[str, list[str]]:
    """An answer as CMRC 2018 compares it: small letters, no signs; and its parts, Chinese characters and other words.

    Raises:
        UsageError: when NLTK is not installed.
    """
    plain = "".join(character for character in answer.lower().strip() if character not in _SIGNS)
    parts: list[str] = []
    for at, stretch in enumerate(re.split(f"({_HAN.pattern})", plain)):
        if at % 2:
            parts.append(stretch)
        elif stretch.strip():
            cut = needed("nltk.tokenize", "exact match and F1 of Chinese answers").word_tokenize
            parts.extend(cut(stretch, preserve_line=True))  # its sentence splitter would need a download
    return plain, parts


def _compared(answer: str, right: str, way: Parts) -> tuple[float, float]:
    """Exact match and F1; where either has no part, both are whether the other has none either (SQuAD 2.0)."""
    (said, parts), (wanted, right_parts) = way(answer), way(right)
    exact = float(said == wanted)
    if not parts or not right_parts:
        return exact, exact
    if way is chinese_parts:
        common = longest_common_run(parts, right_parts)
    else:
        common = (Counter(parts) & Counter(right_parts)).total()
    return exact, 2 * common / (len(parts) + len(right_parts))


def longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest run of parts that stands in both."""
    longest, above = 0, [0] * (len(second) + 1)
    for one in first:
        row = [0]
        for at, other in enumerate(second):
            row.append(above[at] + 1 if one == other else 0)
        longest, above = max(longest, *row), row
    return longest


def _is_chinese(language: str | None, right: Sequence[str], answer: str) -> bool:
    if language is not None:
        return language.replace("_", "-").partition("-")[0].lower() in CHINESE
    return bool(_HAN.search("".join(right) or answer))


AnswerScores.metrics = {
    "exact_match": Metric(
        lambda totals: totals.exact / totals.count, higher_is_better=True, unit="share of questions", per="example"
    ),
    "f1": Metric(lambda totals: totals.f1 / totals.count, higher_is_better=True, unit="mean F1", per="example"),
    "no_answer_accuracy": Metric(
        lambda totals: share(totals.unanswered, totals.unanswerable),
        higher_is_better=True,
        unit="share of questions without an answer",
        per="example",
    ),
}
