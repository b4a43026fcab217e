"""Semantic duplicates beside every pair compared by hand; the model is a table of vectors, or a real small one."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates import semantic_duplicates
from stepwell.data.steps.duplicates.semantic_duplicates import (
    SemanticDuplicates,
    SemanticDuplicatesConfig,
    nearest_kept,
)
from stepwell.data.steps.step import Surroundings, TextEmbedder
from stepwell.errors import DataError

ANGLES = {"it rains": 0.0, "rain is falling": 10.0, "es regnet": 20.0, "a cat sleeps": 90.0, "the cat naps": 94.0}


def open_angles(path: Path) -> TextEmbedder:
    """A model that knows a few sentences, each by its direction in the plane."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.radians([ANGLES[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).reshape(-1, 2)

    return embed


def step_of(threshold: float) -> SemanticDuplicates:
    config = SemanticDuplicatesConfig(model="angles", threshold=threshold)
    return SemanticDuplicates(config, Surroundings(open_embedder=open_angles))


def kept_of(step: SemanticDuplicates, shards: Sequence[Sequence[Document]]) -> tuple[list[str], dict[str, Any]]:
    joined = step.join([step.look(shard) for shard in shards])
    outcomes = [step.apply(shard, known) for shard, known in zip(shards, joined.known, strict=True)]
    assert {reason for outcome in outcomes for _, reason in outcome.dropped} <= {"says_the_same"}
    return [one.text for outcome in outcomes for one in outcome.kept], dict(joined.findings)


def texts(*several: str, **fields: Any) -> list[Document]:
    return [Document(text, "corpus", is_row=True, **fields) for text in several]


def test_what_says_the_same_is_kept_once() -> None:
    kept, findings = kept_of(step_of(0.98), [texts("it rains", "a cat sleeps"), [], texts(*ANGLES)])
    # 20 degrees are like 10, which is dropped, and not like 0, which is kept: nothing goes by way of others.
    assert kept == ["it rains", "a cat sleeps", "es regnet"]
    assert findings["clusters_by_size"] == {"3": 2}
    assert findings["largest_clusters"][0]["texts"] == ["it rains", "it rains", "rain is falling"]
    assert findings["cosine_percentiles"]["99"] == pytest.approx(1, abs=1e-3)


def test_held_out_text_is_kept_before_all_others() -> None:
    shards = [texts("rain is falling", "the cat naps"), texts("it rains", split="test"), texts("es regnet")]
    kept, findings = kept_of(step_of(0.98), shards)
    assert kept == ["the cat naps", "it rains", "es regnet"]
    assert findings["near_held_out"] == 1


@pytest.mark.parametrize("documents", [[], texts("it rains")])
def test_of_nothing_and_of_one_nothing_is_dropped(documents: list[Document]) -> None:
    kept, findings = kept_of(step_of(0.5), [documents])
    assert len(kept) == len(documents)
    assert findings["clusters"] == 0
    assert "cosine_percentiles" not in findings


def plainly(vectors: NDArray[np.float32], order: Sequence[int], threshold: float) -> list[int]:
    """Every text beside every kept one before it."""
    kept: list[int] = []
    roots = []
    for number, place in enumerate(order):
        cosines = [float(vectors[place] @ vectors[order[other]]) for other in kept]
        if cosines and max(cosines) >= threshold:
            roots.append(kept[int(np.argmax(cosines))])
        else:
            kept.append(number)
            roots.append(number)
    return roots


@given(st.integers(0, 60), st.integers(1, 9), st.floats(0.5, 0.99), st.integers(0, 10**6))
def test_blocks_find_what_comparing_every_pair_finds(count: int, together: int, threshold: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(count, 3)).astype(np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    order = draw.permutation(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic_duplicates, "COMPARED_TOGETHER", together)
        roots, cosines = nearest_kept(vectors, order, threshold)
    exact = vectors.astype(np.float32)
    near = np.abs(np.triu(exact @ exact.T, 1) - threshold).min(initial=1) < 1e-5
    assert near or roots.tolist() == plainly(exact, order.tolist(), threshold)
    assert all(cosines[n] >= threshold for n in range(count) if roots[n] != n)


def test_a_step_goes_to_another_process_without_its_model() -> None:
    step = step_of(0.98)
    kept_of(step, [texts("it rains")])
    again = pickle.loads(pickle.dumps(step))
    assert kept_of(again, [texts("it rains", "rain is falling")])[0] == ["it rains"]


def test_without_a_model_nothing_is_compared() -> None:
    with pytest.raises(DataError, match="needs a model"):
        SemanticDuplicates(SemanticDuplicatesConfig(model="runs/a"), Surroundings())
