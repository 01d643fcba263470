"""MATLAB files, as scipy writes them and as bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from onellm_data.errors import UsageError
from onellm_data.sources import mat_files


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_numbers(tmp_path: Path, packed: bool, kind: str) -> None:
    array = np.arange(1, 7).reshape(2, 3).astype(kind)
    saved = {"a": array, "other": "text", "one": [[7]], "structure": {"x": 1}}
    scipy.io.savemat(tmp_path / "a.mat", saved, do_compression=packed)
    first, one = mat_files.numbers(tmp_path / "a.mat", ("a", "one"))
    np.testing.assert_array_equal(first, array)
    assert (first.dtype, one.tolist()) == (np.int64, [[7]])


@pytest.mark.parametrize("packed", [True, False])
def test_texts(tmp_path: Path, packed: bool) -> None:
    cells = np.array([["a", "längeré", "", "b" * 50]], dtype=object)
    nested = np.array([["x", np.array([["y"]], dtype=object)]], dtype=object)
    scipy.io.savemat(tmp_path / "a.mat", {"cells": cells, "nested": nested}, do_compression=packed)
    found = mat_files.read_mat(tmp_path / "a.mat", ("cells", "nested"))
    assert [text for text in mat_files.texts(found["cells"]) if text] == ["a", "längeré", "b" * 50]
    assert mat_files.texts(found["nested"]) == ["x", "y"]


def test_the_other_byte_order(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    parts = [
        (6, struct.pack(">II", 6, 0)),
        (5, struct.pack(">ii", 1, 2)),
        (1, b"a"),
        (9, struct.pack(">dd", 3, 4)),
    ]
    matrix = element(14, b"".join(element(*part) for part in parts))
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\1\0MI" + matrix)
    (array,) = mat_files.numbers(tmp_path / "a.mat", ("a",))
    assert array.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"<html>" * 100, "no header of level 5"),
        (b"MATLAB 7.3".ljust(124) + b"\0\2IM", r"no header of level 5; .*save it with -v7"),
        (b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 14, 1 << 30), "claims 1073741824 bytes"),
        (b"MATLAB 5.0".ljust(124) + b"\0\1IM", "has no a"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        mat_files.read_mat(tmp_path / "a.mat", ("a",))


def test_numbers_that_are_none(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"a": [[np.nan]], "b": "text"})
    for name in "ab":
        with pytest.raises(UsageError, match=f"{name} should be an array of whole numbers"):
            mat_files.numbers(tmp_path / "a.mat", (name,))
