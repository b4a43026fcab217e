"""How measurements look: one model's metrics with their intervals, and two models side by side.

This file leaves out what is measured (`api/measuring.py`).
"""

from __future__ import annotations

from typing import Any

from stepwell.cli.show import console_for, masked_words, plain, print_json

SHOWN_CHARACTERS = 90


def evaluation(result: dict[str, Any], *, json: bool) -> None:
    """Metrics with their intervals."""
    if json:
        print_json(result)
        return
    from rich.table import Table

    from stepwell.studies import metric_words

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    for name, interval in result["metrics"].items():
        span = "one document: no interval"
        if interval["low"] is not None:
            span = f"{interval['low']:.4f} to {interval['high']:.4f}"
        table.add_row(metric_words(name).en, f"[bold]{interval['value']:.4f}[/]", span)
    console = console_for()
    console.print(table)
    console.print(f"[dim]{result['num_examples']:,} documents, {result['num_tokens']:,} tokens[/]")
    masked_words(console, result)


def comparison(result: dict[str, Any], *, json: bool) -> None:
    """Two models side by side, the better value bold where it is more than chance."""
    if json:
        print_json(result)
        return
    from rich.table import Table

    from stepwell.studies import metric_words

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
        span = "one document"
        if difference["low"] is not None:
            span = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
        shown = f"{difference['value']:+.4f} ({span})"
        table.add_row(metric_words(name).en, *values, shown, found["better"] or "may be chance")
    console = console_for()
    console.print(table)
    console.print(f"[dim]{result['num_examples']:,} documents, compared one by one[/]")
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
            text = plain(" ".join(one["text"].split())[:90])
            console.print(
                f"  [dim]{one['first']:.2f} and {one['second']:.2f} bits per byte:[/] {text}…", soft_wrap=True
            )
    masked_words(console, result)
