"""What the Transformers share: blocks of attention and MLP, in every way the field has arranged them.

Decoder, encoder and encoder-decoder derive their configs from `TransformerConfig`; a published model is a set of its
values. Positions, norms and experts are choices of their own. This file leaves out embeddings and heads.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stepwell.config import Config
from stepwell.models.model_config import ModelConfig

PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class LinearScaling(Config):
    """Positions are divided by a factor (Chen et al., 2023, "Position Interpolation").

    Attributes:
        factor: how much longer the window becomes.
    """

    kind: Literal["linear"] = "linear"
    factor: Annotated[float, Field(ge=1)]


class DynamicScaling(Config):
    """The base grows with texts longer than the window of pre-training; within max_seq_len nothing changes.

    Attributes:
        factor: how much longer the window becomes.
        original_max_seq_len: window of pre-training; None for max_seq_len itself.
    """

    kind: Literal["dynamic"] = "dynamic"
    factor: Annotated[float, Field(ge=1)]
    original_max_seq_len: PositiveInt | None = None


class Llama3Scaling(Config):
    """Long wavelengths are stretched, short ones kept (Llama 3.1).

    Attributes:
        factor: how much longer the window becomes.
        low_freq_factor: wavelengths above original_max_seq_len / this are stretched whole.
        high_freq_factor: wavelengths below original_max_seq_len / this are kept.
        original_max_seq_len: window of pre-training.
    """

    kind: Literal["llama3"] = "llama3"
    factor: Annotated[float, Field(ge=1)]
    low_freq_factor: Annotated[float, Field(gt=0)] = 1.0
    high_freq_factor: Annotated[float, Field(gt=0)] = 4.0
    original_max_seq_len: PositiveInt = 8192


class YarnScaling(Config):
    """YaRN (Peng et al., 2023).

    Attributes:
        factor: how much longer the window becomes.
        original_max_seq_len: window of pre-training.
        beta_fast: turns within the window above which a wavelength is kept.
        beta_slow: turns below which it is stretched whole.
        attention_factor: multiplies cosines and sines; None for `0.1 ln(factor) + 1`.
        mscale: instead of attention_factor: of the logits, as DeepSeek writes it; None for none.
        mscale_all_dim: what mscale is divided by; None for none.
        truncate: round the borders between kept and stretched to whole channels.
    """

    kind: Literal["yarn"] = "yarn"
    factor: Annotated[float, Field(ge=1)]
    original_max_seq_len: PositiveInt
    beta_fast: Annotated[float, Field(gt=0)] = 32.0
    beta_slow: Annotated[float, Field(gt=0)] = 1.0
    attention_factor: Annotated[float, Field(gt=0)] | None = None
    mscale: Annotated[float, Field(gt=0)] | None = None
    mscale_all_dim: Annotated[float, Field(gt=0)] | None = None
    truncate: bool = True


Scaling = Annotated[LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling, Field(discriminator="kind")]


class RotaryPositions(Config):
    """Rotary positions (Su et al., 2021).

    Attributes:
        theta: base of the wavelengths.
        ratio: share of a head's channels that are turned, in (0, 1].
        scaling: stretches the window; None for none.
        window_theta: base in layers with a window, which are not scaled; None when all layers are alike.
    """

    kind: Literal["rotary"] = "rotary"
    theta: Annotated[float, Field(gt=1)] = 10_000.0
    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    scaling: Scaling | None = None
    window_theta: Annotated[float, Field(gt=1)] | None = None


class LearnedPositions(Config):
    """A learned vector for each position, added to the token's.

    Attributes:
        offset: rows of the table before that of the first position.
    """

    kind: Literal["learned"] = "learned"
    offset: Annotated[int, Field(ge=0)] = 0


class SinusoidalPositions(Config):
    """A fixed wave for each channel, added to the token's vector (Vaswani et al., 2017).

    Attributes:
        layout: sines and cosines in turn, or all sines first.
    """

    kind: Literal["sinusoidal"] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = "interleaved"


class RelativePositions(Config):
    """A learned bias on the logits for each bucket of distances, one table for all layers (T5; Raffel et al., 2020).

    Attributes:
        num_buckets: rows of the table.
        max_distance: distances from here on share the last bucket.
    """

    kind: Literal["relative"] = "relative"
    num_buckets: Annotated[int, Field(ge=2)] = 32
    max_distance: Annotated[int, Field(ge=2)] = 128


class AlibiPositions(Config):
    """A bias that falls with distance, at another slope in each head (Press et al., 2022)."""

    kind: Literal["alibi"] = "alibi"


class NoPositions(Config):
    """Nothing but the causal mask tells where a token stands (Kazemnejad et al., 2023)."""

    kind: Literal["none"] = "none"


Positions = Annotated[
    RotaryPositions | LearnedPositions | SinusoidalPositions | RelativePositions | AlibiPositions | NoPositions,
    Field(discriminator="kind"),
]


class NormConfig(Config):
    """Every norm of a model.

    Attributes:
        kind: `rms` or `layer`.
        eps: added to the mean square, or to the variance.
        bias: of `layer`.
        unit_offset: `rms` multiplies by 1 + weight.
    """

    kind: Literal["rms", "layer"] = "rms"
    eps: Annotated[float, Field(gt=0)] = 1e-6
    bias: bool = True
    unit_offset: bool = False

    def size(self, width: int) -> int:
        """Parameters of one norm of a width."""
        return width * (2 if self.kind == "layer" and self.bias else 1)


class ExpertsConfig(Config):
    """A choice of MLPs for each token (Shazeer et al., 2017; Mixtral).

    Attributes:
        num_experts: X in each layer that has them.
        experts_per_token: how many of them a token goes to.
        d_ff: width inside one expert.
        normalize_weights: the weights of the chosen ones sum to one.
        balance: weight of the load-balancing loss while training.
        dense_layers: layers that keep one plain MLP.
    """

    num_experts: Annotated[int, Field(ge=2)]
    experts_per_token: PositiveInt = 2
    d_ff: PositiveInt
    normalize_weights: bool = True
    balance: Annotated[float, Field(ge=0)] = 0.01
    dense_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()


class TransformerConfig(ModelConfig):
    """The blocks of a Transformer.

    Attributes:
        num_layers: blocks L.
        d_model: width D of the residual stream.
        num_heads: query heads H.
        num_kv_heads: key and value heads K; divides H (K = H: multi-head, K = 1: multi-query).
        head_dim: channels E of a head.
        d_ff: width F inside the MLP.
        activation: of the MLP.
        gated: the MLP multiplies its activated half by another one.
        norm: every norm of the model.
        norm_placement: before attention and MLP (`pre`), after their sum with the stream (`post`), on what they give
            (`output`), or before and on what they give (`sandwich`).
        parallel: attention and MLP read the same stream, and both are added to it.
        qk_norm: normalise queries and keys: each `head`, the whole `projection`, or `none`.
        qkv_bias: biases of queries, keys and values.
        out_bias: bias of attention's output.
        mlp_bias: biases of the MLP.
        attention_scale: of the logits; None for 1/sqrt(E).
        attention_softcap: of the logits of attention; None for none.
        sinks: each head has a logit that looks nowhere.
        window: how far layers with a window look, in tokens; None when no layer has one.
        layer_pattern: kinds of layers, repeated over the depth: `full` attention, a `window`, or full attention whose
            queries and keys are not turned (`unrotated`).
        positions: how a token knows where it stands.
        experts: a choice of MLPs; None for one MLP.
        embedding_scale: multiplies the tokens' vectors; None for none.
        embedding_norm: normalise the tokens' vectors.
        dropout: probability of dropping what a block adds to the stream, while training.
        attention_dropout: probability of dropping an attention weight, while training.
        embedding_dropout: probability of dropping a channel of a token's vector, while training.
        stochastic_depth: probability that the last block adds nothing to a row while training; that of the blocks
            before it falls in equal steps towards 0 (Huang et al., 2016).
        initialization: how matrices are drawn.
        residual_initialization: what happens to the projections that write into the stream.
    """

    num_layers: PositiveInt
    d_model: Annotated[int, Field(ge=2)]
    num_heads: PositiveInt
    num_kv_heads: PositiveInt
    head_dim: Annotated[int, Field(ge=2)]
    d_ff: PositiveInt
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "relu2"] = "relu2"
    gated: bool = False
    norm: NormConfig = NormConfig()
    norm_placement: Literal["pre", "post", "output", "sandwich"] = "pre"
    parallel: bool = False
    qk_norm: Literal["none", "head", "projection"] = "head"
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    attention_scale: Annotated[float, Field(gt=0)] | None = None
    attention_softcap: Annotated[float, Field(gt=0)] | None = None
    sinks: bool = False
    window: PositiveInt | None = None
    layer_pattern: tuple[Literal["full", "window", "unrotated"], ...] = ("full",)
    positions: Positions = RotaryPositions()
    experts: ExpertsConfig | None = None
    embedding_scale: Annotated[float, Field(gt=0)] | None = None
    embedding_norm: bool = True
    dropout: Probability = 0.0
    attention_dropout: Probability = 0.0
    embedding_dropout: Probability = 0.0
    stochastic_depth: Probability = 0.0
    initialization: Literal["normal", "truncated_normal", "xavier", "kaiming", "scaled_normal"] = "scaled_normal"
    residual_initialization: Literal["same", "depth_scaled", "zero"] = "zero"

    @model_validator(mode="after")
    def _blocks_fit_together(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads that num_kv_heads divides ({self.num_heads} / {self.num_kv_heads})")
        if self.positions.kind == "rotary" and self.rotated_channels % 2:
            raise ValueError(
                f"an even number of turned channels (head_dim {self.head_dim}, ratio {self.positions.ratio})"
            )
        if ("window" in self.layer_pattern) != (self.window is not None):
            raise ValueError("a window where layer_pattern has layers with a window, and nowhere else")
        if not self.layer_pattern:
            raise ValueError("a layer_pattern of at least one layer")
        if self.parallel and self.norm_placement != "pre":
            raise ValueError(f"norm_placement pre where attention and MLP are parallel (it is {self.norm_placement})")
        if self.experts is not None and self.experts.experts_per_token > self.experts.num_experts:
            raise ValueError(f"experts_per_token up to num_experts ({self.experts.num_experts})")
        return self

    @property
    def rotated_channels(self) -> int:
        """Channels of a head that rotary positions turn."""
        return int(self.head_dim * self.positions.ratio) if self.positions.kind == "rotary" else 0

    def layer_kind(self, layer: int) -> Literal["full", "window", "unrotated"]:
        """What kind of attention a layer has, from 0."""
        return self.layer_pattern[layer % len(self.layer_pattern)]

    def has_experts(self, layer: int) -> bool:
        """Whether a layer chooses among experts."""
        return self.experts is not None and layer not in self.experts.dense_layers

    def block_matrices(self, layer: int, *, cross: bool = False, active: bool = False) -> int:
        """Parameters of one block's matrices.

        Args:
            layer: which, from 0.
            cross: it attends to a memory too.
            active: count only the experts that one token goes to.
        """
        attention = self.d_model * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        if cross:
            attention += 4 * self.d_model * self.head_dim * self.num_heads
        width = self.d_model * (3 if self.gated else 2)
        if not self.has_experts(layer):
            return attention + width * self.d_ff
        assert self.experts is not None
        chosen = self.experts.experts_per_token if active else self.experts.num_experts
        return attention + chosen * width * self.experts.d_ff + self.d_model * self.experts.num_experts

    def block_vectors(self, layer: int, *, cross: bool = False) -> int:
        """Parameters of one block's norms, biases and sinks."""
        sub_layers = 3 if cross else 2
        total = sub_layers * self.norm.size(self.d_model) * (2 if self.norm_placement == "sandwich" else 1)
        if self.qk_norm != "none":
            heads = 2 if self.qk_norm == "head" else self.num_heads + self.num_kv_heads
            total += heads * self.head_dim
        total += self.num_heads * self.sinks
        heads = self.num_heads + 2 * self.num_kv_heads
        total += self.head_dim * heads * self.qkv_bias + self.d_model * self.out_bias
        if cross:
            total += 3 * self.head_dim * self.num_heads * self.qkv_bias + self.d_model * self.out_bias
        if not self.has_experts(layer):
            total += (self.d_ff * (2 if self.gated else 1) + self.d_model) * self.mlp_bias
        return total

    def stack_parameters(self, num_layers: int, *, cross: bool = False) -> int:
        """Parameters of a whole stack of blocks, with its positions and its norms at both ends."""
        blocks = sum(
            self.block_matrices(layer, cross=cross) + self.block_vectors(layer, cross=cross)
            for layer in range(num_layers)
        )
        ends = self.norm.size(self.d_model) * (self.embedding_norm + (self.norm_placement != "post"))
        return blocks + ends + self.position_parameters

    @property
    def position_parameters(self) -> int:
        """Parameters of one stack's positions."""
        if self.positions.kind == "learned":
            return (self.max_seq_len + self.positions.offset) * self.d_model
        if self.positions.kind == "relative":
            return self.positions.num_buckets * self.num_heads
        return 0

    def attention_flops(self, num_layers: int, *, causal: bool) -> int:
        """Training operations a token of what attention does beside its matrices (Kaplan et al., 2020).

        A causal query sees half of max_seq_len keys on average, one in a layer with a window at most the window.
        """
        total = 0
        for layer in range(num_layers):
            keys = self.max_seq_len // 2 if causal else self.max_seq_len
            if self.layer_kind(layer) == "window" and self.window is not None:
                keys = min(keys, self.window)
            total += 12 * self.num_heads * self.head_dim * keys
        return total

    @property
    def activations_per_token(self) -> int:
        """See `ModelConfig`."""
        width = self.d_ff if self.experts is None else self.experts.experts_per_token * self.experts.d_ff
        return self.num_layers * (18 * self.d_model + 4 * width)

    def cache_bytes(self, num_layers: int, batch_size: int, max_len: int) -> int:
        """Memory of the keys and values of a decoding, in float32."""
        return 8 * num_layers * batch_size * self.num_kv_heads * max_len * self.head_dim
