"""Motion sensors: accelerometer and gyroscope at 200 Hz.

Source of the figures: OneLLM (arXiv 2312.03700) reads 2 s of Ego4D's sensors at 200 Hz as
6 channels × 400 samples, accelerometer first; a convolution of width 10 makes 391 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities import drawing
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import (
    NOT_FINITE,
    TOO_LARGE,
    TOO_SHORT,
    UNLIKELY_RATE,
    WRONG_SHAPE,
    decoding,
    from_npy_bytes,
    npy_bytes,
    read_array,
)
from onellm_data.modalities.imu_table import CHANNELS, STANDARD_GRAVITY, read_table
from onellm_data.modalities.resampling import resample
from onellm_data.modalities.tokenizer_specs import Conv1dSpec
from onellm_data.options import Option

if TYPE_CHECKING:
    from PIL import Image

RATE = 200
"""Hertz of the canonical signal."""

READ_RATE = Option("rate", "Hertz of motion files that have no times.", 0.0)

MAX_SECONDS = 600.0
MIN_SAMPLES = 10
MIN_RATE, MAX_RATE = 5.0, 4000.0

RATE_TOLERANCE = 0.005
"""Rates that differ by no more than this share are taken as equal: clocks are not better."""

MAX_STEP_RATIO = 5.0
MAX_STEP_SECONDS = 0.05
"""A step in time that is longer than both of these (usual steps; seconds) is a gap."""

GAP = "gap in time"
NO_RATE = "unknown rate"


def read(paths: Sequence[Path], rate: float = 0.0) -> np.ndarray:
    """Read a motion table (see ``imu_table``) or a ``.npy`` array ``[6, N]``.

    Args:
        paths: The one file.
        rate: Hertz of a file that has no times; 0 if the file says it, or is a ``.npy`` file of 200 Hz.

    Returns:
        float32 ``[6, N]`` at 200 Hz, channels as ``CHANNELS``, m/s² and rad/s.

    Raises:
        SignalError: The file does not hold such a signal.
    """
    (path,) = paths
    with decoding(path, f"a motion recording with the channels {', '.join(CHANNELS)}"):
        if path.suffix.lower() in (".npy", ".npz"):
            return even(_oriented(read_array(path)), rate or RATE)
        table = read_table(path)
        if table.seconds is not None:
            return timed(table.values, table.seconds)
        if not rate and table.rate is None:
            raise SignalError(
                NO_RATE,
                "no time column and no rate; add a column timestamp_ms or timestamp_s, "
                "or a first line such as '# rate_hz: 50'",
            )
        return even(table.values, rate or table.rate or 0.0)


def _oriented(array: np.ndarray) -> np.ndarray:
    """``[6, N]`` from an array of that shape or its transpose."""
    if array.ndim == 2 and array.shape[0] != 6 and array.shape[1] == 6:
        array = array.T
    if array.ndim != 2 or array.shape[0] != 6:
        raise SignalError(WRONG_SHAPE, f"an array of shape {array.shape}; expected [6, N] or [N, 6]")
    return array


def even(values: np.ndarray, rate: float) -> np.ndarray:
    """The canonical signal of evenly spaced samples.

    Args:
        values: ``[6, N]``, m/s² and rad/s.
        rate: Hertz; within 0.5 % of a whole number it is taken as that number.

    Returns:
        float32 ``[6, ceil(N · 200 / rate)]``; the same numbers if the rate is 200 Hz within 0.5 %.

    Raises:
        SignalError: NaN, fewer than 10 samples, more than ten minutes, or an unlikely rate.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise SignalError(UNLIKELY_RATE, f"{rate:g} Hz; expected {MIN_RATE:g} to {MAX_RATE:g} Hz")
    if values.shape[1] < MIN_SAMPLES:
        raise SignalError(TOO_SHORT, f"{values.shape[1]} samples; expected at least {MIN_SAMPLES}")
    if values.shape[1] > MAX_SECONDS * rate + 1:
        raise SignalError(TOO_LARGE, f"{values.shape[1] / rate:.0f} s; expected at most {MAX_SECONDS:.0f} s")
    signal = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(signal).all():
        raise SignalError(NOT_FINITE, "expected finite numbers in all six channels")
    if abs(rate / RATE - 1) <= RATE_TOLERANCE:
        return signal
    whole = round(rate)
    return resample(signal, whole if abs(whole / rate - 1) <= RATE_TOLERANCE else rate, RATE, extra="imu")


