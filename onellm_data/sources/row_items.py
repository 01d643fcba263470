"""Rows of raw tables → items, one by one or several rows about one thing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.ordering import Counted, grouped
from onellm_data.sources.tables import BadRow, Row
from onellm_data.sources.texts import check_text

Rows = Iterable[Row | BadRow]


def one_by_one(
    path: Path, rows: Rows, make: Callable[[Mapping[str, Any]], Item], split: str | None = None
) -> Iterator[Item | Reject]:
    """An item or a reject for each row.

    Args:
        path: The table, for messages.
        rows: Its rows.
        make: Columns → item; raises ``SignalError``.
        split: The split of rejects.
    """
    for row in rows:
        try:
            yield make(_values(row))
        except SignalError as error:
            yield Reject(f"row {row.line}", f"{path}:{row.line}", error.reason, error.detail, split)


@dataclass(frozen=True)
class Facts:
    """What the rows about one thing say together.

    Attributes:
        key: What the rows share.
        where: The table and row that named it first.
        rows: What ``read`` made of each row, in their order.
    """

    key: str
    where: str
    rows: list[dict[str, Any]]

    def first(self, name: str) -> Any:
        """The first value that is not None."""
        return next((row[name] for row in self.rows if row.get(name) is not None), None)

    def all(self, name: str) -> list[Any]:
        """Elements of that list in all rows."""
        return [value for row in self.rows for value in row.get(name, ())]


Read = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]


def together(
    sets: Iterable[tuple[Path, Rows, Read]], make: Callable[[Facts], Item]
) -> Counted[Item | Reject]:
    """An item or a reject for each thing, in the order in which rows first name them.

    Rows may come from several tables; they are grouped on disk.  A bad row is rejected alone.

    Args:
        sets: A table, its rows, and what reads one: columns → key and facts as JSON values; raises
            ``SignalError``.
        make: All facts about a key → item; raises ``SignalError``.
    """
    groups = grouped(_fact(path, row, read) for path, rows, read in sets for row in rows)
    return Counted((_made(group, make) for group in groups), groups.__length_hint__())


def _values(row: Row | BadRow) -> Mapping[str, Any]:
    if isinstance(row, BadRow):
        raise SignalError(row.reason, row.detail)
    return row.values


def _fact(path: Path, row: Row | BadRow, read: Read) -> tuple[bytes, str]:
    where = f"{path}:{row.line}"
    try:
        key, facts = read(_values(row))
        check_text(key, facts)
        return key.encode(), json.dumps([where, facts])
    except SignalError as error:
        bad = {"line": row.line, "reason": error.reason, "detail": error.detail}
        return b"\0" + where.encode("utf-8", "surrogateescape"), json.dumps([where, bad])


def _made(group: tuple[bytes, list[str]], make: Callable[[Facts], Item]) -> Item | Reject:
    key, told = group[0], [json.loads(one) for one in group[1]]
    where = told[0][0]
    if key.startswith(b"\0"):
        bad = told[0][1]
        return Reject(f"row {bad['line']}", where, bad["reason"], bad["detail"])
    facts = Facts(key.decode(), where, [row for _, row in told])
    try:
        return make(facts)
    except SignalError as error:
        name, split = facts.first("file") or facts.key, facts.first("split")
        return Reject(name, where, error.reason, error.detail, split)
