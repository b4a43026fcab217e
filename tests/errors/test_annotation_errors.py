"""What goes wrong with columns, models, files and codes of languages is said by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stepwell.data import DataConfig
from stepwell.data.documents import Document
from stepwell.data.steps.catalog import STEPS
from stepwell.data.steps.step import Surroundings
from stepwell.errors import DataError


def do(kind: str, there: Mapping[str, Any] | None = None, /, **settings: Any) -> None:
    config = DataConfig.model_validate({"sources": ["x"], "steps": [{"kind": kind, **settings}]}).steps[0]
    document = Document("The people of the village come to the well every morning.", "s", columns=there or {})
    STEPS[kind](config, Surroundings()).apply([document])


@pytest.mark.parametrize(
    ("kind", "column", "remedy"),
    [("language", "language", "columns=false"), ("annotate", "words", "prefix"), ("annotate", "entities", "prefix")],
)
def test_a_column_of_the_users_is_not_written_over(kind: str, column: str, remedy: str) -> None:
    settings = {"entities": True, "function": "errors_names:find"} if column == "entities" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "errors_names", type("Names", (), {"find": lambda texts: [[]]}))
        with pytest.raises(DataError, match=f"{kind}: column {column} is there already") as raised:
            do(kind, {column: "mine"}, **settings)
        assert remedy in str(raised.value)
        do(kind, {column: "mine"}, **settings, **({"columns": False} if kind == "language" else {"prefix": "auto_"}))


@pytest.mark.slow
def test_no_such_model() -> None:
    pytest.importorskip("spacy")
    with pytest.raises(DataError, match="spaCy has no model no_such_model"):
        do("annotate", model="no_such_model")


def test_no_such_stop_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotate: .*none.txt: cannot be read"):
        do("annotate", content_words=True, stop_words=str(tmp_path / "none.txt"))


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(DataError, match=r"stepwell\[data\]"):
        do("annotate", model="any")


@pytest.mark.parametrize("step", [{"keep": ["cn"]}, {"threshold": 2}, {"short": "maybe"}, {"short_letters": -1}])
def test_settings_that_make_no_sense(step: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="language"):
        DataConfig.model_validate({"sources": ["x"], "steps": [{"kind": "language", **step}]})
