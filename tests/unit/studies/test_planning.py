"""What a plan says of a run that is shorter than its order."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from stepwell.data import TokenSplit
from stepwell.data.tokens.shards import DocumentOrder
from stepwell.studies.planning import never_seen


def test_a_run_that_ends_before_its_order_is_told_of():
    order = DocumentOrder(np.zeros(4), 1)
    train = TokenSplit(np.zeros(1_000, np.uint16), np.array([0, 100, 300, 600, 1_000]), np.ones(4, np.int64), order)
    corpus = SimpleNamespace(train=train)

    def said(steps: int, corpus: SimpleNamespace = corpus, kind: str = "decoder") -> str | None:
        training = SimpleNamespace(steps=steps, global_batch_tokens=50)
        recipe = SimpleNamespace(training=training, model=SimpleNamespace(kind=kind))
        return never_seen(recipe, corpus)

    told = said(5)
    assert told is not None
    assert "250 tokens" in told
    assert "last 75%" in told
    assert said(20) is None
    assert said(5, kind="ngram") is None  # it counts everything
    assert said(5, SimpleNamespace(train=train.shuffled)) is None
