"""Convolutions over characters or words, the strongest answer of each anywhere in the text (Kim, 2014).

It sees phrases in their order, which a bag of n-grams does not, so a mean of the two is better than each where texts
are of a script without spaces (benchmarks/LOG.md). This file leaves out what labels are (`text_models.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

from stepwell.baselines.features import WORDS, is_dense
from stepwell.baselines.text_models import Labels, Outputs, TextModel, loss_of

LONGEST = 256
"""Characters or words that are read of a text."""

FEWEST = 2
"""A symbol that training text has fewer times than this is unknown."""

PADDING, UNKNOWN = 0, 1
_WORD = re.compile(WORDS)


class _Network(nn.Module):
    """Symbols to labels."""

    width, channels, widths = 128, 100, (1, 2, 3, 4)
    drop_symbols, drop_channels, drop_features = 0.1, 0.2, 0.3

    def __init__(self, num_symbols: int, num_outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # what layers draw for themselves is drawn anew below
            self.embedding = nn.Embedding(num_symbols, self.width, padding_idx=PADDING)
            self.layers = nn.ModuleList(nn.Conv1d(self.width, self.channels, size) for size in self.widths)
            self.out = nn.Linear(self.channels * len(self.widths), num_outputs)
        with torch.no_grad():
            for parameter in self.parameters():
                bound = 0.1 if parameter.ndim < 3 else (parameter[0].numel()) ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
            self.embedding.weight[PADDING].zero_()

    def forward(self, symbols: Tensor) -> Tensor:
        """(B, T) -> (B, K)."""
        if self.training:
            hidden = torch.rand(symbols.shape) < self.drop_symbols
            symbols = symbols.masked_fill(hidden & (symbols != PADDING), UNKNOWN)
        vectors: Tensor = self.embedding(symbols).mT
        if self.training:  # whole channels of a text
            vectors = vectors * dropout(torch.ones(*vectors.shape[:2], 1), self.drop_channels)
        begins = symbols != PADDING  # what only sees padding says nothing, however long the other texts are
        found = [
            torch.relu(layer(vectors)).masked_fill(~begins[:, None, : symbols.shape[1] - size + 1], 0.0).amax(-1)
            for layer, size in zip(self.layers, self.widths, strict=True)
        ]
        out: Tensor = self.out(dropout(torch.cat(found, 1), self.drop_features, training=self.training))
        return out


class Convolution(TextModel):
    """See the module; symbols are characters where the script has no spaces, words and marks elsewhere."""

    name = "convolution"
    epochs, learning_rate, batch_texts, label_smoothing = 12, 1e-3, 32, 0.1

    def fit(self, texts: Sequence[str], labels: Labels, seed: int = 0) -> None:
        self.dense = is_dense(texts)
        counts = Counter(symbol for text in texts for symbol in self._symbols(text))
        self.symbols = sorted(symbol for symbol, count in counts.items() if count >= FEWEST)
        rows = self._rows(texts)
        generator = torch.Generator().manual_seed(seed)
        self.network = _Network(len(self.symbols) + 2, self.num_outputs, generator).train()
        right = self.right(labels)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.learning_rate, weight_decay=0.01)
        steps = self.epochs * -(-len(texts) // self.batch_texts)
        warmup, step = max(1, steps // 10), 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(self.epochs):
                for batch in self._batches(rows, generator):
                    rate = min(1.0, (step + 1) / warmup, (steps - step) / max(1, steps - warmup))
                    for group in optimizer.param_groups:
                        group["lr"] = self.learning_rate * rate
                    logits = self.network(_padded([rows[n] for n in batch]))
                    self._loss(logits, right[torch.from_numpy(batch)]).backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    step += 1
        self.network.eval()

    def _loss(self, logits: Tensor, right: Tensor) -> Tensor:
        if self.problem == "single":
            return cross_entropy(logits, right, label_smoothing=self.label_smoothing)
        return loss_of(logits, right, self.problem)

    def _batches(self, rows: Sequence[NDArray[np.int64]], generator: torch.Generator) -> list[NDArray[np.int64]]:
        """Texts of like length together, in an order drawn anew."""
        lengths = np.array([len(row) for row in rows])
        noise = torch.rand(len(rows), generator=generator).numpy()
        order = np.argsort(lengths * (0.9 + 0.2 * noise) + noise, kind="stable")
        batches = np.split(order, range(self.batch_texts, len(order), self.batch_texts))
        return [batches[n] for n in torch.randperm(len(batches), generator=generator).tolist()]

    def tell(self, texts: Sequence[str]) -> Outputs:
        rows = self._rows(texts)
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        told = np.zeros((len(rows), self.num_outputs))
        with torch.inference_mode():
            for first in range(0, len(order), 256):
                batch = order[first : first + 256]
                told[batch] = self.told(self.network(_padded([rows[n] for n in batch])))
        return told

    def tensors(self) -> dict[str, Tensor]:
        packed = "\0".join(self.symbols).encode()
        return {
            **{name: tensor.detach() for name, tensor in self.network.named_parameters()},
            "symbols": torch.from_numpy(np.frombuffer(packed, np.uint8).copy()),
            "dense": torch.tensor(self.dense),
        }

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        self.dense = bool(tensors["dense"])
        self.symbols = [one for one in tensors["symbols"].numpy().tobytes().decode().split("\0") if one]
        self.network = _Network(len(self.symbols) + 2, self.num_outputs, torch.Generator().manual_seed(0)).eval()
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(tensors[name])

    def _symbols(self, text: str) -> list[str]:
        if self.dense:
            return [one for one in text[: LONGEST * 4].lower() if not one.isspace()][:LONGEST]
        return _WORD.findall(text[: LONGEST * 16].lower())[:LONGEST]

    def _rows(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        places = {symbol: number for number, symbol in enumerate(self.symbols, start=2)}
        return [np.array([places.get(one, UNKNOWN) for one in self._symbols(text)], np.int64) for text in texts]


def _padded(rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """(B, T), with room for the widest convolution from each symbol on."""
    length = max((len(row) for row in rows), default=0) + _Network.widths[-1]
    padded = np.full((len(rows), length), PADDING, np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)
