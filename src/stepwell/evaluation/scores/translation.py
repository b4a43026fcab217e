"""How close translations are to those of people: BLEU, chrF, chrF++ and TER, counted by sacrebleu.

sacrebleu counts n-grams and edits sentence by sentence; here its counts are the scores, and the value of a corpus is
taken of their sums, as sacrebleu itself takes it. So the values are sacrebleu's, and the bootstrap needs no second
counting. This file leaves out learned metrics such as COMET, which need a model of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.errors import DataError
from stepwell.evaluation.scores.libraries import needed
from stepwell.evaluation.scores.metrics import FloatArray, Metric, Scores

BLEU_ORDER = 4
"""Of the longest n-grams of words (Papineni et al., 2002)."""

CHRF_BETA = 2
"""How many times recall counts as much as precision (Popović, 2016)."""

CHINESE = frozenset({"zh", "yue", "lzh", "wuu"})
JAPANESE = "ja"

References = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class TranslationScores(Scores):
    """What was made of each of N sentences: the counts of sacrebleu.

    Attributes:
        bleu: (N, 10) lengths in words of the translation and of the closest reference; n-grams of 1 to 4 words that are
            in a reference; n-grams in all.
        chrf: (N, 6, 3) n-grams of 1 to 6 characters in the translation, in the best reference, in both.
        chrf_words: (N, 8, 3) likewise, and n-grams of 1 and 2 words.
        ter: (N, 2) edits to the nearest reference; mean length of the references in words.
    """

    bleu: FloatArray
    chrf: FloatArray
    chrf_words: FloatArray
    ter: FloatArray

    @classmethod
    def of(cls, translations: Sequence[str], references: References, language: str) -> TranslationScores:
        """Scores of translations.

        Args:
            translations: (N,) sentences; an empty one matches nothing.
            references: (N,) the right one of each, or the right ones.
            language: translated into (`en`, `zh`, `zh-CN`, ...); it decides how words are cut, see `signatures`.

        Raises:
            DataError: when they are not as many, or a sentence has no reference.
            UsageError: when sacrebleu is not installed.
        """
        streams = _streams(translations, references)
        shapes = (2 + 2 * BLEU_ORDER,), (6, 3), (8, 3), (2,)
        counts = []
        for counter, shape in zip(_counters(language).values(), shapes, strict=True):
            rows = counter._extract_corpus_statistics(list(translations), streams) if len(translations) else []
            counts.append(np.array(rows, np.float64).reshape(len(translations), *shape))
        return cls(*counts)

    def check_pair(self, other: Scores, metric: str) -> None:
        """See `Scores.check_pair`.

        Raises:
            ValueError: when the references differ in number or in length.
        """
        if not isinstance(other, TranslationScores) or not np.array_equal(self.ter[:, 1], other.ter[:, 1]):
            raise ValueError("a paired bootstrap needs translations of the same sentences in the same order")


def signatures(references: References, language: str) -> dict[str, str]:
    """What sacrebleu says of how each metric was taken, so that others can take it likewise; by name of the metric.

    BLEU cuts Chinese and Japanese by character (sacrebleu's `zh`, `char`), since its usual tokenizer takes a whole
    sentence for a word; TER cuts them with its Asian support.

    Raises:
        DataError: when a sentence has no reference.
        UsageError: when sacrebleu is not installed.
    """
    streams = _streams([""] * len(references), references)
    found = {}
    for name, counter in _counters(language).items():
        if streams:
            counter._cache_references(streams)
        found[name] = str(counter.get_signature())
    return found


def _counters(language: str) -> dict[str, Any]:
    metrics = needed("sacrebleu.metrics", "BLEU, chrF and TER")
    tongue = language.replace("_", "-").partition("-")[0].lower()
    words = "zh" if tongue in CHINESE else "char" if tongue == JAPANESE else "13a"
    asian = words != "13a"
    return {
        "bleu": metrics.BLEU(tokenize=words, force=True),  # force: says nothing of texts that look cut already
        "chrf": metrics.CHRF(beta=CHRF_BETA),
        "chrf_plus_plus": metrics.CHRF(beta=CHRF_BETA, word_order=2),
        "ter": metrics.TER(normalized=asian, asian_support=asian),
    }


def _streams(translations: Sequence[str], references: References) -> list[list[str | None]]:
    """As sacrebleu takes references: the first one of each sentence, the second one of each or None, and so on."""
    if len(translations) != len(references):
        raise DataError(
            "translations: of other sentences",
            got=f"{len(translations)}",
            wanted=f"{len(references)}, as the references",
        )
    several = [[one] if isinstance(one, str) else list(one) for one in references]
    for row, ones in enumerate(several):
        if not ones:
            raise DataError(f"sentence {row}: has no reference", do="leave it out")
    most = max(map(len, several), default=0)
    return [[ones[at] if at < len(ones) else None for ones in several] for at in range(most)]


def _part(part: Any, whole: Any) -> Any:
    """Part / whole, 0 where there is no whole, as sacrebleu has it."""
    shape = np.broadcast_shapes(np.shape(part), np.shape(whole))
    return np.divide(part, whole, out=np.zeros(shape), where=np.asarray(whole) > 0)


def _bleu(totals: TranslationScores) -> Any:
    """Mean of the logarithms of the precisions, less what brevity costs.

    The n-th precision of 0 counts as 1 / (2^n times as many n-grams) (NIST's smoothing); without a single right word,
    or without n-grams of each length, all is 0.
    """
    length, wanted = totals.bleu[..., 0], totals.bleu[..., 1]
    right, there = totals.bleu[..., 2 : 2 + BLEU_ORDER], totals.bleu[..., 2 + BLEU_ORDER :]
    none = (right == 0) & (there > 0)
    precision = _part(np.where(none, 0.5 ** np.cumsum(none, axis=-1), right), there)
    possible = (right.sum(-1) > 0) & (precision > 0).all(-1)
    mean = np.exp(np.log(np.where(precision > 0, precision, 1)).mean(-1))
    brevity = np.exp(np.minimum(0, 1 - _part(wanted, length)))
    return 100 * np.where(possible, brevity * mean, 0.0)


def _f_score(counts: Any) -> Any:
    """F of the mean precision and the mean recall over those lengths of n-grams that are in both texts."""
    guess, wanted, both = counts[..., 0], counts[..., 1], counts[..., 2]
    orders = (guess > 0) & (wanted > 0)
    precision = _part((_part(both, guess) * orders).sum(-1), orders.sum(-1))
    recall = _part((_part(both, wanted) * orders).sum(-1), orders.sum(-1))
    weight = CHRF_BETA**2
    return 100 * _part((1 + weight) * precision * recall, weight * precision + recall)


def _ter(totals: TranslationScores) -> Any:
    edits, length = totals.ter[..., 0], totals.ter[..., 1]
    return 100 * np.where(length > 0, _part(edits, length), edits > 0)


TranslationScores.metrics = {
    "bleu": Metric(_bleu, higher_is_better=True, unit="of 100", per="example"),
    "chrf": Metric(lambda totals: _f_score(totals.chrf), higher_is_better=True, unit="of 100", per="example"),
    "chrf_plus_plus": Metric(
        lambda totals: _f_score(totals.chrf_words), higher_is_better=True, unit="of 100", per="example"
    ),
    "ter": Metric(_ter, higher_is_better=False, unit="edits for 100 words", per="example"),
}
