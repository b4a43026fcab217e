"""What every model's config can say, without a tensor.

A config predicts what its model costs before it is built: parameters, operations and the memory of a decoding. The
tests compare each prediction with the built module. This file leaves out every concrete architecture.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from stepwell.config import Config
from stepwell.models.task_head_config import TaskHeadConfig


class ModelConfig(Config):
    """Base of every architecture's config; `kind` names its row in the catalog.

    Attributes:
        vocab_size: V, tokens of the tokenizer.
        max_seq_len: positions that training and attention see at once, in tokens.
        task_head: what it says about texts or tokens beside predicting tokens; None for nothing. For decoders, encoders
            and recurrent models.
    """

    kind: str
    vocab_size: Annotated[int, Field(ge=2)]
    max_seq_len: Annotated[int, Field(ge=2)]
    task_head: TaskHeadConfig | None = None

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """All parameters of the built module."""

    def head_parameters(self, width: int) -> int:
        """Parameters of the task head over hidden states of a width; 0 without one."""
        return 0 if self.task_head is None else self.task_head.num_parameters(width)

    @property
    @abstractmethod
    def num_matrix_parameters(self) -> int:
        """Parameters of the matrices that multiply the activations of a token, embedding and head aside."""

    @property
    @abstractmethod
    def train_flops_per_token(self) -> int:
        """Floating-point operations of one training token: forward 2, backward 4 for each weight that multiplies."""

    @property
    @abstractmethod
    def activations_per_token(self) -> int:
        """About how many numbers training keeps for each token until the backward pass, logits aside."""

    @abstractmethod
    def state_bytes(self, batch_size: int, max_len: int | None = None) -> int:
        """Memory of a decoding state for B sequences of max_len tokens (default: max_seq_len), in float32."""

    @property
    def parameter_bytes(self) -> int:
        """Memory of the parameters in float32."""
        return 4 * self.num_parameters
