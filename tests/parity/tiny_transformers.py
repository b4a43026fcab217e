"""Tiny random models of transformers, by name: the reference that every family is held to.

Whoever adds a family adds a row to `TINY`, and gets the tests that read it, compare it and write it back. Weights are
drawn wide enough that every part of a model matters, norms and biases too. transformers is imported inside the
functions: collecting the tests must not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCAB = 300
"""Rows of the embeddings; the tokenizer beside has fewer tokens, as many published ones have."""

TOKENS = {"bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    **TOKENS,
}
"""What most configs call their sizes."""

GROUPED = {**SIZES, "num_key_value_heads": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 1e4}
GEMMA = {**GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}
EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 3}

MODERN = {**SIZES, "num_hidden_layers": 4, "local_attention": 8}

T5 = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "n_positions": 96,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "decoder_start_token_id": 7,
    **TOKENS,
}
HALVES = {
    **{f"{half}_layers": layers for half, layers in (("encoder", 2), ("decoder", 1))},
    **{f"{half}_ffn_dim": 48 for half in ("encoder", "decoder")},
    **{f"{half}_attention_heads": 4 for half in ("encoder", "decoder")},
}
BART = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "max_position_embeddings": 96,
    "decoder_start_token_id": 7,
    "forced_eos_token_id": None,
    **HALVES,
    **TOKENS,
}

TINY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "llama scaled": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {
            **GROUPED,
            "head_dim": 16,
            "rope_parameters": LLAMA3,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**GROUPED, "sliding_window": 8}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 16}),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", GROUPED),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", {**GROUPED, "num_hidden_layers": 4}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", GEMMA),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**GEMMA, "num_hidden_layers": 6}),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96, **TOKENS},
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SIZES),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**GROUPED, **EXPERTS}),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**GROUPED, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True},
    ),
    "apertus": (  # what our own default decoder becomes
        "ApertusForCausalLM",
        "ApertusConfig",
        {**GROUPED, "hidden_act": "relu2", "rope_parameters": PLAIN_ROPE},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", SIZES),
    "bert without head": ("BertModel", "BertConfig", SIZES),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {**SIZES, "pad_token_id": 0}),
    "roberta without head": ("RobertaModel", "RobertaConfig", {**SIZES, "pad_token_id": 0}),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", MODERN),
    "modernbert without head": ("ModernBertModel", "ModernBertConfig", MODERN),
    "t5": ("T5ForConditionalGeneration", "T5Config", {**T5, "num_decoder_layers": 1}),
    "t5 gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mt5": ("MT5ForConditionalGeneration", "MT5Config", T5),
    "bart": ("BartForConditionalGeneration", "BartConfig", {**BART, "forced_bos_token_id": 9}),
    "bart without head": ("BartModel", "BartConfig", {**BART, "scale_embedding": True}),
    "marian": (
        "MarianMTModel",
        "MarianConfig",
        {**BART, "activation_function": "swish", "scale_embedding": True, "bad_words_ids": [[7]]},
    ),
    "marian two tables": ("MarianMTModel", "MarianConfig", {**BART, "share_encoder_decoder_embeddings": False}),
}
"""Name -> class, config class, and what is said of the config."""


def tiny(name: str, seed: int = 0) -> Any:
    """One of the models, in evaluation mode, with weights that matter."""
    import torch
    import transformers

    model_class, config_class, values = TINY[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, model_class)(getattr(transformers, config_class)(**values))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.2)
                else:
                    parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model.eval()


def save_tiny(model: Any, folder: Path, tokenizer: Any) -> Path:
    """Write a model as transformers does, and beside it a tokenizer that fits its vocabulary."""
    from stepwell.checkpoints.parity import quiet

    with quiet():
        model.save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.json")
    return folder
