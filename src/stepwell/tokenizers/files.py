"""Reading tokenizer files, with faults that name the file.

What the `tokenizers` library finds wrong in a file comes as a bare `Exception`; here it becomes an error that a person
can act on. This file leaves out what is in the files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers

from stepwell.errors import TokenizerError


def read_text(path: Path) -> str:
    """A UTF-8 file as a whole.

    Raises:
        TokenizerError: when it is not there or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TokenizerError(f"{path}: no such file", wanted=f"a {path.name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read", got=str(error)) from None


def read_json(path: Path) -> dict[str, Any]:
    """A file with one JSON object.

    Raises:
        TokenizerError: when it is not there, cannot be read, or is something else.
    """
    text = read_text(path)
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise damaged(path, error, "a file of JSON") from None
    if not isinstance(tree, dict):
        raise TokenizerError(f"{path}: damaged", got=type(tree).__name__, wanted="a JSON object")
    return tree


def read_backend(path: Path) -> tokenizers.Tokenizer:
    """A `tokenizer.json`.

    Raises:
        TokenizerError: when it is not there, cannot be read, or the `tokenizers` library does not take it.
    """
    text = read_text(path)
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare `Exception` for every fault in the file
        raise damaged(path, error, "a tokenizer.json of the `tokenizers` library") from None


def damaged(path: Path, error: Exception, wanted: str) -> TokenizerError:
    """The error for a file that is not what its name says."""
    return TokenizerError(
        f"{path}: damaged",
        got=str(error),
        wanted=wanted,
        do="take the file from another copy of the same model; of a stepwell run, prepare the run again",
    )
