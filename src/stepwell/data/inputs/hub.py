"""Datasets of the Hugging Face hub, or a folder laid out like one, read through the `datasets` library as a stream.

`hf://owner/name[/config][:split]` is a hub dataset; `hf://./folder` and `hf:///folder` are local. The library is loaded
on first use. This file leaves out tables in plain files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepwell.data.inputs.reading import NamedInput, Reading, Text
from stepwell.data.inputs.rows import read_rows
from stepwell.data.packages import file_checksum
from stepwell.errors import DataError


class HubInput(NamedInput):
    """One split of one dataset, named `hf://...`."""

    def fingerprint(self) -> str:
        """For a local folder, a hash of its files; for the hub, of the revision that would be read.

        Raises:
            DataError: when the dataset cannot be found.
        """
        where, config, _ = self._parts()
        if Path(where).is_dir():
            files = sorted(Path(here, name) for here, _, names in os.walk(where) for name in names)
            listed = [f"{path.relative_to(where)} {file_checksum(path)}" for path in files]
            return hashlib.sha256("\n".join(listed).encode()).hexdigest()
        try:
            return str(_datasets(self.source).load_dataset_builder(where, config).hash)
        except Exception as error:
            raise self._cannot_read(error) from error

    def read(self, reading: Reading) -> Iterator[Text]:
        """The dataset's rows.

        Raises:
            DataError: when the dataset, the split or the column cannot be found or read.
        """
        where, config, split = self._parts()
        try:
            splits = _datasets(self.source).load_dataset(where, config, streaming=True)
        except Exception as error:
            raise self._cannot_read(error) from error
        name = split or ("train" if "train" in splits or len(splits) != 1 else next(iter(splits)))
        if name not in splits:
            raise DataError(
                f"{self.source}: no split {name!r}", got=f"splits {', '.join(splits)}", do=f"hf://{where}:SPLIT"
            )
        yield from read_rows(self._rows(splits[name]), self.source, reading)

    def _rows(self, split: Any) -> Iterator[dict[str, Any]]:
        try:
            yield from split
        except Exception as error:
            raise self._cannot_read(error) from error

    def _parts(self) -> tuple[str, str | None, str | None]:
        """Where the dataset is, its configuration and its split; the last two may be absent."""
        where, _, split = self.source.removeprefix("hf://").partition(":")
        if where.startswith((".", "/", "~")):
            folder = Path(where).expanduser()
            if not folder.is_dir():
                raise DataError(f"{self.source}: no such folder", wanted="hf://owner/name or hf://./folder")
            return str(folder), None, split or None
        owner, _, rest = where.partition("/")
        name, _, config = rest.partition("/")
        if not owner or "/" in config:
            raise DataError(f"{self.source}: cannot be understood", wanted="hf://owner/name[/config][:split]")
        return f"{owner}/{name}" if name else owner, config or None, split or None

    def _cannot_read(self, error: Exception) -> DataError:
        return DataError(
            f"{self.source}: cannot be read",
            got=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
            wanted="hf://owner/name[/config][:split], or hf://./folder",
            do="check the name and the network",
        )


def _datasets(source: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source}: needs the datasets library", got=str(error), do="pip install datasets") from None
    datasets.disable_progress_bars()  # the library shows nothing by itself
    return datasets
