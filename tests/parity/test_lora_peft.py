"""LoRA beside peft: the same tiny Llama, the same A and B, the same logits and gradients.

Our queries, keys and values share one matrix, and so one A; peft has an A for each. With the same A in all three, its
gradients sum to ours.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_transformers import save_tiny, tiny

from stepwell.checkpoints import import_model, load_checkpoint
from stepwell.nn import adapter_tensors, add_lora, merge_adapters
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

RANK, ALPHA = 4, 6.0
PARTS = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.o_proj",),
    "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
}
"""Our layer -> the layers of transformers whose rows it has, in this order."""


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks transformers
@pytest.mark.parametrize("stabilized", [False, True])
def test_same_logits_and_gradients_as_peft(stabilized: bool, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    tokenizer = train_tokenizer(["a stepwell is a well that one reaches by a stair"] * 5, ByteBPEConfig(vocab_size=280))
    theirs = tiny("llama").eval()
    import_model(str(save_tiny(theirs, tmp_path / "source", tokenizer)), tmp_path / "ours", parity=False)
    ours = load_checkpoint(tmp_path / "ours").model.float()
    add_lora(ours, rank=RANK, alpha=ALPHA, targets=("qkv", "out", "up", "down"), rank_stabilized=stabilized)
    names = [part.rpartition(".")[2] for parts in PARTS.values() for part in parts]
    wanted = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names, use_rslora=stabilized, lora_dropout=0.0)
    adapted = peft.get_peft_model(theirs.float(), wanted)

    generator = torch.Generator().manual_seed(0)
    pairs = []  # our layer, and those of peft with the rows of B that each has
    with torch.no_grad():
        for number, block in enumerate(ours.body.blocks):
            for our_name, their_names in PARTS.items():
                layer = block.get_submodule(our_name)
                layer.lora_b.copy_(torch.randn(layer.lora_b.shape, generator=generator) * 0.2)
                theirs_here = [adapted.base_model.model.model.layers[number].get_submodule(n) for n in their_names]
                rows = layer.lora_b.split([part.out_features for part in theirs_here])
                for part, b in zip(theirs_here, rows, strict=True):
                    part.lora_A["default"].weight.copy_(layer.lora_a)
                    part.lora_B["default"].weight.copy_(b)
                pairs.append((layer, theirs_here))

    token_ids = torch.randint(0, 280, (2, 20), generator=generator)
    logits, reference = ours(token_ids), adapted(token_ids).logits
    torch.testing.assert_close(logits, reference, rtol=1e-4, atol=1e-4)
    weigh = torch.randn(logits.shape, generator=generator)
    (logits * weigh).sum().backward()
    (reference * weigh).sum().backward()
    for layer, parts in pairs:
        a = sum(part.lora_A["default"].weight.grad for part in parts)
        b = torch.cat([part.lora_B["default"].weight.grad for part in parts])
        torch.testing.assert_close(layer.lora_a.grad, a, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layer.lora_b.grad, b, rtol=1e-3, atol=1e-3)
    learned = {name for name, parameter in ours.named_parameters() if parameter.grad is not None}
    assert learned == adapter_tensors(ours).keys()

    merge_adapters(ours)
    with torch.no_grad():
        torch.testing.assert_close(ours(token_ids), adapted.merge_and_unload()(token_ids).logits, rtol=1e-4, atol=1e-4)
