"""What a run has to beat: simpler models on the same documents.

Counting needs a second: a Kneser-Ney 5-gram over the bytes. Bengio's neural probabilistic model (2003) needs training,
and gets a tenth of the time; ask for it with `study.baselines`. Adding a baseline is one function and one row. This
file leaves out how they are shown (`report`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepwell.baselines import FOLDER, TEXT_MODELS, PerceptronTagger, WordTagger, is_dense
from stepwell.config import format_duration
from stepwell.data import Packer
from stepwell.evaluation import (
    RetrievalScores,
    Scores,
    TaggingScores,
    bootstrap,
    evaluate_bm25,
    evaluate_kneser_ney,
    evaluate_language_modeling,
    measure_of,
    references_of,
    score_answers,
    score_labels,
    score_summaries,
    score_translations,
    summarize,
)
from stepwell.hardware import Machine
from stepwell.models import build_model, feed_forward_sized
from stepwell.objectives import build_objective
from stepwell.progress import Fact, Stage, Watcher
from stepwell.recipes import Recipe, derive_training, train_defaults
from stepwell.runs import RunDirectory
from stepwell.seeding import derive_seed
from stepwell.studies.beginning import begin_model
from stepwell.studies.corpus import Corpus, stride_of
from stepwell.tasks import (
    ChatConfig,
    ClassificationConfig,
    EmbeddingConfig,
    RetrievalConfig,
    Tagging,
    TaggingConfig,
    WritingConfig,
    reading_of,
    taken,
    taken_by,
)
from stepwell.training import Updater

COUNTED_BYTES = 20_000_000
"""The n-gram model counts at most so much training text."""

TRAINED_SHARE = 0.1
"""Of the time for training, what a baseline that is trained gets."""


def kneser_ney(recipe: Recipe, corpus: Corpus, machine: Machine, seconds: float) -> float:
    """Bits per byte of a 5-gram over bytes; of a large text it counts a part."""
    train, validation = corpus.text.texts("train"), corpus.text.texts("validation")
    step = stride_of(int(train.offsets[-1]), COUNTED_BYTES)
    stride = stride_of(int(validation.offsets[-1]), recipe.study.validation_bytes)
    scores = evaluate_kneser_ney(
        train[::step],
        validation[::stride],
        train_ends=train.ends[::step],
        validation_ends=validation.ends[::stride],
    )
    return bootstrap(scores, "bits_per_byte", resamples=1).value


def feed_forward(recipe: Recipe, corpus: Corpus, machine: Machine, seconds: float) -> float:
    """Bits per byte of Bengio's model after so many seconds of training, the rate falling to nothing."""
    row = recipe.training.row_length(recipe.model.max_seq_len)
    config = feed_forward_sized(1, vocab_size=corpus.tokenizer.vocab_size, max_seq_len=row)
    training = train_defaults(
        derive_training(
            config,
            tokens=float(corpus.train.num_tokens),
            steps=None,
            precision=recipe.training.precision,
            memory_bytes=machine.memory_bytes / 2,
        )
    )
    model = build_model(config, derive_seed(recipe.seed, "baseline")).to(machine.device)
    objective = build_objective(training.objective, corpus.tokenizer)
    packer = Packer(corpus.train.shuffled, row, derive_seed(recipe.seed, "data"))
    updater = Updater(model, packer, training, objective, seed=recipe.seed)
    began, step = time.monotonic(), 0
    while (spent := time.monotonic() - began) < seconds or not step:
        updater.update(step, step * updater.rows_per_step, min(1.0, 2 * (1 - spent / seconds)))
        step += 1
    scores = evaluate_language_modeling(
        model, corpus.judged(recipe.study.validation_bytes), precision=recipe.training.precision
    )
    return bootstrap(scores, "bits_per_byte", resamples=1).value


BASELINES: dict[str, tuple[Callable[[Recipe, Corpus, Machine, float], float], str]] = {
    "kneser_ney_5": (kneser_ney, "a Kneser-Ney 5-gram over the same bytes"),
    "feed_forward": (feed_forward, "Bengio's feed-forward model"),
}
"""Name -> function of (recipe, corpus, machine, seconds for training) that gives bits per byte, and words for it."""


