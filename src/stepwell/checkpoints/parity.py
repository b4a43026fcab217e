"""Whether our model computes what transformers computes from the same weights, measured.

Both read the same tokens, random ones and real text in rows of several lengths, in float32, and their logits are
compared; then both continue a text greedily from their caches. transformers is needed for this alone and imported
late. This file leaves out what follows from a difference: importing and exporting refuse a large one.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stepwell.checkpoints.foreign import ForeignModel
from stepwell.errors import CheckpointError
from stepwell.hardware import available_memory
from stepwell.models import Encoder, EncoderDecoder, LanguageModel, ModelConfig
from stepwell.tokenizers import Tokenizer

LARGEST_RATIO = 1e-4
"""Of the largest logit difference to the range of the logits: what two orders of the same sums may differ by."""

OPENED_AS = {"dtype": torch.float32, "attn_implementation": "eager"}
"""The plain computation, without kernels that some classes replace parts of it by."""

LENGTHS = (1, 2, 9, 40, 150)
"""Tokens of the rows that are compared, as far as the model reads."""

NUM_GREEDY = 64

SENTENCES = (
    "A stepwell is a well that one reaches by going down a stair: every step goes down, and each one is measured. ",
    "井台上的石阶一级一级往下，走到水边的人都知道自己下了多少级。",
)

AUTO_CLASSES = {
    "decoder": ("AutoModelForCausalLM",),
    "encoder": ("AutoModelForMaskedLM", "AutoModel"),
    "encoder_decoder": ("AutoModelForSeq2SeqLM",),
}
"""What opens a model of each kind in transformers; of several, the one that fits its architecture."""


@dataclass(frozen=True)
class Parity:
    """How far two models are from each other.

    Attributes:
        max_logit_difference: the largest one, over all positions.
        logit_range: largest less smallest logit of the reference.
        num_positions: positions that were compared.
        num_greedy: tokens that both continued a text by.
        greedy_equal: how many of them are the same, counted up to the first that differs.
    """

    max_logit_difference: float
    logit_range: float
    num_positions: int
    num_greedy: int
    greedy_equal: int

    @property
    def ratio(self) -> float:
        """The largest difference as a part of the range."""
        return self.max_logit_difference / max(self.logit_range, torch.finfo(torch.float32).tiny)

    def as_dict(self) -> dict[str, Any]:
        """For provenance and `--json`."""
        return {**asdict(self), "ratio": self.ratio}

    def check(self, what: str) -> None:
        """Refuse a large difference.

        Raises:
            CheckpointError: when it is above `LARGEST_RATIO`.
        """
        if not self.ratio <= LARGEST_RATIO:  # a NaN is above too
            raise CheckpointError(
                f"{what}: does not compute what transformers computes",
                got=f"logits that differ by up to {self.max_logit_difference:.3g}, {self.ratio:.2g} of their range",
                wanted=f"at most {LARGEST_RATIO:g} of it",
                do="please report which model this is; --no-parity goes on without measuring",
            )


def why_not_measured(config: ModelConfig) -> str | None:
    """What stands against measuring a model here, or None."""
    if importlib.util.find_spec("transformers") is None:
        return "transformers is not installed"
    needed, free = 3.5 * config.parameter_bytes, available_memory()  # the tensors, ours, theirs, and what they compute
    if needed > free:
        return f"it takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"
    return None


def auto_class(config: ModelConfig, architectures: Sequence[str]) -> str:
    """What opens a model in transformers.

    Args:
        config: of our model; its kind decides.
        architectures: the class that its config.json names, which may be without a head.
    """
    headless = not any("For" in name or "LMHead" in name or "MTModel" in name for name in architectures)
    return AUTO_CLASSES[config.kind][-1 if headless else 0]


def load_reference(path: Path, config: ModelConfig, architectures: Sequence[str], *, strict: bool = False) -> nn.Module:
    """A model as transformers opens it, in float32, without remote code.

    Args:
        path: a folder in the layout of transformers.
        config: of our model; its kind says what opens it.
        architectures: the class that its config.json names.
        strict: refuse tensors that the class does not know, or misses.

    Raises:
        CheckpointError: when transformers cannot open it.
    """
    import transformers

    opens = getattr(transformers, auto_class(config, architectures))
    with _opening(str(path)):
        model, told = opens.from_pretrained(path, local_files_only=True, output_loading_info=True, **OPENED_AS)
    faults = {name: found for name, found in told.items() if found} if strict else {}
    if faults:
        raise CheckpointError(
            f"{path}: transformers opens it, but not all of it",
            got="; ".join(f"{name}: {', '.join(map(str, found))}" for name, found in faults.items()),
        )
    opened: nn.Module = model.eval()
    return opened


def build_reference(foreign: ForeignModel, architecture: str) -> nn.Module:
    """A class of transformers with the tensors of a source that transformers itself reads slowly or not at all.

    Raises:
        CheckpointError: when transformers cannot take them.
    """
    import transformers

    with _opening(foreign.source):
        model: nn.Module = getattr(transformers, architecture).from_pretrained(
            None,
            config=transformers.AutoConfig.for_model(**foreign.config),
            state_dict={name: tensor.float() for name, tensor in foreign.tensors.items()},
            **OPENED_AS,
        )
    return model.eval()


@contextmanager
def _opening(what: str) -> Iterator[None]:
    """Quietly, and with an error that says what could not be opened."""
    with quiet():
        try:
            yield
        except Exception as error:  # whatever it stumbles over, in its own words
            raise CheckpointError(
                f"{what}: transformers cannot open it", got=f"{type(error).__name__}: {_first_line(error)}"
            ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers."""
    from transformers.utils import logging as their_logging

    bars, level = their_logging.is_progress_bar_enabled(), their_logging.get_verbosity()
    their_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    their_logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@torch.inference_mode()
