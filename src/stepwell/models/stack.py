"""A stack of Transformer blocks: from token vectors to last hidden states.

It reads top to bottom: scale, positions, norm, then L blocks of attention and MLP on a residual stream, then a norm.
One stack is a decoder, an encoder, or half of an encoder-decoder; what differs is whether it looks ahead and whether it
looks at a memory. This file leaves out embeddings and heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.utils.checkpoint import checkpoint

from stepwell.errors import UsageError
from stepwell.models.transformer_config import NormConfig, RotaryPositions, Scaling, TransformerConfig
from stepwell.nn import (
    MLP,
    ROTARY_SCALINGS,
    Attention,
    CrossAttention,
    KeyRange,
    KeyValueCache,
    Lead,
    LearnedPositions,
    MixtureOfExperts,
    Prompt,
    RelativeBias,
    RMSNorm,
    Rotary,
    RotaryScaling,
    alibi_bias,
    alibi_slopes,
    document_positions,
    key_range,
    load_balancing_loss,
    sinusoidal_positions,
)

RESIDUAL_NAMES = ("out", "down")
"""Last part of the names of what writes into the stream."""


class Memory(NamedTuple):
    """Another text, as the cross-attentions of a stack see it.

    Attributes:
        keys_values: for each layer its keys and values, each (B, H, S, E).
        mask: (B, S) bool, False where there is padding, or (B, T, S), False where position t may not look; None where
            all may be seen.
    """

    keys_values: list[tuple[Tensor, Tensor]]
    mask: Tensor | None

    def select(self, rows: Tensor) -> Memory:
        """The memories of these rows, (B',) int64."""
        mask = None if self.mask is None else self.mask[rows]
        return Memory([(keys[rows], values[rows]) for keys, values in self.keys_values], mask)


def build_norm(config: NormConfig, width: int) -> nn.Module:
    """The norm of a config over vectors of a width."""
    if config.kind == "layer":
        return nn.LayerNorm(width, config.eps, bias=config.bias)
    return RMSNorm(width, config.eps, unit_offset=config.unit_offset)


class Block(nn.Module):
    """Attention, perhaps cross-attention, then MLP, each with its norms.

    Args:
        config: of the stack.
        layer: which block this is, from 0.
        rotary: turns queries and keys, or None.
        depth: blocks of the stack.
        causal: hide the future.
        cross: attend to a memory too.
    """

    def __init__(
        self, config: TransformerConfig, layer: int, rotary: Rotary | None, depth: int, *, causal: bool, cross: bool
    ) -> None:
        super().__init__()
        self.placement, self.parallel, self.dropout = config.norm_placement, config.parallel, config.dropout
        self.skip_ratio = config.stochastic_depth * (layer + 1) / depth  # the deeper, the more often (Huang et al.)
        self.attention_norm = build_norm(config.norm, config.d_model)
        self.attention = Attention(
            config.d_model,
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            rotary,
            causal=causal,
            qk_norm=config.qk_norm,
            qkv_bias=config.qkv_bias,
            out_bias=config.out_bias,
            scale=config.attention_scale,
            softcap=config.attention_softcap,
            sinks=config.sinks,
            dropout=config.attention_dropout,
            norm_eps=config.norm.eps,
            unit_offset=config.norm.unit_offset,
        )
        if cross:
            self.cross_norm = build_norm(config.norm, config.d_model)
            self.cross = CrossAttention(
                config.d_model,
                config.num_heads,
                config.head_dim,
                qkv_bias=config.qkv_bias,
                out_bias=config.out_bias,
                scale=config.attention_scale,
                dropout=config.attention_dropout,
            )
        self.mlp_norm = build_norm(config.norm, config.d_model)
        self.mlp = build_mlp(config, layer)
        if config.norm_placement == "sandwich":
            self.attention_out_norm = build_norm(config.norm, config.d_model)
            self.mlp_out_norm = build_norm(config.norm, config.d_model)
            if cross:
                self.cross_out_norm = build_norm(config.norm, config.d_model)

    def forward(
        self,
        x: Tensor,
        seen: KeyRange | None,
        bias: Tensor | None,
        cache: KeyValueCache | None,
        layer: int,
        memory: Memory | None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        kept = self._kept(x)
        attended = self.attention(self._before(x, "attention"), seen, cache, layer, bias)
        if self.parallel:
            given = self._drop(attended) + self._drop(self.mlp(self.mlp_norm(x)))
            return x + (given if kept is None else given * kept)
        x = self._after(x, self._drop(attended), "attention", kept)
        if memory is not None:
            keys, values = memory.keys_values[layer]
            read = self.cross(self._before(x, "cross"), keys, values, memory.mask)
            x = self._after(x, self._drop(read), "cross", kept)
        return self._after(x, self._drop(self.mlp(self._before(x, "mlp"))), "mlp", kept)

    def _kept(self, x: Tensor) -> Tensor | None:
        """(B, 1, 1), what multiplies all that the block adds to a row: 0 or 1 / (1 - skip_ratio); None for 1."""
        if not self.training or not self.skip_ratio:
            return None
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.skip_ratio
        return kept.to(x.dtype) / (1 - self.skip_ratio)

    def _before(self, x: Tensor, part: str) -> Tensor:
        return self.get_submodule(f"{part}_norm")(x) if self.placement in ("pre", "sandwich") else x

    def _after(self, x: Tensor, given: Tensor, part: str, kept: Tensor | None) -> Tensor:
        """The stream with what a part gave."""
        if self.placement in ("output", "sandwich"):
            given = self.get_submodule(f"{part}_norm" if self.placement == "output" else f"{part}_out_norm")(given)
        x = x + (given if kept is None else given * kept)
        return self.get_submodule(f"{part}_norm")(x) if self.placement == "post" else x

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, training=self.training) if self.dropout else x


def build_mlp(config: TransformerConfig, layer: int) -> nn.Module:
    """The MLP of a layer, or its experts."""
    if config.has_experts(layer) and config.experts is not None:
        experts = config.experts
        return MixtureOfExperts(
            config.d_model,
            experts.d_ff,
            experts.num_experts,
            experts.experts_per_token,
            config.activation,
            gated=config.gated,
            normalize_weights=experts.normalize_weights,
        )
    return MLP(config.d_model, config.d_ff, config.activation, gated=config.gated, bias=config.mlp_bias)


class Stack(nn.Module):
    """Blocks with their positions and norms.

    Args:
        config: what they are.
        num_layers: how many; default the config's.
        causal: hide the future.
        cross: attend to a memory too.

    Attributes:
        compiled: what stands for the blocks while training, one for each; empty for the blocks themselves.
        checkpoint_activations: while training, keep only what goes into each block, and compute the rest again for the
            gradient (Chen et al., 2016): much less memory for a third more work, and the same numbers.
        states: a list that gets what comes out of each block, (B, T, D); None for nothing.
        prompt: learned vectors before every text (`adapting.add_adapter`); None for none. Texts may be as long as
            without: learned and sinusoidal positions begin behind it, the others know only how far apart places are.
    """

    waves: Tensor
    slopes: Tensor

    def __init__(
        self, config: TransformerConfig, num_layers: int | None = None, *, causal: bool = True, cross: bool = False
    ) -> None:
        super().__init__()
        self.config, self.causal = config, causal
        self.checkpoint_activations = False
        self.states: list[Tensor] | None = None
        self.compiled: list[Callable[..., Tensor]] = []
        self.prompt: Prompt | None = None
        self.embedding_norm = build_norm(config.norm, config.d_model) if config.embedding_norm else None
        self.positions = self._build_positions()
        rotaries, depth = build_rotaries(config), num_layers or config.num_layers
        self.blocks = nn.ModuleList(
            Block(config, layer, rotaries.get(config.layer_kind(layer)), depth, causal=causal, cross=cross)
            for layer in range(depth)
        )
        self.norm = build_norm(config.norm, config.d_model) if config.norm_placement != "post" else None
        if config.positions.kind == "alibi":
            self.register_buffer("slopes", alibi_slopes(config.num_heads), persistent=False)

    def _build_positions(self) -> nn.Module | None:
        config = self.config
        if config.positions.kind == "learned":
            return LearnedPositions(config.max_seq_len, config.d_model, config.positions.offset)
        if config.positions.kind == "relative":
            buckets, distance = config.positions.num_buckets, config.positions.max_distance
            return RelativeBias(buckets, distance, config.num_heads, bidirectional=not self.causal)
        if config.positions.kind == "sinusoidal":
            table = sinusoidal_positions(config.max_seq_len, config.d_model, config.positions.layout)
            self.register_buffer("waves", table, persistent=False)
        return None

    def forward(
        self,
        vectors: Tensor,
        *,
        document_ids: Tensor | None = None,
        cache: KeyValueCache | None = None,
        memory: Memory | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states.

        Args:
            vectors: (B, T, D), of the tokens.
            document_ids: (B, T), which document a position belongs to, padding being one of its own; None where a row
                is one document. Not with a cache.
            cache: what came before; it is extended by the T positions.
            memory: what the cross-attentions look at.
            prefix: (B, T) bool, which tokens all others of their document may see, those before them too; None for
                none. With a cache only while it is empty.

        Returns:
            (B, T, D).

        Raises:
            UsageError: when the text is longer than max_seq_len.
        """
        num_tokens, start = vectors.shape[1], 0 if cache is None else cache.length
        if start + num_tokens > self.config.max_seq_len:
            raise UsageError(
                "sequence: longer than the model can read",
                got=f"{start + num_tokens} tokens",
                wanted=f"at most max_seq_len = {self.config.max_seq_len}",
            )
        documents = document_ids if cache is None else cache.documents(num_tokens)
        x, lead = self._place(vectors, documents, start, cache), None
        if self.prompt is not None and (cache is None or not cache.positions):
            begins = _begins(x, documents)
            if cache is not None and documents is not None:  # padding, and text
                begins &= documents > 0
            lead = self.prompt.lead(begins)
            x = self.prompt(x, lead, self.config.embedding_scale or 1.0)
            documents = None if documents is None else self.prompt.documents(lead, documents, begins)
            prefix = None if prefix is None else lead.spread(prefix, prefix.new_zeros(()))
        x = self._ready(x)
        num_queries, num_keys = x.shape[1], x.shape[1] + (0 if cache is None else cache.positions)
        seen = {
            window: key_range(
                num_queries, num_keys, x.device, causal=self.causal, window=window, documents=documents, prefix=prefix
            )
            for window in {self._window(layer) for layer in range(len(self.blocks))}
        }
        bias = self._bias(num_queries, num_keys, x)
        x = self._through(x, seen, bias, cache, memory, lead)
        if cache is not None:
            cache.advance(num_queries)
        x = x if lead is None else lead.text_of(x)
        return x if self.norm is None else self.norm(x)

    def _through(
        self,
        x: Tensor,
        seen: Mapping[int | None, KeyRange | None],
        bias: Tensor | None,
        cache: KeyValueCache | None,
        memory: Memory | None,
        lead: Lead | None,
    ) -> Tensor:
        """(B, T', D) -> (B, T', D), all blocks."""
        again = self.checkpoint_activations and self.training and torch.is_grad_enabled()
        blocks: Iterable[Callable[..., Tensor]] = self.blocks
        if self.compiled and self.training and cache is None:
            blocks = self.compiled
        for layer, block in enumerate(blocks):
            given = (x, seen[self._window(layer)], bias, cache, layer, memory)
            x = checkpoint(block, *given, use_reentrant=False) if again else block(*given)
            if self.states is not None:
                self.states.append(x if lead is None else lead.text_of(x))
        return x

    def read(self, memory: Tensor, mask: Tensor | None = None) -> Memory:
        """Another text's hidden states (B, S, D) as the cross-attentions need them; mask as in `Memory`."""
        keys_values = [block.cross.read(memory) for block in self.blocks if isinstance(block, Block)]
        return Memory(keys_values, mask)

    def start(self, batch_size: int, max_len: int, dtype: torch.dtype, left_padding: Tensor | None) -> KeyValueCache:
        """An empty cache."""
        config, device = self.config, next(self.parameters()).device
        sizes = (len(self.blocks), batch_size, config.num_kv_heads, max_len, config.head_dim)
        lead_tokens = 0 if self.prompt is None else len(self.prompt.prompt_vectors)
        return KeyValueCache(*sizes, device, dtype, left_padding, lead_tokens)

    def balance_loss(self) -> Tensor | None:
        """How unevenly the last forward pass used the experts, weighed as the config says; None without experts."""
        experts = self.config.experts
        if experts is None or not experts.balance:
            return None
        layers = [block.mlp for block in self.blocks if isinstance(block.mlp, MixtureOfExperts)]
        routing = [layer.routing for layer in layers if layer.routing is not None]
        return experts.balance * load_balancing_loss(routing, experts.experts_per_token) if routing else None

    def lookups(self) -> list[nn.Parameter]:
        """Tables with a row for each position or distance, and what stands before a text."""
        tables = [part for part in (self.positions, self.prompt) if part is not None]
        return [parameter for part in tables for parameter in part.parameters()]

    def _window(self, layer: int) -> int | None:
        return self.config.window if self.config.layer_kind(layer) == "window" else None

    def _place(self, x: Tensor, documents: Tensor | None, start: int, cache: KeyValueCache | None) -> Tensor:
        """Vectors of tokens, scaled, each with its own position."""
        config, num_tokens = self.config, x.shape[1]
        if config.embedding_scale is not None:
            x = x * config.embedding_scale
        if config.positions.kind not in ("learned", "sinusoidal"):
            return x
        places = torch.arange(start, start + num_tokens, device=x.device)
        if documents is not None:
            before = 0 if cache is None or not cache.positions else cache.lead_tokens
            places = document_positions(documents)[..., -num_tokens:] - before
        return x + (self.waves[places] if self.positions is None else self.positions(places)).to(x.dtype)

    def _ready(self, x: Tensor) -> Tensor:
        """What goes into the first block, normalised and dropped."""
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        ratio = self.config.embedding_dropout
        return dropout(x, ratio, training=self.training) if ratio else x

    def _bias(self, num_queries: int, num_keys: int, x: Tensor) -> Tensor | None:
        """(1, H, T, S) on the logits of every layer, or None."""
        if self.config.positions.kind not in ("relative", "alibi"):
            return None
        keys = torch.arange(num_keys, device=x.device)
        queries = keys[num_keys - num_queries :]
        if isinstance(self.positions, RelativeBias):
            return self.positions(queries, keys)
        return alibi_bias(self.slopes, queries, keys)


def _begins(x: Tensor, documents: Tensor | None) -> Tensor:
    """The first place of each document: (B, T) bool."""
    begins = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    begins[:, :1] = True
    if documents is not None:
        begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return begins


def build_scaling(config: Scaling, max_seq_len: int) -> RotaryScaling:
    """The scaling of a config."""
    values = config.model_dump(exclude={"kind"})
    if config.kind == "dynamic" and config.original_max_seq_len is None:
        values["original_max_seq_len"] = max_seq_len
    return ROTARY_SCALINGS[config.kind](**values)


def build_rotaries(config: TransformerConfig) -> dict[str, Rotary]:
    """Kind of layer -> what turns its queries and keys; kinds without are left out."""
    positions = config.positions
    if not isinstance(positions, RotaryPositions):
        return {}
    full = Rotary(
        config.head_dim,
        config.max_seq_len,
        positions.theta,
        ratio=positions.ratio,
        scaling=None if positions.scaling is None else build_scaling(positions.scaling, config.max_seq_len),
    )
    if positions.window_theta is None:
        return {"full": full, "window": full}
    window = Rotary(config.head_dim, config.max_seq_len, positions.window_theta, ratio=positions.ratio)
    return {"full": full, "window": window}
