"""Ways of asking and drawing that are tried after training: the least loss, and whether there is a choice at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stepwell.data import Document, text_of, tokenize_documents
from stepwell.evaluation import Held, answer_losses
from stepwell.models import LanguageModel, build_model, decoder_sized
from stepwell.studies.asking import decide_asking, decide_drawing
from stepwell.studies.deciding import has_choice
from stepwell.tasks import Chat, ChatConfig, ClassificationConfig, GenerationConfig, LanguageModelingConfig
from stepwell.tokenizers import ROLE_TOKENS, ByteBPEConfig, Tokenizer, conversational, train_tokenizer

WAYS = ({"system": "Be brief."}, {"template": "Q: {prompt}"}, {"examples": [{"prompt": "a", "answer": "the old well"}]})
TASK = ChatConfig.model_validate({"ways": WAYS})


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    settings = ByteBPEConfig(vocab_size=400, special_tokens=ROLE_TOKENS)
    return conversational(train_tokenizer([small_text(num_bytes=8_000)], settings))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    made = build_model(decoder_sized(1, vocab_size=tokenizer.vocab_size, max_seq_len=256), seed=1).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return made


def test_the_way_of_least_loss_is_taken(model: LanguageModel, tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "By the old well."}]
    documents = [Document(text_of([messages]), "test", columns={"messages": messages})]
    held = Held(tokenize_documents(documents, tokenizer, Chat(TASK)), documents, tokenizer)
    found = decide_asking(model, held, TASK, "float32", "loss")
    tried = [TASK, *(TASK.model_copy(update={"decision": way}) for way in TASK.ways)]
    losses = [answer_losses(model, held.split, documents, tokenizer, one)[0].sum() for one in tried]
    assert len(set(losses)) == len(tried), "each way is another one to the model"
    assert found.decision == tried[losses.index(min(losses))].decision
    assert found.ways == TASK.ways
    alone = ChatConfig()
    assert decide_asking(model, held, alone, "float32", "loss") == alone


def test_text_that_is_too_short_leaves_drawing_alone(model: LanguageModel, tokenizer: Tokenizer) -> None:
    documents = [Document("short", "test")]
    held = Held(tokenize_documents(documents, tokenizer), documents, tokenizer)
    assert decide_drawing(model, held, GenerationConfig(), "float32", "bits_per_byte") == GenerationConfig()


def test_whether_there_is_a_choice() -> None:
    assert has_choice(TASK)
    assert not has_choice(ChatConfig())
    assert has_choice(GenerationConfig())
    assert has_choice(ClassificationConfig())
    assert not has_choice(LanguageModelingConfig())
