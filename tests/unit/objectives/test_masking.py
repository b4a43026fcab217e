"""What is hidden of a text, and that telling it is learned."""

from __future__ import annotations

import itertools
import sys
from dataclasses import fields

import numpy as np
import pytest
import rjieba
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from stepwell.data import Batch, Packer, TokenSplit
from stepwell.errors import TokenizerError, UsageError
from stepwell.models import build_model, encoder_sized
from stepwell.objectives import MaskedConfig, build_objective
from stepwell.objectives.masking import MaskedExamples, words_at_blanks, words_of_chinese
from stepwell.optimization import MuonConfig, build_optimizers
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

CPU = torch.device("cpu")
MASK = 1


def tokenizer_of(text: str, vocab_size: int) -> Tokenizer:
    return train_tokenizer([text], ByteBPEConfig(vocab_size=vocab_size, special_tokens=("<|mask|>",)))


@pytest.fixture(scope="module")
def english(small_text) -> Tokenizer:
    return tokenizer_of(small_text("en"), 500)


@pytest.fixture(scope="module")
def chinese(small_text) -> Tokenizer:
    """Few merges: some tokens are parts of a character, others several characters."""
    return tokenizer_of(small_text("zh"), 320)


def batch_of(tokenizer: Tokenizer, text: str, *, rows: int, length: int = 64, seed: int = 0) -> Batch:
    """Packed rows; documents are paragraphs, each with its begin and its end."""
    ids = [[tokenizer.bos_id, *one.tolist(), tokenizer.eos_id] for one in tokenizer.encode_many(text.split("\n\n"))]
    lengths = np.array([len(one) for one in ids])
    split = TokenSplit(np.concatenate(ids).astype(np.uint16), np.cumsum([0, *lengths]), lengths)
    return Packer(split, length, seed).batch(0, rows)


def hide(tokenizer: Tokenizer, batch: Batch, seed: int = 0, **settings) -> MaskedExamples:
    return build_objective(MaskedConfig(**settings), tokenizer).prepare(batch, seed)


def share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum())


@pytest.mark.parametrize("ratio", [0.15, 0.5])
@pytest.mark.parametrize("whole_words", [None, "blanks", "chinese"])
def test_as_much_is_hidden_as_was_asked_for(english, small_text, ratio, whole_words):
    batch = batch_of(english, small_text("en", 80_000), rows=200)
    examples = hide(english, batch, mask_ratio=ratio, whole_words=whole_words)
    assert share(examples.hidden, batch.loss_mask) == pytest.approx(ratio, abs=0.02)
    assert examples.num_targets == examples.hidden.sum()


def test_what_becomes_of_the_hidden(english, small_text):
    batch = batch_of(english, small_text("en", 80_000), rows=200)
    examples = hide(english, batch, mask_ratio=0.4, mask_share=0.6, random_share=0.3)
    hidden, shown = examples.hidden, examples.token_ids
    assert share(hidden & (shown == MASK), hidden) == pytest.approx(0.6, abs=0.03)
    assert share(hidden & (shown == examples.targets), hidden) == pytest.approx(0.1, abs=0.03)
    assert not (shown != examples.targets)[~hidden].any()
    random = shown[hidden & (shown != MASK) & (shown != examples.targets)]
    assert set(random.tolist()) <= set(range(2, english.vocab_size))  # no special token
    assert len(set(random.tolist())) > 200


def test_pure_masking(english, small_text):
    examples = hide(english, batch_of(english, small_text("en"), rows=20), mask_share=1, random_share=0)
    assert (examples.token_ids[examples.hidden] == MASK).all()


def test_a_piece_is_read_without_its_first_or_without_its_last_token(english, small_text):
    batch = batch_of(english, small_text("en"), rows=50)
    text = hide(english, batch).targets
    first_left, last_left = 0, 0
    for row in range(len(text)):
        for piece in np.unique(batch.document_ids[row][batch.loss_mask[row]]):
            places = batch.document_ids[row] == piece
            without_last = (text[row, places] == batch.token_ids[row, places]).all()
            without_first = (text[row, places] == batch.targets[row, places]).all()
            assert without_last or without_first
            first_left, last_left = first_left + without_first, last_left + without_last
    assert min(first_left, last_left) > 0.3 * (first_left + last_left)


