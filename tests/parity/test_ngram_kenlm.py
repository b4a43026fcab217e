"""The n-gram model gives what KenLM gives (Heafield et al., 2013), whose estimates others are measured by.

KenLM's estimator is a program that must be compiled, so what it said about the text below is written down here: `lmplz
-o ORDER --discount_fallback`, then `query -v word`, of version 0.3.0. (It counts the very last n-gram of each length
by its plain count when it estimates discounts, so on so little text only some texts agree to every digit; this one.)
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from stepwell.ngrams import KneserNey

END = 30
NUM_SYMBOLS = 32  # the walks', the end and KenLM's unknown word

KENLM: dict[int, list[float]] = {
    2: [
        -1.308726,
        -0.801642,
        -1.836507,
        -0.924963,
        -1.073312,
        -0.565937,
        -0.518051,
        -0.922171,
        -0.936178,
        -0.630848,
        -1.08836,
        -1.0709,
        -1.227375,
        -0.57408,
        -1.446818,
        -1.485957,
        -0.936178,
        -0.961161,
        -1.293352,
        -0.610612,
        -1.457404,
        -0.517231,
        -1.035046,
    ],
    3: [
        -1.308685,
        -0.667339,
        -1.284861,
        -1.144711,
        -0.870504,
        -0.744827,
        -0.705246,
        -0.960728,
        -1.121194,
        -0.601897,
        -0.946442,
        -0.723845,
        -1.352747,
        -0.591716,
        -1.558989,
        -1.487449,
        -0.806384,
        -0.881942,
        -1.29381,
        -0.72598,
        -1.281956,
        -0.652809,
        -1.067106,
    ],
    5: [
        -1.308685,
        -0.714794,
        -1.35875,
        -1.233534,
        -0.85667,
        -0.786679,
        -0.451558,
        -1.069931,
        -1.15512,
        -0.5578,
        -1.008386,
        -0.449662,
        -1.415546,
        -0.549111,
        -1.631629,
        -1.487449,
        -0.788035,
        -0.970666,
        -1.29381,
        -0.665387,
        -1.220472,
        -0.730814,
        -1.110918,
    ],
}
"""Order -> log10 of the probability of every symbol of the held-out walks and of each one's end."""


def walks(count: int, seed: int) -> list[list[int]]:
    """Walks over 30 symbols, to near ones rather than to far ones."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        walk = [rng.randrange(30)]
        while len(walk) < 25 and rng.random() < 0.93:
            walk.append((walk[-1] + int(rng.expovariate(0.4))) % 30)
        found.append([*walk, END])
    return found


@pytest.mark.parametrize("order", KENLM)
def test_probabilities_are_kenlms(order):
    model = KneserNey(NUM_SYMBOLS, order).fit(walks(150, seed=4))
    found = np.concatenate([model.logprobs(walk) for walk in walks(3, seed=5)]) / np.log(10)
    np.testing.assert_allclose(found, KENLM[order], atol=2e-6)
