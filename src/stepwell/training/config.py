"""What a training run can be told, without a tensor.

A choice among kinds (optimizer, schedule) is a tagged union on `kind`, and its catalog row says which function
builds it. Numbers that the user leaves out are derived in `recipes`. Units end the names.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config
from stepwell.hardware import Precision


class AdamWConfig(Config):
    """AdamW (Loshchilov and Hutter, 2019).

    Attributes:
        learning_rate: the highest rate of the schedule.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the latter.
        weight_decay: pulls matrices towards zero; norms, biases and embeddings are left alone.
        base_width: a hidden matrix of F inputs has the rate `learning_rate * base_width / F`, so that rates found for
            a narrow model suit a wide one (Yang et al., 2022, "muP"); None gives all the same rate.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Annotated[float, Field(gt=0)] = 1e-9
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    base_width: Annotated[int, Field(ge=1)] | None = None


class MuonConfig(Config):
    """Muon on the hidden matrices (Jordan et al., 2024), AdamW on everything else.

    Muon makes each update of a matrix orthogonal, which needs far fewer steps than AdamW; tables with a row for each
    token, norms and biases have no such shape and stay with AdamW.

    Attributes:
        learning_rate: the highest rate of the hidden matrices.
        adamw_learning_rate: the highest rate of everything else.
        momentum: of the matrices' gradients.
        weight_decay: pulls the hidden matrices towards zero.
        beta1: as AdamW's.
        beta2: as AdamW's.
        eps: as AdamW's.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: Annotated[float, Field(gt=0)]
    adamw_learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Annotated[float, Field(gt=0)] = 1e-9


OptimizerConfig = Annotated[AdamWConfig | MuonConfig, Field(discriminator="kind")]


class CausalConfig(Config):
    """Maximum likelihood of each next token.

    Attributes:
        label_smoothing: share of the probability that the right token leaves to all others (Szegedy et al., 2016).
    """

    kind: Literal["causal"] = "causal"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class MaskedConfig(Config):
    """Hidden tokens are told from what stands around them (Devlin et al., 2019).

    Attributes:
        mask_ratio: share of the tokens that are hidden (BERT: 0.15; ModernBERT: 0.3).
        mask_share: of the hidden ones, those that the mask stands for; 1 for pure masking.
        random_share: of the hidden ones, those that a random token stands for; the rest stay as they are.
        whole_words: hide words as a whole: what stands between `blanks`, or the words of `chinese` text too (needs the
            extra `chinese`); None hides each token for itself.
    """

    kind: Literal["masked"] = "masked"
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.3
    mask_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    whole_words: Literal["blanks", "chinese"] | None = None

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
        label_smoothing: share of the probability that the right token leaves to all others.
    """

    kind: Literal["span_corruption"] = "span_corruption"
    corruption_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.15
    mean_span_tokens: Annotated[float, Field(ge=1)] = 3.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DenoisingConfig(Config):
    """A text is written whose spans are hidden, each behind one mask (Lewis et al., 2020, "BART": text infilling).

    Attributes:
        mask_ratio: share of the tokens that is hidden.
        mean_span_tokens: mean length of a span, a Poisson number.
        label_smoothing: share of the probability that the right token leaves to all others.
    """

    kind: Literal["denoising"] = "denoising"
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.3
    mean_span_tokens: Annotated[float, Field(ge=1)] = 3.5
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


ObjectiveConfig = Annotated[
    CausalConfig | MaskedConfig | SpanCorruptionConfig | DenoisingConfig, Field(discriminator="kind")
]


class WSDConfig(Config):
    """Warm-up, stable, decay (Hu et al., 2024, "MiniCPM").

    The stable part has no end of its own, so a run can be lengthened from the checkpoint where its decay began.

    Attributes:
        warmup_steps: steps of linear growth to the full rate.
        decay_ratio: share of all steps that go down, in [0, 1].
        final_ratio: share of the rate that is left at the end.
    """

    kind: Literal["wsd"] = "wsd"
    warmup_steps: Annotated[int, Field(ge=0)]
    decay_ratio: Annotated[float, Field(ge=0, le=1)] = 0.4
    final_ratio: Annotated[float, Field(ge=0, le=1)] = 0.02


class TrainingConfig(Config):
    """One training run.

    Attributes:
        objective: what is minimised.
        steps: optimizer updates.
        row_tokens: length of a row; None for the model's max_seq_len.
        global_batch_tokens: tokens of one update, in rows of row_tokens, reached by accumulation.
        micro_batch: rows of one forward and backward.
        optimizer: which optimizer, and its rates.
        schedule: how the rate moves.
        clip_norm: gradients of a larger norm are scaled down to it.
        precision: of the matrix products; weights and optimizer stay in float32.
        evaluate_every_steps: steps between measurements on held-out text.
        patience: measurements without a better one before the decay begins early; None never stops early.
        checkpoint_every_seconds: at most this much work is lost by a crash.
        keep_checkpoints: how many of the newest are kept, beside the best and the stable one.
    """

    objective: ObjectiveConfig = CausalConfig()
    steps: Annotated[int, Field(ge=1)]
    row_tokens: Annotated[int, Field(ge=2)] | None = None
    global_batch_tokens: Annotated[int, Field(ge=2)]
    micro_batch: Annotated[int, Field(ge=1)]
    optimizer: OptimizerConfig
    schedule: WSDConfig
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Precision
    evaluate_every_steps: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)] | None = 4
    checkpoint_every_seconds: Annotated[float, Field(ge=0)] = 20.0
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        warmup_steps = self.schedule.warmup_steps
        if warmup_steps >= self.steps:
            raise ValueError(f"more steps than warm-up steps (steps {self.steps}, warmup_steps {warmup_steps})")
        return self

    def row_length(self, max_seq_len: int) -> int:
        """Tokens of a row for a model of a window."""
        return max_seq_len if self.row_tokens is None else min(self.row_tokens, max_seq_len)

    def rows_per_step(self, max_seq_len: int) -> int:
        """Rows of one update for a model of a window, at least one."""
        return max(1, round(self.global_batch_tokens / self.row_length(max_seq_len)))
