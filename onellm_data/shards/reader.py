"""Shards → records, by number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from onellm_data.errors import OnellmError, UsageError, unknown
from onellm_data.records import Record
from onellm_data.shards import codec, in_place, tar
from onellm_data.shards.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, Shard, parse
from onellm_data.shards.storage import Storage, open_storage

_NPY_HEADER_BYTES = 4096  # more than NumPy ever writes before the data of an [n, 2] array
_INDEX_ROW_BYTES = 16


def load_manifest(path: str | Path, storage: Storage | None = None) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        UsageError: ``path`` is no prepared folder, or one of another schema.
    """
    storage = storage or open_storage(path)
    where = f"{str(path).rstrip('/')}/{MANIFEST_NAME}"
    try:
        data = storage.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no {where}: expected a folder that 'onellm prepare' wrote and finished (if it was "
            "stopped, the same command with --resume finishes it)"
        ) from error
    return parse(data, where)


def _raw_data(path: str | Path, root: str) -> Storage:
    try:
        return open_storage(root)
    except UsageError as error:
        raise UsageError(
            f"the signals of {path} were left in {root}, and there is no such folder here; bring it back, or "
            "set 'root' in manifest.json to where it is now"
        ) from error


class ShardReader:
    """The records of one split of a prepared folder, by number, each read as one byte range.

    Readers may be used from several threads, and may be pickled or forked for worker processes.

    Args:
        path: The folder, local or an fsspec URL such as ``s3://bucket/folder``.
        split: One of the manifest's splits.

    Raises:
        UsageError: ``path`` is no prepared folder, has another schema, or has no such split.
    """

    def __init__(self, path: str | Path, split: str = "train") -> None:
        self.path, self.split = path, split
        self._storage = open_storage(path)
        self.manifest = load_manifest(path, self._storage)
        if split not in self.manifest.splits:
            raise unknown(f"split of {path}", split, self.manifest.splits)
        self._shards = self.manifest.splits[split].shards
        self._raw = _raw_data(path, self.manifest.root) if self.manifest.root else None
        self._ends = list(accumulate(shard.samples for shard in self._shards))

    def __reduce__(self) -> tuple[type[ShardReader], tuple[str | Path, str]]:
        return ShardReader, (self.path, self.split)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the records."""
        return self.manifest.modalities

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        """Record number ``index``, signals in canonical form.

        Raises:
            IndexError: There is no such record.
            UsageError: Its modality is not installed here.
            OnellmError: The shard or its index is damaged.
        """
        try:
            return codec.loaded(*self.unpacked(index))
        except UsageError:
            raise
        except OnellmError as error:
            raise self._damaged(index, str(error)) from error

    def unpacked(self, index: int) -> tuple[str, dict[str, dict[str, bytes]], dict[str, Any]]:
        """Key, stored signals (modality → ending → bytes) and text of record number ``index``."""
        run = self.run(index)
        if self._raw is None:
            return codec.unpack(run)
        key, pointers, text = in_place.unpack(run)
        stored = {name: {pointer.ending: pointer.read(self._raw)} for name, pointer in pointers.items()}
        return key, stored, text

    def run(self, index: int) -> bytes:
        """The bytes of record number ``index`` as they lie in the shard: tar members, or one line."""
        shard, offset, length = self._locate(index)
        return self._read(index, shard, offset, length)

    def keys(self, index: int) -> str:
        """The key of record number ``index``; reads one tar header, or one line."""
        if self._raw is not None:
            return in_place.unpack(self.run(index))[0]
        shard, offset, _ = self._locate(index)
        block = self._read(index, shard, offset, tar.HEADER_BYTES)
        return tar.name_of(block).partition(".")[0]

    def _locate(self, index: int) -> tuple[Shard, int, int]:
        """Shard, byte offset and length of record number ``index``."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"got the record number {index}, expected 0 to {len(self) - 1}")
        index %= len(self)
        number = bisect_right(self._ends, index)
        shard = self._shards[number]
        rows = self._index(shard)
        offset, length = (int(value) for value in rows[index - self._ends[number] + shard.samples])
        if not (offset >= 0 and 0 < length <= shard.bytes - offset):
            raise self._damaged(index, f"its index says bytes {offset} to {offset + length} of {shard.bytes}")
        return shard, offset, length

    def _index(self, shard: Shard) -> np.ndarray:
        try:
            rows = self._storage.array(shard.index_name, _NPY_HEADER_BYTES + _INDEX_ROW_BYTES * shard.samples)
        except (OSError, ValueError) as error:
            raise OnellmError(f"cannot read {self.path}/{shard.index_name}: {error}") from error
        if rows.shape != (shard.samples, 2) or rows.dtype != np.int64:
            raise OnellmError(
                f"{self.path}/{shard.index_name} holds {rows.dtype} {list(rows.shape)}, "
                f"expected int64 [{shard.samples}, 2]"
            )
        return rows

    def _read(self, index: int, shard: Shard, offset: int, length: int) -> bytes:
        try:
            data = self._storage.read_range(shard.name, offset, length)
        except FileNotFoundError as error:
            raise self._damaged(index, f"{shard.name} is missing") from error
        if len(data) != length:
            raise self._damaged(
                index, f"got {len(data)} bytes of {shard.name} at {offset}, expected {length}"
            )
        return data

    def _damaged(self, index: int, detail: str) -> OnellmError:
        return OnellmError(f"record {index} of {self.path} ({self.split}) cannot be read: {detail}")
