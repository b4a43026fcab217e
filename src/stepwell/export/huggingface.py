"""A checkpoint as a folder that `transformers` opens: weights, config, tokenizer, generation config and a model card.

The class is the one the weights came from, or the first whose computation is ours; what no class computes is refused
by name. The folder appears whole, after transformers has opened it and computed the same, or not at all. This file
leaves out other formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from stepwell.checkpoints import (
    AUTO_CLASSES,
    FAMILIES,
    TARGETS,
    WEIGHTS,
    ForeignFamily,
    Loaded,
    Parity,
    Rule,
    auto_class,
    load_checkpoint,
    load_reference,
    measure_parity,
    read_weights,
    why_not_measured,
)
from stepwell.errors import CheckpointError, UsageError
from stepwell.export.card import model_card
from stepwell.export.tokenizer_files import write_tokenizer
from stepwell.models import DecoderConfig, EncoderConfig, LanguageModel, ModelConfig, build_model
from stepwell.nn import RMSNorm
from stepwell.progress import Stage, Watcher, unwatched
from stepwell.runs import building, disk_error, to_json
from stepwell.tokenizers import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions that weights can be written in."""

SHARD_BYTES = 5_000_000_000
"""Weights above this are written in parts, as transformers does."""


@dataclass(frozen=True)
class _Spelled:
    """A model as a class of transformers has it.

    Attributes:
        family: of the class.
        config: of our model, as the rules need it.
        theirs: config.json.
        tensors: our parameters that are written.
        notes: what was done on the way, a sentence each.
    """

    family: ForeignFamily
    config: ModelConfig
    theirs: dict[str, Any]
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def export_hf(
    checkpoint: Path,
    out: Path,
    *,
    dtype: str | None = None,
    parity: bool = True,
    shard_bytes: int = SHARD_BYTES,
    watch: Watcher = unwatched,
) -> dict[str, Any]:
    """Write a checkpoint in the layout of transformers.

    Args:
        checkpoint: a run directory or a checkpoint directory.
        out: the folder to make.
        dtype: precision of the weights; None keeps what the checkpoint has.
        parity: open the folder with transformers and compare, where it is installed.
        shard_bytes: weights above this are written in parts.
        watch: is told what is being done.

    Returns:
        `out`, `model_type`, `architecture`, `dtype`, `parameters`, `bytes`, `notes`, and `parity`: what was measured,
        or `not_measured` and why.

    Raises:
        UsageError: when `out` holds something already, or there is no such precision.
        CheckpointError: when there is no whole model, no class of transformers can represent it, or what transformers
            computes differs.
        DiskError: when it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not empty", do="choose another folder, or remove this one")
    if dtype is not None and dtype not in DTYPES:
        raise UsageError("--dtype: unknown precision", got=dtype, wanted=", ".join(DTYPES))
    watch(Stage("read", str(checkpoint)))
    loaded = load_checkpoint(checkpoint)
    if loaded.model.adapter is not None:
        raise CheckpointError(
            f"{loaded.path}: cannot be written for transformers",
            got=f"an adapter of kind {loaded.model.adapter.kind}, which cannot be merged into the weights",
            wanted="a plain model, or one with a LoRA",
            do="export the model that training began from, or train with training.adapter.kind=lora",
        )
    model, spelled = loaded.model, spell(loaded)
    chosen = dtype or _precision(spelled.tensors)
    theirs = {**spelled.theirs, "dtype": chosen}
    opened_by = auto_class(model.config, theirs["architectures"])
    if "torch_dtype" in theirs:
        theirs["torch_dtype"] = chosen
    watch(Stage("write", str(out)))
    with building(out) as folder:
        size = _write_weights(folder, spelled, dtype, shard_bytes)
        told = write_tokenizer(
            folder,
            loaded.tokenizer,
            max_seq_len=model.config.max_seq_len,
            sources=model.reads_source,
            segments=isinstance(model.config, EncoderConfig) and model.config.num_segments > 1,
        )
        notes = [*spelled.notes, *told]
        write_json(folder / "config.json", _with_special_tokens(theirs, loaded.tokenizer))
        if model.is_causal:
            write_json(folder / "generation_config.json", _generation(loaded, theirs))
        watch(Stage("compare", "with transformers"))
        measured, why = _measure(folder, loaded, spelled, dtype) if parity else (None, "as asked for")
        card = model_card(checkpoint, loaded, name=out.name, auto_class=opened_by, notes=notes, parity=measured)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return {
        "out": str(out),
        "model_type": theirs["model_type"],
        "architecture": theirs["architectures"][0],
        "auto_class": opened_by,
        "dtype": chosen,
        "parameters": model.config.num_parameters,
        "bytes": size,
        "notes": notes,
        "parity": {"not_measured": why} if measured is None else measured.as_dict(),
    }


def spell(loaded: Loaded) -> _Spelled:
    """Find the class of transformers that computes what a model computes.

    Raises:
        CheckpointError: when there is none; it says what stands against the nearest ones.
    """
    config, tensors = loaded.model.config, read_weights(loaded.path)
    if config.kind not in AUTO_CLASSES:
        raise CheckpointError(
            f"{loaded.path}: cannot be written for transformers",
            got=f"model.kind {config.kind}",
            wanted=f"a kind that transformers has a class for: {', '.join(AUTO_CLASSES)}",
            do="keep it as a checkpoint of stepwell, which every command here reads",
        )
    came_with = loaded.provenance.get("source", {})
    source = came_with.get("config", {})
    origin = FAMILIES.get(source.get("model_type", ""))
    read = {**source, **came_with.get("beside", {})}
    if origin is not None and origin.read(read, loaded.tokenizer.mask_id) == config:
        return _Spelled(origin, config, _with_architecture(source, origin, config), tensors)
    families = [family for family in FAMILIES.values() if family.kind == config.kind and family is not origin]
    refusals: list[CheckpointError] = []
    for changed, weights, notes in _equivalents(config, tensors):
        refusals.clear()  # those of the last equivalent are the nearest
        for family in [origin, *families] if origin is not None else families:
            try:
                return _Spelled(family, changed, family.write_config(changed), weights, notes)
            except CheckpointError as error:
                refusals.append(error)
    raise _nearest(loaded, refusals)


def _with_architecture(source: Mapping[str, Any], family: ForeignFamily, config: ModelConfig) -> dict[str, Any]:
    """The config that a model came with; files without `architectures` (GGUF) get the class that is theirs."""
    named = source.get("architectures") or family.write_config(config)["architectures"]
    return {**source, "architectures": named}


def _equivalents(
    config: ModelConfig, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[ModelConfig, Mapping[str, Tensor], tuple[str, ...]]]:
    """The model itself, and where it normalises its embeddings the same model without: that norm sees nothing but the
    token, so a table of normalised rows gives the same numbers.
    """
    yield config, tensors, ()
    if not isinstance(config, DecoderConfig) or not config.embedding_norm or config.norm.kind != "rms":
        return
    if config.positions.kind in ("learned", "sinusoidal"):  # the norm sees the position too
        return
    norm = RMSNorm(config.d_model, config.norm.eps, unit_offset=config.norm.unit_offset)
    norm.weight.data = tensors["body.embedding_norm.weight"].float()
    table = tensors["embedding.weight"]
    with torch.no_grad():
        rows = norm(table.float() * (1.0 if config.embedding_scale is None else config.embedding_scale))
    folded = {name: tensor for name, tensor in tensors.items() if name != "body.embedding_norm.weight"}
    folded["embedding.weight"] = rows
    folded.setdefault("head.weight", table)
    changes = {"embedding_norm": False, "embedding_scale": None, "tie_embeddings": False}
    note = "the norm of the embeddings is folded into the embedding table, which computes the same"
    yield config.model_copy(update=changes), folded, (note,)


def _nearest(loaded: Loaded, refusals: list[CheckpointError]) -> CheckpointError:
    """The error when no class fits: the one or two classes that differ in the fewest fields."""
    nearest = sorted(refusals, key=lambda error: (error.got or "").count(";"))[:2]
    told = "".join(f"\n    {error.what.partition(':')[0]}: {error.got}" for error in nearest)
    return CheckpointError(
        f"{loaded.path}: no class of transformers computes what this model does",
        got=f"the nearest differ in{told}" if told else f"model.kind {loaded.model.config.kind}",
        wanted="a model whose every setting some class of transformers has",
        do="set these fields in the recipe (model.FIELD) and train again; stepwell itself reads the model as it is",
    )


def _precision(tensors: Mapping[str, Tensor]) -> str:
    """The precision that most numbers have."""
    sizes: dict[str, int] = {}
    for tensor in tensors.values():
        name = str(tensor.dtype).removeprefix("torch.")
        sizes[name] = sizes.get(name, 0) + tensor.numel()
    return max(sizes, key=lambda name: sizes[name])


def _write_weights(folder: Path, spelled: _Spelled, dtype: str | None, shard_bytes: int) -> int:
    """Write the weights in one file, or in parts with an index; returns their size in bytes."""
    parts: list[list[Rule]] = [[]]
    held = total = 0
    for rule in spelled.family.rules(spelled.config):
        tensor = spelled.tensors[rule.ours]
        size = tensor.numel() * (tensor.element_size() if dtype is None else DTYPES[dtype].itemsize)
        if held and held + size > shard_bytes:
            parts.append([])
            held = 0
        parts[-1].append(rule)
        held, total = held + size, total + size
    places: dict[str, str] = {}
    for number, rules in enumerate(parts, start=1):
        name = WEIGHTS if len(parts) == 1 else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        written = _their_tensors(rules, spelled.tensors, dtype)
        try:
            save_file(written, folder / name, metadata={"format": "pt"})
        except SafetensorError as error:  # it reports a full disk as its own kind
            raise disk_error(folder / name, OSError(28, str(error))) from error
        (folder / name).chmod(folder.stat().st_mode & 0o666)  # it is written for its owner alone
        places |= dict.fromkeys(written, name)
    if len(parts) > 1:
        write_json(folder / f"{WEIGHTS}.index.json", {"metadata": {"total_size": total}, "weight_map": places})
    return total


def _their_tensors(rules: list[Rule], tensors: Mapping[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    """The tensors of some rules as transformers has them."""
    return {
        name: (part if dtype is None else part.to(DTYPES[dtype])).contiguous()
        for rule in rules
        for name, part in zip(rule.theirs, rule.layout.split(tensors[rule.ours]), strict=True)
    }


def _with_special_tokens(theirs: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """A config that says which tokens begin, end and pad, where it did not say so yet."""
    named = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.eos_id if tokenizer.pad_id is None else tokenizer.pad_id,
    }
    return {**{name: token_id for name, token_id in named.items() if name not in theirs}, **theirs}


def _generation(loaded: Loaded, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """How to decode: as the source said, else as the run found best; of a target, what their config says of it."""
    source = loaded.provenance.get("source")
    if source and source["generation_config"]:
        return dict(source["generation_config"])
    tokenizer, found = loaded.tokenizer, loaded.provenance.get("decoding", {})
    temperature = found.get("temperature", 1.0)
    stops = sorted(tokenizer.stop_ids)
    values: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stops if len(stops) > 1 else tokenizer.eos_id,
        "pad_token_id": tokenizer.eos_id if tokenizer.pad_id is None else tokenizer.pad_id,
        **{name: theirs[name] for name in TARGETS if name in theirs},
    }
    if source and "step" not in loaded.provenance:  # nobody here has found out how it decodes best
        return values
    values["do_sample"] = temperature > 0
    if temperature > 0:
        wanted = {"temperature": temperature, **{name: found.get(name) for name in ("top_k", "top_p", "min_p")}}
        values |= {"top_k": 0} | {name: value for name, value in wanted.items() if value is not None}
    if found.get("repetition_penalty", 1.0) != 1.0:
        values["repetition_penalty"] = found["repetition_penalty"]
    return values


def _measure(folder: Path, loaded: Loaded, spelled: _Spelled, dtype: str | None) -> tuple[Parity | None, str | None]:
    """Open the written folder with transformers and compare; or why that was not done.

    Raises:
        CheckpointError: when transformers cannot open it, or computes something else.
    """
    why = why_not_measured(loaded.model.config)
    if why is not None:
        return None, why
    model = loaded.model if dtype is None else _rounded(spelled, dtype)
    reference = load_reference(folder, model.config, spelled.theirs["architectures"], strict=True)
    parity = measure_parity(model, loaded.tokenizer, reference)
    parity.check(str(loaded.path))
    return parity, None


def _rounded(spelled: _Spelled, dtype: str) -> LanguageModel:
    """The model with the weights that were written: in their precision, computing in float32."""
    model = build_model(spelled.config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(spelled.tensors[name].to(DTYPES[dtype]))
    return model


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file as transformers does."""
    path.write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
