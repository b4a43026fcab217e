"""What is cut out of a text, how sources and targets are laid into rows, and that repairing is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from stepwell.data import Batch, Packer, TokenSplit
from stepwell.errors import TokenizerError
from stepwell.models import EncoderDecoder, build_model, decoder_sized, encoder_decoder_sized
from stepwell.objectives import CrossEntropyConfig, DenoisingConfig, SpanCorruptionConfig, build_objective
from stepwell.objectives.corruption import (
    CorruptionObjective,
    DenoisingObjective,
    Pairs,
    SpanCorruptionObjective,
    Spans,
    cut_out,
    spans_with_marks,
)
from stepwell.optimization import AdamWConfig, build_optimizers
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

CPU = torch.device("cpu")
SENTINELS = tuple(f"<|span_{number}|>" for number in range(30))
CONFIGS = {"span_corruption": SpanCorruptionConfig(), "denoising": DenoisingConfig()}


@pytest.fixture(scope="module")
def tokenizer(small_text) -> Tokenizer:
    special = ("<|mask|>", *SENTINELS)
    return train_tokenizer([small_text("en")], ByteBPEConfig(vocab_size=500, special_tokens=special))


def batch_of(tokenizer: Tokenizer, text: str, *, rows: int, length: int = 64, between: str = "\n\n") -> Batch:
    """Packed rows; documents are paragraphs, each with its begin and its end."""
    ids = [[tokenizer.bos_id, *one.tolist(), tokenizer.eos_id] for one in tokenizer.encode_many(text.split(between))]
    lengths = np.array([len(one) for one in ids])
    split = TokenSplit(np.concatenate(ids).astype(np.uint16), np.cumsum([0, *lengths]), lengths)
    return Packer(split, length, 0).batch(0, rows)


def texts_of(batch: Batch, tokenizer: Tokenizer) -> list[list[int]]:
    """The pieces of a batch in order, without the tokens that begin and end a document."""
    texts = []
    for row in range(len(batch.token_ids)):
        for piece in range(batch.document_ids[row].max() + 1):
            places = np.flatnonzero((batch.document_ids[row] == piece) & batch.loss_mask[row])
            if len(places):
                text = [*batch.token_ids[row, places].tolist(), int(batch.targets[row, places[-1]])]
                texts.append([token for token in text if token != tokenizer.eos_id])
    return texts


def pairs_of(pairs: Pairs) -> list[tuple[list[int], list[int]]]:
    """(source, target) by number."""
    found = {}
    for row in range(len(pairs.source_ids)):
        for number in np.unique(pairs.source_numbers[row][pairs.source_numbers[row] >= 0]):
            source = pairs.source_ids[row][pairs.source_numbers[row] == number].tolist()
            found[number] = (source, pairs.targets[row][pairs.target_numbers[row] == number].tolist())
    return [found[number] for number in sorted(found)]


def repaired(source: list[int], target: list[int], sentinels: tuple[int, ...]) -> list[int]:
    """The oracle: the text that a source and its spans came from, token by token."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in sentinels:
            assert token not in spans
            spans[token] = current = []
        else:
            current.append(token)
    text = []
    for token in source:
        text += spans.pop(token) if token in sentinels else [token]
    assert not spans
    return text


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6), st.integers(0, 3))
def test_cutting_out_is_what_a_loop_over_the_tokens_does(parts, rest):
    """Each part is a stretch that stays and a span that goes; both may be empty."""
    starts, lengths, source, spans, at = [], [], [], [], 0
    for number, (stays, goes) in enumerate(parts):
        source += [*range(at, at + stays), 100 + number]
        spans += [100 + number, *range(at + stays, at + stays + goes)]
        starts, lengths, at = [*starts, at + stays], [*lengths, goes], at + stays + goes
    source += range(at, at + rest)
    text, marks = np.arange(at + rest), 100 + np.arange(len(parts))
    found = Spans(np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64))
    assert cut_out(text, found, marks).tolist() == source
    assert spans_with_marks(text, found, marks).tolist() == spans


def objective(tokenizer: Tokenizer, kind: str = "span_corruption", **settings) -> CorruptionObjective:
    built = build_objective(CONFIGS[kind].model_copy(update=settings), tokenizer)
    assert isinstance(built, CorruptionObjective)
    return built


@pytest.mark.parametrize("num_tokens", [2, 3, 10, 57, 512])
@pytest.mark.parametrize(("ratio", "mean"), [(0.15, 3.0), (0.5, 1.0), (0.9, 2.0)])
def test_spans_are_those_of_t5(tokenizer, num_tokens, ratio, mean):
    """The published properties: how much is noise, in how many spans, none touching, the first token stays."""
    made = objective(tokenizer, corruption_ratio=ratio, mean_span_tokens=mean)
    assert isinstance(made, SpanCorruptionObjective)
    noise = min(max(round(num_tokens * ratio), 1), num_tokens - 1)
    for seed in range(20):
        spans = made.choose(num_tokens, np.random.default_rng(seed))
        assert spans.lengths.sum() == noise
        assert len(spans.starts) == min(max(round(noise / mean), 1), noise, num_tokens - noise, len(SENTINELS))
        assert spans.lengths.min() >= 1
        assert spans.starts[0] >= 1
        assert (spans.starts[1:] > (spans.starts + spans.lengths)[:-1]).all()
        assert spans.starts[-1] + spans.lengths[-1] == num_tokens