def measure_baselines(
    recipe: Recipe, corpus: Corpus, run: RunDirectory, machine: Machine, seconds: float, watch: Watcher
) -> list[dict[str, Any]]:
    """The baselines of a recipe on the documents that judge every round.

    Args:
        recipe: names them.
        corpus: the text.
        run: keeps simple models that a decision may listen to.
        machine: where tensors go.
        seconds: for training, all rounds together.
        watch: is told each value.

    Returns:
        `name` and `bits_per_byte` of each; nothing for a masked model, whose numbers compare with none of them. Of a
        task with labels `name` and every metric.
    """
    if isinstance(recipe.task, ClassificationConfig):
        return _of_labels(recipe, corpus, run, seconds, watch)
    if isinstance(recipe.task, RetrievalConfig | EmbeddingConfig):
        return _by_words(recipe, recipe.task, corpus, watch)
    if isinstance(recipe.task, TaggingConfig):
        return _of_tags(recipe, corpus, run, seconds, watch)
    if taken_by(recipe.task):
        return _taken(recipe, corpus, watch)
    if isinstance(recipe.task, ChatConfig):
        return _of_base(recipe, corpus, machine, watch)
    if recipe.scoring != "causal" or recipe.task.kind not in ("language_modeling", "generation"):
        return []
    found = []
    for name in recipe.study.baselines:
        measure, words = BASELINES[name]
        allowed = max(5.0, TRAINED_SHARE * seconds)
        if measure is feed_forward:
            watch(Stage("train", f"{words}, {format_duration(allowed)}"))
        value = measure(recipe, corpus, machine, allowed)
        watch(Fact(f"to beat: {words} has {value:.3f} bits per byte"))
        found.append({"name": name, "bits_per_byte": value})
    return found


def _of_base(recipe: Recipe, corpus: Corpus, machine: Machine, watch: Watcher) -> list[dict[str, Any]]:
    """What the weights that a chat model begins from make of the right answers."""
    if recipe.init_from is None:
        return []
    watch(Stage("baseline", "the model to begin from"))
    model = begin_model(recipe, corpus, watch).to(machine.device)
    held = corpus.held("validation", max_bytes=recipe.study.validation_bytes)
    values = measure_of(recipe.task).watched(model, held, recipe.task, recipe.training.precision)
    if recipe.metric in values:
        watch(Fact(f"to beat: {recipe.init_from} has {recipe.metric} {values[recipe.metric]:.4f}"))
    return [{"name": "base_model", **values}]


def _by_words(
    recipe: Recipe, task: RetrievalConfig | EmbeddingConfig, corpus: Corpus, watch: Watcher
) -> list[dict[str, Any]]:
    """BM25 on the documents that judge every round; pairs with a score are not searched."""
    if recipe.metric not in RetrievalScores.metrics:
        return []
    watch(Stage("baseline", "BM25"))
    held = corpus.held("validation", max_bytes=recipe.study.validation_bytes)
    values = {name: one.value for name, one in summarize(evaluate_bm25(held.documents, task)).items()}
    watch(Fact(f"to beat: BM25 has {recipe.metric.replace('_', ' ')} {values[recipe.metric]:.4f}"))
    return [{"name": "bm25", **values}]


SCORED: dict[str, Callable[[Sequence[str], Sequence[list[str]], Any], Scores]] = {
    "translation": score_translations,
    "summarization": score_summaries,
    "question_answering": score_answers,
}
"""Kind of a task that gives texts -> how they are scored."""


