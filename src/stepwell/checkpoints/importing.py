"""A foreign model as a checkpoint of ours: every weight found, fitted and named, or nothing at all.

The rules of its family say which tensor is which, so names, shapes and precisions are checked before a weight is read,
and all that is wrong is told at once. Weights keep the precision of their source. This file leaves out where sources
come from (`foreign.py`), what the families are, and whether both compute the same (`parity.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepwell.checkpoints.foreign import ForeignModel, ForeignTensors, listed, read_foreign
from stepwell.checkpoints.huggingface.families import FAMILIES
from stepwell.checkpoints.huggingface.family import ForeignFamily, Rule
from stepwell.checkpoints.parity import build_reference, load_reference, measure_parity, why_not_measured
from stepwell.checkpoints.store import save_checkpoint
from stepwell.config import counted
from stepwell.errors import CheckpointError, ConfigError, UsageError
from stepwell.models import LanguageModel, ModelConfig, build_model
from stepwell.progress import Stage, Watcher, unwatched
from stepwell.runs import file_checksum
from stepwell.tokenizers import Tokenizer

DECODING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""What a generation config says that sampling here has too."""

USUAL_FOR_ANSWERS = {"temperature": 0.7, "top_p": 0.9}
"""How a model draws that talks, and whose makers do not say how: at a temperature of 1 small ones lose the thread."""


