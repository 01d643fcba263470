"""Records → shards: each tar and its index appear whole, under their names, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onellm_data.errors import UsageError
from onellm_data.records import Record
from onellm_data.shards import codec, tar
from onellm_data.shards.files import settle, settle_folder, temporary, whole
from onellm_data.shards.manifest import MANIFEST_NAME, Manifest, Shard, Split, valid_split


@dataclass(frozen=True)
class ShardSize:
    """When a shard is full: at so many records, or when its bytes reach so many."""

    samples: int = 10_000
    bytes: int = 512 << 20


class OpenShard:
    """One tar that is being written, under a temporary name."""

    def __init__(self, folder: Path, split: str, number: int) -> None:
        self.path = folder / f"{split}-{number:06d}.tar"
        self._file = temporary(self.path).open("wb")
        self._hash = hashlib.sha256()
        self._rows: list[tuple[int, int]] = []
        self.bytes = 0

    @property
    def samples(self) -> int:
        """Records in it so far."""
        return len(self._rows)

    def append(self, run: bytes) -> None:
        """Add one record's tar members."""
        self._rows.append((self.bytes, len(run)))
        self._write(run)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def close(self) -> Shard:
        """Finish the tar and its index and give both their names, the index first."""
        self._write(tar.END)
        settle(self._file)
        self._file.close()
        shard = Shard(self.path.name, self.samples, self.bytes, self._hash.hexdigest())
        with whole(self.path.with_name(shard.index_name)) as stream:
            np.save(stream, np.array(self._rows, np.int64).reshape(-1, 2), allow_pickle=False)
        temporary(self.path).replace(self.path)
        settle_folder(self.path.parent)
        return shard

    def discard(self) -> None:
        """Throw it away."""
        with suppress(OSError):  # on a full disk the last bytes cannot be written, and need not be
            self._file.close()
        temporary(self.path).unlink(missing_ok=True)


class SplitWriter:
    """The shards of one split, one after another.

    Args:
        folder: Where the shards go.
        split: The split's name.
        size: When a shard is full.
        number: Number of the first shard.
    """

    def __init__(self, folder: Path, split: str, size: ShardSize, number: int = 0) -> None:
        self.folder, self.split, self.size = folder, split, size
        self.number = number
        self._open: OpenShard | None = None

    def append(self, run: bytes) -> Shard | None:
        """Add one record's tar members; the shard, if that filled it."""
        if self._open is None:
            self._open = OpenShard(self.folder, self.split, self.number)
        self._open.append(run)
        full = self._open.samples >= self.size.samples or self._open.bytes >= self.size.bytes
        return self.close() if full else None

    def close(self) -> Shard | None:
        """Finish the open shard, if there is one."""
        if self._open is None:
            return None
        shard = self._open.close()
        self._open = None
        self.number += 1
        return shard

    def discard(self) -> None:
        """Throw the open shard away."""
        if self._open is not None:
            self._open.discard()
            self._open = None


class ShardWriter:
    """Writes a prepared folder from a program; the manifest appears when the block ends well.

    ``with ShardWriter("out", ["imu"]) as writer: writer.add(record, split="train")``

    Args:
        folder: A new or empty folder; is made.
        modalities: Modalities of the records.
        size: When a shard is full.
        options: Goes into the manifest.

    Raises:
        UsageError: The folder holds prepared data already.
    """

    def __init__(
        self,
        folder: str | Path,
        modalities: Sequence[str],
        size: ShardSize | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / MANIFEST_NAME).exists():
            raise UsageError(
                f"{self.folder} holds prepared data already: choose another folder, or remove it"
            )
        self.modalities = tuple(modalities)
        self.size = size or ShardSize()
        self.options = dict(options or {})
        self._writers: dict[str, SplitWriter] = {}
        self._shards: dict[str, list[Shard]] = {}

    def add(self, record: Record, split: str = "train") -> None:
        """Write one record. The caller answers for its key being unique."""
        if split not in self._writers:
            if not valid_split(split):
                raise UsageError(
                    f"got the split {split!r}, expected lower-case letters, digits and underscores"
                )
            self._writers[split] = SplitWriter(self.folder, split, self.size)
            self._shards[split] = []
        self._collect(split, self._writers[split].append(codec.encode(record)))

    def _collect(self, split: str, shard: Shard | None) -> None:
        if shard is not None:
            self._shards[split].append(shard)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for writer in self._writers.values():
                writer.discard()
            return
        for split, writer in self._writers.items():
            self._collect(split, writer.close())
        splits = {split: Split(tuple(shards)) for split, shards in sorted(self._shards.items())}
        Manifest(self.modalities, splits, options=self.options).save(self.folder)
