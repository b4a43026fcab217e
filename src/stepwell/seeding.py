"""Randomness that depends on names, not on history.

Every draw comes from a generator seeded by the run's seed and a name for what is drawn (`("dropout", step, row)`),
so a run that was stopped and goes on draws what it would have drawn. There is no global state to save.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for one purpose.

    Args:
        seed: the run's seed.
        names: what the randomness is for, from general to particular.

    Returns:
        An integer in [0, 2**63), the same on every machine.
    """
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
