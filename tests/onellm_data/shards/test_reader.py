"""Reading records by number, from a folder or a URL."""

from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from onellm_data import modalities
from onellm_data.errors import OnellmError, UsageError, unknown
from onellm_data.records import Record
from onellm_data.shards.reader import ShardReader, load_manifest


def same(got: Record, expected: Record) -> bool:
    signals = got.signals.keys() == expected.signals.keys() and all(
        np.array_equal(got.signals[name], expected.signals[name]) for name in expected.signals
    )
    return signals and (got.key, got.text()) == (expected.key, expected.text())


@pytest.mark.parametrize("as_path", [str, Path])
def test_every_record_by_number(prepared: Path, records: list[Record], as_path: type) -> None:
    reader = ShardReader(as_path(prepared))
    assert len(reader) == 10
    assert reader.modalities == ("toy",)
    assert all(same(reader[index], records[index]) for index in (9, 0, 4, 3, 8, -1, -10))
    assert all(same(got, expected) for got, expected in zip(reader, records, strict=True))
    assert [reader.keys(index) for index in range(10)] == [record.key for record in records]
    assert same(reader[np.int64(5)], records[5])


def test_splits(prepared: Path) -> None:
    assert len(ShardReader(prepared, "test")) == 2
    with pytest.raises(UsageError, match=r"unknown split of .* 'tests'; did you mean 'test'\?"):
        ShardReader(prepared, "tests")


@pytest.mark.parametrize("index", [10, -11, 10**12])
def test_numbers_outside(prepared: Path, index: int) -> None:
    with pytest.raises(IndexError, match="expected 0 to 9"):
        ShardReader(prepared)[index]


@pytest.fixture
def memory_copy(prepared: Path) -> str:
    """The folder in fsspec's memory file system."""
    files = fsspec.filesystem("memory")
    files.put(str(prepared) + "/", "/copy/", recursive=True)
    yield "memory://copy"
    files.rm("/copy", recursive=True)


def test_a_url_gives_the_same_records(memory_copy: str, prepared: Path, records: list[Record]) -> None:
    for url in (memory_copy, memory_copy + "/", f"file://{prepared}"):
        reader = ShardReader(url)
        assert [same(reader[index], records[index]) for index in (7, 2)] == [True, True]
        assert reader.keys(9) == records[9].key


def test_a_url_without_a_folder(memory_copy: str) -> None:
    with pytest.raises(UsageError, match=r"there is no memory://elsewhere/manifest.json"):
        ShardReader("memory://elsewhere")
    with pytest.raises(UsageError, match="cannot read from nothing://x"):
        ShardReader("nothing://x")


def test_only_the_record_is_read(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ShardReader(prepared)
    asked: list[tuple[str, int]] = []
    read_range = reader._storage.read_range

    def spy(name: str, offset: int, length: int) -> bytes:
        asked.append((name, length))
        return read_range(name, offset, length)

    monkeypatch.setattr(reader._storage, "read_range", spy)
    reader[5]
    assert asked == [("train-000001.tar", 2048)]


def test_a_pickled_reader_reads(prepared: Path, records: list[Record]) -> None:
    reader = ShardReader(prepared, "test")
    assert same(reader[1], records[1])
    assert same(pickle.loads(pickle.dumps(reader))[1], records[1])  # noqa: S301 - our own bytes


def _keys(reader: ShardReader) -> list[str]:
    return [reader.keys(index) for index in range(len(reader))] * 20


def test_threads_and_forked_processes_do_not_disturb_each_other(
    prepared: Path, records: list[Record]
) -> None:
    reader = ShardReader(prepared)
    expected = [record.key for record in records] * 20
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_keys, [reader] * 4)) == [expected] * 4
    with get_context("fork").Pool(2) as pool:
        assert pool.map(_keys, [reader] * 4) == [expected] * 4


