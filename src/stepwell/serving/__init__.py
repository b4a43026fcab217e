"""Finished models behind HTTP, as OpenAI's clients ask for them, with a page to try them out."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.serving.config import ServeConfig

if TYPE_CHECKING:
    from stepwell.serving.app import make_app
    from stepwell.serving.server import Ready, open_models, serve

__all__ = ["Ready", "ServeConfig", "make_app", "open_models", "serve"]

__getattr__ = open_late(
    __name__,
    {"make_app": "app", "Ready": "server", "open_models": "server", "serve": "server"},
)
