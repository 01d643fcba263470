"""Windows of the arrays that imu2clip makes of Ego4D's motion recordings.

``{uid}.npy`` is ``[6, N]`` (accelerometer in m/s², then gyroscope in rad/s), ``{uid}_timestamps.npy``
``[N]`` in milliseconds.  Format: github.com/facebookresearch/imu2clip, extract_imu.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities import imu
from onellm_data.modalities.decoding import WRONG_SHAPE, check_not_empty, decoding


@dataclass(frozen=True)
class ProcessedWindow:
    """Reads the seconds from ``start`` to ``end`` of one recording; only they are read from the disk."""

    values: Path
    timestamps: Path
    start: float
    end: float

    @property
    def where(self) -> str:
        """The array and the window."""
        return f"{self.values}:{self.start:g}-{self.end:g}s"

    def read(self) -> np.ndarray:
        """The canonical motion signal: float32 ``[6, N]`` at 200 Hz.

        Raises:
            SignalError: The arrays are not what they should be, or the window is not recorded.
        """
        with decoding(self.where, "arrays [6, N] and [N] of a motion recording"):
            values, milliseconds = _mapped(self.values), _mapped(self.timestamps)
            if values.ndim != 2 or len(values) != 6 or milliseconds.shape != values.shape[1:]:
                raise SignalError(
                    WRONG_SHAPE, f"shapes {values.shape} and {milliseconds.shape}; expected [6, N] and [N]"
                )
            first, last = np.searchsorted(milliseconds, [self.start * 1000, self.end * 1000])
            seconds = np.asarray(milliseconds[first:last], dtype=np.float64) / 1000
            return imu.cut(np.asarray(values[:, first:last]), seconds, self.start, self.end)


def _mapped(path: Path) -> np.ndarray:
    """A ``.npy`` file's numbers, mapped: a recording of hours is not read for two seconds."""
    check_not_empty(path)
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise SignalError(WRONG_SHAPE, f"{path.name} holds no plain array of numbers")
    return array
