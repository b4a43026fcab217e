"""Every decoder family of transformers against its own class: logits, losses, padding, decoding, weights and config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stepwell.checkpoints import FAMILIES, ForeignModel, import_weights
from stepwell.checkpoints.foreign import read_directory
from stepwell.data import Batch
from stepwell.models import LanguageModel, build_model
from stepwell.nn import attend
from stepwell.objectives import causal_loss
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

transformers = pytest.importorskip("transformers")

VOCAB, WINDOW = 257, 7
NO_TOKENS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}
MULTI_HEAD = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
GPT2_SIZES = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 96}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": WINDOW}


def rope(kind: str, **values: Any) -> dict[str, Any]:
    """One of the rotary scalings, from a window of 24 tokens to one of 96."""
    original = {} if kind in ("linear", "dynamic") else {"original_max_position_embeddings": 24}
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, "factor": 4.0, **original, **values}}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2_SIZES),
    "gpt2, every choice": (
        "gpt2",
        {
            **GPT2_SIZES,
            "n_inner": 40,
            "activation_function": "relu",
            "scale_attn_weights": False,
            "tie_word_embeddings": False,
        },
    ),
    "gpt_neox": ("gpt_neox", MULTI_HEAD),
    "gpt_neox in turn": (
        "gpt_neox",
        {
            **MULTI_HEAD,
            "use_parallel_residual": False,
            "attention_bias": False,
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e3, "partial_rotary_factor": 0.5},
        },
    ),
    "llama": ("llama", {**SIZES, "hidden_act": "gelu_pytorch_tanh"}),
    "llama, every choice": (
        "llama",
        {**SIZES, "attention_bias": True, "mlp_bias": True, "head_dim": 12, "tie_word_embeddings": True},
    ),
    "llama linear": ("llama", {**SIZES, **rope("linear")}),
    "llama dynamic": ("llama", {**SIZES, **rope("dynamic")}),
    "llama3": ("llama", {**SIZES, **rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0)}),
    "llama yarn": ("llama", {**SIZES, **rope("yarn", beta_fast=4.0, beta_slow=0.5)}),
    "llama yarn, its own sharpness": ("llama", {**SIZES, **rope("yarn", attention_factor=0.7, truncate=False)}),
    "apertus": ("apertus", {**SIZES, "hidden_act": "relu2", "rope_parameters": {"rope_type": "default"}}),
    "apertus scaled": ("apertus", {**SIZES, "hidden_act": "silu", "attention_bias": True}),
    "mistral": ("mistral", {**SIZES, "sliding_window": WINDOW}),
    "mistral without window": ("mistral", {**SIZES, "sliding_window": None, "head_dim": 16}),
    "qwen2 windows": (
        "qwen2",
        {**SIZES, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen2": ("qwen2", SIZES),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 16}),
    "qwen3 windows": (
        "qwen3",
        {
            **SIZES,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "olmo2": ("olmo2", SIZES),
    "smollm3": ("smollm3", {**SIZES, "no_rope_layer_interval": 2}),
    "smollm3 windows": (
        "smollm3",
        {
            **SIZES,
            "no_rope_layers": [1, 0, 1],
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        },
    ),
    "gemma2": ("gemma2", {**SIZES, **GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}),
    "gemma2 without caps": (
        "gemma2",
        {**SIZES, **GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True},
    ),
    "gemma3": ("gemma3_text", {**SIZES, **GEMMA, "num_hidden_layers": 6, "final_logit_softcapping": 4.0}),
    "gemma3 stretched": (
        "gemma3_text",
        {
            **SIZES,
            **GEMMA,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
        },
    ),
    "mixtral": ("mixtral", {**SIZES, "num_local_experts": 4, "sliding_window": WINDOW}),
    "mixtral, three of five": ("mixtral", {**SIZES, "num_local_experts": 5, "num_experts_per_tok": 3, "head_dim": 16}),
    "qwen3_moe": (
        "qwen3_moe",
        {
            **SIZES,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "norm_topk_prob": True,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3_moe, every second": (
        "qwen3_moe",
        {
            **SIZES,
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 16,
            "decoder_sparse_step": 2,
            "norm_topk_prob": False,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
        },
    ),
}
EXPERTS = [name for name in CASES if name.startswith(("mixtral", "qwen3_moe"))]
FAST = {model_type: name for name, (model_type, _) in reversed(CASES.items())}.values()
"""The first case of each family; the others run with the whole suite."""


@dataclass(frozen=True)
class Pair:
    """The same weights in both houses.

    Attributes:
        theirs: the model of transformers.
        ours: the imported one.
        foreign: what was imported.
        tensors: our parameters as they were imported.
    """

    theirs: Any
    ours: LanguageModel
    foreign: ForeignModel
    tensors: dict[str, Tensor]


def drawn(config: Any) -> Any:
    """A model of transformers in which no weight is what training begins with.

    Embeddings are small, or a model whose head they are would only repeat its input.
    """
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(0)
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.05 if parameter is embedding else 0.3, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Name of a case -> both models, each made once."""
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=VOCAB))
    pairs: dict[str, Pair] = {}

    def make(name: str) -> Pair:
        if name not in pairs:
            model_type, values = CASES[name]
            theirs = drawn(transformers.AutoConfig.for_model(model_type, **NO_TOKENS, **values))
            folder: Path = tmp_path_factory.mktemp("theirs")
            theirs.save_pretrained(folder)
            foreign = dataclasses.replace(read_directory(folder), read_tokenizer=lambda: tokenizer)
            imported = import_weights(foreign)
            ours = build_model(imported.skeleton.config).eval()
            ours.load_state_dict(imported.tensors)
            pairs[name] = Pair(theirs, ours, foreign, imported.tensors)
        return pairs[name]

    return make


