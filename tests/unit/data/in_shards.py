"""A step done to documents in several shards, as the pipeline does it."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.data.documents import Document
from stepwell.data.steps.step import Joined, Outcome, Step


def in_shards(
    step: Step, documents: Sequence[Document], shards: int = 1
) -> tuple[list[Document], Joined, list[Outcome]]:
    """What a step that looks keeps, what it knows of all, and its account of each shard."""
    size = max(1, -(-len(documents) // shards))
    parts = [documents[start : start + size] for start in range(0, len(documents), size)]
    joined = step.join([step.look(part) for part in parts])
    outcomes = [step.apply(part, known) for part, known in zip(parts, joined.known, strict=True)]
    return [one for outcome in outcomes for one in outcome.kept], joined, outcomes
