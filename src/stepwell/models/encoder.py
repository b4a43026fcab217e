"""The encoder: a Transformer that looks both ways and predicts hidden tokens (Devlin et al., 2019, "BERT").

It reads top to bottom: embed, add segments, a stack of blocks that hides nothing, and a head. To go on with a text it
puts a mask behind it and predicts that; nothing can be kept from one token to the next, because each new one changes
what all others see. Which tokens are hidden in training, and loss, live elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stepwell.errors import UsageError
from stepwell.models.encoder_config import EncoderConfig, MaskedHeadConfig
from stepwell.models.language_model import LanguageModel, Output
from stepwell.models.stack import RESIDUAL_NAMES, Stack, build_norm
from stepwell.nn import ACTIVATIONS, DecodingState, initialize


class EncoderState:
    """The tokens so far (see `DecodingState`).

    Args:
        token_ids: (B, length) int64.
    """

    def __init__(self, token_ids: Tensor) -> None:
        self.token_ids = token_ids

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self.token_ids.shape[1]

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat sequences in place (see `DecodingState`)."""
        self.token_ids = self.token_ids[rows]


class MaskedHead(nn.Module):
    """From hidden states to what the table of the tokens is compared with.

    Args:
        config: of the encoder.
        head: the head's own part of it.
    """

    def __init__(self, config: EncoderConfig, head: MaskedHeadConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model, bias=head.dense_bias) if head.dense else None
        self.norm = build_norm(config.norm, config.d_model) if head.dense else None
        self.activation = ACTIVATIONS[head.activation]
        self.table = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if head.bias else None

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        if self.dense is None or self.norm is None:
            return hidden
        return self.norm(self.activation(self.dense(hidden)))


class Encoder(LanguageModel):
    """An encoder-only language model.

    Args:
        config: its shape.
        seed: decides every initial weight.
    """

    is_causal = False

    def __init__(self, config: EncoderConfig, seed: int = 0) -> None:
        super().__init__()
        self.config: EncoderConfig = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.segments = nn.Embedding(config.num_segments, config.d_model) if config.num_segments else None
        self.body = Stack(config, causal=False)
        if not config.first_attention_norm:
            self.body.blocks[0].attention_norm = nn.Identity()
        self.head = None if config.head is None else MaskedHead(config, config.head)
        self.pooler = nn.Linear(config.d_model, config.d_model) if config.pooler else None
        initialize(
            self,
            config.initialization,
            seed=seed,
            residual=config.residual_initialization,
            residual_names=RESIDUAL_NAMES,
            num_layers=config.num_layers,
        )
        if self.head is not None and self.head.table is not None:  # as the decoder's: the first prediction is uniform
            nn.init.zeros_(self.head.table.weight)

    def hidden(
        self,
        token_ids: Tensor,
        document_ids: Tensor | None = None,
        state: DecodingState | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (see `LanguageModel.hidden`).

        Args:
            token_ids: (B, T) int64.
            document_ids: (B, T), padding being a document of its own.
            state: none: an encoder reads whole texts.
            segment_ids: (B, T) int64 in [0, num_segments), which segment a token belongs to; default all 0.

        Returns:
            (B, T, D).

        Raises:
            UsageError: when there are more than max_seq_len tokens.
        """
        if state is not None:
            raise TypeError("an encoder reads whole texts; it has no hidden states to go on from")
        vectors = self.embedding(token_ids)
        if self.segments is not None:
            vectors = vectors + self.segments(torch.zeros_like(token_ids) if segment_ids is None else segment_ids)
        return self.body(vectors, document_ids=document_ids)

    def output(self) -> Output:
        """The head's table, or the embedding (see `LanguageModel.output`).

        Raises:
            UsageError: when the model has no head.
        """
        if self.head is None:
            raise UsageError(
                "model: predicts no tokens",
                got="an encoder without a head, as it was published",
                wanted="a model that was pre-trained to predict hidden tokens (BertForMaskedLM and the like)",
                do="use it for sentence embeddings: stepwell embed",
            )
        weight = self.embedding.weight if self.head.table is None else self.head.table.weight
        return Output(weight, self.head.bias)

    def before_output(self, hidden: Tensor) -> Tensor:
        """The head's own layer (see `LanguageModel.before_output`)."""
        return hidden if self.head is None else self.head(hidden)

    def pooled(self, hidden: Tensor) -> Tensor:
        """The pooler over the first token's hidden state: (B, T, D) -> (B, D); without one, that state itself."""
        first = hidden[:, 0]
        return first if self.pooler is None else torch.tanh(self.pooler(first))

    def lookup_parameters(self) -> list[nn.Parameter]:
        """Embedding, segments, table of the head and positions (see `LanguageModel.lookup_parameters`)."""
        tables = [self.embedding, self.segments, None if self.head is None else self.head.table]
        weights = [parameter for table in tables if table is not None for parameter in table.parameters()]
        return [*weights, *self.body.lookups()]

    def start(self, batch_size: int, max_len: int | None = None) -> EncoderState:
        """No tokens yet (see `LanguageModel.start`)."""
        return EncoderState(torch.zeros(batch_size, 0, dtype=torch.int64, device=self.device))

    def extend(self, state: DecodingState, token_ids: Tensor) -> Tensor:
        """Extend a state by tokens and predict a mask behind them (see `LanguageModel.extend`).

        The mask takes a place, so of max_seq_len tokens the first is not read.

        Raises:
            UsageError: when there are more than max_seq_len tokens, or no mask is known.
        """
        if not isinstance(state, EncoderState):
            raise TypeError(f"an encoder extends an EncoderState, not a {type(state).__name__}")
        total, room = state.length + token_ids.shape[1], self.config.max_seq_len
        if total > room:
            raise UsageError(
                "sequence: longer than the model can read",
                got=f"{total} tokens",
                wanted=f"at most max_seq_len = {room}",
            )
        state.token_ids = torch.cat((state.token_ids, token_ids), dim=1)
        masks = state.token_ids.new_full((len(state.token_ids), 1), self.mask_id)
        read = torch.cat((state.token_ids[:, max(0, total - room + 1) :], masks), dim=1)
        return self.unembed(self.hidden(read)[:, -1])

    @property
    def mask_id(self) -> int:
        """The token that hides another one.

        Raises:
            UsageError: when none is known.
        """
        if self.config.mask_id is None:
            raise UsageError("model.mask_id: is not known", wanted="the token that hides another one")
        return self.config.mask_id

    def auxiliary_loss(self) -> Tensor | None:
        """Load balance of the experts (see `LanguageModel.auxiliary_loss`)."""
        return self.body.balance_loss()
