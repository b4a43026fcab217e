"""How rotary positions are stretched beyond the length a model was trained at.

Each pair of channels turns with a frequency of its own; a scaling slows some of them down, so that far positions show
the model angles that it knows. The published ways are small frozen settings with one method each, in float64. This
file leaves out LongRoPE, whose frequencies change with the length of the sequence at hand.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

RotaryScalingKind = Literal["linear", "dynamic", "llama3", "yarn"]


def plain_frequencies(size: int, theta: float) -> Tensor:
    """Angle per position of each pair of channels: theta^(-2 i / size).

    Args:
        size: number of channels, even.
        theta: base of the wavelengths, above 1.

    Returns:
        (size / 2) float64 in radians per position, falling from 1.
    """
    return theta ** (-torch.arange(0, size, 2, dtype=torch.float64, device="cpu") / size)


class RotaryScaling(ABC):
    """A way to stretch rotary positions."""

    @abstractmethod
    def frequencies(self, size: int, theta: float, max_seq_len: int) -> Tensor:
        """Frequencies after the stretching.

        Args:
            size: number of turned channels, even.
            theta: base of the wavelengths, above 1.
            max_seq_len: longest sequence of the model, tokens.

        Returns:
            (size / 2) float64 in radians per position.
        """

    def length_factor(self) -> float:
        """What turned queries and turned keys are multiplied by, each; 1 for most scalings."""
        return 1.0


@dataclass(frozen=True)
class LinearScaling(RotaryScaling):
    """All positions closer together (Chen et al., 2023, "Position Interpolation").

    Args:
        factor: how many times closer, 1 or above.
    """

    factor: float

    def frequencies(self, size: int, theta: float, max_seq_len: int) -> Tensor:
        return plain_frequencies(size, theta) / self.factor


@dataclass(frozen=True)
class DynamicScaling(RotaryScaling):
    """A larger base the longer the sequence is ("NTK-aware" scaling).

    The frequencies of a model must not change while it decodes: keys that are already cached have been turned. So the
    base is the one of a sequence of max_seq_len tokens, whatever the length at hand; a model whose max_seq_len is the
    original one computes as if there were no scaling, which is what this scaling means up to that length.

    Args:
        factor: the stretching that is aimed at, 1 or above.
        original_max_seq_len: tokens that the model was trained at.
    """

    factor: float
    original_max_seq_len: int

    def frequencies(self, size: int, theta: float, max_seq_len: int) -> Tensor:
        if max_seq_len <= self.original_max_seq_len or size == 2:  # one pair turns with frequency 1 at every base
            return plain_frequencies(size, theta)
        growth = self.factor * max_seq_len / self.original_max_seq_len - (self.factor - 1)
        return plain_frequencies(size, theta * growth ** (size / (size - 2)))


@dataclass(frozen=True)
class Llama3Scaling(RotaryScaling):
    """Slow channels slower, fast ones as they are, a ramp between (Grattafiori et al., 2024, "Llama 3", as released).

    Args:
        factor: how much slower, 1 or above.
        low_freq_factor: channels with fewer turns than this in the original length are slowed down in full.
        high_freq_factor: channels with more turns than this stay; above low_freq_factor.
        original_max_seq_len: tokens that the model was trained at.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_seq_len: int

    def frequencies(self, size: int, theta: float, max_seq_len: int) -> Tensor:
        plain = plain_frequencies(size, theta)
        turns = self.original_max_seq_len * plain / (2 * math.pi)
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return torch.lerp(plain / self.factor, plain, kept.clamp(0, 1))


@dataclass(frozen=True)
class YarnScaling(RotaryScaling):
    """Slow channels slower, by a ramp over the channels, and sharper attention (Peng et al., 2023, "YaRN").

    Args:
        factor: how much slower, 1 or above.
        original_max_seq_len: tokens that the model was trained at.
        beta_fast: channels with more turns than this in the original length stay.
        beta_slow: channels with fewer turns than this are slowed down in full.
        attention_factor: the length factor itself; None for the one that the paper found, 0.1 ln(factor) + 1.
        mscale: with mscale_all_dim, another rule for it (DeepSeek): the ratio of 0.1 mscale ln(factor) + 1 of both.
        mscale_all_dim: see mscale.
        truncate: let the ramp begin and end at whole channels.
    """

    factor: float
    original_max_seq_len: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def frequencies(self, size: int, theta: float, max_seq_len: int) -> Tensor:
        plain = plain_frequencies(size, theta)
        first, last = (self._pair_turning(turns, size, theta) for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, size - 1)
        pairs = torch.arange(size // 2, dtype=torch.float64, device="cpu")
        slowed = (pairs - first) / (last - first or 0.001)  # a ramp of no width is a step
        return torch.lerp(plain, plain / self.factor, slowed.clamp(0, 1))

    def length_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._sharpness(self.mscale) / self._sharpness(self.mscale_all_dim)
        return self._sharpness(1.0)

    def _pair_turning(self, turns: float, size: int, theta: float) -> float:
        """The pair of channels, as a fraction, that makes so many turns in the original length."""
        return size * math.log(self.original_max_seq_len / (2 * math.pi * turns)) / (2 * math.log(theta))

    def _sharpness(self, scale: float) -> float:
        return 0.1 * scale * math.log(self.factor) + 1 if self.factor > 1 else 1.0


ROTARY_SCALINGS: dict[RotaryScalingKind, type[RotaryScaling]] = {
    "linear": LinearScaling,
    "dynamic": DynamicScaling,
    "llama3": Llama3Scaling,
    "yarn": YarnScaling,
}


def rotary_frequencies(size: int, theta: float, max_seq_len: int, scaling: RotaryScaling | None) -> Tensor:
    """Frequencies of all pairs of channels, stretched or not (see `RotaryScaling.frequencies`)."""
    return plain_frequencies(size, theta) if scaling is None else scaling.frequencies(size, theta, max_seq_len)
