"""A record as tar members."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onellm_data.errors import OnellmError, UsageError
from onellm_data.modalities.base import Modality
from onellm_data.records import Record, Turn
from onellm_data.shards import codec, tar

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
RECORDS = st.builds(
    Record,
    key=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    captions=st.lists(TEXT, max_size=3).map(tuple),
    conversations=st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), TEXT), max_size=3).map(
        tuple
    ),
    meta=st.dictionaries(TEXT, JSON, max_size=3),
)


@given(RECORDS)
def test_text_comes_back(record: Record) -> None:
    assert codec.decode(codec.encode(record)) == record


def test_signals_come_back_in_their_order(toy: Modality) -> None:
    signals = {"pair": np.arange(3), "toy": np.arange(5)}
    read = codec.decode(codec.encode(Record("a", signals)))
    assert list(read.signals) == ["pair", "toy"]
    for name, signal in signals.items():
        np.testing.assert_array_equal(read.signals[name], signal)


def test_member_names(toy: Modality) -> None:
    run = codec.encode(Record("000000007-walk", {"toy": np.arange(2)}, ("a walk",)))
    assert [name for name, _ in tar.members(run)] == ["000000007-walk.toy.i64", "000000007-walk.json"]


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a b", "../a"])
def test_keys_that_would_break_the_names(key: str) -> None:
    with pytest.raises(OnellmError, match="expected one without dots, slashes and spaces"):
        codec.encode(Record(key))


@pytest.mark.parametrize("meta", [{"a": float("nan")}, {"a": object()}, {"a": "\ud800"}])
def test_meta_that_is_not_json(meta: dict[str, object]) -> None:
    with pytest.raises(OnellmError, match="meta of the record 'a' cannot be written as JSON"):
        codec.encode(Record("a", meta=meta))


def test_an_unknown_modality_is_named(toy: Modality) -> None:
    run = codec.pack("a", {"toi": {"i64": b""}}, Record("a").text())
    with pytest.raises(UsageError, match="unknown modality 'toi'; did you mean 'toy'"):
        codec.decode(run)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.toy.i64", b"")], "members of the records \\['a'\\], expected one record and its .json"),
        ([("a.json", b"{}")], "has not the fields captions"),
        ([("a.json", b"[1]")], "has not the fields captions"),
        ([("a.json", b"{")], "is not JSON"),
        ([("a", b"")], "got the member 'a', expected KEY.MODALITY.ENDING"),
        ([("a.toy", b"")], "got the member 'a.toy'"),
        (
            [(f"{key}.json", b'{"captions": [], "conversations": [], "meta": {}}') for key in "ab"],
            "members of the records \\['a', 'b'\\]",
        ),
        ([], "members of the records \\[\\]"),
    ],
)
def test_runs_that_are_no_record(files: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(OnellmError, match=message):
        codec.decode(b"".join(tar.member(name, data) for name, data in files))


@given(index=st.integers(0, 10**12), name=st.text())
def test_keys_fit_into_member_names(index: int, name: str) -> None:
    key = codec.key_of(index, name)
    assert key.isascii()
    assert not set(key) & set("./ ")
    assert len(key) <= 60
    assert int(key.partition("-")[0]) == index


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a/Walk 01.csv", "000000003-a-walk-01-csv"),
        ("überall.png", "000000003-berall-png"),
        ("行走", "000000003-item"),
        ("x" * 100, "000000003-" + "x" * 40),
    ],
)
def test_keys_are_readable(name: str, key: str) -> None:
    assert codec.key_of(3, name) == key
