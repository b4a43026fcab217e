"""What the house must know of a foreign family: its configuration both ways, and which tensor is which.

A rule names one of our parameters, theirs, and how the two lie (`layouts.py`); a family has the rules of all its
parameters as a pure function of the config, so that what is missing, extra or of another shape is known before any
weight is read. This file leaves out the families themselves and their catalog (`families.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from stepwell.checkpoints.huggingface.layouts import Layout
from stepwell.models import ModelConfig

ForeignConfig = Mapping[str, Any]
"""A config.json in the spelling of transformers."""


@dataclass(frozen=True)
class Rule:
    """One of our parameters and what it is called elsewhere.

    Attributes:
        ours: its name in our model.
        theirs: the tensors it is made of, in the order that the layout wants.
        layout: how they are joined and split.
    """

    ours: str
    theirs: tuple[str, ...]
    layout: Layout


@dataclass(frozen=True)
class ForeignFamily:
    """One `model_type` of transformers.

    Attributes:
        kind: our kind of model.
        architectures: the classes whose weights are read, the one that is written first.
        read_config: their config as ours; raises CheckpointError naming a field that we cannot represent.
        write_config: ours as theirs, with `model_type` and `architectures`; raises CheckpointError likewise.
        rules: every parameter of our model, once.
        prefix: of all names but the head's (`model.`); a file saved without the head may leave it out.
        copies: tensors that some files have twice: name -> the one it must equal to the bit.
        ignored: regular expressions of tensors that hold no weight (masks, position numbers, tables that follow from
            the config), or none that the class uses.
        older: regular expressions of names in older files, and what is written in their place now.
        beside: what the weights and the generation config say that config.json may not, as further fields of it; they
            win over its own.
    """

    kind: Literal["decoder", "encoder", "encoder_decoder"]
    architectures: tuple[str, ...]
    read_config: Callable[[ForeignConfig], ModelConfig]
    write_config: Callable[[ModelConfig], dict[str, Any]]
    rules: Callable[[ModelConfig], list[Rule]]
    prefix: str = ""
    copies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignored: tuple[str, ...] = ()
    older: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    beside: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]] = lambda tensors, generation: {}

    def read(self, config: ForeignConfig, mask_id: int | None) -> ModelConfig:
        """Their config as ours, with what no config says: the token that hides another one, which a tokenizer knows.

        Raises:
            CheckpointError: naming a field that we cannot represent.
        """
        ours = self.read_config(config)
        return ours.model_copy(update={"mask_id": mask_id}) if self.kind == "encoder" else ours
