"""Held-out pairs: what is read of them, the scores they are told apart by, and rows of single answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepwell.checkpoints import save_checkpoint
from stepwell.data import Document, TokenSplit, tokenize_documents
from stepwell.errors import DataError, UsageError
from stepwell.evaluation import evaluate_preference, score_pairs, tell_answers, values_of
from stepwell.evaluation.measuring.preferring import Told, choose_score
from stepwell.models import DecoderConfig, LanguageModel, build_model
from stepwell.tasks import Preference, PreferenceConfig, PreferenceDecisionConfig
from stepwell.tokenizers import ROLE_TOKENS, ByteBPEConfig, Tokenizer, conversational, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(small_text: Callable[..., str]) -> Tokenizer:
    settings = ByteBPEConfig(vocab_size=300, special_tokens=ROLE_TOKENS)
    return conversational(train_tokenizer([small_text(num_bytes=4_000)], settings))


def tiny(tokenizer: Tokenizer, seed: int) -> LanguageModel:
    config = DecoderConfig(
        vocab_size=tokenizer.vocab_size, max_seq_len=64, d_model=16, num_layers=1, num_heads=2, num_kv_heads=2,
        head_dim=8, d_ff=32,
    )  # fmt: skip
    model = build_model(config).eval()
    torch.manual_seed(seed)
    for parameter in model.parameters():  # a fresh head is all zeros, and says nothing of what it reads
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def split_of(rows: list[dict[str, Any]], tokenizer: Tokenizer) -> TokenSplit:
    documents = [Document("x", "test", columns={"instruction": f"say {n}", **row}) for n, row in enumerate(rows)]
    return tokenize_documents(documents, tokenizer, Preference(PreferenceConfig()), lambda event: None)


PAIRS = [
    {"chosen": "a b", "rejected": "the boat"},
    {"chosen": "灯", "rejected": "b"},
    {"chosen": "x y", "rejected": "z"},
]


def plain(model: LanguageModel, tokenizer: Tokenizer, number: int, answer: str) -> torch.Tensor:
    """Log-probabilities of an answer and its end, with all logits."""
    prompt = list(tokenizer.chat([{"role": "user", "content": f"say {number}"}]))
    ids = torch.tensor([[*prompt, *tokenizer.encode(answer).tolist(), tokenizer.token_id("<|end|>")]])
    told = torch.log_softmax(model(ids[:, :-1]), -1)[0].gather(1, ids[0, 1:, None])[:, 0]
    return told[len(prompt) - 1 :].detach()


def test_each_score_as_it_is_defined(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model, reference = tiny(tokenizer, 0), tiny(tokenizer, 1)
    save_checkpoint(tmp_path / "reference", reference, tokenizer, provenance={})
    task = PreferenceConfig(decision=PreferenceDecisionConfig(reference=str(tmp_path / "reference"), scale=0.5))
    told = tell_answers(model, split_of(PAIRS, tokenizer), task)
    both = [
        [plain(one, tokenizer, number, row[side]) for one in (model, reference)]
        for number, row in enumerate(PAIRS)
        for side in ("chosen", "rejected")
    ]
    wanted = {
        "log_probability": [own.sum() for own, _ in both],
        "mean_log_probability": [own.mean() for own, _ in both],
        "log_ratio": [own.sum() - then.sum() for own, then in both],
    }
    for score, values in wanted.items():
        decision = task.decision.model_copy(update={"score": score})
        found, plainly = told.scores(decision), np.array([float(one) for one in values])
        np.testing.assert_allclose(found, plainly, rtol=1e-4, atol=1e-4)
        margins = plainly[::2] - plainly[1::2]
        values_found = values_of(
            score_pairs(told, decision), "preference_accuracy", "margin", "loss", "log_ratio", "kl"
        )
        assert values_found["preference_accuracy"] == (margins > 0).mean()
        assert values_found["margin"] == pytest.approx(margins.mean(), abs=1e-4)
        assert values_found["loss"] == pytest.approx(np.log1p(np.exp(-0.5 * margins)).mean(), abs=1e-4)
        apart = torch.cat([own - then for own, then in both]).double()
        assert values_found["log_ratio"] == pytest.approx(float(apart.mean()), abs=1e-4)
        assert values_found["kl"] == pytest.approx(float((torch.expm1(-apart) + apart).mean()), rel=1e-3)


def test_a_model_is_no_nat_from_itself(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = tiny(tokenizer, 0)
    save_checkpoint(tmp_path / "reference", model, tokenizer, provenance={})
    decision = PreferenceDecisionConfig(score="log_ratio", reference=str(tmp_path / "reference"))
    for precision in ("float32", "bfloat16"):
        scores = evaluate_preference(model, split_of(PAIRS, tokenizer), PreferenceConfig(decision=decision), precision)
        assert scores.margin.tolist() == [0, 0, 0]
        assert not scores.right.any(), "a tie is not right"
        assert scores.k3.tolist() == [0, 0, 0]


def test_without_a_reference(tokenizer: Tokenizer, tmp_path: Path) -> None:
    split, model = split_of(PAIRS, tokenizer), tiny(tokenizer, 0)
    assert np.isnan(values_of(evaluate_preference(model, split, PreferenceConfig()), "kl")["kl"])
    for decision in ({"score": "log_ratio"}, {"reference": str(tmp_path / "nowhere")}):
        task = PreferenceConfig(decision=PreferenceDecisionConfig(**decision))
        with pytest.raises(UsageError, match=r"task\.decision"):
            evaluate_preference(model, split, task)


def test_single_answers_are_compared_across_prompts(tokenizer: Tokenizer) -> None:
    rows = [
        {"completion": "a", "label": 1}, {"completion": "b", "label": 0}, {"completion": "c", "label": 1},
        {"completion": "d", "label": 1},
    ]  # fmt: skip
    model = tiny(tokenizer, 0)
    told = tell_answers(model, split_of(rows, tokenizer), PreferenceConfig())
    each = [float(plain(model, tokenizer, n, str(row["completion"])).mean()) for n, row in enumerate(rows)]
    found = score_pairs(told, PreferenceDecisionConfig())
    np.testing.assert_allclose(
        found.margin, [each[0] - each[1], each[0] - each[1], each[2] - each[1], each[3] - each[1]], atol=1e-4
    )
    with pytest.raises(DataError, match="nothing to compare"):
        evaluate_preference(model, split_of([row for row in rows if row["label"]], tokenizer), PreferenceConfig())


def test_the_score_is_chosen_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [np.full(n, value) for n, value in [(10, -0.5), (2, -1.0)] * 20]  # longer, but likelier by token
    told = Told(np.repeat(np.arange(20), 2), np.tile([0, 1], 20), own, None)
    monkeypatch.setattr("stepwell.evaluation.measuring.preferring.tell_answers", lambda *asked: told)
    nothing: Any = None
    for score in ("log_probability", "mean_log_probability"):
        task = PreferenceConfig(decision=PreferenceDecisionConfig(score=score))
        chosen = choose_score(nothing, nothing, task, "preference_accuracy")
        assert chosen.decision.score == "mean_log_probability"
        assert choose_score(nothing, nothing, task, "loss") == task
