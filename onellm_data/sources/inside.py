"""Paths that come from raw data and must not leave its folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from onellm_data.errors import SignalError

MISSING_FILE = "missing file"
LEAVES_FOLDER = "leaves the folder"
NOT_A_FILE = "not a regular file"
UNREADABLE = "unreadable file"


def inside(root: str, name: str) -> Path:
    """The file ``name`` of the folder ``root``; links are followed only as far as they stay inside.

    Args:
        root: A real path (``os.path.realpath``).
        name: Relative to it, or absolute.

    Raises:
        SignalError: It leads out of the folder, there is no such file, or it is a folder, a pipe or
            a device.
    """
    if not name or "\0" in name:
        raise SignalError(MISSING_FILE, f"got the file name {name!r}")
    path = os.path.normpath(os.path.join(root, name))
    if not is_inside(root, path):
        raise SignalError(LEAVES_FOLDER, f"the path {name} leads out of {root}")
    real = os.path.realpath(path)
    if not is_inside(root, real):
        raise SignalError(LEAVES_FOLDER, f"the link {name} leads to {real}, out of {root}")
    try:
        mode = os.stat(real).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SignalError(MISSING_FILE, f"there is no {path}") from error
    except OSError as error:
        raise SignalError(UNREADABLE, f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise SignalError(NOT_A_FILE, f"{path} is a folder, a pipe or a device")
    return Path(path)


def is_inside(root: str, path: str) -> bool:
    """Whether ``path`` is ``root`` or below it; both without ``..``."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
