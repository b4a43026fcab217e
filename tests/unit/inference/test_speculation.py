"""Speculation changes how fast a text comes, and not which one."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stepwell.errors import StepwellError
from stepwell.inference import Sampling, SamplingParams, accept, generate, look_up
from stepwell.inference.sampling import distribution
from stepwell.models import LanguageModel
from stepwell.tokenizers import Tokenizer


@torch.no_grad()
def speculate(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, params: SamplingParams, index: int, guess: Any
) -> tuple[list[int], list[float], int]:
    """Tokens, log-probabilities, and how often the model was read: what an engine would do, without a cache."""
    text = tokenizer.encode(prompt).tolist()
    sampling, read = Sampling(params, index, text, tokenizer), 0
    tokens, logprobs = [], []
    while len(tokens) < params.max_tokens:
        ids = [tokenizer.bos_id, *text, *tokens]
        draft = guess(ids)[: params.max_tokens - len(tokens) - 1]
        logits = model(torch.tensor([[*ids, *draft]]))[0, len(ids) - 1 :]
        read += 1
        for drawn in accept(draft, None, logits, sampling):
            tokens.append(drawn.token_id)
            logprobs.append(drawn.logprob)
        if sampling.ends(tokens[-1]) or sampling.is_finished:
            break
    return tokens, logprobs, read


SETTINGS = {
    "greedy": {"temperature": 0},
    "greedy, penalised": {"temperature": 0, "repetition_penalty": 1.4},
    "drawn": {"seed": 5},
    "shaped": {"seed": 6, "temperature": 0.3, "top_p": 0.9, "top_k": 40, "frequency_penalty": 0.3},
    "mirostat": {"seed": 7, "mirostat": 2, "mirostat_tau": 1.0},
    "n-grams": {"seed": 8, "no_repeat_ngram_size": 3, "min_tokens": 20},
    "grammar": {"seed": 9, "regex": "((ab|cd) )+done"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("guess", ["looked up", "nothing", "right", "wrong"])
def test_without_probabilities_the_tokens_are_those_without_speculation(tiny_model, byte_tokenizer, settings, guess):
    model, prompt = tiny_model(96), "up and down and up and"
    params = SamplingParams(**settings, max_tokens=40, n=1 if settings.get("temperature") == 0 else 3)
    usual = generate(model, byte_tokenizer, prompt, params)
    for index, right in enumerate(usual):
        begin = right.prompt_tokens

        def guesses(ids: list[int], right: Any = right, begin: int = begin) -> list[int]:
            known = list(right.token_ids[len(ids) - begin :])
            return {
                "looked up": look_up(ids, 5),
                "nothing": [],
                "right": known[:4],
                "wrong": [*known[:2], (known[2] + 1) % 257, 9] if len(known) > 2 else [],
            }[guess]

        tokens, logprobs, read = speculate(model, byte_tokenizer, prompt, params, index, guesses)
        assert tokens == list(right.token_ids)
        assert logprobs == pytest.approx(right.logprobs, abs=1e-4)
        if guess == "right":
            assert read <= len(tokens) / 5 + 2
        if guess == "nothing":
            assert read == len(tokens)


def test_nothing_is_drawn_after_an_end(byte_tokenizer):
    for params in ({"temperature": 0}, {"seed": 1}):
        for probabilities in (None, torch.full((2, 257), 1 / 257)):
            sampling = Sampling(SamplingParams(**params), 0, [], byte_tokenizer)
            logits = torch.full((3, 257), -50.0)
            logits[:, byte_tokenizer.eos_id] = 50.0
            found = accept([byte_tokenizer.eos_id] * 2, probabilities, logits, sampling)
            assert [one.token_id for one in found] == [byte_tokenizer.eos_id]


WANTED = torch.tensor([5, 1, 2, 8, 0]) / 16
GUESSED = torch.tensor([2, 2, 4, 4, 4]) / 16


class Scripted(Sampling):
    """Random numbers that are given."""

    numbers: list[float]

    def uniform(self) -> float:
        return self.numbers.pop(0)


def test_the_distribution_is_unchanged_by_exact_enumeration(byte_tokenizer):
    """Every guess, and every range of random numbers that decides alike: their probabilities add up to what is wanted.

    A guess is kept with a probability of so many sixteenths of four, and what the draft lacks is 7 sixteenths.
    """
    logits = torch.full((2, 257), -200.0)
    logits[:, 1:6] = WANTED.clamp(min=1e-30).log()
    guessed = torch.zeros(1, 257)
    guessed[0, 1:6] = GUESSED
    total = torch.zeros(257, dtype=torch.float64)
    kept = 0.0
    for guess in range(5):
        for first, second in itertools.product(range(8), range(7)):
            sampling = Scripted(SamplingParams(), 0, [], byte_tokenizer)
            sampling.numbers = [(first + 0.5) / 8, (second + 0.5) / 7, 0.5]
            found = accept([guess + 1], guessed, logits, sampling)
            share = float(GUESSED[guess]) / 56
            total[found[0].token_id] += share
            kept += share * (len(found) == 2)
            assert sampling.token_ids == [one.token_id for one in found]
    torch.testing.assert_close(total[1:6], WANTED.double(), atol=1e-9, rtol=0)
    assert kept == pytest.approx(float(torch.minimum(WANTED, GUESSED).sum())), "as many are kept as can be"


def table(seed: int, flat: float) -> torch.Tensor:
    """Logits (4, 4) of the next token after each of four."""
    return flat * torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))


TEXTS = list(itertools.product(range(4), repeat=3))


def of_texts(following: torch.Tensor) -> torch.Tensor:
    """The probability of each text of three tokens after token 0, by that of each token after the one before it."""
    return torch.stack([following[0, a] * following[a, b] * following[b, c] for a, b, c in TEXTS])


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"temperature": 0.6, "top_p": 0.9}, {"top_k": 2}], ids=str)
def test_with_a_draft_model_the_distribution_is_unchanged(byte_tokenizer, params):
    """Chi-square of texts of three tokens over four letters, against the product of their probabilities."""
    wanted, guessing = table(1, 1.0), table(2, 1.0)
    from_scratch = Sampling(SamplingParams(**params), 0, [], byte_tokenizer)
    padded = torch.full((4, 257), -60.0)
    padded[:, 1:5] = wanted
    exact = distribution([from_scratch] * 4, padded).double().softmax(-1)[:, 1:5]
    guessed = torch.zeros(4, 257)
    guessed[:, 1:5] = guessing.softmax(-1)
    generator = torch.Generator().manual_seed(0)
    counts: Counter[tuple[int, ...]] = Counter()
    runs = 3000
    for run in range(runs):
        sampling = Sampling(SamplingParams(seed=3, **params), run, [], byte_tokenizer)
        tokens = [0]
        while len(tokens) < 4:
            draft: list[int] = []
            for _ in range(2):
                before = (tokens + draft)[-1]
                draft.append(int(guessed[before, 1:5].multinomial(1, generator=generator)))
            places = [tokens[-1], *draft]
            found = accept([one + 1 for one in draft], guessed[places[:2]], padded[places], sampling)
            tokens += [one.token_id - 1 for one in found]
        counts[tuple(tokens[1:4])] += 1
    right = of_texts(exact)
    assert all(right[TEXTS.index(text)] > 0 for text in counts)
    likely = [n for n in range(len(TEXTS)) if right[n] * runs >= 5]
    observed = [counts[TEXTS[n]] for n in likely]
    expected = right[likely]
    assert stats.chisquare(observed, (expected / expected.sum() * sum(observed)).numpy()).pvalue > 1e-3
    wrong = of_texts(guessing.double().softmax(-1))[likely]
    wrong = wrong / wrong.sum() * sum(observed)
    assert stats.chisquare(observed, wrong.numpy()).pvalue < 1e-9, "it is not what the draft says"


def test_a_draft_model_that_is_the_model_is_always_kept(byte_tokenizer):
    logits = torch.randn(5, 257, generator=torch.Generator().manual_seed(1))
    logits[:, 0] = -50.0
    for seed in range(20):
        sampling = Sampling(SamplingParams(seed=seed), 0, [], byte_tokenizer)
        draft = logits[:4].softmax(-1).multinomial(1, generator=torch.Generator().manual_seed(seed)).flatten().tolist()
        found = accept(draft, logits[:4].double().softmax(-1), logits, sampling)
        assert [one.token_id for one in found[:4]] == draft
        assert len(found) == 5


@pytest.mark.parametrize("probabilities", [None, torch.full((1, 257), 1 / 257)], ids=["looked up", "drawn"])
def test_logits_that_are_no_numbers_are_an_error(byte_tokenizer, probabilities):
    with pytest.raises(StepwellError, match="not finite"):
        accept([3], probabilities, torch.full((2, 257), torch.nan), Sampling(SamplingParams(), 0, [], byte_tokenizer))


def test_the_continuation_of_the_longest_ngram_is_looked_up():
    assert look_up([1, 2, 3, 9, 2, 3, 7, 7, 1, 2, 3], 3) == [9, 2, 3], "three tokens are more than two"
    assert look_up([5, 1, 6, 5, 1, 7, 5], 2) == [1, 7], "the last place counts"
    assert look_up([1, 2, 1, 2], 5) == [1, 2, 1, 2, 1], "what repeats goes on"
    assert look_up([4, 4], 3) == [4, 4, 4]
    assert look_up([1, 2, 3], 4) == look_up([], 4) == look_up([1], 4) == look_up([1, 1], 0) == []
    assert look_up([8, 5, 1, 6, 5], 2, shortest=2) == []
    assert look_up([8, 5, 1, 8, 5], 2, shortest=2) == [1, 8]


@given(ids=st.lists(st.integers(0, 2), max_size=30), length=st.integers(1, 6))
def test_looking_up_is_what_a_plain_search_finds(ids, length):
    best: tuple[int, int] | None = None
    for end in range(len(ids) - 1):
        size = 0
        while size <= end and ids[end - size] == ids[len(ids) - 1 - size]:
            size += 1
        if size and (best is None or (size, end) >= best):
            best = (size, end)
    expected: list[int] = []
    if best is not None:
        for at in range(length):
            expected.append([*ids, *expected][best[1] + 1 + at])
    assert look_up(ids, length) == expected
