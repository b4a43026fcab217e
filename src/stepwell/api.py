"""The public verbs. Each is what the command of the same name does, as a function.

A verb reads what the user said, chooses the directory and hands over to the rooms that know how. Nothing is printed:
progress goes to `watch`. Rooms that need torch are opened inside the functions, so importing this file is quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.config import build, merge
from stepwell.data import DataConfig
from stepwell.errors import DataError, UsageError
from stepwell.inference import SamplingParams
from stepwell.progress import Watcher, unwatched
from stepwell.recipes import Draft, begin_draft
from stepwell.runs import RunDirectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stepwell.checkpoints import Loaded
    from stepwell.inference import Completion, Piece

QUICKSTART_SOURCE = "sample:python-docs"

PathLike = Path | str
Texts = Sequence[PathLike] | PathLike

__all__ = [
    "doctor",
    "embed",
    "evaluate",
    "export",
    "import_",
    "plan",
    "predict",
    "quickstart",
    "report",
    "run",
    "score",
    "stream",
    "train",
]


def run(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    metric: str | None = None,
    target: float | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool] = bool,
    began: float | None = None,
) -> dict[str, Any]:
    """The closed loop: prepare, initialise, train, predict, evaluate, adjust, and train again.

    Args:
        recipe: a recipe file.
        text: files, folders, globs, `hf://owner/name` or `sample:python-docs`.
        data: the same, for tables with a text column.
        task: what the model is for; default `language_modeling`.
        metric: what is improved; default `bits_per_byte`.
        target: the loop stops when validation reaches it.
        budget: wall time such as `20m`; default ten minutes.
        out: the run directory; default `runs/NAME`, after the first source.
        set: `a.b=c` values for the recipe, stronger than everything else.
        watch: gets the events.
        stop_requested: asked after every step; True saves everything and raises `Stopped`.
        began: `time.monotonic()` from which the budget counts; default now.

    Returns:
        What `result.json` holds, and `out`.

    Raises:
        StepwellError: for anything a person can mend; see `stepwell.errors`.
    """
    from stepwell.studies import run_loop

    start = time.monotonic() if began is None else began
    draft, folder = _request(recipe, text, data, task, metric, target, budget, out, set, kind="run")
    result = run_loop(draft, folder, began=start, watch=watch, stop_requested=stop_requested)
    return {**result, "out": str(folder)}


def plan(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    metric: str | None = None,
    target: float | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    watch: Watcher = unwatched,
    began: float | None = None,
) -> dict[str, Any]:
    """What `run` would do with the same arguments: sizes, languages, speed, memory, model, and the time of each round.

    Text and tokenizer are prepared in the run directory, where `run` finds them.
    """
    from stepwell.studies import plan_only

    start = time.monotonic() if began is None else began
    draft, folder = _request(recipe, text, data, task, metric, target, budget, out, set, kind="plan")
    return {**plan_only(draft, folder, began=start, watch=watch), "out": str(folder)}


def train(
    recipe: PathLike | None = None,
    *,
    text: Texts = (),
    data: Texts = (),
    task: str | None = None,
    metric: str | None = None,
    budget: str | float | None = None,
    steps: int | None = None,
    out: PathLike | None = None,
    set: Sequence[str] = (),
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool] = bool,
    began: float | None = None,
) -> dict[str, Any]:
    """One training run without the loop; with `steps`, two runs on one machine end with the same weights.

    Everything but `steps` (optimizer updates; None fills the budget) is as in `run`.

    Returns:
        The metric with its interval, steps, tokens, seconds, samples, and where the checkpoint is.
    """
    from stepwell.studies import train_once

    if steps is not None and steps < 1:
        raise UsageError("steps: must be at least 1", got=str(steps))
    start = time.monotonic() if began is None else began
    draft, folder = _request(recipe, text, data, task, metric, None, budget, out, set, kind="train", steps=steps)
    result = train_once(draft, folder, steps=steps, began=start, watch=watch, stop_requested=stop_requested)
    return {**result, "out": str(folder)}


def quickstart(
    *,
    out: PathLike | None = None,
    budget: str | float = "4m50s",
    watch: Watcher = unwatched,
    stop_requested: Callable[[], bool] = bool,
    began: float | None = None,
) -> dict[str, Any]:
    """`run` on the English prose that every Python carries; at most five minutes on two cores."""
    return run(
        text=[QUICKSTART_SOURCE],
        budget=budget,
        out=out if out is not None else _free_folder("quickstart", "run", {"data": {"sources": (QUICKSTART_SOURCE,)}}),
        watch=watch,
        stop_requested=stop_requested,
        began=began,
    )


def predict(
    run: PathLike, prompts: Sequence[str] | str, params: Mapping[str, Any] | None = None, *, chat: bool = False
) -> list[list[Completion]]:
    """Complete prompts, answer them, or fill their masks.

    Args:
        run: a run directory or a checkpoint directory.
        prompts: one or many. A masked model fills the masks of a prompt, as its tokenizer spells them.
        params: fields of `SamplingParams`; the others are as the run found best.
        chat: each prompt is what a person says, and the model answers, by its chat template.

    Returns:
        For each prompt, `n` completions; of a prompt with masks one `Filled`, its text whole.

    Raises:
        CheckpointError: when there is no whole model.
        ConfigError: when a parameter is out of its range.
        TokenizerError: when there is no chat template.
    """
    from stepwell.inference import complete_many

    asked = _sampling(params, {})
    loaded = _load(run)
    many = [prompts] if isinstance(prompts, str) else list(prompts)
    said = [_said(prompt) if chat else prompt for prompt in many]
    return complete_many(loaded.model, loaded.tokenizer, said, _sampling(asked, loaded.provenance))


def stream(
    run: PathLike, prompt: str, params: Mapping[str, Any] | None = None, *, chat: bool = False
) -> Iterator[Piece]:
    """Complete one prompt, or answer it, token by token.

    Args:
        run: a run directory or a checkpoint directory.
        prompt: any text.
        params: as in `predict`.
        chat: as in `predict`.

    Raises:
        CheckpointError: when there is no whole model.
        ConfigError: when a parameter is out of its range.
        TokenizerError: when there is no chat template.
    """
    from stepwell.inference import stream as stream_pieces

    asked = _sampling(params, {})
    loaded = _load(run)
    said = _said(prompt) if chat else prompt
    return stream_pieces(loaded.model, loaded.tokenizer, said, _sampling(asked, loaded.provenance))


def _said(text: str) -> list[dict[str, str]]:
    """A conversation in which a person has said one thing."""
    return [{"role": "user", "content": text}]


def _sampling(params: Mapping[str, Any] | SamplingParams | None, provenance: Mapping[str, Any]) -> SamplingParams:
    """What was asked for over what the run found best; randomness is fresh unless a seed was asked for."""
    if isinstance(params, SamplingParams):
        params = params.model_dump(exclude_unset=True)
    found = {**provenance.get("decoding", {}), "seed": None, "n": 1}
    return build(SamplingParams, {**found, **(params or {})}, where="predict")


def score(run: PathLike, text: str) -> dict[str, Any]:
    """The chain rule made visible: log-probability of each token of a text, given those before it.

    A masked model tells each token from all others; the sum is then a pseudo log-likelihood.

    Args:
        run: a run directory or a checkpoint directory.
        text: not empty.

    Returns:
        `scoring` (`causal` or `masked`), `tokens` (each `id`, `token`, `logprob` in nats), `logprob` (their sum),
        `perplexity`, `bits_per_byte`.

    Raises:
        UsageError: when the text is empty.
    """
    import math

    from stepwell.inference import score_tokens

    if not text:
        raise UsageError("text: nothing to score", wanted="some text")
    loaded = _load(run)
    ids = loaded.tokenizer.encode(text)
    masked = not loaded.model.is_causal
    ends = [loaded.tokenizer.eos_id] if masked and loaded.tokenizer.adds_eos else []
    logprobs = score_tokens(loaded.model, [loaded.tokenizer.bos_id, *ids.tolist(), *ends])[: len(ids)]
    total = float(logprobs.sum())
    spelled = [_spelled(loaded.tokenizer.token_bytes(int(n))) for n in ids]
    return {
        "scoring": "masked" if masked else "causal",
        "tokens": [
            {"id": int(n), "token": token, "logprob": round(float(logprob), 6)}
            for n, token, logprob in zip(ids, spelled, logprobs, strict=True)
        ],
        "logprob": total,
        "perplexity": math.exp(-total / len(ids)),
        "bits_per_byte": -total / math.log(2) / len(text.encode("utf-8", errors="surrogatepass")),
    }


def _spelled(token: bytes) -> str:
    """A token as text; a part of a character is spelled byte by byte (backslash, x, two digits)."""
    return token.decode("utf-8", errors="backslashreplace")


def embed(
    run: PathLike, text: Sequence[str] | str, *, pooling: str = "mean", normalize: bool = True
) -> NDArray[np.float32]:
    """Give each text a vector, to compare and to search by; encoders are made for it, any model will do.

    Args:
        run: a run directory or a checkpoint directory.
        text: one or many. Of one that is longer than the model can read, the beginning is taken.
        pooling: `mean` of all hidden states, the `first` one, or what the model's `pooler` makes of that.
        normalize: to length 1, so that a dot product is a cosine.

    Returns:
        (N, D) float32.

    Raises:
        UsageError: for another pooling, or a pooler that the model does not have.
    """
    from stepwell.inference import embed_texts

    loaded = _load(run)
    several = [text] if isinstance(text, str) else list(text)
    return embed_texts(loaded.model, loaded.tokenizer, several, pooling=pooling, normalize=normalize)


def evaluate(
    run: PathLike, data: Texts, *, text_column: str | None = None, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Measure a model on texts.

    Args:
        run: a run directory or a checkpoint directory.
        data: sources, as for `run`; all of it is measured.
        text_column: of tables.
        watch: is told of problems in the sources.

    Returns:
        `task`, `scoring` (`causal`, or `masked`: its numbers compare with those of other masked models alone),
        `num_examples`, `num_tokens`, and `metrics`: each with its 95 % interval over documents.

    Raises:
        DataError: when there is no text.
    """
    from dataclasses import asdict

    from stepwell.data import read_documents, tokenize_documents
    from stepwell.evaluation import evaluate_language_modeling, summarize

    sources = _several(data)
    if not sources:
        raise UsageError("data: nothing to measure on", wanted="files, folders or globs")
    loaded = _load(run)
    config = build(DataConfig, {"sources": sources, "text_column": text_column}, where="evaluate")
    split = tokenize_documents(read_documents(config, watch), loaded.tokenizer)
    if not split.num_documents:
        raise DataError(f"{', '.join(sources)}: no text to measure on")
    from stepwell.hardware import examine

    scores = evaluate_language_modeling(loaded.model, split, precision=examine().precision)
    return {
        "task": "language_modeling",
        "scoring": "causal" if loaded.model.is_causal else "masked",
        "num_examples": split.num_documents,
        "num_tokens": int(scores.tokens.sum()),
        "metrics": {name: asdict(interval) for name, interval in summarize(scores).items()},
    }


