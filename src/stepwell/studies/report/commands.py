"""What to type next with a finished model: commands that fit what it was trained for.

The page and the command line show the same ones. This file leaves out commands for the run itself.
"""

from __future__ import annotations

import shlex

from stepwell.studies.report.words import Words, say

WRITES_ON = ("language_modeling", "generation")
"""Tasks whose models go on with a text."""

MOST_CHARACTERS = 80
"""Of a prompt in a command."""


def use_commands(task: str, run: str, prompt: str = "") -> list[tuple[Words, str]]:
    """Commands that use and measure a model: what they do, and what to type.

    Args:
        task: kind of the task; empty for plain text.
        run: the run directory, as one would type it.
        prompt: an example of what it may be asked; empty for a usual one.
    """
    run = shlex.quote(run)
    if not task or task in WRITES_ON:
        beginning = _one_line(prompt) or "Once upon a time"
        return [
            (say("cmd predict"), f"stepwell predict {run} --prompt {shlex.quote(beginning)}"),
            (say("cmd score"), f"stepwell score {run} --text {shlex.quote('The text to look at.')}"),
            (say("cmd evaluate"), f"stepwell evaluate {run} --data other.txt"),
        ]
    if task in ("embedding", "retrieval"):
        query = shlex.quote(_one_line(prompt) or "a question")
        found = [
            (say("cmd search"), f"stepwell search {run} --data YOUR_TEXTS --text {query}"),
            (say("cmd embed"), f"stepwell embed {run} --text 'one text' 'another text'"),
        ]
    elif task == "question_answering":
        found = [(say("cmd answer questions"), f"stepwell predict {run} --input questions.jsonl")]
    else:
        asked = _one_line(prompt) or "What is a well?"
        found = [
            (say("cmd answer"), f"stepwell predict {run} --prompt {shlex.quote(asked)}"),
            (say("cmd answer many"), f"stepwell predict {run} --input texts.txt --json"),
        ]
    return [*found, (say("cmd evaluate"), f"stepwell evaluate {run} --data other.jsonl")]


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MOST_CHARACTERS else words[:MOST_CHARACTERS].rsplit(" ", 1)[0]
