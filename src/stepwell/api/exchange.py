"""The verbs by which weights come and go: import, merge and export.

Both say by name what cannot be represented, and measure that the same is computed. This file leaves out how formats
are read and written (`checkpoints`, `export`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepwell.api.requests import PathLike
from stepwell.errors import UsageError
from stepwell.progress import Watcher, unwatched


def import_(
    source: PathLike, out: PathLike, *, allow_pickle: bool = False, parity: bool = True, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Take the weights of another project in, with tokenizer and chat template.

    Args:
        source: a folder in the layout of transformers, a GGUF file, or a name on the hub (`owner/name`).
        out: the checkpoint directory to make; every verb takes it as a run.
        allow_pickle: read `pytorch_model.bin` where there is no safetensors file; of it, tensors only.
        parity: compare with transformers, where it is installed.
        watch: is told what is being done.

    Returns:
        What was read (`model_type`, `kind`, `parameters`, `dtype`, `tokens`, ...), `notes`, and the measured `parity`.

    Raises:
        CheckpointError: when it cannot be read, or asks for something that is not represented here; it is named.
        TokenizerError: when its tokenizer cannot be read.
        UsageError: when `out` is not empty.
    """
    from stepwell.checkpoints import import_model

    return import_model(str(source), Path(out), allow_pickle=allow_pickle, parity=parity, watch=watch)


def merge(base: PathLike, out: PathLike, *, adapters: Sequence[str]) -> dict[str, Any]:
    """Put adapters into the model that they were trained from: one, or a weighted sum of several.

    Args:
        base: the run or checkpoint directory that training began from.
        out: the checkpoint directory to make; every verb takes it as a run.
        adapters: runs that trained one, or folders that peft wrote; each may end in `=WEIGHT`, default 1.

    Returns:
        `out`, and `adapters`: of each `path`, `kind`, `weight`, `parameters`, `sha256`, and where it was learned over
        weights in fewer bits `base_weights` and `rounded_ratio`.

    Raises:
        CheckpointError: when one cannot be read, or is that of another model.
        UsageError: when `out` is not empty, none is named, a weight is no number, or one of several cannot be merged.
    """
    from stepwell.checkpoints import merge

    return merge(Path(base), Path(out), [_weighted(adapter) for adapter in adapters])


def _weighted(adapter: str) -> tuple[Path, float]:
    """`PATH` or `PATH=WEIGHT`."""
    path, sign, weight = adapter.rpartition("=")
    if not sign or Path(adapter).exists():
        return Path(adapter), 1.0
    try:
        return Path(path), float(weight)
    except ValueError:
        raise UsageError("--adapter: the weight is no number", got=weight, wanted="PATH, or PATH=0.5") from None


def export(
    run: PathLike,
    out: PathLike,
    *,
    to: str = "hf",
    dtype: str | None = None,
    parity: bool = True,
    watch: Watcher = unwatched,
) -> dict[str, Any]:
    """Hand a model to other programs: a folder that `transformers` opens, or an adapter alone that `peft` opens.

    Args:
        run: a run directory or a checkpoint directory.
        out: the folder to make.
        to: the format: `hf`, or `peft` for what a run with `training.adapter.kind: lora` has learned.
        dtype: `float32`, `bfloat16` or `float16`; default as stored.
        parity: open the folder with transformers and compare, where it is installed.
        watch: is told what is being done.

    Returns:
        `out`, `model_type`, `architecture`, `dtype`, `bytes`, `notes`, and the measured `parity`.

    Raises:
        CheckpointError: when no class of transformers computes what the model does; the fields are named.
        UsageError: for an unknown format or precision, or when `out` is not empty.
    """
    from stepwell.export import EXPORTERS

    if to not in EXPORTERS:
        raise UsageError("--to: unknown format", got=to, wanted=", ".join(EXPORTERS))
    return EXPORTERS[to](Path(run), Path(out), dtype=dtype, parity=parity, watch=watch)
