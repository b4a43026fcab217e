"""The adapter of a run as a folder that `peft` opens over its base model.

The base is not in it: peft puts the adapter into the model that the run began from, as transformers has it. This file
leaves out which tensor is which (`checkpoints/peft.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from stepwell.checkpoints import PEFT_CONFIG, PEFT_WEIGHTS, load_checkpoint, read_adapter, to_peft
from stepwell.errors import CheckpointError, UsageError
from stepwell.export.huggingface import DTYPES, spell, write_json
from stepwell.progress import Stage, Watcher, unwatched
from stepwell.runs import building


def export_peft(
    checkpoint: Path, out: Path, *, dtype: str | None = None, parity: bool = True, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Write the adapter of a checkpoint in the layout of peft.

    Args:
        checkpoint: a run directory or a checkpoint directory, of a run that trained a LoRA or a prompt.
        out: the folder to make.
        dtype: precision of the tensors; None for float32.
        parity: of no use here: the base model is not in a checkpoint, so nothing can be compared.
        watch: is told what is being done.

    Returns:
        `out`, `model_type`, `architecture`, `auto_class`, `dtype`, `parameters` of the adapter, `bytes`, `notes`, and
        `parity`: why nothing was measured.

    Raises:
        UsageError: when `out` holds something already, or there is no such precision.
        CheckpointError: when there is no adapter in the checkpoint, or peft cannot compute it.
        DiskError: when it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not empty", do="choose another folder, or remove this one")
    if dtype is not None and dtype not in DTYPES:
        raise UsageError("--dtype: unknown precision", got=dtype, wanted=", ".join(DTYPES))
    watch(Stage("read", str(checkpoint)))
    loaded = load_checkpoint(checkpoint)
    adapter = read_adapter(loaded.path)
    if adapter is None:
        raise CheckpointError(
            f"{loaded.path}: holds no adapter", do="train one with training.adapter.kind=lora, or export with --to hf"
        )
    spelled = spell(loaded)
    base = loaded.provenance.get("source", {}).get("name") or loaded.provenance.get("init_from")
    told, tensors = to_peft(adapter, spelled.family.rules(spelled.config), loaded.model.config, base)
    watch(Stage("write", str(out)))
    with building(out) as folder:
        save_file(
            {name: tensor if dtype is None else tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()},
            folder / PEFT_WEIGHTS,
            metadata={"format": "pt"},
        )
        write_json(folder / PEFT_CONFIG, told)
    notes = ["the base model is not in it: peft puts it into the model that training began from"]
    if adapter.config.base_weights != "float32":
        notes.append(f"it was trained over weights in {adapter.config.base_weights}, so it fits those best")
    return {
        "out": str(out),
        "model_type": spelled.theirs["model_type"],
        "architecture": spelled.theirs["architectures"][0],
        "auto_class": "PeftModel",
        "dtype": dtype or "float32",
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "bytes": (out / PEFT_WEIGHTS).stat().st_size,
        "notes": notes,
        "parity": {"not_measured": "the base model is not in the checkpoint"},
    }
