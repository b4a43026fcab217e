"""A shard: some documents in one Arrow file, written whole or not at all.

Shards are what workers take and give back; they hold a few megabytes of text, so a corpus may be larger than
memory. This file leaves out what is done to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.data.documents import Document
from stepwell.errors import DataError

SHARD_BYTES = 4 << 20
"""Text of one shard, about; a single document may be larger."""


BATCH_BYTES = 1 << 20
"""Text that is written or read at once: what is made on the way is small beside a shard."""


def shards_of(documents: Iterable[Document], shard_bytes: int = SHARD_BYTES) -> Iterator[list[Document]]:
    """Documents in lists of about `shard_bytes`, in order."""
    held: list[Document] = []
    size = 0
    for document in documents:
        held.append(document)
        size += document.num_bytes
        if size >= shard_bytes:
            yield held
            held, size = [], 0
    if held:
        yield held


def save_shard(path: Path, documents: Sequence[Document]) -> None:
    """Write documents to `path`.

    Raises:
        OSError: when it cannot be written; nothing is left at `path` then.
    """
    import pyarrow
    import pyarrow.ipc

    draft = path.with_name(f".{path.name}.draft")
    options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
    schema = _batch(()).schema
    with pyarrow.OSFile(str(draft), "wb") as file, pyarrow.ipc.new_file(file, schema, options=options) as writer:
        for several in shards_of(documents, BATCH_BYTES):
            writer.write_batch(_batch(several))
    draft.replace(path)


def _batch(documents: Sequence[Document]) -> Any:
    """Some documents as columns. `pyarrow.array` would load pandas, where there is one: 35 MB in every worker."""
    import pyarrow

    columns = {
        "text": _texts([one.text for one in documents]),
        "source": _texts([one.source for one in documents]),
        "ends": _numbers([one.ends for one in documents]),
        "part": _numbers([one.part for one in documents]),
        "is_row": _numbers([one.is_row for one in documents]),
        "split": _texts([one.split for one in documents]),
        "columns": _texts([_as_json(one.columns) for one in documents]),
    }
    return pyarrow.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _texts(values: Sequence[str | None]) -> Any:
    import pyarrow.lib

    builder = pyarrow.lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()


def _numbers(values: Sequence[int]) -> Any:
    import pyarrow

    held = pyarrow.py_buffer(np.array(values, np.int32))
    return pyarrow.Array.from_buffers(pyarrow.int32(), len(values), [None, held])


def _as_json(columns: Any) -> str | None:
    return json.dumps(columns, ensure_ascii=False) if columns else None


def load_shard(path: Path) -> list[Document]:
    """Read what `save_shard` wrote.

    Raises:
        DataError: when it is missing or damaged.
    """
    import pyarrow
    import pyarrow.ipc

    documents: list[Document] = []
    try:
        with pyarrow.OSFile(str(path)) as file:
            batches = pyarrow.ipc.open_file(file)
            for number in range(batches.num_record_batches):
                documents += _documents(batches.get_batch(number).to_pydict())
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path}: missing or damaged", got=str(error).splitlines()[0], do="prepare the data again"
        ) from None
    return documents


def _documents(columns: dict[str, list[Any]]) -> Iterator[Document]:
    known: dict[str | None, str | None] = {}  # a name is one string, however often it comes
    for name in ("source", "split"):
        columns[name] = [known.setdefault(one, one) for one in columns[name]]
    for name in ("ends", "is_row"):
        columns[name] = list(map(bool, columns[name]))
    more = [json.loads(one) if one else {} for one in columns["columns"]]
    names = ("text", "source", "ends", "part", "is_row", "split")
    yield from (Document(*row) for row in zip(*(columns[name] for name in names), more, strict=True))
