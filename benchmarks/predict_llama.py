"""llama.cpp as `predict.py` asks it: one request in JSON for each line, one answer for each. Run by an interpreter that
has llama-cpp-python, built on the machine it runs on.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np


@llama_cpp.llama_log_callback
def hush(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Nothing is said while it is measured."""


llama_cpp.llama_log_set(hush, ctypes.c_void_p(0))


class Model:
    """A GGUF file with a context of 16 sequences."""

    def __init__(self, path: str, threads: int) -> None:
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 16 * 2304, 512, 512, 16
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, rows: list[tuple[int, int, int]]) -> None:
        """Rows of token, place and sequence; logits after the last one of each sequence."""
        last = {sequence: number for number, (_, _, sequence) in enumerate(rows)}
        self.batch.n_tokens = len(rows)
        for number, (token, place, sequence) in enumerate(rows):
            self.batch.token[number], self.batch.pos[number] = token, place
            self.batch.n_seq_id[number], self.batch.seq_id[number][0] = 1, sequence
            self.batch.logits[number] = last[sequence] == number
        assert llama_cpp.llama_decode(self.context, self.batch) == 0

    def likeliest(self, number: int) -> int:
        row = llama_cpp.llama_get_logits_ith(self.context, number)
        return int(np.ctypeslib.as_array(row, (self.vocab_size,)).argmax())

    def read(self, token_ids: list[int], sequence: int = 0) -> None:
        for at in range(0, len(token_ids), 512):
            self.decode([(one, at + place, sequence) for place, one in enumerate(token_ids[at : at + 512])])

    def prefill(self, token_ids: list[int]) -> float:
        """Tokens a second."""
        self.clear()
        began = time.perf_counter()
        self.read(token_ids)
        llama_cpp.llama_synchronize(self.context)
        return len(token_ids) / (time.perf_counter() - began)

    def write(self, prompts: list[list[int]], num_tokens: int) -> float:
        """Tokens a second, all sequences together, after their prompts were read."""
        self.clear()
        for sequence, prompt in enumerate(prompts):
            self.read(prompt, sequence)
        tokens, place = [1] * len(prompts), len(prompts[0])
        began = time.perf_counter()
        for step in range(num_tokens):
            self.decode([(token, place + step, sequence) for sequence, token in enumerate(tokens)])
            tokens = [self.likeliest(number) for number in range(len(prompts))]
        return len(prompts) * num_tokens / (time.perf_counter() - began)


def main() -> None:
    models: dict[str, Model] = {}
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if asked["do"] == "quantize":
            params = llama_cpp.llama_model_quantize_default_params()
            params.ftype, params.allow_requantize = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, True
            if not Path(asked["to"]).exists():
                llama_cpp.llama_model_quantize(asked["from"].encode(), asked["to"].encode(), ctypes.byref(params))
            told: Any = True
        else:
            path = asked["model"]
            if path not in models:
                models[path] = Model(path, asked["threads"])
            if asked["do"] == "prefill":
                told = models[path].prefill(asked["prompts"][0])
            else:
                told = models[path].write(asked["prompts"], asked["num_tokens"])
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


main()
