"""The rules of sampling against transformers' own, on the same logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stepwell.inference import Sampling, SamplingParams
from stepwell.inference.sampling import adjust, distribution
from stepwell.inference.sampling import truncation as s
from stepwell.tokenizers import Tokenizer, WordLevelConfig, train_tokenizer

transformers = pytest.importorskip("transformers")

VOCAB = 200
TEXT = torch.randint(0, VOCAB, (4, 30), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[0.1, 1.0, 5.0], ids="spread {}".format)
def logits(request: pytest.FixtureRequest) -> torch.Tensor:
    return request.param * torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """A vocabulary of words: w0 to w198 in some order, and the end of text."""
    return train_tokenizer([" ".join(f"w{n}" for n in range(199))], WordLevelConfig(vocab_size=VOCAB + 8))


def rows(tokenizer: Tokenizer, prompt_tokens: int = 30, text: torch.Tensor = TEXT, **settings: Any) -> list[Sampling]:
    """A row for each line of a text, of which so many tokens are the prompt and the others were drawn."""
    made = [Sampling(SamplingParams(**settings), 0, line[:prompt_tokens].tolist(), tokenizer) for line in text]
    for one, line in zip(made, text[:, prompt_tokens:].tolist(), strict=True):
        for token in line:
            one.take(token, 1.0)
    return made


def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """The same distribution; logits may differ by a constant."""
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1))
    assert torch.equal(ours.isneginf(), theirs.isneginf())


@pytest.mark.parametrize("prompt_tokens", [30, 12])
@pytest.mark.parametrize("penalty", [0.8, 1.3, 2.0])
def test_repetition_penalty(words, logits, penalty, prompt_tokens):
    theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(TEXT, logits)
    torch.testing.assert_close(adjust(rows(words, prompt_tokens, repetition_penalty=penalty), logits), theirs)


@pytest.mark.parametrize("size", [1, 2, 3, 31])
def test_no_repeat_ngram(words, logits, size):
    text = TEXT % 7  # so that much repeats
    theirs = transformers.NoRepeatNGramLogitsProcessor(size)(text, logits)
    assert bool(theirs.isneginf().any()) == (size < 31)
    torch.testing.assert_close(adjust(rows(words, 10, text, no_repeat_ngram_size=size), logits), theirs)


def test_logit_bias(words, logits):
    bias = {3: 5.5, 9: -100.0, 150: -0.25}
    theirs = transformers.SequenceBiasLogitsProcessor({(token,): value for token, value in bias.items()})(TEXT, logits)
    torch.testing.assert_close(adjust(rows(words, logit_bias=bias), logits), theirs)


def test_bad_words(words, logits):
    """Single words, words whose beginning each line ends with, and one that no line has begun."""
    lines = [[words.token(token) for token in line] for line in TEXT.tolist()]
    texts = ["w17", f"{lines[0][-1]} w5", f"{lines[1][-2]} {lines[1][-1]} w6", f"{lines[2][0]} w7"]
    ids = [words.encode(text).tolist() for text in texts]
    assert [len(one) for one in ids] == [1, 2, 3, 2]
    theirs = transformers.NoBadWordsLogitsProcessor(ids, eos_token_id=words.eos_id)(TEXT, logits)
    assert theirs.isneginf().sum() == 4 + 2
    torch.testing.assert_close(adjust(rows(words, bad_words=texts), logits), theirs)


@pytest.mark.parametrize("least", [17, 18, 19, 40])
def test_min_tokens(words, logits, least):
    ends = [words.eos_id, 50, 60]
    theirs = transformers.MinNewTokensLengthLogitsProcessor(12, least, ends)(TEXT, logits)
    ours = adjust(rows(words, 12, min_tokens=least, stop_token_ids=[50, 60]), logits)
    torch.testing.assert_close(ours, theirs)
    assert bool(ours.isneginf().any()) == (least > 18)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 3.0])
def test_temperature(logits, temperature):
    check(s.apply_temperature(logits, temperature), transformers.TemperatureLogitsWarper(temperature)(TEXT, logits))


@pytest.mark.parametrize("top_k", [1, 7, 50, 1000])
def test_top_k(logits, top_k):
    check(s.keep_top_k(logits, top_k), transformers.TopKLogitsWarper(top_k)(TEXT, logits))
    ties = logits.round()
    check(s.keep_top_k(ties, top_k), transformers.TopKLogitsWarper(top_k)(TEXT, ties))


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999])
def test_top_p(logits, top_p):
    check(s.keep_top_p(logits, top_p), transformers.TopPLogitsWarper(top_p)(TEXT, logits))


@pytest.mark.parametrize("min_p", [0.01, 0.1, 0.5, 1.0])
def test_min_p(logits, min_p):
    check(s.keep_min_p(logits, min_p), transformers.MinPLogitsWarper(min_p)(TEXT, logits))


@pytest.mark.parametrize("typical_p", [0.05, 0.5, 0.9, 0.999])
def test_typical_p(logits, typical_p):
    check(s.keep_typical(logits, typical_p), transformers.TypicalLogitsWarper(typical_p)(TEXT, logits))


@pytest.mark.parametrize("epsilon", [1e-4, 0.004, 0.1, 0.9])
def test_cutoffs(logits, epsilon):
    check(s.keep_epsilon(logits, epsilon), transformers.EpsilonLogitsWarper(epsilon)(TEXT, logits))
    check(s.keep_eta(logits, epsilon), transformers.EtaLogitsWarper(epsilon)(TEXT, logits))


def test_typical_p_and_cutoffs_of_what_is_left(logits):
    """After another rule, some logits are -inf."""
    left = s.keep_top_k(logits, 9)
    check(s.keep_typical(left, 0.8), transformers.TypicalLogitsWarper(0.8)(TEXT, left))
    check(s.keep_eta(left, 0.2), transformers.EtaLogitsWarper(0.2)(TEXT, left))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
        {"temperature": 2.0, "top_p": 0.8, "min_p": 0.2},
        {"top_k": 5, "top_p": 0.5},
        {"repetition_penalty": 0.9, "min_p": 0.1},
        {"temperature": 1.7, "top_p": 0.95, "typical_p": 0.7, "epsilon_cutoff": 0.003, "eta_cutoff": 0.004},
        {"no_repeat_ngram_size": 1, "typical_p": 0.9, "repetition_penalty": 1.1, "temperature": 0.9},
    ],
    ids=str,
)
def test_all_together_in_the_order_of_generate(words, logits, settings):
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    config = transformers.GenerationConfig(
        do_sample=True, sequence_bias={(4,): 3.0, (5,): -8.0}, **({"top_k": 0} | settings)
    )
    theirs = model._get_logits_processor(generation_config=config, input_ids_seq_length=30)(TEXT, logits)
    ours = distribution(rows(words, 20, logit_bias={4: 3.0, 5: -8.0}, **settings), logits)
    check(ours, theirs)