def measure_parity(model: LanguageModel, tokenizer: Tokenizer, reference: nn.Module) -> Parity:
    """Compare a model with transformers' one.

    Args:
        model: ours, in evaluation mode and float32, on the CPU.
        tokenizer: encodes the real text.
        reference: theirs, from `load_reference`.
    """
    largest, lowest, highest, positions = 0.0, float("inf"), float("-inf"), 0
    with quiet():
        for token_ids in _rows(model.config, tokenizer, _padding(reference)):
            ours, theirs = _both(model, reference, token_ids)
            difference = float((ours - theirs).abs().max())
            lowest, highest = min(lowest, float(theirs.min())), max(highest, float(theirs.max()))
            positions += token_ids.numel()
            if difference != difference:  # a NaN must not hide behind a maximum
                largest = difference
                break
            largest = max(largest, difference)
        prompt = _prompt(model.config, tokenizer)
        steps = min(NUM_GREEDY, model.config.max_seq_len - prompt.shape[1]) if model.is_causal else 0
        continued = (_our_choices(model, prompt, steps), _their_choices(model, reference, prompt, steps))
    return Parity(largest, highest - lowest, positions, steps, _common(*continued))


def _padding(reference: nn.Module) -> int | None:
    """The token that some classes count positions without, wherever it stands."""
    token_id = getattr(reference.config, "pad_token_id", None)
    return token_id if isinstance(token_id, int) else None


def _rows(config: ModelConfig, tokenizer: Tokenizer, padding: int | None) -> Iterator[Tensor]:
    """Batches (2, T): real text and random tokens of each length that the model reads."""
    generator = torch.Generator().manual_seed(0)
    real = [token for sentence in SENTENCES for token in tokenizer.encode(sentence).tolist()]
    for length in sorted({min(length, config.max_seq_len) for length in LENGTHS}):
        drawn = torch.randint(0, config.vocab_size, (length,), generator=generator)
        rows = torch.stack((torch.tensor((real * (length // len(real) + 1))[:length]), drawn))
        yield rows if padding is None else rows.where(rows != padding, (padding + 1) % config.vocab_size)


def _prompt(config: ModelConfig, tokenizer: Tokenizer) -> Tensor:
    """(1, T): a sentence, as much of it as leaves room to go on."""
    return torch.tensor([tokenizer.encode(SENTENCES[0]).tolist()[: max(1, config.max_seq_len // 4)]])


def _both(model: LanguageModel, reference: nn.Module, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """What both make of the same rows: logits, or hidden states where there is no head.

    An encoder-decoder reads the rows and writes them backwards.
    """
    if isinstance(model, EncoderDecoder):
        written = token_ids.flip(1)
        ours = model.unembed(model.decode(written, model.encode(token_ids)))
        return ours, reference(input_ids=token_ids, decoder_input_ids=written).logits.float()
    answer = reference(input_ids=token_ids)
    if hasattr(answer, "logits"):
        return model(token_ids), answer.logits.float()
    ours, theirs = model.hidden(token_ids), answer.last_hidden_state
    if isinstance(model, Encoder) and model.pooler is not None:
        ours, theirs = torch.cat((ours, model.pooled(ours)[:, None]), 1), torch.cat((theirs, answer[1][:, None]), 1)
    return ours, theirs


def _our_choices(model: LanguageModel, prompt: Tensor, steps: int) -> list[int]:
    """The likeliest tokens after a prompt, or of the target of a source, from our cache."""
    chosen: list[int] = []
    if steps:
        state, logits = model.begin(prompt, prompt.shape[1] + steps)
    while len(chosen) < steps:
        chosen.append(int(logits.argmax()))
        logits = model.extend(state, torch.tensor([chosen[-1:]]))
    return chosen


def _their_choices(model: LanguageModel, reference: Any, prompt: Tensor, steps: int) -> list[int]:
    """The same by transformers, from its cache."""
    chosen: list[int] = []
    cache, source, read = None, {}, prompt
    name, never = "input_ids", []
    if isinstance(model, EncoderDecoder):
        source = {"encoder_outputs": reference.get_encoder()(prompt)}
        name, read, never = "decoder_input_ids", torch.tensor([model.config.start_ids]), list(model.config.never_ids)
    while len(chosen) < steps:
        answer = reference(**{name: read}, **source, past_key_values=cache, use_cache=True)
        cache = answer.past_key_values
        logits = answer.logits[0, -1]
        logits[never] = float("-inf")
        chosen.append(int(logits.argmax()))
        read = torch.tensor([chosen[-1:]])
    return chosen


def _common(ours: list[int], theirs: list[int]) -> int:
    """Tokens up to the first difference."""
    pairs = zip(ours, theirs, strict=True)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(ours))
