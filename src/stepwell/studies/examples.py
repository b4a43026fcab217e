"""Examples of a task: what their columns are, what the text tells about them, how long they are, and the audit.

What cannot be learned from is an error before the first step: examples that have nothing to predict, text that stands
in two splits. What was left out or shortened is counted and named. This file leaves out the tasks (`tasks`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stepwell.checkpoints import read_config, resolve_checkpoint
from stepwell.data import ExampleFacts, PreparedText, examples_of, group_field
from stepwell.errors import ConfigError, DataError
from stepwell.models import MODELS
from stepwell.progress import Fact, Watcher
from stepwell.recipes import MAX_SEQ_LEN, Draft
from stepwell.studies.corpus import Corpus
from stepwell.tasks import WHOLE_TEXT_BYTES, TaskConfig, build_task
from stepwell.tokenizers import Tokenizer

LOOKED_AT = 2_000
"""Training documents whose lengths are looked at, about."""

STEP_TOKENS = 16
"""Windows are multiples of this."""

MOST_LEFT_OUT = 0.01
"""Share of the documents that may be no examples; more is an error."""


def with_fields(draft: Draft) -> Draft:
    """A draft whose data section knows what an example holds."""
    fields = draft.task.fields()
    if not fields:
        return draft
    why = f"an example of {draft.task.config.kind}"
    plain = {name: field.model_dump() for name, field in fields.items()}
    return draft.with_derived(
        {"data.fields": (plain, why), "data.document_bytes": (WHOLE_TEXT_BYTES, "an example stays whole")}
    )


def with_findings(draft: Draft, text: PreparedText) -> Draft:
    """A draft with what the text says about the task, and with what the task needs of model and training.

    Raises:
        DataError: when the examples cannot be learned from.
    """
    found = draft.task.find(text)
    draft = draft.with_derived({f"task.{path}": value for path, value in found.items()})
    draft = draft.with_derived(_objective_of(draft))
    needs = {"metric": (draft.task.metric, f"usual for {draft.task.config.kind}"), **draft.task.needs()}
    needs |= draft.task.follows(draft.get)
    if draft.get("init_from"):  # its tokenizer stays, and fresh tables of n-grams learn too slowly beside it
        fresh = ("tokenizer.", "model.task_head.ngrams")
        needs = {path: value for path, value in needs.items() if not path.startswith(fresh)}
    return draft.with_derived(needs)


def _objective_of(draft: Draft) -> dict[str, tuple[Any, str]]:
    """What the task is learned by, as far as the model's family decides it.

    Raises:
        ConfigError: when the family can learn the task by none.
    """
    task = draft.task
    if not task.objectives:
        return {}
    given = draft.get("init_from")
    kind = draft.get("model.kind") or task.family
    kind = read_config(resolve_checkpoint(Path(given))).kind if given else kind
    family = MODELS.get(str(kind))
    known = () if family is None else family.objectives
    chosen = next((one for one in task.objectives if one in known), None)
    if chosen is None:
        raise ConfigError(
            f"model.kind: learns no {task.config.kind}",
            got=str(kind),
            wanted=f"one of {', '.join(n for n, one in MODELS.items() if set(one.objectives) & set(task.objectives))}",
        )
    return {"training.objective.kind": (chosen, f"what {task.config.kind} with this family learns from")}


def with_lengths(draft: Draft, text: PreparedText, tokenizer: Tokenizer) -> Draft:
    """A draft with a window that takes nearly all examples whole."""
    task = draft.task
    if not draft.get("data.fields"):
        return draft
    window = None
    if draft.get("init_from"):
        window = read_config(resolve_checkpoint(Path(draft.get("init_from")))).max_seq_len
    most = min(task.longest_tokens, window or task.longest_tokens)
    stride = max(1, len(text.texts("train")) // LOOKED_AT)
    some = [one for number, one in enumerate(text.documents("train")) if number % stride == 0]
    if task.config.max_tokens is None:
        longest = build_task(task.config.model_copy(update={"max_tokens": 1 << 30}))
        lengths = np.concatenate([made.lengths for made in examples_of(some, longest, tokenizer, ExampleFacts())])
        wanted = int(np.quantile(lengths - 1, task.whole_ratio)) if len(lengths) else STEP_TOKENS
        fitting = min(most, max(STEP_TOKENS, -(-wanted // STEP_TOKENS) * STEP_TOKENS))
        draft = draft.with_derived(
            {"task.max_tokens": (fitting, f"takes {task.whole_ratio:.1%} of the examples whole")}
        )
    draft = draft.with_derived({f"task.{path}": value for path, value in task.measure(some, tokenizer).items()})
    draft = draft.with_derived(draft.task.needs())  # some of it follows from what tokens tell
    max_tokens = int(draft.task.config.max_tokens or most)
    row = max(MAX_SEQ_LEN, max_tokens)
    derived: dict[str, Any] = {"training.row_tokens": (min(row, window or row), "rows take the longest example")}
    if window is None:
        derived["model.max_seq_len"] = (row, "takes the longest example")
    return draft.with_derived(derived)


def look_over(corpus: Corpus, task: TaskConfig, watch: Watcher) -> None:
    """The audit of examples before the first step.

    Args:
        corpus: text and examples.
        task: whose.
        watch: is told what was left out or shortened.

    Raises:
        DataError: when too many documents are no examples, nothing is to be predicted, or splits share text.
    """
    for name, facts in corpus.tokens.examples.items():
        left_out, total = sum(facts["left_out"].values()), facts["examples"] + sum(facts["left_out"].values())
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in facts["left_out"].items())
        if left_out > MOST_LEFT_OUT * total:
            raise DataError(
                f"{name}: too many documents are no examples of {task.kind}",
                got=f"{left_out:,} of {total:,} ({reasons})",
                wanted=f"at most {MOST_LEFT_OUT:.0%}",
                do="mend the rows, or name other columns",
            )
        if left_out:
            watch(Fact(f"{name}: {left_out:,} of {total:,} documents are no examples ({reasons})", warning=True))
        if facts["shortened"]:
            longest = facts["longest"][0]
            watch(
                Fact(
                    f"{name}: {facts['shortened']:,} of {facts['examples']:,} examples are longer than task.max_tokens "
                    f"({task.max_tokens}); {facts['left_out_tokens']:,} tokens are left out, most of "
                    f"{longest[1][:40]!r} ({longest[0]:,})",
                    warning=True,
                )
            )
        for remark, count in facts.get("remarks", {}).items():
            watch(Fact(f"{name}: {count:,} of {facts['examples']:,} examples: {remark}", warning=True))
    if corpus.tokens.examples:
        _look_for_targets(corpus, task)
        _look_for_ends(corpus, task, watch)
        _look_for_leaks(corpus)
        _look_for_groups(corpus, task, watch)


def _look_for_targets(corpus: Corpus, task: TaskConfig) -> None:
    """See that there is something to predict in every split that is used."""
    for name in ("train", "validation"):
        split = corpus.tokens.split(name)
        if not split.num_documents:
            raise DataError(f"{name}: no examples of {task.kind}", wanted="at least one", do="add examples")
        weights = split.aligned.get("weight")
        if weights is not None and not float(np.sum(weights)):
            raise DataError(
                f"{name}: not one token counts, so nothing would be learned",
                got=f"{split.num_documents:,} examples of {task.kind}",
                wanted="answers within task.max_tokens",
                do="raise task.max_tokens, or look at the roles of the messages",
            )


def _look_for_ends(corpus: Corpus, task: TaskConfig, watch: Watcher) -> None:
    """See that what is written ends with a token that stops, and that this token is learned.

    Raises:
        DataError: when not one end counts, so that a model would never stop.
    """
    if "causal" not in build_task(task).objectives:
        return
    for name in ("train", "validation"):
        split = corpus.tokens.split(name)
        if "weight" not in split.aligned:
            continue
        places = np.flatnonzero(np.asarray(split.aligned["weight"]) > 0)
        ends = np.isin(np.asarray(split.token_ids)[places + 1], sorted(corpus.tokenizer.target.stop_ids))
        ended = len(np.unique(np.searchsorted(split.offsets, places[ends], side="right")))
        if not ended:
            raise DataError(
                f"{name}: no end is learned, so nothing that the model writes would stop",
                got=f"{split.num_documents:,} examples of {task.kind}, none of which ends within task.max_tokens",
                wanted="examples that end with a token that stops",
                do="raise task.max_tokens",
            )
        total = split.num_tokens - split.num_documents
        words = f"{name}: {len(places) / total:.0%} of {total:,} tokens count"
        if ended < split.num_documents:
            words += f"; the end of {split.num_documents - ended:,} of {split.num_documents:,} examples is cut off"
        watch(Fact(words))


def _look_for_leaks(corpus: Corpus) -> None:
    """See that no training text is held out too.

    Raises:
        DataError: with an example.
    """
    train = {document.digest for document in corpus.text.documents("train")}
    for name in ("validation", "test"):
        again = [one.text for one in corpus.text.documents(name) if one.digest in train]
        if again:
            raise DataError(
                f"{name}: has texts that are learned from",
                got=f"{len(again):,}, such as {' '.join(again[0][:60].split())!r}",
                wanted="splits that share nothing",
                do="set data.deduplicate=true, or take them out of one of the files",
            )


def _look_for_groups(corpus: Corpus, task: TaskConfig, watch: Watcher) -> None:
    """See that what examples have in common, such as the text that questions are about, is not in two splits.

    Raises:
        DataError: with an example, when more than a hundredth of a split shares it with training text.
    """
    name = group_field(build_task(task).fields())
    if name is None:
        return
    train = {document.group_digest(name) for document in corpus.text.documents("train")}
    for split in ("validation", "test"):
        everything = list(corpus.text.documents(split))
        again = [str(one.columns.get(name)) for one in everything if one.group_digest(name) in train]
        if len(again) > MOST_LEFT_OUT * len(everything):
            raise DataError(
                f"{split}: has the same {name} as training examples",
                got=f"{len(again):,} of {len(everything):,}, such as {' '.join(again[0][:60].split())!r}",
                wanted=f"splits that share no {name}",
                do="put them all in one file: the split is then drawn so that they stay together",
            )
        if again:
            share = f"{len(again):,} of {len(everything):,}"
            watch(Fact(f"{split}: {share} examples share their {name} with training examples", warning=True))
