"""The request of OpenAI's responses interface, as far as it is about text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stepwell.serving.requests import Asked, Drawing
from stepwell.serving.requests_openai import Message


class TextFormat(Asked):
    """What an answer looks like; as `ResponseFormat`, with the schema beside its name."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None

    @model_validator(mode="after")
    def _has_schema(self) -> TextFormat:
        if self.type == "json_schema" and self.schema_ is None:
            raise ValueError("schema: is missing")
        return self


class TextSettings(Asked):
    """How the text of an answer is to be."""

    format: TextFormat = TextFormat()


class ResponseRequest(Drawing):
    """`/v1/responses`. The server keeps nothing, so an earlier answer cannot be gone on with by its id.

    Attributes:
        input: what a person says, or messages.
        instructions: stand before them as a system message.
        max_output_tokens: of the answer; default as many as there is room for.
        text: how it is to be.
        previous_response_id: refused.
        tools: refused where there are any; `/v1/chat/completions` knows tools.
        background: refused where it is true.
    """

    input: str | Annotated[list[Message], Field(min_length=1, max_length=4096)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    text: TextSettings = TextSettings()
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    background: bool = False
    metadata: dict[str, str] | None = None

    @model_validator(mode="after")
    def _is_text(self) -> ResponseRequest:
        if self.previous_response_id is not None:
            raise ValueError("previous_response_id: the server keeps no answers; send the whole conversation")
        if self.tools:
            raise ValueError("tools: not known here; ask by /v1/chat/completions")
        if self.background:
            raise ValueError("background: answers are given at once")
        if self.n != 1:
            raise ValueError("n: one answer is given")
        return self

    def messages(self) -> list[dict[str, Any]]:
        """The conversation."""
        said = [{"role": "user", "content": self.input}] if isinstance(self.input, str) else [
            one.plain() for one in self.input
        ]  # fmt: skip
        return said if self.instructions is None else [{"role": "system", "content": self.instructions}, *said]
