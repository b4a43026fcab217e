"""Continuous batching: the same answers whatever else the engine does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from stepwell.errors import StepwellError, UsageError
from stepwell.inference import SamplingParams, choose_weights, complete, generate, generate_many, stream_complete
from stepwell.inference.engine.engine import Engine
from stepwell.inference.engine.request import Event, Request
from stepwell.inference.native.build import find_compiler
from stepwell.models import (
    DecoderConfig,
    EncoderDecoderConfig,
    LanguageModel,
    RecurrentConfig,
    build_model,
)
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")

SIZES: dict[str, Any] = {"num_layers": 2, "d_model": 32, "head_dim": 8, "d_ff": 48, "num_heads": 4, "num_kv_heads": 2}
TEXTS = ("the well", "the well is deep and the water is cold", "a", "steps go down to the water and up again " * 6)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([" ".join(TEXTS)], ByteBPEConfig(vocab_size=300))


@pytest.fixture(scope="module")
def decoder(tokenizer: Tokenizer) -> LanguageModel:
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, max_seq_len=400, residual_initialization="same", **SIZES)
    model = build_model(config, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    return model


def asked(tokenizer: Tokenizer, text: str, **params: Any) -> Request:
    return Request(tuple(tokenizer.encode(text).tolist()), SamplingParams(**params))


def requests(tokenizer: Tokenizer) -> list[Request]:
    return [
        asked(tokenizer, TEXTS[0], max_tokens=30, temperature=1.0, seed=1),
        asked(tokenizer, TEXTS[1], max_tokens=20, temperature=0.0),
        asked(tokenizer, TEXTS[2], max_tokens=40, temperature=0.8, top_p=0.9, seed=2, n=3),
        asked(tokenizer, TEXTS[3], max_tokens=25, temperature=1.3, top_k=20, seed=3, repetition_penalty=1.2),
        asked(tokenizer, TEXTS[3] + TEXTS[0], max_tokens=9, temperature=1.3, seed=4),
    ]


def told(engine: Engine, several: list[Request]) -> dict[tuple[int, int], list[tuple[str, Any, Any]]]:
    """Everything that each sample was given."""
    found: dict[tuple[int, int], list[tuple[str, Any, Any]]] = {}
    for event in engine.run(several):
        found.setdefault((event.request, event.index), []).append((event.text, event.drawn, event.finish_reason))
    return found


def alone(engine: Engine, several: list[Request]) -> dict[tuple[int, int], list[tuple[str, Any, Any]]]:
    return {
        (number, index): events
        for number, one in enumerate(several)
        for (_, index), events in told(engine, [one]).items()
    }


@needs_compiler
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_a_seed_gives_the_same_to_the_bit_in_every_batch(
    tokenizer: Tokenizer, decoder: LanguageModel, weights: Any
) -> None:
    several = requests(tokenizer)
    wanted = alone(Engine(decoder, tokenizer, weights=weights, shares=False, threads=2), several)
    assert len(wanted) == 7
    smaller = build_model(decoder.config, seed=7)
    several_settings: tuple[dict[str, Any], ...] = (
        {"shares": False},
        {"shares": True},
        {"step_tokens": 7},
        {"step_tokens": 33, "most_samples": 2},
        {"threads": 1},
        {"guess_tokens": 5},
        {"guess_tokens": 5, "draft": smaller},
        {"guess_tokens": 5, "draft": smaller, "cache_tokens": 448},
        {"cache_tokens": 448},  # hardly more than one text: samples make room for each other
    )
    for settings in several_settings:
        engine = Engine(decoder, tokenizer, weights=weights, **{"threads": 2, **settings})
        assert told(engine, several) == wanted, settings
        assert told(engine, several) == wanted, settings  # now with what is known from before
        assert engine.load.used_blocks == 0


@needs_compiler
def test_guesses_that_come_true_save_steps(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    request = asked(tokenizer, TEXTS[3] * 2, max_tokens=60, temperature=0.0, ignore_eos=True)
    steps, texts = [], []
    for guess_tokens in (0, 8):
        engine = Engine(decoder, tokenizer, weights="float32", guess_tokens=guess_tokens)
        engine.add(request)
        events: list[Event] = []
        count = 0
        while not engine.is_idle:
            events += engine.step()
            count += 1
        steps.append(count)
        texts.append([event.drawn for event in events])
    assert texts[0] == texts[1]
    assert steps[1] < steps[0]


@needs_compiler
def test_the_guesses_of_a_model_that_knows_come_true(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer, weights="float32", guess_tokens=4, draft=decoder)
    for text in TEXTS:
        engine.add(asked(tokenizer, text * 3, max_tokens=30, temperature=0.0, ignore_eos=True))
        events, steps = [], 0
        while not engine.is_idle:
            events.append(len(engine.step()))
            steps += 1
        assert sum(events) == 30
        assert max(events) == 5
        assert steps <= 9  # the prompt, and five tokens a step


@needs_compiler
def test_a_draft_that_knows_fewer_tokens_is_refused(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    small = build_model(decoder.config.model_copy(update={"vocab_size": 20}))
    with pytest.raises(UsageError, match="other tokens"):
        Engine(decoder, tokenizer, weights="float32", guess_tokens=4, draft=small)


@needs_compiler
def test_machine_code_in_float32_writes_what_the_model_writes(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    params = SamplingParams(max_tokens=30, temperature=0.0)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        (event, *more) = list(Engine(decoder, tokenizer, weights="float32").run([Request(tuple(ids.tolist()), params)]))
        wanted = generate(decoder, tokenizer, ids, params)[0]
        assert tuple(one.drawn.token_id for one in (event, *more) if one.drawn) == wanted.token_ids


@pytest.mark.parametrize("kind", ["decoder", "prefix", "lstm", "encoder_decoder"])
def test_every_architecture_writes_as_generate_does(tokenizer: Tokenizer, decoder: LanguageModel, kind: str) -> None:
    model = decoder
    common: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "max_seq_len": 64}
    if kind == "lstm":
        model = build_model(RecurrentConfig(kind="lstm", num_layers=1, d_model=32, d_embedding=32, **common), seed=5)
    elif kind == "encoder_decoder":
        config = EncoderDecoderConfig(num_encoder_layers=1, prompt="source", **common, **SIZES)
        model = build_model(config, seed=6)
    elif kind == "prefix":
        model = build_model(decoder.config.model_copy(update={"prompt": "prefix"}), seed=7)
    several = [
        asked(tokenizer, TEXTS[0], max_tokens=12, seed=1, n=2),
        asked(tokenizer, TEXTS[1], max_tokens=20, seed=2, temperature=0.7),
    ]
    found = told(Engine(model, tokenizer), several)
    for number, one in enumerate(several):
        ids = torch.tensor(one.token_ids).numpy()
        for index, wanted in enumerate(generate(model, tokenizer, ids, one.params)):
            events = found[number, index]
            assert tuple(drawn.token_id for _, drawn, _ in events) == wanted.token_ids
            assert "".join(text for text, _, _ in events) == wanted.text
            assert events[-1][2] == wanted.finish_reason
    if kind in ("prefix", "encoder_decoder"):
        with pytest.raises(UsageError, match="reads a prompt as a whole"):
            Engine(model, tokenizer).check(replace(several[0], prompt_logprobs=True))


@needs_compiler
def test_many_requests_that_come_at_different_times_are_all_answered(
    tokenizer: Tokenizer, decoder: LanguageModel
) -> None:
    engine = Engine(decoder, tokenizer, weights="float32", most_samples=3, cache_tokens=448)
    several = requests(tokenizer) * 3
    wanted = alone(Engine(decoder, tokenizer, weights="float32"), several)
    found: dict[tuple[int, int], list[Event]] = {}
    left, step = list(enumerate(several)), 0
    while left or not engine.is_idle:
        if left and step % 4 == 0:
            number, one = left.pop(0)
            assert engine.add(one) == number
        for event in engine.step():
            found.setdefault((event.request, event.index), []).append(event)
        step += 1
        assert engine.load.running <= 3
    assert {
        key: [(one.text, one.drawn, one.finish_reason) for one in events] for key, events in found.items()
    } == wanted


@needs_compiler
def test_a_request_that_is_cancelled_leaves_nothing_behind(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer, weights="float32", most_samples=2)
    numbers = [engine.add(one) for one in requests(tokenizer)]
    for _ in range(3):
        engine.step()
    for number in numbers[:3]:
        engine.cancel(number)
    later = []
    while not engine.is_idle:
        later += engine.step()
    assert {event.request for event in later} == set(numbers[3:])
    assert engine.load.used_blocks == 0


@pytest.mark.parametrize("weights", [None, pytest.param("float32", marks=needs_compiler)])
def test_the_prompts_tokens_are_told_with_their_log_probabilities(
    tokenizer: Tokenizer, decoder: LanguageModel, weights: Any
) -> None:
    params = SamplingParams(max_tokens=3, temperature=0.0, logprobs=2)
    ids = tuple(tokenizer.encode(TEXTS[3]).tolist())
    with torch.inference_mode():
        logprobs = decoder(torch.tensor([ids]))[0, :-1, : tokenizer.vocab_size].log_softmax(-1)
    wanted = logprobs.gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
    engine = Engine(decoder, tokenizer, weights=weights)
    for _ in range(2):  # what is shared is not told: it is read again
        first, *rest = engine.run([Request(ids, params, prompt_logprobs=True)])
        assert first.prompt_logprobs is not None
        assert [one.token_id for one in first.prompt_logprobs] == list(ids[1:])
        scores = torch.tensor([one.logprob for one in first.prompt_logprobs])
        torch.testing.assert_close(scores, wanted, rtol=1e-3, atol=1e-4)
        best = torch.tensor([[value for _, value in one.likeliest] for one in first.prompt_logprobs])
        torch.testing.assert_close(best, logprobs.topk(2).values, rtol=1e-3, atol=1e-4)
        assert all(event.prompt_logprobs is None for event in rest)


def test_what_goes_wrong_with_one_request_is_its_own(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer)
    fine = engine.add(asked(tokenizer, TEXTS[0], max_tokens=5, seed=1))
    bad = engine.add(
        asked(tokenizer, TEXTS[0], max_tokens=5, min_tokens=5, stop_token_ids=list(range(tokenizer.vocab_size)))
    )
    events = []
    while not engine.is_idle:
        events += engine.step()
    assert [event.finish_reason for event in events if event.request == bad] == ["error"]
    assert all(event.error is not None for event in events if event.request == bad)
    assert sum(event.request == fine for event in events) == 5


def test_run_raises_what_went_wrong(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer)
    bad = asked(tokenizer, TEXTS[0], min_tokens=5, stop_token_ids=list(range(tokenizer.vocab_size)))
    with pytest.raises(StepwellError, match="no token is left"):
        list(engine.run([bad, asked(tokenizer, TEXTS[1], max_tokens=5)]))
    assert engine.is_idle


def test_what_can_never_be_done_is_refused(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer)
    for ids, said in (
        ((), "is empty"),
        ((1,) * 400, "longer than the model's window"),
        ((10**6,), "tokens that there"),
    ):
        with pytest.raises(UsageError, match=said):
            engine.add(Request(ids, SamplingParams()))
    assert engine.is_idle


@needs_compiler
def test_a_text_ends_where_the_blocks_do(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer, weights="float32", cache_tokens=64)
    ids = tuple(tokenizer.encode(TEXTS[0]).tolist())
    several = [Request(ids, SamplingParams(max_tokens=500, seed=seed, ignore_eos=True)) for seed in range(3)]
    found = told(engine, several)
    assert [len(ids) + len(events) for events in found.values()] == [64, 64, 64]
    assert {events[-1][2] for events in found.values()} == {"length"}
    with pytest.raises(UsageError, match="longer than the model's window"):
        engine.add(Request((1,) * 64, SamplingParams()))


@needs_compiler
def test_a_step_has_room_for_all_that_write_and_their_guesses(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer, weights="float32", most_samples=600, step_tokens=512, guess_tokens=8)
    several = [asked(tokenizer, TEXTS[0], max_tokens=4, seed=1, ignore_eos=True, n=120) for _ in range(5)]
    found = told(engine, several)
    assert len(found) == 600
    assert all(len(events) == 4 for events in found.values())


def test_where_one_request_cannot_be_done_none_is_begun(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer)
    with pytest.raises(UsageError, match="is empty"):
        list(engine.run([asked(tokenizer, TEXTS[0]), Request((), SamplingParams())]))
    assert engine.is_idle


def test_searches_are_refused(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    engine = Engine(decoder, tokenizer)
    for params in ({"num_beams": 2}, {"penalty_alpha": 0.5, "top_k": 4}, {"guidance_scale": 2.0}, {"best_of": 3}):
        with pytest.raises(UsageError, match=r"search|best_of"):
            engine.add(asked(tokenizer, TEXTS[0], **params))


def test_a_full_window_ends_a_sample(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    ids = tuple(tokenizer.encode(TEXTS[0]).tolist())
    events = list(Engine(decoder, tokenizer).run([Request(ids, SamplingParams(max_tokens=10_000, ignore_eos=True))]))
    assert len(ids) + len(events) == 400
    assert events[-1].finish_reason == "length"


@needs_compiler
def test_completions_are_those_of_generate(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    params = SamplingParams(max_tokens=12, temperature=0.9, seed=5, n=2, best_of=3, logprobs=2)
    told = complete(Engine(decoder, tokenizer, weights="float32"), TEXTS, params)
    wanted = generate_many(decoder, tokenizer, TEXTS, params)
    for mine, theirs in zip(told, wanted, strict=True):
        assert [one.text for one in mine] == [one.text for one in theirs]
        assert [one.token_ids for one in mine] == [one.token_ids for one in theirs]
        assert [one.finish_reason for one in mine] == [one.finish_reason for one in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
            assert [[token for token, _ in several] for several in one.likeliest] == [
                [token for token, _ in several] for several in other.likeliest
            ]


def test_pieces_joined_are_the_completion(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    params, engine = SamplingParams(max_tokens=12, temperature=0.9, seed=5, n=2), Engine(decoder, tokenizer)
    pieces = list(stream_complete(engine, TEXTS[0], params))
    (wanted,) = complete(engine, TEXTS[:1], params)
    for index, one in enumerate(wanted):
        mine = [piece for piece in pieces if piece.index == index]
        assert "".join(piece.text for piece in mine) == one.text
        assert tuple(piece.token_id for piece in mine) == one.token_ids
        assert (mine[-1].finish_reason, mine[0].continues) == (one.finish_reason, True)
    with pytest.raises(UsageError, match="best_of"):
        list(stream_complete(engine, TEXTS[0], SamplingParams(best_of=3)))


def test_of_a_long_text_the_end_is_read(tokenizer: Tokenizer, decoder: LanguageModel) -> None:
    (found,) = complete(Engine(decoder, tokenizer), [TEXTS[3] * 20], SamplingParams(max_tokens=10, seed=1))
    assert found[0].prompt_tokens == 390
    assert found[0].finish_reason == "length"


def test_weights_are_chosen_by_name(decoder: LanguageModel) -> None:
    assert choose_weights("plain", decoder) is None
    assert choose_weights("bf16", decoder) == "bfloat16"
    assert choose_weights("int4", decoder) == "int4"
    assert choose_weights("auto", decoder) == ("bfloat16" if find_compiler() else None)
    with pytest.raises(UsageError, match="no such way"):
        choose_weights("int3", decoder)
