"""What a finished model is asked and says: prompts of a file, completions, answers of a task, rows, vectors, scores.

Results go to standard output. This file leaves out how results of other kinds look (`show.py`).
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cli.show import console_for, masked_words, plain, print_json
from stepwell.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stepwell.inference import Answer, Asked, Piece


SHOWN_LABELS = 3
"""Of an answer, with their probabilities."""


def stream(prompt: str, pieces: Iterable[Piece | Answer]) -> None:
    """A completion as it is written, after the prompt that it goes on with; an answer stands alone."""
    first = True
    for piece in pieces:
        if not hasattr(piece, "continues"):
            _answer(piece)
            return
        if first and piece.continues:
            sys.stdout.write(prompt)
        first = False
        sys.stdout.write(piece.text)
        sys.stdout.flush()
    sys.stdout.write("\n")


def completions(prompts: Sequence[Asked], done: Sequence[Sequence[Any]], *, json: bool) -> None:
    """Finished completions: one JSON object, or text after each prompt; answers stand under theirs."""
    if json:
        choices = [
            {"prompt": prompt, "index": index, **_choice(completion)}
            for prompt, samples in zip(prompts, done, strict=True)
            for index, completion in enumerate(samples)
        ]
        print_json({"completions": choices})
        return
    for prompt, samples in zip(prompts, done, strict=True):
        for number, completion in enumerate(samples, start=1):
            if hasattr(completion, "probabilities"):
                _answer(completion)
                continue
            if len(samples) > 1:
                sys.stdout.write(f"[{number}] ")
            is_whole = hasattr(completion, "candidates")  # its masks are filled
            before = "" if is_whole else prompt if completion.continues else f"{prompt}\n"
            sys.stdout.write(f"{before}{completion.text}\n")
            sys.stdout.write("\n" if len(prompts) * len(samples) > 1 else "")


def _answer(answer: Answer) -> None:
    """An answer of a task, and how sure it is."""
    likely = list(answer.probabilities.items())[:SHOWN_LABELS]
    shares = ", ".join(f"{plain(label)} {share:.1%}" for label, share in likely)
    if len(answer.found) == 1 and answer.found[0]["text"] == answer.text:  # a passage of the text that was read
        place = answer.found[0]
        shares = f"{place['probability']:.1%}, characters {place['start']} to {place['end']}"
    words = plain(answer.text) or "[dim]no answer[/]"
    console_for().print(words + (f"  [dim]{shares}[/]" if shares else ""), soft_wrap=True)


def _choice(completion: Any) -> dict[str, Any]:
    fields = asdict(completion)
    names = ("text", "finish_reason", "prompt_tokens", "token_ids", "logprobs", "candidates", "probabilities", "found")
    wanted = [name for name in names if name not in ("probabilities", "found") or fields.get(name)]
    return {name: fields[name] for name in wanted if name in fields}


def read_prompts(path: Path | None) -> list[Asked]:
    """Prompts of a file: the `prompt` of each jsonl record or the record itself, or each line.

    Raises:
        UsageError: when the file cannot be read, or holds no prompt.
    """
    assert path is not None
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"{path}: cannot be read", got=str(fault)) from None
    if not lines:
        raise UsageError(f"{path}: holds no prompt", wanted="one prompt a line")
    if path.suffix != ".jsonl":
        return list(lines)
    try:
        rows = [json_module.loads(line) for line in lines]
        prompts: list[Asked] = [row["prompt"] if "prompt" in row or not isinstance(row, dict) else row for row in rows]
    except (ValueError, KeyError, TypeError) as fault:
        raise UsageError(f"{path}: is not jsonl with `prompt`", got=repr(fault)) from None
    if strange := [prompt for prompt in prompts if not isinstance(prompt, str | dict)]:
        raise UsageError(f"{path}: a prompt is not text", got=repr(strange[0]))
    return prompts


def write_rows(path: Path, answered: Callable[[], Sequence[Mapping[str, Any]]], *, json: bool) -> None:
    """Rows into a new file, jsonl; it is there before the rows are asked for, so that none are lost.

    Raises:
        UsageError: when it is there already, or cannot be written.
    """
    try:
        file = path.open("x", encoding="utf-8")
    except OSError as fault:
        raise UsageError(f"--rows: {path} cannot be written", got=str(fault), do="name another file") from None
    with file:
        try:
            rows = answered()
        except BaseException:
            path.unlink()
            raise
        file.writelines(json_module.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if json:
        print_json({"out": str(path), "rows": len(rows)})
    else:
        console_for().print(f"{len(rows):,} rows in {plain(str(path))}")


def embeddings(texts: Sequence[str], vectors: NDArray[np.float32], *, json: bool) -> None:
    """Vectors as JSON, or for a person how alike the texts are."""
    if json:
        records = [{"text": text, "embedding": vector} for text, vector in zip(texts, vectors.tolist(), strict=True)]
        print_json({"embeddings": records})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("text", no_wrap=True, overflow="ellipsis", max_width=40)
    for number in range(1, len(texts) + 1):
        table.add_column(str(number), justify="right")
    for number, (text, row) in enumerate(zip(texts, vectors @ vectors.T, strict=True), start=1):
        table.add_row(f"{number} {plain(' '.join(text.split()))}", *(f"{cosine:.2f}" for cosine in row))
    console = console_for()
    console.print(table)
    console.print(f"[dim]cosines of vectors of {vectors.shape[1]} numbers; --json shows the numbers[/]")


def score_result(result: dict[str, Any], *, json: bool) -> None:
    """Each token with its probability, and the sums."""
    if json:
        print_json(result)
        return
    import math

    from rich.table import Table

    console = console_for()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("token")
    table.add_column("logprob", justify="right")
    table.add_column("probability", justify="right")
    for token in result["tokens"]:
        probability = math.exp(token["logprob"])
        shown = plain(token["token"].replace("\n", "\\n").replace("\t", "\\t"))
        percent = f"{probability:.2%}" if probability >= 1e-4 else "<0.01%"
        table.add_row(f"[bold]{shown}[/]", f"{token['logprob']:.3f}", percent)
    console.print(table)
    console.print(
        f"together {result['logprob']:.2f} nats; perplexity {result['perplexity']:.2f}; "
        f"[bold]{result['bits_per_byte']:.3f}[/] bits per byte"
    )
    masked_words(console, result)
