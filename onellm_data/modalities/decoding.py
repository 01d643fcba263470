"""Reading files that may be damaged or hostile: bounded sizes, and one kind of error.

Decoders raise almost anything for a damaged file.  ``decoding`` turns that into a
``SignalError`` with one of the fixed reasons below; rejects are counted by them.
"""

from __future__ import annotations

import csv
import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from onellm_data.errors import OnellmError, SignalError

MISSING = "missing file"
EMPTY = "empty file"
UNREADABLE = "unreadable file"
TOO_LARGE = "too large"
TOO_SHORT = "too short"
NOT_FINITE = "NaN in signal"
WRONG_SHAPE = "wrong shape"
UNLIKELY_RATE = "unlikely rate"

MAX_ARRAY_BYTES = 512 * 2**20
"""Bytes that an array may take once it is unpacked, whatever its header promises."""

DECODER_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SyntaxError,
    RuntimeError,
    AssertionError,
    struct.error,
    csv.Error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What the decoders used here (Pillow, NumPy, csv, trimesh, h5py, nibabel, libsndfile, PyAV) raise."""


@contextmanager
def decoding(path: Path | str, expected: str, *more: type[Exception]) -> Iterator[None]:
    """Run a decoder on ``path``; what it raises becomes a ``SignalError`` that names the file.

    Args:
        path: The file that is read, for messages.
        expected: What the file should have been, in words.
        more: Errors of the decoder beside ``DECODER_ERRORS``.

    Raises:
        SignalError: The block raised; a ``SignalError`` of its own gets the file's name in front.
    """
    try:
        yield
    except SignalError as error:
        raise SignalError(error.reason, f"{path}: {error.detail}") from error
    except OnellmError:
        raise
    except FileNotFoundError as error:
        raise SignalError(MISSING, f"{path}: expected {expected}") from error
    except DECODER_ERRORS + more as error:
        got = f"{type(error).__name__}: {error}"[:300]
        raise SignalError(UNREADABLE, f"{path}: expected {expected}, got {got}") from error


def check_not_empty(path: Path) -> int:
    """The size of ``path`` in bytes.

    Raises:
        SignalError: The file holds nothing.
        OSError: It cannot be looked at.
    """
    size = path.stat().st_size
    if size == 0:
        raise SignalError(EMPTY, "the file has 0 bytes")
    return size


def read_bounded(path: Path, limit: int) -> bytes:
    """All bytes of a file that is not empty and not larger than ``limit``.

    Raises:
        SignalError: The file is empty or too large.
        OSError: It cannot be read.
    """
    size = check_not_empty(path)
    if size > limit:
        raise SignalError(TOO_LARGE, f"{size} bytes, at most {limit} are read")
    return path.read_bytes()


def read_array(path: Path, names: tuple[str, ...] = ()) -> np.ndarray:
    """The array in a ``.npy`` file, or in a ``.npz`` file under one of ``names`` (or its only one).

    The header is looked at before anything is unpacked; pickled objects are refused.

    Raises:
        SignalError: Not a plain numeric array, or larger than ``MAX_ARRAY_BYTES``.
        ValueError, OSError, zipfile.BadZipFile: A damaged file.
    """
    check_not_empty(path)
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            return _read_npy(file)
        with zipfile.ZipFile(file) as archive, archive.open(_member(archive, names)) as member:
            return _read_npy(member)


def _member(archive: zipfile.ZipFile, names: tuple[str, ...]) -> str:
    """The name of the archive's array: the first of ``names`` that is there, or the only member."""
    present = archive.namelist()
    for name in names:
        if f"{name}.npy" in present:
            return f"{name}.npy"
    if len(present) == 1:
        return present[0]
    raise SignalError(
        UNREADABLE,
        f"the .npz file holds {', '.join(present[:10]) or 'nothing'}; expected one array"
        + (f", or one that is called {' or '.join(names)}" if names else ""),
    )


def _read_npy(file: IO[bytes]) -> np.ndarray:
    """One ``.npy`` stream; its header is checked before its data is read."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise SignalError(UNREADABLE, f"version {version} of the .npy format; expected 1.0 or 2.0")
    shape, fortran, dtype = readers[version](file)
    if dtype.kind not in "biuf":
        raise SignalError(UNREADABLE, f"an array of {dtype}; expected plain numbers")
    if any(length < 0 for length in shape):
        raise SignalError(WRONG_SHAPE, f"the header promises the shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_ARRAY_BYTES:
        raise SignalError(TOO_LARGE, f"an array of shape {shape} and {size} bytes, at most {MAX_ARRAY_BYTES}")
    data = file.read(size)
    if len(data) < size:
        raise SignalError(
            UNREADABLE, f"{len(data)} bytes of data where shape {shape} needs {size}: truncated"
        )
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def npy_bytes(array: np.ndarray) -> bytes:
    """The array as a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def from_npy_bytes(data: bytes) -> np.ndarray:
    """The inverse of ``npy_bytes``.

    Raises:
        SignalError: The bytes are no ``.npy`` file of plain numbers.
    """
    with decoding("shard member", "a .npy array"):
        return _read_npy(io.BytesIO(data))
