"""What can be minimised, without a tensor.

A kind is a tagged union on `kind`: what an objective predicts (its row in `objectives.OBJECTIVES` says which class it
builds), and how a prediction is judged (`losses.py`). This file leaves out the objectives themselves.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config
from stepwell.objectives.preference_config import GRPOConfig, PreferenceObjectiveConfig


class CrossEntropyConfig(Config):
    """How unlikely the right token was: cross-entropy, in nats.

    Attributes:
        label_smoothing: share of the probability that the right token leaves to all others (Szegedy et al., 2016).
        z_loss: weight of the squared logarithm of the softmax's denominator, which keeps logits from drifting away
            (Zoph et al., 2022, "ST-MoE"; PaLM: 1e-4).
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    z_loss: Annotated[float, Field(ge=0)] = 0.0


class MeanSquaredErrorConfig(Config):
    """How far the logits are from a peak at the right token: the rescaled square loss (Hui and Belkin, 2021).

    What it trains ranks tokens; its softmax is no probability of the text, so perplexity and sampling mean little.

    Attributes:
        right_weight: weight of the right token's error (the paper's k; 1 for some ten tokens, 15 for a thousand).
        right_logit: what the right token's logit should be, the others being 0 (the paper's M; likewise 1 and 30).
    """

    kind: Literal["mean_squared_error"] = "mean_squared_error"
    right_weight: Annotated[float, Field(gt=0)] = 15.0
    right_logit: Annotated[float, Field(gt=0)] = 30.0


LossConfig = Annotated[CrossEntropyConfig | MeanSquaredErrorConfig, Field(discriminator="kind")]


class CausalConfig(Config):
    """Each next token is predicted from those before it.

    Attributes:
        loss: of a prediction.
    """

    kind: Literal["causal"] = "causal"
    loss: LossConfig = CrossEntropyConfig()


class MaskedConfig(Config):
    """Hidden tokens are told from what stands around them (Devlin et al., 2019).

    Attributes:
        mask_ratio: share of the tokens that are hidden (BERT: 0.15; ModernBERT: 0.3).
        mask_share: of the hidden ones, those that the mask stands for; 1 for pure masking.
        random_share: of the hidden ones, those that a random token stands for; the rest stay as they are.
        whole_words: hide words as a whole: what stands between `blanks`, or the words of `chinese` text too (needs the
            extra `chinese`); None hides each token for itself.
        loss: of a prediction.
    """

    kind: Literal["masked"] = "masked"
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.3
    mask_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    whole_words: Literal["blanks", "chinese"] | None = None
    loss: LossConfig = CrossEntropyConfig()

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(f"shares of at most 1 together (mask {self.mask_share}, random {self.random_share})")
        return self


class SpanCorruptionConfig(Config):
    """Spans that were cut out of a text are written, each after the sentinel in its place (Raffel et al., 2020, "T5").

    Attributes:
        corruption_ratio: share of the tokens that is cut out.
        mean_span_tokens: mean length of a span.
        loss: of a prediction.
    """

    fixed_shapes: ClassVar[bool] = False  # rows are as long as the fullest of their batch
    kind: Literal["span_corruption"] = "span_corruption"
    corruption_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.15
    mean_span_tokens: Annotated[float, Field(ge=1)] = 3.0
    loss: LossConfig = CrossEntropyConfig()


class DenoisingConfig(Config):
    """A text is written whose spans are hidden, each behind one mask (Lewis et al., 2020, "BART": text infilling).

    Attributes:
        mask_ratio: share of the tokens that is hidden.
        mean_span_tokens: mean length of a span, a Poisson number.
        loss: of a prediction.
    """

    fixed_shapes: ClassVar[bool] = False  # rows are as long as the fullest of their batch
    kind: Literal["denoising"] = "denoising"
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.3
    mean_span_tokens: Annotated[float, Field(ge=1)] = 3.5
    loss: LossConfig = CrossEntropyConfig()


