"""Causal self-attention: multi-head, grouped and multi-query in one module.

Queries of H heads share the keys and values of K heads (Ainslie et al., 2023, "GQA"); QK-norm (Henry et al., 2020)
keeps the logits bounded whatever the weights do. One path serves training (a mask keeps documents of a packed row
apart) and decoding (a cache holds what came before). This file leaves out windows and soft-caps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from stepwell.nn.decoding import KeyValueCache
from stepwell.nn.norms import RMSNorm
from stepwell.nn.rotary import Rotary


def document_mask(document_ids: Tensor) -> Tensor:
    """Who may look at whom in packed rows: the same document, and not ahead.

    Args:
        document_ids: (B, T), the document of each position within its row.

    Returns:
        (B, 1, T, T) bool, True where query t may attend to key s.
    """
    same = document_ids[:, :, None] == document_ids[:, None, :]
    return same.tril().unsqueeze(1)


class Attention(nn.Module):
    """Causal self-attention over a residual stream.

    Args:
        d_model: width D of the stream.
        num_heads: query heads H.
        num_kv_heads: key and value heads K; divides H.
        head_dim: channels E of a head, even.
        rotary: the position embedding, shared by the layers.
        qk_norm: normalise queries and keys by RMSNorm before they are turned.
        bias: give the projections a bias.
        dropout: probability of dropping an attention weight while training, in [0, 1).
        norm_eps: epsilon of the QK-norm.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        rotary: Rotary,
        *,
        qk_norm: bool = True,
        bias: bool = False,
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.dropout = dropout
        self.rotary = rotary
        self.qkv = nn.Linear(d_model, (num_heads + 2 * num_kv_heads) * head_dim, bias=bias)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=bias)
        self.query_norm = RMSNorm(head_dim, norm_eps) if qk_norm else nn.Identity()
        self.key_norm = RMSNorm(head_dim, norm_eps) if qk_norm else nn.Identity()

    def forward(
        self, x: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None, layer: int = 0
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, T, D).
            mask: (B, 1, T, T) bool from `document_mask`; None for one document a row. Not with a cache.
            cache: what came before; the T tokens extend it (the caller advances it after the last layer).
            layer: this layer's place in the cache.

        Returns:
            (B, T, D).
        """
        queries, keys, values = self._project(x, start=cache.length if cache is not None else 0)
        if cache is not None:
            keys, values = cache.append(layer, keys, values)
            mask = _continuation_mask(queries.shape[-2], keys.shape[-2], x.device)
        attended = scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and queries.shape[-2] > 1,
            enable_gqa=self.num_kv_heads != self.num_heads,
        )
        return self.out(attended.transpose(1, 2).flatten(2))

    def _project(self, x: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, E), keys and values (B, K, T, E), normalised and turned."""
        heads = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        queries, keys, values = heads.split((self.num_heads, self.num_kv_heads, self.num_kv_heads), dim=1)
        queries = self.rotary(self.query_norm(queries), start)
        keys = self.rotary(self.key_norm(keys), start)
        return queries, keys, values


def _continuation_mask(num_queries: int, num_keys: int, device: torch.device) -> Tensor | None:
    """Causal mask for queries that stand at the end of the keys; None where plain causality is enough."""
    if num_queries == 1 or num_queries == num_keys:
        return None
    ones = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return ones.tril(num_keys - num_queries)
