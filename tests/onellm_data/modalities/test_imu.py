"""Motion sensors: golden windows, rates, gaps and whatever a table can get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import SignalError
from onellm_data.modalities import imu

PUBLISHED = imu.MODALITY.options


def write(path: Path, text: str | bytes) -> list[Path]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [path]


def wave(seconds: float, rate: float) -> np.ndarray:
    """Six slow sines, sampled at ``rate``: far below half of every rate that is tried."""
    times = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2 * np.pi * (0.2 + 0.1 * axis) * times) for axis in range(6)])


@pytest.mark.parametrize(("window", "tolerance"), [("a", 0.0), ("c", 1e-4)])
def test_windows_equal_the_published_ones(golden, window, tolerance):
    signal = imu.cut(golden[f"imu.{window}.signal"], golden[f"imu.{window}.timestamps_ms"] / 1000, 1, 3)
    difference = np.abs(imu.to_input(signal, PUBLISHED) - golden[f"imu.{window}.window_1s_3s"])
    assert difference.max() <= tolerance


def test_a_rate_of_198_6_hz_is_rounded_where_the_published_code_truncates(golden):
    signal = imu.cut(golden["imu.b.signal"], golden["imu.b.timestamps_ms"] / 1000, 1, 3)
    ours, theirs = imu.to_input(signal, PUBLISHED), golden["imu.b.window_1s_3s"]
    assert signal.shape == (6, 399)
    # They take 198 for 198.6 Hz and stretch the window by 0.3 %: alike, not equal.
    assert 0.95 < np.corrcoef(ours[:, 5:-5].ravel(), theirs[:, 5:-5].ravel())[0, 1] < 0.999


def test_a_table_with_times_is_read_in_its_units(tmp_path, motion_csv):
    signal = imu.read(write(tmp_path / "walk.csv", motion_csv(rows=40, step_ms=5)))
    assert signal.dtype == np.float32
    assert signal.shape == (6, 40)
    assert np.allclose(signal[2], np.sin(0.3 * np.arange(40)), atol=1e-5)


@pytest.mark.parametrize("rate", [10, 40, 99.5, 200.5, 512, 1000])
def test_every_rate_becomes_200_hz(tmp_path, rate):
    values, expected = wave(6, rate), wave(6, 200)
    signal = imu.even(values, rate)
    middle = slice(300, 900)  # the resampler's filter needs samples on both sides
    assert abs(signal.shape[1] - 1200) <= 2 + 1200 * imu.RATE_TOLERANCE
    assert np.abs(signal[:, middle] - expected[:, middle]).max() < 0.05
    assert np.corrcoef(signal[0, middle], expected[0, middle])[0, 1] > 0.999


def test_rates_within_half_a_percent_of_200_are_not_resampled():
    values = wave(2, 200)
    assert (imu.even(values, 200.9) == values.astype(np.float32)).all()
    assert imu.even(values, 201.5).shape != values.shape


def test_a_rate_line_stands_for_a_time_column(tmp_path, motion_csv):
    lines = motion_csv(rows=60, step_ms=100).decode().splitlines()
    bare = "\n".join(["# made by a watch", "# rate_hz: 10", *(line.split(",", 1)[1] for line in lines)])
    timed = imu.read(write(tmp_path / "timed.csv", "\n".join(lines)))
    assert np.allclose(imu.read(write(tmp_path / "bare.csv", bare)), timed, atol=1e-5)


def test_without_times_or_rate_the_message_says_what_to_add(tmp_path, motion_csv):
    lines = motion_csv().decode().splitlines()
    bare = "\n".join(line.split(",", 1)[1] for line in lines)
    with pytest.raises(SignalError, match="rate_hz: 50") as caught:
        imu.read(write(tmp_path / "bare.csv", bare))
    assert caught.value.reason == "unknown rate"
    assert imu.read(write(tmp_path / "bare.csv", bare), rate=200).shape == (6, 40)


@pytest.mark.parametrize("shape", [(6, 300), (300, 6)])
def test_arrays_hold_200_hz_unless_told_otherwise(tmp_path, npy, shape):
    values = np.random.default_rng(0).normal(size=shape)
    paths = write(tmp_path / "walk.npy", npy(values))
    expected = values if shape[0] == 6 else values.T
    assert (imu.read(paths) == expected.astype(np.float32)).all()
    assert imu.read(paths, rate=100).shape == (6, 600)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: [*rows[:5], rows[5].replace(rows[5].split(",")[3], "nan"), *rows[6:]], "NaN in signal"),
        (lambda rows: [*rows[:5], rows[5].rsplit(",", 1)[0] + ",", *rows[6:]], "NaN in signal"),
        (lambda rows: [*rows[:5], rows[5].rsplit(",", 1)[0] + ",inf", *rows[6:]], "NaN in signal"),
        (lambda rows: [*rows[:5], rows[5].rsplit(",", 1)[0] + ",fast", *rows[6:]], "unreadable file"),
        (lambda rows: [*rows[:5], rows[5].rsplit(",", 2)[0], *rows[6:]], "unreadable file"),
        (lambda rows: [*rows[:12], *rows[30:]], "gap in time"),
        (lambda rows: rows[:1], "too short"),
        (lambda rows: rows[:9], "too short"),
        (lambda rows: [rows[0].replace("gyro_x", "spin_x"), *rows[1:]], "missing columns"),
        (lambda rows: [rows[0].replace("gyro_y", "gyro_x"), *rows[1:]], "missing columns"),
        (lambda rows: [rows[0].replace("timestamp_ms", "timestamp"), *rows[1:]], "unknown unit"),
        (lambda rows: [rows[0].replace("accl_x", "accl_x [ft/s2]"), *rows[1:]], "unknown unit"),
        (lambda rows: [rows[0], *(f"7,{row.split(',', 1)[1]}" for row in rows[1:])], "unknown rate"),
        (lambda rows: [rows[0], *(f"1e300,{row.split(',', 1)[1]}" for row in rows[1:])], "unknown rate"),
        (lambda rows: ["# only", "# comments"], "empty file"),
    ],
)
def test_what_is_wrong_with_a_table_has_a_fixed_reason(tmp_path, motion_csv, change, reason):
    rows = motion_csv(rows=40).decode().splitlines()
    with pytest.raises(SignalError) as caught:
        imu.read(write(tmp_path / "bad.csv", "\n".join(change(rows))))
    assert caught.value.reason == reason
    assert "bad.csv" in str(caught.value)


def test_wrong_columns_are_told_with_what_was_got_and_what_was_expected(tmp_path):
    with pytest.raises(SignalError) as caught:
        imu.read(write(tmp_path / "bad.csv", "time_s,left,right\n0,1,2\n"))
    message = str(caught.value)
    assert "got the columns time_s, left, right" in message
    assert "expected accl_x, accl_y, accl_z, gyro_x, gyro_y, gyro_z" in message


def test_the_bound_on_length_is_ten_minutes():
    assert imu.even(np.zeros((6, 120_000)), 200).shape == (6, 120_000)
    with pytest.raises(SignalError) as caught:
        imu.even(np.zeros((6, 120_100)), 200)
    assert caught.value.reason == "too large"


@pytest.mark.parametrize("rate", [0.0, 1.0, 1e9, float("nan"), float("inf"), -50.0])
def test_unlikely_rates_are_refused(rate):
    with pytest.raises(SignalError) as caught:
        imu.even(np.zeros((6, 100)), rate)
    assert caught.value.reason == "unlikely rate"


def test_shuffled_rows_and_uneven_times_are_put_on_an_even_grid():
    rng = np.random.default_rng(5)
    seconds = np.sort(rng.uniform(0, 4, 1600))
    seconds[[0, -1]] = 0, 4
    values = np.stack([np.sin(2 * np.pi * 0.5 * seconds + axis) for axis in range(6)])
    order = rng.permutation(len(seconds))
    signal = imu.timed(values[:, order], seconds[order])
    times = np.arange(signal.shape[1]) / 200
    expected = np.stack([np.sin(2 * np.pi * 0.5 * times + axis) for axis in range(6)])
    assert np.abs(signal - expected)[:, 20:-20].max() < 0.05


def test_a_window_must_be_recorded_from_end_to_end(golden):
    values, seconds = golden["imu.a.signal"], golden["imu.a.timestamps_ms"] / 1000
    with pytest.raises(SignalError) as caught:
        imu.cut(values, seconds, 7, 9)
    assert caught.value.reason == "gap in time"
    with pytest.raises(SignalError) as caught:
        imu.cut(values, seconds, 20, 22)
    assert caught.value.reason == "too short"


@pytest.mark.parametrize("rate", [20, 40, 100, 200, 400])
def test_input_at_any_rate_covers_the_seconds_it_should(rate):
    options = {**PUBLISHED, "rate": rate, "samples": 4 * rate}
    signal = imu.even(wave(6, 200), 200)
    values = imu.to_input(signal, options)
    expected = wave(6, rate)[:, : 4 * rate]
    middle = slice(rate, 3 * rate)
    assert np.abs(values - expected)[:, middle].max() < 0.01
    # What lies behind the window must not matter, and the end must be right although it is cut there.
    assert np.abs(values - imu.resample(signal, 200, rate, extra="imu")[:, : 4 * rate]).max() < 1e-5


def test_short_signals_are_padded_with_zeros_before_normalisation():
    options = {**PUBLISHED, "mean": [1.0] * 6, "std": [2.0, 4.0, 4.0, 4.0, 4.0, 4.0]}
    values = imu.to_input(np.full((6, 100), 3.0, np.float32), options)
    assert (values[:, :100] == np.array([[1.0], *[[0.5]] * 5])).all()
    assert (values[:, 100:] == np.array([[-0.5], *[[-0.25]] * 5])).all()


@settings(deadline=None, max_examples=50)
@given(
    rate=st.floats(5, 4000),
    count=st.integers(10, 2000),
    samples=st.integers(1, 500),
    wanted=st.sampled_from([10, 40, 200]),
)
def test_any_rate_and_length_gives_a_whole_input(rate, count, samples, wanted):
    values = np.random.default_rng(count).normal(size=(6, min(count, int(rate * 600)))).clip(-9, 9)
    if values.shape[1] < imu.MIN_SAMPLES:
        return
    signal = imu.even(values, rate)
    assert abs(signal.shape[1] - values.shape[1] * 200 / rate) <= 1 + signal.shape[1] * imu.RATE_TOLERANCE
    window = imu.to_input(signal, {**PUBLISHED, "rate": wanted, "samples": samples})
    assert window.shape == (6, samples)
    assert np.isfinite(window).all()
