"""LSTM sequence to sequence with attention (Sutskever et al., 2014; Bahdanau et al., 2015; Luong et al., 2015).

An encoder reads the source from both ends; the decoder begins with what the encoder remembers, writes token by token,
and looks the source up at every step. As a language model it reads running text in chunks: the source is the chunk
before the one that is written. This file leaves out input feeding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from stepwell.models.language_model import LanguageModel, Output
from stepwell.models.recurrent_encoder_decoder_config import RecurrentEncoderDecoderConfig
from stepwell.nn import Alignment, DecodingState, Memory, Pieces, Recurrent, RecurrentState, initialize

EMBEDDING_STD = 1.0
"""Nothing normalises what goes into the first cell, and small inputs leave its gates half open: it learns slowly."""


class Source(NamedTuple):
    """What the encoder made of B sources.

    Attributes:
        values: (B, S, D), one for each token; zeros at padding, and everywhere where there was nothing to read, so that
            looking it up gives zero.
        mask: (B, S) bool, False at padding; None where nothing is padded.
        memory: what the decoder begins with.
    """

    values: Tensor
    mask: Tensor | None
    memory: Memory

    def select(self, rows: Tensor) -> Source:
        """Keep, drop, reorder or repeat sources."""
        mask = None if self.mask is None else self.mask[rows]
        return Source(self.values[rows], mask, tuple(part[:, rows] for part in self.memory))


class ChunkState:
    """A decoding of running text: the chunk that is being written, and the one before it as a source.

    Args:
        source: the chunk before; nothing at the beginning.
        chunk_len: tokens C of a chunk.
    """

    def __init__(self, source: Source, chunk_len: int) -> None:
        self.tokens = source.values.new_zeros(source.values.shape[0], chunk_len, dtype=torch.int64)
        self.written = 0
        self._finished = 0
        self.begin(source)

    def begin(self, source: Source) -> None:
        """Start a chunk that is written against a source."""
        self._finished += self.written
        self.source, self.written = source._replace(memory=()), 0  # from here on the decoder has a memory of its own
        self.decoder = RecurrentState(source.memory)

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self._finished + self.written

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.tokens, self.source = self.tokens[rows], self.source.select(rows)
        self.decoder.select(rows)


class TargetState:
    """A decoding of targets that are written against their sources.

    Args:
        source: what the encoder made of them.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.decoder = source._replace(memory=()), RecurrentState(source.memory)

    @property
    def length(self) -> int:
        """Number of tokens written so far, the start tokens included."""
        return self.decoder.length

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.source = self.source.select(rows)
        self.decoder.select(rows)


