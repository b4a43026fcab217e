"""The records of `decoder.cpp` as ctypes sees them: the same fields in the same order."""

from __future__ import annotations

import ctypes
from typing import ClassVar

import numpy as np

BLOCK_TOKENS = 16
"""Tokens of a block of keys and values (`attention.h`)."""

Int, Float, Pointer = ctypes.c_int32, ctypes.c_float, ctypes.c_void_p


class Norm(ctypes.Structure):
    """See `decoder.cpp`."""

    _fields_: ClassVar = [("kind", Int), ("eps", Float), ("weight", Pointer), ("bias", Pointer)]


class Matrix(ctypes.Structure):
    """See `matmul.h`."""

    _fields_: ClassVar = [
        ("format", Int),
        ("outputs", Int),
        ("channels", Int),
        ("codes", Pointer),
        ("scales", Pointer),
        ("bias", Pointer),
    ]


class Layer(ctypes.Structure):
    """See `decoder.cpp`."""

    _fields_: ClassVar = [
        *((name, Norm) for name in ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")),
        *((name, Norm) for name in ("query_norm", "key_norm")),
        *((name, Matrix) for name in ("qkv", "out", "up", "down")),
        *((name, Pointer) for name in ("cosines", "sines", "sinks")),
        *((name, Int) for name in ("rotated", "window")),
        *((name, Pointer) for name in ("keys", "values")),
    ]


class Shape(ctypes.Structure):
    """See `decoder.cpp`."""

    _fields_: ClassVar = [
        *((name, Int) for name in ("layers", "width", "heads", "kv_heads", "head_width", "hidden_width", "vocabulary")),
        *(
            (name, Int)
            for name in (
                *("activation", "gated", "placement", "parallel", "qk_norm"),
                *("exact", "coded", "most_rows", "blocks"),
            )
        ),
        *((name, Float) for name in ("scale", "softcap", "logit_softcap", "embedding_scale")),
        *((name, Pointer) for name in ("embedding", "positions", "slopes")),
        ("embedding_norm", Norm),
        ("norm", Norm),
        ("head", Matrix),
    ]


class Step(ctypes.Structure):
    """See `decoder.cpp`."""

    _fields_: ClassVar = [
        *((name, Int) for name in ("num_texts", "num_outputs", "table_stride")),
        *((name, Pointer) for name in ("token_ids", "starts", "places", "tables", "outputs", "logits")),
    ]


RULE = np.dtype([("uniform", "f8"), ("temperature", "f4"), ("top_k", "i4"), ("top_p", "f4"), ("min_p", "f4")])
"""See `choice.h`."""

CHOICE = np.dtype([("token", "i4"), ("logit", "f4"), ("log_sum", "f4")])
"""See `choice.h`."""
