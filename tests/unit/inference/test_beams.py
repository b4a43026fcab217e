"""Beam search against all that could be written, alone and in batches, of every family that can search."""

from __future__ import annotations

import codecs
import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch

from stepwell.errors import StepwellError, UsageError
from stepwell.inference import (
    Beams,
    SamplingParams,
    generate,
    generate_many,
    score_tokens,
    search_targets,
    stream,
)
from stepwell.models import MODELS, EncoderDecoderConfig, LanguageModel, build_model

TOKENS, STOP = 4, 2
FAMILIES = ["encoder_decoder", "recurrent_encoder_decoder", "decoder", "lstm"]
PROMPTS = [np.array(ids) for ids in ([1, 3, 2], [5, 4, 3, 1, 2], [3, 3, 3], [4], [1, 5])]


def made(family: str, vocab_size: int = TOKENS) -> LanguageModel:
    """A random model whose predictions are far from even."""
    sizes = {"vocab_size": vocab_size, "max_seq_len": 32}
    config = MODELS[family].sized(1, **sizes)
    if "prompt" in type(config).model_fields and "encoder" in family:
        config = config.model_copy(update={"prompt": "source"})
    model = build_model(config, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                generator = torch.Generator().manual_seed(sum(name.encode()))
                parameter.normal_(std=2 / parameter.shape[-1] ** 0.5, generator=generator)
    return model.eval()


@torch.no_grad()
def every_target(model: LanguageModel, prompt: np.ndarray, longest: int) -> dict[tuple[int, ...], float]:
    """All targets that end within so many tokens, with their log-probabilities: read anew for each."""
    found = {}
    others = [token for token in range(TOKENS) if token != STOP]
    for length in range(longest):
        for begun in itertools.product(others, repeat=length):
            total = 0.0
            for at, token in enumerate((*begun, STOP)):
                state, logits = model.begin(torch.from_numpy(prompt)[None], 32)
                for before in begun[:at]:
                    logits = model.extend(state, torch.tensor([[before]]))
                total += float(logits.log_softmax(-1)[0, token])
            found[(*begun, STOP)] = total
    return found


@pytest.mark.slow_but("encoder_decoder-1.0")
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_wide_beam_finds_what_there_is(family, penalty):
    model, prompt = made(family), PROMPTS[0]
    (found,) = search_targets(model, [prompt], Beams(64, penalty, 3), stop_ids=frozenset({STOP}))
    everything = every_target(model, prompt, 3)
    right = sorted(everything, key=lambda ids: -everything[ids] / len(ids) ** penalty)
    assert [one.token_ids for one in found] == right
    for one in found:
        assert one.finish_reason == "stop"
        assert sum(one.logprobs) == pytest.approx(everything[one.token_ids], abs=1e-4)
        assert one.score == pytest.approx(everything[one.token_ids] / len(one.token_ids) ** penalty, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_together_are_prompts_alone(family):
    model, beams = made(family, 40), Beams(3, 1.0, 9)
    together = search_targets(model, PROMPTS, beams, stop_ids=frozenset({STOP}))
    for prompt, several in zip(PROMPTS, together, strict=True):
        (alone,) = search_targets(model, [prompt], beams, stop_ids=frozenset({STOP}))
        assert [one.token_ids for one in several] == [one.token_ids for one in alone]
        assert [one.score for one in several] == pytest.approx([one.score for one in alone], abs=1e-4)
        assert several == sorted(several, key=lambda one: -one.score)
        assert len(several) <= 3


def test_few_rows_at_once_change_nothing():
    model, beams = made("encoder_decoder", 40), Beams(2, 0.6, 8)
    wide = search_targets(model, PROMPTS, beams, stop_ids=frozenset({STOP}))
    narrow = search_targets(model, PROMPTS, beams, stop_ids=frozenset({STOP}), rows_at_once=1)
    assert [[one.token_ids for one in some] for some in wide] == [[one.token_ids for one in some] for some in narrow]


def test_a_beam_of_one_is_greedy(byte_tokenizer):
    config = EncoderDecoderConfig(
        vocab_size=257, max_seq_len=24, num_layers=1, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=16,
        prompt="source",
    )  # fmt: skip
    model = build_model(config, seed=1)
    with torch.no_grad():
        model.output().weight.normal_(generator=torch.Generator().manual_seed(3))
    for prompt in ("a", "stair", "井"):
        (greedy,) = generate(model, byte_tokenizer, prompt, SamplingParams(temperature=0, max_tokens=12))
        source = byte_tokenizer.frame(byte_tokenizer.encode(prompt))
        ((found,),) = search_targets(model, [source], Beams(1, 1.0, 12), stop_ids=byte_tokenizer.stop_ids)
        assert found.token_ids == greedy.token_ids
        assert found.logprobs == pytest.approx(greedy.logprobs, abs=1e-5)
        assert found.finish_reason == greedy.finish_reason


def test_what_does_not_end_is_what_is_longest():
    model = made("encoder_decoder", 40)
    (found,) = search_targets(model, PROMPTS[:1], Beams(3, 1.0, 5), stop_ids=frozenset())
    assert {one.finish_reason for one in found} == {"length"}
    assert {len(one.token_ids) for one in found} == {5}
    assert len({one.token_ids for one in found}) == 3


def test_tokens_that_the_tokenizer_has_not_are_never_written():
    model = made("encoder_decoder", 40)
    with torch.no_grad():
        model.output().weight[30:] *= 50
    (found,) = search_targets(model, PROMPTS[:1], Beams(4, 1.0, 6), stop_ids=frozenset({STOP}), num_tokens=30)
    assert max(token for one in found for token in one.token_ids) < 30


def test_a_model_that_predicts_nothing_says_so():
    model = made("encoder_decoder", 40)
    with torch.no_grad():
        model.output().weight.fill_(float("nan"))
    with pytest.raises(StepwellError, match="NaN"):
        search_targets(model, PROMPTS[:1], Beams(2, 1.0, 4), stop_ids=frozenset({STOP}))


def test_no_prompt_nothing_written():
    assert search_targets(made("decoder"), [], Beams(2, 1.0, 4), stop_ids=frozenset({STOP})) == []


class Begun(NamedTuple):
    """A beginning of a plain search: its tokens, and the sum that it is ranked by."""

    ids: tuple[int, ...]
    total: float


@torch.no_grad()
def plain_groups(model: LanguageModel, prompt: np.ndarray, beams: Beams, vocab: int) -> list[Begun]:
    """Diverse beams in lists, everything read anew: what `_Search` does in tensors."""
    size, penalty = beams.beam_size // beams.num_groups, beams.length_penalty
    groups = [[Begun((), 0.0)] for _ in range(beams.num_groups)]
    ended: list[list[Begun]] = [[] for _ in groups]
    done = [False] * len(groups)
    for length in range(1, beams.max_tokens + 1):
        chosen = [0.0] * vocab
        for number, group in enumerate(groups):
            several = []
            for begun in group:
                state, logits = model.begin(torch.from_numpy(prompt)[None], 32)
                for token in begun.ids:
                    logits = model.extend(state, torch.tensor([[token]]))
                for token, logprob in enumerate(logits[0].log_softmax(-1).tolist()):
                    total = begun.total + logprob - beams.diversity_penalty * chosen[token]
                    several.append(Begun((*begun.ids, token), total))
            several.sort(key=lambda one: -one.total)
            for one in several[:size]:
                if one.ids[-1] == STOP and not done[number]:
                    ended[number].append(Begun(one.ids, one.total / length**penalty))
                    ended[number] = sorted(ended[number], key=lambda each: -each.total)[:size]
            groups[number] = [one for one in several if one.ids[-1] != STOP][:size]
            for one in groups[number]:
                chosen[one.ids[-1]] += 1
            hope = groups[number][0].total
            if len(ended[number]) == size:
                longest = beams.max_tokens if beams.early_stopping == "never" and penalty > 0 else length
                enough = beams.early_stopping is True or hope / longest**penalty <= ended[number][-1].total
                done[number] = done[number] or enough
        if all(done):
            break
    for number, group in enumerate(groups):
        if not ended[number]:
            ended[number] = [Begun(one.ids, one.total / len(one.ids) ** penalty) for one in group]
    return sorted(itertools.chain(*ended), key=lambda one: -one.total)


SEARCHES = [
    Beams(6, 1.0, 5, False, 3, 0.8),
    Beams(4, 0.5, 6, True, 2, 3.0),
    Beams(3, 2.0, 5, "never", 3, 0.3),
    Beams(4, 1.0, 6, True),
    Beams(4, 1.5, 6, "never"),
    Beams(3, 0.0, 6, "never"),
]


@pytest.mark.slow_but("encoder_decoder-beams0", "decoder-beams1")
@pytest.mark.parametrize("beams", SEARCHES)
@pytest.mark.parametrize("family", ["encoder_decoder", "decoder", "lstm"])
def test_groups_and_early_stopping_are_those_of_a_plain_search(family, beams):
    model = made(family, 9)
    prompts = [ids % 9 for ids in PROMPTS[:3]]
    found = search_targets(model, prompts, beams, stop_ids=frozenset({STOP}))
    for prompt, several in zip(prompts, found, strict=True):
        right = plain_groups(model, prompt, beams, 9)
        assert [one.token_ids for one in several] == [one.ids for one in right]
        assert [one.score for one in several] == pytest.approx([one.total for one in right], abs=1e-4)


def test_groups_differ_where_one_group_does_not():
    model = made("decoder", 40)
    (alike,) = search_targets(model, PROMPTS[:1], Beams(4, 1.0, 5), stop_ids=frozenset())
    (apart,) = search_targets(model, PROMPTS[:1], Beams(4, 1.0, 5, False, 4, 50.0), stop_ids=frozenset())
    assert len({one.token_ids[0] for one in apart}) == 4 > len({one.token_ids[0] for one in alike})
    for one in apart:  # what is told of a token is the model's own
        right = score_tokens(model, [*PROMPTS[0].tolist(), *one.token_ids])[len(PROMPTS[0]) - 1 :]
        assert one.logprobs == pytest.approx(right.tolist(), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_generate_searches(family, byte_tokenizer):
    model = made(family, 257)
    params = SamplingParams(num_beams=4, n=3, max_tokens=7, length_penalty=0.7, early_stopping="never")
    several = generate_many(model, byte_tokenizer, ["ab", "井x", "ab"], params)
    assert [len(some) for some in several] == [3, 3, 3]
    alone = generate(model, byte_tokenizer, "ab", params)
    assert [one.token_ids for one in several[0]] == [one.token_ids for one in several[2]]
    assert [one.token_ids for one in several[0]] == [one.token_ids for one in alone]
    text = byte_tokenizer.encode("ab")
    prompt = byte_tokenizer.frame(text) if model.reads_source else np.concatenate(([byte_tokenizer.bos_id], text))
    beams = Beams(4, 0.7, 7, "never", num_targets=3)
    (found,) = search_targets(model, [prompt.astype(np.int64)], beams, stop_ids=byte_tokenizer.stop_ids)
    assert [one.token_ids for one in alone] == [one.token_ids for one in found[:3]]
    for one in alone:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        assert one.text == decoder.decode(byte_tokenizer.decode_bytes(one.token_ids), one.finish_reason == "stop")


def test_as_many_are_given_as_were_asked_for():
    """Where fewer have ended, those that have not come after them."""
    model, met = made("decoder", 9), 0
    for length in range(1, 8):
        (usual,) = search_targets(model, PROMPTS[:1], Beams(5, 1.0, length), stop_ids=frozenset({STOP}))
        beams = Beams(5, 1.0, length, num_targets=4)
        (filled,) = search_targets(model, PROMPTS[:1], beams, stop_ids=frozenset({STOP}))
        assert filled[: len(usual)] == usual
        if usual[0].finish_reason == "stop" and len(usual) < 4:
            met += 1
            assert len(filled) == 4
            assert {one.finish_reason for one in filled[len(usual) :]} == {"length"}
    assert met


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_search_ends_at_the_window(family, byte_tokenizer):
    model = made(family, 257)
    params = SamplingParams(num_beams=2, max_tokens=500, ignore_eos=True)
    (one,) = generate(model, byte_tokenizer, "x" * 20, params)
    assert len(one.token_ids) == (32 if model.reads_source else 32 - 21 + 1)
    assert one.finish_reason == "length"


def test_a_search_cannot_be_streamed(byte_tokenizer):
    with pytest.raises(UsageError, match="num_beams: cannot be streamed"):
        next(stream(made("decoder", 257), byte_tokenizer, "x", SamplingParams(num_beams=2)))
