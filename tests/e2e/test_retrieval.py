"""Retrieval from a table to the nearest text: a dictionary that a model must learn, where no word is shared."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell import api
from stepwell.errors import UsageError

SMALL = ["model.num_layers=1", "model.d_model=32", "model.num_heads=2", "model.num_kv_heads=2", "model.head_dim=16",
         "model.d_ff=64", "model.max_seq_len=64", "training.row_tokens=64", "tokenizer.vocab_size=400",
         "study.resamples=100"]  # fmt: skip
WORDS = {
    "boat": "小船", "lamp": "油灯", "gate": "大门", "river": "江河", "song": "歌曲",
    "coin": "硬币", "well": "水井", "road": "道路", "bird": "飞鸟", "snow": "雪花",
    "king": "国王", "moon": "月亮", "tree": "树木", "bell": "铃声", "ship": "轮船",
    "tower": "高塔", "field": "田野", "cloud": "白云", "stone": "石头", "bread": "面包",
}  # fmt: skip


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """English words, and the same in Chinese in another order."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        some = rng.sample(list(WORDS), 3)
        told = "，".join(WORDS[one] for one in rng.sample(some, 3))
        found[told] = {"query": " ".join(some), "document": told}
    return list(found.values())


def write(path: Path, some: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    everything = rows(1300, 1)
    write(folder / "held.jsonl", everything[1200:])
    data = write(folder / "train.jsonl", everything[:1200])
    api.train(text=data, steps=120, out=folder / "run", set=["task=retrieval", *SMALL])
    return folder


@pytest.mark.slow
def test_a_dictionary_is_learned_and_searched(trained: Path, stepwell: Any) -> None:
    run, held = trained / "run", trained / "held.jsonl"
    measured = api.evaluate(run, held)["metrics"]
    assert measured["candidates"]["value"] == 100
    assert measured["recall_at_1"]["value"] > 0.7
    assert measured["recall_at_10"]["value"] > 0.95

    (found,) = api.search(run, "moon river bread", held, k=3)
    assert len(found) == 3
    assert found[0]["similarity"] == max(one["similarity"] for one in found)
    shared = [sum(WORDS[word] in one["text"] for word in ("moon", "river", "bread")) for one in found]
    assert shared[0] >= 1
    assert len(list(run.rglob("vectors-*.npz"))) == 1
    assert api.search(run, ["moon river bread"], held, k=3) == [found]
    (path,) = run.rglob("vectors-*.npz")
    path.write_bytes(b"damaged")
    told: list[Any] = []
    assert api.search(run, "moon river bread", held, k=3, watch=told.append) == [found]
    assert any("damaged" in getattr(event, "text", "") for event in told)

    (by_words,) = api.search(run, "白云", held, k=2, by="words")
    assert all("白云" in one["text"] for one in by_words)
    assert api.search(run, "白云", held, k=2, by="both")[0][0]["score"] > 0
    shown = stepwell("search", run, "--data", held, "--text", "moon river bread", "king snow", "-k", "2", "--json")
    results = json.loads(shown.out)["results"]
    assert [one["query"] for one in results] == ["moon river bread", "king snow"]
    assert [one["text"] for one in results[0]["found"]] == [one["text"] for one in found[:2]]


@pytest.mark.slow
def test_pairs_are_compared_and_texts_have_vectors(trained: Path) -> None:
    run = trained / "run"
    asked = [{"query": "moon king snow", "document": text} for text in ("月亮，国王，雪花", "面包，石头，高塔")]
    near, far = (float(one.text) for (one,) in api.predict(run, asked))
    assert near > far
    vectors = api.embed(run, ["moon king snow", "月亮，国王，雪花"])
    assert float(vectors[0] @ vectors[1]) == pytest.approx(near, abs=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    for call, message in (
        (lambda: api.predict(run, "moon"), "nearest of many"),
        (lambda: api.search(run, " ", trained / "held.jsonl"), "empty query"),
        (lambda: api.search(run, "moon", trained / "held.jsonl", k=0), "k: nothing"),
        (lambda: api.search(run, "moon", trained / "held.jsonl", by="magic"), "no such way"),  # type: ignore[arg-type]
        (lambda: api.embed(run, "moon", role="king"), "no such part"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=message):
            call()
