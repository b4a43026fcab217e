"""Layers: plain modules that can be read and used alone."""

from stepwell.nn.activations import ACTIVATIONS, ActivationName
from stepwell.nn.adapters import (
    adapter_tensors,
    add_bottlenecks,
    add_lora,
    add_prefixes,
    load_adapter,
    merge_adapters,
    merged_tensors,
    quantize_linears,
    remove_adapters,
    without_adapters,
)
from stepwell.nn.alignment import Alignment
from stepwell.nn.attention import Attention, CrossAttention, attend
from stepwell.nn.bottleneck import BottleneckLinear
from stepwell.nn.decoding import DecodingState, KeyValueCache
from stepwell.nn.experts import MixtureOfExperts, load_balancing_loss
from stepwell.nn.initialization import SCHEMES, ResidualScheme, Scheme, initialize, initialize_cells
from stepwell.nn.lora import LoRALinear
from stepwell.nn.masks import KeyRange, key_range
from stepwell.nn.mlp import MLP
from stepwell.nn.norms import RMSNorm
from stepwell.nn.pieces import Pieces
from stepwell.nn.positions import (
    LearnedPositions,
    RelativeBias,
    SinusoidalLayout,
    alibi_bias,
    alibi_slopes,
    document_positions,
    sinusoidal_positions,
)
from stepwell.nn.prefix import Prefix
from stepwell.nn.prompt import Lead, Prompt
from stepwell.nn.quantized_linear import QuantizedLinear, WeightFormat, dequantize, quantize
from stepwell.nn.recurrent import Memory, Recurrent, RecurrentState
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
    "ACTIVATIONS",
    "MLP",
    "ROTARY_SCALINGS",
    "SCHEMES",
    "ActivationName",
    "Alignment",
    "Attention",
    "BottleneckLinear",
    "CrossAttention",
    "DecodingState",
    "DynamicScaling",
    "KeyRange",
    "KeyValueCache",
    "Lead",
    "LearnedPositions",
    "LinearScaling",
    "Llama3Scaling",
    "LoRALinear",
    "Memory",
    "MixtureOfExperts",
    "Pieces",
    "Prefix",
    "Prompt",
    "QuantizedLinear",
    "RMSNorm",
    "Recurrent",
    "RecurrentState",
    "RelativeBias",
    "ResidualScheme",
    "Rotary",
    "RotaryScaling",
    "RotaryScalingKind",
    "Scheme",
    "SinusoidalLayout",
    "WeightFormat",
    "YarnScaling",
    "adapter_tensors",
    "add_bottlenecks",
    "add_lora",
    "add_prefixes",
    "alibi_bias",
    "alibi_slopes",
    "attend",
    "dequantize",
    "document_positions",
    "initialize",
    "initialize_cells",
    "key_range",
    "load_adapter",
    "load_balancing_loss",
    "merge_adapters",
    "merged_tensors",
    "quantize",
    "quantize_linears",
    "remove_adapters",
    "sinusoidal_positions",
    "without_adapters",
]
