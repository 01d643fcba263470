"""Writing a file so that it is there whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def temporary(path: Path) -> Path:
    """The hidden name in the same folder under which ``path`` is written."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when the block ends without an error.

    By then its bytes are on the disk, so that after a crash the name never stands for half of them.
    """
    name = temporary(path)
    try:
        with name.open("wb") as stream:
            yield stream
            settle(stream)
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    settle_folder(path.parent)


def settle(stream: BinaryIO) -> None:
    """Wait until what was written to ``stream`` is on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def settle_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
