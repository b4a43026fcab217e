"""From a trained model to text, and from text to its probability."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.inference.params import SamplingParams
from stepwell.inference.window import Window, split_windows, window_start

if TYPE_CHECKING:
    from stepwell.inference.answers.answer import Answer
    from stepwell.inference.answers.catalog import Asked, answer_many
    from stepwell.inference.answers.chat import Said, answer_conversations, stream_answer
    from stepwell.inference.answers.labels import tell_classes, tell_labels, tell_token_labels, tell_words
    from stepwell.inference.answers.passages import find_answers, is_given, tell_places
    from stepwell.inference.answers.ranking import highest, joined
    from stepwell.inference.answers.tags import ToldTags, tag_texts, tags_by_simple_model, tell_tags
    from stepwell.inference.answers.writing import Marked, prompt_room, score_targets, taken_texts, write_texts
    from stepwell.inference.beams import Beams, Written, search_targets
    from stepwell.inference.completion import Completion, FinishReason, Piece
    from stepwell.inference.embedding import embed_texts, embed_tokens, vectors_for
    from stepwell.inference.engine.completing import choose_weights, complete, stream_complete
    from stepwell.inference.engine.engine import Engine, Load
    from stepwell.inference.engine.request import Event, Request
    from stepwell.inference.generation import Prompt, generate, generate_many, stream
    from stepwell.inference.masked import Candidate, Filled, complete_many, fill_masks, has_mask
    from stepwell.inference.sampling import Drawn, Sampling, draw
    from stepwell.inference.scoring import TokenScores, score_documents, score_tokens
    from stepwell.inference.speculation import accept, look_up

__all__ = [
    "Answer",
    "Asked",
    "Beams",
    "Candidate",
    "Completion",
    "Drawn",
    "Engine",
    "Event",
    "Filled",
    "FinishReason",
    "Load",
    "Marked",
    "Piece",
    "Prompt",
    "Request",
    "Said",
    "Sampling",
    "SamplingParams",
    "TokenScores",
    "ToldTags",
    "Window",
    "Written",
    "accept",
    "answer_conversations",
    "answer_many",
    "choose_weights",
    "complete",
    "complete_many",
    "draw",
    "embed_texts",
    "embed_tokens",
    "fill_masks",
    "find_answers",
    "generate",
    "generate_many",
    "has_mask",
    "highest",
    "is_given",
    "joined",
    "look_up",
    "prompt_room",
    "score_documents",
    "score_targets",
    "score_tokens",
    "search_targets",
    "split_windows",
    "stream",
    "stream_answer",
    "stream_complete",
    "tag_texts",
    "tags_by_simple_model",
    "taken_texts",
    "tell_classes",
    "tell_labels",
    "tell_places",
    "tell_tags",
    "tell_token_labels",
    "tell_words",
    "vectors_for",
    "window_start",
    "write_texts",
]

__getattr__ = open_late(
    __name__,
    {
        "Answer": "answers.answer",
        "Asked": "answers.catalog",
        "answer_many": "answers.catalog",
        "Said": "answers.chat",
        "answer_conversations": "answers.chat",
        "stream_answer": "answers.chat",
        "Beams": "beams",
        "Written": "beams",
        "search_targets": "beams",
        "embed_texts": "embedding",
        "embed_tokens": "embedding",
        "vectors_for": "embedding",
        "Engine": "engine.engine",
        "Load": "engine.engine",
        "Event": "engine.request",
        "Request": "engine.request",
        "Completion": "completion",
        "FinishReason": "completion",
        "Piece": "completion",
        "Prompt": "generation",
        "generate": "generation",
        "generate_many": "generation",
        "stream": "generation",
        "tell_classes": "answers.labels",
        "tell_labels": "answers.labels",
        "tell_token_labels": "answers.labels",
        "tell_words": "answers.labels",
        "Candidate": "masked",
        "Filled": "masked",
        "choose_weights": "engine.completing",
        "complete": "engine.completing",
        "stream_complete": "engine.completing",
        "complete_many": "masked",
        "fill_masks": "masked",
        "has_mask": "masked",
        "find_answers": "answers.passages",
        "is_given": "answers.passages",
        "tell_places": "answers.passages",
        "highest": "answers.ranking",
        "joined": "answers.ranking",
        "Drawn": "sampling",
        "Sampling": "sampling",
        "draw": "sampling",
        "TokenScores": "scoring",
        "score_documents": "scoring",
        "score_tokens": "scoring",
        "accept": "speculation",
        "look_up": "speculation",
        "Marked": "answers.writing",
        "prompt_room": "answers.writing",
        "score_targets": "answers.writing",
        "taken_texts": "answers.writing",
        "write_texts": "answers.writing",
        "ToldTags": "answers.tags",
        "tag_texts": "answers.tags",
        "tags_by_simple_model": "answers.tags",
        "tell_tags": "answers.tags",
    },
)
