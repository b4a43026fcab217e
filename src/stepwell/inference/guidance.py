"""Classifier-free guidance: what a prompt says counts more than it does to the model alone.

Log-probabilities after the prompt are moved away from those after another one, to so many times their distance (Sanchez
et al., 2023, "Stay on topic with Classifier-Free Guidance"), as transformers does. This file leaves out the draw.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stepwell.inference.params import SamplingParams
from stepwell.inference.rolling import RollingWindow
from stepwell.models import LanguageModel


class GuidedWindow:
    """Two windows over the same text, one after each prompt, with logits that hold both.

    Args:
        model: in evaluation mode.
        prompts: P sequences, from 1 token.
        params: its `guidance_scale`; and how long the sequences may become.
        against: the negative prompt as the model reads it; None for the last token of each prompt, which of a source is
            its end.

    Attributes:
        logits: (P, V) float32, of the token after the prompts.
        max_tokens: how many may be drawn.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        against: Sequence[int] | None,
    ) -> None:
        assert params.guidance_scale is not None
        self._scale = params.guidance_scale
        self._others = [list(prompt[-1:]) if against is None else list(against) for prompt in prompts]
        self._lengths = [0 if model.reads_source else len(prompt) for prompt in prompts]
        self._reads_source = model.reads_source
        self._with, self._without = RollingWindow(model, prompts, params), RollingWindow(model, self._others, params)
        self.logits = self._join(self._with.logits, self._without.logits)
        self.max_tokens = min(self._with.max_tokens, self._without.max_tokens)

    def select(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat sequences."""
        self._with.select(rows)
        self._without.select(rows)
        self._others = [self._others[row] for row in rows]
        self._lengths = [self._lengths[row] for row in rows]

    def extend(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Logits (B, V) after sequences that are one token longer than before."""
        drawn = [sequence[length:] for sequence, length in zip(sequences, self._lengths, strict=True)]
        if not self._reads_source:
            drawn = [[*other, *text] for other, text in zip(self._others, drawn, strict=True)]
        return self._join(self._with.extend(sequences), self._without.extend(drawn))

    def _join(self, with_prompt: Tensor, without: Tensor) -> Tensor:
        """The log-probabilities without the prompt, and so many times what it adds."""
        base = without.log_softmax(-1)
        return base + self._scale * (with_prompt.log_softmax(-1) - base)
