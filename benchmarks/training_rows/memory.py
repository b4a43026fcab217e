"""What attention and the loss hold while they train: sides of the memory row.

Each is measured in a fresh process as the most memory that it ever held, less what it held before; a small pass comes
first, so that libraries are loaded.
"""

from __future__ import annotations

from typing import Any

from training_rows.sides import held_bytes, peak_bytes

BATCH, WIDTH = 8, 384


def attention(num_tokens: int, packed: bool) -> dict[str, float]:
    """Forward and backward through two blocks: rows of one document, or packed with documents of 100 tokens."""
    import torch

    from stepwell.models import DecoderConfig, build_model

    shape = {"num_layers": 2, "d_model": WIDTH, "num_heads": 6, "num_kv_heads": 6, "head_dim": 64, "d_ff": WIDTH}
    model = build_model(DecoderConfig(vocab_size=512, max_seq_len=num_tokens, **shape))

    def work(length: int) -> None:
        ids = torch.arange(length).remainder(512).expand(BATCH, length).contiguous()
        documents = (torch.arange(length) // 100).to(torch.int32).expand(BATCH, length).contiguous() if packed else None
        with torch.autocast("cpu", torch.bfloat16):
            total = model.hidden(ids, documents).float().square().mean()
        total.backward()

    return peak_of(work, 64, num_tokens)


def loss(way: str, num_rows: int, vocab_size: int) -> dict[str, float]:
    """Forward and backward of the loss of `num_rows` rows of 256 tokens: `ours`, or `plain` float32 cross-entropy."""
    import numpy as np
    import torch

    from stepwell.data import Batch
    from stepwell.models import DecoderConfig, build_model
    from stepwell.objectives import causal_loss

    shape = {"num_layers": 1, "d_model": 64, "num_heads": 1, "num_kv_heads": 1, "head_dim": 64, "d_ff": 64}
    model = build_model(DecoderConfig(vocab_size=vocab_size, max_seq_len=256, **shape))

    def work(rows: int) -> None:
        ids = np.arange(rows * 256).reshape(rows, 256) % vocab_size
        everywhere = np.ones(ids.shape, bool)
        batch = Batch(ids, (ids + 1) % vocab_size, everywhere, np.zeros(ids.shape, np.int32))
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "ours"):
            if way == "ours":
                total = causal_loss(model, batch, torch.device("cpu")) / ids.size
            else:
                logits = model(torch.from_numpy(batch.token_ids))
                targets = torch.from_numpy(batch.targets)
                total = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        total.backward()

    logits_bytes = 4 * num_rows * 256 * vocab_size
    return {**peak_of(work, 1, num_rows), "logits_float32_bytes": logits_bytes}


def peak_of(work: Any, small: int, size: int) -> dict[str, float]:
    """What work of a size held beyond what the process holds after work of a small size."""
    work(small)
    before, peak_before = held_bytes(), peak_bytes()
    work(size)
    return {"peak_bytes": peak_bytes() - before, "hidden_by_start_bytes": max(0, peak_before - before)}
