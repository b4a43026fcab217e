"""What every language model of the house can do.

A model turns tokens into hidden states and hidden states into logits, and it *extends* a state by tokens, so that
training, scoring and decoding need to know no architecture. Loss never lives here. The catalog (`catalog.py`) says
which class builds which config.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from stepwell.errors import UsageError
from stepwell.models.adapter_config import AdapterConfig
from stepwell.models.model_config import ModelConfig
from stepwell.models.stack import Stack
from stepwell.models.task_head import TaskHead
from stepwell.nn import DecodingState, merged_tensors


class Output(NamedTuple):
    """The last map of a model: logits = c tanh((x W^T + b) / c).

    Attributes:
        weight: (V, D).
        bias: (V,), or None.
        softcap: c above 0, or None for no cap.
    """

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None


class LanguageModel(nn.Module, ABC):
    """Predicts tokens from the ones around them.

    Attributes:
        config: the frozen config the model was built from.
        is_causal: whether `hidden` at a position has seen nothing after it, so that it predicts the next token; an
            encoder sees both sides, and predicts the token at the position itself.
        task_head: what it says about texts or tokens beside predicting tokens, or None.
        adapter: which adapter it has (`adapting.add_adapter`); None for none.
    """

    config: ModelConfig
    adapter: AdapterConfig | None = None
    is_causal: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.task_head: TaskHead | None = None

    @property
    def device(self) -> torch.device:
        """Where the model computes; a model without parameters does so on the CPU."""
        first = next(self.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def reads_source(self) -> bool:
        """Whether a prompt is a source to turn into a target; otherwise it is a text to go on with."""
        return False

    @property
    def takes_padding(self) -> bool:
        """Whether `begin` reads prompts of different lengths together."""
        return self.reads_source

    @abstractmethod
    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """Last hidden states.

        Args:
            token_ids: (B, T) int64; with a state, its length + T is at most max_seq_len.
            document_ids: (B, T), which document of its row a position belongs to; nothing is seen across documents.
                None when a row is one document. Not together with a state.
            state: what came before; it is extended in place by the T tokens.

        Returns:
            (B, T, D).

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """

    def output(self) -> Output:
        """The last map, from what `before_output` gives to logits.

        Raises:
            UsageError: when the model has none.
        """
        raise UsageError("model: has no matrix before its logits", got=self.config.kind)

    def before_output(self, hidden: Tensor) -> Tensor:
        """What the last map takes, (..., D), of hidden states (..., D)."""
        return hidden

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits of the token to predict.

        Args:
            hidden: (..., D).

        Returns:
            (..., V) float32.
        """
        weight, bias, softcap = self.output()
        logits = linear(self.before_output(hidden), weight, bias).float()
        return logits if softcap is None else softcap * torch.tanh(logits / softcap)

    @abstractmethod
    def start(self, batch_size: int, max_len: int | None = None) -> DecodingState:
        """An empty state for B sequences of up to max_len tokens (default: max_seq_len)."""

    @abstractmethod
    def lookup_parameters(self) -> list[nn.Parameter]:
        """The matrices with a row for each token or position (embedding, head), which optimizers treat apart."""

    def checkpoint_activations(self) -> None:
        """From now on, keep only what goes into each block of a stack while training (`Stack.checkpoint_activations`).

        Raises:
            UsageError: when the model has no blocks.
        """
        stacks = [module for module in self.modules() if isinstance(module, Stack)]
        if not stacks:
            raise UsageError(
                "training.checkpoint_activations: there is nothing to compute again",
                got=f"a model of kind {self.config.kind}",
                wanted="one of Transformer blocks",
                do="set training.checkpoint_activations=false, and a smaller training.micro_batch to save memory",
            )
        for stack in stacks:
            stack.checkpoint_activations = True

    def auxiliary_loss(self) -> Tensor | None:
        """What training adds to the mean loss of the last forward pass, a scalar; None for nothing."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name: the parameters of the plain model, a LoRA merged into its matrices."""
        return merged_tensors(self)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what a checkpoint kept, in the precision of this model.

        Raises:
            ValueError: when they are not those of this model; all that is missing, extra or of another shape is named.
                Or when the model has an adapter: weights come first.
        """
        if self.adapter is not None:
            raise ValueError("the model has an adapter, and weights are loaded before it gets one")
        own = self.tensors()
        missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        misfit = sorted(name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape)
        if missing or extra or misfit:
            raise ValueError(f"missing {missing}, extra {extra}, of another shape {misfit}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def forward(self, token_ids: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Logits of every position: (B, T) -> (B, T, V) float32."""
        return self.unembed(self.hidden(token_ids, document_ids))

    def extend(self, state: DecodingState, token_ids: Tensor) -> Tensor:
        """Extend a state by tokens.

        Args:
            state: from `start`, changed in place.
            token_ids: (B, T) int64.

        Returns:
            (B, V) float32, logits of the token after the last one.
        """
        return self.unembed(self.hidden(token_ids, state=state)[:, -1])

    def begin(
        self, prompt_ids: Tensor, max_len: int, prompt_mask: Tensor | None = None
    ) -> tuple[DecodingState, Tensor]:
        """Read prompts.

        Args:
            prompt_ids: (B, T) int64.
            max_len: tokens that the state must hold: what will be written, and the prompt where it is gone on with.
            prompt_mask: (B, T) bool, False at padding, which stands on the left; None where nothing is padded. Only
                where the model `takes_padding`.

        Returns:
            A state that `extend` takes, and logits (B, V) of the first token to write.

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """
        if prompt_mask is not None:
            raise TypeError(f"a {type(self).__name__} reads prompts of equal length")
        state = self.start(len(prompt_ids), max_len)
        return state, self.extend(state, prompt_ids)
