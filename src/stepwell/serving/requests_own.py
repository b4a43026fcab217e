"""Requests that OpenAI's interface has no word for: tasks, tokens, probabilities, rankings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stepwell.serving.requests import Named, Token
from stepwell.serving.requests_openai import Message, Tool

MOST_INPUTS = 2048

Text = Annotated[str, Field(max_length=1 << 22)]


class TaskRequest(Named):
    """`/classify`, `/tag`, `/translate`, `/answer`.

    Attributes:
        input: a text or several, or examples by the names of their fields.
    """

    input: Text | dict[str, Any] | Annotated[list[Text | dict[str, Any]], Field(min_length=1, max_length=MOST_INPUTS)]

    @property
    def several(self) -> list[Any]:
        """The inputs as a list."""
        return self.input if isinstance(self.input, list) else [self.input]


class TokenizeRequest(Named):
    """`/tokenize`: of a text, or of a conversation by the chat template.

    Attributes:
        prompt: any text.
        messages: a conversation.
        tools: that stand in the conversation.
        add_special_tokens: whether what the family puts around a prompt is added.
        return_token_strs: whether each token is told as text too.
    """

    prompt: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    tools: list[Tool] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("prompt: one of prompt and messages is needed")
        return self


class DetokenizeRequest(Named):
    """`/detokenize`.

    Attributes:
        tokens: of a text.
    """

    tokens: Annotated[list[Token], Field(max_length=1 << 20)]


class ScoreRequest(Named):
    """`/score`: how likely texts are, or how alike the texts of pairs.

    Attributes:
        input: a text or several, whose tokens are told with their log-probabilities.
        text_1: a text, or several, whose likeness to `text_2` is told.
        text_2: as many texts, or any number where `text_1` is one.
    """

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)] | None = None
    text_1: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)] | None = None
    text_2: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ScoreRequest:
        if (self.text_1 is None) != (self.text_2 is None) or (self.input is None) == (self.text_1 is None):
            raise ValueError("input: either input, or text_1 and text_2, is needed")
        if isinstance(self.text_1, list) and len(self.text_1) > 1 and len(self.text_1) != len(listed(self.text_2)):
            raise ValueError("text_2: as many as text_1, or any number beside one text")
        if "" in listed(self.input):
            raise ValueError("input: a text without a letter has no probability")
        return self


class RerankRequest(Named):
    """`/rerank`: texts by how near they are to a query, the nearest first.

    Attributes:
        query: that is asked.
        documents: texts, from 1.
        top_n: how many of them are wanted; default all.
        return_documents: whether their texts are told too.
    """

    query: Text
    documents: Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = True


Role = Literal["query", "document"]


def listed(texts: str | list[str] | None) -> list[str]:
    """One or several texts as a list."""
    if texts is None:
        return []
    return [texts] if isinstance(texts, str) else texts
