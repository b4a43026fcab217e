"""A room's door that opens late.

Rooms that need torch would make `import stepwell` slow if their `__init__` imported everything.
`open_late` gives a door that knows its names at once and loads the file behind a name on first use
(PEP 562). Type checkers read the same names from an `if TYPE_CHECKING` block beside it.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Mapping
from types import ModuleType


def open_late(room: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """Make a module-level `__getattr__` for a room.

    Args:
        room: the package's `__name__`.
        names: public name -> the file (submodule) that defines it.

    Returns:
        A function to be bound to `__getattr__` in the room's `__init__`.

    Raises:
        AttributeError: from the returned function, for a name the door does not have.
    """

    def __getattr__(name: str) -> object:
        if name not in names:
            raise AttributeError(f"{room} has no {name!r}; it has {', '.join(sorted(names))}")
        return getattr(_load(f"{room}.{names[name]}"), name)

    return __getattr__


def _load(module: str) -> ModuleType:
    """Import a module and what it imports, while the garbage collector rests.

    What a module defines stays; looking through all of it again and again is a fifth of the time that torch takes.
    """
    if not gc.isenabled():
        return importlib.import_module(module)
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.enable()
