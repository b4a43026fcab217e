"""How results look: a JSON object for a program, or a few friendly lines for a person.

Results go to standard output, everything else to standard error. rich is loaded late, because `--help` should be
quick. This file leaves out what a finished model says (`answers.py`), and the picture of a run that is going on
(`live.py`).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cli.arguments import is_follower
from stepwell.config import format_duration
from stepwell.errors import StepwellError, UsageError
from stepwell.progress import Watcher, unwatched
from stepwell.runs import RunDirectory, read_lines, to_json

if TYPE_CHECKING:
    from rich.console import Console


LINE_CHARACTERS = 76
"""A text with its answer stands on one line up to here."""


def view(json: bool) -> AbstractContextManager[Watcher]:
    """The picture of a run that is going on; none on a rank beside rank 0."""
    from stepwell.cli.live import choose_view

    return nullcontext(unwatched) if is_follower() else choose_view(json)


def console_for(stderr: bool = False) -> Console:
    """The terminal, on standard output or standard error."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def print_json(result: Any) -> None:
    """One JSON object on standard output, for a program."""
    sys.stdout.write(to_json(result) + "\n")


def error(fault: StepwellError) -> None:
    """What went wrong, what was got and wanted, and what to do."""
    console = console_for(stderr=True)
    console.print(f"[bold red]stepwell:[/] {plain(fault.what)}", soft_wrap=True)
    for name, value in (("got", fault.got), ("wanted", fault.wanted), ("do", fault.do)):
        if value is not None:
            console.print(f"  [dim]{name + ':':<8}[/]{plain(value)}", soft_wrap=True)


def usage(fault: BaseException) -> None:
    """A fault of the command line, as the parser words it."""
    message = getattr(fault, "format_message", fault.__str__)()
    context = getattr(fault, "ctx", None)
    command = getattr(context, "command_path", "stepwell")
    error(UsageError(str(message).rstrip("."), do=f"{command} --help"))


def unexpected(fault: BaseException) -> None:
    """A fault of ours."""
    console, words = console_for(stderr=True), plain(f"{type(fault).__name__}: {fault}")
    console.print(f"[bold red]stepwell:[/] something went wrong inside: {words}", soft_wrap=True)
    console.print("  [dim]do:     [/]run the same command with --debug and report what it prints")


def plain(text: str) -> str:
    """Text without markup or control characters."""
    from rich.markup import escape

    from stepwell.studies import visible

    return escape(visible(text))


def plain_line(text: str) -> str:
    """Text as one line without control characters."""
    from stepwell.studies import visible

    return visible(" ".join(text.split()))


def run_result(result: dict[str, Any], *, json: bool) -> None:
    """The end of a run: rounds, result, samples, where things are, what to try next."""
    if json:
        print_json(result)
        return
    from stepwell.cli.live import rounds_table
    from stepwell.studies import best_words, metric_words, show_metric

    console, out = console_for(), result["out"]
    journal = read_lines(RunDirectory(Path(out)).journal)
    console.print()
    console.print(rounds_table(journal))
    metric = result["metric"]
    name = metric_words(metric).en
    for split in ("validation", "test"):
        values = (result[split] or {}).get(metric)
        if values:
            interval = ""
            if values["low"] is not None:
                interval = f" [dim]({show_metric(metric, values['low'])}–{show_metric(metric, values['high'])})[/]"
            console.print(f"{split:<11}[bold]{show_metric(metric, values['value'])}[/] {name}{interval}")
    _baselines(console, result["baselines"], metric)
    if best := best_words(Path(out)):
        console.print(f"{'best':<11}{plain(best.en)}", soft_wrap=True)
    trained = next((line for line in reversed(journal) if line.get("accepted") and line.get("tokens_per_second")), None)
    if trained is not None:
        console.print(f"{'speed':<11}{_pace(trained)}")
    masked_words(console, result)
    _samples(console, result)
    console.print()
    _places(console, result)


def _baselines(console: Console, baselines: Sequence[dict[str, Any]], metric: str) -> None:
    """Simple models on the same examples."""
    from stepwell.studies import baseline_words, metric_words, show_metric

    name = metric_words(metric).en
    for baseline in baselines:
        if metric in baseline:
            words = baseline_words(baseline["name"]).en
            console.print(f"{'to beat':<11}{show_metric(metric, baseline[metric])} {name}, {words}")


def _samples(console: Console, result: dict[str, Any]) -> None:
    """Prompts and what follows them; of a task that answers, texts and their answers."""
    from stepwell.studies import WRITES_ON

    answers = result["task"] not in WRITES_ON
    pairs = [(plain_line(sample["prompt"]), plain_line(sample["text"])) for sample in result["samples"]]
    brief = answers and all(len(prompt) + len(text) <= LINE_CHARACTERS for prompt, text in pairs)
    for place, (prompt, text) in enumerate(pairs):
        if not brief or not place:
            console.print()
        console.print(f"[bold]{plain(prompt)}[/]{' → ' if answers else ' '}{plain(text)}", soft_wrap=False)


