"""An encoder-decoder against plain versions of itself: chunk by chunk, pair by pair; and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stepwell.errors import UsageError
from stepwell.models import EncoderDecoder, EncoderDecoderConfig, build_model

CLOSE = {"atol": 2e-5, "rtol": 2e-5}
SHAPE = {"vocab_size": 40, "max_seq_len": 12, "num_layers": 2, "d_model": 32, "num_heads": 4, "num_kv_heads": 4}
SHAPE |= {"head_dim": 8, "d_ff": 48, "qk_norm": "none"}
LAYER = {"norm": {"kind": "layer"}, "norm_placement": "post", "embedding_norm": False}
VARIANTS = {
    "rotary": {},
    "relative": {"positions": {"kind": "relative", "num_buckets": 8, "max_distance": 10}, "attention_scale": 1.0},
    "learned": {**LAYER, "positions": {"kind": "learned", "offset": 2}, "out_bias": True, "share_embeddings": False},
    "sinusoidal": {**LAYER, "positions": {"kind": "sinusoidal"}, "tie_embeddings": True, "head_bias": True},
    "alibi": {"positions": {"kind": "alibi"}},
    "window": {"window": 3, "layer_pattern": ("window", "full")},
}


@pytest.fixture(scope="module", params=VARIANTS)
def model(request) -> EncoderDecoder:
    built = build_model(EncoderDecoderConfig(**SHAPE, **VARIANTS[request.param]), seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.3, generator=generator)
    assert isinstance(built, EncoderDecoder)
    return built.eval()


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 40, shape, generator=torch.Generator().manual_seed(seed))


def chunk_by_chunk(model: EncoderDecoder, text: torch.Tensor) -> torch.Tensor:
    """The oracle of running text: one document (T,), each chunk against the one before, the first against nothing."""
    size, parts = model.config.chunk_len, []
    for at in range(0, len(text), size):
        chunk = text[None, at : at + size]
        if at == 0:
            nothing = model.decoder.read(torch.zeros(1, 1, 32), torch.zeros(1, 1, dtype=torch.bool))
            parts.append(model.decode(chunk, nothing))
        else:
            parts.append(model.decode(chunk, model.encode(text[None, at - size : at])))
    return torch.cat(parts, dim=1)[0]


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(12,), (1, 11), (5, 7), (3, 9), (6, 6), (1,) * 12], ids=str)
def test_running_text_is_read_chunk_by_chunk(model, lengths):
    row = tokens(12)
    numbers = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    documents = [row[numbers == n] for n in range(len(lengths))]
    expected = torch.cat([chunk_by_chunk(model, one) for one in documents])
    both = model.hidden(torch.stack([row, tokens(12, seed=3)]), torch.stack([numbers, torch.zeros(12).long()]))
    torch.testing.assert_close(both[0], expected, **CLOSE)
    torch.testing.assert_close(both[1], chunk_by_chunk(model, tokens(12, seed=3)), **CLOSE)


@torch.no_grad()
def test_the_chunk_before_is_all_that_is_seen(model):
    text, state = tokens(1, 18), model.start(1, 18)
    model.hidden(text[:, :12], state=state)
    third = model.hidden(text[:, 12:], state=state)
    torch.testing.assert_close(third, model.decode(text[:, 12:], model.encode(text[:, 6:12])), **CLOSE)
    assert state.length == 18


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_a_source_changes_nothing(model, side):
    lengths, target = (7, 3, 1), tokens(3, 5, seed=2)
    sources, mask = tokens(3, 7), torch.zeros(3, 7, dtype=torch.bool)
    for row, length in enumerate(lengths):
        mask[row, 7 - length :] = side == "left"
        mask[row, :length] |= side == "right"
    together = model.decode(target, model.encode(sources, mask))
    for row in range(3):
        alone = model.decode(target[row : row + 1], model.encode(sources[row, mask[row]][None]))
        torch.testing.assert_close(together[row], alone[0], **CLOSE)


@torch.no_grad()
def test_pairs_in_packed_rows_are_pairs_alone(model):
    source_lengths, target_lengths = [[3, 4, 2], [9]], [[2, 1, 5], [4]]
    source_numbers, target_numbers = torch.full((2, 10), -1), torch.full((2, 9), -2)
    for row in range(2):
        for numbers, lengths in ((source_numbers, source_lengths[row]), (target_numbers, target_lengths[row])):
            numbers[row, : sum(lengths)] = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    source_ids, target_ids = tokens(2, 10), tokens(2, 9, seed=2)
    packed = model.pairs(source_ids, source_numbers, target_ids, target_numbers)
    assert packed.isfinite().all()
    for row, number in ((0, 0), (0, 1), (0, 2), (1, 0)):
        places = target_numbers[row] == number
        memory = model.encode(source_ids[row, source_numbers[row] == number][None])
        torch.testing.assert_close(packed[row, places], model.decode(target_ids[row, places][None], memory)[0], **CLOSE)


@torch.no_grad()
def test_a_target_step_by_step_with_rows_that_change_places(model):
    source_ids, mask, target = tokens(3, 6), torch.ones(3, 6, dtype=torch.bool), tokens(3, 9, seed=2)
    mask[1, 4:] = False
    full = model.unembed(model.decode(target, model.encode(source_ids, mask)))
    reader = EncoderDecoder(model.config.model_copy(update={"prompt": "source", "start_ids": (3, 5)})).eval()
    reader.load_tensors(model.tensors())
    state, _ = reader.begin(source_ids, 9)
    assert state.length == 2  # the start tokens are written already
    state = reader._target(reader.encode(source_ids, mask), 3, 9)
    for at in range(4):
        torch.testing.assert_close(reader.extend(state, target[:, at : at + 1]), full[:, at], **CLOSE)
    rows = torch.tensor([2, 1, 1])
    state.select(rows)
    torch.testing.assert_close(reader.extend(state, target[rows, 4:]), full[rows, -1], **CLOSE)


@torch.no_grad()
def test_a_prompt_that_is_a_source(model):
    reader = EncoderDecoder(model.config.model_copy(update={"prompt": "source", "start_ids": (3, 5)})).eval()
    reader.load_tensors(model.tensors())
    source = tokens(2, 7)
    _, logits = reader.begin(source, 4)
    expected = model.unembed(model.decode(torch.tensor([[3, 5], [3, 5]]), model.encode(source)))[:, -1]
    torch.testing.assert_close(logits, expected, **CLOSE)
    assert not model.reads_source
    state, logits = model.begin(source, 7)
    torch.testing.assert_close(logits, model(source)[:, -1], **CLOSE)
    assert state.length == 7


def test_what_is_too_long_is_refused(model):
    long = tokens(1, 13)
    memory = model.encode(tokens(1, 2))
    for read in (model.encode, model.hidden, lambda ids: model.decode(ids, memory)):
        with pytest.raises(UsageError, match="max_seq_len = 12"):
            read(long)


def test_a_foreign_state_is_refused(model):
    with pytest.raises(TypeError, match="ChunkState"):
        model.hidden(tokens(1, 2), state=model.decoder.start(1, 4, torch.float32, None))


def test_one_table_or_two():
    config = EncoderDecoderConfig(**SHAPE, share_embeddings=False)
    two = build_model(config)
    tables = {name for name, _ in two.named_parameters() if "embedding.weight" in name}
    assert tables == {"embedding.weight", "source_embedding.weight"}
    one_pass = two.decode(tokens(1, 4), two.encode(tokens(1, 5)))
    one_pass.sum().backward()
    one = build_model(config.model_copy(update={"share_embeddings": True}))
    assert {name for name, _ in one.named_parameters() if "embedding.weight" in name} == {"embedding.weight"}


@pytest.mark.slow
def test_strings_of_digits_are_written_backwards():
    """Sources become targets: strings it has not seen come out reversed."""
    random = np.random.default_rng(0)
    shape = {**SHAPE, "vocab_size": 11, "num_layers": 1, "positions": {"kind": "learned"}}
    model = build_model(EncoderDecoderConfig(**shape, prompt="source", start_ids=(10,)), seed=0)
    assert isinstance(model, EncoderDecoder)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        source = torch.from_numpy(random.integers(0, 10, (size, 6)))
        return source, source.flip(1)

    for _ in range(150):
        source, target = batch(32)
        written = torch.cat((torch.full((32, 1), 10), target[:, :-1]), dim=1)
        logits = model.unembed(model.decode(written, model.encode(source)))
        cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    source, target = batch(200)
    with torch.no_grad():
        state, logits = model.eval().begin(source, 6)
        drawn = [logits.argmax(-1)]
        while len(drawn) < 6:
            drawn.append(model.extend(state, drawn[-1][:, None]).argmax(-1))
    assert (torch.stack(drawn, dim=1) == target).float().mean() > 0.98
