"""Ways of asking and drawing that are tried after training: the least loss, and whether there is a choice at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stepwell.data import Document, text_of, tokenize_documents
from stepwell.evaluation import Held, answer_losses
from stepwell.inference import tell_words
from stepwell.models import DecoderConfig, LanguageModel, build_model, decoder_sized
from stepwell.studies.asking import decide_asking, decide_drawing
from stepwell.studies.deciding import decide_labels, has_choice
from stepwell.tasks import (
    Chat,
    ChatConfig,
    ClassificationConfig,
    DecisionConfig,
    GenerationConfig,
    LabelWords,
    LanguageModelingConfig,
    build_task,
)
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


def test_of_several_ways_of_asking_for_labels_the_one_of_least_loss_is_kept() -> None:
    """Beside the loss of each way, computed from how likely the model finds each word."""
    texts = [f"the {kind} film number {n}" for n in range(12) for kind in ("good", "bad")]
    tokenizer = train_tokenizer(texts, ByteBPEConfig(vocab_size=280))
    shape = {"num_layers": 1, "d_model": 16, "num_heads": 2, "num_kv_heads": 2, "head_dim": 8, "d_ff": 32}
    model = build_model(DecoderConfig(vocab_size=tokenizer.vocab_size, max_seq_len=64, **shape), 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    ways = ("good is good, {text} is", "{text}?", "film: {text}\n")
    task = ClassificationConfig(mode="words", problem="single", labels=("bad", "good"), ways=ways)
    documents = [Document(text, "", columns={"label": text.split()[1]}) for text in texts]
    held = Held(tokenize_documents(documents, tokenizer, build_task(task)), documents, tokenizer)
    losses = {}
    for template in (None, *ways):
        asked = LabelWords(task.model_copy(update={"decision": DecisionConfig(template=template)}))
        prompts = [ids for ids, _ in asked.read(documents, tokenizer)]
        logits = tell_words(model, prompts, asked.candidates(tokenizer)).astype(np.float64)
        labels = np.array([text.split()[1] == "good" for text in texts], np.int64)
        scales = np.logspace(-3, 1, 200)[:, None, None]
        chances = np.exp(scales * logits) / np.exp(scales * logits).sum(2, keepdims=True)
        nats = -np.log(chances[:, np.arange(len(labels)), labels])
        losses[template] = nats.mean(1).min()
    chosen = decide_labels(model, held, task, "float32", "accuracy").decision
    assert chosen.template == min(losses, key=losses.__getitem__)
    assert chosen.members == ("model",)
