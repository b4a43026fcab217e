"""Where a round of training begins: fresh weights, word vectors, or the weights of a checkpoint.

An n-gram model has no such beginning: it counts the text once, and what that leaves looks like a training run of one
step. This file leaves out going on from an earlier round (`Trainer`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stepwell.checkpoints import (
    Loaded,
    load_checkpoint,
    read_provenance,
    refuse_adapter,
    resolve_checkpoint,
    save_checkpoint,
)
from stepwell.errors import CheckpointError
from stepwell.models import LanguageModel, NGram, build_model, fill_embeddings, load_extended
from stepwell.progress import Evaluated, Fact, StepDone, Watcher
from stepwell.recipes import Recipe
from stepwell.runs import to_json, write_atomically
from stepwell.seeding import derive_seed
from stepwell.studies.corpus import Corpus, Tokens
from stepwell.tasks import read_task
from stepwell.tokenizers import parts_of_new
from stepwell.training import Evaluate


def begin_model(recipe: Recipe, corpus: Tokens, watch: Watcher) -> LanguageModel:
    """The model of a recipe before its first step.

    Raises:
        CheckpointError: when the checkpoint to begin from is missing or damaged, or its weights do not fit the recipe.
        ConfigError: when word vectors have another width than the embedding.
        DataError: when word vectors cannot be read.
    """
    if recipe.init_from is not None:
        model = build_model(recipe.model, derive_seed(recipe.seed, "weights"))
        loaded = load_checkpoint(Path(recipe.init_from))
        refuse_adapter(loaded)
        inherited = with_own_head(model, loaded, recipe.task.kind)
        new = parts_of_new(loaded.tokenizer, corpus.tokenizer)
        try:
            if new:
                load_extended(model, inherited, loaded.tokenizer.vocab_size, new)
            else:
                model.load_tensors(inherited)
        except ValueError as error:
            raise CheckpointError(
                f"{loaded.path}: does not fit the recipe", got=str(error), do="leave model out of the recipe"
            ) from None
    else:
        model = build_model(recipe.model, derive_seed(recipe.seed, "weights"))
    if recipe.word_vectors is not None:
        embedding = model.lookup_parameters()[0]
        found = fill_embeddings(embedding, corpus.tokenizer, Path(recipe.word_vectors))
        watch(Fact(f"{found:,} of {len(embedding):,} tokens begin from {recipe.word_vectors}"))
    return model


def with_own_head(model: LanguageModel, loaded: Loaded, task: str) -> dict[str, Tensor]:
    """The weights of a checkpoint for a model; its task head begins fresh unless it was trained for the same task.

    Args:
        model: fresh.
        loaded: the checkpoint.
        task: kind of the task that the model is for.
    """
    tensors, own = dict(loaded.model.tensors()), model.tensors()
    same = loaded.model.config.task_head == model.config.task_head
    if same and read_task(loaded.provenance.get("task")).kind == task:
        return tensors
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("task_head.")}
    return body | {name: tensor.clone() for name, tensor in own.items() if name.startswith("task_head.")}


def heritage(recipe: Recipe) -> dict[str, object]:
    """Where published weights that a round begins from came from, for the provenance of what becomes of them."""
    if recipe.init_from is None:
        return {}
    source = read_provenance(resolve_checkpoint(Path(recipe.init_from))).get("source")
    return {} if source is None else {"source": source}


def identity_of(number: int, recipe: Recipe, tokens: Tokens) -> dict[str, Any]:
    """Plain values that say which training run a round is."""
    made_for = {"task": recipe.task.model_dump(), "decoding": recipe.decoding.model_dump()}
    plain = recipe.task.kind == "language_modeling"  # what a model is for when nobody says another
    return {
        "round": number,
        "model": recipe.model.model_dump(),
        "data": tokens.tokens.key,
        **({} if plain else made_for),
        **heritage(recipe),
    }


def count_once(
    model: NGram, corpus: Corpus, folder: Path, evaluate: Evaluate, identity: dict[str, object], watch: Watcher
) -> Path:
    """Let a model that learns by counting read the training text.

    Args:
        model: of nothing yet.
        corpus: the text.
        folder: of the round; gets metrics.jsonl and a checkpoint.
        evaluate: measures on held-out text.
        identity: plain values for the checkpoint's provenance.
        watch: gets the events.

    Returns:
        The checkpoint.
    """
    began = time.monotonic()
    train = corpus.train
    documents: list[NDArray[np.integer]] = [train.document(number) for number in range(train.num_documents)]
    model.fit(documents)
    tokens, seconds = train.num_tokens - train.num_documents, max(1e-9, time.monotonic() - began)
    metrics = dict(evaluate(model))
    done = StepDone(
        step=1,
        steps=1,
        loss=metrics["loss"],
        learning_rate=0.0,
        grad_norm=0.0,
        tokens=tokens,
        tokens_per_second=tokens / seconds,
    )
    watch(done)
    watch(Evaluated(1, metrics))
    lines = [
        {"kind": "step", **vars(done), "seconds": seconds},
        {"kind": "evaluation", "step": 1, "train_loss": None, **metrics},
    ]
    checkpoint = folder / "checkpoints" / "best"
    save_checkpoint(checkpoint, model, corpus.tokenizer, provenance={**identity, "step": 1, "tokens": tokens})
    write_atomically(folder / "metrics.jsonl", "".join(to_json(line) + "\n" for line in lines))
    return checkpoint
