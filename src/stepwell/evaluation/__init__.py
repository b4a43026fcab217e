"""How good a model is, and how sure that is."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.evaluation.baselines import evaluate_kneser_ney, kneser_ney_bits_per_byte
    from stepwell.evaluation.classification import ClassificationScores, RegressionScores, confusion
    from stepwell.evaluation.intervals import Interval, bootstrap, paired_bootstrap, paired_means, summarize
    from stepwell.evaluation.language_modeling import evaluate_language_modeling
    from stepwell.evaluation.metrics import METRICS, LanguageModelingScores, Metric, Scores
    from stepwell.evaluation.repetition import distinct_ratio, repeated_ngram_ratio

__all__ = [
    "METRICS",
    "ClassificationScores",
    "Interval",
    "LanguageModelingScores",
    "Metric",
    "RegressionScores",
    "Scores",
    "bootstrap",
    "confusion",
    "distinct_ratio",
    "evaluate_kneser_ney",
    "evaluate_language_modeling",
    "kneser_ney_bits_per_byte",
    "paired_bootstrap",
    "paired_means",
    "repeated_ngram_ratio",
    "summarize",
]

__getattr__ = open_late(
    __name__,
    {
        "METRICS": "metrics",
        "LanguageModelingScores": "metrics",
        "Metric": "metrics",
        "Scores": "metrics",
        "ClassificationScores": "classification",
        "RegressionScores": "classification",
        "confusion": "classification",
        "Interval": "intervals",
        "bootstrap": "intervals",
        "paired_bootstrap": "intervals",
        "paired_means": "intervals",
        "summarize": "intervals",
        "evaluate_kneser_ney": "baselines",
        "kneser_ney_bits_per_byte": "baselines",
        "evaluate_language_modeling": "language_modeling",
        "distinct_ratio": "repetition",
        "repeated_ngram_ratio": "repetition",
    },
)
