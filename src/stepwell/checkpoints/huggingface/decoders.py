"""What the decoders since Llama share in transformers: fields, names of parameters, kinds of layers.

A family says in its own file what it does in its own way; the rest is Llama's. Our decoder's config tells everything
the rules need: which norms there are, which biases, which layers have experts. Special tokens are left to whoever
writes a tokenizer beside the model, and this file leaves out the families.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from stepwell.checkpoints.huggingface.exactness import exact
from stepwell.checkpoints.huggingface.family import ForeignConfig, ForeignFamily, Rule
from stepwell.checkpoints.huggingface.layouts import SAME, Experts, Layout, Stacked
from stepwell.checkpoints.huggingface.spelling import (
    WRITTEN,
    needed,
    read_activation,
    read_rotary,
    refuse,
    write_rotary,
)
from stepwell.config import build
from stepwell.models import DecoderConfig, ModelConfig, TransformerConfig

IGNORED = (r".*\.rotary_emb\.inv_freq",)
"""Tables that follow from the config, which old files hold."""


NormNames = Mapping[str, Mapping[str, str]]
"""Where norms stand -> our norms of a block and theirs."""

NORMS: NormNames = {
    "pre": {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "output": {"attention_norm": "post_attention_layernorm", "mlp_norm": "post_feedforward_layernorm"},
    "sandwich": {
        "attention_norm": "input_layernorm",
        "attention_out_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_out_norm": "post_feedforward_layernorm",
    },
}
"""As most families call them."""

QK_NORMS = {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}


class ExpertNames(NamedTuple):
    """What a family calls the parts of a mixture of experts.

    Attributes:
        mixture: the mixture, in a layer; `gate` and `experts` stand in it.
        gate: what is activated.
        value: what it is multiplied by.
        down: what narrows again.
    """

    mixture: str
    gate: str
    value: str
    down: str


def shared_width(config: ForeignConfig) -> int:
    """Channels of a head where the heads share the width of the stream.

    Raises:
        CheckpointError: when they cannot share it.
    """
    heads, width = needed(config, "num_attention_heads"), needed(config, "hidden_size")
    if width % heads:
        raise refuse("num_attention_heads", f"{heads} heads for {width} channels", "a divisor of hidden_size")
    return width // heads


def read_decoder(config: ForeignConfig, choices: Mapping[str, Any]) -> DecoderConfig:
    """A config in Llama's spelling.

    Args:
        config: theirs.
        choices: what the family does in its own way, by our names.

    Raises:
        CheckpointError: naming a field that is missing or cannot be represented.
        ConfigError: when the fields do not fit each other.
    """
    heads = needed(config, "num_attention_heads")
    tree: dict[str, Any] = {
        "vocab_size": needed(config, "vocab_size"),
        "max_seq_len": needed(config, "max_position_embeddings"),
        "num_layers": needed(config, "num_hidden_layers"),
        "d_model": needed(config, "hidden_size"),
        "num_heads": heads,
        "num_kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or shared_width(config),
        "d_ff": needed(config, "intermediate_size"),
        "gated": True,
        "norm": {"kind": "rms", "eps": config.get("rms_norm_eps", 1e-6)},
        "qk_norm": "none",
        "embedding_norm": False,
        "attention_dropout": config.get("attention_dropout") or 0.0,
        "tie_embeddings": config.get("tie_word_embeddings", False),
    }
    if "activation" not in choices:
        tree["activation"] = read_activation(config.get("hidden_act", "silu"))
    if "positions" not in choices:
        tree["positions"] = read_rotary(config)
    return build(DecoderConfig, {**tree, **choices}, where="config.json")


def decoder_family(
    model_type: str,
    architecture: str,
    read: Callable[[ForeignConfig], DecoderConfig],
    spell: Callable[[DecoderConfig], dict[str, Any]],
    experts: ExpertNames | None = None,
    norms: NormNames | None = None,
) -> ForeignFamily:
    """A family in Llama's spelling, which every version of transformers reads.

    Args:
        model_type: of the family.
        architecture: its class.
        read: its config as ours.
        spell: the fields of ours that it spells in its own way, or that Llama does not have.
        experts: the names of its experts; None for a family without.
        norms: the names of its norms, where they are not those of `NORMS`.
    """

    def write(config: ModelConfig) -> dict[str, Any]:
        assert isinstance(config, DecoderConfig)
        common = {
            "architectures": [architecture],
            "model_type": model_type,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_seq_len,
            "num_hidden_layers": config.num_layers,
            "hidden_size": config.d_model,
            "num_attention_heads": config.num_heads,
            "num_key_value_heads": config.num_kv_heads,
            "head_dim": config.head_dim,
            "intermediate_size": config.d_ff,
            "hidden_act": WRITTEN.get(config.activation, config.activation),
            "rms_norm_eps": config.norm.eps,
            **spell_rotary(config),
            "attention_dropout": config.attention_dropout,
            "tie_word_embeddings": config.tie_embeddings,
        }
        return exact(config, common | spell(config), read)

    return ForeignFamily(
        kind="decoder",
        architectures=(architecture,),
        read_config=read,
        write_config=write,
        rules=partial(decoder_rules, experts=experts, norms=norms or NORMS),
        prefix="model.",
        copies={"lm_head.weight": "model.embed_tokens.weight"},
        ignored=IGNORED,
    )


def spell_rotary(config: DecoderConfig) -> dict[str, Any]:
    """Rotary positions as transformers 5 spells them, and beside it as its older versions do."""
    new = write_rotary(config.positions)
    if not new:
        return {}
    old = {name: value for name, value in new.items() if name != "rope_theta"}
    scaled = old if new["rope_type"] != "default" else None
    return {"rope_parameters": new, "rope_theta": new["rope_theta"], "rope_scaling": scaled}


def read_layers(config: ForeignConfig, layer_types: Sequence[str], window: int | None) -> dict[str, Any]:
    """`layer_pattern` and `window` of a model that says for each layer how far it looks.

    Args:
        config: theirs.
        layer_types: one for each layer: `full_attention`, `sliding_attention`, or our `unrotated`.
        window: of the sliding ones, in tokens.

    Raises:
        CheckpointError: for another type, or another number of layers.
    """
    kinds = {"full_attention": "full", "sliding_attention": "window", "unrotated": "unrotated"}
    others = sorted(set(layer_types) - kinds.keys())
    if others:
        raise refuse("layer_types", ", ".join(others), "full_attention or sliding_attention")
    if len(layer_types) != config["num_hidden_layers"]:
        raise refuse("layer_types", f"{len(layer_types)} layers", f"num_hidden_layers = {config['num_hidden_layers']}")
    pattern = [kinds[kind] for kind in layer_types]
    size = next(
        size
        for size in range(1, len(pattern) + 1)
        if all(kind == pattern[layer % size] for layer, kind in enumerate(pattern))
    )
    return {"layer_pattern": pattern[:size], "window": window if "window" in pattern else None}


def write_layers(config: TransformerConfig) -> list[str]:
    """`layer_types` of our layers."""
    kinds = {"window": "sliding_attention"}
    return [kinds.get(config.layer_kind(layer), "full_attention") for layer in range(config.num_layers)]


def decoder_rules(config: ModelConfig, experts: ExpertNames | None, norms: NormNames) -> list[Rule]:
    """Every parameter of a decoder in Llama's names.

    Args:
        config: ours.
        experts: the names of its experts; None for a family without.
        norms: the names of its norms.
    """
    assert isinstance(config, DecoderConfig)
    rules = [Rule("embedding.weight", ("model.embed_tokens.weight",), SAME)]
    for layer in range(config.num_layers):
        ours, theirs = f"body.blocks.{layer}.", f"model.layers.{layer}."
        for part, (names, layout) in _block(config, layer, norms).items():
            for end in ("weight", "bias") if _has_bias(config, part) else ("weight",):
                rules.append(Rule(f"{ours}{part}.{end}", tuple(f"{theirs}{name}.{end}" for name in names), layout))
        if experts is not None and config.has_experts(layer):
            rules += _expert_rules(config, experts, ours, theirs)
    rules.append(Rule("body.norm.weight", ("model.norm.weight",), SAME))
    if not config.tie_embeddings:
        rules.append(Rule("head.weight", ("lm_head.weight",), SAME))
    return rules


def _block(config: DecoderConfig, layer: int, norms: NormNames) -> dict[str, tuple[tuple[str, ...], Layout]]:
    """The modules of a block, experts aside: our name -> theirs, and how they lie."""
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    same = {**norms[config.norm_placement], **({} if config.qk_norm == "none" else QK_NORMS)}
    parts: dict[str, tuple[tuple[str, ...], Layout]] = {ours: ((theirs,), SAME) for ours, theirs in same.items()}
    parts["attention.qkv"] = (
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        Stacked((query, key, key)),
    )
    parts["attention.out"] = (("self_attn.o_proj",), SAME)
    if not config.has_experts(layer):
        gated = (("mlp.gate_proj", "mlp.up_proj"), Stacked((config.d_ff, config.d_ff)))
        parts["mlp.up"] = gated if config.gated else (("mlp.up_proj",), SAME)
        parts["mlp.down"] = (("mlp.down_proj",), SAME)
    return parts


def _has_bias(config: DecoderConfig, part: str) -> bool:
    if part.startswith("mlp."):
        return config.mlp_bias
    return {"attention.qkv": config.qkv_bias, "attention.out": config.out_bias}.get(part, False)


def _expert_rules(config: DecoderConfig, names: ExpertNames, ours: str, theirs: str) -> list[Rule]:
    assert config.experts is not None
    width, each = (
        config.experts.d_ff,
        [f"{theirs}{names.mixture}.experts.{x}" for x in range(config.experts.num_experts)],
    )
    wide = tuple(f"{expert}.{name}.weight" for expert in each for name in (names.gate, names.value))
    return [
        Rule(f"{ours}mlp.router.weight", (f"{theirs}{names.mixture}.gate.weight",), SAME),
        Rule(f"{ours}mlp.up", wide, Experts((width, width))),
        Rule(f"{ours}mlp.down", tuple(f"{expert}.{names.down}.weight" for expert in each), Experts((config.d_model,))),
    ]
