"""What the user said, checked, and the directory it belongs to.

A request is a draft of a recipe and a run directory. Without a directory the run is named after its first source, and
the same request finds its unfinished run again. This file leaves out what is done with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepwell.config import merge
from stepwell.recipes import ALTERABLE, Draft, begin_draft
from stepwell.runs import RunDirectory

PathLike = Path | str
Texts = Sequence[PathLike] | PathLike


def several(sources: Texts) -> list[str]:
    """One or many sources as a list of text."""
    return [str(sources)] if isinstance(sources, Path | str) else [str(source) for source in sources]


def read_request(
    recipe: PathLike | None,
    text: Texts,
    data: Texts,
    task: str | None,
    metric: str | None,
    target: float | None,
    budget: str | float | None,
    out: PathLike | None,
    assignments: Sequence[str],
    *,
    kind: str,
    steps: int | None = None,
    track: Sequence[str] = (),
) -> tuple[Draft, Path]:
    """What the user said, checked, and the directory it belongs to."""
    flags: dict[str, Any] = {"task": task, "metric": metric, "target": target}
    flags = {name: value for name, value in flags.items() if value is not None}
    if budget is not None:
        flags["budget"] = budget if isinstance(budget, str) else f"{budget}s"
    if track:
        flags["track"] = list(track)
    if steps is not None:
        flags["training"] = {"steps": steps}
    sources = several(text) + several(data)
    if sources:
        flags["data"] = {"sources": sources}
    known = None if out is None else RunDirectory(Path(out)).read_identity()
    if known is not None and recipe is None and not sources:
        flags = merge(known["request"], {"budget": known.get("budget")}, flags)
        flags = {name: value for name, value in flags.items() if value is not None}
    draft = begin_draft(None if recipe is None else Path(recipe), flags=flags, assignments=assignments)
    if out is not None:
        return draft, Path(out)
    return draft, free_folder(_name(draft.data.sources[0]), kind, draft.tree)


def _name(source: str) -> str:
    """A short name for a run, after its first source."""
    if source.startswith("hf://"):
        source = source.removeprefix("hf://").partition(":")[0]
    last = source.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    stem = last.split(".")[0].strip("*") or "run"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)


def free_folder(name: str, kind: str, request: Mapping[str, Any]) -> Path:
    """`runs/NAME`, or the next number when that holds another or a finished run."""
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        known = RunDirectory(folder).read_identity() if folder.is_dir() else None
        same = known is not None and known["kind"] == kind and known["request"] == _without_budget(request)
        if known is None or kind == "plan" or (same and not (folder / "result.json").exists()):
            return folder
        number += 1


def _without_budget(request: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps({k: v for k, v in request.items() if k not in ALTERABLE})))
