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

_CHUNK = 1 << 20

TAR = ".tar"


@dataclass(frozen=True)
class ShardSize:
    """When a shard is full: at so many records, or when its bytes reach so many."""

    samples: int = 10_000
    bytes: int = 512 << 20


def shard_path(folder: Path, split: str, number: int, suffix: str = TAR) -> Path:
    """The name of a split's shard number ``number``."""
    return folder / f"{split}-{number:06d}{suffix}"


class OpenShard:
    """One shard that is being written, under a temporary name.

    Args:
        path: The shard's final name.
        lengths: Bytes of each record that an interrupted run left in it; what follows them is cut off.
    """

    def __init__(self, path: Path, lengths: Sequence[int] = ()) -> None:
        self.path = path
        self.lengths = list(lengths)
        self.bytes = sum(lengths)
        self._hash = hashlib.sha256()
        self._file = temporary(self.path).open("r+b" if lengths else "wb")
        if lengths:
            self._restore()

    def _restore(self) -> None:
        left = self.bytes
        while left and (chunk := self._file.read(min(left, _CHUNK))):
            self._hash.update(chunk)
            left -= len(chunk)
        assert not left, f"{temporary(self.path)} has the bytes of its records"
        self._file.seek(self.bytes)
        self._file.truncate()

    def append(self, run: bytes) -> None:
        """Add one record's bytes."""
        self._write(run)
        self.lengths.append(len(run))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def suspend(self) -> list[int]:
        """Leave it on the disk under its temporary name; bytes of each of its records."""
        settle(self._file)
        self._file.close()
        return self.lengths

    def close(self) -> Shard:
        """Finish the shard and its index and give both their names, the index first."""
        if self.path.suffix == TAR:
            self._write(tar.END)
        settle(self._file)
        self._file.close()
        shard = Shard(self.path.name, len(self.lengths), self.bytes, self._hash.hexdigest())
        with whole(self.path.with_name(shard.index_name)) as stream:
            np.save(stream, self._index(), allow_pickle=False)
        temporary(self.path).replace(self.path)
        settle_folder(self.path.parent)
        return shard

    def _index(self) -> np.ndarray:
        """int64 ``[samples, 2]``: byte offset and length of each record."""
        lengths = np.array(self.lengths, np.int64)
        return np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)

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
        suffix: The shards' ending.
    """

    def __init__(self, folder: Path, split: str, size: ShardSize, number: int = 0, suffix: str = TAR) -> None:
        self._folder, self._split, self._size = folder, split, size
        self._number, self._suffix = number, suffix
        self._shard: OpenShard | None = None

    @property
    def temporary(self) -> Path:
        """Where the open shard is, or the next one will be, until it is finished."""
        return temporary(self._path())

    def _path(self) -> Path:
        return shard_path(self._folder, self._split, self._number, self._suffix)

    @property
    def is_open(self) -> bool:
        """Whether a shard has been begun."""
        return self._shard is not None

    def append(self, run: bytes) -> Shard | None:
        """Add one record's bytes; the shard, if that filled it."""
        if self._shard is None:
            self._shard = OpenShard(self._path())
        self._shard.append(run)
        full = len(self._shard.lengths) >= self._size.samples or self._shard.bytes >= self._size.bytes
        return self.close() if full else None

    def close(self) -> Shard | None:
        """Finish the open shard, if there is one."""
        if self._shard is None:
            return None
        shard = self._shard.close()
        self._shard = None
        self._number += 1
        return shard

    def suspend(self) -> list[int]:
        """Leave the open shard for ``restore`` in a later run; bytes of each of its records."""
        if self._shard is None:
            return []
        lengths = self._shard.suspend()
        self._shard = None
        return lengths

    def restore(self, lengths: Sequence[int]) -> None:
        """Go on with the open shard that ``suspend`` left, or an unfinished run after it."""
        self._shard = OpenShard(self._path(), lengths)

    def discard(self) -> None:
        """Throw the open shard away."""
        if self._shard is not None:
            self._shard.discard()
            self._shard = None


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
