"""GGUF files, the format of llama.cpp: metadata and tensors in one file, mostly quantised.

Metadata becomes a config in the spelling of transformers, and each tensor gets its name there and lies as it lies
there, so that the rest of the house sees one kind of source. Quantised tensors become float32 one by one, when they are
asked for; F32, F16 and BF16 stay as they are. This file leaves out writing such files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepwell.checkpoints.foreign import ForeignModel, ForeignTensors, listed
from stepwell.checkpoints.gguf.architectures import Architecture, Change
from stepwell.checkpoints.gguf.settings import find_architecture, read_config
from stepwell.errors import CheckpointError, TokenizerError
from stepwell.tokenizers import Tokenizer, gguf_tokenizer

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types that are kept as they are."""

QUANTISED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
"""Types that become float32; what the `gguf` library says they mean is what they mean."""

ROPE_FACTORS = "rope_freqs.weight"


def read_gguf(path: Path, *, source: str | None = None) -> ForeignModel:
    """A model in a GGUF file.

    Args:
        path: the file; one of several parts is refused.
        source: what the person called it; default the path.

    Raises:
        CheckpointError: when the file is damaged, or has an architecture, a setting, a tensor or a type that cannot
            be represented; each is named.
    """
    reader = _open(path)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    _, architecture = find_architecture(metadata, where=str(path))
    if int(metadata.get("split.count", 1)) > 1:
        raise CheckpointError(
            f"{path}: is one part of {metadata['split.count']}", do="join them first: llama-gguf-split --merge"
        )
    stored = {tensor.name: tensor for tensor in reader.tensors}
    if "token_embd.weight" not in stored:
        raise CheckpointError(f"{path}: holds no language model", wanted="a tensor token_embd.weight")
    _check_types(path, stored)
    config = read_config(
        metadata,
        {name: _shape(tensor) for name, tensor in stored.items()},
        _read(stored[ROPE_FACTORS]).numpy() if ROPE_FACTORS in stored else None,
        tied="output.weight" not in stored or _equal(stored["output.weight"], stored["token_embd.weight"]),
        where=str(path),
    )
    tensors = _GGUFTensors(path, _named(path, architecture, stored, config))
    return ForeignModel(
        source=source or str(path),
        kind="gguf",
        config=config,
        tensors=tensors,
        read_tokenizer=lambda: _tokenizer(path, metadata),
        facts=_facts(metadata),
    )


def _tokenizer(path: Path, metadata: Mapping[str, Any]) -> Tokenizer:
    try:
        return gguf_tokenizer(metadata)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error.what}", got=error.got, wanted=error.wanted, do=error.do) from None


def _open(path: Path) -> Any:
    """The library's reader of a file, which maps it into memory."""
    try:
        import gguf
    except ImportError:
        raise CheckpointError(
            f"{path}: is a GGUF file", wanted="the package gguf", do="pip install 'stepwell[gguf]'"
        ) from None
    try:
        reader = gguf.GGUFReader(path)
    except Exception as error:  # a truncated or damaged file ends in whatever the reader stumbled over
        raise CheckpointError(f"{path}: is damaged or truncated", got=f"{type(error).__name__}: {error}") from None
    if reader.byte_order != "I":
        raise CheckpointError(f"{path}: was written for machines of the other byte order")
    return reader


def _check_types(path: Path, stored: Mapping[str, Any]) -> None:
    others = [
        f"{name} ({tensor.tensor_type.name})"
        for name, tensor in stored.items()
        if tensor.tensor_type.name not in PLAIN and tensor.tensor_type.name not in QUANTISED
    ]
    if others:
        raise CheckpointError(
            f"{path}: {len(others)} of {len(stored)} tensors have a type that is not read here",
            got=listed(others),
            wanted=", ".join((*PLAIN, *QUANTISED)),
            do="take the same model in another quantisation, such as Q8_0",
        )


def _shape(tensor: Any) -> tuple[int, ...]:
    """Rows first, as everywhere but in GGUF."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _equal(one: Any, other: Any) -> bool:
    """Whether two stored tensors are the same to the bit."""
    return (
        one.tensor_type == other.tensor_type
        and one.data.shape == other.data.shape
        and bool(np.array_equal(one.data.view(np.uint8), other.data.view(np.uint8)))
    )


def _read(tensor: Any, expert: int | None = None) -> Tensor:
    """The numbers of a stored tensor, or of one expert of it."""
    from gguf.quants import dequantize

    data = tensor.data if expert is None else tensor.data[expert]
    kind = tensor.tensor_type.name
    if kind in PLAIN:
        values = torch.from_numpy(np.array(data))
        return values.view(torch.bfloat16) if kind == "BF16" else values
    return torch.from_numpy(np.ascontiguousarray(dequantize(np.array(data), tensor.tensor_type)))


@dataclass(frozen=True)
class _Stored:
    """Where one tensor of transformers stands in the file."""

    tensor: Any
    expert: int | None
    change: Change | None


def _named(
    path: Path, architecture: Architecture, stored: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, _Stored]:
    """Tensors by their names in transformers.

    Raises:
        CheckpointError: listing the tensors that the architecture does not have.
    """
    named: dict[str, _Stored] = {}
    unknown = []
    for name, tensor in stored.items():
        if name == ROPE_FACTORS or (name == "output.weight" and config["tie_word_embeddings"]):
            continue  # told in the config
        found = architecture.locate(name, _shape(tensor)[0])
        if found is None:
            unknown.append(name)
            continue
        change = architecture.change(name, config)
        for theirs, expert in found:
            named[theirs] = _Stored(tensor, expert, change)
    if unknown:
        raise CheckpointError(f"{path}: holds tensors that are not known here", got=listed(unknown))
    return named


class _GGUFTensors(ForeignTensors):
    """The tensors of a GGUF file, each read and put as transformers has it when it is asked for."""

    def __init__(self, path: Path, stored: Mapping[str, _Stored]) -> None:
        self._path = path
        self._stored = stored

    def describe(self, name: str) -> tuple[tuple[int, ...], torch.dtype | None]:
        one = self._stored[name]
        shape = _shape(one.tensor)[0 if one.expert is None else 1 :]
        dtype = PLAIN.get(one.tensor.tensor_type.name, torch.float32)
        return tuple(_changed(torch.empty(shape, device="meta"), one.change).shape), dtype

    @property
    def files(self) -> tuple[Path, ...]:
        return (self._path,)

    def __getitem__(self, name: str) -> Tensor:
        one = self._stored[name]
        return _changed(_read(one.tensor, one.expert), one.change)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _changed(tensor: Tensor, change: Callable[[Tensor], Tensor] | None) -> Tensor:
    return tensor if change is None else change(tensor)


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says about itself."""
    facts = {
        "license": metadata.get("general.license"),
        "languages": metadata.get("general.languages"),
        "title": metadata.get("general.name"),
    }
    return {name: value for name, value in facts.items() if value}
