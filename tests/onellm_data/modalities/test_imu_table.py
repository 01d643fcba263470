"""Motion tables: names, units, separators, and sizes that are bounded."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import SignalError
from onellm_data.modalities import imu_table

SPELLINGS = [
    ["accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z"],
    ["acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"],
    ["AccelX", "AccelY", "AccelZ", "GyroX", "GyroY", "GyroZ"],
    ["ax", "ay", "az", "gx", "gy", "gz"],
    ["ax", "ay", "az", "wx", "wy", "wz"],
    ["Accelerometer X", "Accelerometer Y", "Accelerometer Z", "Gyroscope X", "Gyroscope Y", "Gyroscope Z"],
    [f"{sensor}.{axis}" for sensor in ("linear_acceleration", "angular_velocity") for axis in "xyz"],
]


def read(folder: Path, text: str) -> imu_table.Table:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return imu_table.read_table(path)


@pytest.mark.parametrize(("names", "mark"), list(itertools.product(SPELLINGS, ",;\t")))
def test_common_spellings_and_separators_are_understood(tmp_path, names, mark):
    table = read(tmp_path, mark.join(["t_s", *names]) + "\n" + mark.join("0123456") + "\n")
    assert table.values.tolist() == [[1], [2], [3], [4], [5], [6]]
    assert table.seconds.tolist() == [0]


def test_columns_are_found_by_name_in_any_order_among_others(tmp_path):
    names = ["note", "gyro_z", "gyro_y", "gyro_x", "component_timestamp_ms", "accl_z", "accl_y", "accl_x"]
    table = read(tmp_path, ",".join(names) + "\nok,6,5,4,99,3,2,1\n")
    assert table.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert table.seconds is None


def test_units_in_brackets_are_converted(tmp_path):
    names = "time [us],acc_x [g],acc_y (mg),acc_z [m/s²],gyro_x [deg/s],gyro_y (dps),gyro_z [rad/s]"
    table = read(tmp_path, names + "\n2000000,1,1000,1,180,90,1\n")
    expected = [9.80665, 9.80665, 1, math.pi, math.pi / 2, 1]
    assert np.allclose(table.values[:, 0], expected, rtol=1e-12)
    assert table.seconds[0] == pytest.approx(2.0)


def test_ego4d_rows_without_canonical_time_are_dropped(tmp_path):
    text = (
        "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z\n"
        "0,0.0,,9,9,9,9,9,9\n"
        "0,5.0,1000.0,4,5,6,1,2,3\n"
        "1,0.0,,,,,,,\n"
    )
    table = read(tmp_path, text)
    assert table.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert table.seconds.tolist() == [1.0]


def test_a_time_with_a_unit_is_taken_before_one_without(tmp_path):
    table = read(tmp_path, "time,timestamp_ms,ax,ay,az,gx,gy,gz\nnoon,500,1,2,3,4,5,6\n")
    assert table.seconds.tolist() == [0.5]


def test_byte_order_marks_blank_lines_and_windows_line_ends_do_no_harm(tmp_path):
    table = read(tmp_path, "\ufeff# rate_hz = 12.5\r\n\r\nax,ay,az,gx,gy,gz\r\n1,2,3,4,5,6\r\n\r\n")
    assert table.rate == 12.5
    assert table.values.shape == (6, 1)


@pytest.mark.parametrize("place", ["header", "row"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, place):
    start = "ax,ay,az,gx,gy,gz\n" if place == "row" else ""
    with pytest.raises(SignalError) as caught:
        read(tmp_path, start + "1," * 10_000_000)
    assert caught.value.reason == "too large"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=7, max_size=7), min_size=1, max_size=20))
def test_numbers_survive(tmp_path_factory, rows):
    lines = [",".join(repr(value) for value in row) for row in rows]
    table = read(tmp_path_factory.mktemp("tables"), "t_s,ax,ay,az,gx,gy,gz\n" + "\n".join(lines))
    assert np.array_equal(np.vstack([table.seconds, table.values]).T, rows)
