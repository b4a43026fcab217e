"""Rotary position embedding (Su et al., 2021, "RoFormer").

Each pair of query and key channels is turned by an angle that grows with the position, so their dot product depends
on the distance alone. The tables of cosines and sines are made when they are first needed, as long as they are needed,
so a model that could read 128 thousand tokens costs nothing until it does. This file leaves out how the turning is
stretched beyond the length a model was trained at (`rotary_scaling`), and pairs of neighbouring channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stepwell.nn.rotary_scaling import RotaryScaling, rotary_frequencies

_SHORTEST_TABLE = 256


class Rotary(nn.Module):
    """Tables of cosines and sines, and the turning itself.

    Args:
        head_dim: channels E of one head.
        max_seq_len: longest text, which a scaling counts from, and number of positions that can be asked for.
        theta: base of the wavelengths, above 1.
        ratio: part of the channels that is turned, the first ones, in (0, 1]; the rest pass as they are (GPT-NeoX).
        scaling: how the frequencies are stretched; None for not at all.

    Attributes:
        bounded: whether no further position can be asked for; what stands before a text takes some of its own.

    Raises:
        ValueError: when the number of turned channels is odd or zero.
    """

    def __init__(
        self,
        head_dim: int,
        max_seq_len: int,
        theta: float = 10_000.0,
        *,
        ratio: float = 1.0,
        scaling: RotaryScaling | None = None,
    ) -> None:
        super().__init__()
        self.size = int(head_dim * ratio)
        if self.size < 2 or self.size % 2:
            raise ValueError(
                f"rotary positions turn pairs of channels: {ratio} of {head_dim} channels are {self.size}; "
                "choose an even number of at least 2"
            )
        self.max_seq_len, self.theta, self.scaling, self.bounded = max_seq_len, theta, scaling, True
        # Not buffers: they follow the device of the input by themselves, and a model that is built without memory
        # (device "meta") or cast to bfloat16 keeps exact tables.
        self._tables: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Turn queries or keys by their positions.

        Args:
            x: (B, H, T, E).
            start: position of the first of the T tokens; start + T is at most max_seq_len.

        Returns:
            (B, H, T, E), in x's precision. The first half of the turned channels pairs with their second half.

        Raises:
            IndexError: when start + T is past max_seq_len.
        """
        stop = start + x.shape[-2]
        cos, sin = (table[start:stop].to(x.dtype) for table in self.tables(stop, x.device))
        turned, rest = x[..., : self.size], x[..., self.size :]
        first, second = turned.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned

    def tables(self, stop: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (positions, size / 2) float32 on the device, of at least `stop` positions.

        Raises:
            IndexError: when `stop` is past max_seq_len.
        """
        if self._tables is None or self._tables[0].shape[0] < stop or self._tables[0].device != device:
            self._tables = self._tables_of(stop, device)
        return self._tables

    def _tables_of(self, stop: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self.bounded and stop > self.max_seq_len:
            raise IndexError(f"rotary positions reach {self.max_seq_len} tokens, {stop} were asked for")
        length = max(_SHORTEST_TABLE, 1 << (stop - 1).bit_length())
        length = min(self.max_seq_len, length) if self.bounded else length
        with torch.inference_mode(False):  # tables made while predicting serve a later training step too
            frequencies = rotary_frequencies(self.size, self.theta, self.max_seq_len, self.scaling)
            angles = torch.outer(torch.arange(length, dtype=torch.float64, device="cpu"), frequencies)
            length_factor = 1.0 if self.scaling is None else self.scaling.length_factor()
            cos, sin = (length_factor * angles.cos()).float(), (length_factor * angles.sin()).float()
            return cos.to(device), sin.to(device)