def _places(console: Console, result: dict[str, Any]) -> None:
    from stepwell.studies import WRITES_ON, use_commands

    out, task = result["out"], result["task"]
    quoted, samples = shlex.quote(out), result["samples"]
    console.print(f"model      {plain(str(Path(out) / 'best'))}", soft_wrap=True)
    console.print(f"report     {plain(str(Path(out) / 'report.html'))}", soft_wrap=True)
    console.print()
    console.print("[dim]next[/]")
    asked = "" if task in WRITES_ON or not samples else plain_line(samples[0]["prompt"])
    commands = [command for _, command in use_commands(task, out, asked)]
    commands.append(f"stepwell run --out {quoted} --budget 30m     # go on with a larger budget")
    if task in WRITES_ON:
        commands.append("stepwell run --text YOUR_FILES --budget 20m")
    for command in commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)


def plan_result(result: dict[str, Any], *, json: bool) -> None:
    """A plan as a person asks for it: how long, what fits, what is chosen and why."""
    if json:
        print_json(result)
        return
    from rich.table import Table

    console, data, model = console_for(), result["data"], result["model"]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    languages = ", ".join(f"{name} {share:.0%}" for name, share in list(data["languages"].items())[:3])
    train = data["splits"]["train"]
    grid.add_row("text", f"{data['bytes'] / 1e6:,.2f} MB in {data['documents']:,} documents ({languages})")
    grid.add_row(
        "tokens",
        f"{train['tokens']:,} to learn from, vocabulary {model['vocab_size']:,}, "
        f"{result['tokenizer']['bytes_per_token']['train']:.2f} bytes a token",
    )
    grid.add_row("model", f"{result['shape']}\n{result['reason'].removeprefix('derived: ')}".strip())
    if result["tokens_per_second"] is not None:
        grid.add_row(
            "speed",
            f"{result['tokens_per_second']:,} tokens/s in {result['training']['precision']}, "
            f"{result['memory_bytes'] / 1e9:,.1f} GB of memory, about {result['epochs']} passes over the text",
        )
    for planned in result["rounds"]:
        label = f"round {planned['round']}"
        grid.add_row(label, f"{format_duration(planned['seconds'])}, about {planned['steps']:,} steps")
    grid.add_row("all", f"{format_duration(result['seconds'])}, measuring and report included")
    console.print(grid)


def train_result(result: dict[str, Any], *, json: bool) -> None:
    """The end of a training run."""
    if json:
        print_json(result)
        return
    from stepwell.studies import WRITES_ON, metric_words, show_metric, use_commands

    console, metric = console_for(), result["metric"]
    interval = ""
    if result["low"] is not None:
        interval = f" [dim]({show_metric(metric, result['low'])}–{show_metric(metric, result['high'])})[/]"
    console.print()
    console.print(f"validation [bold]{show_metric(metric, result['value'])}[/] {metric_words(metric).en}{interval}")
    console.print(
        f"trained    {result['steps']:,} steps, {result['tokens']:,} tokens, {format_duration(result['seconds'])}"
    )
    console.print(f"speed      {_pace(result)}")
    masked_words(console, result)
    _samples(console, result)
    console.print()
    console.print(f"model      {plain(str(Path(result['out']) / result['checkpoint']))}", soft_wrap=True)
    asked = "" if result["task"] in WRITES_ON or not result["samples"] else result["samples"][0]["prompt"]
    _, command = use_commands(result["task"], result["out"], plain_line(asked))[0]
    console.print(f"  {command}", markup=False, soft_wrap=True)


def _pace(result: dict[str, Any]) -> str:
    """Tokens a second over the time of the training, measuring on the way included, and what the machine gave."""
    from stepwell.cli.live import percent

    words = f"{result['tokens_per_second']:,.0f} tokens/s"
    if result.get("mfu_ratio") is not None:
        words += f" ({percent(result['mfu_ratio'])} of the machine's rate)"
    if result.get("peak_memory_bytes") is not None:
        words += f", memory at most {result['peak_memory_bytes'] / 1e9:.1f} GB"
    return words


def masked_words(console: Console, result: dict[str, Any]) -> None:
    """What the numbers of a masked model do not say."""
    if result.get("scoring") == "masked" and result.get("task", "language_modeling") == "language_modeling":
        console.print("[dim]each token told from both sides: to be compared with other masked models alone[/]")


