"""Classifier-free guidance against that of transformers: the same tokens from the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_transformers import save_tiny, tiny

from stepwell.checkpoints import import_weights, read_foreign
from stepwell.checkpoints.parity import quiet
from stepwell.inference import SamplingParams, generate
from stepwell.models import build_model
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer


@pytest.mark.parametrize("scale", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("negative", [None, "down"])
def test_the_same_tokens(tmp_path, scale, negative):
    theirs = tiny("llama", seed=2)
    tokenizer = train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))
    imported = import_weights(read_foreign(str(save_tiny(theirs, tmp_path, tokenizer))))
    ours = build_model(imported.skeleton.config)
    ours.load_tensors(imported.tensors)
    prompt = np.array([tokenizer.bos_id, *tokenizer.encode("a well is").tolist()])
    params = SamplingParams(
        temperature=0, max_tokens=16, guidance_scale=scale, negative_prompt=negative, ignore_eos=True
    )
    (found,) = generate(ours.eval(), tokenizer, prompt, params)
    others = None if negative is None else [[tokenizer.bos_id, *tokenizer.encode(negative).tolist()]]
    with quiet():
        answer = theirs.generate(
            torch.from_numpy(prompt)[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            guidance_scale=scale,
            negative_prompt_ids=None if others is None else torch.tensor(others),
            do_sample=False,
            max_new_tokens=16,
            eos_token_id=None,
            pad_token_id=0,
            suppress_tokens=list(range(tokenizer.vocab_size, theirs.config.vocab_size)),
        )
    assert list(found.token_ids) == answer[0, len(prompt) :].tolist()
    (usual,) = generate(ours, tokenizer, prompt, SamplingParams(temperature=0, max_tokens=16, ignore_eos=True))
    assert usual.token_ids != found.token_ids
