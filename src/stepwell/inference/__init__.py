"""From a trained model to text, and from text to its probability."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late
from stepwell.inference.params import SamplingParams
from stepwell.inference.window import Window, split_windows, window_start

if TYPE_CHECKING:
    from stepwell.inference.answer import Answer
    from stepwell.inference.answering import Asked, answer_many
    from stepwell.inference.beams import Beams, Written, search_targets
    from stepwell.inference.conversing import Said, answer_conversations, stream_answer
    from stepwell.inference.embedding import embed_texts, embed_tokens, vectors_for
    from stepwell.inference.generation import Completion, FinishReason, Piece, Prompt, generate, generate_many, stream
    from stepwell.inference.labelling import tell_classes, tell_labels, tell_token_labels, tell_words
    from stepwell.inference.masked import Candidate, Filled, complete_many, fill_masks, has_mask
    from stepwell.inference.ranking import highest, joined
    from stepwell.inference.reading import find_answers, is_given, tell_places
    from stepwell.inference.sampling import Sampler
    from stepwell.inference.scoring import TokenScores, score_documents, score_tokens
    from stepwell.inference.tagging import ToldTags, tag_texts, tags_by_simple_model, tell_tags
    from stepwell.inference.writing import Marked, prompt_room, score_targets, taken_texts, write_texts

__all__ = [
    "Answer",
    "Asked",
    "Beams",
    "Candidate",
    "Completion",
    "Filled",
    "FinishReason",
    "Marked",
    "Piece",
    "Prompt",
    "Said",
    "Sampler",
    "SamplingParams",
    "TokenScores",
    "ToldTags",
    "Window",
    "Written",
    "answer_conversations",
    "answer_many",
    "complete_many",
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
    "prompt_room",
    "score_documents",
    "score_targets",
    "score_tokens",
    "search_targets",
    "split_windows",
    "stream",
    "stream_answer",
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
        "Answer": "answer",
        "Asked": "answering",
        "answer_many": "answering",
        "Said": "conversing",
        "answer_conversations": "conversing",
        "stream_answer": "conversing",
        "Beams": "beams",
        "Written": "beams",
        "search_targets": "beams",
        "embed_texts": "embedding",
        "embed_tokens": "embedding",
        "vectors_for": "embedding",
        "Completion": "generation",
        "FinishReason": "generation",
        "Piece": "generation",
        "Prompt": "generation",
        "generate": "generation",
        "generate_many": "generation",
        "stream": "generation",
        "tell_classes": "labelling",
        "tell_labels": "labelling",
        "tell_token_labels": "labelling",
        "tell_words": "labelling",
        "Candidate": "masked",
        "Filled": "masked",
        "complete_many": "masked",
        "fill_masks": "masked",
        "has_mask": "masked",
        "find_answers": "reading",
        "is_given": "reading",
        "tell_places": "reading",
        "highest": "ranking",
        "joined": "ranking",
        "Sampler": "sampling",
        "TokenScores": "scoring",
        "score_documents": "scoring",
        "score_tokens": "scoring",
        "Marked": "writing",
        "prompt_room": "writing",
        "score_targets": "writing",
        "taken_texts": "writing",
        "write_texts": "writing",
        "ToldTags": "tagging",
        "tag_texts": "tagging",
        "tags_by_simple_model": "tagging",
        "tell_tags": "tagging",
    },
)
