"""What a training run can be told, without a tensor.

The choices among kinds (objective, optimizer, schedule) have files of their own. Numbers that the user leaves out are
derived in `recipes`. Units end the names.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config
from stepwell.hardware import Precision
from stepwell.models import AdapterConfig
from stepwell.objectives import CausalConfig, ObjectiveConfig
from stepwell.optimization import AveragingConfig, GradientNoiseConfig, OptimizerConfig, ScheduleConfig
from stepwell.training.keeping_config import KeepConfig
from stepwell.training.pacing_config import BatchRampConfig, CurriculumConfig


class TrainingConfig(Config):
    """One training run.

    Attributes:
        objective: what is minimised.
        steps: optimizer updates.
        row_tokens: length of a row; None for the model's max_seq_len.
        global_batch_tokens: tokens of one update, in rows of row_tokens, reached by accumulation.
        micro_batch: rows of one forward and backward.
        adapter: what is learned beside frozen weights, a low-rank change of them or small layers; None to learn the
            weights themselves.
        freeze: parts of names of parameters that stay as they are: `embedding`, `blocks.0-3`, `mlp.up`, `*norm`; None
            for none.
        layer_decay: a block has so much of the learning rate of the block above, the last one of what stands after it,
            and the embedding of the first (Clark et al., 2020, "ELECTRA"; 0.8 to 0.95); 1 gives all the same.
        optimizer: which optimizer, and its rates.
        schedule: how the rate moves.
        batch_ramp: how the global batch grows at first; None begins with all of it.
        curriculum: how contexts grow at first; None begins with whole rows.
        clip_norm: gradients of a larger norm are scaled down to it.
        gradient_noise: what is added to the clipped gradient; None for nothing.
        averaging: a mean of the weights that is measured and kept as `best` in their place; None for none.
        checkpoint_activations: keep only what goes into each block, and compute the rest again for the gradient: much
            less memory for a third more work, and the same numbers. Not for recurrent models.
        precision: of the matrix products; weights and optimizer stay in float32.
        compile: let torch.compile fuse what stands between the matrix products; None does where the time it saves is
            worth the time it takes.
        parallel: how several ranks share the model: `ddp` holds it whole on each, `fsdp` in shards; `auto` is `ddp`.
        evaluate_every_steps: steps between measurements on held-out text.
        patience: measurements without a better one before the decay begins early, or the run ends where its schedule
            has no stable part; None never stops early.
        checkpoint_every_seconds: at most this much work is lost by a crash.
        keep: which checkpoints stay on disk.
        data_workers: background threads that make the next rows ready; 0 makes them in line. The bits are the same.
    """

    objective: ObjectiveConfig = CausalConfig()
    steps: Annotated[int, Field(ge=1)]
    row_tokens: Annotated[int, Field(ge=2)] | None = None
    global_batch_tokens: Annotated[int, Field(ge=2)]
    micro_batch: Annotated[int, Field(ge=1)]
    adapter: AdapterConfig | None = None
    freeze: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    batch_ramp: BatchRampConfig | None = None
    curriculum: CurriculumConfig | None = None
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    gradient_noise: GradientNoiseConfig | None = None
    averaging: AveragingConfig | None = None
    checkpoint_activations: bool = False
    precision: Precision
    compile: bool | None = None
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    evaluate_every_steps: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)] | None = 4
    checkpoint_every_seconds: Annotated[float, Field(ge=0)] = 20.0
    keep: KeepConfig = KeepConfig()
    data_workers: Annotated[int, Field(ge=0, le=64)] = 1

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        warmup_steps = self.schedule.warmup_steps
        if warmup_steps >= self.steps:
            raise ValueError(f"more steps than warm-up steps (steps {self.steps}, warmup_steps {warmup_steps})")
        if self.averaging is not None and self.optimizer.kind == "schedule_free_adamw":
            raise ValueError("one mean of the weights: schedule_free_adamw keeps its own, so averaging: null")
        if self.adapter is not None and self.freeze is not None:
            raise ValueError("freeze: null beside an adapter, which freezes all the weights")
        return self

    def row_length(self, max_seq_len: int) -> int:
        """Tokens of a row for a model of a window."""
        return max_seq_len if self.row_tokens is None else min(self.row_tokens, max_seq_len)

    def rows_per_step(self, max_seq_len: int) -> int:
        """Rows of one update for a model of a window, at least one."""
        return max(1, round(self.global_batch_tokens / self.row_length(max_seq_len)))
