"""Who says which of two answers is better: a function of the user's, or another model.

A model as a judge finds the answer better that it would rather have given: the one whose tokens are likelier to it on
average. Both judges are asked in both orders (`judged`). This file leaves out the answers, and what is made of the
verdicts (`chat.py`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.checkpoints import load_checkpoint
from stepwell.errors import UsageError
from stepwell.evaluation.scores.chat import Judge
from stepwell.inference import score_tokens
from stepwell.models import LanguageModel
from stepwell.tokenizers import Tokenizer, conversational, encode_conversation


class ModelJudge:
    """A model that judges by how likely it finds an answer.

    Args:
        model: a causal language model.
        tokenizer: its own; without a chat template it gets one.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, conversational(tokenizer)

    def score(self, messages: Sequence[Mapping[str, Any]], answer: str) -> float:
        """Mean log-probability (nats) of an answer's tokens, the one that ends it included; -inf for no answer.

        Args:
            messages: the conversation that is answered.
            answer: in words.
        """
        if not answer.strip():
            return -np.inf
        told = encode_conversation(self.tokenizer, [*messages, {"role": "assistant", "content": answer}])
        begin, end = told.answers[-1]
        return float(score_tokens(self.model, told.token_ids)[begin - 1 : end - 1].mean())

    def __call__(self, prompt: Any, first: str, second: str) -> str:
        """See `Judge`; the prompt is a conversation."""
        one, other = self.score(prompt, first), self.score(prompt, second)
        return "tie" if one == other else "a" if one > other else "b"


def open_judge(named: str | Judge) -> Judge:
    """A judge by its name.

    Args:
        named: a function of (messages, answer a, answer b) that says "a", "b" or "tie", as `package.module:name`,
            looked for in the working directory too; or a run or checkpoint directory, whose model judges.

    Raises:
        UsageError: when there is none of that name.
        CheckpointError: when the model is damaged.
    """
    if not isinstance(named, str):
        return named
    if Path(named).is_dir():
        loaded = load_checkpoint(Path(named))
        return ModelJudge(loaded.model, loaded.tokenizer)
    module, colon, name = named.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"judge: no function {named}", got=str(error), wanted="package.module:name") from None
    if not callable(found):
        raise UsageError(
            f"judge: {named} is neither a function nor a run", wanted="package.module:name, or a directory of a model"
        )
    judge: Judge = found
    return judge
