"""Arrays from MATLAB files up to version 7; those of version 7.3 are HDF5 and read with h5py."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onellm_data.errors import UsageError, require

MAX_FILE = 64 << 20
"""Bytes of the largest file; the tables of splits and trials that are read so have some hundred thousand."""

_BROKEN = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, struct.error, zlib.error)


def read_mat(path: Path, names: Sequence[str], extra: str) -> dict[str, np.ndarray]:
    """The variables ``names`` of a file.

    Args:
        path: The file.
        names: Variables that it must have.
        extra: The extra that installs scipy for the caller.

    Raises:
        UsageError: It is no such file, is too large, or lacks a variable.
        MissingExtra: scipy is not installed.
    """
    scipy_io = require("scipy.io", extra)
    size = path.stat().st_size
    if size > MAX_FILE:
        raise UsageError(f"{path} has {size} bytes, expected at most {MAX_FILE}")
    try:
        found = scipy_io.loadmat(path, variable_names=list(names))
    except NotImplementedError as error:
        raise UsageError(f"{path} is of MATLAB's version 7.3; save it with -v7") from error
    except (*_BROKEN, scipy_io.matlab.MatReadError) as error:
        raise UsageError(f"{path} is no MATLAB file that can be read ({error}); fetch it again") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"{path} has no {', '.join(missing)}; fetch it again")
    return {name: found[name] for name in names}


def strings(cells: np.ndarray) -> list[str]:
    """The texts of a cell array, as scipy gives it: arrays in arrays."""
    texts = []
    for cell in cells.reshape(-1):
        while isinstance(cell, np.ndarray) and cell.size:
            cell = cell.reshape(-1)[0]
        texts.append(cell if isinstance(cell, str) else "")
    return texts
