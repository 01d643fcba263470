"""Arrays of objects in JSON files, read in pieces."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import UsageError
from onellm_data.sources import json_rows
from onellm_data.sources.tables import BAD_ROW, BadRow, Row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.json"


def read(path: Path, text: str | bytes, prefix: str = "") -> list[Row | BadRow]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(json_rows.rows(path, prefix))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=5),
    before=values,
    chunk=st.integers(1, 40),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_rows_are_those_of_the_json_module(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    before: Any,
    chunk: int,
    ascii_only: bool,
    indent: int | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "same.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        expected: list[Row | BadRow] = [Row(number, row) for number, row in enumerate(rows, start=1)]
        assert read(path, json.dumps(rows, ensure_ascii=ascii_only, indent=indent)) == expected
        outer = {"before": before, "x": {"data": [1]}, "data": rows, "after": before}
        assert read(path, json.dumps(outer, ensure_ascii=ascii_only, indent=indent), "data") == expected


def test_a_bad_row_costs_only_itself(path: Path) -> None:
    rows = read(path, '[{"a": 1}, {"a": }, 5, , {"a": "\\ud800"}, {"a": NaN}}, {"a": NaN}]')
    assert [row.values if isinstance(row, Row) else row.reason for row in rows] == [
        {"a": 1},
        BAD_ROW,
        BAD_ROW,
        BAD_ROW,
        BAD_ROW,
        BAD_ROW,
        {"a": None},
    ]
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 7]


def test_bytes_that_are_not_utf_8(path: Path) -> None:
    bad, good = read(path, b'[{"a": "\xff"}, {"a": "\xc3\xa9"}]')
    assert isinstance(bad, BadRow)
    assert "utf-8" in bad.detail
    assert good == Row(2, {"a": "é"})


def test_a_byte_order_mark_is_no_json_but_common(path: Path) -> None:
    assert read(path, b'\xef\xbb\xbf [{"a": 1}]') == [Row(1, {"a": 1})]


@pytest.mark.parametrize("text", ['[{"a": 1}, {"b": "…', '[{"a": 1}, {"b": 2}', '[{"a": 1},'])
def test_a_truncated_file(path: Path, text: str) -> None:
    *rows, last = read(path, text)
    assert rows[0] == Row(1, {"a": 1})
    assert last == BadRow(2, BAD_ROW, "the file ends inside the array; is it completely downloaded?")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""),
        ("{}", ""),
        ('{"data": {}}', "data"),
        ('{"x": {"data": [1]}}', "data"),
        ("[]", "data"),
        ("5", ""),
    ],
)
def test_another_shape(path: Path, text: str, prefix: str) -> None:
    with pytest.raises(UsageError, match=r"rows.json does not hold .* an .*array of objects"):
        read(path, text, prefix)
    assert json_rows.first(path, prefix) is None


def test_the_first_row(path: Path) -> None:
    read(path, '{"n": 1, "data": [{"id": "1"}, 7', "data")
    assert json_rows.first(path, "data") == {"id": "1"}


def test_a_row_of_100_mb_is_skipped_in_little_memory(path: Path) -> None:
    with path.open("w") as file:
        file.write('[{"a": 1}, {"a": "')
        for _ in range(100):
            file.write("[" * (1 << 20))
        file.write('"}, {"a": 2}]')
    tracemalloc.start()
    rows = list(json_rows.rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (100 << 20) + len(' {"a": ""},')
    long = BadRow(2, json_rows.LONG_ROW, f"got {size} bytes, expected at most {json_rows.MAX_ROW}")
    assert rows == [Row(1, {"a": 1}), long, Row(3, {"a": 2})]
    assert peak < 8 * json_rows.MAX_ROW


def test_brackets_that_never_close_end_the_reading(path: Path) -> None:
    good, bad = read(path, '[{"a": 1}, ' + "[" * 1000 + ', {"a": 2}]')
    assert good == Row(1, {"a": 1})
    assert bad == BadRow(2, BAD_ROW, "nested more than 500 deep; the rest is not read")
