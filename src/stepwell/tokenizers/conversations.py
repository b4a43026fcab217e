"""Whole conversations as token ids, with the places of what the assistant says.

What a model is trained on must begin as what it is asked later. So a conversation is cut where a prompt would end, each
answer is found by where it lies in the rendered text, and all of it is compared with the prompts of prediction. A
tokenizer without a chat template gets one. This file leaves out rows of tables, and which conversations are learned
from (`tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stepwell.errors import TokenizerError
from stepwell.tokenizers.tokenizer import TokenIds, Tokenizer

ASSISTANT = "assistant"

ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
"""Special tokens of a tokenizer that is trained for conversations."""


class _Form(NamedTuple):
    """A template for tokenizers that have certain special tokens.

    Attributes:
        tokens: that it needs.
        end: the one that ends a turn; None for the end-of-text token.
        template: Jinja source.
    """

    tokens: tuple[str, ...]
    end: str | None
    template: str


FORMS = (
    _Form(
        ROLE_TOKENS,
        "<|end|>",
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ),
    _Form(
        ("<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    _Form(
        (),
        None,
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "{{ 'Assistant:\\n' + message['content'] + eos_token + '\\n' }}{% else %}"
        "{{ message['role'].title() + ':\\n' + message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}",
    ),
)
"""Templates for tokenizers without one, the first whose tokens are there: tokens for roles, ChatML, plain words."""

_PROBE = ({"role": "user", "content": "a"}, {"role": ASSISTANT, "content": "b"})


def conversational(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that writes conversations: with a chat template, and stopping where a turn ends.

    Args:
        tokenizer: with a template of its own, which is kept, or without.

    Returns:
        The same tokenizer, where it lacks nothing.

    Raises:
        TokenizerError: when its template ends an answer with no special token, so that no answer could ever stop.
    """
    roles = tokenizer.roles
    if roles.chat_template is None:
        special = {tokenizer.token(n) for n in tokenizer.special_ids}
        form = next(one for one in FORMS if special.issuperset(one.tokens))
        roles = roles.model_copy(
            update={
                "chat_template": form.template,
                "chat_tokens": {"eos_token": tokenizer.token(roles.eos_id)},
                "stop_ids": () if form.end is None else (tokenizer.token_id(form.end),),
            }
        )
        tokenizer = tokenizer.with_roles(roles)
    prompt, whole = (
        tokenizer.render(_PROBE[:length], add_generation_prompt=length == 1) for length in (1, len(_PROBE))
    )
    if not whole.startswith(prompt):
        raise _otherwise("a prompt is not the beginning of its conversation", whole)
    after = tokenizer.encode_rendered(whole[len(prompt) :]).tolist()
    ends = [token_id for token_id in after if token_id in tokenizer.special_ids]
    if not ends:
        raise _otherwise("an answer ends with no special token, so that none could stop", whole)
    if tokenizer.stop_ids.isdisjoint(ends):
        tokenizer = tokenizer.with_roles(roles.model_copy(update={"stop_ids": (*roles.stop_ids, ends[0])}))
    return tokenizer


@dataclass(frozen=True)
class Conversation:
    """A conversation as a model learns from it.

    Attributes:
        token_ids: (T,) up to the token that ends the last answer.
        answers: where each answer begins and one past the token that ends it.
    """

    token_ids: TokenIds
    answers: tuple[tuple[int, int], ...]


def encode_conversation(tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """The ids of a conversation with the places of its answers, as they lie in the rendered text.

    Args:
        tokenizer: with a chat template (see `conversational`).
        messages: with `role` and `content`; the last one is what the assistant says. Blanks at the ends of an answer
            are left out.

    Raises:
        TokenizerError: when the prompt of an answer, the answer and its end are not what the template makes of the
            whole conversation, to the character and to the token.
    """
    said = tokenizer.quoted(
        [
            {**message, "content": message["content"].strip()} if message["role"] == ASSISTANT else message
            for message in messages
        ]
    )
    whole = tokenizer.render_quoted(said, add_generation_prompt=False)
    pieces: list[TokenIds] = []
    answers: list[tuple[int, int]] = []
    at = length = 0
    for place, message in enumerate(said):
        if message["role"] != ASSISTANT:
            continue
        prompt = tokenizer.render_quoted(said[:place], add_generation_prompt=True)
        so_far = tokenizer.render_quoted(said[: place + 1], add_generation_prompt=False)
        told = so_far[len(prompt) :]
        if not (so_far.startswith(prompt) and whole.startswith(so_far)):
            raise _otherwise("a prompt is not the beginning of its conversation", whole)
        if not told.lstrip().startswith(message["content"]):
            raise _otherwise("what the assistant says is changed", told)
        pieces.append(tokenizer.encode_rendered(whole[at : len(prompt)]))
        length += len(pieces[-1])
        if place == len(said) - 1 and not np.array_equal(np.concatenate(pieces), tokenizer.encode_rendered(prompt)):
            raise _otherwise("a prompt has other tokens when the conversation goes on", whole)
        pieces.append(tokenizer.encode_rendered(told))
        stop = next((n for n, one in enumerate(pieces[-1].tolist()) if one in tokenizer.stop_ids), None)
        if stop is None:
            raise _otherwise("an answer ends with no token that stops", told)
        answers.append((length, length + stop + 1))
        at, length = len(so_far), length + len(pieces[-1])
    return Conversation(np.concatenate(pieces)[: answers[-1][1]], tuple(answers))


def _otherwise(what: str, rendered: str) -> TokenizerError:
    return TokenizerError(
        f"chat template: {what}",
        got=repr(rendered[-80:]),
        wanted="a prompt, the answer and its end that make the whole conversation",
        do="take a model whose template keeps what was said, or a tokenizer without a template: it gets one",
    )
