"""Models behind a port, until the process is asked to end.

At SIGTERM or Ctrl-C no further connection is taken, and what was accepted is finished. This file leaves out the routes.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from stepwell.errors import UsageError
from stepwell.serving.app import make_app
from stepwell.serving.calls import Server
from stepwell.serving.config import ServeConfig
from stepwell.serving.gate import Keys
from stepwell.serving.meters import Meters
from stepwell.serving.served import open_model

logger = logging.getLogger("stepwell.serving")


@dataclass(frozen=True)
class Ready:
    """A server that takes requests.

    Attributes:
        url: of it.
        models: names of its models.
    """

    url: str
    models: tuple[str, ...]


def serve(models: Sequence[Path], config: ServeConfig, on_ready: Callable[[Ready], object] | None = None) -> None:
    """Serve models until the process is asked to end; it returns when what was accepted is answered.

    Args:
        models: run or checkpoint directories, from 1.
        config: of the server.
        on_ready: is told when requests are taken.

    Raises:
        CheckpointError: when a model is missing or damaged.
        UsageError: when two models have one name, there is no key in the key file, or the address is taken.
    """
    keys = Keys.read(config.api_key_file)
    listener = _listen(config)
    with listener:
        server = open_models(models, config)
        app = make_app(server, keys)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        ready = Ready(f"http://{shown}:{port}", tuple(server.models))
        running = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
            ),
            server,
            lambda: None if on_ready is None else on_ready(ready),
        )
        before = _heed_signals()
        try:
            running.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Server(uvicorn.Server):
    """A server that says when it begins, and tells its routes when it is about to end."""

    def __init__(self, config: uvicorn.Config, server: Server, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._served, self._on_ready = server, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.is_draining = True
        await super().shutdown(sockets)


def _heed_signals() -> dict[int, Any]:
    """Have nothing else happen at a signal than what the server does, which hands it on when it has ended."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}


def _listen(config: ServeConfig) -> socket.socket:
    """A socket at the address; taken before models are opened, which takes long.

    Raises:
        UsageError: when it cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"{config.host}:{config.port}: cannot be listened at",
            got=str(error.strerror or error),
            wanted="an address of this machine with a free port",
            do="choose another --port, or 0 for any",
        ) from None
    return listener


def open_models(models: Sequence[Path], config: ServeConfig) -> Server:
    """Read models, and have them ready for an app.

    Args:
        models: run or checkpoint directories, from 1.
        config: of the server.

    Raises:
        CheckpointError: when a model is missing or damaged.
        UsageError: when there is no model, two have one name, or there are more or fewer names than models.
    """
    if not models:
        raise UsageError("serve: no model", wanted="one run directory or several")
    if config.names and len(config.names) != len(models):
        raise UsageError(
            "names: one for each model is needed", got=f"{len(config.names)} names", wanted=f"{len(models)}"
        )
    names = config.names or tuple(path.resolve().name for path in models)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two models would be called {name}",
                got=", ".join(str(path) for path, other in zip(models, names, strict=True) if other == name),
                wanted="a name of its own for each",
                do="name them: --name ONE --name OTHER",
            )
    meters = Meters()
    opened = {name: open_model(path, name, config, meters) for path, name in zip(models, names, strict=True)}
    return Server(config, opened, meters)
