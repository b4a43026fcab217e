"""Beam search against that of transformers: the same targets in the same order, with the same scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_transformers import VOCAB, save_tiny, tiny

from stepwell.checkpoints import import_weights, read_foreign
from stepwell.checkpoints.parity import quiet
from stepwell.inference import Beams, search_targets
from stepwell.models import LanguageModel, build_model
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

STOPS = list(range(40, 160))
"""Many, so that a random model comes upon one."""


@pytest.fixture(
    scope="module",
    params=["t5", pytest.param("bart", marks=pytest.mark.slow), pytest.param("llama", marks=pytest.mark.slow)],
)
def both(request, tmp_path_factory) -> tuple[LanguageModel, Any]:
    theirs = tiny(request.param, seed=2)
    with torch.no_grad():
        for part, parameter in theirs.named_parameters():
            if parameter.ndim == 2 and "positions" not in part and "relative" not in part:
                parameter.mul_(0.5 if "shared" in part or "embed" in part else 3)
    tokenizer = train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))
    source: Path = save_tiny(theirs, tmp_path_factory.mktemp("source"), tokenizer)
    imported = import_weights(read_foreign(str(source)))
    ours = build_model(imported.skeleton.config)
    ours.load_tensors(imported.tensors)
    return ours.eval(), theirs


@pytest.mark.parametrize(
    ("beam_size", "penalty", "early"),
    [(2, 1.0, False), (4, 0.6, False), (5, 2.0, False), (3, 1.0, True), (3, 0.3, "never"), (4, 0.0, "never")],
)
def test_the_same_targets_with_the_same_scores(both, beam_size, penalty, early):
    ours, theirs = both
    prompts = [np.random.default_rng(seed).integers(160, VOCAB - 40, 4 + seed) for seed in range(3)]
    found = search_targets(ours, prompts, Beams(beam_size, penalty, 60, early), stop_ids=frozenset(STOPS))
    never = list(getattr(ours.config, "never_ids", ()))
    ended = 0
    for prompt, several in zip(prompts, found, strict=True):
        with quiet():
            answer = theirs.generate(
                torch.from_numpy(prompt)[None],
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                num_beams=beam_size,
                num_return_sequences=beam_size,
                length_penalty=penalty,
                early_stopping=early,
                do_sample=False,
                max_new_tokens=60,
                eos_token_id=STOPS,
                pad_token_id=0,
                forced_eos_token_id=None,
                bad_words_ids=[[one] for one in never] or None,
                return_dict_in_generate=True,
                output_scores=True,
            )
        begins = len(ours.config.start_ids) if ours.reads_source else len(prompt)
        rows = [cut(row[begins:]) for row in answer.sequences.tolist()]
        if any(row[-1] not in STOPS for row in rows):  # transformers counts what was cut off among what has ended
            continue
        ended += 1
        assert [list(one.token_ids) for one in several] == rows[: len(several)]
        theirs_scores = answer.sequences_scores.tolist()[: len(several)]
        assert [one.score for one in several] == pytest.approx(theirs_scores, abs=2e-4)
    assert ended


def cut(ids: list[int]) -> list[int]:
    """A row up to its first end."""
    ends = [at for at, one in enumerate(ids) if one in STOPS]
    return ids[: ends[0] + 1] if ends else ids
