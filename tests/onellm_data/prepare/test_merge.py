"""Parts of a run, side by side, and merging them: the same records as from one run."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onellm_data.errors import OnellmError, UsageError
from onellm_data.modalities.base import Modality
from onellm_data.prepare.lock import locked
from onellm_data.prepare.merge import merge
from onellm_data.prepare.options import Part
from onellm_data.prepare.report import Report
from onellm_data.shards.reader import ShardReader, load_manifest
from onellm_data.shards.verify import verify
from onellm_data.shards.writer import ShardSize

Run = Callable[..., Report]
Call = Callable[..., tuple[int, str, str]]
WriteTable = Callable[..., Path]

DEEDS = ["number 0", "reject x", "number 2", "number 3", "reject y", "number 5", "number 6"]
SPLITS = ["train", "test", "test", "train", "train", "train", "test"]


def run_parts(run: Run, src: Path, count: int, **options: object) -> None:
    for number in range(count):
        run(src, part=Part(number, count), **options)


def records(folder: Path) -> dict[str, set[bytes]]:
    """Split → its records as bytes, in no order; none is there twice."""
    verify(folder)
    found = {}
    for split in load_manifest(folder).splits:
        reader = ShardReader(folder, split)
        found[split] = {reader.run(index) for index in range(len(reader))}
        assert len(found[split]) == len(reader)
    return found


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deeds=st.lists(st.sampled_from(["number 1", "number 2", "reject a", "defect x"]), min_size=1, max_size=9),
    count=st.integers(1, 4),
    samples=st.integers(1, 3),
    data=st.data(),
)
def test_merged_parts_are_what_one_run_gives(
    run: Run,
    write_table: WriteTable,
    tmp_path_factory: pytest.TempPathFactory,
    deeds: list[str],
    count: int,
    samples: int,
    data: st.DataObject,
) -> None:
    place = tmp_path_factory.mktemp("merge")
    src = write_table(deeds, [data.draw(st.sampled_from(["", "test"])) for _ in deeds], f"src-{place.name}")
    whole = run(src, out=place / "whole", size=ShardSize(samples))
    run_parts(run, src, count, out=place / "parts", size=ShardSize(samples))
    merged = merge(place / "parts")
    assert records(place / "parts") == records(place / "whole")
    assert (merged.read, merged.kept, merged.rejected) == (whole.read, whole.kept, whole.rejected)
    for folder in ("parts", "whole"):
        rows = [json.loads(line)["item"] for line in (place / folder / "rejects.jsonl").open()]
        assert rows == sorted(set(rows))
        assert len(rows) == sum(whole.rejected.values())
    assert (place / "parts" / "rejects.jsonl").read_bytes() == (
        place / "whole" / "rejects.jsonl"
    ).read_bytes()
    assert load_manifest(place / "parts").options == load_manifest(place / "whole").options


@pytest.fixture
def parts(run: Run, write_table: WriteTable, out: Path) -> Path:
    """The deeds in three parts."""
    run_parts(run, write_table(DEEDS, SPLITS), 3)
    return out


def test_no_byte_is_copied(parts: Path) -> None:
    merge(parts)
    for split in load_manifest(parts).splits.values():
        for shard in split.shards:
            for name in (shard.name, shard.index_name):
                assert (parts / name).stat().st_nlink == 2
    shutil.rmtree(parts / "part-0-of-3")
    assert set(records(parts)) == {"train", "test"}


def test_a_file_system_without_links(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    merge(parts)
    assert {split: len(runs) for split, runs in records(parts).items()} == {"train": 3, "test": 2}


def test_a_full_disk_says_so(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OnellmError, match="no space left while writing"):
        merge(parts)
    assert not (parts / "manifest.json").exists()


@pytest.mark.parametrize("step", range(6))
def test_a_killed_merge_is_done_again(parts: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    link, left = os.link, [step]

    def counting(source: Path, target: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        link(source, target)

    monkeypatch.setattr(os, "link", counting)
    with pytest.raises(KeyboardInterrupt):
        merge(parts)
    assert not (parts / "manifest.json").exists()
    monkeypatch.setattr(os, "link", link)
    merge(parts)
    assert {split: len(runs) for split, runs in records(parts).items()} == {"train": 3, "test": 2}


def test_a_merged_folder_can_be_retried(run: Run, parts: Path) -> None:
    merge(parts)
    for number in range(3):
        shutil.rmtree(parts / f"part-{number}-of-3")
    src = parts.parent / "src"
    (src / "1.toy").write_text("number 1")
    report = run(src, out=parts, retry_rejects=True)
    assert (report.kept, report.rejected) == (6, {"y": 1})
    assert {split: len(runs) for split, runs in records(parts).items()} == {"train": 3, "test": 3}


def test_a_retried_part_merges(run: Run, parts: Path) -> None:
    src = parts.parent / "src"
    (src / "1.toy").write_text("number 1")
    run(src, part=Part(1, 3), retry_rejects=True)
    assert merge(parts).kept == 6


def test_more_parts_than_items(run: Run, write_table: WriteTable, out: Path) -> None:
    run_parts(run, write_table(["number 0"]), 3)
    assert merge(out).kept == 1


def test_limit_counts_items_of_all_parts(run: Run, write_table: WriteTable, out: Path) -> None:
    run_parts(run, write_table(DEEDS, SPLITS), 2, limit=3)
    assert merge(out).read == 3


# ---- what is refused


def test_a_missing_part(parts: Path) -> None:
    shutil.rmtree(parts / "part-1-of-3")
    with pytest.raises(UsageError, match=r"lacks the parts 1/3; run them with --part, then merge"):
        merge(parts)
    assert not (parts / "train-000000.tar").exists()


def test_an_unfinished_part(parts: Path) -> None:
    (parts / "part-1-of-3" / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"part-1-of-3 is unfinished; run its command again with --resume"):
        merge(parts)


def test_a_part_that_is_there_twice(parts: Path) -> None:
    shutil.rmtree(parts / "part-1-of-3")
    shutil.copytree(parts / "part-0-of-3", parts / "part-1-of-3")
    with pytest.raises(UsageError, match=r"part-0-of-3 and .*part-1-of-3 hold the same part 0/3"):
        merge(parts)


def test_parts_of_other_options(run: Run, parts: Path) -> None:
    shutil.rmtree(parts / "part-2-of-3")
    run(parts.parent / "src", part=Part(2, 3), given={"plus": 1})
    with pytest.raises(
        UsageError, match=r"are no parts of one run: plus is 0 in the first and 1 in the second"
    ):
        merge(parts)


def test_parts_of_another_number_of_parts(run: Run, parts: Path) -> None:
    run(parts.parent / "src", part=Part(0, 2))
    with pytest.raises(UsageError, match=r"are no parts of one run: part is"):
        merge(parts)


def test_parts_of_a_source_that_changed(run: Run, parts: Path, write_table: WriteTable) -> None:
    shutil.rmtree(parts / "part-2-of-3")
    table = parts.parent / "src" / "metadata.csv"
    table.write_text(table.read_text().replace("item 6", "another caption"))
    run(parts.parent / "src", part=Part(2, 3))
    with pytest.raises(UsageError, match="no parts of one run: the source's list of items is"):
        merge(parts)


def test_a_cut_shard(parts: Path) -> None:
    with (parts / "part-2-of-3" / "train-000000.tar").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(OnellmError, match=r"train-000000.tar has 100 bytes, its manifest says 3072"):
        merge(parts)


def test_no_parts_and_other_things(run: Run, parts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there are no parts in .*; expected folders such as part-0-of-4"):
        merge(tmp_path)
    (parts / "notes.txt").write_text("")
    with pytest.raises(UsageError, match=r"holds something besides the parts \(it has notes.txt\)"):
        merge(parts)
    (parts / "notes.txt").unlink()
    merge(parts)
    with pytest.raises(UsageError, match="holds a finished result already"):
        merge(parts)
    with pytest.raises(UsageError, match="holds a finished result; choose another folder for the parts"):
        run(parts.parent / "src", part=Part(0, 4))


def test_a_part_that_is_being_written(parts: Path) -> None:
    with (
        locked(parts / "part-1-of-3"),
        pytest.raises(OnellmError, match=r"another 'onellm prepare' is writing to .*part-1-of-3"),
    ):
        merge(parts)


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "a/b", "0/0", "1/2/3", ""])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(UsageError, match="expected one of n parts counted from 0: 0/4 to 3/4"):
        Part.parse(text)


def test_from_the_command_line(call: Call, write_table: WriteTable, tmp_path: Path, toy: Modality) -> None:
    src, out = write_table(["number 0", "number 1", "reject x"]), tmp_path / "out"
    code, _, stderr = call("--src", src, "--out", out, "--part", "2/2")
    assert (code, "got --part '2/2'" in stderr) == (2, True)
    for number in range(2):
        code, stdout, _ = call("--src", src, "--out", out, "--part", f"{number}/2", "--json")
        assert json.loads(stdout)["out"] == str(out / f"part-{number}-of-2")
    assert code == 0
    assert call("--merge", "--out", out)[0] == 2, "a modality was given too"


def test_merging_from_the_command_line(
    start_onellm: Callable[..., tuple[int, str, str]], parts: Path
) -> None:
    code, stdout, stderr = start_onellm("prepare", "--merge", "--out", parts, "--json")
    report = json.loads(stdout)
    assert (code, report["read"], report["kept"], report["recognised"]) == (3, 7, 5, "3 parts")
    assert "2 of 7 items were rejected" in stderr
