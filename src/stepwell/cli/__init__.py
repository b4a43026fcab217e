"""Commands: parse, call the verb, show. Nothing else lives here."""

from stepwell.cli.main import main

__all__ = ["main"]