@dataclass(frozen=True)
class Imported:
    """A foreign model, read and fitted.

    Attributes:
        skeleton: our model without numbers (on the `meta` device): its config and the shapes of its parameters.
        tensors: the parameters by our names, in the precision of their source.
        tokenizer: the one that came with it.
        provenance: where it came from, and what is needed to give it back.
        notes: what a person should know, a sentence each.
    """

    skeleton: LanguageModel
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    provenance: dict[str, Any]
    notes: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write a checkpoint folder (see `save_checkpoint`).

        Raises:
            DiskError: when it cannot be written; what was there before is untouched.
        """
        save_checkpoint(path, self.skeleton, self.tokenizer, provenance=self.provenance, tensors=self.tensors)


def import_model(
    source: str, out: Path, *, allow_pickle: bool = False, parity: bool = True, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Read a foreign model, compare it with transformers where that is installed, and write it as a checkpoint.

    Args:
        source: see `read_foreign`.
        out: the checkpoint folder to make.
        allow_pickle: read a pickle where there is no safetensors file.
        parity: compare with transformers.
        watch: is told what is being done.

    Returns:
        `out`, `source`, `format`, `model_type`, `kind`, `dtype`, `parameters`, `max_seq_len`, `tokens`, `chat`,
        `notes`, and `parity`: what was measured, or `not_measured` and why.

    Raises:
        UsageError: when `out` holds something already.
        CheckpointError: when the model cannot be read or represented, or transformers computes something else.
        TokenizerError: when its tokenizer cannot be read.
        DiskError: when it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not empty", do="choose another folder, or remove this one")
    watch(Stage("read", source))
    foreign = read_foreign(source, allow_pickle=allow_pickle)
    imported = import_weights(foreign)
    config, about = imported.skeleton.config, imported.provenance["source"]
    if parity:
        watch(Stage("compare", "with transformers"))
        about["parity"] = _measure(foreign, imported)
    else:
        about["parity"] = {"not_measured": "as asked for"}
    watch(Stage("write", str(out)))
    imported.save(out)
    return {
        "out": str(out),
        "source": source,
        "format": foreign.kind,
        "model_type": about["model_type"],
        "kind": config.kind,
        "dtype": about["dtype"],
        "parameters": config.num_parameters,
        "max_seq_len": config.max_seq_len,
        "tokens": imported.tokenizer.vocab_size,
        "chat": imported.tokenizer.chat_template is not None,
        "notes": list(imported.notes),
        "parity": about["parity"],
    }


def _measure(foreign: ForeignModel, imported: Imported) -> dict[str, Any]:
    """How far transformers' computation is from ours, or why that was not measured.

    Raises:
        CheckpointError: when it is too far, or transformers cannot open the source.
    """
    config = imported.skeleton.config
    why = why_not_measured(config)
    if why is not None:
        return {"not_measured": why}
    model = build_model(config).eval()
    model.load_tensors(imported.tensors)
    family = FAMILIES[foreign.config["model_type"]]
    architectures = foreign.config.get("architectures") or family.architectures
    if foreign.kind != "safetensors":
        reference = build_reference(foreign, architectures[0])
    else:
        reference = load_reference(foreign.tensors.files[0].parent, config, architectures)
    parity = measure_parity(model, imported.tokenizer, reference)
    parity.check(foreign.source)
    return parity.as_dict()


def import_weights(foreign: ForeignModel) -> Imported:
    """Read a foreign model.

    Raises:
        CheckpointError: when its family or a field of its config cannot be represented, or the weights do not fit the
            config: every tensor that is missing, extra, of another shape or precision is listed.
        TokenizerError: when its tokenizer cannot be read, or has more tokens than the model has rows.
    """
    family, beside = _find_family(foreign)
    tokenizer = foreign.read_tokenizer()
    config = family.read({**foreign.config, **beside}, tokenizer.mask_id)
    with torch.device("meta"):
        skeleton = build_model(config)
    rules = family.rules(config)
    names, ignored = _fit(foreign, family, rules, skeleton)
    notes = _check_vocabulary(foreign.source, tokenizer, config)
    if ignored:
        notes.append(f"{counted(len(ignored), 'tensor')} left out that hold no weights: {', '.join(ignored)}")
    tensors = {rule.ours: rule.layout.join([foreign.tensors[names[one]] for one in rule.theirs]) for rule in rules}
    talks = tokenizer.chat_template is not None
    provenance = _provenance(foreign, tensors, ignored, beside, talks=talks)
    return Imported(skeleton, tensors, tokenizer, provenance, tuple(notes))


def _find_family(foreign: ForeignModel) -> tuple[ForeignFamily, dict[str, Any]]:
    """The family of a model, and what is to be known of it beside its config.

    Raises:
        CheckpointError: when the family or its config cannot be represented.
    """
    kind = foreign.config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise CheckpointError(
            f"{foreign.source}: is of a family that is not known here",
            got=f"model_type {kind}",
            wanted=", ".join(sorted(FAMILIES)),
        )
    classes = foreign.config.get("architectures") or [family.architectures[0]]
    if not set(classes) & set(family.architectures):
        raise CheckpointError(
            f"{foreign.source}: is not a language model that is known here",
            got=", ".join(map(str, classes)),
            wanted=", ".join(family.architectures),
        )
    if foreign.config.get("quantization_config"):
        method = foreign.config["quantization_config"].get("quant_method", "an unknown method")
        raise CheckpointError(
            f"{foreign.source}: its weights are quantised",
            got=str(method),
            wanted="plain weights (float32, float16 or bfloat16), or a GGUF file",
        )
    beside = family.beside(foreign.tensors, foreign.generation)
    try:
        family.read_config({**foreign.config, **beside})
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(
            f"{foreign.source}: {error.what}", got=error.got, wanted=error.wanted, do=error.do
        ) from None
    return family, beside


def _fit(
    foreign: ForeignModel, family: ForeignFamily, rules: list[Rule], skeleton: LanguageModel
) -> tuple[dict[str, str], list[str]]:
    """Find each tensor of the rules in the source.

    Returns:
        The name in the rules -> the name in the source, and the tensors that are left out.

    Raises:
        CheckpointError: listing all that does not fit.
    """
    tensors, expected = foreign.tensors, _expected_shapes(rules, skeleton)
    there = _as_expected(tensors, family, expected)
    names, copies = _with_copies(there, family, expected)
    missing = sorted(expected.keys() - names.keys())
    used = {*names.values(), *(copy for copy, _ in copies)}
    others = sorted(name for name, place in there.items() if place not in used)
    ignored = [name for name in others if any(re.fullmatch(pattern, name) for pattern in family.ignored)]
    problems = {
        "missing": missing,
        "not known": [name for name in others if name not in ignored],
        "of another shape": _misshapen(tensors, names, expected),
        "not in float32, float16 or bfloat16": [
            name for name in expected if name in names and tensors.describe(names[name])[1] is None
        ],
        "a second copy that differs from the first": _differing(tensors, copies),
    }
    if any(problems.values()):
        told = [
            f"\n  {counted(len(found), 'tensor')} {what}: {listed(found)}" for what, found in problems.items() if found
        ]
        raise CheckpointError(f"{foreign.source}: the weights do not fit its config", got="".join(told))
    return names, sorted([*ignored, *(copy for copy, _ in copies)])


def _as_expected(tensors: ForeignTensors, family: ForeignFamily, expected: Mapping[str, Any]) -> dict[str, str]:
    """The tensors of a source: name as the rules of the family have it -> name in the source.

    Older files may spell a name in another way, and a model that was saved without its head may leave out the prefix
    that those with a head have, or have it all the same.
    """
    prefix, names = family.prefix, {}
    for name in tensors:
        today = name
        for older, newer in family.older.items():
            today = re.sub(older, newer, today)
        names[today] = name
    if not prefix:
        return names
    if not any(name.startswith(prefix) for name in expected):
        return {name.removeprefix(prefix): place for name, place in names.items()}
    if not any(name.startswith(prefix) for name in names):
        return {prefix + name: place for name, place in names.items()}
    return names


def _expected_shapes(rules: list[Rule], skeleton: LanguageModel) -> dict[str, tuple[int, ...]]:
    parameters = skeleton.tensors()
    shapes: dict[str, tuple[int, ...]] = {}
    for rule in rules:
        parts = rule.layout.split(parameters.pop(rule.ours))
        shapes |= {name: tuple(part.shape) for name, part in zip(rule.theirs, parts, strict=True)}
    assert not parameters, f"no rule names {', '.join(parameters)}"
    return shapes


def _with_copies(
    there: Mapping[str, str], family: ForeignFamily, expected: Mapping[str, Any]
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Where each expected tensor stands, and the second copies that a file holds beside: (copy, original).

    A tensor that goes by two names may be stored under either of them.
    """
    names = {name: there[name] for name in expected if name in there}
    copies: list[tuple[str, str]] = []
    for copy, original in family.copies.items():
        if copy in expected or copy not in there or original not in expected:
            continue
        if original in names:
            copies.append((there[copy], names[original]))
        else:
            names[original] = there[copy]
    return names, copies


