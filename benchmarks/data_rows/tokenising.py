"""How fast text becomes tokens on disk, beside what `tokenizers` itself gives on all cores for the same documents.

Ours reads the prepared text, writes ids and borders, and is timed as a whole; `tokenizers` is handed the same documents
in lists and gives encodings that nobody reads. Both take turns in one process. This file leaves out other steps.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import tokenizers
from planted_corpus import LANGUAGES
from training_rows.measuring import rounded

from data_rows.speed import text_of
from stepwell.data import DataConfig, prepare_text, tokenize_text
from stepwell.tokenizers import ByteBPEConfig, train_tokenizer

REACH = 0.9
TOGETHER = 1000
"""Documents that `tokenizers` is handed at once: the fastest of 100, 1,000 and 10,000."""


def measure_all(*, rounds: int, num_bytes: int) -> list[dict[str, object]]:
    """The ratio in each language, printed and as lines for the ledger.

    Args:
        rounds: how often the sides take turns.
        num_bytes: of text.
    """
    print("| tokenise | ours, MB/s | tokenizers, MB/s | ratio: median (range) | at least 0.9 |\n|---|---|---|---|---|")
    records: list[dict[str, object]] = []
    for language in LANGUAGES:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            lines = (json.dumps(row, ensure_ascii=False) for row in text_of(language, num_bytes))
            (folder / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
            config = DataConfig(sources=(str(folder / "text.jsonl"),), text_column="text")
            prepared = prepare_text(config, folder / "work")
            texts = [list(prepared.texts(name)) for name in ("train", "validation", "test")]
            size = sum(len(text.encode()) for several in texts for text in several)
            tokenizer = train_tokenizer(texts[0][::10], ByteBPEConfig(vocab_size=8192))
            tokenizer.save(folder / "tokenizer.json")
            theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            rates: dict[str, list[float]] = {"ours": [], "tokenizers": []}
            for number in range(rounds + 1):  # the first one warms up
                shutil.rmtree(folder / "tokens", ignore_errors=True)
                began = time.perf_counter()
                tokenize_text(prepared, tokenizer, folder / "tokens")
                ours = time.perf_counter() - began
                began = time.perf_counter()
                for several in texts:
                    for at in range(0, len(several), TOGETHER):
                        theirs.encode_batch_fast(several[at : at + TOGETHER], add_special_tokens=False)
                seconds = time.perf_counter() - began
                if number:
                    rates["ours"].append(size / ours / 1e6)
                    rates["tokenizers"].append(size / seconds / 1e6)
            ratios = [one / other for one, other in zip(rates["ours"], rates["tokenizers"], strict=True)]
            median = statistics.median(ratios)
            records.append(
                {"benchmark": "data", "row": "tokenise", "language": language,
                 "mb_per_second": {side: rounded(statistics.median(several)) for side, several in rates.items()},
                 "median": rounded(median), "low": rounded(min(ratios)), "high": rounded(max(ratios)),
                 "values": [rounded(one) for one in ratios], "unit": "times tokenizers'", "reach": REACH,
                 "met": median >= REACH, "corpus": {"bytes": size}}
            )  # fmt: skip
            middle = " | ".join(f"{statistics.median(several):.3g}" for several in rates.values())
            spread = f"{median:.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
            print(f"| {language} | {middle} | {spread} | {'yes' if median >= REACH else 'NO'} |", flush=True)
    return records
