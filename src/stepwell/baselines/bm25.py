"""Documents found by their words (Robertson and Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25").

A word counts for more the fewer documents have it, and the more often a document has it, up to a point; long documents
have words by chance. Chinese and Japanese text has no words to see, so its pairs of neighbouring characters take their
place. This file leaves out stemming and stop words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DENSE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUNS = re.compile(f"[{_DENSE}]+|[^\\W{_DENSE}]+")

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""k1 and b of the formula, its usual values."""


def terms_of(text: str) -> list[str]:
    """What a text is found by: words without case, and pairs of characters where words have no blanks between them."""
    found: list[str] = []
    for run in _RUNS.findall(text.lower()):
        dense = run[0] >= "\u3040" and len(run) > 1 and re.match(f"[{_DENSE}]", run[0]) is not None
        found += [run[at : at + 2] for at in range(len(run) - 1)] if dense else [run]
    return found


class BM25:
    """An index over documents.

    Args:
        documents: D texts.
        saturation: k1, above 0: how soon more of the same word counts for no more.
        length_share: b, in [0, 1]: how much a document's length counts against it.
    """

    def __init__(
        self, documents: Sequence[str], saturation: float = SATURATION, length_share: float = LENGTH_SHARE
    ) -> None:
        self.num_documents = len(documents)
        lengths = np.zeros(len(documents))
        holders: dict[str, list[int]] = {}
        counts: dict[str, list[int]] = {}
        for number, text in enumerate(documents):
            several = Counter(terms_of(text))
            lengths[number] = several.total()
            for term, count in several.items():
                holders.setdefault(term, []).append(number)
                counts.setdefault(term, []).append(count)
        mean = float(lengths.mean()) if lengths.any() else 1.0
        norm = saturation * (1 - length_share + length_share * lengths / mean)
        self._weights: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        for term, several_documents in holders.items():
            at, often = np.array(several_documents), np.array(counts[term], np.float64)
            rarity = np.log1p((len(documents) - len(at) + 0.5) / (len(at) + 0.5))  # never below 0, as Lucene has it
            self._weights[term] = at, (rarity * often * (saturation + 1) / (often + norm[at])).astype(np.float32)

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """(Q, D) how well each document goes with each query; 0 where they share no term."""
        found = np.zeros((len(queries), self.num_documents), np.float32)
        for row, query in zip(found, queries, strict=True):
            for term, times in Counter(terms_of(query)).items():
                if term in self._weights:
                    at, weights = self._weights[term]
                    row[at] += times * weights
        return found
