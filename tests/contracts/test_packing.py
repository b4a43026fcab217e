"""Packing is separate documents: the same logits and the same gradient, for every architecture and every choice.

The plain way beside it is a forward pass over one document at a time, without a word about documents. In float64
(`in_float64`) the two differ by the order of additions only; a token that saw its neighbour would differ by 1e-3 and
more, and the last test shows that it does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stepwell.models import (
    Decoder,
    DecoderConfig,
    EncoderConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    LanguageModel,
    ModelConfig,
    NGram,
    NGramConfig,
    RecurrentEncoderDecoder,
    RecurrentEncoderDecoderConfig,
    build_model,
)
from stepwell.nn import document_positions

T = 16
ROWS = [[5, 4, 7], [16], [3, 1, 6], [9, 2]]
"""Tokens of each document of each row; what is left of a row is padding."""

LONG = [[70, 60, 30], [150], [1, 128, 20]]
"""Rows of 160 tokens: longer than a block of the kernel for attention."""

TOLERANCE = 1e-12
"""Of logits and gradients of a size about 1, in float64: a hundred times what was measured (docs/exactness.md)."""

SIZES = {
    "vocab_size": 60,
    "max_seq_len": T,
    "num_layers": 2,
    "d_model": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "d_ff": 48,
}

ROTARY_WINDOW = {"kind": "rotary", "window_theta": 50.0}

CHOICES: dict[str, dict[str, object]] = {
    "rotary": {},
    "rotary in part": {"positions": {"kind": "rotary", "ratio": 0.5}, "layer_pattern": ("full", "unrotated")},
    "window": {"window": 5, "layer_pattern": ("window", "full"), "positions": ROTARY_WINDOW},
    "window, alibi": {"window": 4, "layer_pattern": ("window",), "positions": {"kind": "alibi"}},
    "alibi": {"positions": {"kind": "alibi"}},
    "relative": {"positions": {"kind": "relative", "num_buckets": 8, "max_distance": 12}},
    "learned": {"positions": {"kind": "learned", "offset": 2}},
    "sinusoidal": {"positions": {"kind": "sinusoidal"}},
    "no positions": {"positions": {"kind": "none"}},
    "sinks": {"sinks": True},
    "sinks, softcap, window, relative": {
        "sinks": True,
        "attention_softcap": 3.0,
        "window": 5,
        "layer_pattern": ("window", "full"),
        "positions": {"kind": "relative", "num_buckets": 8, "max_distance": 12},
    },
    "softcap": {"attention_softcap": 3.0},
    "post-norm": {"norm_placement": "post", "norm": {"kind": "layer"}, "qk_norm": "none"},
    "QK-norm of the projection": {"qk_norm": "projection", "norm_placement": "output"},
}
"""What the stack can be told that has to do with who sees whom; every half of it gets each of them."""

EXPERTS = {"experts": {"num_experts": 4, "d_ff": 24}}

HALVES: dict[str, Callable[..., ModelConfig]] = {
    "decoder": DecoderConfig,
    "encoder": EncoderConfig,
    "encoder_decoder": EncoderDecoderConfig,
}

STACKS = [(kind, choice) for kind in HALVES for choice in CHOICES if kind != "encoder" or "alibi" not in choice]
"""An encoder alone takes no ALiBi, whose slopes know one direction."""


def shaken(model: LanguageModel) -> LanguageModel:
    """With weights of which each matters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.eval()


def stack_of(kind: str, **choice: object) -> LanguageModel:
    more = {"mask_id": 1} if kind == "encoder" else {}
    return shaken(build_model(HALVES[kind](**{**SIZES, **more, **choice})))


def documents(vocab_size: int, rows: list[list[int]] = ROWS) -> list[Tensor]:
    """The documents of all rows, each with the target of its last token: (1, L + 1)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(2, vocab_size, (1, length + 1), generator=generator) for row in rows for length in row]


def packed(
    texts: Sequence[Tensor], padding: int = 0, rows: list[list[int]] = ROWS, length: int = T
) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, targets (-1 at padding) and document ids of the rows, each (B, T)."""
    left = iter(texts)
    token_ids, targets, document_ids = [], [], []
    for lengths in rows:
        row, free = [next(left)[0] for _ in lengths], length - sum(lengths)
        token_ids.append(torch.cat([*(text[:-1] for text in row), torch.full((free,), padding)]))
        targets.append(torch.cat([*(text[1:] for text in row), torch.full((free,), -1)]))
        document_ids.append(torch.repeat_interleave(torch.tensor([*lengths, free])))
    return torch.stack(token_ids), torch.stack(targets), torch.stack(document_ids)


def apart(logits: Tensor, rows: list[list[int]] = ROWS) -> list[Tensor]:
    """The logits of each document, (L, V), out of those of the rows, (B, T, V)."""
    parts = zip(logits, rows, strict=True)
    return [part for row, lengths in parts for part in row[: sum(lengths)].split(lengths)]


