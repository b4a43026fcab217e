"""What a language model says to a few prompts, and how much it repeats itself.

This file leaves out how tokens are drawn (`inference`).
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.evaluation import repeated_ngram_ratio
from stepwell.inference import generate_many
from stepwell.models import LanguageModel
from stepwell.recipes import Recipe
from stepwell.studies.corpus import Corpus
from stepwell.tokenizers import Tokenizer

SAMPLES_OF_A_PROMPT = 4


def prompts_of(recipe: Recipe, corpus: Corpus) -> list[str]:
    """The recipe's prompts, or the beginnings of three validation documents."""
    if recipe.study.prompts:
        return list(recipe.study.prompts)
    texts = corpus.text.texts("validation")
    chosen = sorted({round((len(texts) - 1) * share) for share in (0.1, 0.5, 0.9)})
    return [_beginning(texts[n]) for n in chosen]


def _beginning(text: str, characters: int = 48) -> str:
    """The first words of a text; a script without spaces is cut after a third as many characters."""
    head = text.strip()[:characters]
    words = head.rsplit(" ", 1)[0]
    return words if " " in head else head[: characters // 3]


def speak(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], recipe: Recipe
) -> tuple[list[dict[str, str]], list[float]]:
    """Complete prompts as the recipe decodes.

    Returns:
        Prompt and text of each prompt's first sample, and the share of repeated 4-grams of every sample.
    """
    params = recipe.decoding.model_copy(update={"max_tokens": recipe.study.sample_tokens, "n": SAMPLES_OF_A_PROMPT})
    done = generate_many(model, tokenizer, prompts, params)
    samples = [{"prompt": prompt, "text": found[0].text} for prompt, found in zip(prompts, done, strict=True)]
    return samples, [repeated_ngram_ratio(one.token_ids) for found in done for one in found]
