"""Several adapters over one base: kept apart and changed over, or merged, one or a weighted sum.

An adapter comes from a run that trained it, from its files, or from a folder that peft wrote. Changing over moves no
weight of the base. A sum adds what each LoRA changes, times its weight (as in "task arithmetic", Ilharco et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stepwell.checkpoints.adapter_files import ADAPTER_WEIGHTS, MERGED, Adapter, put_in, read_adapter
from stepwell.checkpoints.peft import PEFT_CONFIG, PEFT_WEIGHTS, read_peft
from stepwell.checkpoints.store import load_checkpoint, resolve_checkpoint, save_checkpoint
from stepwell.errors import CheckpointError, UsageError
from stepwell.models import LanguageModel, remove_adapter
from stepwell.nn import WeightFormat, dequantize, quantize
from stepwell.runs import file_checksum


def find_adapter(path: Path, model: LanguageModel) -> tuple[Adapter, Path]:
    """The adapter behind a path, and the file with what it has learned.

    Args:
        path: a run or checkpoint directory, or a folder with the files of an adapter, ours or peft's.
        model: the base, without an adapter.

    Raises:
        CheckpointError: when there is none, or it cannot be read.
    """
    if (path / PEFT_CONFIG).exists():
        return read_peft(path, model), path / PEFT_WEIGHTS
    folder = path if (path / ADAPTER_WEIGHTS).exists() else resolve_checkpoint(path)
    adapter = read_adapter(folder)
    if adapter is None:
        raise CheckpointError(
            f"{folder}: holds no adapter",
            wanted=f"a run that trained one (training.adapter), or a folder of peft with {PEFT_CONFIG}",
        )
    return adapter, folder / ADAPTER_WEIGHTS


class AdapterSet:
    """A base model with named adapters, of which it computes one at a time, or none.

    Args:
        model: the base; it is changed in place by `use`.
    """

    def __init__(self, model: LanguageModel) -> None:
        if model.adapter is not None:
            raise ValueError("the model has an adapter already")
        self.model = model
        self.adapters: dict[str, Adapter] = {}

    def add(self, name: str, path: Path) -> None:
        """Read an adapter (see `find_adapter`) under a name.

        Raises:
            CheckpointError: when it cannot be read, or is that of another model.
        """
        self.use(None)
        adapter, _ = find_adapter(path, self.model)
        adapter = Adapter(adapter.config.model_copy(update={"base_weights": "float32"}), adapter.tensors)
        put_in(self.model, adapter, path)
        remove_adapter(self.model)
        self.adapters[name] = adapter

    def use(self, name: str | None) -> LanguageModel:
        """Let the model compute with one of the adapters, or with none, from now on.

        Raises:
            UsageError: when there is none of that name.
        """
        if name is not None and name not in self.adapters:
            raise UsageError("no such adapter", got=name, wanted=", ".join(self.adapters) or "one that was added")
        if self.model.adapter is not None:
            remove_adapter(self.model)
        if name is not None:
            put_in(self.model, self.adapters[name], Path(name))
        return self.model.eval()

    def mixed(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """The weights of the plain model with a sum of what LoRAs change: W + sum of weight_i (W_i - W).

        Args:
            weights: name -> weight, any number.

        Raises:
            UsageError: when one cannot be merged.
        """
        self.use(None)
        base = {name: tensor.detach() for name, tensor in self.model.tensors().items()}
        total = dict(base)
        for name, weight in weights.items():
            if self.adapters[name].config.kind not in MERGED:
                raise UsageError("an adapter that cannot be merged", got=f"{name}, {self.adapters[name].config.kind}")
            changed, learned = self.use(name).tensors(), self.adapters[name].tensors
            for key in (key for key in base if f"{key.removesuffix('weight')}lora_a" in learned):
                total[key] = total[key] + weight * (changed[key] - base[key])
        self.use(None)
        return total


def rounded_ratio(model: LanguageModel, weights: WeightFormat) -> float:
    """How far the matrices of linear layers are from what fewer bits hold of them: the mean of |W' - W| / |W|."""
    matrices = [part.weight.detach() for part in model.modules() if isinstance(part, nn.Linear) and part.weight.any()]
    held = (dequantize(*quantize(matrix, weights), matrix.shape[1]) for matrix in matrices)
    return float(torch.stack([(h - w).norm() / w.norm() for h, w in zip(held, matrices, strict=True)]).mean())


def merge(base: Path, out: Path, adapters: Sequence[tuple[Path, float]]) -> dict[str, Any]:
    """Make a checkpoint of a base and adapters: one, or a weighted sum of several.

    Args:
        base: the checkpoint or run that they were trained from.
        out: the checkpoint directory to make; empty or absent.
        adapters: where each is (see `find_adapter`), and its weight.

    Returns:
        `out`, and `adapters`: of each `path`, `kind`, `weight`, `parameters` and `sha256`; where it was learned over
        weights in fewer bits also `base_weights`, and `rounded_ratio`, how far those are from the ones it is put into.

    Raises:
        UsageError: when `out` is not empty, or the adapters cannot be added up.
        CheckpointError: when base or adapters cannot be read, or do not fit.
        DiskError: when the checkpoint cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not empty", do="name another directory")
    if not adapters:
        raise UsageError("no adapter is named", do="name at least one: --adapter PATH")
    loaded = load_checkpoint(base)
    if loaded.model.adapter is not None:
        raise CheckpointError(f"{loaded.path}: has an adapter that cannot be merged", wanted="a plain base model")
    together = AdapterSet(loaded.model)
    told = []
    for number, (path, weight) in enumerate(adapters):
        together.add(str(number), path)
        adapter, file = find_adapter(path, together.use(None))
        learned = sum(tensor.numel() for tensor in adapter.tensors.values())
        told.append({"path": str(path), "kind": adapter.config.kind, "weight": weight, "parameters": learned})
        told[-1]["sha256"] = file_checksum(file)
        if adapter.config.base_weights != "float32":
            told[-1]["base_weights"] = adapter.config.base_weights
            told[-1]["rounded_ratio"] = rounded_ratio(loaded.model, adapter.config.base_weights)
    provenance = {**loaded.provenance, "base": str(loaded.path), "adapters": told}
    if len(adapters) == 1 and adapters[0][1] == 1:  # it stays beside the weights, and may be one that is not merged
        save_checkpoint(out, together.use("0"), loaded.tokenizer, provenance=provenance)
    else:
        weights = {str(number): weight for number, (_, weight) in enumerate(adapters)}
        tensors = together.mixed(weights)
        save_checkpoint(out, loaded.model, loaded.tokenizer, provenance=provenance, tensors=tensors)
    return {"out": str(out), "adapters": told}
