"""One step of stepwell on two cores: `python ours_side.py SETTINGS FILE` (settings of the step as JSON)."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from two_workers import alone, halves, tell, together

from stepwell.config import build
from stepwell.data import DataConfig
from stepwell.data.documents import Document
from stepwell.data.pipeline import load_arrays, save_arrays
from stepwell.data.steps.catalog import build_steps
from stepwell.data.steps.step import Step, Surroundings

WARM = 20


def new_step(settings: dict[str, Any]) -> Step[Any]:
    config = build(DataConfig, {"sources": ["-"], "steps": [settings]}, where="bench")
    return build_steps(config.steps, Surroundings())[0]


def whole(step: Step[Any], documents: Sequence[Document]) -> None:
    """The step from its beginning to its end, on a few documents."""
    known = next(iter(step.join([step.look(documents)]).known)) if step.looks else None
    step.apply(documents, known)


def main() -> None:
    settings, path = json.loads(sys.argv[1]), sys.argv[2]
    parts = [[Document(row["text"], "text", is_row=True, split=row["split"]) for row in half] for half in halves(path)]

    def warm() -> None:
        if settings["kind"] != "decontaminate":
            whole(new_step(settings), parts[0][:WARM])

    step = new_step(settings)
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if step.looks:
            took, _ = together(lambda rank: save_arrays(folder / f"{rank}.npz", step.look(parts[rank])), warm)
            seconds.append(took)

            def join() -> None:
                joined = step.join([load_arrays(folder / f"{rank}.npz") for rank in range(len(parts))])
                for rank, known in enumerate(joined.known):
                    save_arrays(folder / f"{rank}.known.npz", known)

            seconds.append(alone(join)[0])

        def apply(rank: int) -> int:
            known = load_arrays(folder / f"{rank}.known.npz") if step.looks else None
            return len(step.apply(parts[rank], known).kept)

        took, kept = together(apply, warm)
    tell([*seconds, took], sum(kept))


if __name__ == "__main__":
    main()
