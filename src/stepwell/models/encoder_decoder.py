"""The Transformer encoder-decoder: one half reads a source, the other writes a target (Vaswani et al., 2017).

As a language model it reads running text in chunks: the source is the chunk before the one that is written. Sources
and targets that stand in packed rows find each other by number, so both kinds of reading are the same pass. What T5,
BART and Marian do differently is in the config; the blocks are in `stack.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stepwell.models.encoder_decoder_config import EncoderDecoderConfig
from stepwell.models.language_model import LanguageModel, Output
from stepwell.models.stack import RESIDUAL_NAMES, Memory, Stack
from stepwell.nn import DecodingState, KeyValueCache, Pieces, initialize


class TargetState:
    """A decoding of targets that are written against their sources.

    Args:
        memory: of the sources.
        cache: of what is written so far.
    """

    def __init__(self, memory: Memory, cache: KeyValueCache) -> None:
        self.memory, self.cache = memory, cache

    @property
    def length(self) -> int:
        """Number of tokens written so far, the start tokens included."""
        return self.cache.length

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.memory = self.memory.select(rows)
        self.cache.select(rows)


class ChunkState:
    """A decoding of running text: the chunk that is being written, and the one before it as its source.

    Args:
        tokens: (B, C) int64, room for the tokens of a chunk.
        target: the chunk against the one before; at the beginning, against nothing.
    """

    def __init__(self, tokens: Tensor, target: TargetState) -> None:
        self.tokens, self.target = tokens, target
        self._finished = 0

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self._finished + self.target.length

    def begin(self, target: TargetState) -> None:
        """Start the next chunk."""
        self._finished += self.target.length
        self.target = target

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.tokens = self.tokens[rows]
        self.target.select(rows)


class EncoderDecoder(LanguageModel):
    """A Transformer that reads a source and writes a target.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    def __init__(self, config: EncoderDecoderConfig, seed: int = 0) -> None:
        super().__init__()
        self.config: EncoderDecoderConfig = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.source_embedding = None if config.share_embeddings else nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, config.encoder_layers, causal=False)
        self.decoder = Stack(config, cross=True)
        self.head = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        initialize(
            self,
            config.initialization,
            seed=seed,
            residual=config.residual_initialization,
            residual_names=RESIDUAL_NAMES,
            num_layers=config.num_layers,
        )
        if self.head is not None:  # a head of small weights: the first prediction is near uniform at every width
            nn.init.zeros_(self.head.weight)

    @property
    def reads_source(self) -> bool:
        """See `LanguageModel.reads_source`."""
        return self.config.prompt == "source"

    def contextualize(self, source_ids: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Last hidden states of the encoder.

        Args:
            source_ids: (B, S) int64.
            document_ids: (B, S), which document a position belongs to, padding being one of its own; None where a row
                is one document.

        Returns:
            (B, S, D).

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """
        table = self.embedding if self.source_embedding is None else self.source_embedding
        return self.encoder(table(source_ids), document_ids=document_ids)

    def encode(self, source_ids: Tensor, source_mask: Tensor | None = None) -> Memory:
        """Read sources, once for all that is written against them.

        Args:
            source_ids: (B, S) int64.
            source_mask: (B, S) bool, False at padding, which may stand on either side and changes nothing. None where
                nothing is padded.

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """
        documents = None if source_mask is None else source_mask.long()
        return self.decoder.read(self.contextualize(source_ids, documents), source_mask)

    def decode(
        self,
        target_ids: Tensor,
        memory: Memory,
        state: KeyValueCache | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of targets that are written against their sources.

        Args:
            target_ids: (B, T) int64; a target begins with the start token, and position t predicts token t + 1.
            memory: of B sources.
            state: what was written before, extended in place by the T tokens.
            document_ids: (B, T), which document a position belongs to, padding being one of its own; None where a row
                is one document. Padding on the right needs none. Not together with a state.

        Returns:
            (B, T, D); `unembed` makes logits of the next token.

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """
        return self.decoder(self.embedding(target_ids), document_ids=document_ids, cache=state, memory=memory)

    def pairs(self, source_ids: Tensor, source_numbers: Tensor, target_ids: Tensor, target_numbers: Tensor) -> Tensor:
        """Hidden states of many targets in packed rows, each of which sees the source of its number.

        Args:
            source_ids: (B, S) int64.
            source_numbers: (B, S) int64, which pair of its row a token belongs to, from 0; below 0 at padding.
            target_ids: (B, T) int64, each target beginning with the start token.
            target_numbers: (B, T) int64, likewise, with another number at padding.

        Returns:
            (B, T, D).

        Raises:
            UsageError: when a row has more than max_seq_len tokens.
        """
        encoded = self.contextualize(source_ids, source_numbers)
        memory = self.decoder.read(encoded, target_numbers[:, :, None] == source_numbers[:, None])
        return self.decode(target_ids, memory, document_ids=target_numbers)

    def hidden(
        self, token_ids: Tensor, document_ids: Tensor | None = None, state: DecodingState | None = None
    ) -> Tensor:
        """Last hidden states of running text, or of targets when the state is one (see `LanguageModel.hidden`)."""
        if isinstance(state, TargetState):
            return self.decode(token_ids, state.memory, state.cache)
        if state is not None:
            return self._continue(token_ids, state)
        pieces = Pieces.find(
            torch.zeros_like(token_ids) if document_ids is None else document_ids, self.config.chunk_len
        )
        return self.decode(token_ids, self._read_chunks(token_ids, pieces), document_ids=pieces.number)

    def _read_chunks(self, token_ids: Tensor, pieces: Pieces) -> Memory:
        """Every chunk with another one after it, encoded; each token sees the chunk before its own."""
        is_source = torch.zeros_like(pieces.previous, dtype=torch.bool)
        is_source[pieces.previous[pieces.previous >= 0]] = True
        places = is_source[pieces.number]
        if not is_source.any():
            nothing = self.embedding.weight.new_zeros(len(token_ids), 1, self.config.d_model)
            return self.decoder.read(nothing, torch.zeros_like(token_ids[:, :1], dtype=torch.bool))
        chunks = token_ids[places].view(-1, self.config.chunk_len)  # what has a chunk after it is whole
        encoded = self.contextualize(chunks).flatten(0, 1)
        memory = encoded.new_zeros(*token_ids.shape, self.config.d_model).index_put((places,), encoded)
        return self.decoder.read(memory, pieces.number[:, None] == pieces.previous[pieces.number][:, :, None])

    def _continue(self, token_ids: Tensor, state: DecodingState) -> Tensor:
        """Hidden states of T more tokens of running text; a full chunk becomes the source of the next one."""
        if not isinstance(state, ChunkState):
            raise TypeError(f"an encoder-decoder extends a ChunkState, not a {type(state).__name__}")
        chunk_len, parts, rest = self.config.chunk_len, [], token_ids
        while rest.shape[1]:
            written = state.target.length
            if written == chunk_len:
                state.begin(self._target(self.encode(state.tokens), len(token_ids), chunk_len))
                continue
            part = rest[:, : chunk_len - written]
            parts.append(self.decode(part, state.target.memory, state.target.cache))
            state.tokens[:, written : written + part.shape[1]] = part
            rest = rest[:, part.shape[1] :]
        return torch.cat(parts, dim=1)

    def output(self) -> Output:
        """The head, or the embedding (see `LanguageModel.output`)."""
        return Output((self.embedding if self.head is None else self.head).weight, self.head_bias)

    def before_output(self, hidden: Tensor) -> Tensor:
        """Scaled, where the config says so (see `LanguageModel.before_output`)."""
        return hidden if self.config.head_scale is None else hidden * self.config.head_scale

    def start(self, batch_size: int, max_len: int | None = None) -> ChunkState:
        """An empty state of running text (see `LanguageModel.start`)."""
        config, table = self.config, self.embedding.weight
        room = min(config.chunk_len, max_len or config.max_seq_len)
        shape = (2, batch_size, config.num_heads, room, config.head_dim)
        nothing = [table.new_zeros(shape).unbind() for _ in range(config.num_layers)]
        tokens = torch.zeros(batch_size, room, dtype=torch.int64, device=table.device)
        memory = Memory([(keys, values) for keys, values in nothing], torch.zeros_like(tokens, dtype=torch.bool))
        return ChunkState(tokens, self._target(memory, batch_size, room))

    def begin(
        self, prompt_ids: Tensor, max_len: int, prompt_mask: Tensor | None = None
    ) -> tuple[DecodingState, Tensor]:
        """Read prompts, as running text or as sources (see `LanguageModel.begin`)."""
        if not self.reads_source:
            return super().begin(prompt_ids, max_len, prompt_mask)
        start = torch.tensor([self.config.start_ids], device=prompt_ids.device).expand(len(prompt_ids), -1)
        room = min(max_len + start.shape[1], self.config.max_seq_len)
        state = self._target(self.encode(prompt_ids, prompt_mask), len(prompt_ids), room)
        return state, self.extend(state, start)

    def extend(self, state: DecodingState, token_ids: Tensor) -> Tensor:
        """Extend a state by tokens (see `LanguageModel.extend`)."""
        logits = super().extend(state, token_ids)
        if isinstance(state, TargetState) and self.config.never_ids:
            logits[:, list(self.config.never_ids)] = torch.finfo(logits.dtype).min
        return logits

    def _target(self, memory: Memory, batch_size: int, max_len: int) -> TargetState:
        """Targets of which nothing is written yet."""
        return TargetState(memory, self.decoder.start(batch_size, max_len, self.embedding.weight.dtype, None))

    def lookup_parameters(self) -> list[nn.Parameter]:
        """Embeddings, head and positions (see `LanguageModel.lookup_parameters`)."""
        tables = [table for table in (self.embedding, self.source_embedding, self.head) if table is not None]
        weights = [parameter for table in tables for parameter in table.parameters()]
        return [*weights, *self.encoder.lookups(), *self.decoder.lookups()]
