"""Near duplicates as datasketch finds them: its MinHashLSH misses none of ours, and we miss none of its."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from stepwell.data.documents import Document
from stepwell.data.steps.duplicates.near_duplicates import NearDuplicates, NearDuplicatesConfig
from stepwell.data.steps.duplicates.shingles import shingles_of
from stepwell.data.steps.step import Surroundings

datasketch = pytest.importorskip("datasketch")


def texts_of(real_data, name: str, count: int) -> list[str]:
    rows = gzip.decompress(real_data(name).read_bytes()).decode().splitlines()
    return [text for text in (json.loads(row)["text"] for row in rows) if len(text) > 150][:count]


def with_copies(texts: list[str], count: int) -> list[str]:
    """Texts and copies of some of them, in which a passage in the middle is left out; a tenth of the text at most."""
    rng = random.Random(5)
    copies = []
    for text in texts[:count]:
        size = max(1, int(len(text) * rng.uniform(0, 0.1)))
        place = rng.randrange(len(text) - size)
        copies.append(text[:place] + text[place + size :])
    return texts + copies


def kept_by_datasketch(texts: list[str], threshold: float) -> list[int]:
    """Places of the texts that are first in their cluster; candidates of its index are compared by their sets."""
    shingles = shingles_of(texts, 5, 5)
    sets = [set(shingles.of(number).tolist()) for number in range(len(texts))]
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=128, weights=(0.1, 0.9))
    clusters = list(range(len(texts)))
    for number, hashes in enumerate(sets):
        sketch = datasketch.MinHash(num_perm=128, seed=7)
        sketch.update_batch([value.to_bytes(8, "little") for value in hashes])
        for other in index.query(sketch):
            if len(hashes & sets[other]) / len(hashes | sets[other]) >= threshold:
                first, later = sorted((clusters[number], clusters[other]))
                clusters = [first if cluster == later else cluster for cluster in clusters]
        index.insert(number, sketch)
    return [number for number, cluster in enumerate(clusters) if cluster == number]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classification/news.en.jsonl.gz", "classification/sentiment.zh.jsonl.gz"])
def test_the_same_texts_are_kept(real_data, name: str) -> None:
    texts = with_copies(texts_of(real_data, name, 400), 150)
    documents = [Document(text, name, is_row=True) for text in texts]
    step = NearDuplicates(NearDuplicatesConfig(threshold=0.8), Surroundings())
    (known,) = step.join([step.look(documents)]).known
    ours = [number for number, again in enumerate(known["again"]) if not again]
    theirs = kept_by_datasketch(texts, 0.8)
    assert len(theirs) < len(texts) - 80
    assert len(set(ours) ^ set(theirs)) <= 0.02 * (len(texts) - len(theirs))
