"""A run from raw files to shards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onellm_data.errors import MissingExtra, OnellmError, TooManyRejects, UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.pool import TIMEOUT, WORKER_DIED
from onellm_data.prepare.report import Report
from onellm_data.prepare.run import prepare
from onellm_data.prepare.tasks import BAD_SPLIT
from onellm_data.prepare.worker import UNEXPECTED, UNREADABLE, WRONG_SUFFIX
from onellm_data.shards.reader import ShardReader
from onellm_data.shards.tar import members
from onellm_data.shards.writer import ShardSize

Run = Callable[..., Report]
WriteTable = Callable[..., Path]
Outcome = Callable[[Path], tuple[dict[str, list[int]], list[tuple[int, str]]]]


def numbers(count: int) -> list[str]:
    return [f"number {number}" for number in range(count)]


def test_everything_is_kept_in_order(run: Run, write_table: WriteTable, out: Path, outcome: Outcome) -> None:
    report = run(write_table(numbers(8)))
    assert outcome(out) == ({"train": list(range(8))}, [])
    assert (report.read, report.kept, report.rejected) == (8, 8, {})
    assert report.splits["train"]["shards"] == 3
    record = ShardReader(out)[4]
    assert (record.key, record.captions, record.meta) == ("000000004-4-toy", ("item 4",), {})


def test_only_the_result_is_left(run: Run, write_table: WriteTable, out: Path) -> None:
    run(write_table(numbers(2)))
    names = {path.name for path in out.iterdir()}
    assert names == {"manifest.json", "rejects.jsonl", "train-000000.tar", "train-000000.index.npy"}


def test_splits_and_rejects(run: Run, write_table: WriteTable, out: Path, outcome: Outcome) -> None:
    deeds = [*numbers(5), "reject too dark", "defect x", "number 7", "reject too dark"]
    splits = ["train", "test", "", "test", "train", "test", "train", "train", "No Name"]
    report = run(write_table(deeds, splits), split="rest")
    kept, rejects = outcome(out)
    assert kept == {"train": [0, 4, 7], "test": [1, 3], "rest": [2]}
    unexpected = f"{UNEXPECTED} (KeyError)"
    assert rejects == [(5, "too dark"), (6, unexpected), (8, BAD_SPLIT)]
    assert report.rejected == {BAD_SPLIT: 1, "too dark": 1, unexpected: 1}
    row = json.loads((out / "rejects.jsonl").read_text().splitlines()[0])
    assert row == {
        "item": 5,
        "what": "5.toy",
        "where": str(out.parent / "src" / "5.toy"),
        "why": "too dark",
        "detail": "as the file says",
        "split": "test",
    }


def test_workers_do_not_change_the_result(
    run: Run, write_table: WriteTable, tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    src = write_table([*numbers(20), "reject x", *numbers(3)])
    for workers in (1, 3):
        run(src, workers=workers, out=tmp_path / str(workers))
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deeds=st.lists(
        st.sampled_from(["number 1", "reject a", "reject b", "defect x"]), min_size=1, max_size=12
    ),
    data=st.data(),
)
def test_read_is_kept_plus_rejected(
    run: Run,
    write_table: WriteTable,
    tmp_path_factory: pytest.TempPathFactory,
    outcome: Outcome,
    deeds: list[str],
    data: st.DataObject,
) -> None:
    splits = [data.draw(st.sampled_from(["", "test", "BAD NAME"])) for _ in deeds]
    out = tmp_path_factory.mktemp("out")
    report = run(write_table(deeds, splits, f"src-{out.name}"), out=out, workers=2)
    kept, rejects = outcome(out)
    good = [split != "BAD NAME" and deed == "number 1" for deed, split in zip(deeds, splits, strict=True)]
    assert report.read == len(deeds) == report.kept + sum(report.rejected.values())
    assert report.kept == sum(good) == sum(map(len, kept.values()))
    assert [item for item, _ in rejects] == [item for item, is_good in enumerate(good) if not is_good]
    assert Counter(reason for _, reason in rejects) == report.rejected


def test_limit(run: Run, write_table: WriteTable, out: Path, outcome: Outcome) -> None:
    report = run(write_table(["reject x", *numbers(6)]), limit=4)
    assert report.read == 4
    assert outcome(out) == ({"train": [0, 1, 2]}, [(0, "x")])


def test_shards_can_be_bounded_by_bytes(run: Run, write_table: WriteTable) -> None:
    report = run(write_table(numbers(8)), size=ShardSize(samples=100, bytes=4000))
    assert report.splits["train"]["shards"] == 4, "two records of 2048 bytes fill a shard"


def test_a_pair(run: Run, write_table: WriteTable, out: Path) -> None:
    src = write_table(numbers(2))
    (src / "metadata.csv").write_text("left,right,caption\n0.toy,1.toy,both\n")
    run(src, modality="pair")
    assert ShardReader(out)[0].signals["pair"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_canonical_file_is_stored_as_it_is(run: Run, write_table: WriteTable, out: Path) -> None:
    src = write_table(["number 5 as it is", "number 6"])
    run(src)
    stored = [dict(members(ShardReader(out).run(index))) for index in range(2)]
    assert stored[0]["000000000-0-toy.toy.kept"] == (src / "0.toy").read_bytes()
    assert "000000001-1-toy.toy.i64" in stored[1]


def test_a_file_with_another_ending(run: Run, write_table: WriteTable, out: Path, outcome: Outcome) -> None:
    src = write_table(numbers(1))
    (src / "photo.heic").write_text("number 1")
    (src / "metadata.csv").write_text("file,caption\nphoto.heic,one\n0.toy,two\n")
    run(src)
    assert outcome(out) == ({"train": [0]}, [(0, WRONG_SUFFIX)])
    assert "got '.heic', expected one of .toy" in (out / "rejects.jsonl").read_text()


def test_a_file_that_may_not_be_read(run: Run, write_table: WriteTable, out: Path, outcome: Outcome) -> None:
    """The toy opens the file that its text names: an input/output error like that of a bad disk."""
    run(write_table(["wait /proc/self/mem", "number 1"]))
    assert outcome(out) == ({"train": [1]}, [(0, UNREADABLE)])


def test_check_reads_everything_and_writes_nothing(run: Run, write_table: WriteTable, tmp_path: Path) -> None:
    src = write_table(["number 1", "reject x", "number 2"], ["a", "a", "b"])
    before = sorted(tmp_path.rglob("*"))
    report = run(src, check=True, out=None)
    assert sorted(tmp_path.rglob("*")) == before
    assert (report.read, report.rejected, report.out) == (3, {"x": 1}, None)
    assert report.splits == {"a": {"samples": 1}, "b": {"samples": 1}}


@pytest.mark.parametrize(
    ("rejects", "allowed", "raises"), [(1, 0.1, False), (2, 0.1, True), (1, 0.0, True), (10, 1.0, False)]
)
def test_too_many_rejects(
    run: Run, write_table: WriteTable, rejects: int, allowed: float, raises: bool
) -> None:
    report = run(write_table(["reject x"] * rejects + numbers(10 - rejects)))
    if not raises:
        report.check_rejects(allowed)
        return
    with pytest.raises(
        TooManyRejects, match=rf"{rejects} of 10 items were rejected, {rejects}0.0%; .*: x \({rejects}\)"
    ):
        report.check_rejects(allowed)


# ---- what ends a run


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_worker_that_dies_costs_one_item(
    run: Run, write_table: WriteTable, out: Path, outcome: Outcome, name: str
) -> None:
    run(write_table([*numbers(3), f"crash {name}", "number 4", f"crash {name}"]), workers=2)
    assert outcome(out) == ({"train": [0, 1, 2, 4]}, [(3, WORKER_DIED), (5, WORKER_DIED)])
    assert f"killed by {name}" in (out / "rejects.jsonl").read_text()


def test_an_item_that_never_ends(
    run: Run, write_table: WriteTable, out: Path, outcome: Outcome, pipe: object
) -> None:
    run(write_table(["number 0", f"wait {pipe}", "number 2"]), item_timeout=0.5)
    assert outcome(out) == ({"train": [0, 2]}, [(1, TIMEOUT)])


def test_a_missing_package_is_no_fault_of_the_item(run: Run, write_table: WriteTable, out: Path) -> None:
    with pytest.raises(MissingExtra, match="the package 'av' is not installed"):
        run(write_table(["missing av", "number 1"]))
    assert not out.exists()


def test_a_worker_that_cannot_start(
    run: Run, write_table: WriteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onellm_data.prepare.worker.main", exit)
    with pytest.raises(OnellmError, match=r"a worker could not start \(it ended with exit code 1\)"):
        run(write_table(numbers(1)))


def test_a_source_without_items(run: Run, write_table: WriteTable, out: Path) -> None:
    with pytest.raises(UsageError, match=r"there are no items in .*src; expected a folder with metadata.csv"):
        run(write_table([]))
    assert not out.exists()


def test_a_source_with_wrong_columns_leaves_nothing(run: Run, write_table: WriteTable, out: Path) -> None:
    src = write_table(numbers(1))
    (src / "metadata.csv").write_text("path,text\n0.toy,one\n")
    with pytest.raises(UsageError, match="has the columns 'path', 'text'"):
        run(src)
    assert not out.exists()


def test_too_many_splits(run: Run, write_table: WriteTable) -> None:
    names = [f"split{number}" for number in range(70)]
    with pytest.raises(UsageError, match=r"more than 64 splits, the last one 'split64'"):
        run(write_table(["number 1"] * 70, names))


def test_places_that_are_no_result_folder(run: Run, write_table: WriteTable, tmp_path: Path) -> None:
    src = write_table(numbers(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--out .*file is a file, expected a folder"):
        run(src, out=tmp_path / "file")
    for inside in (src, src / "deep" / "out"):
        with pytest.raises(UsageError, match=r"lies in --src .*: choose a folder outside"):
            run(src, out=inside)
    with pytest.raises(UsageError, match=r"is not empty \(it has file\); choose a new folder"):
        run(src, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "src"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "No Name"}, "got --split 'No Name', expected up to 32 lower-case letters"),
        ({"workers": 0}, "got --workers 0, expected more than 0"),
        ({"limit": -1}, "got --limit -1"),
        ({"item_timeout": 0}, "got --item-timeout 0"),
        ({"size": ShardSize(samples=0)}, "got --samples-per-shard 0"),
        ({"size": ShardSize(bytes=0)}, "got --shard-size 0"),
        ({"out": None}, "got no --out: name the folder to write, or use --check"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PrepareOptions(**{"modality": "toy", "src": tmp_path, "out": tmp_path / "out", **options})


def test_an_unknown_modality(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown modality 'imuu'; did you mean 'imu'"):
        prepare(PrepareOptions("imuu", tmp_path, tmp_path / "out"))
