"""A masked model: how likely it finds a text, and how it fills masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stepwell.errors import UsageError
from stepwell.inference import fill_masks, generate, has_mask, score_documents, score_tokens, scoring
from stepwell.inference.parts import masked_parts
from stepwell.models import EncoderConfig, LanguageModel, build_model
from stepwell.tokenizers import ByteBPEConfig, Tokenizer, train_tokenizer

MASK = 1


def make_encoder(max_seq_len: int = 32, vocab_size: int = 258, **others) -> LanguageModel:
    """An encoder in which every token depends on every other one."""
    shape = {"num_layers": 2, "d_model": 32, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "d_ff": 64}
    sizes = {"vocab_size": vocab_size, "max_seq_len": max_seq_len, "mask_id": MASK}
    model = build_model(EncoderConfig(**{**shape, **sizes, **others}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer(small_text) -> Tokenizer:
    return train_tokenizer([small_text("en")], ByteBPEConfig(vocab_size=400, special_tokens=("<|mask|>",)))


def documents_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 258, length) for length in lengths]


@torch.no_grad()
def one_at_a_time(model: LanguageModel, tokens: np.ndarray) -> list[float]:
    """The oracle of Salazar et al.: hide each token alone, read everything else."""
    found = []
    for place in range(1, len(tokens)):
        read = torch.from_numpy(tokens).clone()
        read[place] = MASK
        found.append(model(read[None])[0, place].log_softmax(-1)[tokens[place]].item())
    return found


@pytest.mark.parametrize("length", [1, 2, 9, 32])
def test_each_token_from_all_others(length):
    model = make_encoder(32)
    (tokens,) = documents_of([length])
    np.testing.assert_allclose(score_tokens(model, tokens), one_at_a_time(model, tokens), atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_documents_together_are_documents_alone(batch_tokens, monkeypatch):
    """Padding of a batch is seen by nobody, though everybody looks there."""
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 258 * 7)
    model = make_encoder(8)
    documents = documents_of([5, 0, 30, 1, 2, 9, 8, 17, 3])
    scores = list(score_documents(model, documents, batch_tokens=batch_tokens))
    assert [len(score.logprobs) for score in scores] == [max(0, len(document) - 1) for document in documents]
    for document, score in zip(documents, scores, strict=True):
        logprobs = np.full(len(score.logprobs), np.nan)
        correct = np.zeros(len(score.correct), dtype=bool)
        for part in masked_parts(document, 8, MASK, 7):
            with torch.no_grad():
                told = model(torch.from_numpy(part.read)[None])[0, part.places].log_softmax(-1)
            logprobs[part.told - 1] = told[range(len(part.told)), document[part.told]].numpy()
            correct[part.told - 1] = told.argmax(-1).numpy() == document[part.told]
        np.testing.assert_allclose(score.logprobs, logprobs, atol=1e-4)
        assert score.correct.tolist() == correct.tolist()


def test_both_sides_are_seen():
    model = make_encoder(32)
    (tokens,) = documents_of([20])
    changed = tokens.copy()
    changed[-1] = 7
    one, other = (score_tokens(model, ids) for ids in (tokens, changed))
    assert (np.abs(one - other) > 1e-4)[: len(one) // 2].any()


def test_a_model_that_knows_no_mask_is_refused():
    model = make_encoder(32, mask_id=None)
    with pytest.raises(UsageError, match="mask_id"):
        score_tokens(model, [0, 5, 6])


def test_a_model_without_a_head_is_refused():
    model = make_encoder(32, head=None)
    with pytest.raises(UsageError, match="predicts no tokens"):
        score_tokens(model, [0, 5, 6])


def test_one_mask_is_filled_by_the_likeliest_token(tokenizer):
    model = make_encoder(64, tokenizer.vocab_size)
    filled = fill_masks(model, tokenizer, "the miller <|mask|> the lantern", top_k=3)
    left, right = tokenizer.encode("the miller").tolist(), tokenizer.encode(" the lantern").tolist()
    with torch.no_grad():
        probabilities = model(torch.tensor([[tokenizer.bos_id, *left, MASK, *right]]))[0, len(left) + 1].softmax(-1)
    probabilities[[0, MASK]] = 0  # special tokens say nothing
    best = probabilities.topk(3)
    (candidates,) = filled.candidates
    assert [one.token_id for one in candidates] == best.indices.tolist()
    assert [one.probability for one in candidates] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert filled.token_ids == (candidates[0].token_id,)
    assert filled.logprobs == pytest.approx([np.log(candidates[0].probability)])
    assert filled.text == "the miller" + tokenizer.decode([candidates[0].token_id]) + " the lantern"
    assert filled.prompt_tokens == len(left) + len(right) + 2


def test_special_tokens_fill_nothing_though_they_be_the_likeliest(tokenizer):
    model = make_encoder(64, tokenizer.vocab_size, head={"bias": True})
    with torch.no_grad():
        model.head.bias[[0, MASK]] = 50.0
    filled = fill_masks(model, tokenizer, "a <|mask|> boat", top_k=1000)
    assert {one.token_id for one in filled.candidates[0]} == set(range(2, tokenizer.vocab_size))
    assert filled.candidates[0][0].probability < 1e-6  # under the model itself, which would take a special one


def test_several_masks_are_filled_the_surest_first(tokenizer):
    model = make_encoder(64, tokenizer.vocab_size)
    text = "the <|mask|> carried<|mask|> by <|mask|>"
    filled = fill_masks(model, tokenizer, text)
    ids = torch.tensor([tokenizer.bos_id, *tokenizer.encode(text.replace(" <|", "<|"), special=True).tolist()])
    expected = {}
    while (ids == MASK).any():
        with torch.no_grad():
            probabilities = model(ids[None])[0].softmax(-1)
        probabilities[:, [0, MASK]] = 0
        probabilities[ids != MASK] = 0
        place, token = divmod(int(probabilities.argmax()), tokenizer.vocab_size)
        ids[place] = expected[place] = token
    assert filled.token_ids == tuple(expected[place] for place in sorted(expected))
    assert len(filled.candidates) == 3
    assert filled.text == tokenizer.decode(ids)


def test_around_the_masks_the_text_stays_as_it_was_written(tokenizer):
    model = make_encoder(64, tokenizer.vocab_size)
    filled = fill_masks(model, tokenizer, "<|mask|> 老渔夫\t<|mask|>\n\nend ")
    first, second = (tokenizer.token_bytes(one).decode("utf-8", "replace") for one in filled.token_ids)
    assert filled.text == f"{first} 老渔夫\t{second}\n\nend "


def test_only_masked_models_fill_and_only_where_there_is_a_mask(tokenizer, tiny_model):
    encoder = make_encoder(64, tokenizer.vocab_size)
    assert has_mask(encoder, tokenizer, "a <|mask|>")
    assert not has_mask(encoder, tokenizer, "a mask")
    assert not has_mask(tiny_model(64, tokenizer.vocab_size), tokenizer, "a <|mask|>")
    with pytest.raises(UsageError, match="no mask to fill"):
        fill_masks(encoder, tokenizer, "a mask")


def test_a_text_beyond_the_window_is_refused(tokenizer):
    with pytest.raises(UsageError, match="longer than the model can read"):
        fill_masks(make_encoder(8, tokenizer.vocab_size), tokenizer, "many words " * 20 + "<|mask|>")


def test_the_model_is_left_as_it_was(tokenizer):
    model = make_encoder(64, tokenizer.vocab_size).train()
    fill_masks(model, tokenizer, "a <|mask|>")
    score_tokens(model, [0, 2, 3])
    assert model.training


def test_a_prompt_without_a_mask_is_continued(tokenizer):
    model = make_encoder(16, tokenizer.vocab_size)
    (completion,) = generate(model, tokenizer, "the miller carried")
    assert len(completion.token_ids) > 16  # beyond the window
