"""Continuous batching: requests come and go, and every step reads some tokens of many of them.

A step reads the last token of each sample that writes, and with the rest of its room the prompts of those that came
later, piece by piece, so a long prompt holds nobody up for long. Where blocks run out the sample that came last gives
its own back and reads again later. What a request is given does not depend on any of this: with a seed it is the same
to the bit, whatever else the engine does (native decoders in one precision; `docs/exactness.md`). This file leaves out
threads: one at a time may use an engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import psutil
import torch

from stepwell.errors import StepwellError, UsageError
from stepwell.inference.engine.blocks import BlockPool
from stepwell.inference.engine.choosing import choose
from stepwell.inference.engine.guessing import DraftModel, Guesser, Lookup
from stepwell.inference.engine.request import Event, Request, Sample, make_samples
from stepwell.inference.engine.runners import BlockRunner, Job, Runner, StateRunner
from stepwell.inference.native.decoder import NativeDecoder
from stepwell.inference.native.layout import BLOCK_TOKENS
from stepwell.inference.native.packing import WeightBits
from stepwell.inference.sampling import Drawn, draw
from stepwell.models import LanguageModel
from stepwell.tokenizers import Tokenizer

STEP_TOKENS = 512
"""Tokens of prompts that a step reads while nobody waits for a next token."""

SHARED_STEP_TOKENS = 128
"""Tokens of prompts that a step reads while somebody does."""

CACHE_SHARE = 0.25
"""Of the memory that is free, for keys and values."""

MOST_GUESSES = 3
"""Samples that are guessed for at full length, at most (see `Engine._guess`)."""

MOST_LOGITS = 64
"""Tokens of a prompt whose log-probabilities one step tells."""


@dataclass(frozen=True)
class Load:
    """How busy an engine is.

    Attributes:
        running: samples that are being read or written.
        waiting: samples that have not begun.
        blocks: of keys and values; 0 where there are none.
        used_blocks: of them, those of running samples.
        asked_tokens: of all prompts so far.
        found_tokens: of them, those that were known from another text.
    """

    running: int
    waiting: int
    blocks: int
    used_blocks: int
    asked_tokens: int
    found_tokens: int


class Engine:
    """Completes many prompts at once.

    Args:
        model: any language model of the catalog; it is put into evaluation mode.
        tokenizer: the one it was trained with.
        weights: how matrices are held while decoding: `float32`, `bfloat16`, `int8` or `int4` decode in machine code on
            a CPU; None leaves the model as it is, and every text has a state of its own.
        most_samples: that run at once, from 1; others wait.
        cache_tokens: of all texts together that keys and values are held of; None for a quarter of the free memory.
        shares: whether texts that begin alike share what was read (`blocks.py`).
        step_tokens: of prompts that one step reads at most; None for `STEP_TOKENS`, or `SHARED_STEP_TOKENS` while
            others write.
        threads: that compute; None for torch's number.
        coded_cache: whether keys and values are held in a byte each (`NativeDecoder`), in half of the memory.
        guess_tokens: so many tokens are guessed and read with the last one, which is faster where guesses come true,
            and changes nothing else; 0 for none. In machine code alone.
        draft: a smaller decoder, with the same tokenizer, that guesses; None looks guesses up in the text.

    Raises:
        UsageError: when the model cannot be decoded in machine code and `weights` asks for that.
        StepwellError: when there is no C++ compiler, or no memory for the keys and values of one text.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        weights: WeightBits | None = None,
        most_samples: int = 64,
        cache_tokens: int | None = None,
        shares: bool = True,
        step_tokens: int | None = None,
        threads: int | None = None,
        coded_cache: bool = False,
        guess_tokens: int = 0,
        draft: LanguageModel | None = None,
    ) -> None:
        self.guess_tokens = 0 if weights is None else guess_tokens
        self._guesser: Guesser = Lookup()
        self.model, self.tokenizer, self.weights = model.eval(), tokenizer, weights
        self.most_samples, self.step_tokens = most_samples, step_tokens
        self.max_seq_len = model.config.max_seq_len
        self.pool: BlockPool | None = None
        self.runner: Runner
        if weights is None:
            self.runner = StateRunner(model)
        else:
            num_blocks = -(-(cache_tokens or _free_tokens(model, self.max_seq_len * most_samples)) // BLOCK_TOKENS)
            self.pool = BlockPool(num_blocks, shares=shares)
            self.max_seq_len = min(self.max_seq_len, num_blocks * BLOCK_TOKENS)  # a text alone has room for its end
            self.runner = BlockRunner(
                NativeDecoder(
                    model,
                    weights=weights,
                    num_blocks=num_blocks,
                    threads=threads or torch.get_num_threads(),
                    most_rows=max(STEP_TOKENS, step_tokens or 0) + most_samples + MOST_GUESSES * guess_tokens,
                    coded_cache=coded_cache,
                ),
                self.pool,
            )
            if draft is not None and guess_tokens:
                self._guesser = DraftModel(
                    draft,
                    tokenizer.vocab_size,
                    weights=weights,
                    cache_tokens=num_blocks * BLOCK_TOKENS,
                    threads=threads or torch.get_num_threads(),
                    most_samples=most_samples,
                )
        self._numbers = count()
        self._waiting: deque[Sample] = deque()
        self._running: list[Sample] = []
        self._cancelled: set[int] = set()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self._running

    @property
    def load(self) -> Load:
        """See `Load`."""
        pool = self.pool
        return Load(
            len(self._running),
            len(self._waiting),
            0 if pool is None else pool.num_blocks,
            0 if pool is None else pool.num_used,
            0 if pool is None else pool.asked_tokens,
            0 if pool is None else pool.found_tokens,
        )

    def check(self, request: Request) -> None:
        """Refuse what can never be done.

        Raises:
            UsageError: when the prompt is empty, too long, or holds tokens that there are not.
        """
        params, length = request.params, len(request.token_ids)
        if params.num_beams > 1 or params.penalty_alpha is not None or params.guidance_scale is not None:
            raise UsageError(
                "request: a search has the model for itself",
                got="num_beams, penalty_alpha or guidance_scale",
                do="leave them out, or use stepwell predict",
            )
        if params.samples > params.n:
            raise UsageError(
                "best_of: the best are known at the end alone",
                got=f"best_of={params.best_of} with n={params.n}",
                do="ask for n=best_of, and choose by the log-probabilities",
            )
        if not length:
            raise UsageError("prompt: is empty", wanted="at least one token")
        most = self.max_seq_len if self.model.reads_source else self.max_seq_len - 1
        if length > most:
            raise UsageError(
                "prompt: is longer than the model's window",
                got=f"{length} tokens",
                wanted=f"at most {most}",
                do="shorten the prompt",
            )
        if request.prompt_logprobs and not (self.model.is_causal and reads_on(self.model)):
            raise UsageError(
                "prompt_logprobs: the model reads a prompt as a whole",
                got=f"a model of kind {self.model.config.kind}",
                wanted="one that goes on with a text from left to right",
            )
        if not 0 <= min(request.token_ids) <= max(request.token_ids) < self.tokenizer.vocab_size:
            raise UsageError("prompt: holds tokens that there are not", wanted=f"0 to {self.tokenizer.vocab_size - 1}")

    def add(self, request: Request) -> int:
        """Take a request; its events come from `step`.

        Returns:
            Its number.

        Raises:
            UsageError: when it can never be done (see `check`).
        """
        self.check(request)
        number = next(self._numbers)
        self._waiting.extend(make_samples(number, request, self.tokenizer, reads_source=self.model.reads_source))
        return number

    def cancel(self, number: int) -> None:
        """Forget a request; nothing more comes of it, and what it holds is free with the next step."""
        self._cancelled.add(number)

    def step(self) -> list[Event]:
        """Read and draw once.

        Returns:
            What happened, in the order of the samples.
        """
        self._drop_cancelled()
        self._admit()
        jobs = self._plan()
        if not jobs:
            return []
        logits = self.runner.extend(jobs)[:, : self.tokenizer.vocab_size]  # further rows of a model are never drawn
        drawing: list[tuple[Sample, int]] = []
        events: list[Event] = []
        end = 0
        for job in jobs:
            begin, end = end, end + job.outputs
            if job.guess:
                events += self._check_guess(job, logits[begin:end])
                continue
            if job.sample.prompt_logprobs is not None and not job.sample.drawn:
                self._score(job.sample, job, logits[begin:end])
            if not job.sample.unread:
                drawing.append((job.sample, end - 1))
        return events + self._draw(drawing, logits)

    def _check_guess(self, job: Job, logits: torch.Tensor) -> list[Event]:
        """Draw as far as a guess comes true, and once more."""
        events: list[Event] = []
        for row, guess in enumerate([*job.guess, None]):
            events += self._draw([(job.sample, row)], logits)
            drawn = events[-1].drawn
            if events[-1].finish_reason is not None or drawn is None:
                return events
            if drawn.token_id != guess:
                break
        assert isinstance(self.runner, BlockRunner)  # no other is given guesses
        self.runner.keep(job.sample, len(events) - 1)
        return events

    def run(self, requests: Sequence[Request]) -> Iterator[Event]:
        """Do some requests to the end, beside what else there is; events of others are lost.

        Yields:
            Their events; `request` counts them from 0.

        Raises:
            UsageError: when one can never be done.
            StepwellError: what went wrong with one.
        """
        for request in requests:
            self.check(request)
        numbers = {self.add(request): place for place, request in enumerate(requests)}
        try:
            while not self.is_idle:
                for event in self.step():
                    if event.request in numbers:
                        if event.error is not None:
                            raise event.error
                        yield replace(event, request=numbers[event.request])
        finally:
            for number in numbers:
                self.cancel(number)
            self._drop_cancelled()

    def _drop_cancelled(self) -> None:
        if not self._cancelled:
            return
        for sample in [one for one in self._running if one.request in self._cancelled]:
            self._end(sample)
        self._waiting = deque(one for one in self._waiting if one.request not in self._cancelled)
        self._cancelled.clear()

    def _admit(self) -> None:
        """Let samples in, in their order; the other samples of a prompt wait until its first one has read it."""
        while self._waiting and len(self._running) < self.most_samples:
            sample = self._waiting[0]
            first = next((one for one in self._running if one.request == sample.request), None)
            if (
                self.pool is not None
                and self.pool.shares
                and first is not None
                and first.index == 0
                and not first.drawn
            ):
                return
            self.runner.start(sample)
            if not self.runner.has_room(sample, min(max(sample.unread, 1), self.runner.most_tokens)):
                self.runner.stop(sample)
                return
            self._running.append(self._waiting.popleft())

    def _plan(self) -> list[Job]:
        """Who reads how much in this step, the samples that write first."""
        writing = [sample for sample in self._running if sample.drawn and sample.unread <= 1]
        reading = [sample for sample in self._running if not (sample.drawn and sample.unread <= 1)]
        jobs: list[Job] = []
        for sample, guess in zip(writing, self._guess(writing), strict=True):
            if sample in self._running and self._make_room(sample, 1 + len(guess)):
                jobs.append(Job(sample, 1, 1 + len(guess), guess))
        jobs = [job for job in jobs if job.sample in self._running]
        left = self.step_tokens or (SHARED_STEP_TOKENS if jobs else STEP_TOKENS)
        for sample in reading:
            if left <= 0:
                break
            if sample not in self._running:
                continue
            scores = sample.prompt_logprobs is not None and not sample.drawn
            size = (
                sample.unread if self.runner.reads_whole else min(sample.unread, left, MOST_LOGITS if scores else left)
            )
            if size and not self._make_room(sample, size):
                continue
            jobs = [job for job in jobs if job.sample in self._running]
            jobs.append(Job(sample, size, max(size, 1) if scores else int(size == sample.unread)))
            left -= max(size, 1)
        return jobs

    def _guess(self, samples: Sequence[Sample]) -> list[tuple[int, ...]]:
        """What may come next of each sample; never so much that it would be too long."""
        shared = self.guess_tokens // max(1, len(self._running) // 2)  # many samples fill a step by themselves
        if not shared:
            return [()] * len(samples)
        rooms = [
            min(one.asked.params.max_tokens - one.drawn, self.max_seq_len - len(one.token_ids)) - 1 for one in samples
        ]
        return self._guesser.guess(samples, [min(shared, room) for room in rooms])

    def _make_room(self, sample: Sample, size: int) -> bool:
        """Room for a sample's next tokens; those that came later give theirs back, the last one first."""
        while not self.runner.has_room(sample, size):
            last = self._running[-1]
            self._running.remove(last)
            self._forget(last)
            self._waiting.appendleft(last)
            if last is sample:
                return False
        return True

    def _score(self, sample: Sample, job: Job, logits: torch.Tensor) -> None:
        """Log-probabilities of the prompt's tokens, as far as this step tells them."""
        assert sample.prompt_logprobs is not None
        begin = sample.num_read - job.size + 1
        following = sample.token_ids[begin : sample.num_read + 1]
        told = logits[: len(following)].log_softmax(-1)
        logprobs = told.gather(1, torch.tensor(following)[:, None]).squeeze(1).tolist()
        top = told.topk(sample.asked.params.logprobs or 0)
        likeliest = [
            tuple(zip(*row, strict=True)) for row in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        sample.prompt_logprobs.extend(map(Drawn, following, logprobs, likeliest))

    def _draw(self, drawing: list[tuple[Sample, int]], logits: torch.Tensor) -> list[Event]:
        """The next token of each sample, from the logits of its row: in machine code where its rules are usual."""
        runner = self.runner
        usual = [one for one in drawing if one[0].is_usual and isinstance(runner, BlockRunner)]
        others = [one for one in drawing if one not in usual]
        drawn: dict[Sample, Drawn | StepwellError] = {}
        if usual and isinstance(runner, BlockRunner):
            found = choose(runner.decoder, [sample.sampling for sample, _ in usual], [row for _, row in usual], logits)
            drawn.update(zip((sample for sample, _ in usual), found, strict=True))
        if others:
            drawn.update(self._draw_by_rules(others, logits))
        return [self._take(sample, drawn[sample]) for sample, _ in drawing]

    def _draw_by_rules(
        self, drawing: list[tuple[Sample, int]], logits: torch.Tensor
    ) -> dict[Sample, Drawn | StepwellError]:
        samples, rows = [sample for sample, _ in drawing], [row for _, row in drawing]
        try:
            return dict(zip(samples, draw([one.sampling for one in samples], logits[rows]), strict=True))
        except StepwellError:  # one of them spoils it for all: each for itself
            return {sample: _drawn_alone(sample, logits[row : row + 1]) for sample, row in drawing}

    def _take(self, sample: Sample, drawn: Drawn | StepwellError) -> Event:
        if isinstance(drawn, StepwellError):
            self._end(sample)
            return Event(sample.request, sample.index, "", None, "error", error=drawn)
        params, prompt = sample.asked.params, 0 if self.model.reads_source else len(sample.asked.token_ids)
        is_last = sample.drawn + 1 >= params.max_tokens or prompt + sample.drawn + 1 >= self.max_seq_len
        text, reason = sample.take(drawn, last=is_last)
        scores = tuple(sample.prompt_logprobs) if sample.prompt_logprobs is not None and sample.drawn == 1 else None
        if reason is not None:
            self._end(sample)
        return Event(sample.request, sample.index, text, drawn, reason, scores)

    def _end(self, sample: Sample) -> None:
        self._running.remove(sample)
        self._forget(sample)

    def _forget(self, sample: Sample) -> None:
        self.runner.stop(sample)
        self._guesser.forget(sample)


def _drawn_alone(sample: Sample, logits: torch.Tensor) -> Drawn | StepwellError:
    try:
        return draw([sample.sampling], logits)[0]
    except StepwellError as error:
        return error


def reads_on(model: LanguageModel) -> bool:
    """Whether a prompt is a text that is read from left to right, and gone on with."""
    return getattr(model.config, "prompt", "continue") == "continue"


def _free_tokens(model: LanguageModel, wanted: int) -> int:
    """Tokens whose keys and values fit into the share of the memory that they may take.

    Raises:
        StepwellError: when not even one text of the model's window does.
    """
    per_token = model.config.state_bytes(1, BLOCK_TOKENS) // BLOCK_TOKENS
    room = int(psutil.virtual_memory().available * CACHE_SHARE) // max(per_token, 1)
    if room < min(model.config.max_seq_len, 256):
        raise StepwellError(
            "there is no memory for keys and values",
            got=f"room for {room} tokens",
            wanted="at least 256",
            do="end other programs, or take a smaller model",
        )
    return min(room, wanted)
