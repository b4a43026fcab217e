"""Rewards that a user writes as a Python function.

The function is called in this process with (prompt, completion, row) and gives a number. What it raises, or gives
instead of a number, ends the work with an error that says how many answers it was and shows the first. This file leaves
out what is learned from rewards (`grpo.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from stepwell.errors import UsageError

Reward = Callable[[str, str, Mapping[str, Any]], float]
"""From what a person said last, an answer, and the row it is of (`messages` and the columns that the task names)."""

SHOWN_CHARACTERS = 80


class Written(NamedTuple):
    """An answer to be rewarded.

    Attributes:
        prompt: what a person said last.
        completion: the answer, without the token that ends it.
        row: what else is known of the example.
    """

    prompt: str
    completion: str
    row: Mapping[str, Any]


def open_reward(named: str) -> Reward:
    """The function of a name.

    Args:
        named: `package.module:function` or `path.py:function`; a module is looked for in the working directory too.

    Raises:
        UsageError: when there is no such function.
    """
    place, _, name = named.rpartition(":")
    try:
        if place.endswith(".py"):
            file = Path(place)
            if not file.is_file():
                raise FileNotFoundError(f"no file {place}")
            spec = importlib.util.spec_from_file_location(f"stepwell_reward_{file.stem}", file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.append("")
            module = importlib.import_module(place)
        found = getattr(module, name)
    except Exception as error:  # the file is the user's: it may raise anything
        raise UsageError(
            f"reward: {named} cannot be opened",
            got=f"{type(error).__name__}: {error}",
            wanted="package.module:function, or path.py:function",
        ) from error
    if not callable(found):
        raise UsageError(f"reward: {named} is no function", got=type(found).__name__)
    return cast(Reward, found)


def rewards_of(reward: Reward, written: Sequence[Written]) -> list[float]:
    """The reward of each answer.

    Raises:
        UsageError: when the function raises or gives no finite number, with how often and the first prompt.
    """
    found: list[float] = []
    faults: list[tuple[Written, str, BaseException | None]] = []
    for one in written:
        try:
            value = float(reward(one.prompt, one.completion, one.row))
        except Exception as error:
            faults.append((one, f"{type(error).__name__}: {error}", error))
            continue
        if not math.isfinite(value):
            faults.append((one, str(value), None))
        found.append(value)
    if faults:
        one, what, cause = faults[0]
        raise UsageError(
            f"reward: fails for {len(faults):,} of {len(written):,} answers",
            got=f"{what}, for the prompt {one.prompt[:SHOWN_CHARACTERS]!r} "
            f"and the answer {one.completion[:SHOWN_CHARACTERS]!r}",
            wanted="a finite number for each answer",
            do="mend the function and run the same command again: training goes on from its last checkpoint",
        ) from cause
    return found