def test_every_split_of_a_text_is_as_likely(tokenizer):
    """7 tokens, of which 4 are cut out in 2 spans: 3 ways for the spans, 2 for the stretches."""
    made = objective(tokenizer, corruption_ratio=4 / 7, mean_span_tokens=2.0)
    random = np.random.default_rng(0)
    drawn = [tuple(map(tuple, made.choose(7, random))) for _ in range(3000)]
    shares = [drawn.count(one) / 3000 for one in set(drawn)]
    assert len(shares) == 6
    assert max(shares) - min(shares) < 0.04


def test_what_bart_hides(tokenizer):
    made = objective(tokenizer, "denoising")
    assert isinstance(made, DenoisingObjective)
    random, lengths, starts = np.random.default_rng(0), [], []
    for _ in range(300):
        spans = made.choose(200, random)
        assert spans.lengths.sum() == 60
        assert len(spans.lengths) <= 60
        assert (spans.starts[1:] >= (spans.starts + spans.lengths)[:-1]).all()
        lengths += spans.lengths[:-1].tolist()  # the last one is shortened to fit
        starts += spans.starts.tolist()
    assert np.mean(lengths) == pytest.approx(3.5, abs=0.1)
    assert np.var(lengths) == pytest.approx(3.5, abs=0.3)  # of a Poisson number
    assert np.mean(np.array(lengths) == 0) == pytest.approx(np.exp(-3.5), abs=0.01)
    assert np.histogram(starts, 10, (0, 200))[0] == pytest.approx(len(starts) / 10, rel=0.15)


@pytest.mark.parametrize("num_tokens", range(6))
@pytest.mark.parametrize("kind", CONFIGS)
def test_very_short_texts(tokenizer, kind, num_tokens):
    made, text = objective(tokenizer, kind), np.arange(100, 100 + num_tokens)
    for seed in range(30):
        source, target = made.corrupt(text, np.random.default_rng(seed))
        assert max(len(source), len(target)) <= num_tokens
        whole = (
            target.tolist() if kind == "denoising" else repaired(source.tolist(), target.tolist(), tokenizer.span_ids)
        )
        if kind == "denoising" or num_tokens > 1:
            assert whole == text.tolist()


def test_a_source_and_its_spans_are_the_text(tokenizer, small_text):
    batch = batch_of(tokenizer, small_text("en"), rows=12, between=". ")
    made = pairs_of(objective(tokenizer).prepare(batch, seed=1))
    texts, cut = texts_of(batch, tokenizer), 0
    assert len(made) == len(texts) > 24
    for (source, target), text in zip(made, texts, strict=True):
        assert source[-1] == target[-1] == tokenizer.eos_id
        marks = [token for token in source if token in tokenizer.span_ids]
        assert marks == list(tokenizer.span_ids[: len(marks)])
        assert repaired(source[:-1], target[:-1], tokenizer.span_ids) == text
        cut += len(text) - (len(source) - 1 - len(marks))
    assert cut / sum(map(len, texts)) == pytest.approx(0.15, abs=0.03)


def test_a_hidden_text_and_the_text(tokenizer, small_text):
    batch = batch_of(tokenizer, small_text("en"), rows=12, between=". ")
    made = pairs_of(objective(tokenizer, "denoising").prepare(batch, seed=1))
    for (source, target), text in zip(made, texts_of(batch, tokenizer), strict=True):
        assert target == [*text, tokenizer.eos_id]
        assert len(source) <= len(target)
        shown = [token for token in source[:-1] if token != tokenizer.mask_id]
        left = iter(text)
        assert all(token in left for token in shown)  # in this order
        assert len(text) - len(shown) == round(len(text) * 0.3)


@pytest.mark.parametrize("kind", CONFIGS)
def test_long_texts_lose_their_ends_only(tokenizer, small_text, kind):
    batch = batch_of(tokenizer, small_text("en"), rows=6, length=48, between="\x00")
    ends = set()
    for seed in range(8):
        made = pairs_of(objective(tokenizer, kind).prepare(batch, seed))
        for (source, target), text in zip(made, texts_of(batch, tokenizer), strict=True):
            whole = target[:-1] if kind == "denoising" else repaired(source[:-1], target[:-1], tokenizer.span_ids)
            assert len(whole) == 46
            offset = next(at for at in range(4) if text[at : at + 46] == whole)
            ends.add(offset)
    assert len(ends) > 1


