"""Attention: multi-head, grouped and multi-query, over a text or over another one's memory.

Queries of H heads share the keys and values of K heads (Ainslie et al., 2023, "GQA"). QK-norm (Henry et al., 2020) or a
soft-cap (Gemma 2) keeps the logits bounded, and sinks (Xiao et al., 2024) give a head somewhere else to look. Masks and
biases come from outside; this file leaves out positions other than rotary ones.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from stepwell.nn.block_attention import block_attention
from stepwell.nn.decoding import KeyValueCache
from stepwell.nn.masks import KeyRange, key_range
from stepwell.nn.norms import RMSNorm
from stepwell.nn.prefix import Prefix
from stepwell.nn.rotary import Rotary

SHORTEST = 16
"""Queries from which attention goes block by block on a CPU; fewer have nothing to share."""

QKNorm = Literal["none", "head", "projection"]


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    mask: Tensor | KeyRange | None = None,
    causal: bool = False,
    bias: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout_ratio: float = 0.0,
) -> Tensor:
    """Weighted means of values; memory grows with T + S unless there is a soft-cap or there are sinks.

    Args:
        queries: (B, H, T, E).
        keys: (B, K, S, E); K divides H.
        values: (B, K, S, E).
        mask: (B or 1, 1, T, S) bool, True where a query may look, or the range of its keys; each query sees something.
        causal: without a mask, T = S: hide the future.
        bias: (1, H, T, S), added to the logits.
        scale: multiplies the logits; default 1/sqrt(E).
        softcap: `c tanh(logits / c)`, before mask and bias; above 0.
        sinks: (H,), a logit for each head that takes weight and gives nothing.
        dropout_ratio: share of the weights that is dropped, in [0, 1).

    Returns:
        (B, H, T, E).
    """
    is_plain = softcap is None and sinks is None and bias is None and not dropout_ratio and not torch.is_tensor(mask)
    if is_plain and queries.device.type == "cpu" and queries.shape[2] >= SHORTEST:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else values.dtype
        first, last = (None, None) if mask is None else mask
        return block_attention(
            queries.to(dtype),
            keys.to(dtype),
            values.to(dtype),
            first,
            last,
            causal and mask is None,
            queries.shape[-1] ** -0.5 if scale is None else scale,
        )
    if isinstance(mask, KeyRange):
        mask = mask.mask(keys.shape[2])
    if bias is not None:
        if mask is None and causal and bias.shape[-2] > 1:  # a single query stands at the end: it sees every key
            mask = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).tril()
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    if softcap is None and sinks is None:
        return scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=None if mask is None else mask.to(queries.dtype) if mask.is_floating_point() else mask,
            dropout_p=dropout_ratio,
            is_causal=causal and mask is None and queries.shape[-2] > 1,
            scale=scale,
            enable_gqa=keys.shape[1] != queries.shape[1],
        )
    if mask is None and causal and queries.shape[-2] > 1:
        mask = torch.ones(queries.shape[-2], keys.shape[-2], dtype=torch.bool, device=queries.device).tril()
    return _attend_in_full(queries, keys, values, mask, scale, softcap, sinks, dropout_ratio)


def _attend_in_full(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    dropout_ratio: float,
) -> Tensor:
    """The softmax written out, for what the fused kernels do not know."""
    groups = queries.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    logits = (queries @ keys.mT) * (queries.shape[-1] ** -0.5 if scale is None else scale)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.float()
    if mask is not None:
        logits = logits + mask if mask.is_floating_point() else logits.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        elsewhere = sinks.float()[:, None, None].expand(*logits.shape[:-1], 1)
        weights = torch.cat((logits, elsewhere), -1).softmax(-1)[..., :-1]
    else:
        weights = logits.softmax(-1)
    return dropout(weights.to(values.dtype), dropout_ratio) @ values


class Attention(nn.Module):
    """Self-attention over a residual stream.

    Args:
        d_model: width D of the stream.
        num_heads: query heads H.
        num_kv_heads: key and value heads K; divides H.
        head_dim: channels E of a head.
        rotary: turns queries and keys by their positions, shared by the layers; None for another kind of positions.
        causal: hide the future.
        qk_norm: normalise queries and keys by RMSNorm, each `head` or the whole `projection`, before they are turned.
        qkv_bias: give queries, keys and values a bias.
        out_bias: give the output a bias.
        scale: of the logits; default 1/sqrt(E).
        softcap: of the logits.
        sinks: give each head a logit that looks nowhere.
        dropout: probability of dropping an attention weight while training, in [0, 1).
        norm_eps: epsilon of the QK-norm.
        unit_offset: of the QK-norm (see `RMSNorm`).

    Attributes:
        prefix: learned keys and values that every token may look at (`adapters.add_prefixes`); None for none.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        rotary: Rotary | None = None,
        *,
        causal: bool = True,
        qk_norm: QKNorm = "head",
        qkv_bias: bool = False,
        out_bias: bool = False,
        scale: float | None = None,
        softcap: float | None = None,
        sinks: bool = False,
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
        unit_offset: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.causal, self.scale, self.softcap, self.dropout = causal, scale, softcap, dropout
        self.rotary, self.qk_norm = rotary, qk_norm
        self.qkv = nn.Linear(d_model, (num_heads + 2 * num_kv_heads) * head_dim, bias=qkv_bias)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=out_bias)
        if qk_norm != "none":
            widths = (1, 1) if qk_norm == "head" else (num_heads, num_kv_heads)
            self.query_norm = RMSNorm(widths[0] * head_dim, norm_eps, unit_offset=unit_offset)
            self.key_norm = RMSNorm(widths[1] * head_dim, norm_eps, unit_offset=unit_offset)
        self.sinks = nn.Parameter(torch.zeros(num_heads)) if sinks else None
        self.prefix: Prefix | None = None

    def forward(
        self,
        x: Tensor,
        mask: Tensor | KeyRange | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, T, D).
            mask: from `key_range`; None where that gives None.
            cache: what came before; the T tokens extend it (the caller advances it after the last layer).
            layer: this layer's place in the cache.
            bias: (1, H, T, S), added to the logits.

        Returns:
            (B, T, D).
        """
        asked, keys, values = self._project(x)
        queries = asked
        if self.rotary is not None:
            start = cache.positions if cache is not None else 0
            queries, keys = self.rotary(queries, start), self.rotary(keys, start)
        if cache is not None:
            keys, values = cache.append(layer, keys, values)
            if mask is None:
                mask = key_range(queries.shape[2], keys.shape[2], x.device, causal=self.causal)
        attended = attend(
            queries,
            keys,
            values,
            mask=mask,
            causal=self.causal,
            bias=bias,
            scale=self.scale,
            softcap=self.softcap,
            sinks=self.sinks,
            dropout_ratio=self.dropout if self.training else 0.0,
        )
        if self.prefix is not None:
            attended = attended + self.prefix(asked).to(attended.dtype)
        return self.out(attended.transpose(1, 2).flatten(2))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, E), keys and values (B, K, T, E), normalised and not turned."""
        heads = self.qkv(x).unflatten(-1, (-1, self.head_dim))
        queries, keys, values = heads.split((self.num_heads, self.num_kv_heads, self.num_kv_heads), dim=2)
        if self.qk_norm == "projection":
            queries = self.query_norm(queries.flatten(2)).view(queries.shape)
            keys = self.key_norm(keys.flatten(2)).view(keys.shape)
        elif self.qk_norm == "head":
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


