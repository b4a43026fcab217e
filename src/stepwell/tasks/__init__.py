"""What a model is asked to do: what examples hold, how they become tokens, and how an answer is read back."""

from stepwell.tasks.answer_spans import (
    AnswerWindow,
    FoundAnswer,
    QuestionRead,
    best_answers,
    best_margin,
    span_margins,
)
from stepwell.tasks.answer_writing import AnswerWriting
from stepwell.tasks.catalog import (
    TASKS,
    AnyTaskConfig,
    TaskRow,
    build_task,
    maker_of,
    members_of,
    read_task,
    undecided,
    usual_family,
)
from stepwell.tasks.chat import Chat, ChatConfig, ChatDecisionConfig, ExchangeConfig
from stepwell.tasks.classification import Classification, ClassificationConfig, DecisionConfig
from stepwell.tasks.decisions import MODEL, chosen_labels, decided, in_words, logits_of, told_by_head
from stepwell.tasks.embedding import (
    Embedding,
    EmbeddingConfig,
    RankedBy,
    RankingConfig,
    Retrieval,
    RetrievalConfig,
    Vectors,
    VectorsConfig,
    key_of_text,
)
from stepwell.tasks.generation import WRITERS, DrawingConfig, GenerationConfig, usual_drawing
from stepwell.tasks.label_words import LabelWords
from stepwell.tasks.language_modeling import LanguageModelingConfig
from stepwell.tasks.messages import Messages, conversation_of
from stepwell.tasks.pairs import Prompt, SearchConfig, Writing, WritingConfig
from stepwell.tasks.preference import Preference, PreferenceConfig, PreferenceDecisionConfig, Score
from stepwell.tasks.question_answering import (
    BEGIN,
    CANDIDATE,
    END,
    Answering,
    AnsweringDecisionConfig,
    QuestionAnsweringConfig,
    right_answers,
)
from stepwell.tasks.summarization import SummarizationConfig
from stepwell.tasks.tag_decoding import Chain, Floats, best_tags, log_partitions
from stepwell.tasks.tag_schemes import Scheme, Span, reading_of, span_types, spans_of
from stepwell.tasks.tagging import TaggedRead, Tagging, TaggingConfig, TaggingDecisionConfig
from stepwell.tasks.taking import copied, first_sentence, likely_sentence, taken, taken_by
from stepwell.tasks.task import LONGEST_TOKENS, WHOLE_TEXT_BYTES, Task, TaskConfig
from stepwell.tasks.translation import TranslationConfig, language_of
from stepwell.tasks.word_cutting import Word

__all__ = [
    "BEGIN",
    "CANDIDATE",
    "END",
    "LONGEST_TOKENS",
    "MODEL",
    "TASKS",
    "WHOLE_TEXT_BYTES",
    "WRITERS",
    "AnswerWindow",
    "AnswerWriting",
    "Answering",
    "AnsweringDecisionConfig",
    "AnyTaskConfig",
    "Chain",
    "Chat",
    "ChatConfig",
    "ChatDecisionConfig",
    "Classification",
    "ClassificationConfig",
    "DecisionConfig",
    "DrawingConfig",
    "Embedding",
    "EmbeddingConfig",
    "ExchangeConfig",
    "Floats",
    "FoundAnswer",
    "GenerationConfig",
    "LabelWords",
    "LanguageModelingConfig",
    "Messages",
    "Preference",
    "PreferenceConfig",
    "PreferenceDecisionConfig",
    "Prompt",
    "QuestionAnsweringConfig",
    "QuestionRead",
    "RankedBy",
    "RankingConfig",
    "Retrieval",
    "RetrievalConfig",
    "Scheme",
    "Score",
    "SearchConfig",
    "Span",
    "SummarizationConfig",
    "TaggedRead",
    "Tagging",
    "TaggingConfig",
    "TaggingDecisionConfig",
    "Task",
    "TaskConfig",
    "TaskRow",
    "TranslationConfig",
    "Vectors",
    "VectorsConfig",
    "Word",
    "Writing",
    "WritingConfig",
    "best_answers",
    "best_margin",
    "best_tags",
    "build_task",
    "chosen_labels",
    "conversation_of",
    "copied",
    "decided",
    "first_sentence",
    "in_words",
    "key_of_text",
    "language_of",
    "likely_sentence",
    "log_partitions",
    "logits_of",
    "maker_of",
    "members_of",
    "read_task",
    "reading_of",
    "right_answers",
    "span_margins",
    "span_types",
    "spans_of",
    "taken",
    "taken_by",
    "told_by_head",
    "undecided",
    "usual_drawing",
    "usual_family",
]