def test_a_modality_that_is_not_installed_here(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(name: str) -> None:
        raise unknown("modality", name, ["image"])

    monkeypatch.setattr(modalities, "get", get)
    with pytest.raises(UsageError, match=r"^unknown modality 'toy'"):
        ShardReader(prepared)[0]


# ---- folders that are not what they should be


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found nothing at .*missing, expected a folder"):
        ShardReader(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"found a file at .*file, expected a folder"):
        ShardReader(tmp_path / "file")
    with pytest.raises(UsageError, match=r"there is no .*manifest.json: .* --resume finishes it"):
        ShardReader(tmp_path)


def _edit(prepared: Path, **changes: Any) -> None:
    path = prepared / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_schema(prepared: Path) -> None:
    _edit(prepared, schema=2, onellm="9.9")
    with pytest.raises(UsageError, match=r"has the schema 2, this onellm reads 1: .* install .* \(9.9\)"):
        ShardReader(prepared)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 1}', '"x"', "\xff", '{"schema": 1, "splits": []}']
)
def test_a_manifest_that_is_none(prepared: Path, text: str) -> None:
    (prepared / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="is not a manifest of prepared data"):
        ShardReader(prepared)


def test_counts_that_do_not_add_up(prepared: Path) -> None:
    _edit(prepared, kept=11)
    with pytest.raises(UsageError, match=r"says read, kept = \(12, 11\), .* add up to \(12, 12\)"):
        ShardReader(prepared)


@pytest.mark.parametrize("name", ["../train-000000.tar", "/etc/passwd", "train-000000.tar/../x", "a\0b"])
def test_a_manifest_that_leads_elsewhere(prepared: Path, name: str) -> None:
    splits = json.loads((prepared / "manifest.json").read_text())["splits"]
    splits["train"]["shards"][0]["name"] = name
    _edit(prepared, splits=splits)
    with pytest.raises(UsageError, match=r"names the shard .* expected a name like"):
        ShardReader(prepared)


def test_a_split_that_leads_elsewhere(prepared: Path) -> None:
    splits = json.loads((prepared / "manifest.json").read_text())["splits"]
    _edit(prepared, splits=splits | {"../x": splits.pop("test")})
    with pytest.raises(UsageError, match=r"names the split '../x'"):
        ShardReader(prepared)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((4, 2), np.int32), "holds int32 \\[4, 2\\], expected int64 \\[4, 2\\]"),
        (np.zeros((5, 2), np.int64), "holds int64 \\[5, 2\\]"),
        (np.array([[0, 10**9]] * 4), "index says bytes 0 to 1000000000 of 9216"),
        (np.array([[-512, 512]] * 4), "index says bytes -512"),
        (np.array([[2**62, 2**62]] * 4), "index says bytes"),
        (np.array([[0, 0]] * 4), "index says bytes 0 to 0"),
        (np.array([[512, 1024]] * 4), "damaged tar header"),
    ],
)
def test_an_index_that_is_wrong(prepared: Path, rows: np.ndarray, message: str) -> None:
    np.save(prepared / "train-000000.index.npy", rows)
    with pytest.raises(OnellmError, match=message):
        ShardReader(prepared)[1]


def test_an_index_that_is_missing_or_no_array(prepared: Path) -> None:
    index = prepared / "train-000000.index.npy"
    index.write_bytes(b"nonsense")
    with pytest.raises(OnellmError, match=r"cannot read .*train-000000.index.npy"):
        ShardReader(prepared)[0]
    index.unlink()
    with pytest.raises(OnellmError, match=r"cannot read .*train-000000.index.npy"):
        ShardReader(prepared)[0]


def test_a_pickled_index_is_not_loaded(prepared: Path) -> None:
    np.save(prepared / "train-000000.index.npy", np.array([[object()] * 2] * 4), allow_pickle=True)
    with pytest.raises(OnellmError, match=r"cannot read .*train-000000.index.npy"):
        ShardReader(prepared)[0]


def test_a_shard_that_was_cut_short_or_is_missing(prepared: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    with (copy / "train-000001.tar").open("r+b") as stream:
        stream.truncate(4096)
    reader = ShardReader(copy)
    assert reader[5].key == "000000005-toy"
    with pytest.raises(OnellmError, match=r"record 7 of .* \(train\).* got 0 bytes .* expected 2048"):
        reader[7]
    (copy / "train-000000.tar").unlink()
    with pytest.raises(OnellmError, match=r"train-000000.tar is missing"):
        reader[0]


def test_the_manifest_is_read_alone(prepared: Path) -> None:
    manifest = load_manifest(prepared)
    assert (manifest.kept, manifest.read, dict(manifest.options)) == (12, 12, {"why": "tests"})