def import_(
    source: PathLike, out: PathLike, *, allow_pickle: bool = False, parity: bool = True, watch: Watcher = unwatched
) -> dict[str, Any]:
    """Take the weights of another project in, with tokenizer and chat template.

    Args:
        source: a folder in the layout of transformers, a GGUF file, or a name on the hub (`owner/name`).
        out: the checkpoint directory to make; every verb takes it as a run.
        allow_pickle: read `pytorch_model.bin` where there is no safetensors file; of it, tensors only.
        parity: compare with transformers, where it is installed.
        watch: is told what is being done.

    Returns:
        What was read (`model_type`, `kind`, `parameters`, `dtype`, `tokens`, ...), `notes`, and the measured `parity`.

    Raises:
        CheckpointError: when it cannot be read, or asks for something that is not represented here; it is named.
        TokenizerError: when its tokenizer cannot be read.
        UsageError: when `out` is not empty.
    """
    from stepwell.checkpoints import import_model

    return import_model(str(source), Path(out), allow_pickle=allow_pickle, parity=parity, watch=watch)


def export(
    run: PathLike,
    out: PathLike,
    *,
    to: str = "hf",
    dtype: str | None = None,
    parity: bool = True,
    watch: Watcher = unwatched,
) -> dict[str, Any]:
    """Hand a model to other programs: a folder that `transformers` opens, with tokenizer and model card.

    Args:
        run: a run directory or a checkpoint directory.
        out: the folder to make.
        to: the format; `hf`.
        dtype: `float32`, `bfloat16` or `float16`; default as stored.
        parity: open the folder with transformers and compare, where it is installed.
        watch: is told what is being done.

    Returns:
        `out`, `model_type`, `architecture`, `dtype`, `bytes`, `notes`, and the measured `parity`.

    Raises:
        CheckpointError: when no class of transformers computes what the model does; the fields are named.
        UsageError: for an unknown format or precision, or when `out` is not empty.
    """
    from stepwell.export import EXPORTERS

    if to not in EXPORTERS:
        raise UsageError("--to: unknown format", got=to, wanted=", ".join(EXPORTERS))
    return EXPORTERS[to](Path(run), Path(out), dtype=dtype, parity=parity, watch=watch)


