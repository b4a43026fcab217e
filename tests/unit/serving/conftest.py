"""An engine of a tiny model, and what counts its work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from served_models import BLOCKS, filled

from stepwell.inference import Engine, Load
from stepwell.models import DecoderConfig
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer


class Counting:
    """A watcher that keeps what it was told."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.next: list[float] = []
        self.steps: list[tuple[int, Load]] = []
        self.batches: list[int] = []

    def first_token(self, seconds: float) -> None:
        self.first.append(seconds)

    def next_token(self, seconds: float) -> None:
        self.next.append(seconds)

    def stepped(self, events: int, load: Load) -> None:
        self.steps.append((events, load))

    def batched(self, requests: int) -> None:
        self.batches.append(requests)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., Engine]:
    """The function `make_engine(most_samples=4)`: an engine of its own, of the same tiny model."""
    tokenizer = train_tokenizer([], ByteBPEConfig(vocab_size=257))
    model = filled(DecoderConfig(vocab_size=257, max_seq_len=256, **BLOCKS))
    return lambda most_samples=4: Engine(model, tokenizer, most_samples=most_samples)
