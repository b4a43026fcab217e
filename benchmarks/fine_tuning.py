"""What the ways of fine-tuning cost and give: SmolLM2-135M on a text, each way in a process of its own.

    python benchmarks/fine_tuning.py CHECKPOINT TEXT [--steps 30] [--ways lora "lora int4"]

CHECKPOINT is the imported model. Printed are the held-out loss before and after, bytes of the weights and of what is
learned, the highest memory of the process, and the time of a step. All see the same rows in the same order, so the
losses compare; times compare only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROW_TOKENS, ROWS, HELD_OUT_ROWS = 256, 1, 8
LORA = {"kind": "lora", "rank": 16}
WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "full": ({}, 3e-5),
    "full, upper half": ({"freeze": ["embedding", "blocks.0-14"]}, 3e-5),
    "full, layer_decay 0.9": ({"layer_decay": 0.9}, 3e-5),
    "lora": ({"adapter": LORA}, 3e-4),
    "lora, rank-stabilized": ({"adapter": {**LORA, "rank_stabilized": True}}, 3e-4),
    "dora": ({"adapter": {**LORA, "dora": True}}, 3e-4),
    "lora bfloat16": ({"adapter": {**LORA, "base_weights": "bfloat16"}}, 3e-4),
    "lora int8": ({"adapter": {**LORA, "base_weights": "int8"}}, 3e-4),
    "lora int4": ({"adapter": {**LORA, "base_weights": "int4"}}, 3e-4),
    "prefix": ({"adapter": {"kind": "prefix"}}, 1e-2),
    "prompt": ({"adapter": {"kind": "prompt"}}, 1e-2),
    "bottleneck": ({"adapter": {"kind": "bottleneck", "width": 32}}, 3e-4),
}
"""Name -> settings of the training section, and the learning rate."""


def measure(way: str, checkpoint: Path, text: Path, steps: int) -> dict[str, Any]:
    """Train in one way, in this process."""
    import numpy as np
    import torch

    from stepwell.checkpoints import load_checkpoint
    from stepwell.config import build
    from stepwell.data import Packer, TokenSplit
    from stepwell.objectives import build_objective, causal_loss
    from stepwell.training import TrainingConfig, Updater

    settings, rate = WAYS[way]
    loaded = load_checkpoint(checkpoint)
    model, ids = loaded.model, np.array(loaded.tokenizer.encode(text.read_text(encoding="utf-8")), dtype=np.uint16)
    num_held_out = HELD_OUT_ROWS * (ROW_TOKENS + 1)
    held_out, learned = ids[-num_held_out:], ids[:-num_held_out]
    packers = [
        Packer(TokenSplit(one, np.array([0, len(one)]), np.array([len(one)])), ROW_TOKENS, 0)
        for one in (learned, held_out)
    ]
    config = build(
        TrainingConfig,
        {
            "steps": steps,
            "global_batch_tokens": ROWS * ROW_TOKENS,
            "row_tokens": ROW_TOKENS,
            "micro_batch": ROWS,
            "optimizer": {"kind": "adamw", "learning_rate": rate, "weight_decay": 0.0},
            "schedule": {"kind": "constant", "warmup_steps": 3},
            "precision": "bfloat16",
            "evaluate_every_steps": steps,
            **settings,
        },
        where="benchmark",
    )
    updater = Updater(model, packers[0], config, build_objective(config.objective, loaded.tokenizer), 0)
    updater.rows_per_step = ROWS

    def loss() -> float:
        model.eval()
        batch = packers[1].batch(0, HELD_OUT_ROWS - 1)
        with torch.no_grad():
            return float(causal_loss(model, batch, model.device)) / batch.num_targets

    before, times = loss(), []
    for step in range(steps):
        begun = time.perf_counter()
        updater.update(step, step * ROWS, min(1.0, (step + 1) / 3))
        times.append(time.perf_counter() - begun)
    held = [*model.parameters(), *model.buffers()]
    return {
        "before": before,
        "after": loss(),
        "weights_bytes": sum(tensor.numel() * tensor.element_size() for tensor in held),
        "learned": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "step_seconds": statistics.median(times[2:]),
    }


def main() -> None:
    """Measure every way, or the one that a child is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--child", action="store_true")
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.ways[0], given.checkpoint, given.text, given.steps)))
        return
    print(f"{'way':24} {'before':>7} {'after':>7} {'weights MB':>10} {'learned':>11} {'peak MB':>8} {'s/step':>7}")
    for way in given.ways:
        words = [sys.executable, __file__, str(given.checkpoint), str(given.text), "--child", "--ways", way]
        out = subprocess.run([*words, "--steps", str(given.steps)], check=True, capture_output=True, text=True).stdout
        found = json.loads(out.splitlines()[-1])
        print(
            f"{way:24} {found['before']:7.4f} {found['after']:7.4f} {found['weights_bytes'] / 1e6:10.1f} "
            f"{found['learned']:11,} {found['peak_bytes'] / 1e6:8.0f} {found['step_seconds']:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
