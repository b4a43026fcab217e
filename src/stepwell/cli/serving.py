"""The command that puts finished models behind HTTP.

Requests are logged on standard error, a line each. This file leaves out what is answered (`serving`).
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.serving import Ready

LOGGED = ("stepwell.access", "stepwell.serving", "uvicorn.error")
"""Loggers whose lines are shown; the libraries' own only where they warn."""


def serve(
    run: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run or checkpoint directories, one or several.", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8000,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="What a model is called, once for each. [default: its folder]", show_default=False),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="One key a line; a request must carry one of them.", show_default=False)
    ] = None,
    weights: Annotated[str, typer.Option(help="auto, bf16, int8, int4, float32 or plain.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A=B...", help="Any setting: most_waiting=64.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output when it is ready.")] = False,
) -> None:
    """Serve models as OpenAI's clients ask for them, with a page to try them out, until Ctrl-C."""
    from stepwell import api
    from stepwell.cli import show

    def tell(ready: Ready) -> None:
        if json:
            show.print_json({"url": ready.url, "models": list(ready.models)})
            sys.stdout.flush()
        else:
            console = show.console_for()
            console.print(
                f"{show.plain(', '.join(ready.models))} at [bold]{ready.url}[/] (Ctrl-C ends)", soft_wrap=True
            )

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    loggers = [logging.getLogger(one) for one in LOGGED]
    for logger in loggers:
        logger.setLevel(logging.WARNING if logger.name.startswith("uvicorn") else logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    try:
        api.serve(
            run,
            host=host,
            port=port,
            name=name or (),
            api_key_file=api_key_file,
            weights=weights,
            set=set_ or (),
            on_ready=tell,
        )
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
