"""A fast classifier of texts, asked only about texts that it did not learn from.

A text is its words (Chinese: its characters), pairs of them and pieces of longer words, weighted by TF-IDF; a logistic
regression learns each fold's complement. Equal texts share a fold, and the order of the texts plays no part, so the
same texts give the same probabilities. This file leaves out what the probabilities are good for (`labels.py`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.step import needed
from stepwell.errors import DataError

READ_CHARACTERS = 2_000
"""Of a text, from its beginning; more tells a classifier little."""

FOLDS = 5
PIECE_CHARACTERS = 4
CHUNK_TEXTS = 4_096
INVERSE_PENALTY = 2.0  # of the weights; with 1 to 10 the suspects of our test data are nearly the same

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
_UNIT = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+|[!?！？{_EMOJI}]")


def features(text: str) -> list[str]:
    """What a classifier sees of a text: units (words, Chinese characters, emoji), pairs of them, pieces of words."""
    units = _UNIT.findall(text[:READ_CHARACTERS].lower())
    pairs = [f"{one} {other}" for one, other in pairwise(units)]
    pieces = [
        f"#{marked[start : start + PIECE_CHARACTERS]}"
        for marked in (f"<{unit}>" for unit in units if len(unit) >= PIECE_CHARACTERS)
        for start in range(len(marked) - PIECE_CHARACTERS + 1)
    ]
    return [*units, *pairs, *pieces]


def folds_of(digests: NDArray[np.uint64], labels: NDArray[np.int64], folds: int = FOLDS) -> NDArray[np.int64]:
    """A fold for each text: every label is spread evenly, and equal texts share one.

    Args:
        digests: (N, 2) of the texts.
        labels: (N,) class of each.
        folds: how many.

    Returns:
        (N,) in [0, folds); whatever the order of the texts.
    """
    order = np.lexsort((labels, digests[:, 1], digests[:, 0]))  # of equal texts, the one of the smallest label decides
    new = np.ones(len(order), bool)
    new[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
    text_of = np.empty(len(order), np.int64)
    text_of[order] = np.cumsum(new) - 1
    first = order[new]
    by_label = np.lexsort((digests[first, 1], digests[first, 0], labels[first]))
    fold_of_text = np.empty(len(first), np.int64)
    fold_of_text[by_label] = np.arange(len(first)) % folds
    return fold_of_text[text_of]


class FoldedClassifier:
    """A model for each fold, learned from all other folds.

    Args:
        texts: to learn from.
        labels: (N,) class of each, in [0, num_classes).
        folds: (N,) of each, as `folds_of` gives them; every class must be outside every fold.
        digests: (N, 2) of the texts; the models are learned in their order.
        num_classes: K, at least 2.

    Raises:
        DataError: when scikit-learn is not installed, or no text has words.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: NDArray[np.int64],
        folds: NDArray[np.int64],
        digests: NDArray[np.uint64],
        num_classes: int,
    ) -> None:
        text: Any = needed("sklearn.feature_extraction.text", "data", "a classifier of texts")
        linear: Any = needed("sklearn.linear_model", "data", "a classifier of texts")
        self._threads: Any = needed("threadpoolctl", "data", "a classifier of texts")
        order = np.lexsort((labels, digests[:, 1], digests[:, 0]))
        labels, folds = labels[order], folds[order]
        least = 2 if len(order) >= 1_000 else 1  # what stands in one text only says nothing about another
        self._vectors = text.TfidfVectorizer(analyzer=features, min_df=least, sublinear_tf=True, dtype=np.float32)
        try:
            rows = self._vectors.fit_transform([texts[place] for place in order])
        except ValueError as error:  # scikit-learn: an empty vocabulary
            raise DataError(
                "a classifier of texts: nothing to learn from",
                got=f"{len(order):,} texts, such as {texts[int(order[0])][:40]!r}; {error}",
                wanted=f"words that {least} texts or more have" if least > 1 else "words",
                do="leave out what needs it (of the step labels: noise: false)",
            ) from None
        self.num_classes = num_classes
        self._models = []
        for fold in range(int(folds.max()) + 1):
            model = linear.LogisticRegression(C=INVERSE_PENALTY, max_iter=100, tol=1e-3)
            # The sums of several threads differ in the last bit.
            with warnings.catch_warnings(), self._threads.threadpool_limits(1):
                warnings.simplefilter("ignore")  # it need not converge to the last digit
                model.fit(rows[folds != fold], labels[folds != fold])
            self._models.append(model)

    def probabilities(self, texts: Sequence[str], folds: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the models think of texts that they have not seen.

        Args:
            texts: perhaps none.
            folds: (N,) of each; -1 for one that no model has seen, which gets the mean of all models.

        Returns:
            (N, K), each row sums to 1.
        """
        result = np.zeros((len(texts), self.num_classes))
        for start in range(0, len(texts), CHUNK_TEXTS):
            here = slice(start, start + CHUNK_TEXTS)
            rows, part = self._vectors.transform(texts[here]), result[here]
            for fold, model in enumerate(self._models):
                own = folds[here] == fold
                if own.any():
                    part[np.ix_(own, model.classes_)] = model.predict_proba(rows[own])
                unseen = folds[here] < 0
                if unseen.any():
                    part[np.ix_(unseen, model.classes_)] += model.predict_proba(rows[unseen]) / len(self._models)
        return result

    def vectors(self, texts: Sequence[str], size: int = 64) -> NDArray[np.float64]:
        """Texts as short vectors, near each other where their words are (random projection of TF-IDF).

        Args:
            texts: perhaps none.
            size: numbers of each vector.

        Returns:
            (N, size).
        """
        if not texts:
            return np.zeros((0, size))
        rows = self._vectors.transform(texts)
        projection = np.random.default_rng(0).standard_normal((rows.shape[1], size)) / np.sqrt(size)
        return np.asarray(rows @ projection)
