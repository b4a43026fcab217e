"""Updates by one or several ranks: `test_ranks.py` runs this file as one process and as two, and compares.

    python spread_ranks.py OUT SCENARIO...

Each scenario leaves OUT/SCENARIO.safetensors (the weights) and OUT/SCENARIO.json (what the updates told), by rank 0.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from stepwell.config import build
from stepwell.data import Packer, TokenSplit
from stepwell.data.tokens import packing
from stepwell.models import MODELS, LanguageModel, build_model
from stepwell.objectives import build_objective
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer
from stepwell.training import TrainingConfig, Updater, World

TOKENIZER = train_tokenizer([], ByteBPEConfig(vocab_size=258, special_tokens=("<|mask|>",)))
T, STEPS = 16, 4
SHAPE: dict[str, Any] = {"vocab_size": 258, "max_seq_len": T, "num_layers": 2, "d_model": 32, "dropout": 0.1}
HEADS = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 16, "d_ff": 48}
MUON = {"optimizer": {"kind": "muon", "learning_rate": 0.02, "adamw_learning_rate": 0.01}}

DEFAULTS: dict[str, Any] = {
    "steps": 10,
    "global_batch_tokens": 7 * T,
    "micro_batch": 2,
    "optimizer": {"kind": "adamw", "learning_rate": 0.01},
    "schedule": {"kind": "wsd", "warmup_steps": 0},
    "precision": "float32",
    "evaluate_every_steps": 1,
}

SCENARIOS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "even": ("decoder", {}, {"micro_batch": 3}),
    "odd": ("decoder", {}, {"global_batch_tokens": 5 * T}),
    "few": ("decoder", {}, {"global_batch_tokens": T}),
    "clipped": ("decoder", {}, {"clip_norm": 0.05}),
    "muon": ("decoder", {}, MUON),
    "adam": ("decoder", {}, {"optimizer": {"kind": "adam", "learning_rate": 0.01}}),
    "lion": ("decoder", {}, {"optimizer": {"kind": "lion", "learning_rate": 0.002}}),
    "schedule free": ("decoder", {}, {"optimizer": {"kind": "schedule_free_adamw", "learning_rate": 0.01}}),
    "experts": ("decoder", {"experts": {"num_experts": 4, "experts_per_token": 2, "d_ff": 16}}, {}),
    "tied": ("decoder", {"tie_embeddings": True}, {}),
    "masked": ("encoder", {}, {"objective": {"kind": "masked"}}),
    "denoising": ("encoder_decoder", {}, {"objective": {"kind": "denoising"}}),
    "recurrent": ("lstm", {"kind": "lstm", "d_embedding": 24}, {}),
    "pooler": ("encoder", {"pooler": True}, {"objective": {"kind": "masked"}}),
    "unused": ("decoder", {"stochastic_depth": 0.8}, {"micro_batch": 1}),
    "prefix": ("decoder", {}, {"objective": {"kind": "prefix"}}),
    "pairs": ("recurrent_encoder_decoder", {"d_embedding": 24}, {"objective": {"kind": "sequence_to_sequence"}}),
    "labels": (
        "encoder",
        {"task_head": {"num_outputs": 3, "ngrams": {"num_buckets": 50, "dropout": 0.2}}},
        {"objective": {"kind": "labels", "label_smoothing": 0.1}},
    ),
    "weighted": ("decoder", {}, {}),
    "paced": ("decoder", {}, {"batch_ramp": {"ramp_steps": 3}, "curriculum": {"start_tokens": 3, "ramp_steps": 3}}),
    "noise, again": ("decoder", {}, {"gradient_noise": {"variance": 1e-6}, "checkpoint_activations": True}),
    "averaged": ("decoder", {}, {"averaging": {"kind": "ema", "decay": 0.5}}),
    "bfloat16": ("decoder", {}, {"precision": "bfloat16"}),
}
"""name -> family, what differs in its model, what differs in its training."""


def tokens(name: str) -> TokenSplit:
    """Documents of which few fit into a row, so rows differ in how many targets they have."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 16, size=90)
    split = TokenSplit(random.integers(3, 90, size=lengths.sum()), np.cumsum([0, *lengths]), lengths)
    if name == "labels":
        beside = {"label": random.integers(0, 3, size=90), "weight": random.random(90).astype(np.float32)}
        return replace(split, of_document=beside, whole=True)
    if name == "weighted":
        return replace(split, aligned={"weight": random.choice([0, 1, 3], size=lengths.sum()).astype(np.float32)})
    return split


def model_of(kind: str, shape: dict[str, Any]) -> LanguageModel:
    config = MODELS[kind].config
    fields = {**SHAPE, **HEADS, "mask_id": TOKENIZER.mask_id, **shape}
    return build_model(config(**{name: value for name, value in fields.items() if name in config.model_fields}), seed=0)


def play(name: str, world: World, parallel: str, out: Path) -> None:
    kind, shape, changes = SCENARIOS[name]
    config = build(TrainingConfig, {**DEFAULTS, **changes, "parallel": parallel}, where=name)
    model = model_of(kind, shape)
    objective = build_objective(config.objective, TOKENIZER)
    updater = Updater(model, Packer(tokens(name), T, seed=0), config, objective, seed=0, world=world)
    told = []
    for step in range(STEPS):
        update = updater.update(step, step * updater.rows_per_step, 1.0)
        updater.average.note(step + 1, STEPS)
        told.append([update.loss, update.grad_norm, update.num_targets, update.num_tokens])
    with updater.evaluated_weights():
        whole = updater.spread.whole()
        weights = {name: parameter.detach().clone() for name, parameter in whole.named_parameters()}
    if world.is_main:
        save_file(weights, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    packing.MOST_PADDING = 0.9  # rows keep what is empty, so they differ in how many targets they have
    here, way, *names = sys.argv[1:]
    joined = World.from_environment()
    with joined.together():
        for one in names:
            play(one, joined, way, Path(here))