def test_begins_and_padding_are_never_hidden_and_ends_are(english, small_text):
    batch = batch_of(english, small_text("en"), rows=100)
    begins = np.ones_like(batch.loss_mask)
    begins[:, 1:] = batch.document_ids[:, 1:] != batch.document_ids[:, :-1]
    ends_hidden = 0
    for seed in range(10):
        examples = hide(english, batch, seed, mask_ratio=0.5)
        special = examples.targets == english.eos_id
        assert (special & begins & batch.loss_mask).any()
        assert not (examples.hidden & special & begins).any()
        assert not examples.hidden[~batch.loss_mask].any()
        ends_hidden += int((examples.hidden & special & ~begins).sum())
    assert ends_hidden > 50


def test_other_special_tokens_are_never_hidden(english, small_text):
    batch = batch_of(english, small_text("en"), rows=50)
    batch.token_ids[:, 10] = batch.targets[:, 9] = MASK
    for seed in range(5):
        examples = hide(english, batch, seed, mask_ratio=0.9)
        assert not examples.hidden[examples.targets == MASK].any()


def test_a_pure_function_of_batch_and_seed(english, small_text):
    batch = batch_of(english, small_text("en"), rows=10)
    one, same, other = (hide(english, batch, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.token_ids, same.token_ids)
    assert np.array_equal(one.hidden, same.hidden)
    assert not np.array_equal(one.hidden, other.hidden)


def pieces_of(batch: Batch, examples: MaskedExamples) -> list[tuple[list[int], np.ndarray]]:
    """Tokens of each piece, and which of them are hidden."""
    return [
        (examples.targets[row, places].tolist(), examples.hidden[row, places])
        for row in range(len(batch.token_ids))
        for piece in np.unique(batch.document_ids[row][batch.loss_mask[row]])
        for places in [batch.document_ids[row] == piece]
    ]


def assert_whole(tokenizer: Tokenizer, ids: list[int], hidden: np.ndarray, words: list[bytes]) -> int:
    """Every word of a piece is hidden whole, or seen whole; returns how many of several tokens are hidden."""
    token_of_byte = np.repeat(np.arange(len(ids)), [len(tokenizer.token_bytes(one)) for one in ids])
    assert sum(map(len, words)) == len(token_of_byte)
    at = several = 0
    for word in words:
        tokens = np.unique(token_of_byte[at : at + len(word)])
        assert len(set(hidden[tokens].tolist())) <= 1, word
        several += len(tokens) > 1 and bool(hidden[tokens[0]])
        at += len(word)
    return several


def test_words_between_blanks_are_hidden_whole(english, small_text):
    batch = batch_of(english, small_text("en"), rows=50)
    several = 0
    for ids, hidden in pieces_of(batch, hide(english, batch, whole_words="blanks")):
        text = english.decode(ids)
        words = [word.encode() for word in text.replace(" ", "\0 ").split("\0")]
        several += assert_whole(english, ids, hidden, words)
    assert several > 20


def test_a_word_begins_after_a_line_end(english):
    ids = english.encode("under the bridge\nnobody counted\nseven letters").astype(np.int64)
    starts = words_at_blanks(english)(ids, np.arange(len(ids)) == 0)
    pieces = [english.decode(part) for part in np.split(ids, np.flatnonzero(starts)[1:])]
    assert pieces == ["under", " the", " bridge", "\n", "nobody", " counted", "\n", "seven", " letters"]


def test_chinese_words_are_hidden_whole(chinese, small_text):
    batch = batch_of(chinese, small_text("zh", 200_000), rows=400)
    examples = hide(chinese, batch, whole_words="chinese")
    several = 0
    for ids, hidden in pieces_of(batch, examples):
        data = chinese.decode_bytes(ids)
        letters = [  # bytes of a character that was cut at either end of the piece are letters of their own
            letter.encode("utf-8", "surrogateescape") for letter in data.decode("utf-8", "surrogateescape")
        ]
        lengths = map(len, rjieba.cut("".join(one.decode("utf-8", "replace") for one in letters)))
        ends = np.cumsum(list(lengths))
        words = [b"".join(part) for part in (letters[a:b] for a, b in zip([0, *ends], ends, strict=False))]
        several += assert_whole(chinese, ids, hidden, words)
    assert several > 100
    assert share(examples.hidden, batch.loss_mask) == pytest.approx(0.3, abs=0.02)
    lengths = [len(chinese.token_bytes(one)) for one in range(2, chinese.vocab_size)]
    assert min(lengths) < 3 < max(lengths)  # otherwise the test would know whole characters only


def test_without_words_they_are_torn(chinese, small_text):
    """Otherwise the two tests above would hold for any masking."""
    batch = batch_of(chinese, small_text("zh"), rows=20)
    with pytest.raises(AssertionError):
        for ids, hidden in pieces_of(batch, hide(chinese, batch)):
            assert_whole(chinese, ids, hidden, [word.encode() for word in rjieba.cut(chinese.decode(ids))])


@given(text=st.text(min_size=1, max_size=60))
def test_over_single_bytes_the_words_are_those_of_the_segmenter(bytes_only, text):
    ids = bytes_only.encode(text).astype(np.int64)
    starts = np.flatnonzero(words_of_chinese(bytes_only)(ids, np.arange(len(ids)) == 0)).tolist()
    words = [bytes_only.decode(ids[first:last]) for first, last in itertools.pairwise([*starts, len(ids)])]
    assert words == list(rjieba.cut(text))


@pytest.fixture(scope="module")
def bytes_only() -> Tokenizer:
    return tokenizer_of("", 258)


def test_a_tokenizer_without_a_mask_is_refused():
    with pytest.raises(TokenizerError, match="no token to hide others behind") as caught:
        build_objective(MaskedConfig(), train_tokenizer([], ByteBPEConfig(vocab_size=257)))
    assert "<|mask|>" in (caught.value.do or "")


def test_without_the_segmenter_it_is_said_what_to_do(chinese, monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(UsageError, match="needs rjieba") as caught:
        build_objective(MaskedConfig(whole_words="chinese"), chinese)
    assert "stepwell[chinese]" in (caught.value.do or "")


def test_shares_beyond_the_whole_are_refused():
    with pytest.raises(ValidationError, match="at most 1 together"):
        MaskedConfig(mask_share=0.9, random_share=0.2)


def test_the_loss_is_that_of_the_hidden_tokens(english, small_text):
    batch = batch_of(english, small_text("en"), rows=6)
    objective = build_objective(MaskedConfig(), english)
    model = build_model(encoder_sized(1, vocab_size=english.vocab_size, max_seq_len=64), seed=1).eval()
    examples = objective.prepare(batch, 0)
    by_row = 0.0
    for row in range(6):
        for piece in np.unique(examples.document_ids[row]):
            places = examples.document_ids[row] == piece
            logits = model(torch.from_numpy(examples.token_ids[row, places])[None])[0]
            hidden = torch.from_numpy(examples.hidden[row, places])
            targets = torch.from_numpy(examples.targets[row, places])
            by_row += float(cross_entropy(logits[hidden], targets[hidden], reduction="sum").detach())
    assert float(objective.loss(model, examples, CPU).detach()) == pytest.approx(by_row, rel=1e-5)


def test_a_batch_in_which_nothing_is_hidden_teaches_nothing(english, small_text):
    batch = batch_of(english, small_text("en"), rows=1, length=4)
    objective = build_objective(MaskedConfig(mask_ratio=1e-9), english)
    model = build_model(encoder_sized(1, vocab_size=english.vocab_size, max_seq_len=64))
    loss = objective.loss(model, objective.prepare(batch, 0), CPU)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.slow
def test_a_text_is_learned_a_little(english, small_text):
    """Better than the frequencies of the tokens, which need no context at all."""
    ids = english.encode(small_text("en", 100_000, seed=1))
    shares = np.bincount(ids, minlength=english.vocab_size) / len(ids)
    entropy = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    objective = build_objective(MaskedConfig(), english)
    model = build_model(encoder_sized(1, vocab_size=english.vocab_size, max_seq_len=32))
    optimizers = build_optimizers(model, MuonConfig(learning_rate=0.04, adamw_learning_rate=0.02))
    batch, losses = batch_of(english, small_text("en", 100_000), rows=32 * 60, length=32), []
    for step in range(60):
        rows = slice(32 * step, 32 * step + 32)
        arrays = (getattr(batch, part.name)[rows] for part in fields(Batch)[:4])
        examples = objective.prepare(Batch(*arrays), step)
        loss = objective.loss(model, examples, CPU) / examples.num_targets
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.7 * entropy
