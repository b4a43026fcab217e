"""A prefix is seen both ways, and what comes after it is predicted (Dong et al., 2019, "UniLM"; Raffel et al., 2020).

The decoder reads the beginning of a document as an encoder would, and goes on as a decoder does: the prefix LM. Where a
document is cut is a pure function of the batch and a seed, made with NumPy alone. This file leaves out how a prompt is
read as a prefix (`Decoder.begin`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepwell.data import Batch
from stepwell.models import Decoder, LanguageModel
from stepwell.objectives.config import PrefixConfig
from stepwell.objectives.losses import summed_loss
from stepwell.objectives.objective import Objective
from stepwell.tokenizers import Tokenizer

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class PrefixExamples:
    """Packed rows whose documents begin with a prefix.

    Attributes:
        token_ids: (B, T) int64, what the model reads.
        targets: (B, T) int64, the token that follows each input.
        document_ids: (B, T) int32, pieces of a row; padding is one of its own.
        prefix: (B, T) bool, the inputs that all of their document see.
        counted: (B, T) bool, the places whose target is no part of the prefix.
    """

    token_ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    document_ids: NDArray[np.int32]
    prefix: Flags
    counted: Flags

    @property
    def num_targets(self) -> int:
        """How many tokens are predicted."""
        return int(self.counted.sum())


class PrefixObjective(Objective[PrefixExamples]):
    """Go on with a prefix that is seen both ways.

    The prefix of a piece of n inputs has 1 to n of them, each number as likely; its last token predicts what comes
    first after it. A prefix of one token is plain causal prediction.

    Args:
        config: how a prediction is judged.
        tokenizer: of the text.
    """

    def __init__(self, config: PrefixConfig, tokenizer: Tokenizer) -> None:
        self.config = config

    def prepare(self, batch: Batch, seed: int) -> PrefixExamples:
        """Cut the documents of a batch."""
        random = np.random.default_rng(seed)
        documents = batch.document_ids.astype(np.int64)
        num_documents = int(documents.max()) + 1
        draws = random.random((len(documents), num_documents))
        numbers = np.arange(len(documents))[:, None] * num_documents + documents
        lengths = np.bincount(numbers.ravel(), minlength=draws.size).reshape(draws.shape)
        prefix_tokens = np.take_along_axis(1 + np.floor(draws * lengths).astype(np.int64), documents, axis=1)
        places = np.arange(documents.shape[1])
        begins = np.ones(documents.shape, dtype=np.bool_)
        begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
        position = places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        return PrefixExamples(
            batch.token_ids,
            batch.targets,
            batch.document_ids,
            prefix=batch.loss_mask & (position < prefix_tokens),
            counted=batch.loss_mask & (position >= prefix_tokens - 1),
        )

    def loss(self, model: LanguageModel, examples: PrefixExamples, device: torch.device) -> Tensor:
        """Of what comes after the prefixes.

        Raises:
            TypeError: when the model is no decoder.
        """
        if not isinstance(model, Decoder):
            raise TypeError(f"a decoder reads a prefix both ways, a {type(model).__name__} does not")
        token_ids, targets, document_ids, prefix, counted = (
            torch.from_numpy(one).to(device)
            for one in (examples.token_ids, examples.targets, examples.document_ids, examples.prefix, examples.counted)
        )
        hidden = model.hidden(token_ids, document_ids, prefix=prefix)
        return summed_loss(model, hidden, targets, self.config.loss, counted)