def _taken(recipe: Recipe, corpus: Corpus, watch: Watcher) -> list[dict[str, Any]]:
    """What can be taken of the validation examples without a model, and how good that is."""
    task = recipe.task
    assert isinstance(task, WritingConfig)
    held = corpus.held("validation", max_bytes=recipe.study.validation_bytes)
    right = references_of(held.documents, task)
    found = []
    for name in taken_by(task):
        words = name.replace("_", " ")
        watch(Stage("baseline", words))
        scores = SCORED[task.kind]([taken(name, task, one) for one in held.documents], right, task)
        values = {metric: interval.value for metric, interval in summarize(scores).items()}
        if recipe.metric in values:
            watch(Fact(f"to beat: {words} has {recipe.metric.replace('_', ' ')} {values[recipe.metric]:.4g}"))
        found.append({"name": name, **values})
    return found


LABEL_MODELS = {
    "majority": 0.0,
    "linear": 0.0,
    "linear_of_pieces": 60.0,
    "naive_bayes": 60.0,
    "bag": 120.0,
    "convolution": 240.0,
}
"""Simple models of labels, and from how many seconds for training on they are tried."""


def _of_labels(
    recipe: Recipe, corpus: Corpus, run: RunDirectory, seconds: float, watch: Watcher
) -> list[dict[str, Any]]:
    """Train simple models of labels, keep them, and measure them on the validation texts."""
    task = recipe.task
    assert isinstance(task, ClassificationConfig)
    train = corpus.held("train")
    held = corpus.held("validation", max_bytes=recipe.study.validation_bytes)
    labels, right = (np.asarray(one.split.of_document["label"]) for one in (train, held))
    if task.problem == "number":
        labels = labels * task.spread + task.center
    problem = task.problem or "single"
    texts, found = train.texts, []
    alike = {"linear_of_pieces"} if is_dense(texts) else set()  # to the linear model
    alike |= {"naive_bayes"} if problem == "number" else set()
    for name, least in LABEL_MODELS.items():
        if least > seconds or name in alike:
            continue
        watch(Stage("baseline", name.replace("_", " ")))
        model = TEXT_MODELS[name](problem, 1 if problem == "number" else len(task.labels))
        model.fit(texts, labels, derive_seed(recipe.seed, "baseline"))
        model.save(run.root / FOLDER / f"{name}.safetensors")
        scores = score_labels(model.tell(held.texts), right, task)
        values = {metric: interval.value for metric, interval in summarize(scores).items()}
        shown = values[recipe.metric]
        watch(Fact(f"to beat: {name.replace('_', ' ')} has {recipe.metric.replace('_', ' ')} {shown:.4f}"))
        found.append({"name": name, **values})
    return found


PERCEPTRON_SECONDS = 120.0
"""For training, from which on a perceptron over the words around each word is tried."""


def _of_tags(recipe: Recipe, corpus: Corpus, run: RunDirectory, seconds: float, watch: Watcher) -> list[dict[str, Any]]:
    """Train simple taggers, keep them, and measure them on the validation sentences."""
    task = recipe.task
    assert isinstance(task, TaggingConfig)
    reader = Tagging(task)
    several: list[tuple[list[list[str]], list[list[str]]]] = []
    for held in (corpus.held("train"), corpus.held("validation", max_bytes=recipe.study.validation_bytes)):
        words = [[word.text for word in reader.placed(one)[1]] for one in held.documents]
        several.append((words, [reader.tags_of(one) or [] for one in held.documents]))
    (words, tags), (held_words, right) = several
    taggers: dict[str, WordTagger | PerceptronTagger] = {WordTagger.name: WordTagger()}
    if seconds >= PERCEPTRON_SECONDS:
        taggers[PerceptronTagger.name] = PerceptronTagger(task.tags, reader.transitions())
    found = []
    for name, tagger in taggers.items():
        watch(Stage("baseline", name.replace("_", " ")))
        tagger.fit(words, tags)
        tagger.save(run.root / FOLDER / f"{name}.safetensors")
        scores = TaggingScores.of(tagger.tell(held_words), right, scheme=reading_of(task.scheme or "plain"))
        values = {metric: interval.value for metric, interval in summarize(scores).items() if metric != "loss"}
        shown = values[recipe.metric]
        watch(Fact(f"to beat: {name.replace('_', ' ')} has {recipe.metric.replace('_', ' ')} {shown:.4f}"))
        found.append({"name": name, **values})
    return found
