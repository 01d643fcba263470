"""Sorting and grouping on disk."""

from __future__ import annotations

import operator
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import OnellmError
from onellm_data.sources import ordering
from onellm_data.sources.ordering import grouped, in_order

KEYS = st.binary(max_size=3)


@settings(deadline=None)
@given(st.lists(KEYS))
def test_in_order(keys: list[bytes]) -> None:
    result = in_order(keys)
    assert operator.length_hint(result) == len(set(keys))
    assert list(result) == sorted(set(keys))


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, st.text(max_size=3))))
def test_grouped(rows: list[tuple[bytes, str]]) -> None:
    expected: dict[bytes, list[str]] = {}
    for key, value in rows:
        expected.setdefault(key, []).append(value)
    result = grouped(rows)
    assert operator.length_hint(result) == len(expected)
    assert list(result) == list(expected.items())


def test_no_room_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = ordering.sqlite3.connect

    def small(name: str) -> ordering.sqlite3.Connection:
        database = connect(name)
        database.execute("PRAGMA max_page_count = 4")
        return database

    monkeypatch.setattr(ordering.sqlite3, "connect", small)
    with pytest.raises(
        OnellmError, match=r"cannot sort .* \(database or disk is full\); .* TMPDIR=/elsewhere"
    ):
        in_order(b"%d" % number for number in range(10**5))


MEASURE = """
import resource
from onellm_data.sources.ordering import grouped
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = grouped((b"%064d" % (number * 7919 % 200_003 // 2), "x" * 200) for number in range(200_003))
assert sum(len(group) for _, group in result) == 200_003
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_rows() -> None:
    """200,000 rows are 50 MB of text; in a process of its own; megabytes."""
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 15
