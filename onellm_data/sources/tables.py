"""Rows of CSV and JSON-lines files, read line by line: no line and no row can fill the memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from onellm_data.errors import UsageError

MAX_LINE = 1 << 20
"""Bytes of the longest line that is read; longer ones are skipped piece by piece and rejected."""

LONG_LINE = "line too long"
BAD_ROW = "unreadable row"

_SEPARATORS = {",": "commas", "\t": "TABs"}


@dataclass(frozen=True)
class Row:
    """One row: its line in the file, and its values by column."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """Lines that are no row, and why."""

    line: int
    reason: str
    detail: str


class _LongLine(ValueError):
    """A line has more than ``MAX_LINE`` bytes."""


class _Lines:
    """Lines of a file as text, with their numbers.

    An iterator that goes on after it raised ``_LongLine``, unlike a generator. Bytes that are not
    UTF-8 become lone surrogates, as in file names.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE:
            self._skip_rest(line)
            raise _LongLine(f"line {self.number} has more than {MAX_LINE} bytes")
        if self.number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that Excel writes
        return line.decode("utf-8", "surrogateescape")

    def _skip_rest(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._stream.readline(MAX_LINE)


def rows(
    path: Path, required: Sequence[str], delimiter: str = ",", has_header: bool = True
) -> Iterator[Row | BadRow]:
    """The rows of a ``.csv`` or ``.jsonl`` file.

    Args:
        path: The file.
        required: Columns that it must have; all columns of a file without header, in their order.
        delimiter: What separates the columns of a ``.csv`` file.
        has_header: Whether the first row of a ``.csv`` file names the columns.

    Raises:
        UsageError: Its header (CSV) or first row (JSON lines) has not these columns.
    """
    with path.open("rb") as stream:
        if path.suffix == ".jsonl":
            yield from _json_rows(path, _Lines(stream), required)
        else:
            columns = None if has_header else list(required)
            yield from _csv_rows(path, _Lines(stream), required, delimiter, columns)


def header(path: Path, delimiter: str = ",") -> list[str]:
    """The columns of a ``.csv`` file, for recognising a layout; none if its first line is no header."""
    with path.open("rb") as stream:
        try:
            columns = next(csv.reader(_Lines(stream), delimiter=delimiter), [])
        except (csv.Error, _LongLine):
            return []
    return [column.strip() for column in columns]


def _csv_rows(
    path: Path, lines: _Lines, required: Sequence[str], delimiter: str, columns: list[str] | None
) -> Iterator[Row | BadRow]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = lines.number + 1
        try:
            values = next(reader)
        except StopIteration:
            break
        except (csv.Error, _LongLine) as error:
            if columns is None:
                raise UsageError(f"the header of {path} cannot be read: {error}") from error
            yield _bad_csv(line, lines.number, error)
            continue
        if not values:
            continue
        if columns is None:
            columns = [value.strip() for value in values]
            _check_columns(path, columns, required, _SEPARATORS.get(delimiter, repr(delimiter)))
        elif len(values) != len(columns):
            yield BadRow(
                line, BAD_ROW, f"got {len(values)} fields, expected {len(columns)} ({','.join(columns)})"
            )
        else:
            yield Row(line, dict(zip(columns, values, strict=True)))
    if columns is None:
        raise UsageError(f"{path} is empty, expected a header with the columns {', '.join(required)}")


def _bad_csv(first: int, last: int, error: Exception) -> BadRow:
    if isinstance(error, _LongLine):
        return BadRow(first, LONG_LINE, str(error))
    return BadRow(first, BAD_ROW, f"lines {first} to {last}: {error}; is a quotation mark left open?")


def _check_columns(
    path: Path, got: Sequence[str], required: Sequence[str], separators: str = "commas"
) -> None:
    if set(required) <= set(got) and len(set(got)) == len(got):
        return
    shown = ", ".join(repr(column[:40]) for column in got[:20])
    raise UsageError(
        f"{path} has the columns {shown}; expected {', '.join(map(repr, required))}, each once, "
        f"and if you like 'split' and others (UTF-8, separated by {separators})"
    )


def _json_rows(path: Path, lines: _Lines, required: Sequence[str]) -> Iterator[Row | BadRow]:
    first = True
    while True:
        try:
            text = next(lines)
        except StopIteration:
            break
        except _LongLine as error:
            yield BadRow(lines.number, LONG_LINE, str(error))
            continue
        if not text.strip():
            continue
        row = _parse_json(lines.number, text)
        if first and isinstance(row, Row):
            _check_columns(path, list(row.values), required)
            first = False
        yield row


def _parse_json(line: int, text: str) -> Row | BadRow:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRow(line, BAD_ROW, f"not JSON: {error}")
    if not isinstance(values, dict):
        return BadRow(line, BAD_ROW, f"got JSON {type(values).__name__}, expected an object")
    return Row(line, values)
