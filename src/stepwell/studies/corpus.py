"""The text of a run in the forms that rounds need: prepared, tokenised, and the held-out part that judges.

Everything is kept in the run directory under a key of what it was made from, so a round that changes the vocabulary
makes a second tokenizer beside the first, and a run that goes on makes nothing twice. This file leaves out how text
is read and packed (`data`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.baselines import SimpleModel
from stepwell.checkpoints import read_tokenizer, resolve_checkpoint
from stepwell.config import Config
from stepwell.data import (
    DataConfig,
    Engine,
    PreparedText,
    SplitName,
    Surroundings,
    TokenShards,
    TokenSplit,
    prepare_text,
    tokenize_text,
)
from stepwell.errors import DataError, TokenizerError
from stepwell.evaluation import Held
from stepwell.progress import Fact, Stage, Watcher
from stepwell.recipes import Recipe
from stepwell.runs import RunDirectory, to_json
from stepwell.studies.making import open_embedder, open_text_maker
from stepwell.tasks import TaskConfig, build_task, maker_of
from stepwell.tokenizers import PretrainedTokenizerConfig, Tokenizer, TokenizerConfig, extend_tokenizer, train_tokenizer

TOKENIZER_BYTES = 20_000_000
"""A tokenizer learns from at most so much text, every k-th document; more changes its merges little and takes long."""

DATA_PAGE = "data.html"
"""Name of the data report in a run directory."""

COUNTED_AT_ONCE = 1 << 24

RARE = 10
"""A token that the training text holds fewer times than this can hardly be learned."""


@dataclass(frozen=True)
class Tokens:
    """What training needs of a text.

    Attributes:
        tokenizer: trained on the train split.
        tokens: the documents of all splits as token ids.
    """

    tokenizer: Tokenizer
    tokens: TokenShards

    @property
    def train(self) -> TokenSplit:
        """Tokens to train on."""
        return self.tokens.split("train")

    def to_plain(self) -> dict[str, str]:
        """Where another process finds them; the tokenizer is written beside its tokens."""
        path = self.tokens.path.resolve()
        tokenizer = path.with_name(f"{path.name}.tokenizer.json")
        self.tokenizer.save(tokenizer)
        return {"tokens": str(path), "tokenizer": str(tokenizer)}

    @classmethod
    def from_plain(cls, places: Mapping[str, str]) -> Tokens:
        """Open what another process told of.

        Raises:
            DataError: when the tokens are missing or damaged.
            TokenizerError: when the tokenizer is.
        """
        return Tokens(Tokenizer.load(Path(places["tokenizer"])), TokenShards.open(Path(places["tokens"])))


@dataclass(frozen=True)
class Corpus(Tokens):
    """Prepared text with its tokenizer and tokens.

    Attributes:
        text: documents by split.
        compared: figures of the tokenizers that this one was chosen from.
    """

    text: PreparedText
    compared: Sequence[Mapping[str, Any]] = ()

    def judged(self, max_bytes: int) -> TokenSplit:
        """Validation documents up to a size, spread evenly over the split; the same for every tokenizer."""
        return thinned(self.tokens.split("validation"), max_bytes)

    def held(
        self,
        name: SplitName,
        count: int | None = None,
        *,
        max_bytes: int | None = None,
        beside: Mapping[str, SimpleModel] | None = None,
    ) -> Held:
        """Examples of a split, spread evenly over it.

        Args:
            name: of the split.
            count: at most so many; None for all.
            max_bytes: at most so much text; None for all.
            beside: simple models that a decision may listen to.
        """
        split = self.tokens.split(name)
        stride = 1 if max_bytes is None else stride_of(int(split.num_bytes.sum()), max_bytes)
        if count is not None:
            stride = max(stride, split.num_documents // max(1, count))
        numbers = np.arange(0, split.num_documents, stride)[:count]
        texts = split.of_document.get("text")
        if texts is None:
            return Held(split.chosen(numbers), (), self.tokenizer)
        wanted = dict.fromkeys(texts[numbers].tolist())
        found = {n: one for n, one in enumerate(self.text.documents(name)) if n in wanted}
        return Held(split.chosen(numbers), [found[n] for n in wanted], self.tokenizer, beside or {})

    def bytes_per_token(self, split: TokenSplit) -> float:
        """How much text a token stands for."""
        return float(split.num_bytes.sum() / max(1, split.num_tokens - split.num_documents))

    def rare_ratio(self) -> float:
        """Share of the vocabulary, single bytes aside, that the training text holds fewer than ten times."""
        counts = np.zeros(self.tokenizer.vocab_size, np.int64)
        for start in range(0, self.train.num_tokens, COUNTED_AT_ONCE):
            part = np.asarray(self.train.token_ids[start : start + COUNTED_AT_ONCE])
            counts += np.bincount(part, minlength=len(counts))
        merged = counts[257:]
        return float((merged < RARE).mean()) if len(merged) else 0.0


def stride_of(num_bytes: int, max_bytes: int) -> int:
    """Every how many documents one is taken so that the taken ones hold about `max_bytes`."""
    return max(1, -(-num_bytes // max_bytes))


def thinned(split: TokenSplit, max_bytes: int) -> TokenSplit:
    """Every k-th document of a split, so that they hold at most so many bytes (at least one document)."""
    return split.chosen(np.arange(0, split.num_documents, stride_of(int(split.num_bytes.sum()), max_bytes)))


@dataclass(frozen=True)
class Workers:
    """Who prepares text; the result is the same.

    Attributes:
        engine: this process, a process for each core, a Ray cluster; `auto` takes processes for large text.
        count: how many at once; None for one for each core.
    """

    engine: Engine = "auto"
    count: int | None = None


AUTOMATIC = Workers()


def read_text(
    data: DataConfig,
    run: RunDirectory,
    watch: Watcher,
    *,
    seed: int = 0,
    workers: Workers = AUTOMATIC,
    held_out: PreparedText | None = None,
) -> PreparedText:
    """Prepare the text of a run.

    Args:
        data: sources and steps.
        run: where it is kept.
        watch: gets the events.
        seed: of the run; steps that draw follow from it.
        workers: who does it.
        held_out: text whose validation and test are taken, so that only what to learn from is new.

    Raises:
        DataError: when there is nothing to be judged by.
    """
    watch(Stage("prepare", ", ".join(data.sources)))
    around = Surroundings(seed, open_text_maker, open_embedder)
    text = prepare_text(
        data, run.data, watch, engine=workers.engine, workers=workers.count, around=around, held_out=held_out
    )
    if not len(text.texts("validation")):
        raise DataError(
            "validation: no document was drawn for it",
            got=f"{text.facts.documents} documents",
            wanted="at least one to be judged by",
            do="add text, or name files with --set data.validation=[...]",
        )
    return text


def tokenize_corpus(
    text: PreparedText, tokenizer: Tokenizer, task: TaskConfig, run: RunDirectory, watch: Watcher
) -> Corpus:
    """Turn the text into tokens, as plain text or as examples of a task."""
    tokenizer = build_task(task).tokenizer(tokenizer)
    return Corpus(tokenizer, tokenize_text(text, tokenizer, run.data, watch, maker_of(task)), text)


def find_tokenizer(text: PreparedText, config: TokenizerConfig, run: RunDirectory, watch: Watcher) -> Tokenizer:
    """Train the tokenizer of a text, or find it as it was made before; it is named by all that it is made from."""
    base = (
        read_tokenizer(resolve_checkpoint(Path(config.path))) if isinstance(config, PretrainedTokenizerConfig) else None
    )
    if isinstance(config, PretrainedTokenizerConfig) and base is not None and not config.extend_tokens:
        return base
    made_from = [config.model_dump(exclude={"path"}), text.key, base and base.fingerprint]
    name = hashlib.sha256(to_json(made_from).encode()).hexdigest()[:16]
    path = run.tokenizers / f"{config.kind}-{config.vocab_size}-{name}.json"
    tokenizer: Tokenizer | None = None
    if path.exists():
        try:
            tokenizer = Tokenizer.load(path)
        except TokenizerError as error:
            watch(Fact(f"{error.what}; it is trained again", warning=True))
    if tokenizer is None:
        watch(Stage("tokenizer", f"{config.vocab_size:,} tokens"))
        texts = text.texts("train")
        learned_from = texts[:: stride_of(int(texts.offsets[-1]), TOKENIZER_BYTES)]
        if isinstance(config, PretrainedTokenizerConfig):
            assert base is not None
            tokenizer = extend_tokenizer(base, learned_from, config.extend_tokens)
        else:
            tokenizer = train_tokenizer(learned_from, config)
        tokenizer.save(path)
    return tokenizer


def open_corpus(recipe: Recipe, run: RunDirectory, watch: Watcher, text: PreparedText | None = None) -> Corpus:
    """The corpus of a recipe.

    Args:
        recipe: its data and tokenizer sections decide.
        run: where everything is kept.
        watch: gets the events.
        text: the prepared text, when it is open already.
    """
    text = text or read_text(recipe.data, run, watch, seed=recipe.seed)
    return tokenize_corpus(text, find_tokenizer(text, recipe.tokenizer, run, watch), recipe.task, run, watch)


def describe(corpus: Corpus, config: Config) -> dict[str, Any]:
    """Facts of text and tokenizer for `facts.json`."""
    splits = {name: corpus.tokens.split(name) for name in ("train", "validation", "test")}
    data = corpus.text.facts.as_dict()
    for name, split in splits.items():
        data["splits"][name]["tokens"] = split.num_tokens
    longest = sorted(range(1, corpus.tokenizer.vocab_size), key=lambda n: -len(corpus.tokenizer.token_bytes(n)))
    return {
        "data": data,
        "tokenizer": {
            **config.model_dump(),
            "vocab_size": corpus.tokenizer.vocab_size,
            "bytes_per_token": {
                name: round(corpus.bytes_per_token(splits[name]), 3) for name in ("train", "validation")
            },
            "unused_ratio": round(corpus.rare_ratio(), 4),
            "examples": [corpus.tokenizer.decode([n]) for n in longest[:24]],
            "compared": list(corpus.compared),
        },
    }
