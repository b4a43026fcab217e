"""What a person may ask of a completion, without a tensor.

The names and meanings are the field's (OpenAI, transformers): the same request gives the same distribution here. Null
stands for the default everywhere, because that is how JSON says "I did not choose". This file leaves out how the next
token is drawn (`sampling.py`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from stepwell.config import Config


class SamplingParams(Config):
    """How a prompt is completed.

    Attributes:
        max_tokens: at most so many new tokens for each sample, from 1.
        temperature: divides the logits, 0 or above; 0 takes the likeliest token each time.
        top_k: only the k likeliest tokens may be drawn, from 1.
        top_p: only the fewest tokens whose probabilities sum to at least this, in (0, 1].
        min_p: only tokens at least this likely relative to the likeliest, in [0, 1].
        repetition_penalty: makes tokens of the prompt and of the completion less likely when above 1, in [0.01, 100]
            (Keskar et al., 2019, "CTRL").
        seed: decides every draw, from 0; sample i of a seed is the same whatever n is. None draws afresh.
        n: how many samples of the same prompt, from 1.
        stop: the completion ends before the first of these texts; they are no part of it. One text may stand alone.
    """

    max_tokens: Annotated[int, Field(ge=1)] = 200
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_k: Annotated[int, Field(ge=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1)] = 1
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_as_people_write(cls, values: Any) -> Any:
        """Null is the default; one stop text needs no list; yes and no are not numbers."""
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if isinstance(value, bool):
                raise ValueError(f"{name}: a number or a text, not {str(value).lower()}")
        given = {name: value for name, value in values.items() if value is not None}
        if isinstance(given.get("stop"), str):
            given["stop"] = (given["stop"],)
        return given
