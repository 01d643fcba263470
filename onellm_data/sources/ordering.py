"""Sorting and grouping on disk, so that memory does not grow with the data set.

SQLite keeps a private temporary file (``$SQLITE_TMPDIR``, else ``$TMPDIR``) that vanishes with the
connection, even after a crash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Generic, TypeVar

from onellm_data.errors import OnellmError

T = TypeVar("T")


class Counted(Generic[T]):
    """An iterator that knows how many it will give."""

    def __init__(self, iterator: Iterator[T], total: int) -> None:
        self._iterator, self._total = iterator, total

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._iterator)

    def __length_hint__(self) -> int:
        return self._total


def in_order(keys: Iterable[bytes]) -> Counted[bytes]:
    """Different keys, in byte order."""
    database = sqlite3.connect("")
    with _explained():
        database.execute("CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID")
        database.executemany("INSERT OR IGNORE INTO keys VALUES (?)", ((key,) for key in keys))
        (total,) = database.execute("SELECT count(*) FROM keys").fetchone()
    return Counted(_keys(database), total)


def _keys(database: sqlite3.Connection) -> Iterator[bytes]:
    with closing(database):
        for (key,) in database.execute("SELECT key FROM keys ORDER BY key"):
            yield key


def grouped(rows: Iterable[tuple[bytes, str]]) -> Counted[tuple[bytes, list[str]]]:
    """Rows with the same key together, keys and rows in the order in which they first came."""
    database = sqlite3.connect("")
    with _explained():
        database.execute("CREATE TABLE groups (first INTEGER PRIMARY KEY, key BLOB UNIQUE)")
        database.execute(
            "CREATE TABLE rows (first INTEGER, number INTEGER, value TEXT, PRIMARY KEY (first, number)) "
            "WITHOUT ROWID"
        )
        for number, (key, value) in enumerate(rows):
            database.execute("INSERT OR IGNORE INTO groups VALUES (?, ?)", (number, key))
            database.execute(
                "INSERT INTO rows SELECT first, ?, ? FROM groups WHERE key = ?", (number, value, key)
            )
        (total,) = database.execute("SELECT count(*) FROM groups").fetchone()
    return Counted(_groups(database), total)


def _groups(database: sqlite3.Connection) -> Iterator[tuple[bytes, list[str]]]:
    ordered = "SELECT key, value FROM rows JOIN groups USING (first) ORDER BY first, number"
    with closing(database):
        group: tuple[bytes, list[str]] | None = None
        for key, value in database.execute(ordered):
            if group is not None and group[0] == key:
                group[1].append(value)
                continue
            if group is not None:
                yield group
            group = (key, [value])
        if group is not None:
            yield group


class _explained:
    """Turns SQLite's errors into one that says where the space is missing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError):
            raise OnellmError(
                f"cannot sort the source's list of files ({error}); make room in the folder for temporary "
                "files, or name another one: TMPDIR=/elsewhere onellm prepare …"
            ) from error
