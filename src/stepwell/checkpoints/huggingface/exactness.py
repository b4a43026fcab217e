"""Whether a config that was written for transformers still says what ours says.

What was written is read back and compared with what it was made of, field by field; a class that computes something
else, or that has no word for a field, is refused with every difference named. So a family needs no list of what its
class takes for granted. This file leaves out fields that matter to training alone: a class computes the same without.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.errors import CheckpointError, ConfigError
from stepwell.models import ModelConfig, TransformerConfig

TRAINING = (
    "dropout",
    "attention_dropout",
    "embedding_dropout",
    "stochastic_depth",
    "initialization",
    "residual_initialization",
)
"""Fields of a model that decide nothing once it is trained."""


def exact(
    config: ModelConfig, written: dict[str, Any], read: Callable[[ForeignConfig], TransformerConfig]
) -> dict[str, Any]:
    """A written config, when its class computes what our model does.

    Args:
        config: ours.
        written: the same in the spelling of transformers.
        read: of the same family.

    Raises:
        CheckpointError: naming every field that differs.
    """
    architecture = written["architectures"][0]
    try:
        back = read(written)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{architecture}: does not fit", got=f"{error.what} ({error.wanted})") from None
    differing = list(_differences(_meaning(config), _meaning(back)))
    if differing:
        raise CheckpointError(f"{architecture}: does not fit", got="; ".join(differing))
    return written


def _meaning(config: ModelConfig) -> dict[str, Any]:
    """What decides the numbers that a model computes, each said in one way only."""
    assert isinstance(config, TransformerConfig)
    values = config.model_dump(exclude={*TRAINING, "mask_id"})
    layers = range(config.num_layers)
    values["layer_pattern"] = [config.layer_kind(layer) for layer in layers]
    values["attention_scale"] = config.attention_scale or config.head_dim**-0.5
    del values["norm"]["bias" if config.norm.kind == "rms" else "unit_offset"]
    positions = values["positions"]
    if config.positions.kind == "rotary":
        if config.window is None:
            positions["window_theta"] = None
        elif config.positions.scaling is None and config.positions.window_theta is None:
            positions["window_theta"] = config.positions.theta
        if (positions["scaling"] or {}).get("kind") == "dynamic":
            positions["scaling"]["original_max_seq_len"] = positions["scaling"]["original_max_seq_len"] or (
                config.max_seq_len
            )
    if config.experts is not None:
        del values["experts"]["balance"]
        values["experts"]["dense_layers"] = [layer for layer in layers if not config.has_experts(layer)]
        if all(config.has_experts(layer) for layer in layers):
            del values["d_ff"], values["mlp_bias"]
    return values


def _differences(here: Mapping[str, Any], there: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """`path is A, not B` for each leaf that is not the same; where kinds differ, the kinds alone."""
    for name in here:
        ours, theirs = here[name], there.get(name, here[name])
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and ours.get("kind") == theirs.get("kind"):
            yield from _differences(ours, theirs, f"{path}{name}.")
        elif ours != theirs:
            yield f"{path}{name} is {_shown(ours)}, not {_shown(theirs)}"


def _shown(value: Any) -> str:
    """As a recipe would say it."""
    if isinstance(value, Mapping):
        return str(value.get("kind", "set"))
    return value if isinstance(value, str) else json.dumps(value)