class CrossAttention(nn.Module):
    """Attention of one text over the memory of another (Vaswani et al., 2017, section 3.2.3).

    Args:
        d_model: width D of both streams.
        num_heads: heads H.
        head_dim: channels E of a head.
        qkv_bias: give queries, keys and values a bias.
        out_bias: give the output a bias.
        scale: of the logits; default 1/sqrt(E).
        dropout: probability of dropping an attention weight while training, in [0, 1).
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        head_dim: int,
        *,
        qkv_bias: bool = False,
        out_bias: bool = False,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.head_dim, self.scale, self.dropout = head_dim, scale, dropout
        self.query = nn.Linear(d_model, num_heads * head_dim, bias=qkv_bias)
        self.memory = nn.Linear(d_model, 2 * num_heads * head_dim, bias=qkv_bias)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=out_bias)

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a memory, made once: (B, S, D) -> two of (B, H, S, E)."""
        keys, values = self.memory(memory).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, T, D).
            keys: (B, H, S, E), from `read`.
            values: (B, H, S, E), from `read`.
            mask: (B, S) bool, False where the memory is padding, or (B, T, S), False where position t may not look. A
                position that sees nothing at all gets zero weight everywhere, so its output is the output projection's
                bias.

        Returns:
            (B, T, D).
        """
        dropout_ratio = self.dropout if self.training else 0.0
        queries, reads = self._heads(self.query(x)), None
        if mask is not None:
            mask = mask[:, None] if mask.ndim == 2 else mask
            reads = mask.any(-1)
            mask = (mask | ~reads[..., None])[:, None]  # a softmax over nothing is not a number
        attended = attend(queries, keys, values, mask=mask, scale=self.scale, dropout_ratio=dropout_ratio)
        if reads is not None:
            attended = attended.masked_fill(~reads[:, None, :, None], 0.0)
        return self.out(attended.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
