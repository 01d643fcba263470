"""Results that are whole or not there: write under a temporary name, flush, rename."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onellm_data.errors import OnellmError, UsageError


def full_disk(error: OSError, where: object) -> OnellmError:
    """The error for a write that failed: says whether the disk is full, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OnellmError(
            f"no space left while writing {where}; nothing half-written was kept: "
            "make room (or write to another disk) and run the same command again"
        )
    return OnellmError(f"cannot write {where}: {error.strerror or error}")


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that becomes ``out`` when the block ends well.

    Raises:
        UsageError: ``out`` exists and is not an empty folder, or cannot be made.
        OnellmError: The disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already exists; expected a folder that does not exist yet, or an empty one")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror or error}") from error
    try:
        yield work
        sync_tree(work)
        open_tree(work)
        os.replace(work, out)
    except OSError as error:
        raise full_disk(error, out) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that becomes ``path`` when the block ends well.

    Raises:
        UsageError: The folder of ``path`` cannot be made.
        OnellmError: The disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    work = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield work
        with work.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(work, path)
    except OSError as error:
        raise full_disk(error, path) from error
    finally:
        work.unlink(missing_ok=True)


def open_tree(folder: Path) -> None:
    """Give ``folder`` and its files the permissions that new ones have (temporary ones are private)."""
    mask = os.umask(0)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def sync_tree(folder: Path) -> None:
    """Flush every file below ``folder`` to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
