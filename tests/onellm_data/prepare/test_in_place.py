"""Signals that stay where they are: the records are the same, and no picture is copied."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onellm_data.errors import OnellmError, UsageError
from onellm_data.modalities.base import Modality
from onellm_data.prepare.merge import merge
from onellm_data.prepare.options import Part, PrepareOptions
from onellm_data.prepare.report import Report
from onellm_data.prepare.run import prepare
from onellm_data.prepare.worker import CANNOT_STAY
from onellm_data.records import Record
from onellm_data.shards import in_place
from onellm_data.shards.reader import ShardReader, load_manifest
from onellm_data.shards.summary import summarise
from onellm_data.shards.verify import verify

Run = Callable[..., Report]
WriteTable = Callable[..., Path]
Start = Callable[..., object]


@pytest.fixture
def laion(tmp_path: Path) -> Path:
    """Two tars as img2dataset writes them: five pictures, one of them damaged."""
    src = tmp_path / "laion"
    src.mkdir()
    for tar in range(2):
        with tarfile.open(src / f"{tar:05d}.tar", "w") as archive:
            for key in range(tar, 6, 2):
                buffer = io.BytesIO()
                Image.new("L" if key == 2 else "RGB", (24, 16), 40 * key).save(buffer, "JPEG")
                picture = b"no picture" if key == 4 else buffer.getvalue()
                told = {
                    "caption": f"caption {key}",
                    "url": "u",
                    "key": str(key),
                    "status": "success",
                    "n": key,
                }
                members = {"jpg": picture, "json": json.dumps(told).encode(), "txt": b"caption %d" % key}
                for ending, data in members.items():
                    info = tarfile.TarInfo(f"{key:09d}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return src


def prepared(src: Path, out: Path, **options: object) -> Path:
    prepare(PrepareOptions("image", src=src, out=out, workers=1, **options))  # type: ignore[arg-type]
    return out


def told(records: ShardReader) -> list[tuple[object, ...]]:
    return [
        (record.key, record.captions, record.meta, record.signals["image"].tolist()) for record in records
    ]


def test_the_same_records_and_no_picture_is_copied(laion: Path, tmp_path: Path) -> None:
    copied, left = prepared(laion, tmp_path / "a"), prepared(laion, tmp_path / "b", in_place=True)
    assert told(ShardReader(left)) == told(ShardReader(copied))
    assert len(ShardReader(left)) == 5
    assert load_manifest(left).rejected == load_manifest(copied).rejected
    names = {path.name for path in left.iterdir()}
    assert names == {"manifest.json", "rejects.jsonl", "train-000000.jsonl", "train-000000.index.npy"}
    assert sum(path.stat().st_size for path in left.iterdir()) < 5000
    assert (verify(left), summarise(left)["kept"]) == (5, 5)


def test_a_reader_in_another_process(laion: Path, tmp_path: Path) -> None:
    reader = ShardReader(prepared(laion, tmp_path / "out", in_place=True))
    again = pickle.loads(pickle.dumps(reader))  # noqa: S301 - made in this line
    assert again.keys(-1) == reader[4].key == "000000005-00001-000000005"


@pytest.mark.parametrize("change", [b"\0", None])
def test_a_tar_that_changed_is_noticed(laion: Path, tmp_path: Path, change: bytes | None) -> None:
    reader = ShardReader(prepared(laion, tmp_path / "out", in_place=True))
    with (laion / "00000.tar").open("r+b") as stream:
        if change is None:
            stream.truncate(600)
        else:
            stream.seek(600)
            stream.write(change)
    with pytest.raises(OnellmError, match=r"record 0 of .*: the raw file 00000.tar was changed since"):
        reader[0]
    with pytest.raises(OnellmError, match="was changed since"):
        verify(tmp_path / "out")
    assert reader[4].captions == ("caption 5",)


def test_data_that_moved(laion: Path, tmp_path: Path) -> None:
    out = prepared(laion, tmp_path / "out", in_place=True)
    laion.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"were left in .*laion, and there is no such folder here"):
        ShardReader(out)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "root": str(tmp_path / "moved")}))
    reader = ShardReader(out)
    assert reader[0].captions == ("caption 0",)
    (tmp_path / "moved" / "00001.tar").unlink()
    with pytest.raises(OnellmError, match=r"record 2 of .*: the raw file 00001.tar is not there any more"):
        reader[2]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_line_that_leads_out_of_the_raw_data(laion: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    reader = ShardReader(prepared(laion, tmp_path / "out", in_place=True))
    pointer = in_place.Pointer(name, 0, 6, "picture", 0)
    assert reader._raw is not None
    with pytest.raises(OnellmError, match="leads out of the folder of the raw data"):
        pointer.read(reader._raw)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"key": "a", "signals": {"image": {}}}', b"\xff"])
def test_a_damaged_line(line: bytes) -> None:
    with pytest.raises(OnellmError, match="expected a line that names a record"):
        in_place.unpack(line)


def test_parts_merge(laion: Path, tmp_path: Path) -> None:
    for number in range(2):
        prepared(laion, tmp_path / "out", in_place=True, part=Part(number, 2))
    merge(tmp_path / "out")
    whole = ShardReader(prepared(laion, tmp_path / "whole", in_place=True))
    assert sorted(map(str, told(ShardReader(tmp_path / "out")))) == sorted(map(str, told(whole)))


# ---- files of their own


def test_whole_files_stay_if_they_are_canonical(run: Run, write_table: WriteTable, out: Path) -> None:
    report = run(write_table(["number 3 as it is", "number 4"]), in_place=True)
    assert report.rejected == {CANNOT_STAY: 1}
    record = ShardReader(out)[0]
    assert (record.signals["toy"].tolist(), record.captions) == ([3], ("item 0",))


def test_a_bad_file_is_rejected_as_ever(run: Run, write_table: WriteTable) -> None:
    assert run(write_table(["reject too dark"]), in_place=True).rejected == {"too dark": 1}


def test_a_pair_of_files_cannot_stay(run: Run, write_table: WriteTable) -> None:
    src = write_table(["number 1", "number 2"])
    (src / "metadata.csv").write_text("left,right,caption\n0.toy,1.toy,both\n")
    assert run(src, modality="pair", in_place=True).rejected == {CANNOT_STAY: 1}


def test_no_other_reading(run: Run, write_table: WriteTable) -> None:
    with pytest.raises(UsageError, match="got --in-place and plus: a signal that stays where it is cannot"):
        run(write_table(["number 1 as it is"]), in_place=True, given={"plus": 1})


def test_going_on_needs_the_same(run: Run, write_table: WriteTable) -> None:
    src = write_table(["number 1 as it is"])
    run(src, in_place=True)
    with pytest.raises(UsageError, match=r"in_place was '.*src', is now ''"):
        run(src, resume=True)


@pytest.mark.usefixtures("toy")
def test_killed_and_going_on(
    start: Callable[..., object],
    write_table: WriteTable,
    tmp_path: Path,
    pipe: object,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    deeds = [f"number {number} as it is" for number in range(7)]
    src = write_table([*deeds[:5], f"wait {pipe}", *deeds[5:]])
    given = ("--src", src, "--in-place", "--max-reject-rate", 1)
    pipe.kill(start(*given, "--out", tmp_path / "out"))  # type: ignore[attr-defined]
    assert pipe.answer(start(*given, "--out", tmp_path / "out", "--resume"))[0] == 0  # type: ignore[attr-defined]
    assert pipe.answer(start(*given, "--out", tmp_path / "whole"))[0] == 0  # type: ignore[attr-defined]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert len(ShardReader(tmp_path / "out")) == 7


def test_retrying_adds_lines(run: Run, write_table: WriteTable, out: Path, toy: Modality) -> None:
    src = write_table(["reject x", "number 1 as it is"])
    run(src, in_place=True)
    (src / "0.toy").write_text("number 7 as it is")
    assert run(src, in_place=True, retry_rejects=True).kept == 2
    records: list[Record] = list(ShardReader(out))
    assert np.concatenate([record.signals["toy"] for record in records]).tolist() == [1, 7]
