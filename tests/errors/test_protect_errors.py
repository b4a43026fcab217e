"""Bad settings of the step `protect` say what is wrong, and no message holds a value."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stepwell.config import build
from stepwell.data import DataConfig
from stepwell.data.documents import Document
from stepwell.data.steps.protect.protecting import Protect, ProtectConfig
from stepwell.data.steps.step import Surroundings
from stepwell.errors import ConfigError, DataError


def protect(**settings) -> Protect:
    return Protect(ProtectConfig(**settings), Surroundings())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kinds": ["phones"]}, "phone"),
        ({"phone_regions": ["China"]}, "ISO 3166"),
        ({"masks": {"mail": "x"}}, "email"),
        ({"masks": {"email": ""}}, "masks"),
        ({"listed": -1}, "listed"),
        ({"names": {"kind": "spacy"}}, "model"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(DataConfig, {"sources": ["a"], "steps": [{"kind": "protect", **settings}]}, where="test")
    assert words in str(error.value)


def test_a_missing_library_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(DataError, match=r"protect: needs the library phonenumbers(.|\n)*stepwell\[data\]"):
        protect()
    protect(kinds=["secret"], columns=False)


def test_names_that_cannot_be_found(tmp_path: Path) -> None:
    empty = tmp_path / "names.txt"
    empty.write_text("\n \n", encoding="utf-8")
    for names, words in (
        ({"kind": "list", "path": str(tmp_path / "none.txt")}, r"none\.txt"),
        ({"kind": "list", "path": str(empty)}, "no name in it"),
        ({"kind": "function", "function": "json"}, "package.module:name"),
        ({"kind": "function", "function": "json:nothing"}, "no function json:nothing"),
        ({"kind": "function", "function": "no_such_module:f"}, "no_such_module"),
        ({"kind": "function", "function": "json:__name__"}, "is no function"),
    ):
        with pytest.raises(DataError, match=words):
            protect(names=names)


def test_a_function_that_answers_wrongly_is_told_without_a_text() -> None:
    for function in ("builtins:iter", "builtins:len", "builtins:list", "builtins:set"):
        step = protect(names={"kind": "function", "function": function})
        with pytest.raises(DataError, match="one list for each text") as error:
            step.look([Document("13800138000", "a"), Document("b", "a")])
        assert "138" not in str(error.value)
