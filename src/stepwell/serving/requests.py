"""What may be asked of every model that writes: the fields that say how, each checked.

Null stands for the default everywhere, because that is how JSON says "I did not choose". Fields that nobody here knows
are passed over, since clients send many; those that are known must have the right type, and no number is NaN or
infinite. How they are named and what they mean follows OpenAI where it has them, else `SamplingParams`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stepwell.config import build
from stepwell.errors import ConfigError
from stepwell.inference import SamplingParams
from stepwell.serving.faults import Refusal, invalid

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1)]
Token = Annotated[int, Field(ge=0, lt=1 << 31)]
TokenName = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
"""A token as the name of a JSON field."""


class Asked(BaseModel):
    """Base of every request."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return (
            {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else values
        )


class Named(Asked):
    """A request to a model.

    Attributes:
        model: its name; where the server has one model alone, it may be left out.
        user: whoever asks on behalf of somebody; taken note of by nobody.
    """

    model: Name | None = None
    user: str | None = None


SEARCHES = ("num_beams", "length_penalty", "early_stopping", "num_beam_groups", "diversity_penalty", "penalty_alpha",
            "guidance_scale", "negative_prompt")  # fmt: skip
"""Fields of `SamplingParams` that an engine knows nothing of: a request that has one is refused rather than misread."""


class Drawing(Named):
    """How text is drawn. The ranges are those of `SamplingParams`, which says more of each.

    Attributes:
        temperature: 0 or above.
        top_p: in (0, 1].
        n: samples of each prompt.
        stop: a text or several, before the first of which a sample ends.
        seed: decides every draw.
        stream: whether pieces are sent as they come.
        frequency_penalty: in [-2, 2].
        presence_penalty: in [-2, 2].
        logit_bias: token id (as a JSON key) -> [-100, 100].
        json_schema: that the text follows; a JSON schema.
        regex: that the text follows.
        choice: texts, one of which is written.
        grammar: in Lark's format, that the text follows.
    """

    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    stop: Text | list[Text] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[TokenName, Annotated[float, Field(ge=-100, le=100)]] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    epsilon_cutoff: Annotated[float, Field(ge=0, lt=1)] | None = None
    eta_cutoff: Annotated[float, Field(ge=0, lt=1)] | None = None
    mirostat: Literal[0, 2] | None = None
    mirostat_tau: Annotated[float, Field(gt=0)] | None = None
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=1)] | None = None
    bad_words: Text | list[Text] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    stop_token_ids: list[Token] | None = None
    ignore_eos: bool | None = None
    json_schema: dict[str, Any] | Text | None = None
    regex: Text | None = None
    choice: list[Text] | None = None
    grammar: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _draws(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in SEARCHES:
                if values.get(name) is not None:
                    raise ValueError(f"{name}: a server draws token by token; `stepwell predict` knows searches")
        return values

    NOT_SAMPLING: ClassVar[frozenset[str]] = frozenset({"n", "logit_bias", "stop", "bad_words", "choice"})

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage

    def drawing(self) -> dict[str, Any]:
        """The fields of `SamplingParams` that were chosen, but for how many samples and tokens there are."""
        chosen: dict[str, Any] = {
            name: value
            for name in SAMPLING_FIELDS
            if name not in self.NOT_SAMPLING and (value := getattr(self, name)) is not None
        }
        for name in ("stop", "bad_words", "choice"):
            if (value := getattr(self, name)) is not None:
                chosen[name] = (value,) if isinstance(value, str) else tuple(value)
        if self.logit_bias is not None:
            chosen["logit_bias"] = {int(name): value for name, value in self.logit_bias.items()}
        if "stop_token_ids" in chosen:
            chosen["stop_token_ids"] = tuple(chosen["stop_token_ids"])
        return chosen


class StreamOptions(Asked):
    """What a stream tells beside the text.

    Attributes:
        include_usage: whether a last piece says how many tokens there were.
    """

    include_usage: bool = False


Drawing.model_rebuild()

SAMPLING_FIELDS = tuple(name for name in Drawing.model_fields if name in SamplingParams.model_fields)
"""Of a request that go into `SamplingParams`."""

RequestT = TypeVar("RequestT", bound=Asked)


def read(body: bytes, kind: type[RequestT]) -> RequestT:
    """The request in a body.

    Args:
        body: JSON, as UTF-8.
        kind: what it asks for.

    Raises:
        Refusal: when it is no JSON, or a field is wrong.
    """
    try:
        values = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"The body is no JSON: {error}", code="invalid_json") from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


def params_of(chosen: dict[str, Any], found: dict[str, Any]) -> SamplingParams:
    """How to draw: what was chosen over what a run found best.

    Raises:
        Refusal: when a value is out of its range.
    """
    try:
        return build(SamplingParams, {**found, **chosen}, where="request")
    except ConfigError as error:
        field = error.what.removeprefix("request: ").partition(":")[0]
        told = [error.what.removeprefix("request: ")] + [f"got {error.got}"] * (error.got is not None)
        told += [f"wanted {error.wanted}"] * (error.wanted is not None)
        raise Refusal(400, "; ".join(told), param=field, code="invalid_value") from None
