"""One motion recording of Ego4D: ``v2/imu/{video_uid}.csv``, a row a sample.

Source of the format: https://ego4d-data.org/docs/data/imu/.  Columns are ``component_idx``,
``component_timestamp_ms``, ``canonical_timestamp_ms``, ``gyro_*`` and ``accl_*``; the canonical time is
that of the finished video, and empty where a component was cut away.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities import imu
from onellm_data.modalities.decoding import TOO_LARGE, check_not_empty, decoding
from onellm_data.modalities.imu_table import CHANNELS, MISSING_COLUMNS

TIME = "canonical_timestamp_ms"

MAX_ROWS = 20_000_000
"""A day at 200 Hz has 17 million; the longest video of Ego4D has some hours."""

MAX_LINE = 64 * 1024
MAX_MILLISECONDS = 24 * 3600 * 1000
"""Times beyond a day are defects of the camera's clock; their rows are dropped like those without a time."""


@dataclass(frozen=True)
class Recording:
    """A whole video's motion.

    Attributes:
        values: float32 ``[6, N]``, channels as ``imu_table.CHANNELS``, m/s² and rad/s; NaN where the
            file has nothing or no number.
        seconds: float64 ``[N]``, canonical time, sorted.
    """

    values: np.ndarray
    seconds: np.ndarray

    def window(self, start: float, end: float) -> np.ndarray:
        """The canonical signal from ``start`` to ``end``, in seconds: float32 ``[6, n]`` at 200 Hz.

        Its rate is that of the window's own samples, so that neither a gap nor another component
        elsewhere in the video has a part in it.  ``n`` is at most 200 a second.

        Raises:
            SignalError: NaN, or a part of the window was not recorded.
        """
        first, last = np.searchsorted(self.seconds, [start, end], side="left")
        if last - first < imu.MIN_SAMPLES:
            raise SignalError(imu.GAP, f"{last - first} samples from {start:g} s to {end:g} s")
        if not np.isfinite(self.values[:, first:last]).all():
            raise SignalError(
                imu.NOT_FINITE, f"from {start:g} s to {end:g} s; expected numbers in all six channels"
            )
        signal = imu.cut(self.values, self.seconds, start, end)
        return signal[:, : round((end - start) * imu.RATE)]


@lru_cache(maxsize=1)  # windows of one video follow one another: each worker reads a file once
def load(path: Path) -> Recording:
    """Read a whole file; rows without a canonical time are dropped, the others sorted by it.

    Raises:
        SignalError: It is no such table, or has more than ``MAX_ROWS`` rows.
    """
    with decoding(path, f"a table with the columns {TIME}, {', '.join(CHANNELS)}"):
        check_not_empty(path)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            flat = array("d", chain.from_iterable(_rows(file)))
    table = np.frombuffer(flat, dtype=np.float64).reshape(-1, 1 + len(CHANNELS))
    order = np.argsort(table[:, 0], kind="stable")
    return Recording(table[order, 1:].T.astype(np.float32), table[order, 0] / 1000)


def _rows(file: TextIO) -> Iterator[list[float]]:
    """Time and channels of each row that has a time."""
    reader = csv.reader(_bounded(file))
    names = [name.strip() for name in next(reader, [])]
    missing = [name for name in (TIME, *CHANNELS) if name not in names]
    if missing:
        raise SignalError(
            MISSING_COLUMNS, f"got the columns {', '.join(names[:30])}; not found: {', '.join(missing)}"
        )
    columns = [names.index(name) for name in (TIME, *CHANNELS)]
    for row in reader:
        try:
            numbers = [float(row[column]) for column in columns]
        except (ValueError, IndexError):
            numbers = [_number(row, column) for column in columns]
        if abs(numbers[0]) <= MAX_MILLISECONDS:
            yield numbers


def _bounded(file: TextIO) -> Iterator[str]:
    """Lines, neither too long nor too many."""
    for number in range(MAX_ROWS + 1):
        line = file.readline(MAX_LINE)
        if not line:
            return
        if len(line) == MAX_LINE:
            raise SignalError(TOO_LARGE, f"line {number + 1} is longer than {MAX_LINE} characters")
        yield line
    raise SignalError(TOO_LARGE, f"more than {MAX_ROWS} rows")


def _number(row: list[str], column: int) -> float:
    """A number; NaN where there is none, which then costs only the windows it is in."""
    try:
        return float(row[column])
    except (ValueError, IndexError):
        return math.nan
