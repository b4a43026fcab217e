"""Every simple model that a decision may listen to by its name, and how one is read back.

This file leaves out the models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from stepwell.baselines.convolution import Convolution
from stepwell.baselines.features import Features
from stepwell.baselines.taggers import PerceptronTagger, Tagger, WordTagger
from stepwell.baselines.text_models import Bag, Linear, LinearOfPieces, Majority, NaiveBayes, TextModel
from stepwell.errors import CheckpointError

TEXT_MODELS: dict[str, type[TextModel]] = {
    one.name: one for one in (Majority, Linear, LinearOfPieces, NaiveBayes, Bag, Convolution)
}
"""Name -> class; a new one is one class and one row."""

TAGGERS: dict[str, type[Tagger]] = {one.name: one for one in (WordTagger, PerceptronTagger)}
"""Likewise."""

SimpleModel = TextModel | Tagger

FOLDER = "baselines"
"""Of a run directory, where its simple models are kept."""


def open_beside(run: Path, members: Sequence[str]) -> dict[str, SimpleModel]:
    """The simple models that a decision listens to.

    Args:
        run: a run directory, or a checkpoint in one.
        members: names; those that are no simple models are passed over.

    Raises:
        CheckpointError: when one is missing or damaged.
    """
    names = [name for name in members if name in TEXT_MODELS or name in TAGGERS]
    folders = [folder / FOLDER for folder in (run, run.parent, run.parent.parent.parent.parent)]
    folder = next((one for one in folders if one.is_dir()), folders[0])
    return {name: load_simple_model(folder / f"{name}.safetensors") for name in names}


def load_simple_model(path: Path) -> SimpleModel:
    """Read what `TextModel.save` or `Tagger.save` wrote.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["stepwell"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if said["name"] in TAGGERS:
            return TAGGERS[said["name"]].of({name: one.numpy() for name, one in tensors.items()})
        model = TEXT_MODELS[said["name"]](said["problem"], said["num_outputs"])
        model.center, model.spread = said.get("center", 0.0), said.get("spread", 1.0)
        if kinds := said.get("ngrams"):
            words = {kind: tensors[f"vocabulary.{kind}"].numpy().tobytes().decode().split("\0") for kind in kinds}
            model.features = Features(words, {kind: tensors[f"idf.{kind}"].numpy() for kind in kinds})
        model.take({name.partition(".")[2]: one for name, one in tensors.items() if name.startswith("model.")})
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: is damaged or missing", got=str(error), do="start the run again") from None
    return model
