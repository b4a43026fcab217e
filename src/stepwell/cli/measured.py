"""How measurements look: one model's metrics with their intervals, and two models side by side.

This file leaves out what is measured (`api/measuring.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepwell.cli.show import console_for, masked_words, plain, print_json
from stepwell.config import counted

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_CHARACTERS = 90

SHOWN_CLASSES, SHOWN_PAIRS = 20, 3


def evaluation(result: dict[str, Any], *, json: bool) -> None:
    """Metrics with their intervals."""
    if json:
        print_json(result)
        return
    from rich.table import Table

    from stepwell.studies import WRITES_ON, metric_words

    things = "documents" if result["task"] in WRITES_ON else "examples"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    for name, interval in result["metrics"].items():
        span = f"one {things[:-1]}: no interval"
        if interval["low"] is not None:
            span = f"{interval['low']:.4f} to {interval['high']:.4f}"
        table.add_row(metric_words(name).en, f"[bold]{interval['value']:.4f}[/]", span)
    console = console_for()
    console.print(table)
    console.print(f"[dim]{result['num_examples']:,} {things}, {result['num_tokens']:,} tokens[/]")
    for signature in dict.fromkeys(result.get("signatures", {}).values()):
        console.print(f"[dim]{plain(signature)}[/]", soft_wrap=True)
    masked_words(console, result)
    errors(console, result.get("errors") or {})


def errors(console: Console, found: Mapping[str, Any]) -> None:
    """The classes, the hardest first, and the commonest mistakes; `--json` has all of them."""
    from rich.table import Table

    rows = [row for row in found.get("classes", ()) if row["true_count"] or row["chosen_count"]]
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("type" if found.get("task") == "tagging" else "label", overflow="fold", max_width=32)
        for name in ("examples", "precision", "recall", "F1"):
            table.add_column(name, justify="right")
        table.add_column("95 % interval")
        for row in sorted(rows, key=lambda row: row["f1"]["value"])[:SHOWN_CLASSES]:
            f1 = row["f1"]
            shares = (f"{row[name]['value']:.1%}" for name in ("precision", "recall"))
            span = "" if f1["low"] is None else f"{f1['low']:.1%} to {f1['high']:.1%}"
            table.add_row(plain(row["name"]), f"{row['true_count']:,}", *shares, f"[bold]{f1['value']:.1%}[/]", span)
        console.print()
        console.print(table)
        if len(rows) > SHOWN_CLASSES:
            console.print(f"[dim]and {len(rows) - SHOWN_CLASSES} more; --json has all[/]")
    for pair in found.get("confused", ())[:SHOWN_PAIRS]:
        true, chosen = plain(pair["true"]), plain(pair["chosen"])
        words = f"{true} taken for {chosen}" if true and chosen else f"{true} missed" if true else f"{chosen} made up"
        console.print(f"[dim]{counted(pair['count'], 'time')}[/] {words}", soft_wrap=True)


def comparison(result: dict[str, Any], *, json: bool) -> None:
    """Two models side by side, the better value bold where it is more than chance."""
    if json:
        print_json(result)
        return
    from rich.table import Table

    from stepwell.studies import WRITES_ON, metric_words

    is_text = result["task"] in WRITES_ON
    things, unit = ("documents", "bits per byte") if is_text else ("examples", "loss")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("metric")
    for name in ("first", "second"):
        table.add_column(name, justify="right")
    table.add_column("first - second, 95 % interval")
    table.add_column("better")
    for name, found in result["metrics"].items():
        values = [f"{found[side]['value']:.4f}" for side in ("first", "second")]
        if found["better"]:
            better = ("first", "second").index(found["better"])
            values[better] = f"[bold]{values[better]}[/]"
        difference = found["difference"]
        span = f"one {things[:-1]}"
        if difference["low"] is not None:
            span = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
        shown = f"{difference['value']:+.4f} ({span})"
        table.add_row(metric_words(name).en, *values, shown, found["better"] or "may be chance")
    console = console_for()
    console.print(table)
    console.print(f"[dim]{result['num_examples']:,} {things}, compared one by one[/]")
    if found := result.get("judged"):
        win, agreed = found["win_rate"], found["judge_agreement"]
        span = "" if win["low"] is None else f" ({win['low']:.1%} to {win['high']:.1%})"
        console.print(
            f"{plain(found['judge'])}: the first wins [bold]{win['value']:.1%}[/]{span} of {found['num_examples']} "
            f"answers; the same verdict in both orders in {agreed['value']:.0%}",
            soft_wrap=True,
        )
    for side, examples in result["examples"].items():
        if examples:
            console.print(f"\n[bold]the {side} is better by most in[/]")
        for one in examples:
            words = " ".join(one["text"].split())
            text = plain(words if len(words) <= SHOWN_CHARACTERS else words[:SHOWN_CHARACTERS] + "…")
            console.print(f"  [dim]{one['first']:.2f} and {one['second']:.2f} {unit}:[/] {text}", soft_wrap=True)
    masked_words(console, result)
