"""A model as lm-evaluation-harness asks it: how likely a continuation is, and what is written up to a stop.

Give it to `lm_eval.simple_evaluate(model=HarnessModel(RUN), tasks=[...])`, and every task of the harness runs on a
stepwell model. Requests of like length share a batch, and answers are those of `inference`. This file leaves out the
tasks, and models that do not write from left to right.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.checkpoints import load_checkpoint
from stepwell.config import build
from stepwell.errors import UsageError
from stepwell.hardware import Precision, examine
from stepwell.inference import SamplingParams, generate_many, score_documents


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            "lm-evaluation-harness: is not installed", got=str(error), do="pip install 'stepwell[harness]'"
        ) from None


_MODEL, _UTILS, _ASKED = _needed("lm_eval.api.model"), _needed("lm_eval.utils"), _needed("lm_eval.models.utils")

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
"""What a task may say about drawing that means the same here."""

PASSED_OVER = ("do_sample", "skip_special_tokens", "use_cache", "max_length")
"""What a task may say that changes nothing here, or is said otherwise."""

NEUTRAL: Mapping[str, Any] = {"num_beams": 1, "num_return_sequences": 1, "n": 1, "length_penalty": 1.0}
"""What a task may say so long as it asks for nothing else."""


class HarnessModel(_MODEL.TemplateLM):  # type: ignore[misc, name-defined]
    """A causal stepwell model as `lm_eval.api.model.TemplateLM`.

    Special tokens that are spelled in a text count as such, as in the harness's own models: a rendered chat is a text
    there.

    Args:
        run: a run directory or a checkpoint directory.
        batch_tokens: positions that are scored at once, padding included.
        precision: of the matrix products.
        max_gen_toks: new tokens where a task does not say how many, at least 1.
        batch_size: the harness hands it over; batches are sized by their tokens here.
        max_batch_size: likewise.
        device: likewise; a model computes where that is fastest.

    Raises:
        CheckpointError: when there is no whole model.
        UsageError: when the model does not write from left to right, or the harness is not installed.
    """

    def __init__(
        self,
        run: Path | str,
        *,
        batch_tokens: int = 2048,
        precision: Precision = "float32",
        max_gen_toks: int = 256,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        loaded = load_checkpoint(Path(run))
        if not loaded.model.is_causal or loaded.model.reads_source:
            raise UsageError(
                f"{run}: does not go on with a text",
                got=loaded.model.config.kind,
                wanted="a causal model, such as a decoder",
            )
        self.model, self.tokenizer, self.path = loaded.model, loaded.tokenizer, loaded.path
        self.model.to(examine().device)
        self._device = self.model.device
        self.batch_tokens, self.precision, self.max_gen_toks = int(batch_tokens), precision, int(max_gen_toks)
        self.batch_size = "by tokens"

    @property
    def max_length(self) -> int:
        """Tokens that the model sees at once."""
        return int(self.model.config.max_seq_len)

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text of which nothing is given."""
        return int(self.tokenizer.bos_id)

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.fingerprint)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside its results."""
        return {
            "model_num_parameters": sum(one.numel() for one in self.model.parameters()),
            "model_dtype": self.precision,
            "model_kind": self.model.config.kind,
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """Token ids of a text; with the begin token where the family puts one, unless it must not or is there."""
        ids = [int(one) for one in self.tokenizer.encode_rendered(string)]
        begins = add_special_tokens is not False and self.tokenizer.adds_bos
        return [self.prefix_token_id, *ids] if begins and ids[:1] != [self.prefix_token_id] else ids

    def tok_decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids."""
        return str(self.tokenizer.decode(tokens, continues=True))

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model reads it.

        Raises:
            TokenizerError: when there is no chat template.
        """
        return str(self.tokenizer.render(chat_history, add_generation_prompt=add_generation_prompt))

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self.tokenizer.chat_template or "") if chat_template else ""

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As the harness cuts them; where both make one token at the border, each is encoded for itself."""
        first, second = super()._encode_pair(context, continuation)
        return (first, second) if second else (first, self.tok_encode(continuation, add_special_tokens=False))

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of continuations, and whether each of their tokens was the likeliest.

        Of a context that does not fit the end is read, as in the harness.
        """
        read = [self._fitting(context, continuation) for _, context, continuation in requests]
        scored = score_documents(
            self.model,
            (np.array(one, np.int64) for one in read),
            batch_tokens=self.batch_tokens,
            precision=self.precision,
        )
        found = []
        for (asked, _, continuation), scores in zip(requests, scored, strict=True):
            begin = len(scores.logprobs) - len(continuation)
            answer = float(scores.logprobs[begin:].astype(np.float64).sum()), bool(scores.correct[begin:].all())
            found.append(answer)
            if asked is not None:
                self.cache_hook.add_partial("loglikelihood", asked, answer)
        return found

    def _fitting(self, context: list[int], continuation: list[int]) -> list[int]:
        """What is read: all of a continuation, and as much of its context as the window takes."""
        whole = [*context, *continuation]
        return whole[-max(self.max_length + 1, len(continuation) + 1) :]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood (nats) of whole texts; a long one is read in the windows of the harness."""
        windows: list[tuple[Any, list[int], list[int]]] = []
        counts = []
        for (text,) in (one.args for one in requests):
            parts = _UTILS.get_rolling_token_windows(
                token_list=self.tok_encode(text, add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            several = [(None, *_UTILS.make_disjoint_window(part)) for part in parts]
            windows += several
            counts.append(len(several))
        told = iter(self._loglikelihood_tokens(windows))
        found = []
        for request, count in zip(requests, counts, strict=True):
            total = sum(next(told)[0] for _ in range(count))
            found.append(total)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes up to a stop, or its end token; a full window goes on with its later half.

        Raises:
            UsageError: when a task asks for what is not known here.
        """
        contexts = [np.array(self.tok_encode(one.args[0]) or [self.prefix_token_id], np.int64) for one in requests]
        alike: defaultdict[tuple[SamplingParams, bool], list[int]] = defaultdict(list)
        for number, (context, request) in enumerate(zip(contexts, requests, strict=True)):
            params = self._params(request.args[1])
            alike[params, len(context) + params.max_tokens <= self.max_length].append(number)
        found = [""] * len(requests)
        for (params, fits), numbers in alike.items():
            written = generate_many(
                self.model, self.tokenizer, [contexts[number] for number in numbers], params, pad=fits
            )
            for number, several in zip(numbers, written, strict=True):
                found[number] = several[0].text
        for request, text in zip(requests, found, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return found

    def _params(self, asked: Mapping[str, Any]) -> SamplingParams:
        """How a task wants a text to be drawn.

        Raises:
            UsageError: for what is not known here.
        """
        known = _ASKED.normalize_gen_kwargs(dict(asked), self.max_gen_toks)
        strange = {
            name: value
            for name, value in known.items()
            if name not in (*SAMPLING, *PASSED_OVER, "until", "max_gen_toks") and NEUTRAL.get(name) != value
        }
        if strange:
            raise UsageError(
                "lm-evaluation-harness: a task asks for what stepwell does not know",
                got=", ".join(f"{name}={value!r}" for name, value in strange.items()),
                wanted=f"until, max_gen_toks, do_sample, {', '.join(SAMPLING)}",
                do="overwrite it with gen_kwargs",
            )
        drawn = {name: known[name] for name in SAMPLING if known.get(name) is not None}
        stops = tuple(one for one in known["until"] if one)
        said = {"temperature": 0.0, **drawn, "max_tokens": known["max_gen_toks"], "stop": stops}
        return build(SamplingParams, said, where="lm-evaluation-harness")
