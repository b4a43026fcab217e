"""Completing a prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tokenizers
import torch

from stepwell.errors import StepwellError, TokenizerError, UsageError
from stepwell.inference import (
    Completion,
    Piece,
    SamplingParams,
    generate,
    generate_many,
    score_tokens,
    stream,
)
from stepwell.models import LanguageModel
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer


class Reciter(LanguageModel):
    """Says a fixed sequence of tokens after any prompt that begins with the begin token."""

    def __init__(self, model: LanguageModel, prompt_tokens: int, says: list[int]) -> None:
        super().__init__()
        self.inner, self.config = model, model.config
        self.prompt_tokens, self.says = prompt_tokens, says

    def hidden(self, token_ids, document_ids=None, state=None):
        seen = state.length + token_ids.shape[1]
        self.inner.hidden(token_ids, state=state)
        one_hot = torch.zeros(*token_ids.shape, self.config.vocab_size)
        one_hot[:, -1, self.says[seen - self.prompt_tokens]] = 100.0
        return one_hot

    def unembed(self, hidden):
        return hidden

    def start(self, batch_size, max_len=None):
        return self.inner.start(batch_size, max_len)

    def lookup_parameters(self):
        return []


def recite(tiny_model, tokenizer: Tokenizer, says: list[int], **params: object) -> tuple[Completion, list[Piece]]:
    model = Reciter(tiny_model(64), prompt_tokens=2, says=says)
    chosen = SamplingParams(temperature=0, **params)
    (completion,) = generate(model, tokenizer, "x", chosen)
    return completion, list(stream(model, tokenizer, "x", chosen))


def test_the_end_of_text_token_ends_a_completion(tiny_model, byte_tokenizer):
    says = [*byte_tokenizer.encode("hello").tolist(), byte_tokenizer.eos_id, 5, 5, 5]
    completion, pieces = recite(tiny_model, byte_tokenizer, says)
    assert (completion.text, completion.finish_reason, completion.prompt_tokens) == ("hello", "stop", 2)
    assert list(completion.token_ids) == says[:6]
    assert [piece.text for piece in pieces] == [*"hello", ""]
    assert [piece.finish_reason for piece in pieces] == [None] * 5 + ["stop"]


def test_max_tokens_ends_a_completion(tiny_model, byte_tokenizer):
    says = byte_tokenizer.encode("hello").tolist()
    completion, _ = recite(tiny_model, byte_tokenizer, says, max_tokens=4)
    assert (completion.text, completion.finish_reason) == ("hell", "length")


def test_a_stop_text_across_tokens_and_characters(tiny_model, byte_tokenizer):
    says = [*byte_tokenizer.encode("古井。\n古井。\n石").tolist(), 0]
    completion, pieces = recite(tiny_model, byte_tokenizer, says, stop=("\n古石", "。\n石"))
    assert (completion.text, completion.finish_reason) == ("古井。\n古井", "stop")
    assert "".join(piece.text for piece in pieces) == completion.text
    assert len(completion.token_ids) == len(says) - 1  # the stop text's tokens were drawn, the end was not
    # A beginning of a stop text is shown as soon as it turns out to be none.
    shown = ""
    for piece, count in zip(pieces, range(1, 100), strict=False):
        shown += piece.text
        text = byte_tokenizer.decode_bytes(says[:count]).decode(errors="ignore")
        if piece.finish_reason is None:
            assert text.startswith(shown)
            assert len(text) - len(shown) <= 2


def test_a_stop_text_inside_one_token(tiny_model):
    tokenizer = train_tokenizer(["abcabcabc abcabcabc"] * 9, ByteBPEConfig(vocab_size=259))
    assert tokenizer.vocab_size == 259
    (token,) = tokenizer.encode("abc").tolist()
    model = Reciter(tiny_model(64, vocab_size=259), prompt_tokens=2, says=[token] * 9)
    (completion,) = generate(model, tokenizer, "x", SamplingParams(temperature=0, stop=("ca",)))
    assert (completion.text, completion.finish_reason, len(completion.token_ids)) == ("ab", "stop", 2)


def test_text_that_was_held_back_comes_at_the_end(tiny_model, byte_tokenizer):
    says = byte_tokenizer.encode("one END").tolist()
    completion, _ = recite(tiny_model, byte_tokenizer, [*says, 0], stop=("ENDING",))
    assert completion.text == "one END"
    completion, _ = recite(tiny_model, byte_tokenizer, says, stop=("ENDING",), max_tokens=6)
    assert (completion.text, completion.finish_reason) == ("one EN", "length")


def test_a_character_that_max_tokens_cuts_is_left_out(tiny_model, byte_tokenizer):
    says = byte_tokenizer.encode("井").tolist()[:2]
    completion, pieces = recite(tiny_model, byte_tokenizer, says, max_tokens=2)
    assert completion.text == ""
    assert [piece.text for piece in pieces] == ["", ""]


def test_a_stream_joined_is_the_completion(tiny_model, byte_tokenizer):
    model, params = tiny_model(16), SamplingParams(seed=4, n=3, max_tokens=40, stop=("e",))
    pieces = list(stream(model, byte_tokenizer, "well", params))
    for index, completion in enumerate(generate(model, byte_tokenizer, "well", params)):
        own = [piece for piece in pieces if piece.index == index]
        assert "".join(piece.text for piece in own) == completion.text
        assert tuple(piece.token_id for piece in own) == completion.token_ids
        assert tuple(piece.logprob for piece in own) == completion.logprobs
        assert [piece.finish_reason for piece in own] == [None] * (len(own) - 1) + [completion.finish_reason]


def test_many_prompts_are_what_each_is_alone(tiny_model, byte_tokenizer):
    model, params = tiny_model(16), SamplingParams(seed=1, n=2, max_tokens=30)
    prompts = ["one", "two", "", "four", "six"]
    together = generate_many(model, byte_tokenizer, prompts, params)
    alone = [generate(model, byte_tokenizer, prompt, params) for prompt in prompts]
    assert [[c.token_ids for c in group] for group in together] == [[c.token_ids for c in group] for group in alone]
    assert [[c.text for c in group] for group in together] == [[c.text for c in group] for group in alone]
    assert [group[0].prompt_tokens for group in together] == [4, 4, 1, 5, 4]
    assert generate_many(model, byte_tokenizer, [], params) == []


def test_more_rows_than_fit_a_batch(tiny_model, byte_tokenizer):
    params = SamplingParams(seed=1, n=50, max_tokens=2)
    groups = generate_many(tiny_model(16), byte_tokenizer, ["a", "b", "c"], params)
    assert [len(group) for group in groups] == [50, 50, 50]


def test_generated_logprobs_are_those_of_scoring(tiny_model, byte_tokenizer):
    """The chain rule holds across the rolled window too, whatever the temperature."""
    model = tiny_model(16)
    for params in (
        SamplingParams(max_tokens=60, seed=2),
        SamplingParams(max_tokens=60, seed=3, temperature=0.5, top_k=9),
    ):
        prompt = "a stair of many steps"
        (completion,) = generate(model, byte_tokenizer, prompt, params)
        tokens = [byte_tokenizer.bos_id, *byte_tokenizer.encode(prompt).tolist(), *completion.token_ids]
        logprobs = score_tokens(model, tokens)[completion.prompt_tokens - 1 :]
        assert completion.logprobs == pytest.approx(logprobs.tolist(), abs=1e-4)
        assert len(tokens) > 3 * 16


def test_the_model_is_left_as_it_was(tiny_model, byte_tokenizer):
    model = tiny_model(16).train()
    pieces = stream(model, byte_tokenizer, "x", SamplingParams(max_tokens=5))
    next(pieces)
    assert not model.training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    pieces.close()
    assert model.training


def test_the_penalty_does_not_count_the_begin_token(tiny_model, byte_tokenizer):
    """It is the end token as well; a penalty on it would make every text run on."""
    model = Reciter(tiny_model(64), prompt_tokens=2, says=[byte_tokenizer.eos_id])
    params = SamplingParams(temperature=0, repetition_penalty=100)
    model.unembed = lambda hidden: hidden / 100 + torch.arange(257).eq(5) * 0.5
    (completion,) = generate(model, byte_tokenizer, "x", params)
    assert completion.token_ids == (byte_tokenizer.eos_id,)


def test_a_tokenizer_that_does_not_fit_is_named(tiny_model, byte_tokenizer):
    with pytest.raises(TokenizerError, match="at most 200 tokens"):
        generate(tiny_model(16, vocab_size=200), byte_tokenizer, "x")
    with pytest.raises(TokenizerError, match="at most 200 tokens"):
        next(stream(tiny_model(16, vocab_size=200), byte_tokenizer, "x"))


def test_rows_of_a_model_without_a_token_are_never_drawn(tiny_model, byte_tokenizer):
    """Published embeddings are often padded to a round number."""
    model = Reciter(tiny_model(64, vocab_size=300), prompt_tokens=2, says=[299] * 40)
    model.unembed = lambda hidden: hidden + torch.arange(300).eq(65) * 1.0
    for temperature in (0.0, 1.0):
        params = SamplingParams(temperature=temperature, max_tokens=30, seed=0, repetition_penalty=1.01)
        (completion,) = generate(model, byte_tokenizer, "x", params)
        assert max(completion.token_ids) < 257


def with_roles(tokenizer: Tokenizer, **roles: Any) -> Tokenizer:
    """The tokenizer of bytes as another family would have it."""
    return Tokenizer(
        tokenizers.Tokenizer.from_str(tokenizer._backend.to_str()), tokenizer.roles.model_copy(update=roles)
    )


def test_every_token_that_ends_a_turn_ends_a_completion(tiny_model, byte_tokenizer):
    turn = int(byte_tokenizer.encode("#")[0])
    chat = with_roles(byte_tokenizer, stop_ids=(turn,))
    says = byte_tokenizer.encode("hello#more").tolist()
    completion, pieces = recite(tiny_model, chat, says)
    assert (completion.text, completion.finish_reason, pieces[-1].finish_reason) == ("hello", "stop", "stop")


def test_a_begin_token_only_where_the_family_puts_one(tiny_model, byte_tokenizer):
    bare = with_roles(byte_tokenizer, adds_bos=False)
    params = SamplingParams(max_tokens=1)
    assert [generate(tiny_model(), one, "abc", params)[0].prompt_tokens for one in (byte_tokenizer, bare)] == [4, 3]
    assert generate(tiny_model(), bare, "", params)[0].prompt_tokens == 1, "something must be read"


def test_a_conversation_is_read_by_its_template(tiny_model, byte_tokenizer):
    said = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
    template = f"{said}{{% if add_generation_prompt %}}A:{{% endif %}}"
    chat = with_roles(byte_tokenizer, chat_template=template)
    messages = [{"role": "user", "content": "hi"}]
    params = SamplingParams(temperature=0, max_tokens=5)
    (answered,) = generate(tiny_model(64), chat, messages, params)
    (continued,) = generate(tiny_model(64), with_roles(byte_tokenizer, adds_bos=False), "user:hi;A:", params)
    assert answered == replace(continued, continues=False)
    assert continued.continues
    assert [piece.token_id for piece in stream(tiny_model(64), chat, messages, params)] == list(answered.token_ids)
    with pytest.raises(TokenizerError, match="has no chat template"):
        generate(tiny_model(), byte_tokenizer, messages)


def test_a_model_of_nan_says_so(tiny_model, byte_tokenizer):
    model = tiny_model(16)
    with torch.no_grad():
        model.embedding.weight.fill_(torch.nan)
    with pytest.raises(StepwellError, match="not finite"):
        generate(model, byte_tokenizer, "x")
    assert not model.training


def test_no_stop_text_and_no_end_before_min_tokens(tiny_model, byte_tokenizer):
    says = byte_tokenizer.encode("a.b.c.d").tolist()
    completion, pieces = recite(tiny_model, byte_tokenizer, says, stop=(".",), min_tokens=3)
    assert (completion.text, completion.finish_reason) == ("a.b", "stop")
    assert "".join(piece.text for piece in pieces) == completion.text
    eos = byte_tokenizer.eos_id
    completion, _ = recite(tiny_model, byte_tokenizer, [eos, eos, *says, eos], min_tokens=2)
    assert completion.finish_reason == "stop"
    assert eos not in completion.token_ids[:2]


def test_stop_tokens_and_ends_that_are_ignored(tiny_model, byte_tokenizer):
    (star,) = byte_tokenizer.encode("*").tolist()
    says = [
        *byte_tokenizer.encode("one").tolist(),
        byte_tokenizer.eos_id,
        *byte_tokenizer.encode(" two*three").tolist(),
    ]
    completion, _ = recite(tiny_model, byte_tokenizer, says, stop_token_ids=(star,), ignore_eos=True)
    assert (completion.text, completion.finish_reason, completion.token_ids[-1]) == ("one two", "stop", star)


def test_likeliest_tokens_are_told(tiny_model, byte_tokenizer):
    params = SamplingParams(max_tokens=6, seed=2, logprobs=3)
    model = tiny_model(32)
    (completion,) = generate(model, byte_tokenizer, "well", params)
    assert [len(one) for one in completion.likeliest] == [3] * len(completion.token_ids)
    for best, logprob in zip(completion.likeliest, completion.logprobs, strict=True):
        assert best[0][1] >= best[1][1] >= best[2][1]
        assert best[0][1] >= logprob
    assert tuple(piece.likeliest for piece in stream(model, byte_tokenizer, "well", params)) == completion.likeliest
    (plain,) = generate(model, byte_tokenizer, "well", params.model_copy(update={"logprobs": 0}))
    assert plain == replace(completion, likeliest=())


def test_the_best_of_many(tiny_model, byte_tokenizer):
    model, params = tiny_model(32), SamplingParams(max_tokens=9, seed=3, n=2, best_of=7)
    every = generate(model, byte_tokenizer, "well", params.model_copy(update={"n": 7}))
    best = generate(model, byte_tokenizer, "well", params)
    means = [sum(one.logprobs) / len(one.logprobs) for one in every]
    assert [sum(one.logprobs) / len(one.logprobs) for one in best] == sorted(means, reverse=True)[:2]
    assert {one.token_ids for one in best} < {one.token_ids for one in every}
    with pytest.raises(UsageError, match="best_of: cannot be streamed"):
        next(stream(model, byte_tokenizer, "well", params))


def test_what_a_seed_draws_does_not_change(tiny_model, byte_tokenizer):
    """Golden: the same tokens for the same seed from one version to the next."""
    shaped = SamplingParams(seed=6, n=2, max_tokens=8, temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.2)
    assert [one.token_ids for one in generate(tiny_model(32), byte_tokenizer, "step", shaped)] == GOLDEN["shaped"]
    plain = SamplingParams(seed=5, n=2, max_tokens=8)
    assert [one.token_ids for one in generate(tiny_model(32), byte_tokenizer, "step", plain)] == GOLDEN["plain"]


GOLDEN = {
    "shaped": [(39, 107, 215, 104, 0), (107, 59, 31, 186, 15, 123, 125, 39)],
    "plain": [(123, 253, 238, 199, 207, 19, 181, 192), (27, 27, 173, 166, 34, 135, 157, 148)],
}
