"""Published decoders: config.json as far as a model depends on it, and the number of parameters it came with."""

from __future__ import annotations

from typing import Any

LLAMA3_ROPE = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def shape(width: int, inner: int, layers: int, heads: int, shared: int, length: int, vocab: int) -> dict[str, Any]:
    """The sizes by their names in most configs."""
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "max_position_embeddings": length,
        "vocab_size": vocab,
    }


PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "gpt2": (
        124_439_808,
        {
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-05,
            "n_ctx": 1024,
            "n_embd": 768,
            "n_head": 12,
            "n_layer": 12,
            "n_positions": 1024,
            "vocab_size": 50257,
        },
    ),
    "pythia-160m": (
        162_322_944,
        {
            "model_type": "gpt_neox",
            **shape(768, 3072, 12, 12, 12, 2048, 50304),
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-05,
            "rotary_emb_base": 10000,
            "rotary_pct": 0.25,
            "tie_word_embeddings": False,
            "use_parallel_residual": True,
        },
    ),
    "Llama-2-7b": (
        6_738_415_616,
        {
            "model_type": "llama",
            **shape(4096, 11008, 32, 32, 32, 4096, 32000),
            "hidden_act": "silu",
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "tie_word_embeddings": False,
        },
    ),
    "Llama-3.2-1B": (
        1_235_814_400,
        {
            "model_type": "llama",
            **shape(2048, 8192, 16, 32, 8, 131072, 128256),
            "head_dim": 64,
            "rms_norm_eps": 1e-05,
            "rope_scaling": LLAMA3_ROPE,
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
    ),
    "SmolLM2-135M": (
        134_515_008,
        {
            "model_type": "llama",
            **shape(576, 1536, 30, 9, 3, 8192, 49152),
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_scaling": None,
            "rope_theta": 100000,
            "tie_word_embeddings": True,
        },
    ),
    "Mistral-7B-v0.1": (
        7_241_732_096,
        {
            "model_type": "mistral",
            **shape(4096, 14336, 32, 32, 8, 32768, 32000),
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
        },
    ),
    "Qwen2.5-0.5B": (
        494_032_768,
        {
            "model_type": "qwen2",
            **shape(896, 4864, 24, 14, 2, 32768, 151936),
            "max_window_layers": 24,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "tie_word_embeddings": True,
            "use_mrope": False,
            "use_sliding_window": False,
        },
    ),
    "Qwen3-0.6B": (
        596_049_920,
        {
            "model_type": "qwen3",
            **shape(1024, 3072, 28, 16, 8, 40960, 151936),
            "attention_bias": False,
            "head_dim": 128,
            "max_window_layers": 28,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
        },
    ),
    "gemma-2-2b": (
        2_614_341_888,
        {
            "model_type": "gemma2",
            **shape(2304, 9216, 26, 8, 4, 8192, 256000),
            "attn_logit_softcapping": 50.0,
            "cache_implementation": "hybrid",
            "final_logit_softcapping": 30.0,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
        },
    ),
    "gemma-3-1b": (
        999_885_952,
        {
            "model_type": "gemma3_text",
            **shape(1152, 6912, 26, 4, 1, 32768, 262144),
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "rope_local_base_freq": 10000,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
        },
    ),
    "OLMo-2-1124-7B": (
        7_298_617_344,
        {
            "model_type": "olmo2",
            **shape(4096, 11008, 32, 32, 32, 4096, 100352),
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 500000,
            "tie_word_embeddings": False,
        },
    ),
    "SmolLM3-3B": (
        3_075_098_624,
        {
            "model_type": "smollm3",
            **shape(2048, 11008, 36, 16, 4, 65536, 128256),
            "no_rope_layers": [int((layer + 1) % 4 != 0) for layer in range(36)],
            "no_rope_layer_interval": 4,
            "layer_types": ["full_attention"] * 36,
            "rope_scaling": None,
            "rope_theta": 5000000.0,
            "use_sliding_window": False,
        },
    ),
    "Mixtral-8x7B": (
        46_702_792_704,
        {
            "model_type": "mixtral",
            **shape(4096, 14336, 32, 32, 8, 32768, 32000),
            "num_experts_per_tok": 2,
            "num_local_experts": 8,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "router_aux_loss_coef": 0.02,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
    ),
    "Qwen3-30B-A3B": (
        30_532_122_624,
        {
            "model_type": "qwen3_moe",
            **shape(2048, 6144, 48, 32, 4, 40960, 151936),
            "decoder_sparse_step": 1,
            "head_dim": 128,
            "max_window_layers": 48,
            "mlp_only_layers": [],
            "moe_intermediate_size": 768,
            "norm_topk_prob": True,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "rope_theta": 1000000.0,
            "router_aux_loss_coef": 0.001,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
        },
    ),
}
