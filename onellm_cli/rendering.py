"""How results are printed: as JSON for machines, as lines and tables for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

_NUMBER = re.compile(r"-?[\d,]*\.?\d+(e[+-]\d+)?(%| [KMGT]i?B| B)?")


def echo_json(result: Any) -> None:
    """Print ``result`` as JSON on stdout."""
    click.echo(json.dumps(result, indent=2, ensure_ascii=False))


def echo_summary(summary: Mapping[str, Any]) -> None:
    """Print a summary on stdout: plain values first, then what each list or mapping holds.

    A list of mappings with the same keys (the columns) is a table; a mapping of mappings is one
    with its keys as first column; a mapping of plain values is a list of lines.
    """
    _echo_pairs({name: value for name, value in summary.items() if not _is_section(value)})
    for name, value in summary.items():
        if _is_section(value) and value:
            click.echo()
            _echo_section(_title(name), value)


def _echo_pairs(pairs: Mapping[str, Any], indent: str = "") -> None:
    """Print names and values, one pair a line."""
    width = max((len(_title(name)) for name in pairs), default=0) + 2
    for name, value in pairs.items():
        click.echo(f"{indent}{_title(name):<{width}}{_plain(name, value)}".rstrip())


def _echo_section(title: str, value: Any) -> None:
    """Print one list or mapping of a summary."""
    if isinstance(value, list):
        click.echo(title)
        _echo_rows(value)
    elif all(isinstance(row, Mapping) for row in value.values()):
        _echo_rows([{title: key, **row} for key, row in value.items()])
    else:
        click.echo(title)
        _echo_pairs(value, indent="  ")


def _echo_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print mappings as a table; its columns are all keys that occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_plain(name, row.get(name)) for name in columns] for row in rows]
    echo_table(cells, [_title(name) for name in columns])


def _is_section(value: Any) -> bool:
    """Whether a summary's value takes lines of its own."""
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)
    )


def _title(name: str) -> str:
    """A key as a heading."""
    return name.removesuffix("_bytes").replace("_", " ")


def _plain(name: str, value: Any) -> str:
    """A value in words; sizes in bytes, by the key's name, in units."""
    if isinstance(value, int) and not isinstance(value, bool) and name.endswith("bytes"):
        return human_bytes(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(key, item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return (
            f"[{', '.join(_plain('', item) for item in value)}]"
            if len(value) > 1
            else "".join(map(str, value))
        )
    return _cell(value)


def echo_table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> None:
    """Print rows under a header on stdout; columns of numbers are aligned to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(header))]
    table = [list(header), *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    """A value as a person reads it in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)


def _is_number(cell: str) -> bool:
    """Whether ``cell`` is empty or one number, with a unit or not."""
    return not cell or _NUMBER.fullmatch(cell) is not None


def human_bytes(size: float) -> str:
    """``1536`` → ``"1.5 KiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
