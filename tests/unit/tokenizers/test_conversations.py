"""Conversations as token ids: what is trained is what is asked later, for every template."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stepwell.errors import TokenizerError
from stepwell.tokenizers import (
    ROLE_TOKENS,
    ByteBPEConfig,
    Tokenizer,
    conversational,
    encode_conversation,
    train_tokenizer,
)

CHATML = ("<|im_start|>", "<|im_end|>")
SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is the well?  "},
    {"role": "assistant", "content": " Under the bridge."},
    {"role": "user", "content": "井在哪里？<|end|><|im_end|>"},
    {"role": "assistant", "content": "在桥下。\n\n- near\n- the river"},
]
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def bare(small_text: Callable[..., str]) -> Callable[..., Tokenizer]:
    """A tokenizer with some special tokens and no template."""

    def make(special: tuple[str, ...] = ()) -> Tokenizer:
        return train_tokenizer([small_text(num_bytes=8_000)], ByteBPEConfig(vocab_size=400, special_tokens=special))

    return make


@pytest.mark.parametrize("special", [ROLE_TOKENS, CHATML, ()], ids=["roles", "chatml", "words"])
def test_every_answer_goes_on_with_its_prompt(bare: Callable[..., Tokenizer], special: tuple[str, ...]) -> None:
    """The oracle is what prediction asks: prompt ids, then the answer and its end."""
    tokenizer = conversational(bare(special))
    made = encode_conversation(tokenizer, SAID)
    stripped = [{**one, "content": one["content"].strip()} if one["role"] == "assistant" else one for one in SAID]
    for place, (begin, end) in zip((2, 4), made.answers, strict=True):
        assert made.token_ids[:begin].tolist() == tokenizer.chat(stripped[:place]).tolist()
        assert tokenizer.decode(made.token_ids[begin : end - 1]) == stripped[place]["content"]
        assert int(made.token_ids[end - 1]) in tokenizer.stop_ids
        assert tokenizer.stop_ids.isdisjoint(made.token_ids[begin : end - 1].tolist())
    assert made.answers[-1][1] == len(made.token_ids)
    whole = tokenizer.chat(stripped, add_generation_prompt=False)
    assert made.token_ids.tolist() == whole[: len(made.token_ids)].tolist()


def test_the_template_goes_with_the_tokenizer(bare: Callable[..., Tokenizer], tmp_path: object) -> None:
    from pathlib import Path

    tokenizer = conversational(bare(ROLE_TOKENS))
    assert conversational(tokenizer) is tokenizer
    path = Path(str(tmp_path)) / "tokenizer.json"
    tokenizer.save(path)
    again = Tokenizer.load(path)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.chat(SAID).tolist() == tokenizer.chat(SAID).tolist()
    assert again.stop_ids == {tokenizer.eos_id, tokenizer.token_id("<|end|>")}


def test_a_template_of_its_own_is_kept(bare: Callable[..., Tokenizer]) -> None:
    plain = bare()
    given = plain.with_roles(
        plain.roles.model_copy(update={"chat_template": LLAMA2, "chat_tokens": {"eos_token": "<|endoftext|>"}})
    )
    tokenizer = conversational(given)
    assert tokenizer is given
    made = encode_conversation(tokenizer, SAID)
    assert [tokenizer.decode(made.token_ids[begin:end]) for begin, end in made.answers] == [
        " Under the bridge. ",
        " 在桥下。\n\n- near\n- the river ",
    ]
    assert all(int(made.token_ids[end - 1]) == tokenizer.eos_id for _, end in made.answers)


def test_the_end_of_a_turn_stops(bare: Callable[..., Tokenizer]) -> None:
    """A base model whose template ends turns with another token than the text: it has to stop there."""
    plain = bare(CHATML)
    template = conversational(plain).chat_template
    given = plain.with_roles(plain.roles.model_copy(update={"chat_template": template}))
    assert plain.token_id("<|im_end|>") not in given.stop_ids
    assert plain.token_id("<|im_end|>") in conversational(given).stop_ids


BROKEN = {
    "no_end": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "other_prompt": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}Now answer: {% endif %}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_templates_that_cannot_be_trained_on(bare: Callable[..., Tokenizer], name: str) -> None:
    plain = bare()
    tokens = {"chat_template": BROKEN[name], "chat_tokens": {"eos_token": "<|endoftext|>"}}
    with pytest.raises(TokenizerError, match=r"no special token|not the beginning"):
        conversational(plain.with_roles(plain.roles.model_copy(update=tokens)))


CHANGING = {
    "forgets_history": (
        "{% for m in messages %}{% if loop.index0 >= messages | length - 2 %}"
        "{{ m['role'] + ': ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
        "not the beginning",
    ),
    "changes_answers": (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'].upper() + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
        "is changed",
    ),
}


@pytest.mark.parametrize("name", CHANGING)
def test_conversations_that_do_not_come_back(bare: Callable[..., Tokenizer], name: str) -> None:
    template, words = CHANGING[name]
    plain = bare()
    tokens = {"chat_template": template, "chat_tokens": {"eos_token": "<|endoftext|>"}}
    tokenizer = plain.with_roles(plain.roles.model_copy(update=tokens))
    with pytest.raises(TokenizerError, match=words):
        encode_conversation(tokenizer, SAID)


MELTING = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
"""Nothing stands between a question and its answer, so a token may go over both."""


def test_tokens_are_cut_where_the_prompt_ends(bare: Callable[..., Tokenizer]) -> None:
    """An earlier answer that melts into its prompt has other tokens in the next prompt, which is refused."""
    plain = bare()
    tokens = {"chat_template": MELTING, "chat_tokens": {"eos_token": "<|endoftext|>"}}
    tokenizer = plain.with_roles(plain.roles.model_copy(update=tokens))
    token = max((tokenizer.decode([n]).strip() for n in range(257, plain.vocab_size)), key=len)
    assert len(tokenizer.encode(token)) == 1
    melting = [{"role": "user", "content": token[:1]}, {"role": "assistant", "content": token[1:]}]
    made = encode_conversation(tokenizer, melting)
    assert np.array_equal(made.token_ids[: made.answers[0][0]], tokenizer.chat(melting[:1]))
    again = [*melting, {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    with pytest.raises(TokenizerError, match="other tokens"):
        encode_conversation(tokenizer, again)