def report(run: PathLike) -> Path:
    """Write the report of a run again.

    Returns:
        Where it is.
    """
    from stepwell.studies import write_report

    return write_report(Path(run))


def doctor(*, measure_again: bool = True) -> dict[str, Any]:
    """What this machine is, and the settings that stepwell takes on it."""
    from stepwell.hardware import available_memory, examine

    machine = examine(measure_again=measure_again)
    return machine.as_dict() | {"available_memory_bytes": available_memory()}


def _load(run: PathLike) -> Loaded:
    from stepwell.checkpoints import load_checkpoint
    from stepwell.hardware import examine

    machine = examine()
    loaded = load_checkpoint(Path(run))
    loaded.model.to(machine.device)
    return loaded


def _several(sources: Texts) -> list[str]:
    """One or many sources as a list of text."""
    return [str(sources)] if isinstance(sources, Path | str) else [str(source) for source in sources]


def _request(
    recipe: PathLike | None,
    text: Texts,
    data: Texts,
    task: str | None,
    metric: str | None,
    target: float | None,
    budget: str | float | None,
    out: PathLike | None,
    assignments: Sequence[str],
    *,
    kind: str,
    steps: int | None = None,
) -> tuple[Draft, Path]:
    """What the user said, checked, and the directory it belongs to."""
    flags: dict[str, Any] = {"task": task, "metric": metric, "target": target}
    flags = {name: value for name, value in flags.items() if value is not None}
    if budget is not None:
        flags["budget"] = budget if isinstance(budget, str) else f"{budget}s"
    if steps is not None:
        flags["training"] = {"steps": steps}
    sources = _several(text) + _several(data)
    if sources:
        flags["data"] = {"sources": sources}
    known = None if out is None else RunDirectory(Path(out)).read_identity()
    if known is not None and recipe is None and not sources:
        flags = merge(known["request"], {"budget": known.get("budget")}, flags)
        flags = {name: value for name, value in flags.items() if value is not None}
    draft = begin_draft(None if recipe is None else Path(recipe), flags=flags, assignments=assignments)
    if out is not None:
        return draft, Path(out)
    return draft, _free_folder(_name(draft.data.sources[0]), kind, draft.tree)


def _name(source: str) -> str:
    """A short name for a run, after its first source."""
    if source.startswith("hf://"):
        source = source.removeprefix("hf://").partition(":")[0]
    last = source.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    stem = last.split(".")[0].strip("*") or "run"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)


def _free_folder(name: str, kind: str, request: Mapping[str, Any]) -> Path:
    """`runs/NAME`, or the next number when that holds another or a finished run."""
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        known = RunDirectory(folder).read_identity() if folder.is_dir() else None
        same = known is not None and known["kind"] == kind and known["request"] == _without_budget(request)
        if known is None or kind == "plan" or (same and not (folder / "result.json").exists()):
            return folder
        number += 1


def _without_budget(request: Mapping[str, Any]) -> dict[str, Any]:
    import json

    return dict(json.loads(json.dumps({k: v for k, v in request.items() if k not in ("budget", "target")})))