def timed(values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The canonical signal of samples that have times.

    Samples are sorted by time.  Where times stray from an even grid by more than half a step,
    values are first interpolated to that grid.

    Args:
        values: ``[6, N]``, m/s² and rad/s.
        seconds: ``[N]``.

    Returns:
        float32 ``[6, n]`` at 200 Hz.

    Raises:
        SignalError: As ``even``, or there is a gap, or all samples have the same time.
    """
    if len(seconds) < MIN_SAMPLES:
        raise SignalError(TOO_SHORT, f"{len(seconds)} samples; expected at least {MIN_SAMPLES}")
    if not np.isfinite(seconds).all():
        raise SignalError(NOT_FINITE, "expected finite times")
    order = np.argsort(seconds, kind="stable")
    values, seconds = values[:, order], seconds[order] - seconds[order[0]]
    step = seconds[-1] / (len(seconds) - 1)
    if step == 0:
        raise SignalError(NO_RATE, f"all {len(seconds)} samples have the same time")
    _check_gaps(seconds)
    grid = np.arange(len(seconds)) * step
    if np.abs(seconds - grid).max() > step / 2:
        values = np.stack([np.interp(grid, seconds, channel) for channel in values])
    return even(values, 1 / step)


def _check_gaps(seconds: np.ndarray) -> None:
    """Refuse sorted times that have a hole."""
    steps = np.diff(seconds)
    widest = int(steps.argmax())
    usual = float(np.median(steps))
    if steps[widest] > max(MAX_STEP_RATIO * usual, MAX_STEP_SECONDS):
        raise SignalError(
            GAP,
            f"{steps[widest]:.3f} s without a sample after {seconds[widest]:.3f} s where {usual:.4f} s is "
            "usual; cut the recording at its gaps",
        )


def cut(values: np.ndarray, seconds: np.ndarray, start: float, end: float) -> np.ndarray:
    """The canonical signal of the window from ``start`` to ``end`` of a longer recording.

    Args:
        values: ``[6, N]``, m/s² and rad/s.
        seconds: ``[N]``, sorted.
        start: First second, included.
        end: Last second, excluded.

    Raises:
        SignalError: As ``timed``.
    """
    first, last = np.searchsorted(seconds, [start, end], side="left")
    signal = timed(values[:, first:last], seconds[first:last])
    missing = max(seconds[first] - start, end - seconds[last - 1])
    if missing > max(MAX_STEP_RATIO * np.median(np.diff(seconds[first:last])), MAX_STEP_SECONDS):
        raise SignalError(
            GAP, f"{missing:.3f} s of the window from {start:g} s to {end:g} s are not recorded"
        )
    return signal


def to_input(signal: np.ndarray, options: Options) -> np.ndarray:
    """Resample to ``rate``, cut or pad with zeros at the end to ``samples``, then normalise.

    Args:
        signal: The canonical signal, ``[6, N]`` at 200 Hz.
        options: ``rate`` (Hz), ``samples``, ``mean`` and ``std`` (one number for each channel).

    Returns:
        float32 ``[6, samples]``.
    """
    rate, samples = options["rate"], options["samples"]
    # The resampler's filter ends after 6 samples of the lower rate: what lies further cannot matter.
    enough = math.ceil((samples + 8) / rate * RATE) + 8
    values = resample(signal[:, :enough], RATE, rate, extra="imu")[:, :samples]
    window = np.zeros((6, samples), dtype=np.float32)
    window[:, : values.shape[1]] = values
    mean, std = (np.asarray(options[key], dtype=np.float32)[:, None] for key in ("mean", "std"))
    return (window - mean) / std


def store(signal: np.ndarray) -> dict[str, bytes]:
    """The canonical signal as one ``.npy`` member."""
    return {"npy": npy_bytes(signal)}


def load(members: Mapping[str, bytes]) -> np.ndarray:
    """The inverse of ``store``."""
    signal = from_npy_bytes(members["npy"])
    if signal.dtype != np.float32 or signal.ndim != 2 or signal.shape[0] != 6:
        raise SignalError(WRONG_SHAPE, f"{signal.dtype} {signal.shape}; expected float32 [6, N]")
    return signal


def draw(signal: np.ndarray) -> Image.Image:
    """Acceleration above rotation, three curves each, over seconds."""
    span = signal.shape[1] / RATE
    upper = drawing.curves(signal[:3], "acceleration [m/s^2]", "xyz", span)
    lower = drawing.curves(signal[3:], "rotation [rad/s]", "xyz", span)
    return drawing.stack([upper, lower])


MODALITY = Modality(
    name="imu",
    title="motion sensor",
    contract=SignalContract(
        shape="[6, N]",
        dtype="float32",
        axes=f"channel ({', '.join(CHANNELS)}), sample",
        units="m/s² with gravity (accelerometer), rad/s (gyroscope)",
        rate="200 Hz",
    ),
    extra="imu",
    suffixes=(".csv", ".tsv", ".npy", ".npz"),
    tokenizer=Conv1dSpec(kernel=10, stride=1, bias=False),
    options={"rate": RATE, "samples": 400, "mean": [0.0] * 6, "std": [1.0] * 6},
    new_model_options={"std": [STANDARD_GRAVITY] * 3 + [math.pi] * 3},
    input_shape=lambda options: (6, options["samples"]),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
    read_options=(READ_RATE,),
)
