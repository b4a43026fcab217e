"""How a model is measured by its task: one row for each task.

A measure turns a model and held-out examples into scores, of which every metric of the task is made. While training
goes on, only a cheap part of it is looked at. Adding a task is one row here beside the one in `tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.baselines import SimpleModel
from stepwell.data import Document, TokenSplit
from stepwell.evaluation.intervals import bootstrap
from stepwell.evaluation.measuring.beam_choice import choose_search
from stepwell.evaluation.measuring.chatting import evaluate_chat
from stepwell.evaluation.measuring.classifying import evaluate_classification, label_scores
from stepwell.evaluation.measuring.language_modeling import evaluate_language_modeling
from stepwell.evaluation.measuring.preferring import PreferredScores, choose_score, evaluate_preference
from stepwell.evaluation.measuring.reading import (
    FoundAnswerScores,
    WrittenAnswerScores,
    answering_scores,
    choose_answering,
    evaluate_answers,
)
from stepwell.evaluation.measuring.retrieving import SearchedScores, choose_ranking, evaluate_retrieval
from stepwell.evaluation.measuring.rewarding import ANSWER_TOKENS, RewardedScores, evaluate_rewards
from stepwell.evaluation.measuring.similarity import SimilarityScores, evaluate_similarity
from stepwell.evaluation.measuring.telling_tags import choose_tagger, evaluate_tagging
from stepwell.evaluation.measuring.variety import WrittenScores, evaluate_generation
from stepwell.evaluation.measuring.writing import (
    SummarizedScores,
    TranslatedScores,
    evaluate_summarization,
    evaluate_translation,
    loss_on_the_way,
    score_summaries,
    score_translations,
)
from stepwell.evaluation.scores.chat import ChatScores
from stepwell.evaluation.scores.classification import ClassificationScores, RegressionScores
from stepwell.evaluation.scores.metrics import LanguageModelingScores, Metric, Scores
from stepwell.evaluation.scores.tagging import TaggingScores
from stepwell.hardware import Precision
from stepwell.inference import SamplingParams
from stepwell.models import LanguageModel
from stepwell.tasks import TaskConfig, undecided
from stepwell.tokenizers import Tokenizer


@dataclass(frozen=True)
class Held:
    """Examples that a model is measured on.

    Attributes:
        split: as the model reads them.
        documents: of the examples, one each, in order; plain text may go without.
        tokenizer: of the split.
        beside: simple models by name that a decision may listen to.
    """

    split: TokenSplit
    documents: Sequence[Document]
    tokenizer: Tokenizer
    beside: Mapping[str, SimpleModel] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        """Of the examples."""
        return [document.text for document in self.documents]


@dataclass(frozen=True)
class Measure:
    """One task's.

    Attributes:
        evaluate: (model, held, task, params, precision) -> scores; `params` say how text is written.
        scores: task -> class of its scores.
        metrics: every metric by name.
        decide: (model, held, task, metric, precision) -> the task with the settings of its decision that suit the model
            best; None where there is nothing to choose.
        watched: (model, held, task, precision) -> values by name, `loss` among them: what is looked at on the way.
    """

    evaluate: Callable[[LanguageModel, Held, Any, SamplingParams, Precision], Scores]
    scores: Callable[[Any], type[Scores]]
    metrics: Mapping[str, Metric]
    watched: Callable[[LanguageModel, Held, Any, Precision], dict[str, float]]
    decide: Callable[[LanguageModel, Held, Any, str, Precision], Any] | None = None


def values_of(scores: Scores, *names: str) -> dict[str, float]:
    """Metrics without intervals."""
    return {name: bootstrap(scores, name, resamples=1).value for name in names}


def _text(model: LanguageModel, held: Held, task: TaskConfig, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_language_modeling(model, held.split, precision=precision)


def _text_on_the_way(model: LanguageModel, held: Held, task: TaskConfig, precision: Precision) -> dict[str, float]:
    return values_of(evaluate_language_modeling(model, held.split, precision=precision), "loss", "bits_per_byte")


def _labels(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_classification(model, held.split, held.texts, held.tokenizer, task, precision, held.beside)


def _labels_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    scores = evaluate_classification(model, held.split, (), held.tokenizer, undecided(task), precision)
    return values_of(scores, "loss", *(["accuracy"] if task.problem == "single" else []))


def _tags(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_tagging(model, held.documents, held.tokenizer, task, precision, held.beside)


def _tagged_by(model: LanguageModel, held: Held, task: Any, metric: str, precision: Precision) -> Any:
    return choose_tagger(model, held.documents, held.tokenizer, task, metric, precision, held.beside)


def _tags_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    scores = evaluate_tagging(model, held.documents, held.tokenizer, undecided(task), precision)
    return values_of(scores, "loss", "token_accuracy" if task.scheme == "plain" else "span_f1")


def _vectors(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    if vector_scores(task) is SimilarityScores:
        return evaluate_similarity(model, held.documents, held.tokenizer, task)
    return evaluate_retrieval(model, held.documents, held.tokenizer, task)


def _vectors_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    scores = _vectors(model, held, task, SamplingParams(), precision)
    return values_of(scores, "loss", "spearman" if isinstance(scores, SimilarityScores) else "ndcg_at_10")


def _ranking_by(model: LanguageModel, held: Held, task: Any, metric: str, precision: Precision) -> Any:
    return choose_ranking(model, held.documents, held.tokenizer, task, metric)


def vector_scores(task: Any) -> type[Scores]:
    """The class of the scores of a task that gives texts vectors."""
    return SimilarityScores if getattr(task, "relation", None) == "graded" else SearchedScores


def _variety(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_generation(model, held.split, held.tokenizer, task, params, precision)


def _chat(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_chat(model, held.split, held.documents, held.tokenizer, task, params, precision)


def _chat_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    params = SamplingParams()
    scores = evaluate_chat(model, held.split, held.documents, held.tokenizer, task, params, precision, answered=0)
    return values_of(scores, "loss", "perplexity")


def _translations(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_translation(model, held.split, held.documents, held.tokenizer, task, precision)


def _summaries(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_summarization(model, held.split, held.documents, held.tokenizer, task, precision)


def _writing_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    return loss_on_the_way(model, held.split, held.tokenizer, precision)


def _answers(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    return evaluate_answers(model, held.split, held.documents, held.tokenizer, task, precision)


def _answers_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    if task.mode == "generative":
        return _writing_on_the_way(model, held, task, precision)
    scores = evaluate_answers(model, held.split, held.documents, held.tokenizer, undecided(task), precision)
    return values_of(scores, "loss", "f1")


def _answers_by(model: LanguageModel, held: Held, task: Any, metric: str, precision: Precision) -> Any:
    return choose_answering(model, held.split, held.documents, held.tokenizer, task, metric, precision)


def _search_for(
    score: Callable[[Sequence[str], Sequence[list[str]], Any], Scores],
) -> Callable[[LanguageModel, Held, Any, str, Precision], Any]:
    """The `decide` of a task that writes, by how its texts are scored."""

    def decide(model: LanguageModel, held: Held, task: Any, metric: str, precision: Precision) -> Any:
        return choose_search(
            model, held.split, held.documents, held.tokenizer, task, score, metric=metric, precision=precision
        )

    return decide


def _preference_by(model: LanguageModel, held: Held, task: Any, metric: str, precision: Precision) -> Any:
    return choose_score(model, held.split, task, metric, precision)


def _preference(model: LanguageModel, held: Held, task: Any, params: SamplingParams, precision: Precision) -> Scores:
    if task.reward:
        return evaluate_rewards(model, held.split, held.tokenizer, task, params, precision)
    return evaluate_preference(model, held.split, task, precision)


def _preference_on_the_way(model: LanguageModel, held: Held, task: Any, precision: Precision) -> dict[str, float]:
    if task.reward:
        params = SamplingParams(max_tokens=ANSWER_TOKENS)
        rewarded = evaluate_rewards(model, held.split, held.tokenizer, task, params, precision, with_reference=False)
        return values_of(rewarded, "loss", "reward")
    scores = evaluate_preference(model, held.split, task, precision)
    return values_of(scores, "loss", "preference_accuracy", "margin")


MEASURES: dict[str, Measure] = {
    "language_modeling": Measure(
        _text, lambda task: LanguageModelingScores, LanguageModelingScores.metrics, _text_on_the_way
    ),
    "generation": Measure(_variety, lambda task: WrittenScores, WrittenScores.metrics, _text_on_the_way),
    "chat": Measure(_chat, lambda task: ChatScores, ChatScores.metrics, _chat_on_the_way),
    "preference": Measure(
        _preference,
        lambda task: RewardedScores if task.reward else PreferredScores,
        {**RewardedScores.metrics, **PreferredScores.metrics},
        _preference_on_the_way,
        decide=_preference_by,
    ),
    "classification": Measure(
        _labels, label_scores, {**RegressionScores.metrics, **ClassificationScores.metrics}, _labels_on_the_way
    ),
    "retrieval": Measure(_vectors, vector_scores, SearchedScores.metrics, _vectors_on_the_way, decide=_ranking_by),
    "embedding": Measure(
        _vectors, vector_scores, {**SimilarityScores.metrics, **SearchedScores.metrics}, _vectors_on_the_way
    ),
    "tagging": Measure(_tags, lambda task: TaggingScores, TaggingScores.metrics, _tags_on_the_way, decide=_tagged_by),
    "translation": Measure(
        _translations,
        lambda task: TranslatedScores,
        TranslatedScores.metrics,
        _writing_on_the_way,
        decide=_search_for(score_translations),
    ),
    "summarization": Measure(
        _summaries,
        lambda task: SummarizedScores,
        SummarizedScores.metrics,
        _writing_on_the_way,
        decide=_search_for(score_summaries),
    ),
    "question_answering": Measure(
        _answers,
        answering_scores,
        {**WrittenAnswerScores.metrics, **FoundAnswerScores.metrics},
        _answers_on_the_way,
        decide=_answers_by,
    ),
}
"""Kind of a task -> how models are measured by it."""


def measure_of(task: TaskConfig) -> Measure:
    """The measure of a task."""
    return MEASURES[task.kind]
