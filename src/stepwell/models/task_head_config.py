"""What a model says about a whole text or about each of its tokens, beside predicting tokens, without a tensor.

A head turns hidden states into numbers: one for each label, two for where an answer begins and ends. This file leaves
out what the numbers mean (`tasks`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config


class NgramFeaturesConfig(Config):
    """Weights for the n-grams of tokens that a text has, beside what the model makes of it (as fastText has them).

    Attributes:
        max_n: longest n-gram, in tokens.
        num_buckets: rows of the table that n-grams are hashed into; n-grams of a bucket share their weights.
        dropout: probability of leaving out an n-gram while training, in [0, 1).
        reach: with `each`, how many tokens before and behind a token its n-grams may take in; where an n-gram stands,
            seen from the token, counts.
    """

    max_n: Annotated[int, Field(ge=1, le=8)] = 3
    num_buckets: Annotated[int, Field(ge=1)] = 1 << 18
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    reach: Annotated[int, Field(ge=0, le=8)] = 2


class TaskHeadConfig(Config):
    """A linear map from hidden states (see `TaskHead`).

    Attributes:
        num_outputs: K, numbers for each text or each token.
        pooling: which hidden state stands for a text: their `mean`, the `first`, the `last`; `each` gives every token
            numbers of its own.
        dropout: probability of dropping a channel while training, in [0, 1).
        ngrams: n-grams of the text, or around each token, that are weighed too; None for none.
        transitions: with `each`, how well labels follow one another is learned too (a linear-chain conditional random
            field; Lafferty et al., 2001).
    """

    num_outputs: Annotated[int, Field(ge=1)]
    pooling: Literal["mean", "first", "last", "each"] = "mean"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    ngrams: NgramFeaturesConfig | None = None
    transitions: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.transitions and self.pooling != "each":
            raise ValueError("transitions where pooling is `each`: labels of whole texts do not follow one another")
        return self

    def num_parameters(self, width: int) -> int:
        """Parameters of the head over hidden states of a width."""
        table = 0 if self.ngrams is None else self.ngrams.num_buckets * self.num_outputs
        return self.num_outputs * (width + 1) + table + (self.num_outputs + 1) ** 2 * self.transitions
