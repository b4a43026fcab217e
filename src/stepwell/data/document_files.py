"""A shard: some documents in one Arrow file, written whole or not at all.

Shards are what workers take and give back; they hold a few tens of megabytes of text, so a corpus may be larger than
memory. This file leaves out what is done to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stepwell.data.documents import Document
from stepwell.errors import DataError

SHARD_BYTES = 16 << 20
"""Text of one shard, about; a single document may be larger."""


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

    table = pyarrow.table(
        {
            "text": pyarrow.array([one.text for one in documents], pyarrow.large_string()),
            "source": pyarrow.array([one.source for one in documents], pyarrow.string()).dictionary_encode(),
            "ends": pyarrow.array([one.ends for one in documents], pyarrow.bool_()),
            "part": pyarrow.array([one.part for one in documents], pyarrow.int32()),
            "is_row": pyarrow.array([one.is_row for one in documents], pyarrow.bool_()),
            "split": pyarrow.array([one.split for one in documents], pyarrow.string()),
            "columns": pyarrow.array([_as_json(one.columns) for one in documents], pyarrow.large_string()),
        }
    )
    draft = path.with_name(f".{path.name}.draft")
    options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
    with pyarrow.OSFile(str(draft), "wb") as file, pyarrow.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table)
    draft.replace(path)


def _as_json(columns: Any) -> str | None:
    return json.dumps(columns, ensure_ascii=False) if columns else None


def load_shard(path: Path) -> list[Document]:
    """Read what `save_shard` wrote.

    Raises:
        DataError: when it is missing or damaged.
    """
    import pyarrow
    import pyarrow.ipc

    try:
        with pyarrow.OSFile(str(path)) as file:
            columns = pyarrow.ipc.open_file(file).read_all().to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path}: missing or damaged", got=str(error).splitlines()[0], do="prepare the data again"
        ) from None
    more = [json.loads(one) if one else {} for one in columns["columns"]]
    names = ("text", "source", "ends", "part", "is_row", "split")
    return [Document(*row) for row in zip(*(columns[name] for name in names), more, strict=True)]
