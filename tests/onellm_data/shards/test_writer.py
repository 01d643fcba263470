"""Writing a prepared folder from a program."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import UsageError
from onellm_data.records import Record
from onellm_data.shards import codec
from onellm_data.shards.reader import ShardReader
from onellm_data.shards.verify import verify
from onellm_data.shards.writer import ShardSize, ShardWriter


def test_what_lies_in_the_folder(prepared: Path) -> None:
    names = {path.name for path in prepared.iterdir()}
    shards = [f"train-{number:06d}" for number in range(3)] + ["test-000000"]
    assert names == {"manifest.json"} | {
        f"{shard}.{ending}" for shard in shards for ending in ("tar", "index.npy")
    }


def test_what_the_manifest_says(prepared: Path) -> None:
    manifest = json.loads((prepared / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert (manifest["schema"], manifest["read"], manifest["kept"], manifest["rejected"]) == (1, 12, 12, {})
    assert manifest["modalities"] == ["toy"]
    assert [shard["samples"] for shard in train["shards"]] == [4, 4, 2]
    for shard in train["shards"]:
        data = (prepared / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert train["bytes"] == sum(shard["bytes"] for shard in train["shards"])


def test_the_index_points_at_whole_records(prepared: Path) -> None:
    data = (prepared / "train-000001.tar").read_bytes()
    rows = np.load(prepared / "train-000001.index.npy")
    assert rows.dtype == np.int64
    keys = [codec.unpack(data[offset : offset + length])[0] for offset, length in rows]
    assert keys == [f"{number:09d}-toy" for number in range(4, 8)]
    assert rows[-1].sum() == len(data) - 1024


def test_the_same_records_give_the_same_bytes(prepared: Path, records: list[Record], tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "again", ["toy"], ShardSize(samples=4), {"why": "tests"}) as writer:
        for split, several in (("train", records), ("test", records[:2])):
            for record in several:
                writer.add(record, split)
    for path in prepared.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_block_that_fails_leaves_no_result(tmp_path: Path) -> None:
    def fail() -> None:
        with ShardWriter(tmp_path / "out", [], ShardSize(samples=2)) as writer:
            for number in range(3):
                writer.add(Record(str(number)))
            raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        fail()
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"train-000000.tar", "train-000000.index.npy"}, "whole shards at most, and no manifest"


def test_a_folder_is_not_written_twice(prepared: Path) -> None:
    with pytest.raises(UsageError, match="holds prepared data already: choose another folder"):
        ShardWriter(prepared, ["toy"])


@pytest.mark.parametrize("split", ["", "Train", "a-b", "../x", "x" * 33, "_x"])
def test_split_names_that_would_break_file_names(tmp_path: Path, split: str) -> None:
    writer = ShardWriter(tmp_path / "out", [])
    with pytest.raises(UsageError, match=r"got the split .* expected lower-case letters"):
        writer.add(Record("a"), split)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=30),
    samples=st.integers(1, 8),
    size=st.integers(1, 9000),
)
def test_shards_are_full_where_they_should_be(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], samples: int, size: int
) -> None:
    """Every shard but the last reached a limit with its last record, and not before."""
    folder = tmp_path_factory.mktemp("shards")
    with ShardWriter(folder, [], ShardSize(samples, size)) as writer:
        for number, length in enumerate(lengths):
            writer.add(Record(str(number), captions=("x" * length,)))
    assert verify(folder) == len(lengths)
    if not lengths:
        return
    reader = ShardReader(folder)
    assert [reader.keys(index) for index in range(len(reader))] == [str(n) for n in range(len(lengths))]
    shards = reader.manifest.splits["train"].shards
    for shard in shards:
        rows = np.load(folder / shard.index_name)
        before = rows[:-1]
        assert len(before) < samples
        assert before[:, 1].sum() < size
        if shard is not shards[-1]:
            assert len(rows) == samples or rows[:, 1].sum() >= size
