"""Pairs of a task: taken apart as they were put together, and judged as each would be alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stepwell.data import Batch, Document, Packer, TokenSplit, tokenize_documents
from stepwell.errors import DataError
from stepwell.models import MODELS, LanguageModel, build_model
from stepwell.objectives import CrossEntropyConfig, PairsConfig, build_objective, split_pair
from stepwell.tasks import TranslationConfig, build_task
from stepwell.tokenizers import ByteBPEConfig, Roles, Tokenizer, train_tokenizer

CPU = torch.device("cpu")
ROWS = [("a well", "un puits"), ("b", "x"), ("the stair goes down", "l'escalier descend"), ("水", "井水很凉")] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([], ByteBPEConfig(vocab_size=257))


@pytest.fixture(scope="module")
def split(tokenizer) -> TokenSplit:
    documents = [
        Document(f"{source}\n\n{target}", "test", columns={"source": source, "target": target})
        for source, target in ROWS
    ]
    return tokenize_documents(documents, tokenizer, build_task(TranslationConfig()))


@pytest.fixture(scope="module")
def batch(split) -> Batch:
    packer = Packer(split, 96, seed=0)
    return packer.batch(0, packer.row_count(0))


def built(kind: str, **changes: object) -> LanguageModel:
    config = MODELS[kind].sized(1, vocab_size=257, max_seq_len=96).model_copy(update={"prompt": "source", **changes})
    model = build_model(config, seed=3)
    with torch.no_grad():
        model.output().weight.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    return model.eval()


def test_every_pair_is_there_once_and_whole(batch, tokenizer):
    pairs = build_objective(PairsConfig(), tokenizer).prepare(batch, 0)
    found = []
    for row in range(len(pairs.targets)):
        for number in np.unique(pairs.target_numbers[row][pairs.target_numbers[row] >= 0]):
            source = pairs.source_ids[row][pairs.source_numbers[row] == number]
            target = pairs.targets[row][pairs.target_numbers[row] == number]
            assert source[-1] == target[-1] == tokenizer.eos_id  # the end is read, and it is written
            found.append((tokenizer.decode(source[:-1]), tokenizer.decode(target[:-1])))
    assert sorted(found) == sorted(ROWS)
    assert pairs.num_targets == sum(len(target.encode()) + 1 for _, target in ROWS)
    assert pairs.num_targets == int(batch.aligned["weight"].sum())  # a decoder learns the same tokens


def test_the_seed_changes_nothing(batch, tokenizer):
    objective = build_objective(PairsConfig(), tokenizer)
    one, other = objective.prepare(batch, 0), objective.prepare(batch, 9)
    assert np.array_equal(one.targets, other.targets)


@pytest.mark.parametrize("kind", ["encoder_decoder", "recurrent_encoder_decoder"])
@torch.no_grad()
def test_the_loss_is_that_of_each_pair_alone(kind, batch, tokenizer):
    model, config = built(kind), PairsConfig(loss=CrossEntropyConfig(label_smoothing=0.1))
    objective = build_objective(config, tokenizer)
    together = float(objective.loss(model, objective.prepare(batch, 0), CPU))
    alone = 0.0
    for source, target in ROWS:
        read, told = (torch.from_numpy(tokenizer.frame(tokenizer.encode(one)))[None] for one in (source, target))
        written = torch.cat((torch.tensor([[model.config.start_ids[0]]]), told[:, :-1]), dim=1)
        logits = model.unembed(model.decode(written, model.encode(read)))[0]
        alone += float(cross_entropy(logits, told[0], reduction="sum", label_smoothing=0.1))
    assert together == pytest.approx(alone, rel=1e-4)


def test_a_decoder_writes_no_target_for_a_source(batch, tokenizer):
    objective = build_objective(PairsConfig(), tokenizer)
    model = build_model(MODELS["decoder"].sized(1, vocab_size=257, max_seq_len=96))
    with pytest.raises(TypeError, match="encoder-decoder"):
        objective.loss(model, objective.prepare(batch, 0), CPU)


def test_plain_text_has_no_pairs(batch, tokenizer):
    plain = Batch(batch.token_ids, batch.targets, batch.loss_mask, batch.document_ids)
    with pytest.raises(DataError, match="source and a target"):
        build_objective(PairsConfig(), tokenizer).prepare(plain, 0)


def test_families_frame_a_pair_in_their_own_way(tokenizer):
    ids = np.array([256, 5, 6, 256, 7, 256])
    assert tokenizer.eos_id in (0, 256)
    end = tokenizer.eos_id
    ids[ids == 256] = end
    pair = split_pair(ids, 4, tokenizer)
    assert (pair.source.tolist(), pair.target.tolist()) == ([5, 6, end], [7, end])
    bart = Tokenizer(tokenizer._backend, Roles(bos_id=1, eos_id=end, adds_bos=True, adds_eos=True))
    pair = split_pair(np.array([1, 5, 6, end, 7, end]), 4, bart)
    assert (pair.source.tolist(), pair.target.tolist()) == ([1, 5, 6, end], [1, 7, end])
    without_end = split_pair(np.array([end, 5, 6, 7, end]), 3, tokenizer)
    assert (without_end.source.tolist(), without_end.target.tolist()) == ([5, 6, end], [7, end])
