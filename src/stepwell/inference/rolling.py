"""A model's state over the part of growing sequences that it sees.

A full window is rolled by reading its later half anew (`window.py`); a source is seen whole, and what is written of it
ends when the window is full. This file leaves out how tokens are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepwell.inference.params import SamplingParams
from stepwell.inference.window import window_start
from stepwell.models import Decoder, LanguageModel
from stepwell.nn import DecodingState


class RollingWindow:
    """A model's state over the part of the sequences that it sees; a source is seen whole.

    Args:
        model: in evaluation mode.
        prompts: P sequences, from 1 token; of different lengths where a decoder's window takes all of them to the end.
        params: says how long the sequences may become.

    Attributes:
        logits: (P, V) float32, of the token after the prompts, or of the first one that is written of them.
        max_tokens: how many may be drawn.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], params: SamplingParams) -> None:
        self.model = model
        self.max_seq_len = model.config.max_seq_len
        self.capacity = min(self.max_seq_len, max(map(len, prompts)) + params.max_tokens)
        self.device = model.device
        self.logits = self._read(prompts)
        room = self.max_seq_len - self.state.length + 1  # the last token is drawn, and not read
        self.max_tokens = min(params.max_tokens, room) if model.reads_source else params.max_tokens

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat sequences."""
        self.state.select(torch.tensor(rows, dtype=torch.int64, device=self.device))

    @torch.inference_mode()
    def extend(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Logits (B, V) after sequences that are one token longer than before; a full window is rolled."""
        if self._begins(sequences) != self.start:
            return self._read(sequences)
        return self.model.extend(self.state, self._tensor([[sequence[-1]] for sequence in sequences]))

    @torch.inference_mode()
    def _read(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Prefill a new state with all that the model may see."""
        self.start = self._begins(sequences)
        self.state: DecodingState
        longest = max(map(len, sequences))
        padding = [longest - len(sequence) for sequence in sequences]
        if any(padding):
            assert isinstance(self.model, Decoder)
            self.state = self.model.start(len(sequences), self.capacity, self._tensor(padding))
            padded = [[0] * before + list(one) for before, one in zip(padding, sequences, strict=True)]
            return self.model.extend(self.state, self._tensor(padded))
        self.state, logits = self.model.begin(
            self._tensor([sequence[self.start :] for sequence in sequences]), self.capacity
        )
        return logits

    def _begins(self, sequences: Sequence[Sequence[int]]) -> int:
        """The first position that is seen."""
        return 0 if self.model.reads_source else window_start(len(sequences[0]), self.max_seq_len)

    def _tensor(self, token_ids: Sequence[Sequence[int]] | Sequence[int]) -> Tensor:
        return torch.tensor(token_ids, dtype=torch.int64, device=self.device)
