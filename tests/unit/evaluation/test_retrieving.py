"""Held-out texts found by vectors and by words, against plain loops; order of graded pairs as SciPy has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from stepwell.data import Document
from stepwell.evaluation import (
    SearchedScores,
    SimilarityScores,
    bootstrap,
    choose_ranking,
    evaluate_bm25,
    evaluate_retrieval,
    evaluate_similarity,
    nearest_held,
)
from stepwell.evaluation.measuring import retrieving
from stepwell.inference import vectors_for
from stepwell.models import EncoderConfig, LanguageModel, build_model
from stepwell.tasks import EmbeddingConfig, RetrievalConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

PAIRS = [
    ("who", "the miller"),
    ("what", "a lantern"),
    ("who else", "the miller"),
    ("what", "a boat"),
    ("何处", "在河边"),
]


@pytest.fixture(scope="module")
def byte_tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """An encoder whose zero-initialised matrices are filled."""
    config = EncoderConfig(
        vocab_size=257, max_seq_len=32, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=32
    )
    built = build_model(config, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return built.eval()


def documents_of(rows: list[dict[str, Any]]) -> list[Document]:
    return [Document(str(number), "test", columns=row) for number, row in enumerate(rows)]


def value(scores: Any, name: str) -> float:
    return bootstrap(scores, name, resamples=1).value


def test_the_ranks_and_the_loss_by_loops(
    model: LanguageModel, byte_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "COMPARED_AT_ONCE", 2)
    task = RetrievalConfig(max_tokens=32, batch_examples=3)
    rows: list[dict[str, Any]] = [{"query": query, "document": text} for query, text in PAIRS]
    rows[0]["negative"] = ["the gate", "a boat"]
    scores = evaluate_retrieval(model, documents_of(rows), byte_tokenizer, task)
    corpus = ["the miller", "a lantern", "a boat", "在河边", "the gate"]
    queries = vectors_for(model, byte_tokenizer, task, [query for query, _ in PAIRS], "query")
    vectors = vectors_for(model, byte_tokenizer, task, corpus)
    assert isinstance(scores, SearchedScores)
    assert (scores.candidates == len(corpus)).all()
    for number, (query, _) in enumerate(PAIRS):
        right = {text for other, text in PAIRS if other == query}
        order = [corpus[at] for at in np.argsort(-(vectors @ queries[number]))]
        places = [order.index(text) + 1 for text in right]
        assert scores.recall[number, 0] == np.mean([place <= 1 for place in places])
        assert scores.reciprocal_rank[number] == pytest.approx(1 / min(places))
        batch = range(number // 3 * 3, min(len(PAIRS), number // 3 * 3 + 3))
        among = [
            other
            for other in batch
            if other == number or (PAIRS[other][0] != query and PAIRS[other][1] != PAIRS[number][1])
        ]
        near = np.array([vectors[corpus.index(PAIRS[other][1])] @ queries[number] for other in among]) / 0.05
        expected = np.log(np.exp(near - near.max()).sum()) + near.max() - near[among.index(number)]
        assert scores.nats[number] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_texts_of_classes_look_for_others_of_their_class(model: LanguageModel, byte_tokenizer: Tokenizer) -> None:
    rows = [{"first": text, "label": label} for text, label in (("a b", 1), ("a c", 1), ("x y", 2), ("z", 3))]
    task = EmbeddingConfig(relation="classes", max_tokens=32)
    scores = evaluate_retrieval(model, documents_of(rows), byte_tokenizer, task)
    assert scores.candidates.tolist() == [3] * 4
    assert scores.recall[:2, 1].tolist() == [1, 1]
    assert scores.recall[2:].sum() == 0  # nothing of their class is there
    assert len(nearest_held(model, documents_of(rows), byte_tokenizer, task, 2)) == 2


def test_words_find_what_shares_them() -> None:
    rows = [{"query": text.split()[-1], "document": text} for text in ("one two three", "four five six", "seven eight")]
    rows.append({"query": "小船", "document": "老渔夫修好了一条小船。"})
    scores = evaluate_bm25(documents_of(rows), RetrievalConfig())
    assert value(scores, "recall_at_1") == 1
    rows[0]["query"] = "nothing of it"
    assert value(evaluate_bm25(documents_of(rows), RetrievalConfig()), "recall_at_1") == 0.75


def test_the_way_to_rank_is_chosen_by_what_finds_more(model: LanguageModel, byte_tokenizer: Tokenizer) -> None:
    """Words find everything here, and a model that was never trained does not."""
    words = ["".join(chr(97 + (7 * n + 3 * at) % 26) for at in range(6)) for n in range(24)]
    rows = [{"query": word, "document": f"some {words[at - 1][::-1]} {word} more"} for at, word in enumerate(words)]
    task = RetrievalConfig(max_tokens=32)
    chosen = choose_ranking(model, documents_of(rows), byte_tokenizer, task, "recall_at_1")
    assert chosen.decision.by == "words"
    assert value(evaluate_retrieval(model, documents_of(rows), byte_tokenizer, chosen), "recall_at_1") == 1
    rows = [{"query": word, "document": word[::-1]} for word in words]
    assert choose_ranking(model, documents_of(rows), byte_tokenizer, task, "recall_at_1").decision.by == "vectors"


def test_graded_pairs_are_judged_as_scipy_does(model: LanguageModel, byte_tokenizer: Tokenizer) -> None:
    random = np.random.default_rng(1)
    cosines, right = np.round(random.normal(size=(2, 60)), 1)  # with ties
    right = right + cosines
    scores = SimilarityScores.of(cosines, right)
    assert value(scores, "spearman") == pytest.approx(stats.spearmanr(cosines, right).statistic, abs=1e-12)
    assert value(scores, "pearson") == pytest.approx(stats.pearsonr(cosines, right).statistic, abs=1e-12)
    assert value(scores, "loss") == pytest.approx(((cosines - right) ** 2).mean())
    assert value(SimilarityScores.of([1.0, 1.0], [0.0, 1.0]), "spearman") == 0
    with pytest.raises(ValueError, match="NaN"):
        SimilarityScores.of([np.nan], [1.0])
    rows = [{"first": "a b", "second": "a b", "score": 5}, {"first": "a", "second": "在河边", "score": 1}]
    task = EmbeddingConfig(relation="graded", lowest=0, highest=5, max_tokens=32)
    told = evaluate_similarity(model, documents_of(rows), byte_tokenizer, task)
    assert value(told, "spearman") == pytest.approx(1)
    assert told.squared[0] == pytest.approx(0, abs=1e-10)
