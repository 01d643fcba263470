"""Resampling: the same numbers whoever calls it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onellm_data.modalities.resampling import resample


@pytest.fixture
def signal() -> np.ndarray:
    """Two channels of noise."""
    return np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32)


def test_inside_reduced_precision_the_numbers_are_the_same(signal: np.ndarray) -> None:
    expected = resample(signal, 10, 200, extra="imu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(resample(signal, 10, 200, extra="imu"), expected)


def test_an_array_that_may_not_be_written_to_is_taken_as_it_is(signal: np.ndarray) -> None:
    expected = resample(signal, 10, 200, extra="imu")
    signal.flags.writeable = False
    np.testing.assert_array_equal(resample(signal, 10, 200, extra="imu"), expected)
