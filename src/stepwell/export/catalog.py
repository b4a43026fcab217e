"""The formats that a model is handed over in, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.export.huggingface import export_hf
from stepwell.export.peft import export_peft

EXPORTERS: dict[str, Callable[..., dict[str, Any]]] = {
    "hf": export_hf,
    "peft": export_peft,
}
"""Formats by the name that `--to` takes: (checkpoint, out, *, dtype, parity, watch) -> what was written."""
