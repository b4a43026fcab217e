"""The command `stepwell`: parse, call the verb of `stepwell.api`, show.

With `--json` standard output holds exactly one JSON object; everything else goes to standard error. Exit codes: 0
done, 1 failed, 2 bad usage, 130 stopped by hand. This file leaves out how results look (`show.py` and those beside it).
"""

from __future__ import annotations

import io
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from stepwell import __version__
from stepwell.cli.arguments import ManyWords, StopSignal, is_follower
from stepwell.cli.chat import chat
from stepwell.cli.serving import serve
from stepwell.cli.vectors import embed, search
from stepwell.errors import EndedElsewhere, StepwellError, UsageError

BEGAN = time.monotonic()
"""When the process began; budgets count from here."""

SHARED_WORK = {"quickstart", "run", "plan", "train", "--find-lr"}
"""What several ranks (torchrun) take part in; rank 0 does everything else alone."""

app = typer.Typer(
    name="stepwell",
    help="From your own text to a language model that is measured, improved and delivered, step by step.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

Recipe = Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe file (YAML).", show_default=False)]
Text = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="PATH...", help="Files, folders, globs, hf://owner/name or sample:python-docs."),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH...", help="Tables with a text column (jsonl, csv, parquet ...)."),
]
Task = Annotated[str | None, typer.Option(help="What it is for: classification, chat, ...", show_default=False)]
Metric = Annotated[str | None, typer.Option(help="What is improved: a metric of the task.", show_default=False)]
Target = Annotated[float | None, typer.Option(help="Stop when validation reaches this.", show_default=False)]
Budget = Annotated[str | None, typer.Option(help="Time for everything: 90s, 20m, 1h30m.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="The run directory. [default: runs/NAME]", show_default=False)]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C...", help="Any value of the recipe.", show_default=False)
]
Track = Annotated[
    list[str] | None,
    typer.Option("--track", metavar="NAME...", help="Show it elsewhere too: tensorboard, trackio, wandb, mlflow."),
]
Profile = Annotated[bool, typer.Option("--profile", help="See where the time of ten training steps goes.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Measured = Annotated[
    list[str], typer.Option("--data", metavar="PATH...", help="Text to measure on.", show_default=False)
]
TextColumn = Annotated[str | None, typer.Option(help="Of tables.", show_default=False)]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint directory.", show_default=False)
]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (any command takes it).")] = False,
) -> None:
    """Options of every command."""
    if version:
        typer.echo(f"stepwell {__version__}")
        raise typer.Exit


@app.command(cls=ManyWords)
def quickstart(out: Out = None, json: Json = False) -> None:
    """The closed loop on the prose that every Python carries: five minutes, nothing downloaded."""
    from stepwell import api
    from stepwell.cli import show

    with StopSignal().listening() as stop, show.view(json) as watch:
        result = api.quickstart(out=out, watch=watch, stop_requested=stop, began=BEGAN)
    show.run_result(result, json=json)


@app.command(cls=ManyWords)
def run(
    recipe: Recipe = None,
    text: Text = None,
    data: Data = None,
    task: Task = None,
    metric: Metric = None,
    target: Target = None,
    budget: Budget = None,
    out: Out = None,
    set_: Set = None,
    track: Track = None,
    profile: Profile = False,
    json: Json = False,
) -> None:
    """The closed loop on your text: prepare, train, measure, adjust, train again. Run it again to go on."""
    from stepwell import api
    from stepwell.cli import show

    with StopSignal().listening() as stop, show.view(json) as watch:
        result = api.run(
            recipe,
            text=text or (),
            data=data or (),
            task=task,
            metric=metric,
            target=target,
            budget=budget,
            out=out,
            set=set_ or (),
            track=track or (),
            profile=profile,
            watch=watch,
            stop_requested=stop,
            began=BEGAN,
        )
    show.run_result(result, json=json)


