r"""Log-probabilities in the two shapes that OpenAI has for them.

A token is told as text; one that is a part of a character is spelled byte by byte (`bytes:\xe4\xbd`), as the older of
the two interfaces does. This file leaves out where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.inference import Drawn
from stepwell.tokenizers import Tokenizer

FLOOR = -9999.0
"""What stands for minus infinity, which JSON has not."""


def spelled(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text."""
    data = tokenizer.target.token_bytes(token_id)
    if not data:
        return tokenizer.target.token(token_id)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class TokenTable:
    """The older shape, of completions: columns.

    Args:
        tokenizer: of the tokens.
        alternatives: how many of the likeliest tokens are told beside each.
        begins_at: characters before the first token.
    """

    def __init__(self, tokenizer: Tokenizer, alternatives: int, begins_at: int = 0) -> None:
        self._tokenizer, self._alternatives, self._at = tokenizer, alternatives, begins_at

    def of_prompt(self, first_id: int, rest: Sequence[Drawn]) -> dict[str, list[Any]]:
        """The tokens of a prompt; of the first nothing is known."""
        table = self._empty()
        self._add(table, first_id, None, None)
        return joined(table, self.of_drawn(rest))

    def of_drawn(self, drawn: Sequence[Drawn]) -> dict[str, list[Any]]:
        """Tokens that were drawn; those of further calls come after them."""
        table = self._empty()
        for one in drawn:
            top = {spelled(self._tokenizer, other): finite(value) for other, value in one.likeliest}
            top.setdefault(spelled(self._tokenizer, one.token_id), finite(one.logprob))
            self._add(table, one.token_id, one.logprob, top if self._alternatives else None)
        return table

    def _empty(self) -> dict[str, list[Any]]:
        return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}

    def _add(
        self, table: dict[str, list[Any]], token_id: int, logprob: float | None, top: dict[str, float] | None
    ) -> None:
        table["tokens"].append(spelled(self._tokenizer, token_id))
        table["token_logprobs"].append(None if logprob is None else finite(logprob))
        table["top_logprobs"].append(top)
        table["text_offset"].append(self._at)
        self._at += len(self._tokenizer.target.token_bytes(token_id).decode("utf-8", errors="ignore"))


def joined(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Two tables of which one goes on with the other."""
    return {name: [*first[name], *second[name]] for name in first}


def told_tokens(tokenizer: Tokenizer, drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    """The newer shape, of chat: a row for each token."""
    return [
        {
            **_row(tokenizer, one.token_id, one.logprob),
            "top_logprobs": [_row(tokenizer, other, value) for other, value in one.likeliest],
        }
        for one in drawn
    ]


def _row(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.target.token_bytes(token_id)
    return {
        "token": data.decode("utf-8", errors="replace") if data else tokenizer.target.token(token_id),
        "logprob": finite(logprob),
        "bytes": list(data),
    }


def finite(logprob: float) -> float:
    """A log-probability as JSON can tell it."""
    return max(logprob, FLOOR)
