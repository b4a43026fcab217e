"""What each choice of the default recipe is worth: one is turned at a time, everything else and the steps stay.

    .venv/bin/python benchmarks/tricks.py                      # every row, two seeds (an hour on two cores)
    .venv/bin/python benchmarks/tricks.py --rows muon,qk-norm  # some of them
    .venv/bin/python benchmarks/tricks.py --group often        # text that is seen often

A gain is bits per byte without the choice less bits per byte with it, seed by seed, on the validation text: above 0 it
helps. Choices that are not taken are measured just so. The text is Tiny Shakespeare, its last tenth for validation; the
model has 3 layers of width 192, as a run of some minutes has. In the group `often` the text is the first 150 kB, seen
about 25 times. Each line is a line of benchmarks/ledger.jsonl. As many runs as there are cores go side by side, one
thread each, so nothing here is about time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from training import circumstances
from training_rows.commands import lines_of
from training_rows.measuring import BENCHMARKS, SHAKESPEARE, rounded

SHAPE = ["model.num_layers=3", "model.d_model=192", "model.num_heads=3", "model.num_kv_heads=3", "model.d_ff=768"]
STEPS = {"once": 300, "often": 700}
"""Of 2,048 tokens."""

OFTEN_BYTES = 150_000

COMMON = ["training.global_batch_tokens=2048", "training.patience=null", "data.test_ratio=0", "data.deduplicate=false"]
FIXED = {
    "once": [*COMMON, "model.dropout=0.0", "training.evaluate_every_steps=100"],
    "often": [*COMMON, "model.dropout=0.2", "training.evaluate_every_steps=50"],
}
"""What is told to every run of a group."""


@dataclass(frozen=True)
class Trick:
    """A choice.

    Attributes:
        turned: what the recipe is told to do without it, or with it where it is not taken.
        taken: whether the default recipe has it.
        group: on which text it is measured.
    """

    turned: str
    taken: bool
    group: str = "once"


TRICKS = {
    "muon": Trick("training.optimizer.kind=adamw training.optimizer.learning_rate=0.003", True),
    "five Newton-Schulz steps (not three)": Trick("training.optimizer.newton_schulz_steps=3", True),
    "qk-norm": Trick("model.qk_norm=none", True),
    "zero-init projections": Trick("model.residual_initialization=depth_scaled", True),
    "embedding norm": Trick("model.embedding_norm=false", True),
    "squared ReLU": Trick("model.activation=gelu", True),
    "untied head": Trick("model.tie_embeddings=true", True),
    "rotary positions": Trick("model.positions.kind=learned", True),
    "fitted vocabulary of 1024 entries": Trick("tokenizer.vocab_size=512", True),
    "schedule with a stable part": Trick("training.schedule.kind=cosine", True),
    "SwiGLU": Trick("model.activation=silu model.gated=true model.d_ff=512", False),
    "logit soft-cap of 15": Trick("model.logit_softcap=15", False),
    "curriculum of contexts": Trick("training.curriculum.start_tokens=32 training.curriculum.ramp_steps=120", False),
    "batch ramp": Trick("training.batch_ramp.start_ratio=0.25 training.batch_ramp.ramp_steps=100", False),
    "mean of the last fifth": Trick("training.averaging.kind=tail training.averaging.last_ratio=0.2", False),
    "moving average": Trick("training.averaging.kind=ema training.averaging.decay=0.98", False),
    "dropout of 0.2": Trick("model.dropout=0.0", True, "often"),
    "weight decay of 0.1": Trick("training.optimizer.weight_decay=0.0", True, "often"),
    "weight decay of 0.4": Trick("training.optimizer.weight_decay=0.4", False, "often"),
    "stochastic depth of 0.2": Trick("model.stochastic_depth=0.2", False, "often"),
    "label smoothing of 0.05": Trick(
        "training.objective.loss.kind=cross_entropy training.objective.loss.label_smoothing=0.05", False, "often"
    ),
    "mean of the last fifth (text seen often)": Trick("training.averaging.kind=tail", False, "often"),
}
"""Name -> what it is."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", help="names of tricks, with commas between; default all")
    arguments.add_argument("--group", choices=STEPS, help="only those of a group")
    arguments.add_argument("--seeds", type=int, default=2, help="how many runs of each")
    arguments.add_argument("--quick", action="store_true", help="one seed, few steps, nothing for the ledger")
    asked = arguments.parse_args()
    names = asked.rows.split(",") if asked.rows else list(TRICKS)
    if unknown := [name for name in names if name not in TRICKS]:
        arguments.error(f"no trick {', '.join(unknown)}; there are: {', '.join(TRICKS)}")
    chosen = {name: TRICKS[name] for name in names if asked.group in (None, TRICKS[name].group)}
    seeds = range(1 if asked.quick else asked.seeds)
    around = {} if asked.quick else circumstances()
    print("| choice | taken | bits per byte without | with | gain: median (range) |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        bench = Bench(Path(folder), quick=asked.quick)
        told = [(trick.group, "", seed) for trick in chosen.values() for seed in seeds]
        told += [(trick.group, trick.turned, seed) for trick in chosen.values() for seed in seeds]
        runs = {run: pool.submit(bench.bits_per_byte, *run) for run in dict.fromkeys(told)}
        for name, trick in chosen.items():
            default, turned = (
                [runs[trick.group, words, seed].result() for seed in seeds] for words in ("", trick.turned)
            )
            record = record_of(name, trick, *((turned, default) if trick.taken else (default, turned)))
            cells = "| {measure} | {taken} | {without} | {with} | {median} ({low} to {high}) |"
            print(cells.format(**record), flush=True)
            if not asked.quick:
                with (BENCHMARKS / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
                    ledger.write(json.dumps({**record, **around}, ensure_ascii=False) + "\n")


def record_of(name: str, trick: Trick, without: list[float], having: list[float]) -> dict[str, object]:
    """What the ledger holds of a trick: bits per byte, and the gains seed by seed."""
    gains = [a - b for a, b in zip(without, having, strict=True)]
    return {
        "benchmark": "tricks",
        "measure": name,
        "taken": trick.taken,
        "group": trick.group,
        "turned": trick.turned,
        "without": rounded(statistics.median(without)),
        "with": rounded(statistics.median(having)),
        "median": round(statistics.median(gains), 4),
        "low": round(min(gains), 4),
        "high": round(max(gains), 4),
        "values": [round(gain, 4) for gain in gains],
        "unit": "bits per byte",
    }


class Bench:
    """Runs of `stepwell train` on one text.

    Args:
        work: a folder for what they make.
        quick: few steps.
    """

    def __init__(self, work: Path, *, quick: bool) -> None:
        self.work, self.quick = work, quick
        text = SHAKESPEARE.read_text(encoding="utf-8")
        cut = int(0.9 * len(text))
        for name, part in (("once", text[:cut]), ("often", text[:OFTEN_BYTES]), ("validation", text[cut:])):
            (work / f"{name}.txt").write_text(part, encoding="utf-8")

    def bits_per_byte(self, group: str, turned: str, seed: int) -> float:
        """The best measurement of a run on the whole validation text."""
        validation, steps = self.work / "validation.txt", 20 if self.quick else STEPS[group]
        size = validation.stat().st_size
        out = Path(tempfile.mkdtemp(dir=self.work))
        words = [f"seed={seed}", *SHAPE, *FIXED[group], *turned.split()]
        words += [f"data.validation={validation}", f"study.watch_bytes={size}", f"study.validation_bytes={size}"]
        command = [sys.executable, "-m", "stepwell", "train", "--text", str(self.work / f"{group}.txt")]
        command += ["--out", str(out), "--steps", str(steps), "--set", *words]
        threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
        lines = lines_of(out / "rounds" / "01" / "metrics.jsonl", "evaluation")
        lowest = min(float(line["bits_per_byte"]) for line in lines)
        print(f"  {group}, {turned or 'default'}, seed {seed}: {lowest:.4f}", file=sys.stderr)
        return lowest


if __name__ == "__main__":
    main()
