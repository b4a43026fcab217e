"""What to label next: the texts that a model is least sure of, and that are not all alike.

Each text has class probabilities of any model; three usual measures say how unsure they are, and vectors, where there
are some, keep near copies of one hard case from being chosen together. Everything is deterministic: of equals, the
first is taken. This file leaves out the model and the vectors.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.data.steps.step import needed
from stepwell.errors import DataError

Uncertainty = Literal["least_confidence", "margin", "entropy"]
Diversity = Literal["k_center", "clusters", "none"]

Floats = NDArray[np.float64]
POOL_FACTOR = 10
"""The choice for diversity is among so many times the wanted number, the most uncertain ones."""


def uncertainty(probabilities: Floats, by: Uncertainty = "margin") -> Floats:
    """How unsure a model is of each text (Settles, 2009, section 3.1).

    Args:
        probabilities: (N, K), each row sums to 1, K at least 2.
        by: `least_confidence`: 1 less the largest; `margin`: 1 less the largest two's difference; `entropy`: in nats,
            over that of K equal classes.

    Returns:
        (N,) in [0, 1], the larger the less sure.

    Raises:
        DataError: when they are no probabilities.
    """
    values = np.asarray(probabilities, float)
    if values.ndim != 2 or values.shape[1] < 2:
        raise DataError("class probabilities: wrong shape", got=str(values.shape), wanted="(texts, classes >= 2)")
    sums = values.sum(axis=1)
    if not (np.isfinite(values).all() and (values >= 0).all() and np.allclose(sums, 1, atol=1e-3)):
        wrong = int(np.argmax(~((values >= 0).all(axis=1) & np.isclose(sums, 1, atol=1e-3))))
        raise DataError(
            f"class probabilities: row {wrong} is none",
            got=", ".join(f"{one:.4g}" for one in values[wrong][:8]),
            wanted="numbers of at least 0 that sum to 1",
        )
    if by == "entropy":
        logs = np.log(values, out=np.zeros_like(values), where=values > 0)
        return np.asarray(-(values * logs).sum(axis=1) / np.log(values.shape[1]))
    largest = np.partition(values, -2, axis=1)
    return np.asarray(1 - largest[:, -1] + (largest[:, -2] if by == "margin" else 0))


def choose_to_label(
    probabilities: Floats,
    count: int,
    *,
    by: Uncertainty = "margin",
    vectors: Floats | None = None,
    labelled: Floats | None = None,
    diversity: Diversity = "k_center",
) -> NDArray[np.int64]:
    """Choose texts to label next.

    Args:
        probabilities: (N, K) of the texts without a label.
        count: how many, at least 0; all of them when there are fewer.
        by: the measure of uncertainty.
        vectors: (N, D) of the texts; None chooses by uncertainty alone.
        labelled: (M, D) of texts that have labels; what is near them is chosen late by `k_center`.
        diversity: `k_center` takes what is farthest from all that is labelled or chosen (Sener and Savarese, 2018);
            `clusters` the least sure text of each of `count` clusters (Zhdanov, 2019); both among the most uncertain.

    Returns:
        Places of the chosen texts, the first to label first.

    Raises:
        DataError: when the arrays do not fit together or are no probabilities.
    """
    unsure = uncertainty(probabilities, by) if len(probabilities) else np.zeros(0)
    order = np.argsort(-unsure, kind="stable")
    if vectors is None or diversity == "none" or count < 1:
        return order[: max(count, 0)]
    vectors = np.asarray(vectors, float)
    if vectors.shape[:1] != unsure.shape or (labelled is not None and labelled.shape[1:] != vectors.shape[1:]):
        raise DataError(
            "vectors do not fit the probabilities",
            got=f"{vectors.shape}" + ("" if labelled is None else f" and {labelled.shape} of labelled texts"),
            wanted=f"({len(unsure)}, size), the same size for both",
        )
    pool = order[: count * POOL_FACTOR]
    if len(pool) <= count:
        return pool
    if diversity == "k_center":
        return pool[k_center(vectors[pool], count, labelled)]
    return _of_each_cluster(vectors, unsure, pool, count)


def k_center(vectors: Floats, count: int, centers: Floats | None = None) -> NDArray[np.int64]:
    """Choose points so that every point is near a chosen one: greedily the farthest, at most twice the best radius.

    Args:
        vectors: (N, D); the first one begins when there are no centers yet.
        count: how many, at most N.
        centers: (M, D) that are there already.

    Returns:
        (count,) places, in the order of choice.
    """
    distances = np.full(len(vectors), np.inf)
    for center in () if centers is None else np.asarray(centers, float):
        distances = np.minimum(distances, ((vectors - center) ** 2).sum(axis=1))
    chosen: list[int] = []
    while len(chosen) < min(count, len(vectors)):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, ((vectors - vectors[chosen[-1]]) ** 2).sum(axis=1))
        distances[chosen] = -1.0  # a copy of a chosen one comes last, but before none twice
    return np.array(chosen, np.int64)


def _of_each_cluster(vectors: Floats, unsure: Floats, pool: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The least sure of each cluster of the pool, and where clusters are fewer (copies), the next least sure."""
    cluster: Any = needed("sklearn.cluster", "data", "clusters of texts")
    points = vectors[pool]
    distinct = len(np.unique(points, axis=0))
    means = cluster.KMeans(min(count, distinct), random_state=0, n_init=1)
    threads: Any = needed("threadpoolctl", "data", "clusters of texts")
    with threads.threadpool_limits(1):  # the sums of several threads differ in the last bit
        groups = means.fit_predict(points, sample_weight=np.maximum(unsure[pool], 1e-6))
    first = np.sort(np.unique(groups, return_index=True)[1])  # the pool begins with the least sure
    rest = np.setdiff1d(np.arange(len(pool)), first)
    return np.asarray(pool[np.concatenate([first, rest])[:count]], np.int64)
