"""The model card: what a stranger should know before using a model, filled from what the run knows.

Everything in it was written down by the run or the source; what nobody knows is said to be unknown. Numbers come with
their intervals. This file leaves out any judgement of what the model is good for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stepwell.checkpoints import Loaded, Parity
from stepwell.config import counted, format_duration
from stepwell.runs import RunDirectory

PIPELINES = {"decoder": "text-generation", "encoder": "fill-mask", "encoder_decoder": "translation"}

UNKNOWN_LICENSE = "unknown: you choose"

TASK_PIPELINES = {
    "summarization": "summarization",
    "embedding": "feature-extraction",
    "retrieval": "feature-extraction",
}
"""Kind of a task -> what the hub calls it, where the kind of the model does not say it and no head is needed."""

HEADS = ("Classification", "QuestionAnswering")
"""In the names of classes of transformers that hold a task head."""

METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf_plus_plus": "chrF++",
    "ter": "TER",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "kl": "KL",
    "r_squared": "R²",
}
"""Names that are not the words of the metric."""


def model_card(
    run: Path,
    loaded: Loaded,
    *,
    name: str,
    auto_class: str,
    notes: Sequence[str] = (),
    parity: Parity | None = None,
) -> str:
    """Write the card of a model.

    Args:
        run: the run directory, or a checkpoint directory, which knows less.
        loaded: the model.
        name: of the folder it is written to.
        auto_class: what opens it in transformers.
        notes: what was done on the way, a sentence each.
        parity: how far transformers' computation is from ours; None when it was not measured.

    Returns:
        Markdown with a YAML head.
    """
    facts, result = _known(run, "facts.json"), _known(run, "result.json")
    source = loaded.provenance.get("source", {})
    languages = source.get("languages") or [
        code for code, share in facts.get("data", {}).get("languages", {}).items() if share > 0.05 and code != "other"
    ]
    head = {
        "language": languages or None,
        "license": source.get("license"),
        "library_name": "transformers",
        "pipeline_tag": TASK_PIPELINES.get(_task_of(loaded), PIPELINES[loaded.model.config.kind]),
        "tags": ["stepwell"],
    }
    sections = [
        f"# {name}",
        _what_it_is(loaded, source),
        *_headless(loaded, auto_class),
        *_loading(name, auto_class, loaded),
        "## Trained on",
        *_training(loaded, facts, source),
        *_measured(result, _members(loaded)),
        "## Tokenizer",
        _tokenizer(loaded, facts),
        "## Limits",
        _limits(loaded, languages, result),
        "## License",
        str(source.get("license") or UNKNOWN_LICENSE),
        *_provenance(notes, parity),
    ]
    yaml_head = yaml.safe_dump({k: v for k, v in head.items() if v}, allow_unicode=True, sort_keys=False)
    return f"---\n{yaml_head}---\n\n" + "\n\n".join(sections) + "\n"


def _known(run: Path, file: str) -> Mapping[str, Any]:
    """A file of the run that a checkpoint belongs to; empty without one."""
    for folder in (run, run.parent):
        if (folder / "run.json").exists():
            return RunDirectory(folder).read(folder / file) or {}
    return {}


def _task_of(loaded: Loaded) -> str:
    """Kind of the task that a model was trained for; empty for plain text."""
    task = loaded.provenance.get("task")
    kind = task.get("kind", "") if isinstance(task, Mapping) else ""
    return "" if kind in ("language_modeling", "generation") else str(kind)


def _members(loaded: Loaded) -> Sequence[str]:
    """Who answers beside or instead of the trained model; empty for the model alone."""
    task = loaded.provenance.get("task")
    decision = task.get("decision") if isinstance(task, Mapping) else None
    members = decision.get("members", ()) if isinstance(decision, Mapping) else ()
    return () if list(members) == ["model"] else list(members)


def _what_it_is(loaded: Loaded, source: Mapping[str, Any]) -> str:
    config = loaded.model.config
    task = _task_of(loaded).replace("_", " ")
    what = f"A model for {task}" if task else "A language model"
    words = f"{what} ({config.kind.replace('_', '-')}) of {config.num_parameters:,} parameters"
    if source and "step" in loaded.provenance:
        return f"{words}, trained further by stepwell from `{_source_name(source)}` (`{source['model_type']}`)."
    if source:
        return f"{words}, from `{_source_name(source)}` (`{source['model_type']}`), handed on by stepwell."
    return f"{words}, trained and measured by stepwell."


def _headless(loaded: Loaded, auto_class: str) -> list[str]:
    """That the head which answers is missing; nothing where there is none, or it is there."""
    if loaded.model.task_head is None or any(name in auto_class for name in HEADS):
        return []
    return ["The head that gives its answers is not in this folder: `stepwell predict` on the run has it."]


def _source_name(source: Mapping[str, Any]) -> str:
    """What the source calls itself; a path on the machine that read it says nothing to a stranger."""
    return str(source.get("title") or Path(source["name"]).name)


def _loading(name: str, auto_class: str, loaded: Loaded) -> list[str]:
    call = "model(**tokenizer('...', return_tensors='pt'))"
    if loaded.model.config.kind == "decoder":
        call = "model.generate(**tokenizer('...', return_tensors='pt'), max_new_tokens=50)"
    return [
        "## Use",
        "```python\n"
        f"from transformers import AutoTokenizer, {auto_class}\n"
        f"tokenizer, model = AutoTokenizer.from_pretrained('{name}'), {auto_class}.from_pretrained('{name}')\n"
        f"{call}\n"
        "```",
    ]


def _training(loaded: Loaded, facts: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    made = loaded.provenance
    lines = []
    data = facts.get("data", {})
    if data:
        languages = ", ".join(f"{code} {share:.0%}" for code, share in data.get("languages", {}).items())
        named = [(_public(one["source"]), one["documents"]) for one in data.get("sources", [])]
        lines += [f"- {source}: {counted(documents, 'document')}" for source, documents in named]
        lines.append(f"- {counted(data['documents'], 'document')}, {data['bytes'] / 1e6:,.1f} MB ({languages})")
    if "step" in made:
        lines.append(f"- {counted(made['step'], 'step')} over {made.get('tokens', 0):,} tokens")
    if not lines:
        lines.append(f"- see `{_source_name(source)}`" if source else "- unknown: this checkpoint does not say")
    return ["\n".join(lines)]


def _public(source: str) -> str:
    """A source without the folders of the machine that read it."""
    return source if source.startswith(("hf://", "sample:")) else Path(source).name


def _measured(result: Mapping[str, Any], members: Sequence[str]) -> list[str]:
    """A table of the metrics with their 95 % intervals; nothing where none was measured."""
    rows = []
    for split in ("validation", "test"):
        for metric, values in (result.get(split) or {}).items():
            if values.get("value") is not None:
                between = "" if values.get("low") is None else f"{values['low']:.4g} to {values['high']:.4g}"
                rows.append(f"| {split} | {_named(metric)} | {values['value']:.4g} | {between} |")
    if not rows:
        return []
    table = ["| text | metric | value | 95 % interval over documents |", "|---|---|---|---|", *rows]
    metric = result.get("metric", "bits_per_byte")
    for baseline in result.get("baselines", []):
        if baseline.get(metric) is not None:
            table.append(f"| validation | {_named(metric)} of {baseline['name']} | {baseline[metric]:.4g} | |")
    seconds = result.get("seconds")
    told = f"Measured on text that was not trained on; the run took {format_duration(seconds)}." if seconds else ""
    notes = [told] if told else []
    if members:
        who = " and ".join(one.replace("_", " ") for one in members)
        notes.append(
            f"The numbers are those of `stepwell predict`, where answers come from: {who}. The weights here are "
            "those of the trained model alone."
        )
    return ["## Measured", "\n".join(table), *notes]


def _named(metric: str) -> str:
    return METRICS.get(metric, metric.replace("_", " "))


def _tokenizer(loaded: Loaded, facts: Mapping[str, Any]) -> str:
    tokenizer, ratios = loaded.tokenizer, facts.get("tokenizer", {}).get("bytes_per_token", {})
    words = f"{tokenizer.vocab_size:,} tokens"
    if "validation" in ratios:
        words += f", {ratios['validation']} bytes a token on validation text"
    return f"{words}; texts up to {loaded.model.config.max_seq_len:,} tokens."


def _limits(loaded: Loaded, languages: Sequence[str], result: Mapping[str, Any]) -> str:
    task = _task_of(loaded)
    lines = ["- It continues text by what it has seen; it does not know what is true."]
    if task:
        lines = ["- It answers every text, also one that is like nothing it has seen."]
    if languages:
        lines.append(f"- It has seen {', '.join(languages)}; other languages will be poor.")
    if loaded.model.config.num_parameters < 100_000_000 and task in ("", "chat", "preference"):
        lines.append("- It is small: expect fluent words rather than knowledge.")
    if not result:
        lines.append("- stepwell has not measured it on any text.")
    return "\n".join(lines)


def _provenance(notes: Sequence[str], parity: Parity | None) -> list[str]:
    lines = [f"- {note}" for note in notes]
    if parity is not None:
        same = f"the same {parity.greedy_equal} of {parity.num_greedy} greedy tokens, " if parity.num_greedy else ""
        lines.append(
            f"- transformers computes what stepwell computes: {same}logits that differ by at most "
            f"{parity.ratio:.1e} of their range"
        )
    return ["## How it was written", "\n".join(lines)] if lines else []
