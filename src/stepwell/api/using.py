"""The verbs that ask a finished model: predict, stream, score, embed.

Each opens a run or a checkpoint, wherever it came from. Rooms that need torch are opened inside the functions. This
file leaves out how models are made (`training.py`), measured (`measuring.py`), and come and go (`exchange.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stepwell.api.requests import PathLike
from stepwell.config import build
from stepwell.errors import UsageError
from stepwell.inference import SamplingParams
from stepwell.tasks import (
    Chat,
    ChatConfig,
    Preference,
    PreferenceConfig,
    TaskConfig,
    Vectors,
    build_task,
    members_of,
    read_task,
    usual_drawing,
)
from stepwell.tokenizers import Tokenizer, conversational

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stepwell.checkpoints import Loaded
    from stepwell.inference import Answer, Asked, Engine, Piece
    from stepwell.models import LanguageModel


def predict(
    run: PathLike,
    prompts: Sequence[Asked] | Asked,
    params: Mapping[str, Any] | None = None,
    *,
    chat: bool = False,
    weights: str = "plain",
) -> list[list[Any]]:
    """Complete prompts, answer them by the model's task, or fill their masks.

    Args:
        run: a run directory or a checkpoint directory.
        prompts: one or many texts, or examples by the names of their fields; of a chat model also messages. A masked
            model fills the masks of a prompt, as its tokenizer spells them.
        params: fields of `SamplingParams`; the others are as the run found best.
        chat: each prompt is what a person says, and the model answers, by its chat template.
        weights: how matrices are held while a text is written: `plain` as they are; `float32`, `bfloat16`, `int8` or
            `int4` write all prompts at once in machine code on a CPU, and `auto` does so where it can. A text then ends
            where the model's window does.

    Returns:
        For each prompt, `n` completions; of a prompt with masks one `Filled`, its text whole; of a task with labels one
            `Answer`.

    Raises:
        CheckpointError: when there is no whole model.
        UsageError: when a prompt lacks what the task reads.
        ConfigError: when a parameter is out of its range.
        TokenizerError: when there is no chat template.
    """
    return _answers(load(run), _several(prompts), sampling_of(params, {}), chat, weights)


def _answers(
    loaded: Loaded, asked: Sequence[Asked], params: SamplingParams, chat: bool, weights: str
) -> list[list[Any]]:
    from stepwell.baselines import open_beside
    from stepwell.inference import answer_many, complete, complete_many

    sampling, task = sampling_of(params, loaded.provenance), task_of(loaded.provenance)
    if weights != "plain":
        tokenizer, prompts = _to_write(task, loaded.tokenizer, asked, chat)
        return [list(some) for some in complete(_engine(loaded.model, tokenizer, weights), prompts, sampling)]
    if chat:
        said = [_said(str(prompt)) for prompt in asked]
        return [list(some) for some in complete_many(loaded.model, loaded.tokenizer, said, sampling)]
    beside = open_beside(loaded.path, members_of(task))
    return answer_many(loaded.model, loaded.tokenizer, task, asked, sampling, beside)


def answer_rows(
    run: PathLike, rows: Sequence[Asked], params: Mapping[str, Any] | None = None, *, weights: str = "plain"
) -> list[dict[str, Any]]:
    """Rows to learn from: examples with a model's answers in the place of their own.

    So a model teaches another one what it writes (Kim and Rush, 2016, "sequence-level distillation"), whatever their
    tokenizers, or itself and others what it thinks of texts without labels (Lee, 2013, "pseudo-label").

    Args:
        run: a run directory or a checkpoint directory.
        rows: texts, or examples by the names of their fields; an answer in them is replaced.
        params: as in `predict`.
        weights: as in `predict`.

    Returns:
        One row for each, with `probability` where the model says how likely the answer is: of one label, of a passage.

    Raises:
        UsageError: where a model's answers are none that one learns from; the rest is as in `predict`.
    """
    wanted, loaded = sampling_of(params, {}), load(run)
    task = build_task(task_of(loaded.provenance))
    if task.answer_field is None:
        raise UsageError(
            f"rows: what a model for {task.config.kind.replace('_', ' ')} says is no answer to learn from",
            wanted="a model for classification, question_answering, translation, summarization or chat",
        )
    made = []
    for asked, (answer, *_) in zip(rows, _answers(loaded, rows, wanted, False, weights), strict=True):
        chances = getattr(answer, "probabilities", {})
        likely = chances.get(answer.text, next((one["probability"] for one in getattr(answer, "found", ())), None))
        row = task.row(asked, answer.text, chances)
        made.append(row if likely is None else {**row, "probability": likely})
    return made


def _to_write(
    task: TaskConfig, tokenizer: Tokenizer, asked: Sequence[Asked], chat: bool
) -> tuple[Tokenizer, list[Any]]:
    """The prompts of what a model of a task writes, and the tokenizer that spells them.

    Raises:
        UsageError: when it writes nothing, or a prompt is none of its task.
    """
    if chat:
        return tokenizer, [_said(str(prompt)) for prompt in asked]
    if isinstance(task, ChatConfig):
        return conversational(tokenizer), [Chat(task).asked(one) for one in asked]
    if isinstance(task, PreferenceConfig):
        return conversational(tokenizer), [Preference(task).prompted(one) for one in asked]
    if task.kind not in ("language_modeling", "generation"):
        raise UsageError(
            "weights: are chosen for models that go on with a text or answer it",
            got=f"a model for {task.kind.replace('_', ' ')}",
            do="leave weights out",
        )
    strange = [one for one in asked if not isinstance(one, str)]
    if strange:
        raise UsageError("prompt: is no text", got=repr(strange[0])[:80], wanted="text, or jsonl with `prompt`")
    return tokenizer, list(asked)


def _engine(model: LanguageModel, tokenizer: Tokenizer, weights: str) -> Engine:
    from stepwell.inference import Engine, choose_weights

    return Engine(model, tokenizer, weights=choose_weights(weights, model))


def _several(prompts: Sequence[Asked] | Asked) -> list[Asked]:
    """One or many prompts as a list; messages that stand alone are one conversation."""
    if isinstance(prompts, str | Mapping):
        return [prompts]
    is_conversation = bool(prompts) and all(isinstance(one, Mapping) and {"role", "from"} & set(one) for one in prompts)
    return [{"messages": list(prompts)}] if is_conversation else list(prompts)


def task_of(provenance: Mapping[str, Any]) -> TaskConfig:
    """What a model was trained for."""
    return read_task(provenance.get("task"))


def stream(
    run: PathLike,
    prompt: Sequence[Asked] | Asked,
    params: Mapping[str, Any] | None = None,
    *,
    chat: bool = False,
    weights: str = "plain",
) -> Iterator[Piece | Answer]:
    """Complete one prompt, or answer it, token by token; of a task with labels, the whole answer at once.

    Args:
        run: a run directory or a checkpoint directory.
        prompt: any text; a model of the task `chat` answers messages too.
        params: as in `predict`.
        chat: as in `predict`.
        weights: as in `predict`.

    Raises:
        CheckpointError: when there is no whole model.
        UsageError: when there is more than one prompt, or it is none of the model's task.
        ConfigError: when a parameter is out of its range.
        TokenizerError: when there is no chat template.
    """
    from stepwell.baselines import open_beside
    from stepwell.inference import answer_many, stream_answer, stream_complete
    from stepwell.inference import stream as stream_pieces

    asked, several = sampling_of(params, {}), _several(prompt)
    if len(several) != 1:
        raise UsageError("prompt: one at a time is streamed", got=f"{len(several)} prompts", do="use predict for many")
    loaded = load(run)
    task, sampling = task_of(loaded.provenance), sampling_of(asked, loaded.provenance)
    if weights != "plain":
        tokenizer, (said,) = _to_write(task, loaded.tokenizer, several, chat)
        return stream_complete(_engine(loaded.model, tokenizer, weights), said, sampling)
    if isinstance(task, ChatConfig):
        return stream_answer(loaded.model, loaded.tokenizer, task, several[0], sampling)
    if not isinstance(prompt, str):
        raise UsageError("prompt: is no text", got=repr(prompt)[:80], wanted="text, for a model that is no chat model")
    if not chat and task.kind not in ("language_modeling", "generation"):
        beside = open_beside(loaded.path, members_of(task))
        (answers,) = answer_many(loaded.model, loaded.tokenizer, task, [prompt], sampling, beside)
        return iter(answers[:1])
    return stream_pieces(loaded.model, loaded.tokenizer, _said(prompt) if chat else prompt, sampling)


def _said(text: str) -> list[dict[str, str]]:
    """A conversation in which a person has said one thing."""
    return [{"role": "user", "content": text}]


def sampling_of(params: Mapping[str, Any] | SamplingParams | None, provenance: Mapping[str, Any]) -> SamplingParams:
    """What was asked for over what the run found best; randomness is fresh unless a seed was asked for."""
    if isinstance(params, SamplingParams):
        params = params.model_dump(exclude_unset=True)
    found = usual_drawing(task_of(provenance), provenance)
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
    from stepwell.inference import score_tokens

    if not text:
        raise UsageError("text: nothing to score", wanted="some text")
    loaded = load(run)
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
    run: PathLike,
    text: Sequence[str] | str,
    *,
    pooling: str | None = None,
    normalize: bool = True,
    role: Literal["query", "document"] = "document",
) -> NDArray[np.float32]:
    """Give each text a vector, to compare and to search by; encoders are made for it, any model will do.

    Args:
        run: a run directory or a checkpoint directory.
        text: one or many. Of one that is longer than the model can read, the beginning is taken.
        pooling: `mean` of all hidden states, the `first` one, the `last` one, or what the model's `pooler` makes of the
            first; default as the model was trained, else the mean.
        normalize: to length 1, so that a dot product is a cosine.
        role: whether the texts look for others or are looked for; of a model for retrieval that was told to tell them
            apart.

    Returns:
        (N, D) float32.

    Raises:
        UsageError: for another pooling or role, or a pooler that the model does not have.
    """
    from stepwell.inference import embed_texts

    loaded = load(run)
    if role not in ("query", "document"):
        raise UsageError("role: no such part", got=role, wanted="query or document")
    several = [text] if isinstance(text, str) else list(text)
    task, longest = build_task(task_of(loaded.provenance)), None
    if isinstance(task, Vectors):
        pooling, longest = pooling or task.config.pooling, task.config.max_tokens
        several = [task.prefixes[role == "document"] + one for one in several]
    return embed_texts(
        loaded.model,
        loaded.tokenizer,
        several,
        pooling=pooling or "mean",
        normalize=normalize,
        max_tokens=longest,
    )


def load(run: PathLike) -> Loaded:
    """A model with its tokenizer, where it computes fastest."""
    from stepwell.checkpoints import load_checkpoint
    from stepwell.hardware import examine

    machine = examine()
    loaded = load_checkpoint(Path(run))
    loaded.model.to(machine.device)
    return loaded