@pytest.fixture(params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES])
def pair(request: pytest.FixtureRequest, pair_of: Callable[[str], Pair]) -> Pair:
    return pair_of(request.param)


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def padding(lengths: list[int], side: str, width: int) -> Tensor:
    """(B, width) int64, 1 where there is text."""
    places, sizes = torch.arange(width), torch.tensor(lengths)[:, None]
    return ((places < sizes) if side == "right" else (places >= width - sizes)).long()


def read_by_them(model: Any, token_ids: Tensor, mask: Tensor) -> Tensor:
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits: Tensor = model(token_ids, attention_mask=mask, position_ids=positions).logits
    return logits


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Within 3e-5 of the range of their logits: most are within 2e-6, but their rotary frequencies are float32."""
    assert float((ours - theirs).abs().max()) <= 3e-5 * float(theirs.max() - theirs.min())


@torch.no_grad()
def test_logits_of_rows_together_and_alone(pair):
    token_ids = tokens(3, 90)
    theirs = pair.theirs(token_ids).logits
    assert float(theirs.max() - theirs.min()) > 1  # otherwise nothing would be compared
    assert_close(pair.ours(token_ids), theirs)
    assert_close(pair.ours(token_ids[:1, :50]), theirs[:1, :50])


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows(pair, side):
    token_ids, mask = tokens(3, 40), padding([40, 23, 1], side, 40)
    theirs = read_by_them(pair.theirs, token_ids, mask)
    ours = pair.ours(token_ids, document_ids=mask)
    text = mask.bool()
    assert_close(ours[text], theirs[text])


@torch.no_grad()
def test_loss(pair):
    token_ids, mask = tokens(2, 31), padding([31, 17], "right", 31).bool()
    labels = token_ids.masked_fill(~mask, -100)
    theirs = pair.theirs(token_ids, attention_mask=mask.long(), labels=labels).loss
    counted = mask[:, 1:]
    arrays = (token_ids[:, :-1], token_ids[:, 1:], counted, (~mask[:, :-1]).to(torch.int32))
    batch = Batch(*(np.asarray(array) for array in arrays))
    ours = causal_loss(pair.ours, batch, torch.device("cpu")) / batch.num_targets
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_the_same_64_greedy_tokens_from_a_padded_batch(pair):
    token_ids, mask = tokens(3, 20), padding([20, 11, 3], "left", 20)
    theirs = pair.theirs.generate(
        token_ids, attention_mask=mask, max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )[:, 20:]
    state = pair.ours.start(3, 84, left_padding=(1 - mask).sum(-1))
    ours = [pair.ours.extend(state, token_ids).argmax(-1)]
    for _ in range(63):
        ours.append(pair.ours.extend(state, ours[-1][:, None]).argmax(-1))
    assert torch.equal(torch.stack(ours, 1), theirs)
    assert len(set(theirs.flatten().tolist())) > 5


@torch.no_grad()
def test_steps_with_their_cache_and_ours(pair):
    token_ids = tokens(2, 30)
    state, cache, at = pair.ours.start(2, 30), None, 0
    for size in (1, 12, 1, 16):
        step = token_ids[:, at : at + size]
        theirs = pair.theirs(step, past_key_values=cache, use_cache=True)
        cache, at = theirs.past_key_values, at + size
        assert_close(pair.ours.extend(state, step), theirs.logits[:, -1])


def test_weights_come_back_bit_for_bit(pair):
    family = FAMILIES[pair.foreign.config["model_type"]]
    written = {
        name: part
        for rule in family.rules(pair.ours.config)
        for name, part in zip(rule.theirs, rule.layout.split(pair.tensors[rule.ours]), strict=True)
    }
    assert written.keys() == pair.foreign.tensors.keys()
    for name, tensor in pair.foreign.tensors.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name].view(torch.int32), tensor.view(torch.int32)), name


def same_logits(config: Any, reference: nn.Module) -> bool:
    """Whether a model of a config computes from a model's weights what that one computes, to the bit."""
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model.load_state_dict(reference.state_dict())
    token_ids = tokens(2, 90)
    return torch.equal(model(token_ids).logits, reference(token_ids).logits)


