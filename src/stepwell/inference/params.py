"""What a person may ask of a completion, without a tensor.

The names and meanings are the field's (OpenAI, transformers, vLLM, llama.cpp): the same request gives the same
distribution here. Null stands for the default everywhere, because that is how JSON says "I did not choose". This file
leaves out how the next token is drawn (`sampling/`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stepwell.config import Config

TokenId = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]

GRAMMARS = ("json_schema", "regex", "choice", "grammar")
"""Fields that say what a sample must look like, of which one may be set."""

YES_OR_NO = {"ignore_eos", "early_stopping"}
"""Fields that are true or false."""

TEXTS = ("stop", "bad_words", "choice")
"""Lists of texts, of which one text may stand alone."""

TRUNCATIONS = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Fields that keep a part of the tokens by a threshold of their own."""

OF_BEAMS = ("length_penalty", "early_stopping", "num_beam_groups", "diversity_penalty")
"""Fields that only a search by beams knows."""

NOT_OF_BEAMS = (
    *TRUNCATIONS, *GRAMMARS, "mirostat", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "no_repeat_ngram_size", "logit_bias", "bad_words", "min_tokens", "stop", "best_of", "logprobs", "penalty_alpha",
    "guidance_scale",
)  # fmt: skip
"""Fields that change what is drawn one token after another, which a search by beams does not do."""

NOT_OF_CONTRAST = (
    *(name for name in TRUNCATIONS if name != "top_k"), "mirostat", "best_of", "n", "guidance_scale"
)  # fmt: skip
"""Fields that contrastive search, which chooses one token in one way, can do nothing with."""


