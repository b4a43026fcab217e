"""Adapter files beside peft: it opens ours and computes the same, and so do we with its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import save_tiny, tiny
from torch import Tensor

from stepwell.checkpoints import import_model, load_checkpoint, put_in, read_peft, save_checkpoint
from stepwell.errors import CheckpointError
from stepwell.export import export_peft
from stepwell.models import LanguageModel, LoRAConfig, PromptTuningConfig, add_adapter
from stepwell.nn import adapter_tensors
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),  # peft asks transformers
    pytest.mark.filterwarnings("ignore:.*fan_in_fan_out.*:UserWarning"),
]
TARGETS: dict[str, tuple[str, ...]] = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "qwen3": ("q_proj", "v_proj"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "gpt_neox": ("query_key_value", "dense"),
    "bert": ("query", "value", "dense"),
    "t5": ("q", "k", "v", "o"),
}
"""Family -> layers of transformers: parts of one of ours, turned ones, and some with their rows in another order."""

WAYS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}


@pytest.fixture
def both(tmp_path: Path) -> Any:
    def build(family: str) -> tuple[Any, Path]:
        texts = ["a stepwell is a well that one reaches by a stair"] * 5
        theirs = tiny(family).eval()
        source = save_tiny(theirs, tmp_path / "source", train_tokenizer(texts, ByteBPEConfig(vocab_size=280)))
        import_model(str(source), tmp_path / "ours", parity=False)
        return theirs, tmp_path / "ours"

    return build


def logits(model: Any, family: str) -> Tensor:
    token_ids = torch.arange(2, 42).view(2, 20)
    with torch.no_grad():
        if family == "t5" and isinstance(model, LanguageModel):
            state, _ = model.begin(token_ids, 30)
            return model.extend(state, torch.full((2, 1), 9))
        if family == "t5":
            targets = torch.tensor([[7, 9]] * 2)
            return model(input_ids=token_ids, decoder_input_ids=targets).logits[:, -1]
        return model(token_ids) if isinstance(model, LanguageModel) else model(token_ids).logits


def randomize(tensors: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in tensors:
            tensor += 0.2 * torch.randn(tensor.shape, generator=generator)


def of_peft(theirs: Any, folder: Path, targets: tuple[str, ...], **settings: Any) -> Any:
    """An adapter that peft made and saved, with numbers that matter."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=list(targets), lora_dropout=0.0, **settings)
    adapted = peft.get_peft_model(theirs, config)
    randomize([parameter for name, parameter in adapted.named_parameters() if "lora_" in name])
    adapted.eval().save_pretrained(folder)
    return adapted


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", TARGETS)
def test_an_adapter_of_peft_computes_the_same_here(family: str, way: str, both: Any, tmp_path: Path) -> None:
    theirs, path = both(family)
    plain = logits(theirs, family)
    reference = logits(of_peft(theirs, tmp_path / "peft", TARGETS[family], **WAYS[way]), family)
    model = load_checkpoint(path).model.float()
    put_in(model, read_peft(tmp_path / "peft", model), tmp_path)
    torch.testing.assert_close(logits(model, family), reference, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(reference, plain, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", TARGETS)
def test_peft_opens_ours_and_computes_the_same(family: str, way: str, both: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    theirs, path = both(family)
    loaded = load_checkpoint(path)
    model = loaded.model.float()
    targets = ("qkv", "out", "up", "down") if family != "t5" else ("qkv", "query", "memory", "up")
    stabilized, dora = way == "rslora", way == "dora"
    add_adapter(model, LoRAConfig(rank=3, alpha=5, targets=targets, rank_stabilized=stabilized, dora=dora))
    randomize(list(adapter_tensors(model).values()))
    save_checkpoint(tmp_path / "trained", model, loaded.tokenizer, provenance=loaded.provenance)
    export_peft(tmp_path / "trained", tmp_path / "exported")
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "exported").eval()
    torch.testing.assert_close(logits(model, family), logits(adapted, family), rtol=1e-4, atol=1e-4)
    wanted = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    assert len(wanted) == len(load_file(tmp_path / "exported" / "adapter_model.safetensors"))
    again = load_checkpoint(path).model.float()
    back = read_peft(tmp_path / "exported", again)
    for name, tensor in adapter_tensors(model).items():
        assert torch.equal(back.tensors[name], tensor), name


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_a_prompt_of_peft_computes_the_same_here_and_goes_back_as_it_came(
    family: str, both: Any, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    theirs, path = both(family)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = peft.get_peft_model(theirs, config)
    randomize([parameter for name, parameter in adapted.named_parameters() if "prompt" in name])
    adapted.eval().save_pretrained(tmp_path / "peft")
    reference = logits(adapted, family)[:, 3:]
    loaded = load_checkpoint(path)
    model = loaded.model.float()
    plain = logits(model, family)
    put_in(model, read_peft(tmp_path / "peft", model), tmp_path)
    torch.testing.assert_close(logits(model, family), reference, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(reference, plain, rtol=1e-2, atol=1e-2)
    save_checkpoint(tmp_path / "with", model, loaded.tokenizer, provenance=loaded.provenance)
    export_peft(tmp_path / "with", tmp_path / "back")
    fresh = peft.PeftModel.from_pretrained(tiny(family).eval(), tmp_path / "back").eval()
    torch.testing.assert_close(logits(fresh, family)[:, 3:], reference, rtol=1e-4, atol=1e-4)
    came, went = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("peft", "back"))
    assert came.keys() == went.keys() == {"prompt_embeddings"}
    assert torch.equal(came["prompt_embeddings"], went["prompt_embeddings"])


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_a_prompt_that_peft_would_read_in_another_way_is_refused(family: str, both: Any, tmp_path: Path) -> None:
    _, path = both(family)
    loaded = load_checkpoint(path)
    add_adapter(loaded.model, PromptTuningConfig(num_tokens=3))
    save_checkpoint(tmp_path / "with", loaded.model, loaded.tokenizer, provenance=loaded.provenance)
    with pytest.raises(CheckpointError, match="peft reads a prompt of this model in another way"):
        export_peft(tmp_path / "with", tmp_path / "out")


def test_an_adapter_of_peft_goes_back_as_it_came(both: Any, tmp_path: Path) -> None:
    theirs, path = both("llama")
    patterns = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"down_proj": 9}}
    reference = logits(of_peft(theirs, tmp_path / "peft", TARGETS["llama"], **patterns), "llama")
    loaded = load_checkpoint(path)
    put_in(loaded.model.float(), read_peft(tmp_path / "peft", loaded.model), tmp_path)
    torch.testing.assert_close(logits(loaded.model, "llama"), reference, rtol=1e-4, atol=1e-4)
    save_checkpoint(tmp_path / "with", loaded.model, loaded.tokenizer, provenance=loaded.provenance)
    export_peft(tmp_path / "with", tmp_path / "back")
    came, went = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("peft", "back"))
    assert came.keys() == went.keys()
    for name, tensor in came.items():
        if name.split(".")[-3] not in ("down_proj", "v_proj"):  # their B has the other scale in it
            assert torch.equal(went[name], tensor), name
    peft = pytest.importorskip("peft")
    fresh = peft.PeftModel.from_pretrained(tiny("llama").eval(), tmp_path / "back").eval()
    torch.testing.assert_close(logits(fresh, "llama"), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"peft_type": "IA3"}, "another method"),
        ({"bias": "all"}, "bias: all"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": None}, "is damaged"),
    ],
)
def test_what_is_more_than_a_lora_is_named(changes: Any, match: str, both: Any, tmp_path: Path) -> None:
    theirs, path = both("llama")
    of_peft(theirs, tmp_path / "peft", ("q_proj",))
    file = tmp_path / "peft" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=match):
        read_peft(tmp_path / "peft", load_checkpoint(path).model)


def test_an_adapter_of_another_model_is_named(both: Any, tmp_path: Path) -> None:
    theirs, path = both("llama")
    of_peft(theirs, tmp_path / "peft", ("q_proj",))
    model = load_checkpoint(path).model
    file = tmp_path / "peft" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name.replace("q_proj", "query_proj"): tensor for name, tensor in tensors.items()}, file)
    with pytest.raises(CheckpointError, match=r"another model\n.*query_proj"):
        read_peft(tmp_path / "peft", model)
    save_file({name: tensor[:, :1].contiguous() for name, tensor in tensors.items()}, file)
    with pytest.raises(CheckpointError, match="of another size"):
        read_peft(tmp_path / "peft", model)
    save_file({**tensors, "base_model.model.lm_head.weight": torch.ones(2)}, file)
    with pytest.raises(CheckpointError, match=r"other tensors.*\n.*lm_head"):
        read_peft(tmp_path / "peft", model)
    file.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_peft(tmp_path / "peft", model)
