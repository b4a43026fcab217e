"""How rows of different requests draw: each as if it were alone."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats

from stepwell.errors import StepwellError, UsageError
from stepwell.inference import Drawn, Sampling, SamplingParams, draw
from stepwell.inference.sampling import distribution
from stepwell.tokenizers import Tokenizer

VOCAB = 257


@pytest.fixture
def row(byte_tokenizer):
    """Makes a row: `row(prompt, index=0, **params)`."""

    def make(prompt: list[int] | None = None, index: int = 0, **params: Any) -> Sampling:
        return Sampling(SamplingParams(**params), index, prompt or [], byte_tokenizer)

    return make


def logits_of(steps: int, rows: int, spread: float = 3.0, seed: int = 3) -> torch.Tensor:
    return spread * torch.randn(steps, rows, VOCAB, generator=torch.Generator().manual_seed(seed))


def ids(drawn: list[Drawn]) -> list[int]:
    return [one.token_id for one in drawn]


MIXED: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 0, "repetition_penalty": 1.5},
    {"top_p": 0.9, "logprobs": 5},
    {"top_p": 0.9, "frequency_penalty": 0.7, "presence_penalty": -0.3},
    {"top_k": 20, "top_p": 0.9, "repetition_penalty": 1.2},
    {"typical_p": 0.6, "no_repeat_ngram_size": 2},
    {"eta_cutoff": 0.01, "bad_words": ("a", "th")},
    {"epsilon_cutoff": 0.01, "min_tokens": 5, "logprobs": 2},
    {"mirostat": 2, "mirostat_tau": 2.0},
    {"min_p": 0.1, "logit_bias": {97: 5.0, 98: -100}, "stop_token_ids": (9,), "min_tokens": 30},
]


def test_a_row_draws_the_same_to_the_bit_whatever_stands_beside_it(row):
    logits = logits_of(25, 2 * len(MIXED))
    prompt = [1, 2, 3, 1, 2]
    settings = [(index, params) for index in (0, 1) for params in MIXED]
    alone = [row(prompt, index, seed=7, **params) for index, params in settings]
    together = [row(prompt, index, seed=7, **params) for index, params in settings]
    backwards = [row(prompt, index, seed=7, **params) for index, params in reversed(settings)]
    for step in logits:
        right = [draw([one], step[place : place + 1])[0] for place, one in enumerate(alone)]
        assert draw(together, step) == right
        assert draw(backwards, step.flip(0)) == right[::-1]


def test_rows_come_and_go(row):
    logits = logits_of(12, 1)
    alone, other = row(seed=3, top_p=0.8, repetition_penalty=1.3), row(seed=3, top_p=0.8, repetition_penalty=1.3)
    right = [draw([alone], step)[0] for step in logits]
    company = [row(seed=seed, top_p=0.8) for seed in range(9)]
    found = []
    for at, step in enumerate(logits):
        beside = company[at % 4 : at]
        rows = [*beside, other]
        found.append(draw(rows, step.expand(len(rows), -1))[-1])
    assert found == right


def test_sample_i_of_a_seed_does_not_depend_on_the_others(row):
    def texts(indices: list[int], seed: int = 7) -> list[list[int]]:
        rows = [row(index=index, seed=seed) for index in indices]
        steps = [ids(draw(rows, step.expand(len(rows), -1))) for step in logits_of(20, 1)]
        return [list(one) for one in zip(*steps, strict=True)]

    together = texts([0, 1, 2])
    assert together == [texts([index])[0] for index in range(3)]
    assert together[0] != together[1] != together[2]
    assert together != texts([0, 1, 2], seed=8)


def test_no_seed_draws_afresh(row):
    first, second = row(), row()
    steps = logits_of(20, 1)
    assert [draw([first], one) for one in steps] != [draw([second], one) for one in steps]


def test_a_temperature_of_zero_takes_the_likeliest(row):
    for step in logits_of(9, 1):
        found = {draw([row(**params)], step)[0].token_id for params in ({"temperature": 0}, {"top_k": 1})}
        assert found == {int(step.argmax())}


@pytest.mark.parametrize("params", [{"temperature": 0}, {"temperature": 1e-300}, {"temperature": 0, "top_k": 1}])
def test_of_equal_tokens_greedy_takes_the_first(row, params):
    logits = torch.zeros(3, VOCAB)
    logits[1, 5:] = 1.0
    logits[2, [200, 100]] = 2.0
    assert ids(draw([row(**params) for _ in range(3)], logits)) == [0, 5, 100]
    assert [ids(draw([row(**params)], one[None])) for one in logits] == [[0], [5], [100]]


SHAPES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_k": 4},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"typical_p": 0.6},
    {"epsilon_cutoff": 0.05},
    {"eta_cutoff": 0.1},
    {"logit_bias": {1: 2.0, 2: -100.0}},
    {"bad_words": ["\x01"]},
]


@pytest.mark.parametrize("params", SHAPES, ids=str)
def test_draws_follow_the_distribution(row, params):
    """Chi-square of 4,000 samples against the probabilities."""
    logits = torch.full((1, VOCAB), -30.0)
    logits[0, :12] = 1.5 * torch.randn(12, generator=torch.Generator().manual_seed(4))
    probabilities = distribution([row(**params)], logits).double().softmax(-1)[0]
    rows = [row(index=index, seed=11, **params) for index in range(4000)]
    counts = Counter(
        token for at in range(0, 4000, 500) for token in ids(draw(rows[at : at + 500], logits.expand(500, -1)))
    )
    assert all(probabilities[token] > 0 for token in counts)
    likely = [token for token in range(VOCAB) if probabilities[token] > 1e-3]
    expected = probabilities[likely] / probabilities[likely].sum() * sum(counts[token] for token in likely)
    if len(likely) > 1:
        assert stats.chisquare([counts[token] for token in likely], expected.numpy()).pvalue > 1e-3
    uniform = torch.full((len(likely),), sum(counts.values()) / len(likely)).numpy()
    if len(likely) > 2:  # the test can fail
        assert stats.chisquare([counts[token] for token in likely], uniform, sum_check=False).pvalue < 1e-9


def test_mirostat_brings_the_surprise_to_what_is_wanted(row):
    """The mean of 600 draws from one distribution of 7 bits, after the threshold has come down."""
    logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(8))
    for tau in (2.0, 4.0):
        one = row(seed=1, mirostat=2, mirostat_tau=tau, mirostat_eta=0.1)
        surprises = []
        for _ in range(900):
            before = distribution([one], logits).double().log_softmax(-1)[0]
            (drawn,) = draw([one], logits)
            surprises.append(-float(before[drawn.token_id]) / math.log(2))
        assert sum(surprises[300:]) / 600 == pytest.approx(tau, abs=0.15)


def test_mirostat_moves_its_threshold_by_the_formula(row):
    one = row(seed=1, mirostat=2, mirostat_tau=3.0, mirostat_eta=0.25)
    assert one.surprise == 6.0
    threshold = 6.0
    for step in logits_of(20, 1, 1.0):
        before = distribution([one], step).double().softmax(-1)[0]
        (drawn,) = draw([one], step)
        threshold -= 0.25 * (-math.log2(before[drawn.token_id]) - 3.0)
        assert one.surprise == pytest.approx(threshold, abs=1e-9)


def test_penalties_remember_prompt_and_sample(row):
    logits = torch.full((1, VOCAB), -9.0)
    logits[0, :3] = torch.tensor([1.0, 0.9, 0.8])

    def three(prompt: list[int], **params: float) -> list[int]:
        one = row(prompt, temperature=0, **params)
        return [draw([one], logits)[0].token_id for _ in range(3)]

    assert three([0], repetition_penalty=2) == [1, 2, 0]
    assert three([0], presence_penalty=0.15) == [0, 1, 0], "what the prompt holds does not count"
    assert three([0], frequency_penalty=0.15) == [0, 1, 0]
    assert three([0], frequency_penalty=0.06) == [0, 0, 1]


def test_frequency_and_presence_are_openais_formula(row):
    one = row([5, 5], temperature=1.0, frequency_penalty=0.5, presence_penalty=-0.25)
    for token in (7, 7, 9):
        one.take(token, 1.0)
    logits = logits_of(1, 1)[0]
    expected = logits.clone()
    expected[0, 7] -= 0.5 * 2 - 0.25
    expected[0, 9] -= 0.5 * 1 - 0.25
    torch.testing.assert_close(distribution([one], logits).softmax(-1), expected.softmax(-1))


def test_many_distinct_tokens_are_counted(row):
    one = row(list(range(200)), repetition_penalty=2.0)
    for token in range(100, 257):
        one.take(token, 1.0)
    assert sorted(one.seen.ids.tolist()) == list(range(257))
    assert dict(zip(one.seen.ids.tolist(), one.seen.counts.tolist(), strict=True))[150] == 2


def test_bad_words_inside_and_at_the_beginning_of_a_word(byte_tokenizer, row):
    one = row(byte_tokenizer.encode("the c").tolist(), bad_words="cat")
    spelled = [byte_tokenizer.encode(text).tolist() for text in ("cat", " cat")]
    assert one.banned_ids().tolist() == []
    one.take(int(byte_tokenizer.encode("a")[0]), 1.0)
    assert set(one.banned_ids().tolist()) == {spelled[0][-1]} == {spelled[1][-1]}


def test_no_end_before_min_tokens(row, byte_tokenizer):
    logits = torch.zeros(1, VOCAB)
    logits[0, [byte_tokenizer.eos_id, 40]] = torch.tensor([9.0, 8.0])
    one = row(temperature=0, min_tokens=3, stop_token_ids=[40])
    assert [draw([one], logits)[0].token_id for _ in range(4)] == [1, 1, 1, byte_tokenizer.eos_id]
    other = row(temperature=0, ignore_eos=True, stop_token_ids=[40])
    assert (other.ends(byte_tokenizer.eos_id), other.ends(40), one.ends(byte_tokenizer.eos_id)) == (False, True, True)


def test_when_all_tokens_are_banned_it_says_so(row):
    everything = [row(list(range(VOCAB)), no_repeat_ngram_size=1, temperature=temperature) for temperature in (0, 1)]
    for one in everything:
        with pytest.raises(UsageError, match="no token is left to draw") as error:
            draw([one], torch.zeros(1, VOCAB))
        assert "no_repeat_ngram_size=1" in str(error.value)
    # A row beside it has not moved, so that it can be drawn for alone.
    beside = row(seed=1)
    with pytest.raises(UsageError):
        draw([beside, everything[0]], torch.zeros(2, VOCAB))
    assert beside.token_ids == []
    assert draw([beside], torch.zeros(1, VOCAB)) == draw([row(seed=1)], torch.zeros(1, VOCAB))


@pytest.mark.parametrize("params", [{"logit_bias": {257: 1.0}}, {"stop_token_ids": [300]}], ids=str)
def test_tokens_that_are_not_there_are_named(row, params):
    with pytest.raises(UsageError, match="no such token") as error:
        row(**params)
    assert "0 to 256" in str(error.value)


def test_rows_of_a_model_without_a_token_are_never_drawn(row):
    logits = torch.zeros(1, 300)
    logits[0, 257:] = 50.0
    for params in ({"temperature": 0}, {"seed": 1}, {"logprobs": 3, "seed": 2}):
        (drawn,) = draw([row(**params)], logits)
        assert drawn.token_id < VOCAB
        assert all(token < VOCAB for token, _ in drawn.likeliest)


def test_logprobs_are_the_models_own(row):
    logits = logits_of(1, 1)[0]
    logprobs = logits.log_softmax(-1)[0]
    (drawn,) = draw([row(top_k=1, temperature=0.3, logit_bias={3: 100}, logprobs=4)], logits)
    assert drawn.token_id == 3
    assert drawn.logprob == pytest.approx(float(logprobs[3]))
    values, tokens = logprobs.topk(4)
    assert [token for token, _ in drawn.likeliest] == tokens.tolist()
    assert [value for _, value in drawn.likeliest] == pytest.approx(values.tolist())
    (plain,) = draw([row()], logits)
    assert plain.likeliest == ()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_are_an_error(row, bad):
    logits = torch.zeros(2, VOCAB)
    logits[1, 3] = bad
    with pytest.raises(StepwellError, match="not finite"):
        draw([row(), row()], logits)


def test_nothing_to_draw_for():
    assert draw([], torch.zeros(0, 5)) == []


def test_a_smaller_model_than_its_tokenizer(byte_tokenizer: Tokenizer, row):
    """Ids that the logits have no column for are passed over."""
    one = row([200, 3], repetition_penalty=2.0, min_tokens=2, stop_token_ids=[256], temperature=0)
    assert draw([one], torch.tensor([[1.0, 3.0, 2.0, 5.0]]))[0].token_id == 1
