"""How a server behaves: where it listens, who may ask, and how much it takes on.

Every limit has a number here, and what goes beyond it is refused in words. This file leaves out what is asked of a
model (`requests.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stepwell.config import Config

Weights = Literal["auto", "plain", "float32", "bfloat16", "int8", "int4"]


class ServeConfig(Config):
    """Settings of a server.

    Attributes:
        host: the address that it listens at.
        port: 1 to 65535; 0 for any that is free.
        names: by which the models are asked for, one for each; none takes the names of their folders.
        api_key_file: a file with one key a line, of which a request must carry one; None lets everybody ask.
        weights: how matrices are held while decoding: `auto` takes what is best here, `plain` leaves the model as it
            is, the others decode in machine code on a CPU (`bf16` is short for `bfloat16`).
        most_running: samples of one model that are written at once, from 1.
        most_waiting: samples of one model that may wait for their turn; whoever comes then is told to come later. Of
            requests that are answered whole (labels, vectors), so many may wait too.
        cache_tokens: of all texts of one model together that keys and values are held of; None for a quarter of the
            free memory, at most what `most_running` whole windows need.
        coded_cache: whether those are held in a byte each, in half of the memory.
        guess_tokens: so many tokens are guessed and read with the last one, which is faster where guesses come true,
            and changes no answer; 0 for none. In machine code alone.
        draft: run or checkpoint directory of a smaller model with the same tokenizer that guesses; None looks guesses
            up in the text.
        most_tokens: that one request may ask for, over all of its samples; None for no limit but the model's window.
        most_body_bytes: of a request.
        timeout_seconds: after which a request is given up, above 0.
        drain_seconds: that requests may still take once the server was asked to end.
        cors_origins: of other sites whose pages may ask; none by default, and `*` for all.
        batch_inputs: texts of waiting requests that a model of labels or vectors reads together.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    names: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    api_key_file: Path | None = None
    weights: Weights = "auto"
    most_running: Annotated[int, Field(ge=1)] = 64
    most_waiting: Annotated[int, Field(ge=0)] = 256
    cache_tokens: Annotated[int, Field(ge=64)] | None = None
    coded_cache: bool = False
    guess_tokens: Annotated[int, Field(ge=0, le=16)] = 0
    draft: Path | None = None
    most_tokens: Annotated[int, Field(ge=1)] | None = None
    most_body_bytes: Annotated[int, Field(ge=1024)] = 4 << 20
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0
    drain_seconds: Annotated[float, Field(ge=0)] = 60.0
    cors_origins: tuple[str, ...] = ()
    batch_inputs: Annotated[int, Field(ge=1)] = 256

    @model_validator(mode="after")
    def _guesses(self) -> Self:
        if self.draft is not None and not self.guess_tokens:
            raise ValueError("guess_tokens above 0 beside a draft: how many tokens it guesses at once")
        return self

    @field_validator("weights", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return "bfloat16" if value == "bf16" else value