@pytest.mark.parametrize("kind", CONFIGS)
def test_it_is_a_function_of_batch_and_seed(tokenizer, small_text, kind):
    batch = batch_of(tokenizer, small_text("en"), rows=4)
    first, same, other = (objective(tokenizer, kind).prepare(batch, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.source_ids, same.source_ids)
    assert np.array_equal(first.targets, same.targets)
    assert pairs_of(first) != pairs_of(other)
    assert first.num_targets == sum(len(target) for _, target in pairs_of(first))


@pytest.mark.parametrize(("between", "rows"), [(". ", 32), ("\n\n", 16), ("\x00", 8)])
@pytest.mark.parametrize("kind", CONFIGS)
def test_little_is_padding(tokenizer, small_text, kind, between, rows):
    batch = batch_of(tokenizer, small_text("en", 120_000), rows=rows, length=256, between=between)
    pairs = objective(tokenizer, kind).prepare(batch, seed=0)
    longer = np.maximum((pairs.source_numbers >= 0).sum(1), (pairs.target_numbers >= 0).sum(1))
    assert pairs.source_ids.shape[1] <= 256 >= pairs.targets.shape[1]
    assert (pairs.source_numbers >= 0).mean() > (0.85 if kind == "span_corruption" else 0.6)
    assert (pairs.target_numbers >= 0).mean() > 0.75
    assert len(longer) <= len(batch.token_ids) + 1


def pair_by_pair(model: EncoderDecoder, pairs: Pairs, label_smoothing: float) -> float:
    """The oracle of the loss: each pair alone."""
    total = 0.0
    for source, target in pairs_of(pairs):
        written = torch.tensor([[model.config.start_ids[0], *target[:-1]]])
        logits = model.unembed(model.decode(written, model.encode(torch.tensor([source]))))[0]
        total += float(
            cross_entropy(logits, torch.tensor(target), reduction="sum", label_smoothing=label_smoothing).detach()
        )
    return total


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_loss_is_that_of_each_pair_alone(tokenizer, small_text, kind):
    config = encoder_decoder_sized(1, vocab_size=500, max_seq_len=64).model_copy(update={"start_ids": (7, 9)})
    model = build_model(config, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(1))
    assert isinstance(model, EncoderDecoder)
    pairs = objective(tokenizer, kind).prepare(batch_of(tokenizer, small_text("en"), rows=3, between=". "), seed=0)
    for smoothing in (0.0, 0.1):
        made = objective(tokenizer, kind, loss=CrossEntropyConfig(label_smoothing=smoothing))
        loss = float(made.loss(model, pairs, CPU).detach())
        assert loss == pytest.approx(pair_by_pair(model, pairs, smoothing), rel=1e-4)


def test_a_family_with_a_begin_token_begins_with_it(small_text):
    from stepwell.tokenizers import Roles

    special = ("<s>", "</s>", "<|mask|>")
    own = train_tokenizer([small_text("en")], ByteBPEConfig(vocab_size=300, special_tokens=special))
    ids = {token: own.token_id(token) for token in special}
    roles = Roles(bos_id=ids["<s>"], eos_id=ids["</s>"], mask_id=ids["<|mask|>"], adds_bos=True)
    bart = Tokenizer(own._backend, roles)
    batch = batch_of(bart, small_text("en"), rows=4, between=". ")
    for source, target in pairs_of(objective(bart, "denoising").prepare(batch, seed=0)):
        assert (source[0], source[-1]) == (target[0], target[-1]) == (roles.bos_id, roles.eos_id)
        assert roles.bos_id not in target[1:]
    assert own.frame(np.array([5, 6])).tolist() == [5, 6, own.eos_id]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_text_is_learned_a_little(tokenizer, small_text, kind):
    """After a few updates it knows more than that all tokens are alike."""
    batch = batch_of(tokenizer, small_text("en"), rows=12, length=48)
    model = build_model(encoder_decoder_sized(1, vocab_size=500, max_seq_len=48), seed=0)
    (optimizer,) = build_optimizers(model, AdamWConfig(learning_rate=0.01))
    made = objective(tokenizer, kind)
    losses = []
    for step in range(30):
        pairs = made.prepare(batch, seed=step)
        loss = made.loss(model, pairs, CPU) / pairs.num_targets
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[0] > 6
    assert np.mean(losses[-8:]) < 4


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_missing_is_said(kind):
    plain = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    with pytest.raises(TokenizerError, match=r"special_tokens=\['<\|"):
        build_objective(CONFIGS[kind], plain)


def test_other_models_are_refused(tokenizer, small_text):
    pairs = objective(tokenizer).prepare(batch_of(tokenizer, small_text("en"), rows=2), seed=0)
    decoder = build_model(decoder_sized(1, vocab_size=500, max_seq_len=64))
    with pytest.raises(TypeError, match="a Decoder does not"):
        objective(tokenizer).loss(decoder, pairs, CPU)
