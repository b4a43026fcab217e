"""Every config foretells what its model costs: parameters, their memory, and the memory of a decoding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from stepwell.models import MODELS, LanguageModel, build_model


def tensors_in(value: Any, seen: set[int] | None = None) -> Iterable[torch.Tensor]:
    """Every tensor that an object holds, each storage once; models are not looked into."""
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor):
        if value.untyped_storage().data_ptr() not in seen:
            seen.add(value.untyped_storage().data_ptr())
            yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors_in(one, seen)
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors_in(one, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, torch.nn.Module):
        yield from tensors_in(vars(value), seen)


def test_parameters_are_foretold(tiny_model: LanguageModel) -> None:
    parameters = list(tiny_model.parameters())
    assert tiny_model.config.num_parameters == sum(p.numel() for p in parameters)
    assert tiny_model.config.parameter_bytes == sum(p.numel() * p.element_size() for p in parameters)


def test_matrices_are_foretold(tiny_model: LanguageModel) -> None:
    tables = {id(p) for p in tiny_model.lookup_parameters()}
    matrices = [p for p in tiny_model.parameters() if p.ndim >= 2 and id(p) not in tables]
    assert tiny_model.config.num_matrix_parameters == sum(p.numel() for p in matrices)


@torch.inference_mode()
def test_memory_of_a_decoding_is_foretold(tiny_model: LanguageModel) -> None:
    """After as many tokens as it has room for, a state holds what was foretold, but for less than a kilobyte a row."""
    config, rows = tiny_model.config, 3
    state = tiny_model.start(rows, config.max_seq_len)
    for _ in range(config.max_seq_len):
        tiny_model.extend(state, torch.ones(rows, 1, dtype=torch.int64))
    held = sum(t.untyped_storage().nbytes() for t in tensors_in(state))
    assert held == pytest.approx(config.state_bytes(rows), abs=1000 * rows)


@pytest.mark.parametrize("kind", MODELS)
def test_the_dial_orders_the_family(kind: str) -> None:
    """Every depth of the dial builds what it foretells, and a deeper one is no smaller."""
    sized = MODELS[kind].sized
    configs = [sized(depth, vocab_size=300, max_seq_len=32) for depth in (1, 2, 3, 5)]
    counts = [config.num_parameters for config in configs]
    assert counts == sorted(counts)
    assert all(config.kind == kind for config in configs)
    built = build_model(configs[1])
    assert sum(p.numel() for p in built.parameters()) == counts[1]
    assert configs[1].train_flops_per_token >= 0
