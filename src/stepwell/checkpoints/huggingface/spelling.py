"""Words that the families of transformers share: activations, rotary positions, and how a field is refused.

A field counts when the class of its `model_type` reads it; what such a field asks for is represented or refused by
name, and fields that the class does not read are left alone, as transformers leaves them. Older files spell rotary
positions in another way than transformers 5, and both are read. This file leaves out each family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.checkpoints.huggingface.family import ForeignConfig
from stepwell.errors import CheckpointError

ACTIVATIONS = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu2": "relu2",
    "relu_squared": "relu2",
}
"""Their activations, and ours."""

WRITTEN = {"gelu_tanh": "gelu_pytorch_tanh"}
"""Our activations that go by another name there."""

SCALINGS = {
    "linear": {"factor": "factor"},
    "dynamic": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "low_freq_factor": "low_freq_factor",
        "high_freq_factor": "high_freq_factor",
        "original_max_position_embeddings": "original_max_seq_len",
    },
    "yarn": {
        "factor": "factor",
        "original_max_position_embeddings": "original_max_seq_len",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "attention_factor": "attention_factor",
        "mscale": "mscale",
        "mscale_all_dim": "mscale_all_dim",
        "truncate": "truncate",
    },
}
"""Rotary scalings by `rope_type`: their fields, and ours."""


def refuse(field: str, got: Any, wanted: str) -> CheckpointError:
    """The error for a field that asks for something we do not have."""
    return CheckpointError(f"config.json: {field}: cannot be represented", got=str(got), wanted=wanted)


def require(config: ForeignConfig, fields: Mapping[str, Any]) -> None:
    """Check fields that we have one value of; an absent or null one is as good.

    Raises:
        CheckpointError: naming the first that asks for another.
    """
    for name, value in fields.items():
        if config.get(name, value) not in (value, None):
            raise refuse(name, config[name], str(value))


def needed(config: ForeignConfig, field: str) -> int:
    """A size that no file may leave out.

    Raises:
        CheckpointError: when it is not there, or no whole number above zero.
    """
    value = config.get(field)
    if value is None:
        raise CheckpointError(f"config.json: {field}: is missing")
    if not isinstance(value, int) or value < 1:
        raise refuse(field, value, "a whole number above zero")
    return value


def read_activation(name: str, field: str = "hidden_act") -> str:
    """Our name of an activation.

    Raises:
        CheckpointError: for one that we do not have.
    """
    if name not in ACTIVATIONS:
        raise refuse(field, name, ", ".join(ACTIVATIONS))
    return ACTIVATIONS[name]


def read_rotary(config: ForeignConfig, *, theta: float = 10_000.0, partial: bool = False) -> dict[str, Any]:
    """`RotaryPositions` of a config whose layers all turn alike, as plain values.

    Args:
        config: theirs; `rope_parameters` (transformers 5), or `rope_theta`, `rope_scaling`, `partial_rotary_factor`.
        theta: what the family takes when none is given.
        partial: whether the family can turn a part of the channels.

    Raises:
        CheckpointError: for a scaling that we do not have, or a part of the channels that the family cannot turn.
    """
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if any(isinstance(value, Mapping) for value in given.values()):
        raise refuse("rope_parameters", f"one for each of {', '.join(given)}", "one for all layers")
    ratio = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    if ratio != 1 and not partial:
        raise refuse("partial_rotary_factor", ratio, "1 in this family")
    values: dict[str, Any] = {
        "kind": "rotary",
        "theta": given.get("rope_theta") or config.get("rope_theta") or theta,
        "ratio": ratio,
    }
    kind = given.get("rope_type", given.get("type", "default"))
    if kind != "default":
        values["scaling"] = _read_scaling(kind, given, config)
    return values


def _read_scaling(kind: str, given: Mapping[str, Any], config: ForeignConfig) -> dict[str, Any]:
    if kind not in SCALINGS:
        raise refuse("rope_type", kind, ", ".join(("default", *SCALINGS)))
    original = "original_max_position_embeddings"
    whole = config.get(original) or given.get(original) or config.get("max_position_embeddings")
    values = {**given, original: whole}
    return {"kind": kind} | {
        ours: values[name] for name, ours in SCALINGS[kind].items() if values.get(name) is not None
    }


def write_rotary(positions: Any) -> dict[str, Any]:
    """`rope_parameters` of our `RotaryPositions`; empty for other positions."""
    if positions.kind != "rotary":
        return {}
    written: dict[str, Any] = {"rope_type": "default", "rope_theta": positions.theta}
    if positions.ratio != 1:
        written["partial_rotary_factor"] = positions.ratio
    if positions.scaling is not None:
        scaling = positions.scaling.model_dump()
        names = SCALINGS[positions.scaling.kind].items()
        written["rope_type"] = positions.scaling.kind
        written |= {theirs: scaling[ours] for theirs, ours in names if scaling[ours] is not None}
    return written
