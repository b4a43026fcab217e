"""Libraries that only some metrics need.

They come with the extra `tasks` and are loaded when a metric is measured. This file leaves out what they are for.
"""

from __future__ import annotations

import importlib
from typing import Any

from stepwell.errors import UsageError


def needed(module: str, what: str) -> Any:
    """A library of the extra `tasks`.

    Args:
        module: its import name.
        what: needs it; begins the message.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{what}: needs the library {module.partition('.')[0]}",
            got=str(error),
            do="pip install 'stepwell[tasks]'",
        ) from None
