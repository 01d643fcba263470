"""Numbers and texts from MATLAB files of level 5 (saved with -v5 to -v7); version 7.3 is HDF5.

Source of the format: MathWorks, "MAT-File Format" (R2024a), chapter 1.  Read here with bounds and without
code that a damaged file can crash; structures, objects and sparse arrays are passed over.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE, decoding, read_bounded

MAX_BYTES = 64 << 20
"""Bytes of the largest file, and of a variable once unpacked; tables of trials and splits have 1 MB."""

MAX_CELLS = 1_000_000
MAX_DEPTH = 4

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4
_NUMBERS = range(6, 16)
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}

Value = Any
"""An array of numbers, a text, a list of values (a cell array), or None for what is passed over."""


def read_mat(path: Path, names: Sequence[str]) -> dict[str, Value]:
    """The variables ``names`` of a file.

    Raises:
        UsageError: It is no such file, is too large, or lacks a variable.
    """
    found: dict[str, Value] = {}
    try:
        with decoding(path, "a MATLAB file"):
            data = read_bounded(path, MAX_BYTES)
            for name, value in _variables(data):
                found[name] = value
    except SignalError as error:
        raise UsageError(f"{error}; fetch the file again, or save it with -v7") from error
    missing = [name for name in names if found.get(name) is None]
    if missing:
        raise UsageError(f"{path} has no {', '.join(missing)}; fetch it again")
    return {name: found[name] for name in names}


def numbers(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Variables that must be arrays of whole numbers, as int64.

    Raises:
        UsageError: As ``read_mat``, or one is something else.
    """
    arrays = read_mat(path, names)
    for name, value in arrays.items():
        is_whole = isinstance(value, np.ndarray) and np.isfinite(value).all() and (abs(value) < 2**53).all()
        if not is_whole:
            raise UsageError(f"{path}: {name} should be an array of whole numbers; fetch it again")
    return [value.astype(np.int64) for value in arrays.values()]


def texts(value: Value) -> list[str]:
    """The texts of a cell array; one that lies in further cells counts, what is no text is left out."""
    if isinstance(value, str):
        return [value]
    return [text for one in value for text in texts(one)] if isinstance(value, list) else []


@dataclass(frozen=True)
class _Element:
    kind: int
    data: bytes


def _variables(data: bytes) -> Iterator[tuple[str, Value]]:
    """Name and value of each variable."""
    mark = data[126:128]
    if mark not in (b"IM", b"MI") or data[124:126] not in (b"\0\1", b"\1\0"):
        raise SignalError(UNREADABLE, "no header of level 5")
    order = "<" if mark == b"IM" else ">"
    for element in _elements(data[_HEADER:], order):
        if element.kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(element.data, MAX_BYTES)
            element = next(_elements(unpacked, order), _Element(0, b""))
        if element.kind == _MATRIX:
            yield _matrix(element.data, order, 0)


def _elements(data: bytes, order: str) -> Iterator[_Element]:
    """Data elements one after another; short ones lie in their own tag."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:
            kind, size, start, at = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            end = start + min(size, 4)
        else:
            start = at + 8
            end = start + size
            at = end if kind == _COMPRESSED else end + -end % 8
        if end > len(data):
            raise SignalError(UNREADABLE, f"an element claims {size} bytes, {len(data) - start} are left")
        yield _Element(kind, data[start:end])


def _matrix(data: bytes, order: str, depth: int) -> tuple[str, Value]:
    """Name and value of an array; an empty one in a cell has neither."""
    parts = _elements(data, order)
    head = [next(parts, None) for _ in range(3)]
    flags, shape, name = head
    if flags is None or shape is None or name is None:
        return "", None
    kind = struct.unpack_from(order + "I", flags.data)[0] & 0xFF
    sizes = np.frombuffer(shape.data, order + "i4").tolist()
    told = name.data.decode("latin-1")
    if min(sizes, default=-1) < 0 or math.prod(sizes) > MAX_BYTES:
        raise SignalError(TOO_LARGE, f"'{told}' has the shape {sizes}")
    if kind == _CELL and depth < MAX_DEPTH and math.prod(sizes) <= MAX_CELLS:
        return told, [_matrix(part.data, order, depth + 1)[1] for part in parts]
    content = next(parts, None)
    if content is not None and kind == _CHAR and content.kind in _TEXTS:
        return told, _text(content, order)
    if content is not None and kind in _NUMBERS and content.kind in _STORED:
        array = np.frombuffer(content.data, order + _STORED[content.kind])
        return told, array.reshape(sizes, order="F")
    return told, None


def _text(content: _Element, order: str) -> str:
    """A row of characters."""
    encoding = _TEXTS[content.kind]
    suffix = {"<": "-le", ">": "-be"}[order] if encoding.endswith(("16", "32")) else ""
    return content.data.decode(encoding + suffix, "replace")
