"""A step on a whole corpus, as the pipeline does it: every shard is looked at, all is joined, each is done."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.data.documents import Document
from stepwell.data.steps.step import Outcome, Step


def through(step: Step, several: Sequence[Document], cuts: Sequence[int] = ()) -> Outcome:
    """All of a step, on a corpus that is cut into shards at these places."""
    shards = [list(several[a:b]) for a, b in zip([0, *cuts], [*cuts, len(several)], strict=True)]
    joined = step.join([step.look(shard) for shard in shards])
    whole = Outcome(findings=dict(joined.findings))
    for shard, known in zip(shards, joined.known, strict=True):
        one = step.apply(shard, known)
        whole.kept += one.kept
        whole.dropped += one.dropped
    return whole
