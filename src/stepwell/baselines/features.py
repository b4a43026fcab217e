"""What simple models see of a text: n-grams weighted by TF-IDF (Spärck Jones, 1972), words and characters.

Text of scripts without spaces is its characters, pairs and triples of them; other text its words and marks and pairs of
these, or pieces of two to five characters inside of words too, so that endings and misspellings count. Each kind of
n-gram is brought to length 1 for itself. Measured against other choices in benchmarks/LOG.md. This file leaves out the
models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.data import needed

READ_CHARACTERS = 20_000
"""Of a text, from its beginning."""

_DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]")
DENSE_RATIO = 0.2
"""From this share of such characters on, a corpus is taken for one without spaces."""

WORDS = r"\w+|[^\w\s]"
KINDS: Mapping[str, Mapping[str, Any]] = {
    "characters": {"analyzer": "char", "ngram_range": (1, 3)},
    "pairs": {"analyzer": "char", "ngram_range": (1, 2)},
    "words": {"analyzer": "word", "token_pattern": WORDS, "ngram_range": (1, 2)},
    "pieces": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}
"""Kind of n-grams -> how scikit-learn counts them."""


def is_dense(texts: Sequence[str]) -> bool:
    """Whether a corpus is of a script without spaces, by its characters."""
    some = "".join(text[:200] for text in texts[:: max(1, len(texts) // 500)])
    return len(_DENSE.findall(some)) >= DENSE_RATIO * max(1, len(some))


class Features:
    """Turns texts into rows of weighted n-grams.

    Args:
        vocabularies: kind -> n-grams in order.
        idf: kind -> (n-grams,) float32, weight of each.
    """

    def __init__(self, vocabularies: Mapping[str, Sequence[str]], idf: Mapping[str, NDArray[np.float32]]) -> None:
        text: Any = needed("sklearn.feature_extraction.text", "data", "a baseline of n-grams")
        self.vocabularies, self.idf = vocabularies, idf
        self._parts = []
        for kind, words in vocabularies.items():
            vectors = text.TfidfVectorizer(
                **_settings(kind), vocabulary=dict(zip(words, range(len(words)), strict=True))
            )
            vectors.idf_ = np.asarray(idf[kind], np.float64)
            self._parts.append(vectors)

    @classmethod
    def of(cls, texts: Sequence[str], kinds: Sequence[str]) -> Features:
        """Features of a training corpus.

        Args:
            texts: of it.
            kinds: of n-grams, names of `KINDS`.

        Raises:
            DataError: when scikit-learn is not installed.
            ValueError: when there is no n-gram in any text.
        """
        text: Any = needed("sklearn.feature_extraction.text", "data", "a baseline of n-grams")
        vocabularies, idf = {}, {}
        read = [one[:READ_CHARACTERS] for one in texts]
        for kind in kinds:
            least = 2 if kind == "pieces" and len(texts) > 1_000 else 1
            vectors = text.TfidfVectorizer(**_settings(kind), min_df=least).fit(read)
            vocabularies[kind] = vectors.get_feature_names_out().tolist()
            idf[kind] = vectors.idf_.astype(np.float32)
        return cls(vocabularies, idf)

    def rows(self, texts: Sequence[str]) -> Any:
        """(N, F) sparse float32."""
        sparse: Any = needed("scipy.sparse", "data", "a baseline of n-grams")
        if not texts:
            return sparse.csr_matrix((0, self.size), dtype=np.float32)
        read = [one[:READ_CHARACTERS] for one in texts]
        rows = sparse.hstack([part.transform(read) for part in self._parts], format="csr", dtype=np.float32)
        return rows * np.float32(len(self._parts) ** -0.5)

    @property
    def size(self) -> int:
        """F."""
        return sum(len(words) for words in self.vocabularies.values())


def _settings(kind: str) -> dict[str, Any]:
    return {**KINDS[kind], "lowercase": True, "sublinear_tf": True, "dtype": np.float32}
