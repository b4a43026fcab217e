"""How found texts look: under each query its nearest texts, with the score they are ranked by.

This file leaves out how they are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepwell.cli.show import console_for, plain, print_json

SHOWN_CHARACTERS = 160


def found_texts(queries: Sequence[str], found: Sequence[Sequence[Mapping[str, Any]]], *, json: bool) -> None:
    """The texts that were found for each query.

    Args:
        queries: as they were asked.
        found: of each its texts, the best first.
        json: one JSON object for a program.
    """
    if json:
        print_json({"results": [{"query": one, "found": list(some)} for one, some in zip(queries, found, strict=True)]})
        return
    console = console_for()
    for number, (query, some) in enumerate(zip(queries, found, strict=True)):
        if number:
            console.print()
        if len(queries) > 1:
            console.print(f"[bold]{plain(' '.join(query.split()))}[/]")
        for rank, one in enumerate(some, start=1):
            words = " ".join(str(one["text"]).split())
            short = words[:SHOWN_CHARACTERS] + ("…" if len(words) > SHOWN_CHARACTERS else "")
            console.print(f"{rank:>3}  {one['score']:.3f}  {plain(short)}", soft_wrap=True)