class SamplingParams(Config):
    """How a prompt is completed.

    The rules run in the order of transformers: logit_bias, repetition_penalty, frequency_penalty, presence_penalty,
    no_repeat_ngram_size, bad_words, min_tokens, a grammar, temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff,
    eta_cutoff or mirostat. Those after the temperature are of no account where it is 0.

    Attributes:
        max_tokens: at most so many new tokens for each sample, from 1.
        min_tokens: no token that ends a sample before so many are drawn, from 0; stop texts count after them.
        temperature: divides the logits, 0 or above; 0 takes the likeliest token each time.
        top_k: only the k likeliest tokens may be drawn, from 1.
        top_p: only the fewest tokens whose probabilities sum to at least this, in (0, 1] (Holtzman et al., 2020).
        min_p: only tokens at least this likely relative to the likeliest, in [0, 1] (Nguyen et al., 2024).
        typical_p: only the tokens whose surprise is nearest to the expected one, until their probabilities sum to
            this, in (0, 1] (Meister et al., 2023).
        epsilon_cutoff: only tokens of at least this probability, in [0, 1) (Hewitt et al., 2022).
        eta_cutoff: only tokens of at least this probability, and less where nothing is likely, in [0, 1) (Hewitt et
            al., 2022).
        mirostat: 2 keeps the surprise of what is drawn near mirostat_tau (Basu et al., 2021, the second algorithm);
            0 does not. It takes the place of the truncations above.
        mirostat_tau: the surprise that is aimed at, in bits, above 0.
        mirostat_eta: how fast the threshold follows, in (0, 1].
        repetition_penalty: makes tokens of the prompt and of the completion less likely when above 1, in [0.01, 100]
            (Keskar et al., 2019, "CTRL").
        frequency_penalty: taken off a token's logit for each time that it was drawn, in [-2, 2].
        presence_penalty: taken off the logit of a token that was drawn, in [-2, 2].
        no_repeat_ngram_size: so many tokens in a row never come twice, the prompt's included, from 1 (Paulus et al.,
            2018).
        logit_bias: token id -> what is added to its logit, in [-100, 100].
        bad_words: texts that are never written, as the tokenizer spells them at the beginning of a word and inside one.
        num_beams: above 1, so many beginnings are searched for the likeliest texts, and nothing is drawn at random
            (Sutskever et al., 2014). Temperature and seed are of no account then, as in transformers.
        length_penalty: log-probabilities of texts are divided by their length in tokens to this power (Wu et al.,
            2016), in [-10, 10].
        early_stopping: true ends a search when as many texts have ended as there are beginnings; false when none that
            goes on is better by now than the worst of them; `never` when none can become better.
        num_beam_groups: into how many groups the beginnings are divided (Vijayakumar et al., 2018).
        diversity_penalty: taken off the log-probability of a token for each beginning of an earlier group that chose it
            in the same step, in [0, 100].
        penalty_alpha: contrastive search (Su et al., 2022): of the top_k likeliest tokens the one of the highest
            (1 - penalty_alpha) probability - penalty_alpha likeness, where likeness is the highest cosine of its hidden
            state with those of the text; in [0, 1]. Temperature and seed are of no account then.
        guidance_scale: classifier-free guidance (Sanchez et al., 2023): log-probabilities are moved away from those
            after the negative prompt, to so many times their distance, in [0, 100]; 1 changes nothing. The
            log-probabilities that are told are those after it.
        negative_prompt: what to be guided away from; None for the last token of the prompt, or an empty source.
        seed: decides every draw, from 0; sample i of a seed is the same whatever n is. None draws afresh.
        n: how many samples of the same prompt, from 1.
        best_of: so many are drawn, and the n of the highest mean log-probability are given, the best first; from n.
        stop: the completion ends before the first of these texts; they are no part of it. One text may stand alone.
        stop_token_ids: tokens that end a sample beside those of the tokenizer; they are no part of its text.
        ignore_eos: whether a sample goes on after the tokenizer's end tokens.
        json_schema: a sample is a JSON value of this schema, which is given as a mapping or as JSON text.
        regex: a sample is a text that all of this regular expression matches, in the syntax of Rust's regex.
        choice: a sample is one of these texts.
        grammar: a sample is a text of this grammar in Lark's syntax, whose first rule is called start. A sample ends
            where its grammar ends. Of these four at most one may be set; they need `stepwell[constrained]`.
        logprobs: for each token, so many of the likeliest ones with their log-probabilities, 0 to 20.
    """

    max_tokens: Annotated[int, Field(ge=1)] = 200
    min_tokens: Annotated[int, Field(ge=0)] = 0
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_k: Annotated[int, Field(ge=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    epsilon_cutoff: Annotated[float, Field(ge=0, lt=1)] | None = None
    eta_cutoff: Annotated[float, Field(ge=0, lt=1)] | None = None
    mirostat: Literal[0, 2] = 0
    mirostat_tau: Annotated[float, Field(gt=0)] = 5.0
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] = 0.1
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    no_repeat_ngram_size: Annotated[int, Field(ge=1)] | None = None
    logit_bias: tuple[tuple[TokenId, Annotated[float, Field(ge=-100, le=100)]], ...] = ()
    bad_words: tuple[Text, ...] = ()
    num_beams: Annotated[int, Field(ge=1, le=1024)] = 1
    length_penalty: Annotated[float, Field(ge=-10, le=10)] = 1.0
    early_stopping: bool | Literal["never"] = False
    num_beam_groups: Annotated[int, Field(ge=1)] = 1
    diversity_penalty: Annotated[float, Field(ge=0, le=100)] = 0.0
    penalty_alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    negative_prompt: str | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1)] = 1
    best_of: Annotated[int, Field(ge=1)] | None = None
    stop: tuple[Text, ...] = ()
    stop_token_ids: tuple[TokenId, ...] = ()
    ignore_eos: bool = False
    json_schema: Text | None = None
    regex: Text | None = None
    choice: tuple[Text, ...] = ()
    grammar: Text | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] = 0

    @property
    def samples(self) -> int:
        """How many are drawn: best_of, or n."""
        return self.n if self.best_of is None else self.best_of

    @model_validator(mode="before")
    @classmethod
    def _read_as_people_write(cls, values: Any) -> Any:
        """Null is the default; one text needs no list; yes and no are not numbers; a bias is a mapping."""
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if isinstance(value, bool) and name not in YES_OR_NO:
                raise ValueError(f"{name}: a number or a text, not {str(value).lower()}")
        given = {name: value for name, value in values.items() if value is not None}
        for name in TEXTS:
            if isinstance(given.get(name), str):
                given[name] = (given[name],)
        if isinstance(given.get("logit_bias"), Mapping):
            given["logit_bias"] = tuple(given["logit_bias"].items())
        if isinstance(given.get("json_schema"), Mapping):
            given["json_schema"] = json.dumps(given["json_schema"], ensure_ascii=False)
        return given

    @field_validator("json_schema")
    @classmethod
    def _is_json(cls, value: str | None) -> str | None:
        """A schema is a mapping in JSON."""
        if value is not None:
            try:
                schema = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"JSON, which this is not: {error}") from None
            if not isinstance(schema, dict):
                raise ValueError("a JSON schema, which is a mapping")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError(f"best_of: at least n, which is {self.n}, not {self.best_of}")
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens: at most max_tokens, which is {self.max_tokens}, not {self.min_tokens}")
        twice = {token_id for token_id, _ in self.logit_bias}
        if len(twice) < len(self.logit_bias):
            raise ValueError("logit_bias: each token once")
        if len(asked := [name for name in GRAMMARS if getattr(self, name)]) > 1:
            raise ValueError(f"{' and '.join(asked)}: only one of them")
        if asked and self.ignore_eos:
            raise ValueError(f"ignore_eos: not with {asked[0]}, behind whose end nothing can come")
        self._check_searches()
        if self.mirostat and (cut := [name for name in TRUNCATIONS if getattr(self, name) is not None]):
            raise ValueError(f"mirostat: alone, because it has a threshold of its own, not with {', '.join(cut)}")
        return self

    def _check_searches(self) -> None:
        """What a search can do nothing with is refused, so that nobody believes it had been heeded."""
        if self.num_beams == 1 and (alone := self._given(OF_BEAMS)):
            raise ValueError(f"{alone[0]}: only with num_beams above 1")
        if self.num_beams > 1 and (strange := self._given(NOT_OF_BEAMS)):
            raise ValueError(f"num_beams: a search by beams knows nothing of {', '.join(strange)}")
        if self.num_beams > 1 and self.n > self.num_beams:
            raise ValueError(f"n: at most num_beams, which is {self.num_beams}, not {self.n}")
        if self.num_beams % self.num_beam_groups:
            raise ValueError(f"num_beam_groups: a divisor of num_beams, which is {self.num_beams}")
        if (self.num_beam_groups > 1) != (self.diversity_penalty > 0):
            raise ValueError("num_beam_groups and diversity_penalty: one needs the other")
        if self.penalty_alpha is not None:
            if strange := self._given(NOT_OF_CONTRAST):
                raise ValueError(f"penalty_alpha: contrastive search knows nothing of {', '.join(strange)}")
            if self.top_k is None or self.top_k == 1:
                raise ValueError("penalty_alpha: needs top_k from 2, the tokens that it chooses among")
        if self.negative_prompt is not None and self.guidance_scale is None:
            raise ValueError("negative_prompt: only with guidance_scale")

    def _given(self, names: Sequence[str]) -> list[str]:
        """Those of the fields that are not what they are by default."""
        return [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
