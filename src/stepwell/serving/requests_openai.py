"""The requests of OpenAI's interface: completions, chat, embeddings, responses."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stepwell.serving.requests import Asked, Drawing, Named, Token

Prompt = str | list[str] | list[Token] | list[list[Token]]
"""A text, texts, the tokens of a text, or those of several."""

MOST_PROMPTS = 1024
MOST_INPUTS = 2048


def check_number(name: str, prompt: Prompt, most: int) -> None:
    """Refuse no prompt, and too many of them; one may have any number of tokens."""
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return
    if not 1 <= len(prompt) <= most:
        raise ValueError(f"{name}: from 1 to {most}, not {len(prompt)}")


class CompletionRequest(Drawing):
    """`/v1/completions`.

    Attributes:
        prompt: one or several.
        suffix: what comes after what is to be written, for models that fill in the middle.
        max_tokens: of each sample; 0 writes nothing, and with `echo` and `logprobs` tells how likely the prompt is.
        logprobs: of so many of the likeliest tokens, 0 to 20, beside those that were drawn.
        echo: whether the prompt stands before what is written.
        best_of: so many samples are drawn, and the n likeliest are given.
    """

    prompt: Prompt = ""
    suffix: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool = False
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionRequest:
        check_number("prompt", self.prompt, MOST_PROMPTS)
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError(f"best_of: at least n, which is {self.n}, not {self.best_of}")
        if self.best_of is not None and self.best_of > self.n and self.stream:
            raise ValueError("best_of: cannot be streamed when it is more than n, since the best is known at the end")
        return self


class Part(Asked):
    """A part of what a message says; text alone is understood.

    Attributes:
        type: `text`.
        text: of it.
    """

    type: Literal["text", "input_text", "output_text"]
    text: str


class CalledFunction(Asked):
    """A function that was called, with its arguments as JSON."""

    name: str
    arguments: str = "{}"


class ToolCall(Asked):
    """A call of a tool in an earlier answer."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Asked):
    """A message of a conversation.

    Attributes:
        role: whose it is.
        content: what it says.
        name: of who says it, for templates that know names.
        tool_calls: that the assistant made.
        tool_call_id: that a tool answers.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.content is None and not self.tool_calls:
            raise ValueError("content: is missing")
        return self

    def plain(self) -> dict[str, Any]:
        """As chat templates read it: content is text, arguments of calls are mappings."""
        content = self.content
        if isinstance(content, list):
            content = "".join(part.text for part in content)
        found: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": content or ""}
        if self.name is not None:
            found["name"] = self.name
        if self.tool_call_id is not None:
            found["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            found["tool_calls"] = [
                {"id": one.id, "type": "function",
                 "function": {"name": one.function.name, "arguments": _mapping(one.function.arguments)}}
                for one in self.tool_calls
            ]  # fmt: skip
        return found


def _mapping(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


class Function(Asked):
    """A function that a model may call.

    Attributes:
        name: letters, digits, `_`, `-` and `.`.
        description: what it does.
        parameters: JSON schema of its arguments.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class Tool(Asked):
    """A tool that a model may use; a function."""

    type: Literal["function"]
    function: Function


class NamedFunction(Asked):
    """A function by its name alone."""

    name: str


class NamedTool(Asked):
    """A tool that is to be used."""

    type: Literal["function"] = "function"
    function: NamedFunction


class SchemaFormat(Asked):
    """A JSON schema with its name.

    Attributes:
        schema_: that the answer follows.
    """

    name: str = "answer"
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(Asked):
    """What an answer looks like: any text, any JSON object, or one of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema: is missing")
        return self


class ChatRequest(Drawing):
    """`/v1/chat/completions`.

    Attributes:
        messages: the conversation, from 1 message.
        max_tokens: of each answer; default as many as there is room for.
        max_completion_tokens: its newer name.
        logprobs: whether log-probabilities of the tokens are told.
        top_logprobs: of so many of the likeliest tokens, 0 to 20, beside those that were drawn.
        response_format: what an answer looks like.
        tools: that the model may use.
        tool_choice: `none`, `auto`, `required`, or one of the tools.
        parallel_tool_calls: whether more than one may be used at once.
    """

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs: true")
        names = {one.function.name for one in self.tools or ()}
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError("tool_choice: is none of the tools")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: there are no tools")
        return self


class EmbeddingRequest(Named):
    """`/v1/embeddings`.

    Attributes:
        input: texts, or their tokens.
        encoding_format: numbers as JSON, or as base64 of little-endian float32.
        dimensions: of a vector; the model's own number and no other.
        role: whether the texts look for others or are looked for, for models that tell them apart.
    """

    input: Prompt
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    role: Literal["query", "document"] = "document"

    @model_validator(mode="after")
    def _is_something(self) -> EmbeddingRequest:
        check_number("input", self.input, MOST_INPUTS)
        return self
