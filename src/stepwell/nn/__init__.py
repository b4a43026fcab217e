"""Layers: plain modules that can be read and used alone."""

from stepwell.nn.attention import Attention, document_mask
from stepwell.nn.decoding import DecodingState, KeyValueCache
from stepwell.nn.initialization import SCHEMES, ResidualScheme, Scheme, initialize
from stepwell.nn.mlp import MLP, Activation
from stepwell.nn.norms import RMSNorm
from stepwell.nn.pieces import Pieces
from stepwell.nn.rotary import Rotary
from stepwell.nn.rotary_scaling import (
    ROTARY_SCALINGS,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RotaryScaling,
    RotaryScalingKind,
    YarnScaling,
)

__all__ = [
    "MLP",
    "ROTARY_SCALINGS",
    "SCHEMES",
    "Activation",
    "Attention",
    "DecodingState",
    "DynamicScaling",
    "KeyValueCache",
    "LinearScaling",
    "Llama3Scaling",
    "Pieces",
    "RMSNorm",
    "ResidualScheme",
    "Rotary",
    "RotaryScaling",
    "RotaryScalingKind",
    "Scheme",
    "YarnScaling",
    "document_mask",
    "initialize",
]
