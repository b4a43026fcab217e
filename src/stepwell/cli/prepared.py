"""How prepared text looks: what each step did, in the order in which it was done, and what is left.

This file leaves out the page with more of it (`studies/report`).
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

from stepwell.config import format_duration
from stepwell.runs import to_json

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_EXAMPLES = 3
"""Dropped documents that are shown for each reason."""

SHOWN_CHARACTERS = 160


def prepared(result: dict[str, Any], *, dropped: bool, json: bool) -> None:
    """What became of a text.

    Args:
        result: of `api.prepare`.
        dropped: show examples of what each step dropped.
        json: one JSON object, for a program.
    """
    if json:
        sys.stdout.write(to_json(result) + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    console.print()
    _steps(console, result["steps"])
    if dropped:
        _dropped(console, result["steps"])
    console.print()
    _what_is_left(console, result)


def _steps(console: Console, steps: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("step", "documents", "MB"):
        table.add_column(name, justify="left" if name == "step" else "right")
    table.add_column("what it did", overflow="fold")
    table.add_column("time", justify="right")
    table.add_column("MB/s", justify="right")
    for step in steps:
        done = [*_counts(step["dropped"], "dropped"), *_counts(step["changed"], "changed")]
        speed = step["bytes_per_second"]
        table.add_row(
            step["kind"].replace("_", " "),
            f"{step['documents_in']:,} → {step['documents_out']:,}" if step["documents_in"] else "–",
            f"{step['bytes_in'] / 1e6:,.2f} → {step['bytes_out'] / 1e6:,.2f}" if step["bytes_in"] else "–",
            "\n".join(done) or "–",
            _seconds(step["seconds"]),
            f"{speed / 1e6:,.1f}" if speed >= 1e5 else f"{speed / 1e6:.3f}" if speed else "–",
        )
    console.print(table)


def _counts(counts: dict[str, int], word: str) -> list[str]:
    """Reasons with their numbers, the largest first."""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{word} {count:,}: {name.replace('_', ' ')}" for name, count in largest if count]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else format_duration(seconds)


def _dropped(console: Console, steps: list[dict[str, Any]]) -> None:
    """Examples, grouped by step and reason."""
    from rich.text import Text

    from stepwell.studies import visible

    for step in steps:
        reasons: dict[str, list[dict[str, Any]]] = {}
        for example in step["examples"]:
            reasons.setdefault(example["reason"], []).append(example)
        for reason, examples in reasons.items():
            console.print()
            title, why = step["kind"].replace("_", " "), reason.replace("_", " ")
            console.print(f"[bold]{title}[/]: {why}, {step['dropped'][reason]:,} dropped")
            for example in examples[:SHOWN_EXAMPLES]:
                words = visible(" ".join(example["text"].split()))
                more = "…" if len(words) > SHOWN_CHARACTERS else ""
                line = Text("  ").append(visible(example["source"]), style="dim")
                console.print(line.append(": ").append(words[:SHOWN_CHARACTERS] + more))


def _what_is_left(console: Console, result: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    data, tokenizer = result["data"], result["tokenizer"]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    languages = ", ".join(f"{name} {share:.0%}" for name, share in list(data["languages"].items())[:4])
    grid.add_row("text", f"{data['bytes'] / 1e6:,.2f} MB in {data['documents']:,} documents ({languages})")
    for name, split in data["splits"].items():
        size = f"{split['bytes'] / 1e6:,.2f} MB, {split['tokens']:,} tokens"
        grid.add_row(name, f"{split['documents']:,} documents, {size}")
    per_token = tokenizer["bytes_per_token"]["train"]
    grid.add_row("tokenizer", f"{tokenizer['vocab_size']:,} entries, {per_token:.2f} bytes a token")
    for one in tokenizer["compared"]:
        taken = "taken" if one["chosen"] else "beside"
        numbers = f"{one['bytes_per_token']:.2f} bytes a token, {one['rare_ratio']:.0%} rare"
        grid.add_row(taken, Text(f"{one['name']} of {one['vocab_size']:,}: {numbers}"))
    if "report" in result:
        grid.add_row("report", Text(str(result["report"])))
    grid.add_row("next", Text(f"stepwell run with the same text and --out {shlex.quote(result['out'])}: it is ready"))
    console.print(grid)
