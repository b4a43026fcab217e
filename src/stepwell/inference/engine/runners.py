"""How an engine has its model read tokens: in blocks and all texts at once, or each text with a state of its own.

`BlockRunner` is for what `native` decodes: texts share a step, and the blocks of what they begin with. `StateRunner`
is for every other model and machine, through `models.LanguageModel.begin` and `extend`: a text reads its prompt whole
and then token by token, alone, so that nothing beside it can change a bit of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from stepwell.inference.engine.blocks import BlockPool, chain
from stepwell.inference.engine.request import Sample
from stepwell.inference.native.decoder import Extension, NativeDecoder
from stepwell.inference.native.layout import BLOCK_TOKENS
from stepwell.models import LanguageModel


class Job(NamedTuple):
    """Tokens of one sample that a step reads.

    Attributes:
        sample: whose next tokens they are.
        size: how many, from 1; 0 for a source that is read.
        outputs: after how many of the last ones logits are wanted.
        guess: tokens that may come after them, which are read too and are no part of `size`.
    """

    sample: Sample
    size: int
    outputs: int
    guess: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Tokens that are read."""
        return self.size + len(self.guess)


class Runner(Protocol):
    """A model as the engine sees it.

    Attributes:
        most_tokens: of one step.
        reads_whole: whether a prompt is read in one step, however long it is.
    """

    most_tokens: int
    reads_whole: bool

    def start(self, sample: Sample) -> None:
        """A sample comes in, or comes back; `num_read` is set to what is known of it already."""

    def has_room(self, sample: Sample, count: int) -> bool:
        """Whether there is room for its next tokens; then it is the sample's."""

    def extend(self, jobs: Sequence[Job]) -> Tensor:
        """Read tokens; logits (outputs of all jobs, V) float32, job after job."""

    def stop(self, sample: Sample) -> None:
        """A sample has ended, or makes room."""


class BlockRunner:
    """See the module; several texts that begin alike read it once.

    Args:
        decoder: the model.
        pool: of its blocks.
    """

    reads_whole = False

    def __init__(self, decoder: NativeDecoder, pool: BlockPool) -> None:
        self.decoder, self.pool = decoder, pool
        self.most_tokens = decoder.most_rows

    def start(self, sample: Sample) -> None:
        known: list[int] = []
        if sample.prompt_logprobs is None:  # those want every token to be read
            known = self.pool.find(sample.token_ids)
        sample.blocks, sample.num_read = known, len(known) * BLOCK_TOKENS
        sample.num_published, sample.digest = len(known), b""
        for end in range(BLOCK_TOKENS, sample.num_read + 1, BLOCK_TOKENS):
            sample.digest = chain(sample.digest, sample.token_ids[end - BLOCK_TOKENS : end])

    def has_room(self, sample: Sample, count: int) -> bool:
        wanted = -(-(sample.num_read + count) // BLOCK_TOKENS) - len(sample.blocks)
        taken = self.pool.take(wanted) if wanted > 0 else []
        sample.blocks.extend(taken or [])
        return taken is not None

    def extend(self, jobs: Sequence[Job]) -> Tensor:
        logits = self.decoder.extend(
            [
                Extension(
                    np.array([*_next_tokens(job), *job.guess], np.int32),
                    job.sample.num_read,
                    np.array(job.sample.blocks, np.int32),
                    job.outputs,
                )
                for job in jobs
            ]
        )
        for job in jobs:
            self.keep(job.sample, job.size)
        return logits

    def keep(self, sample: Sample, size: int) -> None:
        """So many tokens were read that are the sample's: its own, or those of a guess that came true."""
        sample.num_read += size
        while (end := (sample.num_published + 1) * BLOCK_TOKENS) <= sample.num_read:
            sample.digest = chain(sample.digest, sample.token_ids[end - BLOCK_TOKENS : end])
            self.pool.publish(sample.blocks[sample.num_published], sample.digest)
            sample.num_published += 1

    def stop(self, sample: Sample) -> None:
        self.pool.release(sample.blocks)
        sample.blocks, sample.num_read = [], 0


def _next_tokens(job: Job) -> list[int]:
    return job.sample.token_ids[job.sample.num_read : job.sample.num_read + job.size]


class StateRunner:
    """See the module; it takes no guesses.

    Args:
        model: any of the catalog, in evaluation mode.
    """

    reads_whole = True

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.most_tokens = model.config.max_seq_len

    def start(self, sample: Sample) -> None:
        sample.num_read, sample.state = 0, None

    def has_room(self, sample: Sample, count: int) -> bool:
        return True

    @torch.inference_mode()
    def extend(self, jobs: Sequence[Job]) -> Tensor:
        return torch.cat([self._extend(job.sample, job.size, job.outputs) for job in jobs])

    def _extend(self, sample: Sample, count: int, outputs: int) -> Tensor:
        tokens = self._tensor(sample.token_ids[sample.num_read : sample.num_read + count])
        if sample.state is None and self.model.reads_source:
            source = self._tensor(sample.asked.token_ids)
            room = min(self.model.config.max_seq_len, sample.asked.params.max_tokens + 1)
            sample.state, logits = self.model.begin(source, room)
            if count == 0:
                return logits.cpu()
        elif sample.state is None:
            room = min(self.model.config.max_seq_len, len(sample.asked.token_ids) + sample.asked.params.max_tokens)
            if outputs == 1:
                sample.state, logits = self.model.begin(tokens, room)
                sample.num_read += count
                return logits.cpu()
            sample.state = self.model.start(1, room)
        sample.num_read += count
        if outputs == 1:
            return self.model.extend(sample.state, tokens).cpu()
        hidden = self.model.hidden(tokens, state=sample.state)[0]
        return self.model.unembed(hidden[len(hidden) - outputs :]).cpu()

    def _tensor(self, token_ids: Sequence[int]) -> Tensor:
        return torch.tensor([token_ids], dtype=torch.int64, device=self.model.device)

    def stop(self, sample: Sample) -> None:
        sample.state, sample.num_read = None, 0