class HiddenStatesConfig(Config):
    """A student's hidden states are drawn towards those of its teacher.

    Attributes:
        weight: of this part, for each token, beside what is said of its prediction.
        distance: `mean_squared_error` (Jiao et al., 2020, "TinyBERT") and `cosine` (Sanh et al., 2019, "DistilBERT")
            want equal widths; `relations` compares how alike the states of a document are to one another, in models
            of any widths (Tung and Mori, 2019, "similarity-preserving").
        layers: `last` for what predicts alone, or `all` for each block with the one as deep in the teacher.
    """

    weight: Annotated[float, Field(gt=0)] = 1.0
    distance: Literal["mean_squared_error", "cosine", "relations"] = "relations"
    layers: Literal["last", "all"] = "last"


class DistillationConfig(Config):
    """Each next token is predicted as a teacher does (Hinton et al., 2015).

    The loss is `teacher_share * T^2 * KL(teacher at T, student at T) + (1 - teacher_share) * loss`. What a teacher has
    written can be learned from with any objective: data step `augment`, method `generation`.

    Attributes:
        teacher: a run or checkpoint with the same tokenizer.
        temperature: T, which softens both predictions; above 1 shows more of what the teacher thinks unlikely.
        teacher_share: how much the teacher's prediction counts beside the right token; 1 for it alone.
        hidden_states: what else is taken over; None for nothing.
        loss: of the right token.
    """

    kind: Literal["distillation"] = "distillation"
    teacher: str
    temperature: Annotated[float, Field(gt=0)] = 2.0
    teacher_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    hidden_states: HiddenStatesConfig | None = None
    loss: CrossEntropyConfig = CrossEntropyConfig()


class PrefixConfig(Config):
    """A random prefix of each document is seen both ways, and the rest is predicted (Raffel et al., 2020, "prefix LM").

    Attributes:
        loss: of a prediction.
    """

    kind: Literal["prefix"] = "prefix"
    loss: LossConfig = CrossEntropyConfig()


class SequenceToSequenceConfig(Config):
    """Each document is cut at a random place: its beginning is a source, and the rest is written for it.

    Attributes:
        loss: of a prediction.
    """

    fixed_shapes: ClassVar[bool] = False  # rows are as long as the fullest of their batch
    kind: Literal["sequence_to_sequence"] = "sequence_to_sequence"
    loss: LossConfig = CrossEntropyConfig()


class PairsConfig(Config):
    """The target of each example is written for its source, by an encoder-decoder.

    Attributes:
        loss: of a prediction.
    """

    fixed_shapes: ClassVar[bool] = False  # rows are as long as the fullest of their batch
    kind: Literal["pairs"] = "pairs"
    loss: LossConfig = CrossEntropyConfig()


class LabelsConfig(Config):
    """The labels of a text, or of each of its tokens, are told by the model's task head.

    Attributes:
        loss: `cross_entropy` where one label is right, `binary_cross_entropy` where several may be, or
            `mean_squared_error` where the label is a number.
        label_smoothing: share of the probability that the right label leaves to all others.
    """

    kind: Literal["labels"] = "labels"
    loss: Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ContrastiveConfig(Config):
    """Vectors of texts that belong together are drawn together, and told from all others of the batch (InfoNCE).

    Attributes:
        pooling: which hidden state stands for a text.
        temperature: cosines are divided by it before they are compared.
        both_ways: documents look for their query too.
    """

    kind: Literal["contrastive"] = "contrastive"
    pooling: Literal["mean", "first", "last"] = "mean"
    temperature: Annotated[float, Field(gt=0)] = 0.05
    both_ways: bool = True


class SpanConfig(Config):
    """Where in a text the answer to a question begins and ends is told by the model's task head."""

    kind: Literal["span"] = "span"


ObjectiveConfig = Annotated[
    CausalConfig
    | MaskedConfig
    | SpanCorruptionConfig
    | DenoisingConfig
    | PrefixConfig
    | SequenceToSequenceConfig
    | PairsConfig
    | LabelsConfig
    | SpanConfig
    | ContrastiveConfig
    | DistillationConfig
    | PreferenceObjectiveConfig
    | GRPOConfig,
    Field(discriminator="kind"),
]
