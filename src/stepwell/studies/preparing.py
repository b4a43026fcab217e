"""Text made ready without training: read, taken through its steps, split, tokenised, and told about on a page.

What is prepared stays in the run directory under keys of what it was made from, so `plan`, `train` and `run` with the
same text find it there. This file leaves out the pipeline (`data`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from stepwell.data import StepFacts
from stepwell.progress import Stage, Watcher
from stepwell.recipes import Draft, data_section
from stepwell.runs import RunDirectory, to_json, write_atomically
from stepwell.studies.corpus import DATA_PAGE, Workers, describe
from stepwell.studies.planning import open_draft, tokenizer_section
from stepwell.studies.report import write_data_report
from stepwell.studies.sessions import claimed


def prepare_only(draft: Draft, out: Path, *, workers: Workers, watch: Watcher) -> dict[str, Any]:
    """Prepare the text of a draft, and write what is known about it.

    Args:
        draft: what the user said.
        out: the run directory; it may belong to a run already.
        workers: who does it.
        watch: gets the events.

    Returns:
        `data` (sizes, splits, languages, steps), `tokenizer`, `report` (where the page is) and `seconds`.

    Raises:
        DataError: when a source cannot be read, when a step finds a fault, or when there is too little text.
        RunError: when the directory is locked, or is somebody else's.
    """
    run = RunDirectory(out)
    began = time.monotonic()
    with claimed(run, draft, None):
        draft, corpus = open_draft(draft, run, watch, workers)
        facts = describe(corpus, tokenizer_section(draft))
        watch(Stage("report"))
        page = write_data_report(
            corpus.text,
            out / DATA_PAGE,
            tokenizer=corpus.tokenizer,
            compared=corpus.compared,
            recipe=data_section(draft.data, draft.origins),
        )
        write_atomically(run.data / "facts.json", to_json(facts, indent=2))
    return {
        **facts,
        "steps": [_row(step) for step in corpus.text.facts.steps],
        "text": str(corpus.text.path),
        "tokens": str(corpus.tokens.path),
        "report": str(page),
        "seconds": round(time.monotonic() - began, 1),
    }


def _row(step: StepFacts) -> dict[str, Any]:
    """What a step did, with its speed."""
    return {**step.as_dict(), "bytes_per_second": step.bytes_per_second}