def gradient(model: LanguageModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def summed(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum", ignore_index=-1)


def assert_near(got: Tensor, wanted: Tensor, tolerance: float, name: str) -> None:
    """Apart by less than a share of the largest value, or of 1."""
    gap, size = float((got - wanted).detach().abs().max()), max(1.0, float(wanted.detach().abs().max()))
    assert gap <= tolerance * size, f"{name}: {gap / size:.2g} apart, wanted at most {tolerance:.2g}"


def assert_packing_changes_nothing(
    model: LanguageModel, tolerance: float = TOLERANCE, rows: list[list[int]] = ROWS, length: int = T
) -> None:
    texts = documents(model.config.vocab_size, rows)
    token_ids, targets, document_ids = packed(texts, rows=rows, length=length)
    separate = [model(text[:, :-1]) for text in texts]
    assert_same_ways(model, texts, targets, model(token_ids, document_ids), separate, tolerance, rows)


def assert_same_ways(
    model: LanguageModel,
    texts: Sequence[Tensor],
    targets: Tensor,
    together: Tensor,
    separate: Sequence[Tensor],
    tolerance: float,
    rows: list[list[int]] = ROWS,
) -> None:
    """Of logits (B, T, V) of packed rows and those (1, L, V) of each document, and of their gradients."""
    for number, (ours, plain) in enumerate(zip(apart(together, rows), separate, strict=True)):
        assert_near(ours, plain[0], tolerance, f"logits of document {number}")
    ours = gradient(model, summed(together, targets))
    plain = gradient(model, sum((summed(logits, text[:, 1:]) for logits, text in zip(separate, texts, strict=True))))
    assert ours.keys() == plain.keys()
    for name in plain:
        assert_near(ours[name], plain[name], tolerance, f"gradient of {name}")


def test_every_architecture(learner, in_float64):
    assert_packing_changes_nothing(in_float64(copy.deepcopy(learner)))


@pytest.mark.parametrize(("kind", "choice"), STACKS, ids=str)
def test_every_choice_of_the_stack(kind, choice, in_float64):
    assert_packing_changes_nothing(in_float64(stack_of(kind, **CHOICES[choice])))


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("choice", ["rotary", "window", "learned"])
def test_rows_of_several_blocks(kind, choice, in_float64):
    """The kernel of attention takes some queries at a time, and leaves out the keys that none of them may see."""
    model = in_float64(stack_of(kind, **{**CHOICES[choice], "max_seq_len": 160}))
    assert_packing_changes_nothing(model, rows=LONG, length=160)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_experts(kind, in_float64):
    """Each token finds its own experts. How evenly all of them are used (`balance`) is a matter of the whole batch."""
    assert_packing_changes_nothing(in_float64(stack_of(kind, **EXPERTS)))


@pytest.mark.parametrize("choice", CHOICES)
def test_prefixes_that_are_seen_both_ways(choice, in_float64):
    assert_prefixes_stay_apart(in_float64(stack_of("decoder", **CHOICES[choice])), ROWS, T, 3)


@pytest.mark.parametrize("choice", ["rotary", "window"])
def test_prefixes_in_rows_of_several_blocks(choice, in_float64):
    model = in_float64(stack_of("decoder", **{**CHOICES[choice], "max_seq_len": 160}))
    assert_prefixes_stay_apart(model, LONG, 160, 25)


def assert_prefixes_stay_apart(model: LanguageModel, rows: list[list[int]], length: int, prefix_tokens: int) -> None:
    assert isinstance(model, Decoder)
    texts = documents(60, rows)
    token_ids, targets, document_ids = packed(texts, rows=rows, length=length)
    prefix = document_positions(document_ids) < prefix_tokens
    together = model.unembed(model.hidden(token_ids, document_ids, prefix=prefix))
    separate = [model.unembed(model.hidden(text[:, :-1], prefix=_first(text[:, :-1], prefix_tokens))) for text in texts]
    assert_same_ways(model, texts, targets, together, separate, TOLERANCE, rows)


def _first(text: Tensor, count: int) -> Tensor:
    return (torch.arange(text.shape[1]) < count)[None]


def test_an_ngram_model_to_the_bit():
    model = NGram(NGramConfig(vocab_size=9, max_seq_len=T, order=4))
    texts = documents(9)
    model.fit([text[0].numpy() for text in texts])
    token_ids, _, document_ids = packed(texts)
    together = model(token_ids, document_ids)
    assert not torch.equal(together, model(token_ids))
    for ours, text in zip(apart(together), texts, strict=True):
        assert torch.equal(ours, model(text[:, :-1])[0])


def test_in_float32_too(learner):
    """As users train: kernels add in another order for another shape, which float32 shows in the sixth digit."""
    assert_packing_changes_nothing(copy.deepcopy(learner), tolerance=1e-4)


def test_what_stands_in_the_padding_does_not_matter(learner, in_float64):
    model = in_float64(copy.deepcopy(learner))
    texts = documents(model.config.vocab_size)
    found = []
    for fill in (0, 30):
        token_ids, targets, document_ids = packed(texts, fill)
        found.append(gradient(model, summed(model(token_ids, document_ids), targets)))
    for name, first in found[0].items():
        assert_near(found[1][name], first, TOLERANCE, f"gradient of {name}")


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("choice", ["rotary", "window", "softcap"])
def test_in_half_precision_packing_costs_no_precision(kind, choice, in_float64):
    """Under autocast both ways are 8 bits off; packed rows may be no further from the truth than single documents."""
    model = stack_of(kind, **{**CHOICES[choice], "max_seq_len": 160})
    texts = documents(60, LONG)
    token_ids, targets, document_ids = packed(texts, rows=LONG, length=160)

    def two_ways() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        together = gradient(model, summed(model(token_ids, document_ids), targets))
        return together, gradient(model, sum(summed(model(text[:, :-1]), text[:, 1:]) for text in texts))

    with torch.autocast("cpu", torch.bfloat16):
        together, separate = two_ways()
    model = in_float64(model)
    truth, _ = two_ways()
    for name, exact in truth.items():
        packed_error, plain_error = (float((found[name] - exact).norm()) for found in (together, separate))
        assert packed_error < 3 * plain_error + 1e-3 * float(exact.norm()), name  # two kernels, two roundings
        assert packed_error < 0.2 * float(exact.norm()) + 1e-3, name


PAIRS = [[(4, 3), (2, 6), (7, 5)], [(9, 2)], [(1, 1), (8, 9)]]
"""Tokens of source and target of each pair of each row."""


@pytest.mark.parametrize("choice", CHOICES)
def test_packed_pairs_are_separate_pairs(choice, in_float64):
    """Sources and targets that stand in rows of their own find each other by number (`EncoderDecoder.pairs`)."""
    model = in_float64(stack_of("encoder_decoder", **CHOICES[choice]))
    assert isinstance(model, EncoderDecoder)
    assert_pairs_find_each_other(model)


@pytest.mark.parametrize("attention", ["additive", "general"])
def test_packed_pairs_of_a_recurrent_model(attention, in_float64):
    sizes = {"vocab_size": 60, "max_seq_len": T, "num_layers": 2, "d_model": 32, "d_embedding": 24}
    model = in_float64(shaken(build_model(RecurrentEncoderDecoderConfig(**sizes, attention=attention))))
    assert isinstance(model, RecurrentEncoderDecoder)
    assert_pairs_find_each_other(model)


def assert_pairs_find_each_other(model: EncoderDecoder | RecurrentEncoderDecoder) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = [[[torch.randint(2, 60, (n,), generator=generator) for n in pair] for pair in row] for row in PAIRS]
    sides = [_numbered([[pair[side] for pair in row] for row in texts], padding=-1 - side) for side in (0, 1)]
    (source_ids, source_numbers), (target_ids, target_numbers) = sides
    together = model.unembed(model.pairs(source_ids, source_numbers, target_ids, target_numbers))
    pairs = [(row, number, *pair) for row, found in enumerate(texts) for number, pair in enumerate(found)]
    separate = [model.unembed(model.decode(target[None], model.encode(source[None]))) for *_, source, target in pairs]
    for (row, number, *_), plain in zip(pairs, separate, strict=True):
        ours = together[row][target_numbers[row] == number]
        assert_near(ours, plain[0], TOLERANCE, f"logits of pair {number} of row {row}")
    ours = gradient(model, summed(together, target_ids.masked_fill(target_numbers < 0, -1)))
    plain = gradient(model, sum(summed(logits[0], pair[3]) for logits, pair in zip(separate, pairs, strict=True)))
    for name in plain:
        assert_near(ours[name], plain[name], TOLERANCE, f"gradient of {name}")


def _numbered(rows: list[list[Tensor]], padding: int) -> tuple[Tensor, Tensor]:
    """Ids and numbers of the texts of each row, padded on the right."""
    width = max(sum(map(len, row)) for row in rows)
    ids, numbers = torch.zeros(len(rows), width, dtype=torch.int64), torch.full((len(rows), width), padding)
    for place, row in enumerate(rows):
        filled = torch.cat(row)
        ids[place, : len(filled)] = filled
        numbers[place, : len(filled)] = torch.repeat_interleave(torch.tensor([len(text) for text in row]))
    return ids, numbers


def test_without_documents_the_neighbours_are_seen(learner, in_float64):
    """Otherwise the tests above would hold for models that see nothing."""
    model = in_float64(copy.deepcopy(learner))
    texts = documents(model.config.vocab_size)
    token_ids, _, document_ids = packed(texts)
    with torch.no_grad():
        gap = (model(token_ids) - model(token_ids, document_ids))[0, 5:].abs().max()
    assert gap > 1e-3
