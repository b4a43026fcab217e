"""Layers: plain modules that can be read and used alone."""

from stepwell.nn.attention import Attention, document_mask
from stepwell.nn.decoding import DecodingState, KeyValueCache
from stepwell.nn.initialization import SCHEMES, ResidualScheme, Scheme, initialize
from stepwell.nn.mlp import MLP, Activation
from stepwell.nn.norms import RMSNorm
from stepwell.nn.pieces import Pieces
from stepwell.nn.rotary import Rotary

__all__ = [
    "MLP",
    "SCHEMES",
    "Activation",
    "Attention",
    "DecodingState",
    "KeyValueCache",
    "Pieces",
    "RMSNorm",
    "ResidualScheme",
    "Rotary",
    "Scheme",
    "document_mask",
    "initialize",
]
