"""Tables of motion recordings: CSV with named columns, whatever the logger called them.

A line ``# rate_hz: 10`` before the header gives the rate of a table that has no time column.
A column may name its unit in brackets: ``acc_x [g]``, ``time [ms]``.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities.decoding import EMPTY, NOT_FINITE, TOO_LARGE, UNREADABLE, check_not_empty

CHANNELS = ("accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z")
MISSING_COLUMNS = "missing columns"
UNKNOWN_UNIT = "unknown unit"

STANDARD_GRAVITY = 9.80665
"""m/s² in one g (ISO 80000-3)."""

MAX_ROWS = 2_400_000  # ten minutes at 4000 Hz
MAX_LINE = 64 * 1024
MAX_COLUMNS = 1000

_UNITS = {
    "accl": {"m/s^2": 1.0, "m/s2": 1.0, "m/s²": 1.0, "g": STANDARD_GRAVITY, "mg": STANDARD_GRAVITY / 1000},
    "gyro": {"rad/s": 1.0, "deg/s": math.pi / 180, "dps": math.pi / 180, "°/s": math.pi / 180},
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
}
_SENSORS = (
    (re.compile(r"(?:accl|acc|accel|accelerometer|acceleration|linear_acceleration|a)[._]?([xyz])"), "accl"),
    (re.compile(r"(?:gyro|gyr|gyroscope|angular_velocity|g|w)[._]?([xyz])"), "gyro"),
)
_TIME = re.compile(r"(canonical_)?(?:timestamp|time|ts|t)(?:_(s|ms|us|ns))?")
_BRACKET = re.compile(r"(.*?)\s*[\[(]\s*([^])]*?)\s*[])]")
_RATE = re.compile(r"#\s*rate_hz\s*[:=]\s*(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """What a motion table holds.

    Attributes:
        values: float64 ``[6, N]``, channels as ``CHANNELS``, m/s² and rad/s.
        seconds: float64 ``[N]``, the time of each sample; None without a time column.
        rate: Hertz from a ``# rate_hz:`` line; None without one.
    """

    values: np.ndarray
    seconds: np.ndarray | None
    rate: float | None


@dataclass(frozen=True)
class _Column:
    """Where one quantity stands in a row, and the factor to its standard unit."""

    index: int
    factor: float


def read_table(path: Path) -> Table:
    """Read a comma, semicolon or tab separated motion table.

    Rows without a time are dropped (Ego4D leaves it empty where a clip was cut away); every
    other row must be whole.

    Raises:
        SignalError: With the reason ``missing columns``, ``unknown unit``, ``NaN in signal``,
            ``empty file``, ``too large`` or ``unreadable file``.
        OSError: The file cannot be read.
    """
    check_not_empty(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _bounded_lines(file)
        rate, header = _preamble(lines)
        delimiter = max(",;\t", key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
        columns, time = _find_columns(names)
        picked = columns if time is None else [*columns, time]
        rows = _rows(csv.reader(lines, delimiter=delimiter), picked, time)
        flat = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.float64)
    table = flat.reshape(-1, len(picked)).T * np.array([[column.factor] for column in picked])
    return Table(table[:6], None if time is None else table[6], rate)


def _bounded_lines(file: TextIO) -> Iterator[str]:
    """Lines of the file, never holding more than ``MAX_LINE`` characters."""
    for number in itertools.count(1):
        line = file.readline(MAX_LINE)
        if not line:
            return
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise SignalError(TOO_LARGE, f"line {number} is longer than {MAX_LINE} characters")
        if number > MAX_ROWS:
            raise SignalError(TOO_LARGE, f"more than {MAX_ROWS} lines")
        if line.strip():
            yield line


def _preamble(lines: Iterator[str]) -> tuple[float | None, str]:
    """The rate that a comment gives, if any, and the header line."""
    rate = None
    for line in lines:
        if not line.startswith("#"):
            return rate, line
        found = _RATE.match(line)
        if found:
            rate = _number(found[1], "the comment rate_hz")
    raise SignalError(EMPTY, "no header line")


def _find_columns(names: list[str]) -> tuple[list[_Column], _Column | None]:
    """The six channels' columns and the time column; a canonical time is taken before another.

    Raises:
        SignalError: A channel is missing or stands there twice, or a unit is unknown.
    """
    found: dict[str, _Column] = {}
    for index, name in enumerate(names[:MAX_COLUMNS]):
        key, column = _column(name, index)
        if key in found and key in CHANNELS:
            raise SignalError(MISSING_COLUMNS, f"two columns for {key}: {', '.join(names[:30])}")
        if key:
            found.setdefault(key, column)
    missing = [channel for channel in CHANNELS if channel not in found]
    if missing:
        raise SignalError(
            MISSING_COLUMNS,
            f"got the columns {', '.join(names[:30])}; expected {', '.join(CHANNELS)} and a time column "
            f"such as timestamp_ms or timestamp_s; not found: {', '.join(missing)}",
        )
    time = found.get("canonical_time", found.get("time"))
    if time is None and "time_without_unit" in found:
        raise _unknown_unit("time", names[found["time_without_unit"].index])
    return [found[channel] for channel in CHANNELS], time


def _column(name: str, index: int) -> tuple[str, _Column]:
    """What a column holds ("" if nothing of ours), and the factor to m/s², rad/s or s."""
    bracket = _BRACKET.fullmatch(name)
    bare, unit = (bracket[1], bracket[2].lower()) if bracket else (name, "")
    bare = re.sub(r"[\s.-]+", "_", bare.lower())
    for pattern, sensor in _SENSORS:
        found = pattern.fullmatch(bare)
        if found and unit and unit not in _UNITS[sensor]:
            raise _unknown_unit(sensor, name)
        if found:
            return f"{sensor}_{found[1]}", _Column(index, _UNITS[sensor][unit] if unit else 1.0)
    time = _TIME.fullmatch(bare)
    if time:
        factor = _UNITS["time"].get(unit or time[2])
        if factor is None:
            return "time_without_unit", _Column(index, 1.0)
        return f"{time[1] or ''}time", _Column(index, factor)
    return "", _Column(index, 1.0)


def _unknown_unit(quantity: str, name: str) -> SignalError:
    """The error for a column whose unit is not known; says how to write one."""
    units = ", ".join(_UNITS[quantity])
    example = "timestamp_ms" if quantity == "time" else f"{quantity}_x [{next(iter(_UNITS[quantity]))}]"
    return SignalError(UNKNOWN_UNIT, f"the column '{name}'; expected one of {units}, as in '{example}'")


def _rows(reader: Iterator[list[str]], picked: list[_Column], time: _Column | None) -> Iterator[list[float]]:
    """The numbers of each row that has a time."""
    for number, row in enumerate(reader, start=1):
        where = f"data row {number}"
        if len(row) <= max(column.index for column in picked):
            raise SignalError(UNREADABLE, f"{where} has {len(row)} cells, fewer than the header")
        if time is not None and not row[time.index].strip():
            continue
        yield [_number(row[column.index], where) for column in picked]


def _number(text: str, where: str) -> float:
    """A finite number; an empty cell counts as NaN, as data frame libraries write it."""
    try:
        number = float(text) if text.strip() else math.nan
    except ValueError:
        raise SignalError(UNREADABLE, f"{where} holds '{text[:40]}', expected a number") from None
    if not math.isfinite(number):
        raise SignalError(NOT_FINITE, f"{where} holds '{text[:40]}', expected a finite number")
    return number
