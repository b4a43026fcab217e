"""Texts written for examples, and how right ones are told: as by reading each anew, and never all logits at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.errors import UsageError
from stepwell.inference import Beams, Marked, SamplingParams, answer_many, score_targets, search_targets, write_texts
from stepwell.inference.answers import writing as writing_room
from stepwell.models import MODELS, LanguageModel, build_model
from stepwell.objectives import split_pair
from stepwell.tasks import SearchConfig, TranslationConfig

FAMILIES = ["encoder_decoder", "recurrent_encoder_decoder", "decoder", "lstm"]
ROWS = [("a well", "un puits"), ("b", "x"), ("the stair goes down", "l'escalier"), ("水", "井水")]


def made(family: str, max_seq_len: int = 64) -> LanguageModel:
    config = MODELS[family].sized(1, vocab_size=257, max_seq_len=max_seq_len)
    if "encoder" in family:
        config = config.model_copy(update={"prompt": "source"})
    model = build_model(config, seed=2)
    with torch.no_grad():
        model.output().weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return model.eval()


@pytest.fixture(scope="module")
def examples(byte_tokenizer) -> list[Marked]:
    found = []
    for source, target in ROWS:
        end = [byte_tokenizer.eos_id]
        read = [*end, *byte_tokenizer.encode(source).tolist(), *end]
        found.append(Marked(np.array([*read, *byte_tokenizer.encode(target).tolist(), *end]), len(read)))
    return found


@torch.no_grad()
def plainly(model: LanguageModel, one: Marked, tokenizer) -> list[float]:
    """The oracle: each token of the target by a state that is extended token by token."""
    read, target = one.token_ids[: one.source_tokens], one.token_ids[one.source_tokens :].tolist()
    if model.reads_source:
        read = split_pair(one.token_ids, one.source_tokens, tokenizer).source
    state, logits = model.begin(torch.from_numpy(read.astype(np.int64))[None], 64)
    told = []
    for token in target:
        told.append(float(logits.log_softmax(-1)[0, token]))
        logits = model.extend(state, torch.tensor([[token]]))
    return told


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_right_targets_are_told_as_token_by_token(family, batch_tokens, examples, byte_tokenizer):
    model = made(family)
    scores = score_targets(model, byte_tokenizer, examples, batch_tokens=batch_tokens)
    for one, found in zip(examples, scores, strict=True):
        assert found.logprobs == pytest.approx(plainly(model, one, byte_tokenizer), abs=1e-4)
        assert len(found.correct) == len(found.logprobs) == len(one.token_ids) - one.source_tokens


def test_logits_are_made_for_a_slice_at_a_time(examples, byte_tokenizer, monkeypatch):
    model, seen = made("encoder_decoder"), []
    unembed = model.unembed
    monkeypatch.setattr(model, "unembed", lambda hidden: seen.append(len(hidden)) or unembed(hidden))
    whole = score_targets(model, byte_tokenizer, examples)
    assert max(seen) > 5
    seen.clear()
    monkeypatch.setattr(writing_room, "LOGITS_AT_ONCE", 3 * 257)
    sliced = score_targets(model, byte_tokenizer, examples)
    assert max(seen) == 3
    for one, other in zip(whole, sliced, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_what_is_kept_of_a_search_does_not_grow_with_the_vocabulary(byte_tokenizer):
    (found,) = search_targets(
        made("encoder_decoder"), [np.array([5, 6, 0])], Beams(3, 1.0, 7), stop_ids=byte_tokenizer.stop_ids
    )
    for one in found:
        assert len(one.logprobs) == len(one.token_ids) <= 7


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_texts_for_sources(family, byte_tokenizer):
    model = made(family)
    task = TranslationConfig(max_tokens=60, max_target_tokens=9, decision=SearchConfig(beam_size=3))
    asked = ["a well", {"source": "水"}, {"en": "b"}]
    answers = answer_many(model, byte_tokenizer, task, asked, SamplingParams(n=2))
    assert [len(some) for some in answers] == [2, 2, 2]
    for some in answers:
        assert all(len(one.token_ids) <= 9 and not one.continues for one in some)
        assert (
            some[0].text == byte_tokenizer.decode([n for n in some[0].token_ids if n != byte_tokenizer.eos_id]).strip()
        )
    (first,) = answer_many(model, byte_tokenizer, task, ["a well"], SamplingParams())
    assert first[0].token_ids == answers[0][0].token_ids
    (short,) = answer_many(model, byte_tokenizer, task, ["a well"], SamplingParams(max_tokens=2))
    assert len(short[0].token_ids) <= 2


def test_more_texts_than_beams_widen_the_search(byte_tokenizer):
    task = TranslationConfig(max_target_tokens=5, decision=SearchConfig(beam_size=1))
    ((*several,),) = answer_many(made("encoder_decoder"), byte_tokenizer, task, ["a"], SamplingParams(n=4))
    assert len({one.token_ids for one in several}) == 4


@pytest.mark.parametrize("family", ["encoder_decoder", "decoder"])
def test_a_source_past_the_window_is_shortened(family, byte_tokenizer):
    task = TranslationConfig(max_tokens=512, max_target_tokens=6)
    (some,) = answer_many(made(family, 32), byte_tokenizer, task, ["x" * 100], SamplingParams())
    assert 1 <= len(some[0].token_ids) <= 6
    assert some[0].prompt_tokens <= 32


def test_an_example_without_a_source_is_an_error(byte_tokenizer):
    with pytest.raises(UsageError, match="source"):
        answer_many(made("decoder"), byte_tokenizer, TranslationConfig(), [{"label": "x"}], SamplingParams())


def test_nothing_to_write_is_nothing_written(byte_tokenizer):
    assert write_texts(made("decoder"), byte_tokenizer, TranslationConfig(), []) == []
    assert score_targets(made("encoder_decoder"), byte_tokenizer, []) == []
