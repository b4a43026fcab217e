"""How likely a reference finds answers: the model as it was before it learned to prefer.

Of a model with an adapter that is the frozen weights alone, so nothing is held twice; otherwise a checkpoint is opened.
A reference never changes, so each answer is asked once, by itself, and its number is kept: a later epoch costs nothing,
and a run that goes on finds the same bits. This file leaves out the losses (`preference.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepwell.checkpoints import MANIFEST, WEIGHTS, load_checkpoint, read_tokenizer, resolve_checkpoint
from stepwell.errors import ConfigError
from stepwell.models import LanguageModel, without_adapter
from stepwell.objectives.logprobs import Answered, answer_logprobs
from stepwell.tokenizers import Tokenizer, conversational

WHERE = "training.objective.reference"


class Reference:
    """A model as it was.

    Args:
        path: a run or checkpoint; None for the frozen weights beside an adapter.
        tokenizer: of the model that learns.

    Raises:
        CheckpointError: when there is no such checkpoint.
        ConfigError: when it has another tokenizer.
    """

    def __init__(self, path: str | None, tokenizer: Tokenizer) -> None:
        self.folder = None if path is None else resolve_checkpoint(Path(path))
        if self.folder is not None:
            own = read_tokenizer(self.folder)
            if tokenizer.fingerprint not in (own.fingerprint, conversational(own).fingerprint):
                raise ConfigError(
                    f"{WHERE}: has another tokenizer than the model that learns",
                    got=f"{self.folder}: {own.vocab_size:,} tokens, fingerprint {own.fingerprint[:12]}",
                    wanted=f"{tokenizer.vocab_size:,} tokens, fingerprint {tokenizer.fingerprint[:12]}",
                    do="take the model that training begins from (init_from)",
                )
        self._model: LanguageModel | None = None
        self._known: dict[bytes, float] = {}

    def identity(self) -> dict[str, Any]:
        """The weights of a checkpoint, by their checksum; frozen weights are told elsewhere."""
        if self.folder is None:
            return {}
        manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        return {"reference_sha256": manifest["sha256"].get(WEIGHTS, manifest["sha256"])}

    def logprobs(self, model: LanguageModel, answered: Sequence[Answered]) -> list[Tensor]:
        """For each answer the log-probabilities of its tokens, (tokens,) nats, on the device of the model.

        Args:
            model: that learns.
            answered: prompts with answers.

        Raises:
            ConfigError: when there is no reference.
        """
        if self.folder is not None:
            return answer_logprobs(self._opened(model), answered)
        if model.adapter is None:
            raise ConfigError(
                f"{WHERE}: there is none",
                got="a model of which all weights learn",
                wanted="the checkpoint that training begins from",
                do="set it, or training.adapter, or take a loss without a reference (orpo, simpo)",
            )
        with without_adapter(model):
            return answer_logprobs(model, answered)

    def sums(self, model: LanguageModel, answered: Sequence[Answered]) -> Tensor:
        """(N,) float32: the log-probability of each whole answer, which is computed once and kept."""
        names = [_name(one) for one in answered]
        new = {name: one for name, one in zip(names, answered, strict=True) if name not in self._known}
        for name, told in zip(new, self.logprobs(model, list(new.values())), strict=True) if new else ():
            self._known[name] = float(told.sum())
        return torch.tensor([self._known[name] for name in names], dtype=torch.float32, device=model.device)

    def _opened(self, model: LanguageModel) -> LanguageModel:
        if self._model is None:
            assert self.folder is not None
            self._model = load_checkpoint(self.folder).model.to(model.device).requires_grad_(False).eval()
        return self._model


def _name(one: Answered) -> bytes:
    digest = hashlib.blake2b(one.token_ids.tobytes(), digest_size=16)
    digest.update(one.begin.to_bytes(8, "little"))
    return digest.digest()