@torch.no_grad()
def test_a_written_config_is_the_same_model_there_and_here(pair):
    family = FAMILIES[pair.foreign.config["model_type"]]
    written = family.write_config(pair.ours.config)
    assert same_logits(type(pair.theirs.config).from_dict({**written, **NO_TOKENS}), pair.theirs)
    assert family.read_config(written) == pair.ours.config
    whole = type(pair.theirs.config).from_dict({**written, **NO_TOKENS}).to_dict()
    assert family.read_config(whole) == pair.ours.config


@torch.no_grad()
def test_the_older_spelling_of_a_written_config_is_enough(pair):
    """Older versions of transformers know no rope_parameters; what is beside them says the same."""
    written = FAMILIES[pair.foreign.config["model_type"]].write_config(pair.ours.config)
    if written.pop("rope_parameters", None) is None:
        pytest.skip("no rotary positions")
    if written["model_type"] == "apertus" and written["rope_scaling"] is None:
        pytest.skip("without rope_parameters it is scaled as the published one")
    assert same_logits(type(pair.theirs.config).from_dict({**written, **NO_TOKENS}), pair.theirs)


@pytest.mark.parametrize("case", EXPERTS)
def test_the_balance_of_experts_is_theirs(case, pair_of):
    pair, token_ids = pair_of(case), tokens(3, 30)
    with torch.no_grad():
        theirs = pair.theirs(token_ids, output_router_logits=True).aux_loss
    pair.ours.train()
    pair.ours(token_ids)
    ours = pair.ours.auxiliary_loss()
    pair.ours.eval()
    assert ours is not None
    assert float(ours.detach()) == pytest.approx(pair.theirs.config.router_aux_loss_coef * float(theirs), rel=1e-5)


def test_sinks_are_those_of_gpt_oss():
    """Its experts are of another kind, so the model as a whole is not read; its attention is ours."""
    from transformers.models.gpt_oss import modeling_gpt_oss as theirs

    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(2, 4, 9, 8, generator=generator)
    keys, values = (torch.randn(2, 2, 9, 8, generator=generator) for _ in range(2))
    sinks = torch.randn(4, generator=generator)
    hidden = torch.full((9, 9), float("-inf")).triu(1)
    settings = SimpleNamespace(num_key_value_groups=2, sinks=sinks, training=False)
    expected, _ = theirs.eager_attention_forward(settings, queries, keys, values, hidden, scaling=0.3)
    ours = attend(queries, keys, values, causal=True, scale=0.3, sinks=sinks)
    torch.testing.assert_close(ours.transpose(1, 2), expected)


def test_every_family_is_compared():
    decoders = {name for name, family in FAMILIES.items() if family.kind == "decoder"}
    assert {model_type for model_type, _ in CASES.values()} == decoders
