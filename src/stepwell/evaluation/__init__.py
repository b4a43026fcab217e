"""How good a model is, and how sure that is."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.evaluation.answers import AnswerScores
    from stepwell.evaluation.baselines import evaluate_kneser_ney, kneser_ney_bits_per_byte
    from stepwell.evaluation.catalog import MEASURES, Held, Measure, measure_of, values_of
    from stepwell.evaluation.chat import ChatScores, Judge, JudgedScores, judged
    from stepwell.evaluation.chatting import answers_to, evaluate_chat, is_well_formed
    from stepwell.evaluation.classification import ClassificationScores, RegressionScores, confusion
    from stepwell.evaluation.classifying import evaluate_classification, label_scores, score_labels
    from stepwell.evaluation.decisions import f1_of, precision_of, recall_of
    from stepwell.evaluation.error_tables import (
        ClassRow,
        Confusion,
        Slice,
        class_table,
        confused_classes,
        confused_spans,
        length_ranges,
        metric_of_each,
        slices,
        worst_examples,
    )
    from stepwell.evaluation.intervals import (
        Interval,
        bootstrap,
        bootstrap_counts,
        bootstrap_each,
        paired_bootstrap,
        paired_means,
        summarize,
    )
    from stepwell.evaluation.judging import ModelJudge, open_judge
    from stepwell.evaluation.language_modeling import evaluate_language_modeling
    from stepwell.evaluation.metrics import METRICS, LanguageModelingScores, Metric, Scores
    from stepwell.evaluation.ordering import paired_roc_auc, paired_spearman, roc_auc, spearman
    from stepwell.evaluation.preference import DivergenceScores, PreferenceScores
    from stepwell.evaluation.repetition import GenerationScores, distinct_ratio, distinct_ratios, repeated_ngram_ratio
    from stepwell.evaluation.retrieval import RetrievalScores, ranks_of
    from stepwell.evaluation.summarization import SummaryScores
    from stepwell.evaluation.tagging import TaggingScores
    from stepwell.evaluation.telling_tags import evaluate_tagging
    from stepwell.evaluation.translation import TranslationScores, signatures
    from stepwell.evaluation.variety import WrittenScores, choose_decoding, evaluate_generation
    from stepwell.evaluation.words import words_of

__all__ = [
    "MEASURES",
    "METRICS",
    "AnswerScores",
    "ChatScores",
    "ClassRow",
    "ClassificationScores",
    "Confusion",
    "DivergenceScores",
    "GenerationScores",
    "Held",
    "Interval",
    "Judge",
    "JudgedScores",
    "LanguageModelingScores",
    "Measure",
    "Metric",
    "ModelJudge",
    "PreferenceScores",
    "RegressionScores",
    "RetrievalScores",
    "Scores",
    "Slice",
    "SummaryScores",
    "TaggingScores",
    "TranslationScores",
    "WrittenScores",
    "answers_to",
    "bootstrap",
    "bootstrap_counts",
    "bootstrap_each",
    "choose_decoding",
    "class_table",
    "confused_classes",
    "confused_spans",
    "confusion",
    "distinct_ratio",
    "distinct_ratios",
    "evaluate_chat",
    "evaluate_classification",
    "evaluate_generation",
    "evaluate_kneser_ney",
    "evaluate_language_modeling",
    "evaluate_tagging",
    "f1_of",
    "is_well_formed",
    "judged",
    "kneser_ney_bits_per_byte",
    "label_scores",
    "length_ranges",
    "measure_of",
    "metric_of_each",
    "open_judge",
    "paired_bootstrap",
    "paired_means",
    "paired_roc_auc",
    "paired_spearman",
    "precision_of",
    "ranks_of",
    "recall_of",
    "repeated_ngram_ratio",
    "roc_auc",
    "score_labels",
    "signatures",
    "slices",
    "spearman",
    "summarize",
    "values_of",
    "words_of",
    "worst_examples",
]

__getattr__ = open_late(
    __name__,
    {
        "ModelJudge": "judging",
        "open_judge": "judging",
        "WrittenScores": "variety",
        "choose_decoding": "variety",
        "evaluate_generation": "variety",
        "answers_to": "chatting",
        "evaluate_chat": "chatting",
        "is_well_formed": "chatting",
        "AnswerScores": "answers",
        "evaluate_kneser_ney": "baselines",
        "kneser_ney_bits_per_byte": "baselines",
        "Held": "catalog",
        "MEASURES": "catalog",
        "Measure": "catalog",
        "measure_of": "catalog",
        "values_of": "catalog",
        "ChatScores": "chat",
        "Judge": "chat",
        "JudgedScores": "chat",
        "judged": "chat",
        "ClassificationScores": "classification",
        "RegressionScores": "classification",
        "confusion": "classification",
        "evaluate_classification": "classifying",
        "label_scores": "classifying",
        "score_labels": "classifying",
        "f1_of": "decisions",
        "precision_of": "decisions",
        "recall_of": "decisions",
        "ClassRow": "error_tables",
        "Confusion": "error_tables",
        "Slice": "error_tables",
        "class_table": "error_tables",
        "confused_classes": "error_tables",
        "confused_spans": "error_tables",
        "length_ranges": "error_tables",
        "metric_of_each": "error_tables",
        "slices": "error_tables",
        "worst_examples": "error_tables",
        "Interval": "intervals",
        "bootstrap": "intervals",
        "bootstrap_counts": "intervals",
        "bootstrap_each": "intervals",
        "paired_bootstrap": "intervals",
        "paired_means": "intervals",
        "summarize": "intervals",
        "evaluate_language_modeling": "language_modeling",
        "LanguageModelingScores": "metrics",
        "METRICS": "metrics",
        "Metric": "metrics",
        "Scores": "metrics",
        "paired_roc_auc": "ordering",
        "paired_spearman": "ordering",
        "roc_auc": "ordering",
        "spearman": "ordering",
        "DivergenceScores": "preference",
        "PreferenceScores": "preference",
        "GenerationScores": "repetition",
        "distinct_ratio": "repetition",
        "distinct_ratios": "repetition",
        "repeated_ngram_ratio": "repetition",
        "RetrievalScores": "retrieval",
        "ranks_of": "retrieval",
        "SummaryScores": "summarization",
        "TaggingScores": "tagging",
        "evaluate_tagging": "telling_tags",
        "TranslationScores": "translation",
        "signatures": "translation",
        "words_of": "words",
    },
)