class RecurrentEncoderDecoder(LanguageModel):
    """An LSTM encoder-decoder with attention.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    config: RecurrentEncoderDecoderConfig

    def __init__(self, config: RecurrentEncoderDecoderConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        width, layers = config.d_model, config.num_layers
        self.embedding = nn.Embedding(config.vocab_size, config.d_embedding)
        self.encoder = Recurrent(
            "lstm", config.d_embedding, width // 2, layers, dropout=config.dropout, bidirectional=True
        )
        self.decoder = Recurrent("lstm", config.d_embedding, width, layers, dropout=config.dropout)
        self.alignment = Alignment(width, config.attention)
        self.joint = nn.Linear(2 * width, width, bias=False)
        self.head = None if config.tie_embeddings else nn.Linear(width, config.vocab_size, bias=False)
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        initialize(self, config.initialization, seed=seed, embedding_std=EMBEDDING_STD)

    @property
    def reads_source(self) -> bool:
        """See `LanguageModel.reads_source`."""
        return self.config.prompt == "source"

    def encode(self, source_ids: Tensor, source_mask: Tensor | None = None) -> Source:
        """Read sources.

        Args:
            source_ids: (B, S) int64.
            source_mask: (B, S) bool, False at padding, which may stand anywhere; at least one True in a row. None where
                nothing is padded.
        """
        lengths = torch.full((source_ids.shape[0],), source_ids.shape[1])
        mask = None
        if source_mask is not None:  # the LSTM wants its padding on the right; the attention knows no order
            source_ids = source_ids.gather(1, (~source_mask).int().argsort(dim=1, stable=True))
            lengths = source_mask.sum(dim=1)
            mask = torch.arange(source_ids.shape[1], device=source_ids.device) < lengths[:, None]
        values, memory = self.encoder.read_both_ways(self._embed(source_ids), lengths)
        return Source(values, mask, memory)

    def decode(self, target_ids: Tensor, source: Source, state: RecurrentState | None = None) -> Tensor:
        """Hidden states of targets that are written against their sources.

        Args:
            target_ids: (B, T) int64, padded on the right if at all.
            source: of B sources.
            state: what was written before, extended in place; it begins as `RecurrentState(source.memory)`. None to
                begin here.

        Returns:
            (B, T, D); `unembed` makes logits of the next token.
        """
        state = state or RecurrentState(source.memory)
        y, memory = self.decoder(self._embed(target_ids), state.memory)
        state.advance(memory, target_ids.shape[1])
        return self._join(y, self.alignment(y, source.values, source.mask))

    def pairs(self, source_ids: Tensor, source_numbers: Tensor, target_ids: Tensor, target_numbers: Tensor) -> Tensor:
        """Hidden states of many targets in packed rows, each of which is written for the source of its number.

        Args:
            source_ids: (B, S) int64.
            source_numbers: (B, S) int64, which pair of its row a token belongs to, from 0; below 0 at padding.
            target_ids: (B, T) int64, each target beginning with the start token.
            target_numbers: (B, T) int64, likewise; each number is one of a source in the same row.

        Returns:
            (B, T, D), zeros at padding.
        """
        sources, targets = Pieces.find(source_numbers), Pieces.find(target_numbers)
        base = int(source_numbers.max()) + 1
        keys, wanted = _keys(sources, source_numbers, base), _keys(targets, target_numbers, base)
        written = (wanted >= 0).nonzero().flatten()
        ordered, places = keys.sort()
        partners = places[torch.searchsorted(ordered, wanted[written])]
        source = self.encode(sources.split(source_ids)[partners], sources.mask[partners])
        embedded = self._embed(targets.split(target_ids)[written])
        y = self.decoder.read_rows(embedded, targets.lengths[written], source.memory)
        joined = self._join(y, self.alignment(y, source.values, source.mask))
        rows = joined.new_zeros(len(targets.lengths), *joined.shape[1:]).index_copy(0, written, joined)
        return targets.join(rows)

    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """Last hidden states of running text, or of targets when the state is one (see `LanguageModel.hidden`)."""
        if isinstance(state, TargetState):
            return self.decode(token_ids, state.source, state.decoder)
        if state is not None:
            return self._continue(token_ids, state)
        pieces = Pieces.find(
            torch.zeros_like(token_ids) if document_ids is None else document_ids, self.config.chunk_len
        )
        chunks = pieces.split(token_ids)
        follows = (pieces.previous >= 0).nonzero().flatten()
        memory = self.decoder.nothing(len(chunks))
        source = self.encode(chunks[pieces.previous[follows]]) if len(follows) else None  # a chunk before is whole
        if source is not None:
            memory = tuple(
                part.index_copy(1, follows, after.to(part.dtype))
                for part, after in zip(memory, source.memory, strict=True)
            )
        y = self.decoder.read_rows(self._embed(chunks), pieces.lengths, memory)
        context = torch.zeros_like(y)
        if source is not None:
            context = context.index_copy(0, follows, self.alignment(y[follows], source.values).to(y.dtype))
        return pieces.join(self._join(y, context))

    def _continue(self, token_ids: Tensor, state: DecodingState) -> Tensor:
        """Hidden states of T more tokens of running text; a full chunk becomes the source of the next one."""
        if not isinstance(state, ChunkState):
            raise TypeError(f"a recurrent encoder-decoder extends a ChunkState, not a {type(state).__name__}")
        parts: list[Tensor] = []
        rest = token_ids
        while rest.shape[1]:
            if state.written == self.config.chunk_len:
                state.begin(self.encode(state.tokens))
            part = rest[:, : self.config.chunk_len - state.written]
            parts.append(self.decode(part, state.source, state.decoder))
            state.tokens[:, state.written : state.written + part.shape[1]] = part
            state.written += part.shape[1]
            rest = rest[:, part.shape[1] :]
        return torch.cat(parts, dim=1)

    def output(self) -> Output:
        """The head, or the embedding (see `LanguageModel.output`)."""
        return Output((self.embedding if self.head is None else self.head).weight, self.head_bias)

    def start(self, batch_size: int, max_len: int | None = None) -> ChunkState:
        """An empty state (see `LanguageModel.start`); it has room for any number of tokens."""
        chunk_len = self.config.chunk_len
        values = self.embedding.weight.new_zeros(batch_size, chunk_len, self.config.d_model)
        return ChunkState(Source(values, None, self.decoder.nothing(batch_size)), chunk_len)

    def begin(
        self, prompt_ids: Tensor, max_len: int, prompt_mask: Tensor | None = None
    ) -> tuple[DecodingState, Tensor]:
        """Read prompts, as running text or as sources (see `LanguageModel.begin`)."""
        if not self.reads_source:
            return super().begin(prompt_ids, max_len, prompt_mask)
        state = TargetState(self.encode(prompt_ids, prompt_mask))
        start = torch.tensor([self.config.start_ids], device=prompt_ids.device).expand(len(prompt_ids), -1)
        return state, self.extend(state, start)

    def lookup_parameters(self) -> list[nn.Parameter]:
        """Embedding and head (see `LanguageModel.lookup_parameters`)."""
        tables = [self.embedding] if self.head is None else [self.embedding, self.head]
        return [parameter for table in tables for parameter in table.parameters()]

    def _embed(self, token_ids: Tensor) -> Tensor:
        return self._drop(self.embedding(token_ids))

    def _join(self, y: Tensor, context: Tensor) -> Tensor:
        """The decoder's state and what it looked up, as one (Luong et al., equation 5)."""
        return self._drop(self.joint(torch.cat((context, y), dim=-1)).tanh())

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, training=self.training) if self.config.dropout else x


def _keys(pieces: Pieces, numbers: Tensor, base: int) -> Tensor:
    """(P,) int64, for each piece its row and its number in one; below 0 for padding."""
    begins = pieces.position == 0
    found = begins.nonzero()[:, 0] * base + numbers[begins]
    return torch.where(numbers[begins] >= 0, found, -1)
