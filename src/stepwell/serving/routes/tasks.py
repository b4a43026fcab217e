"""`/classify`, `/tag`, `/translate` and `/answer`: what a model says by the task that it was trained for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from stepwell.inference import Answer, Completion
from stepwell.serving.calls import Call, Operation, operation
from stepwell.serving.faults import JSON, Refusal
from stepwell.serving.requests_own import TaskRequest
from stepwell.serving.served import VERBS, Served


def labelled(answer: Answer) -> dict[str, Any]:
    """A label with the probabilities of all; of a task with numbers the number."""
    scores = {label: float(value) for label, value in answer.probabilities.items()}
    return {"label": answer.text, "scores": scores}


def tagged(answer: Answer) -> dict[str, Any]:
    """Parts of a text with what they are, in characters of it."""
    return {"text": answer.text, "spans": [_span(one) for one in answer.found]}


def _span(part: Mapping[str, Any]) -> dict[str, Any]:
    told = {"start": int(part["start"]), "end": int(part["end"]), "label": str(part.get("type", ""))}
    told["text"] = str(part.get("text", ""))
    if "probability" in part:
        told["score"] = float(part["probability"])
    return told


def written(answer: Completion) -> dict[str, Any]:
    """A text that was written."""
    return {"text": answer.text, "finish_reason": answer.finish_reason}


def any_answer(answer: Answer | Completion) -> dict[str, Any]:
    """What any task answers."""
    if isinstance(answer, Completion):
        return written(answer)
    scores = {label: float(value) for label, value in answer.probabilities.items()}
    return {"text": answer.text, "scores": scores, "found": [_span(one) for one in answer.found if "start" in one]}


async def _ask(call: Call[TaskRequest], told: Callable[[Any], dict[str, Any]]) -> Response:
    asked = call.asked.several
    found = await call.served.batcher.ask("answer", asked, call.served.answers)
    return JSON({"object": "list", "model": call.served.name, "data": [
        {"index": index, **told(one)} for index, one in enumerate(found)
    ]})  # fmt: skip


def _made_for(served: Served, verb: str) -> None:
    """Refuse what a model was not made for.

    Raises:
        Refusal: when another route is its own.
    """
    if VERBS.get(served.task.kind) != verb:
        raise Refusal(
            400,
            f"The model `{served.name}` was not made to {verb}; it is for {served.task.kind.replace('_', ' ')}.",
            param="model",
            code="unsupported_model",
        )


async def classify(call: Call[TaskRequest]) -> Response:
    """Labels of texts."""
    _made_for(call.served, "classify")
    return await _ask(call, labelled)


async def tag(call: Call[TaskRequest]) -> Response:
    """Tags of words, or spans in texts."""
    _made_for(call.served, "tag")
    return await _ask(call, tagged)


async def translate(call: Call[TaskRequest]) -> Response:
    """Translations of texts."""
    _made_for(call.served, "translate")
    return await _ask(call, written)


async def answer(call: Call[TaskRequest]) -> Response:
    """What a model of any task says; of one that writes freely there are better routes.

    Raises:
        Refusal: when it has a worker to write.
    """
    if call.served.worker is not None:
        raise Refusal(
            400,
            f"The model `{call.served.name}` writes freely; ask it by /v1/completions or /v1/chat/completions.",
            param="model",
            code="unsupported_model",
        )
    return await _ask(call, any_answer)


OPERATIONS: list[Operation] = [
    *operation(["/classify"], TaskRequest, classify, "Label texts."),
    *operation(["/tag"], TaskRequest, tag, "Tag the words of texts, or find spans in them."),
    *operation(["/translate"], TaskRequest, translate, "Translate texts."),
    *operation(["/answer"], TaskRequest, answer, "Answer by the task that a model was trained for."),
]