@app.command(cls=ManyWords)
def plan(
    recipe: Recipe = None,
    text: Text = None,
    data: Data = None,
    task: Task = None,
    metric: Metric = None,
    target: Target = None,
    budget: Budget = None,
    out: Out = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """How long it will take, what will fit, what will be chosen and why; measured on this machine."""
    from stepwell import api
    from stepwell.cli import show

    with show.view(json) as watch:
        result = api.plan(
            recipe,
            text=text or (),
            data=data or (),
            task=task,
            metric=metric,
            target=target,
            budget=budget,
            out=out,
            set=set_ or (),
            watch=watch,
            began=BEGAN,
        )
    show.plan_result(result, json=json)


@app.command(cls=ManyWords)
def prepare(
    recipe: Recipe = None,
    text: Text = None,
    data: Data = None,
    task: Task = None,
    out: Out = None,
    set_: Set = None,
    engine: Annotated[str, typer.Option(help="Who works: auto, serial, processes or ray.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="How many at once. [default: one for each core]", show_default=False)
    ] = None,
    show_dropped: Annotated[bool, typer.Option("--show-dropped", help="Examples of what each step dropped.")] = False,
    json: Json = False,
) -> None:
    """Text made ready and told about, without training: `run` does the same, and finds it done."""
    from stepwell import api
    from stepwell.cli import show
    from stepwell.cli.prepared import prepared

    with StopSignal().listening(), show.view(json) as watch:
        result = api.prepare(
            recipe,
            text=text or (),
            data=data or (),
            task=task,
            out=out,
            set=set_ or (),
            engine=engine,  # type: ignore[arg-type]
            workers=workers,
            watch=watch,
        )
    prepared(result, dropped=show_dropped, json=json)


@app.command(cls=ManyWords)
def train(
    recipe: Recipe = None,
    text: Text = None,
    data: Data = None,
    task: Task = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer updates; repeatable to the bit.", show_default=False)
    ] = None,
    budget: Budget = None,
    out: Out = None,
    set_: Set = None,
    track: Track = None,
    profile: Profile = False,
    json: Json = False,
) -> None:
    """One training run without the loop. Stopped and started again, it goes on where it was."""
    from stepwell import api
    from stepwell.cli import show

    with StopSignal().listening() as stop, show.view(json) as watch:
        result = api.train(
            recipe,
            text=text or (),
            data=data or (),
            task=task,
            budget=budget,
            steps=steps,
            out=out,
            set=set_ or (),
            track=track or (),
            profile=profile,
            watch=watch,
            stop_requested=stop,
            began=BEGAN,
        )
    show.train_result(result, json=json)


@app.command(cls=ManyWords)
def predict(
    run: Run,
    prompt: Annotated[str | None, typer.Option(help="The beginning of a text.", show_default=False)] = None,
    input_: Annotated[
        Path | None,
        typer.Option("--input", help="A file of prompts, one a line, or jsonl with `prompt`.", show_default=False),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest completion.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token.", show_default=False)] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest.", show_default=False)] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the likeliest that sum to p.", show_default=False)
    ] = None,
    min_p: Annotated[float | None, typer.Option(help="Relative to the likeliest.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every draw.", show_default=False)] = None,
    n: Annotated[int, typer.Option("-n", help="Samples of each prompt.")] = 1,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End before this text.", show_default=False)] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Answer the prompt, by the model's chat template.")] = False,
    weights: Annotated[str, typer.Option(help="plain, or in machine code: auto, bf16, int8, int4, float32.")] = "plain",
    rows: Annotated[
        Path | None, typer.Option(help="Write --input with the answers in it: rows to train on.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Let a model go on with a text, or answer it; streamed. A masked model fills the masks of the text."""
    from stepwell import api
    from stepwell.cli import answers
    from stepwell.tokenizers import MASKS

    asked: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "seed": seed,
        "n": n,
        "stop": tuple(stop or ()),
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if (prompt is None) == (input_ is None):
        raise UsageError(
            "predict: one of --prompt and --input is needed", do="stepwell predict RUN --prompt 'Once upon'"
        )
    streams = prompt is not None and n == 1 and not json and rows is None
    if prompt is not None and streams and not any(mask in prompt for mask in MASKS):
        answers.stream(prompt, api.stream(run, prompt, given, chat=chat, weights=weights))
        return
    prompts = [prompt] if prompt is not None else answers.read_prompts(input_)
    if rows is not None:
        if chat or n > 1:
            raise UsageError("--rows: one answer each, as the model's task has it", do="leave --chat and -n out")
        answers.write_rows(rows, lambda: api.answer_rows(run, prompts, given, weights=weights), json=json)
        return
    answers.completions(prompts, api.predict(run, prompts, given, chat=chat, weights=weights), json=json)


app.command(cls=ManyWords)(chat)


@app.command()
def score(
    run: Run,
    text: Annotated[str, typer.Option(help="The text to score.", show_default=False)],
    json: Json = False,
) -> None:
    """The chain rule made visible: how likely each token of a text is."""
    from stepwell import api
    from stepwell.cli import answers

    answers.score_result(api.score(run, text), json=json)


app.command(cls=ManyWords)(embed)
app.command(cls=ManyWords)(search)
app.command(cls=ManyWords)(serve)


@app.command(cls=ManyWords)
def evaluate(
    run: Run,
    data: Measured,
    text_column: TextColumn = None,
    task: Annotated[str | None, typer.Option(help="Measure by another task.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Loss, perplexity, bits per byte and accuracy on any text, with intervals."""
    from stepwell import api
    from stepwell.cli import measured, show

    with show.view(json) as watch:
        result = api.evaluate(run, data, text_column=text_column, task=task, watch=watch)
    measured.evaluation(result, json=json)


@app.command(cls=ManyWords)
def compare(
    run: Run,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another run or checkpoint.", show_default=False)],
    data: Measured,
    text_column: TextColumn = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Of chat models: package.module:function, or a run, that judges.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Two models on the same text: which is better, and whether that is more than chance."""
    from stepwell import api
    from stepwell.cli import measured, show

    with show.view(json) as watch:
        result = api.compare(run, other, data, text_column=text_column, judge=judge, watch=watch)
    measured.comparison(result, json=json)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A folder of transformers, a .gguf file, or owner/name on the hub."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The checkpoint directory to make.")],
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Read pytorch_model.bin: tensors only.")] = False,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="Do not compare with transformers.")] = False,
    json: Json = False,
) -> None:
    """Take published weights in: predict with them, measure them, train them on."""
    from stepwell import api
    from stepwell.cli import show

    with show.view(json) as watch:
        result = api.import_(source, out, allow_pickle=allow_pickle, parity=not no_parity, watch=watch)
    show.imported(result, json=json)


@app.command()
def merge(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The run or checkpoint that training began from.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The checkpoint directory to make.")],
    adapters: Annotated[
        list[str], typer.Option("--adapter", help="A run with an adapter, or a folder of peft; PATH=0.5 weighs it.")
    ],
    json: Json = False,
) -> None:
    """Put an adapter, or a weighted sum of several, into its base model."""
    from stepwell import api
    from stepwell.cli import show

    show.merged(api.merge(base, out, adapters=adapters), json=json)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.", show_default=False)],
    to: Annotated[str, typer.Option(help="hf: a folder that transformers opens; peft: its adapter.")] = "hf",
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16. [default: as stored]", show_default=False)
    ] = None,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="Do not compare with transformers.")] = False,
    json: Json = False,
) -> None:
    """Hand a model to other programs, with its tokenizer and a model card."""
    from stepwell import api
    from stepwell.cli import show

    with show.view(json) as watch:
        result = api.export(run, out, to=to, dtype=dtype, parity=not no_parity, watch=watch)
    show.exported(result, json=json)


@app.command()
def report(run: Run, json: Json = False) -> None:
    """Write the report of a run again."""
    from stepwell import api
    from stepwell.cli import show

    show.report_path(api.report(run), json=json)


@app.command(cls=ManyWords)
def doctor(
    find_lr: Annotated[
        Path | None,
        typer.Option("--find-lr", metavar="RECIPE", help="Try learning rates on a recipe's run.", show_default=False),
    ] = None,
    out: Out = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """What this machine is, measured, and the settings that are taken on it; or which learning rates a run can bear."""
    from stepwell import api
    from stepwell.cli import show

    if find_lr is None:
        if out is not None or set_:
            raise UsageError("doctor: --out and --set go with --find-lr", do="stepwell doctor --find-lr RECIPE")
        show.machine(api.doctor(), json=json)
        return
    from stepwell.cli.rates import rate_result

    with show.view(json) as watch:
        result = api.find_rate(find_lr, out=out, set=set_ or (), watch=watch, began=BEGAN)
    rate_result(result, str(find_lr), json=json)


def main() -> None:
    """Entry point: run a command and turn errors into words and exit codes."""
    from stepwell.hardware import share_cores

    args = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(args) < len(sys.argv) - 1
    if args and not {"--help", "-h", "--version"} & set(args):
        share_cores()
    for stream in (sys.stdout, sys.stderr):  # a prompt may be no UTF-8, and a terminal may know less than that
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if is_follower():
        if not set(args) & SHARED_WORK:
            sys.exit(0)
        sys.stdout = io.StringIO()  # rank 0 speaks for all
    try:
        code = app(args=args, prog_name="stepwell", standalone_mode=False)
    except BrokenPipeError:
        code = 0
    except (KeyboardInterrupt, Exception) as fault:
        code = _explain(fault, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(fault: BaseException, debug: bool) -> int:
    """Words on standard error; returns the exit code."""
    from stepwell.cli import show

    if isinstance(fault, (KeyboardInterrupt, typer.Abort)):
        return 130
    if debug:
        traceback.print_exception(fault)
    if isinstance(fault, EndedElsewhere):
        return fault.exit_code
    if isinstance(fault, StepwellError):
        show.error(fault)
        return fault.exit_code
    if hasattr(fault, "format_message"):  # the parser's own errors
        if fault.format_message():  # without one it has shown the help already
            show.usage(fault)
        return 2
    if not debug:
        show.unexpected(fault)
    return 1
