"""Band-limited resampling by a rational factor, for audio and motion signals."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np

from onellm_data.errors import require

MAX_DENOMINATOR = 1000
"""Keeps torchaudio's filter bank small for odd rates: 44101 Hz would need 16000 filters of 44101 taps.

The nearest fraction with such a denominator is off by less than 1e-6, 0.1 s in a day.
"""


@functools.lru_cache(maxsize=16)
def _resampler(old: int, new: int, extra: str) -> Any:
    """The polyphase sinc resampler of torchaudio; its filters are computed once for each pair."""
    return require("torchaudio", extra).transforms.Resample(old, new)


def resample(signal: np.ndarray, old: float, new: float, extra: str) -> np.ndarray:
    """Resample the last axis from ``old`` to ``new`` hertz.

    Args:
        signal: float32 ``[…, N]``.
        old: Rate of ``signal``.
        new: Rate wanted.
        extra: The extra that installs torchaudio for the caller, for the message if it is not there.

    Returns:
        float32 ``[…, ceil(N · new / old)]``.
    """
    factor = (Fraction(new) / Fraction(old)).limit_denominator(MAX_DENOMINATOR)
    if factor == 1:
        return signal
    torch = require("torch", extra)
    # A copy: shards give arrays that may not be written to, of which torch warns.
    tensor = torch.from_numpy(np.array(signal, dtype=np.float32, order="C"))
    # The same numbers wherever it is called, in a model's reduced precision too.
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        return _resampler(factor.denominator, factor.numerator, extra)(tensor).numpy()
