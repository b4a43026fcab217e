"""Decisions about models that write: how a conversation is put to them, and how tokens are drawn.

Both are tried on held-out text without training again. A way of asking is judged by the loss of the answers given, a
way of drawing by how near its texts are to real ones in distinct n-grams and repetition. This file leaves out labels
(`deciding.py`) and whether what is found is kept (`study.py`).
"""

from __future__ import annotations

from stepwell.evaluation import Held, answer_losses, choose_drawing
from stepwell.hardware import Precision
from stepwell.inference import SamplingParams
from stepwell.models import LanguageModel
from stepwell.tasks import ChatConfig, GenerationConfig


def decide_asking(model: LanguageModel, held: Held, task: ChatConfig, precision: Precision, metric: str) -> ChatConfig:
    """The way of asking under which the answers of held-out conversations are likeliest.

    Args:
        model: that was trained.
        held: conversations.
        task: its `ways` are tried beside its decision.
        precision: of the matrix products.
        metric: plays no part: the same tokens are told in every way, so losses compare.
    """
    tried = [task, *(task.model_copy(update={"decision": way}) for way in task.ways)]
    losses = [
        answer_losses(model, held.split, held.documents, held.tokenizer, one, precision)[0].sum() for one in tried
    ]
    return tried[losses.index(min(losses))]


def decide_drawing(
    model: LanguageModel, held: Held, task: GenerationConfig, precision: Precision, metric: str
) -> GenerationConfig:
    """The way of drawing whose texts are as varied as held-out ones.

    Args:
        model: that was trained.
        held: plain text.
        task: how many texts are written, and after how many words.
        precision: plays no part.
        metric: plays no part.
    """
    decision, _ = choose_drawing(model, held.split, held.tokenizer, task, SamplingParams(seed=0))
    return task.model_copy(update={"decision": decision})
