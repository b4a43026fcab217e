"""Texts that belong together: the loss text by text, what is never told apart, and the whole batch in micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from stepwell.data import Batch, Document, Packer, tokenize_documents
from stepwell.models import DecoderConfig, EncoderConfig, LanguageModel, build_model
from stepwell.objectives import ContrastiveConfig, ContrastiveObjective, Related
from stepwell.optimization import AdamWConfig, WSDConfig
from stepwell.tasks import Embedding, EmbeddingConfig, Retrieval, RetrievalConfig
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer
from stepwell.training import TrainingConfig, Updater

CPU = torch.device("cpu")
ROWS: list[dict[str, Any]] = [
    {"query": "who", "document": "the miller"},
    {"query": "what", "document": "a lantern", "negative": ["a letter", "the miller"]},
    {"query": "where", "document": "by the river", "negative": "under it"},
    {"query": "who else", "document": "the miller"},  # the same document
    {"query": "what", "document": "a boat"},  # the same query
    {"query": "何处", "document": "在河边"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.fixture(params=["encoder", "decoder"])
def model(request: pytest.FixtureRequest, in_float64: Callable[[Any], Any]) -> LanguageModel:
    shape = {"vocab_size": 257, "max_seq_len": 64, "num_layers": 2, "d_model": 16, "num_heads": 2, "num_kv_heads": 2,
             "head_dim": 8, "d_ff": 32}  # fmt: skip
    config = EncoderConfig(**shape) if request.param == "encoder" else DecoderConfig(**shape)
    built = build_model(config, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    in_float64(built)
    return built.eval()


def batch_of(rows: list[dict[str, Any]], maker: Any, tokenizer: Tokenizer, row_tokens: int = 64) -> Batch:
    documents = [Document(str(number), "test", columns=row) for number, row in enumerate(rows)]
    packer = Packer(tokenize_documents(documents, tokenizer, maker), row_tokens, seed=0)
    return packer.batch(0, packer.row_count(0))


def vector(model: LanguageModel, text: str, tokenizer: Tokenizer, pooling: str = "mean") -> Tensor:
    """The plain way: one text alone."""
    ids = [tokenizer.bos_id, *tokenizer.encode(text).tolist()]
    hidden = model.hidden(torch.tensor([ids]))[0]
    return {"mean": hidden.mean(0), "first": hidden[0], "last": hidden[-1]}[pooling]


def found_among(
    model: LanguageModel, query: str, right: str, others: list[str], read: Callable[[str], Tensor]
) -> Tensor:
    near = torch.stack([cosine_similarity(read(query), read(one), dim=0) for one in [right, *others]])
    return cross_entropy(near[None] / 0.05, torch.tensor([0]))


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_the_loss_text_by_text(model: LanguageModel, tokenizer: Tokenizer, pooling: Any) -> None:
    """As `cross_entropy` over cosines of texts that the model reads one at a time."""
    batch = batch_of(ROWS, Retrieval(RetrievalConfig()), tokenizer)
    objective = ContrastiveObjective(ContrastiveConfig(pooling=pooling))
    examples = objective.prepare(batch, 0)
    assert len(batch.token_ids) > 1
    assert examples.num_targets == len(ROWS)

    def read(text: str) -> Tensor:
        return vector(model, text, tokenizer, pooling)

    negatives = [(number, text) for number, row in enumerate(ROWS) for text in _listed(row.get("negative"))]
    expected = torch.zeros((), dtype=torch.float64)
    for number, row in enumerate(ROWS):
        apart = [
            other
            for other, one in enumerate(ROWS)
            if one["query"] != row["query"] and one["document"] != row["document"]
        ]
        hard = [
            text
            for owner, text in negatives
            if owner == number or (ROWS[owner]["query"] != row["query"] and text != row["document"])
        ]
        hard = [text for text in hard if text != row["document"]]
        documents = [ROWS[other]["document"] for other in apart]
        queries = [ROWS[other]["query"] for other in apart]
        expected += found_among(model, row["query"], row["document"], documents + hard, read) / 2
        expected += found_among(model, row["document"], row["query"], queries, read) / 2
    found = objective.loss(model, examples, CPU)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def test_one_way_only(model: LanguageModel, tokenizer: Tokenizer) -> None:
    rows = ROWS[:3]
    batch = batch_of(rows, Retrieval(RetrievalConfig()), tokenizer)
    examples = ContrastiveObjective(ContrastiveConfig()).prepare(batch, 0)
    one, both = (
        float(ContrastiveObjective(ContrastiveConfig(both_ways=way)).loss(model, examples, CPU).detach())
        for way in (False, True)
    )
    assert one != pytest.approx(both)


def test_a_whole_batch_in_micro_batches(model: LanguageModel, tokenizer: Tokenizer) -> None:
    """Row by row the same loss and the same gradient as all at once: negatives are those of the whole batch."""
    batch = batch_of(ROWS, Retrieval(RetrievalConfig()), tokenizer, row_tokens=48)
    objective = ContrastiveObjective(ContrastiveConfig())
    assert len(batch.token_ids) >= 3
    found = []
    for micro_batch in (len(batch.token_ids), 2, 1):
        model.zero_grad()
        loss = objective.loss(model, objective.prepare_whole(batch, 0, micro_batch), CPU)
        loss.backward()
        gradient = torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])
        found.append((loss.detach(), gradient.clone()))
    assert found[0][1].norm() > 0.1
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-9, atol=1e-11)


def test_a_pair_alone_counts_for_nothing(model: LanguageModel, tokenizer: Tokenizer) -> None:
    objective = ContrastiveObjective(ContrastiveConfig())
    for rows, count in ((ROWS[:1], 0), ([ROWS[0], ROWS[3]], 0), (ROWS[:2], 2), (ROWS[2:3], 1)):
        examples = objective.prepare(batch_of(rows, Retrieval(RetrievalConfig()), tokenizer), 0)
        assert examples.num_targets == count
        loss = objective.loss(model, examples, CPU)
        assert (float(loss.detach()) > 0) == (count > 0)
        loss.backward()


def test_texts_of_one_label_find_one_another(model: LanguageModel, tokenizer: Tokenizer) -> None:
    """Khosla et al. (2020), equation 2: a mean over the texts of one's label, among all others."""
    texts = ["the river", "a river", "seven letters", "a letter", "alone"]
    labels = ["water", "water", "post", "post", "none"]
    rows = [{"first": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    maker = Embedding(EmbeddingConfig(relation="classes"))
    objective = ContrastiveObjective(ContrastiveConfig())
    examples = objective.prepare(batch_of(rows, maker, tokenizer), 0)
    assert examples.num_targets == 4
    vectors = torch.stack([vector(model, text, tokenizer) for text in texts])
    expected = torch.zeros((), dtype=torch.float64)
    for at, label in enumerate(labels):
        others = [other for other in range(len(texts)) if other != at]
        logprobs = torch.log_softmax(cosine_similarity(vectors[at][None], vectors[others]) / 0.05, 0)
        alike = [logprob for other, logprob in zip(others, logprobs, strict=True) if labels[other] == label]
        if alike:
            expected -= torch.stack(alike).mean()
    torch.testing.assert_close(objective.loss(model, examples, CPU), expected, rtol=1e-9, atol=1e-9)


def test_graded_pairs_have_the_cosine_of_their_score(model: LanguageModel, tokenizer: Tokenizer) -> None:
    rows = [
        {"first": "the river", "second": "a river", "score": 5},
        {"first": "a letter", "second": "在河边", "score": 0},
        {"first": "a boat", "second": "boats", "score": 4.0},
    ]
    maker = Embedding(EmbeddingConfig(relation="graded", lowest=0, highest=5))
    objective = ContrastiveObjective(ContrastiveConfig())
    examples = objective.prepare(batch_of(rows, maker, tokenizer), 0)
    assert examples.num_targets == 3
    expected = torch.zeros((), dtype=torch.float64)
    for row, right in zip(rows, (1.0, 0.0, 0.8), strict=True):
        pair = (vector(model, str(row[name]), tokenizer) for name in ("first", "second"))
        expected += (cosine_similarity(*pair, dim=0) - right) ** 2
    torch.testing.assert_close(objective.loss(model, examples, CPU), expected, rtol=1e-6, atol=1e-6)


def test_what_the_examples_say(tokenizer: Tokenizer) -> None:
    examples = ContrastiveObjective(ContrastiveConfig()).prepare(
        batch_of(ROWS, Retrieval(RetrievalConfig()), tokenizer), 0
    )
    assert isinstance(examples, Related)
    assert examples.num_texts == 2 * len(ROWS) + 3
    assert len(examples.queries) == len(ROWS)
    assert len(examples.candidates) == len(ROWS) + 3
    assert not (examples.right & ~examples.allowed).any()
    texts = examples.texts[examples.texts < examples.num_texts]
    assert sorted(set(texts.tolist())) == list(range(examples.num_texts))
    assert (np.diff(examples.document_ids, axis=1) >= 0).all()


def test_an_update_takes_the_batch_as_a_whole(tokenizer: Tokenizer) -> None:
    """However many rows fit into memory, each query is told from all the others."""
    documents = [Document(str(number), "test", columns=row) for number, row in enumerate(ROWS)]
    split = tokenize_documents(documents, tokenizer, Retrieval(RetrievalConfig()))
    packer = Packer(split, 48, seed=0)
    found = []
    for micro_batch in (packer.row_count(0), 1):
        config = EncoderConfig(
            vocab_size=257, max_seq_len=64, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=32
        )
        training = TrainingConfig(
            objective=ContrastiveConfig(),
            steps=2,
            row_tokens=48,
            global_batch_tokens=48 * packer.row_count(0),
            micro_batch=micro_batch,
            optimizer=AdamWConfig(learning_rate=1e-3),
            schedule=WSDConfig(warmup_steps=1),
            precision="float32",
            evaluate_every_steps=1,
        )
        objective = ContrastiveObjective(ContrastiveConfig())
        updater = Updater(build_model(config, 0), packer, training, objective, seed=0)
        found.append([updater.update(step, 0, 1.0) for step in range(2)])
    for whole, parts in zip(*found, strict=True):
        assert whole.num_targets == parts.num_targets == len(ROWS)
        assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
        assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
