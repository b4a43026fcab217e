"""The commands that give texts vectors, and that look texts up by them.

This file leaves out how vectors are made and compared (`api`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepwell.errors import UsageError

Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint directory.", show_default=False)
]
Texts = Annotated[list[str] | None, typer.Option("--text", help="One text or several.", show_default=False)]
Input = Annotated[Path | None, typer.Option("--input", help="A file of texts, one a line.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def embed(
    run: Run,
    text: Texts = None,
    input_: Input = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="mean, first, last or pooler. [default: as it was trained, else mean]", show_default=False),
    ] = None,
    role: Annotated[str, typer.Option(help="document, or query: of a model for retrieval.")] = "document",
    json: Json = False,
) -> None:
    """Give texts vectors, to compare and to search by; made for encoders."""
    from stepwell import api
    from stepwell.cli import answers

    if (text is None) == (input_ is None):
        raise UsageError("embed: one of --text and --input is needed", do="stepwell embed RUN --text 'one' 'another'")
    texts = text if text is not None else [str(one) for one in answers.read_prompts(input_)]
    answers.embeddings(texts, api.embed(run, texts, pooling=pooling, role=role), json=json)  # type: ignore[arg-type]


def search(
    run: Run,
    data: Annotated[
        list[str], typer.Option("--data", metavar="PATH...", help="The texts to search in.", show_default=False)
    ],
    text: Texts = None,
    input_: Input = None,
    k: Annotated[int, typer.Option("-k", help="How many texts of each query.")] = 5,
    by: Annotated[
        str | None,
        typer.Option(help="vectors, words or both. [default: what the run found best]", show_default=False),
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Of tables.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Find the texts that are nearest to a query; their vectors are made once and kept beside the model."""
    from stepwell import api
    from stepwell.cli import answers, searched, show

    if (text is None) == (input_ is None):
        raise UsageError(
            "search: one of --text and --input is needed", do="stepwell search RUN --data CORPUS --text 'a question'"
        )
    queries = text if text is not None else [str(one) for one in answers.read_prompts(input_)]
    with show.view(json) as watch:
        found = api.search(run, queries, data, k=k, by=by, text_column=text_column, watch=watch)  # type: ignore[arg-type]
    searched.found_texts(queries, found, json=json)