def imported(result: dict[str, Any], *, json: bool) -> None:
    """What came in, whether it computes the same, and what to do with it."""
    if json:
        print_json(result)
        return
    console, out = console_for(), shlex.quote(result["out"])
    console.print(
        f"model      {result['model_type']} ({result['kind'].replace('_', '-')}), {_millions(result['parameters'])}, "
        f"{result['dtype']}"
    )
    console.print(f"reads      {result['max_seq_len']:,} tokens of a vocabulary of {result['tokens']:,}")
    _parity(console, result["parity"])
    for note in result["notes"]:
        console.print(f"note       {plain(note)}", soft_wrap=True)
    console.print(f"checkpoint {plain(result['out'])}", soft_wrap=True)
    console.print()
    console.print("[dim]next[/]")
    prompt = "--chat --prompt 'What is a well?'" if result["chat"] else "--prompt 'Once upon a time'"
    for command in (
        f"stepwell predict {out} {prompt}",
        f"stepwell evaluate {out} --data YOUR_FILES",
    ):
        console.print(f"  {command}", markup=False, soft_wrap=True)


def merged(result: dict[str, Any], *, json: bool) -> None:
    """Which adapters went into a model, and what to do with it."""
    if json:
        print_json(result)
        return
    console = console_for()
    for adapter in result["adapters"]:
        weight = "" if adapter["weight"] == 1 else f", times {adapter['weight']:g}"
        console.print(
            f"adapter    {plain(adapter['path'])} ({adapter['kind']}, {_millions(adapter['parameters'])}{weight})",
            soft_wrap=True,
        )
        if "rounded_ratio" in adapter:
            console.print(
                f"note       it was learned over weights in {adapter['base_weights']}, which are "
                f"{adapter['rounded_ratio']:.1%} off those of the base; it fits them best",
                soft_wrap=True,
            )
    console.print(f"checkpoint {plain(result['out'])}", soft_wrap=True)


def exported(result: dict[str, Any], *, json: bool) -> None:
    """What was written, whether it computes the same, and how to open it."""
    if json:
        print_json(result)
        return
    console, out = console_for(), plain(result["out"])
    console.print(f"class      {result['architecture']}, {_millions(result['parameters'])}, {result['dtype']}")
    _parity(console, result["parity"])
    for note in result["notes"]:
        console.print(f"note       {plain(note)}", soft_wrap=True)
    console.print(f"folder     {out}, {result['bytes'] / 1e6:,.1f} MB of weights", soft_wrap=True)
    console.print()
    console.print("[dim]open it[/]")
    console.print(
        f"  from peft import PeftModel\n  model = PeftModel.from_pretrained(BASE_MODEL, {result['out']!r})"
        if result["auto_class"] == "PeftModel"
        else f"  from transformers import AutoTokenizer, {result['auto_class']}\n"
        f"  tokenizer = AutoTokenizer.from_pretrained({result['out']!r})\n"
        f"  model = {result['auto_class']}.from_pretrained({result['out']!r})",
        markup=False,
        soft_wrap=True,
    )


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:,.1f} M parameters"


def _parity(console: Console, parity: dict[str, Any]) -> None:
    """How far transformers' computation is from ours."""
    if "not_measured" in parity:
        console.print(f"parity     [yellow]not measured[/]: {plain(parity['not_measured'])}", soft_wrap=True)
        return
    console.print(
        f"parity     logits differ from transformers' by at most [bold]{parity['ratio']:.1e}[/] of their range "
        f"({parity['max_logit_difference']:.1e} of {parity['logit_range']:.3g})",
        soft_wrap=True,
    )
    if parity["num_greedy"]:
        console.print(f"           {parity['greedy_equal']} of {parity['num_greedy']} greedy tokens are the same")


def report_path(path: Path, *, json: bool) -> None:
    """Where the report is."""
    if json:
        print_json({"report": str(path)})
    else:
        sys.stdout.write(f"{path}\n")


def machine(result: dict[str, Any], *, json: bool) -> None:
    """What the machine is and what is taken on it."""
    if json:
        print_json(result)
        return
    from rich.table import Table

    def yes(flag: bool) -> str:
        return "yes" if flag else "no"

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    rates = result["gflops"]
    grid.add_row("processor", f"{result['cpu']}, {result['cores']} cores")
    grid.add_row(
        "memory", f"{result['memory_bytes'] / 1e9:,.1f} GB, {result['available_memory_bytes'] / 1e9:,.1f} GB free"
    )
    grid.add_row("gpu", result["gpu"] or "none")
    features = ("bf16", "vnni", "amx")
    grid.add_row("features", ", ".join(f"{name} {yes(result[name])}" for name in features))
    grid.add_row("measured", f"{rates['float32']:,.0f} GFLOP/s in float32, {rates['bfloat16']:,.0f} in bfloat16")
    grid.add_row("taken", f"{result['precision']} on {result['device']}, {result['threads']} threads")
    console_for().print(grid)
