"""Objects of a JSON array in a file of any size, one at a time: none of them can fill the memory.

The file is cut into its elements by their brackets, and each is parsed alone, so that a damaged one
costs only itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from onellm_data.errors import UsageError
from onellm_data.sources.tables import BAD_ROW, BadRow, Row

MAX_ROW = 1 << 20
"""Bytes of the longest object that is read; longer ones are skipped piece by piece and rejected."""

LONG_ROW = "row too long"

MAX_DEPTH = 500
"""Brackets inside brackets: more are no data but an attack, or a file that lost its closing brackets."""

CHUNK = 1 << 18
MAX_START = 1 << 20
"""Bytes in which ``first`` looks for the first object."""

_MAX_KEY = 1 << 12
_BOM = b"\xef\xbb\xbf"
_OUTSIDE = re.compile(rb'[^][{},"]*(?:"[^"\\]*"[^][{},"]*)*([][{},"])')  # goes over simple strings: most are
_INSIDE = re.compile(rb'[^"\\]*(["\\])')
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

_Pieces = Iterator[tuple[bytes, bytes]]


def rows(path: Path, prefix: str = "") -> Iterator[Row | BadRow]:
    """The objects of a JSON array; ``line`` of a row is its number in the array, from 1.

    ``NaN`` and ``Infinity``, which are no JSON but common, become None.

    Args:
        path: The file, in UTF-8.
        prefix: Where the array is: nothing if the file is one, or the key of the outermost object
            that holds it (``data``).

    Raises:
        UsageError: There is no array in that place.
    """
    with path.open("rb") as stream:
        pieces = _pieces(stream)
        if not _enter(pieces, prefix):
            place = f"an object whose '{prefix}' is an array" if prefix else "an array"
            raise UsageError(f"{path} does not hold what is expected: JSON, {place} of objects")
        yield from _elements(pieces)


def first(path: Path, prefix: str = "") -> dict[str, Any] | None:
    """The first object of the array, for recognising a layout; None if the file begins otherwise."""
    with path.open("rb") as stream:
        pieces = _pieces(stream, MAX_START)
        row = next(_elements(pieces), None) if _enter(pieces, prefix) else None
    return row.values if isinstance(row, Row) else None


def _pieces(stream: BinaryIO, limit: int | None = None) -> _Pieces:
    """A file in pieces, each up to a bracket or a comma outside of strings.

    Yields:
        The piece and the mark that it ends with; no mark where only the chunk ended.
    """
    quoted = escaped = False
    read = 0
    while chunk := stream.read(CHUNK):
        if not read:
            chunk = chunk.removeprefix(_BOM)
        read += CHUNK
        start, at = 0, int(escaped)
        escaped = False
        while match := (_INSIDE if quoted else _OUTSIDE).match(chunk, at):
            mark, at = match[1], match.end()
            if mark == b'"':
                quoted = not quoted
            elif mark == b"\\":
                escaped = at == len(chunk)
                at += 1
            else:
                yield chunk[start:at], mark
                start = at
        yield chunk[start:], b""
        if limit is not None and read >= limit:
            return


def _enter(pieces: _Pieces, prefix: str) -> bool:
    """Go on to where the array begins; False if there is none."""
    opening = b"{" if prefix else b"["
    before, mark = _next_mark(pieces)
    if before.strip() != opening or mark != opening:
        return False
    if not prefix:
        return True
    key = re.compile(rb"\s*" + re.escape(json.dumps(prefix).encode()) + rb"\s*:\s*\[")
    depth, text = 1, b""
    for piece, mark in pieces:
        if depth == 1:
            text = (text + piece)[-_MAX_KEY:]
            if mark == b"[" and key.fullmatch(text):
                return True
        depth += _step(mark)
        if mark == b"," or depth == 0:
            text = b""
    return False


def _next_mark(pieces: _Pieces) -> tuple[bytes, bytes]:
    before = b""
    for piece, mark in pieces:
        before = (before + piece)[-_MAX_KEY:]
        if mark:
            return before, mark
    return before, b""


def _step(mark: bytes) -> int:
    return 1 if mark in (b"[", b"{") else -1 if mark in (b"]", b"}") else 0


def _elements(pieces: _Pieces) -> Iterator[Row | BadRow]:
    """Rows of the array that has just begun; a file that ends before it does is a bad last row."""
    number, depth, size, text = 1, 0, 0, bytearray()
    for piece, mark in pieces:
        ends = depth == 0 and mark in (b",", b"]")
        size += len(piece)
        if size <= MAX_ROW:
            text += piece
        if not ends:
            depth = max(0, depth + _step(mark))
            if depth > MAX_DEPTH:
                yield BadRow(number, BAD_ROW, f"nested more than {MAX_DEPTH} deep; the rest is not read")
                return
            continue
        is_empty_array = mark == b"]" and number == 1 and not text[:-1].strip()
        if not is_empty_array:
            yield _long(number, size) if size > MAX_ROW else _parsed(number, bytes(text[:-1]))
        if mark == b"]":
            return
        number, size, text = number + 1, 0, bytearray()
    yield BadRow(number, BAD_ROW, "the file ends inside the array; is it completely downloaded?")


def _long(number: int, size: int) -> BadRow:
    return BadRow(number, LONG_ROW, f"got {size} bytes, expected at most {MAX_ROW}")


def _parsed(number: int, text: bytes) -> Row | BadRow:
    try:
        values = json.loads(text.decode(), parse_constant=lambda name: None)
        if _SURROGATE.search(text):  # half of a pair cannot be written again
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return BadRow(number, BAD_ROW, f"not JSON: {error}"[:300])
    if not isinstance(values, dict):
        return BadRow(number, BAD_ROW, f"got JSON {type(values).__name__}, expected an object")
    return Row(number, values)
