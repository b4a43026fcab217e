"""Models as other projects leave them: a folder in the layout of transformers, or its name on the hub.

A `ForeignModel` is the same for every kind of source: a config in the spelling of transformers, tensors by their names
there, read one at a time when they are asked for, and a tokenizer. Nothing from a source is ever run: a pickle is read
only on request and only as plain tensors. This file leaves out GGUF files (`gguf/`) and what the names mean.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stepwell.errors import CheckpointError
from stepwell.tokenizers import Tokenizer, read_tokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
"""End of the name of a file that says which tensor stands in which part of the weights."""

HUB_NAME = re.compile(r"(?:hf://)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a hub repository; pickles only on request, programs never."""

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Precisions that a weight may have, by their names in a safetensors file."""


class ForeignTensors(Mapping[str, Tensor]):
    """Tensors by name; each is read when it is asked for, and not kept."""

    @abstractmethod
    def describe(self, name: str) -> tuple[tuple[int, ...], torch.dtype | None]:
        """Shape and precision of a tensor without reading it; None for one that is no floating-point number."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The files that hold them."""


@dataclass(frozen=True)
class ForeignModel:
    """A model of another project, not yet read.

    Attributes:
        source: what the person called it.
        kind: what its weights are stored in.
        config: in the spelling of transformers.
        tensors: by their names in transformers.
        read_tokenizer: reads the one that came with it.
        generation: how its makers want it to decode, as in generation_config.json.
        facts: what the source says about itself: `license`, `languages`, `title`.
    """

    source: str
    kind: Literal["safetensors", "pickle", "gguf"]
    config: dict[str, Any]
    tensors: ForeignTensors
    read_tokenizer: Callable[[], Tokenizer]
    generation: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def read_foreign(source: str, *, allow_pickle: bool = False) -> ForeignModel:
    """Find a foreign model.

    Args:
        source: a folder in the layout of transformers, a GGUF file, or a name on the hub (`owner/name`,
            `hf://owner/name@revision`).
        allow_pickle: read `pytorch_model.bin` where there is no safetensors file.

    Raises:
        CheckpointError: when there is no such thing, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return read_directory(path, source=source, allow_pickle=allow_pickle)
    if path.is_file():
        return _read_file(path, source)
    named = HUB_NAME.fullmatch(source)
    mistyped = path.parent.is_dir() and not source.startswith("hf://")  # a slip must not ask the network
    if named is None or mistyped:
        raise CheckpointError(
            f"{source}: no such file or directory",
            wanted=WANTED,
            do=f"if it is a name on the hub: hf://{source}" if named is not None else None,
        )
    return read_directory(_download(named[1], named[2], allow_pickle), source=source, allow_pickle=allow_pickle)


WANTED = "a folder with config.json and model.safetensors, a .gguf file, or a name on the hub (owner/name)"


def _read_file(path: Path, source: str) -> ForeignModel:
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    if not is_gguf:
        beside = path.parent if (path.parent / CONFIG).exists() else None
        raise CheckpointError(
            f"{source}: is no GGUF file",
            wanted=WANTED,
            do=None if beside is None else f"name its folder: stepwell import {beside} OUT",
        )
    from stepwell.checkpoints.gguf import read_gguf

    return read_gguf(path, source=source)


def read_directory(path: Path, *, source: str | None = None, allow_pickle: bool = False) -> ForeignModel:
    """A model in the layout of transformers.

    Args:
        path: holds config.json, the weights (in one file, or in parts with an index) and the tokenizer's files.
        source: what the person called it; default the path.
        allow_pickle: read `pytorch_model.bin` where there is no safetensors file.

    Raises:
        CheckpointError: when a file is missing or damaged, or the weights are a pickle that was not asked for.
    """
    tensors = _find_weights(path, allow_pickle)
    config = _read_json(path / CONFIG)
    generation = _read_json(path / GENERATION) if (path / GENERATION).exists() else {}
    return ForeignModel(
        source=source or str(path),
        kind="pickle" if isinstance(tensors, _Pickles) else "safetensors",
        config=config,
        tensors=tensors,
        read_tokenizer=lambda: read_tokenizer(path),
        generation=generation,
        facts=_card_facts(path / "README.md"),
    )


def _find_weights(path: Path, allow_pickle: bool) -> ForeignTensors:
    for name, read in ((SAFETENSORS, _Safetensors), (PICKLE, _Pickles)):
        found = [path / one for one in (name, name + INDEX) if (path / one).exists()]
        if not found:
            continue
        if name == PICKLE and not allow_pickle:
            raise CheckpointError(
                f"{found[0]}: is a pickle, which can hold programs",
                wanted=f"{SAFETENSORS} beside it",
                do="if you trust whoever made it: --allow-pickle reads the tensors in it and refuses everything else",
            )
        return read(_parts(found[0]) if found[0].name.endswith(INDEX) else {found[0]: None})
    there = sorted(file.name for file in path.iterdir())
    do = None
    if "adapter_config.json" in there:
        do = f"this is an adapter: put it into its base model with stepwell merge BASE OUT --adapter {path}"
    elif ggufs := [name for name in there if name.endswith(".gguf")]:
        do = f"name the file: stepwell import {path / ggufs[0]} OUT"
    raise CheckpointError(
        f"{path}: holds no weights",
        got=", ".join(there[:12]) or "an empty folder",
        wanted=f"{SAFETENSORS}, or {SAFETENSORS}{INDEX} and its parts",
        do=do,
    )


def _parts(index: Path) -> dict[Path, Collection[str] | None]:
    """The files that an index names, each with its tensors.

    Raises:
        CheckpointError: when it is damaged, a file is missing, or a name leads out of the folder.
    """
    table = _read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()) or not table:
        raise CheckpointError(f"{index}: is damaged", wanted='"weight_map": {tensor: file}')
    names: dict[str, list[str]] = {}
    for tensor, name in table.items():
        names.setdefault(name, []).append(tensor)
    outside = sorted(name for name in names if Path(name).name != name or "\\" in name or name in ("", ".", ".."))
    if outside:
        raise CheckpointError(
            f"{index}: names files outside of its folder", got=", ".join(outside), wanted="plain file names"
        )
    absent = sorted(name for name in names if not (index.parent / name).is_file())
    if absent:
        raise CheckpointError(
            f"{index}: parts of the weights are missing", got=", ".join(absent), do="fetch them again"
        )
    return {index.parent / name: tensors for name, tensors in names.items()}


class _Safetensors(ForeignTensors):
    """Safetensors files, mapped into memory.

    Args:
        parts: each file, and which of its tensors are meant (None: all).
    """

    def __init__(self, parts: Mapping[Path, Collection[str] | None]) -> None:
        self._open: dict[Path, Any] = {}
        self._file_of: dict[str, Path] = {}
        for file, meant in parts.items():
            try:
                self._open[file] = safe_open(file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{file}: is damaged or no safetensors file", got=str(error)) from None
            there = set(self._open[file].keys())
            _all_there(file, there, meant)
            self._file_of.update(dict.fromkeys(there if meant is None else meant, file))

    def describe(self, name: str) -> tuple[tuple[int, ...], torch.dtype | None]:
        part = self._open[self._file_of[name]].get_slice(name)
        return tuple(part.get_shape()), DTYPES.get(part.get_dtype())

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self._open)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._open[self._file_of[name]].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


class _Pickles(ForeignTensors):
    """Files of `torch.save`, read as plain tensors and mapped into memory where their format allows it.

    Args:
        parts: each file, and which of its tensors are meant (None: all).
    """

    def __init__(self, parts: Mapping[Path, Collection[str] | None]) -> None:
        self._files = tuple(parts)
        self._tensors: dict[str, Tensor] = {}
        for file, meant in parts.items():
            tensors = _unpickle(file)
            _all_there(file, tensors.keys(), meant)
            self._tensors.update(tensors if meant is None else {name: tensors[name] for name in meant})

    def describe(self, name: str) -> tuple[tuple[int, ...], torch.dtype | None]:
        tensor = self._tensors[name]
        return tuple(tensor.shape), tensor.dtype if tensor.dtype in DTYPES.values() else None

    @property
    def files(self) -> tuple[Path, ...]:
        return self._files

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _unpickle(file: Path) -> dict[str, Tensor]:
    import zipfile

    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # what is refused and what is damaged come in several classes
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))  # without the advice to switch the check off
        if refused is None:
            raise CheckpointError(f"{file}: is damaged or no torch file", got=_first_line(error)) from None
        raise CheckpointError(
            f"{file}: holds more than tensors, and is not read",
            got=f"it asks for {refused[1]}",
            do="ask its makers for model.safetensors",
        ) from None
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{file}: is no table of tensors", got=type(found).__name__)
    others = sorted(str(name) for name, value in found.items() if not isinstance(value, Tensor))
    if others:
        raise CheckpointError(f"{file}: holds more than tensors", got=", ".join(others[:20]))
    return dict(found)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _all_there(file: Path, there: Collection[str], meant: Collection[str] | None) -> None:
    absent = sorted(set(meant or ()) - set(there))
    if absent:
        raise CheckpointError(
            f"{file}: does not hold the tensors that its index names", got="missing: " + listed(absent)
        )


def listed(names: Collection[str]) -> str:
    """All of the names, one a line when there are several."""
    return "".join(f"\n    {name}" for name in names) if len(names) > 1 else "".join(names)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file", wanted=WANTED) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: is damaged", got=str(error)) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: is damaged", got=type(value).__name__, wanted="a JSON object")
    return value


def _card_facts(card: Path) -> dict[str, Any]:
    """`license`, `languages` and `title` from the head of a model card; empty where there is none or it is not YAML."""
    import yaml

    try:
        head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), flags=re.DOTALL)
        values = yaml.safe_load(head.group(1)) if head is not None else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(values, dict):
        return {}
    language = values.get("language")
    facts = {
        "license": values.get("license"),
        "languages": [language] if isinstance(language, str) else language,
        "title": values.get("model_name"),
    }
    return {name: value for name, value in facts.items() if value}


def _download(name: str, revision: str | None, allow_pickle: bool) -> Path:
    """Fetch a hub repository into the cache of `huggingface_hub`.

    Raises:
        CheckpointError: when the library is not installed, the hub cannot be reached, or there is no such repository.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise CheckpointError(
            f"{name}: no such folder, and the hub cannot be asked",
            wanted="the package huggingface_hub",
            do="pip install 'stepwell[hub]', or name a folder",
        ) from None
    patterns = [*HUB_FILES, "*.bin"] if allow_pickle else [*HUB_FILES]
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's and the network's errors have no common class
        raise CheckpointError(
            f"{name}: is no folder here, and could not be fetched from the hub",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": "),
            do="check the name and the network, or fetch it elsewhere and name its folder",
        ) from None