def _misshapen(tensors: ForeignTensors, names: Mapping[str, str], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    found = {name: tensors.describe(there)[0] for name, there in names.items()}
    return [
        f"{name} {found[name]}, wanted {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]


def _differing(tensors: ForeignTensors, copies: list[tuple[str, str]]) -> list[str]:
    return [
        copy
        for copy, original in copies
        if tensors.describe(copy) != tensors.describe(original) or not torch.equal(tensors[copy], tensors[original])
    ]


def _check_vocabulary(source: str, tokenizer: Tokenizer, config: ModelConfig) -> list[str]:
    """Whether model and tokenizer fit; more rows than tokens are usual.

    Raises:
        CheckpointError: when the model has fewer rows than the tokenizer has tokens.
    """
    rows, tokens = config.vocab_size, tokenizer.vocab_size
    if rows < tokens:
        raise CheckpointError(
            f"{source}: the vocabulary does not fit the weights",
            got=f"a tokenizer of {tokens:,} tokens, and embeddings of {rows:,} rows",
            wanted="at least as many rows as tokens",
            do="take the tokenizer that the model was trained with",
        )
    return [f"the embeddings have {rows - tokens:,} more rows than there are tokens"] if rows > tokens else []


def _provenance(
    foreign: ForeignModel,
    tensors: Mapping[str, Tensor],
    ignored: list[str],
    beside: dict[str, Any],
    *,
    talks: bool,
) -> dict[str, Any]:
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    wish = foreign.generation if foreign.generation.get("do_sample") else {}
    decoding = {name: wish[name] for name in DECODING if wish.get(name) is not None}
    return {
        "source": {
            "name": foreign.source,
            "kind": foreign.kind,
            "model_type": foreign.config["model_type"],
            "dtype": sizes.most_common(1)[0][0],
            "sha256": {file.name: file_checksum(file) for file in foreign.tensors.files},
            "left_out": ignored,
            "config": foreign.config,
            "generation_config": foreign.generation,
            "beside": beside,
            **foreign.facts,
        },
        "decoding": decoding or (USUAL_FOR_ANSWERS if talks else {}),
    }
