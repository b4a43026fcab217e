"""The verb that puts finished models behind HTTP.

This file leaves out what they answer (`serving`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.api.requests import PathLike
from stepwell.config import build, merge, parse_assignments
from stepwell.errors import UsageError
from stepwell.serving import ServeConfig

if TYPE_CHECKING:
    from stepwell.serving import Ready


def serve(
    run: Sequence[PathLike] | PathLike,
    *,
    host: str | None = None,
    port: int | None = None,
    name: Sequence[str] = (),
    api_key_file: PathLike | None = None,
    weights: str | None = None,
    set: Sequence[str] = (),
    on_ready: Callable[[Ready], object] | None = None,
) -> None:
    """Answer requests in OpenAI's interface, until the process is asked to end (SIGTERM, Ctrl-C).

    What was accepted by then is finished. The page at `/` tries the models out.

    Args:
        run: run or checkpoint directories, one or several.
        host: the address to listen at.
        port: 0 for any that is free.
        name: by which the models are asked for, one for each; default the names of their folders.
        api_key_file: keys, one a line, of which a request must carry one.
        weights: auto, plain, float32, bfloat16, int8 or int4; see `ServeConfig`.
        set: any field of `ServeConfig`, as `most_waiting=64`.
        on_ready: is told address and models as soon as requests are taken.

    Raises:
        CheckpointError: when a model is missing or damaged.
        ConfigError: when a setting is out of its range.
        UsageError: when two models have one name, the address is taken, or what serving needs is not installed.
    """
    given: dict[str, Any] = {"host": host, "port": port, "weights": weights}
    given["names"] = tuple(name) or None
    given["api_key_file"] = None if api_key_file is None else Path(api_key_file)
    chosen = {field: value for field, value in given.items() if value is not None}
    config = build(ServeConfig, merge(chosen, parse_assignments(set)), where="serve")
    try:
        from stepwell.serving import serve as run_server
    except ImportError as error:
        raise UsageError(
            "serve: a library is not installed", got=str(error), do="pip install 'stepwell[serve]'"
        ) from None
    runs = [run] if isinstance(run, str | Path) else list(run)
    run_server([Path(one) for one in runs], config, on_ready)
