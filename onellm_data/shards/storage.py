"""Byte ranges of files in a local folder or under an fsspec URL."""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from onellm_data.errors import OnellmError, UsageError

_OPEN_FILES = 64
_OPEN_INDEXES = 512


class Storage(Protocol):
    """Reads files of one folder by name."""

    def read(self, name: str, limit: int) -> bytes:
        """The whole file ``name``. Raises FileNotFoundError, and OnellmError above ``limit`` bytes."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """``length`` bytes of the file ``name`` from ``offset``; fewer at its end."""
        ...

    def array(self, name: str, limit: int) -> np.ndarray:
        """The ``.npy`` file ``name``, memory-mapped where that is possible."""
        ...


def open_storage(path: str | Path) -> Storage:
    """The storage for a local path or a URL such as ``s3://bucket/folder``.

    Raises:
        UsageError: The local path is no folder.
    """
    if isinstance(path, str) and "://" in path:
        return RemoteStorage(path)
    folder = Path(path)
    if not folder.is_dir():
        kind = "a file" if folder.exists() else "nothing"
        raise UsageError(f"found {kind} at {folder}, expected a folder that 'onellm prepare' wrote")
    return LocalStorage(folder)


class _File:
    """An open file that closes when the last one who reads from it lets go."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class LocalStorage:
    """A local folder. Positions are never shared, so threads and forked processes may read at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = lru_cache(_OPEN_FILES)(self._open_file)
        self._array = lru_cache(_OPEN_INDEXES)(self._load_array)

    def _open_file(self, name: str) -> _File:
        return _File(self.folder / name)

    def _load_array(self, name: str) -> np.ndarray:
        return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)

    def read(self, name: str, limit: int) -> bytes:
        """See ``Storage.read``."""
        with (self.folder / name).open("rb") as stream:
            return _bounded(name, stream.read(limit + 1), limit)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See ``Storage.read_range``."""
        file = self._open(name)
        return os.pread(file.descriptor, length, offset)

    def array(self, name: str, limit: int) -> np.ndarray:
        """See ``Storage.array``."""
        return self._array(name)


class RemoteStorage:
    """A folder under an fsspec URL."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self.files, self.root = fsspec.core.url_to_fs(url.rstrip("/"))
        except (ValueError, ImportError) as error:
            raise UsageError(f"cannot read from {url}: {error}") from error
        self._array = lru_cache(_OPEN_INDEXES)(self._load_array)

    def read(self, name: str, limit: int) -> bytes:
        """See ``Storage.read``."""
        with self.files.open(f"{self.root}/{name}", "rb") as stream:
            return _bounded(name, stream.read(limit + 1), limit)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See ``Storage.read_range``."""
        return self.files.cat_file(f"{self.root}/{name}", start=offset, end=offset + length)

    def _load_array(self, name: str, limit: int) -> np.ndarray:
        return np.load(io.BytesIO(self.read(name, limit)), allow_pickle=False)

    def array(self, name: str, limit: int) -> np.ndarray:
        """See ``Storage.array``."""
        return self._array(name, limit)


def _bounded(name: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise OnellmError(f"{name} has more than {limit} bytes, more than such a file can need")
    return data
