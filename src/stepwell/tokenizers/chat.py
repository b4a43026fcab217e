"""Conversations as text, by the Jinja template that comes with a chat model.

The environment is the one that templates are written for (transformers' settings), and it is sandboxed, because a
template is code from somebody else. What a message says is quoted where it spells a special token, so that nobody can
end a turn or speak for another by writing so. This file leaves out token ids.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stepwell.errors import TokenizerError

QUOTE = "\ufdd0", "\ufdd1"
"""What stands around quoted text: two code points that are no characters and in nobody's text."""

QUOTED = re.compile(f"{QUOTE[0]}([^{QUOTE[1]}]*){QUOTE[1]}")


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant says, for templates that tell it apart; the text is the same."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own spelling

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML; a prompt is not HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(template)


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] | None = None,
    tokens: Mapping[str, str] | None = None,
) -> str:
    """Turn a conversation into the text that a chat model reads.

    Args:
        template: Jinja source.
        messages: each with at least `role` and `content`.
        add_generation_prompt: whether the beginning of the assistant's answer is added.
        tools: JSON schemas of functions that the model may call.
        tokens: the special tokens that the template knows by name (`bos_token`, `eos_token`, ...).

    Raises:
        TokenizerError: when there is no message, or the template is faulty or refuses these messages.
    """
    if not messages:
        raise TokenizerError("chat: has no message", wanted="at least one, with a role and a content")
    try:
        return _compiled(template).render(
            messages=[dict(message) for message in messages],
            tools=None if tools is None else [dict(tool) for tool in tools],
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **(tokens or {}),
        )
    except jinja2.TemplateSyntaxError as error:
        raise TokenizerError("chat template: is faulty", got=f"line {error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise TokenizerError(
            "chat template: refuses these messages",
            got=str(error),
            wanted="messages with a role and a content, in an order that the template takes",
        ) from None


def quote_tokens(messages: Sequence[Mapping[str, Any]], literals: Collection[str]) -> list[dict[str, Any]]:
    """Mark what spells a special token in the messages, so that it can be told from what the template writes.

    Args:
        messages: of a conversation; texts inside lists and mappings are marked too, keys are not.
        literals: the special tokens as text.
    """
    longest_first = sorted((literal for literal in literals if literal), key=len, reverse=True)
    if not longest_first:
        return [dict(message) for message in messages]
    pattern = re.compile("|".join(map(re.escape, longest_first)))

    def quote(value: Any) -> Any:
        if isinstance(value, str):
            plain = value.replace(QUOTE[0], "").replace(QUOTE[1], "")
            return pattern.sub(lambda match: f"{QUOTE[0]}{match[0]}{QUOTE[1]}", plain)
        if isinstance(value, Mapping):
            return {key: quote(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [quote(one) for one in value]
        return value

    return [quote(message) for message in messages]


def split_quoted(rendered: str) -> list[tuple[str, bool]]:
    """Cut a rendered conversation into (text, whether it was quoted); pieces without text are left out."""
    pieces = [(text, n % 2 == 1) for n, text in enumerate(QUOTED.split(rendered))]
    cleaned = [(text.replace(QUOTE[0], "").replace(QUOTE[1], ""), quoted) for text, quoted in pieces]
    return [(text, quoted) for text, quoted in cleaned if text]
