"""Tars of img2dataset with their planted defects."""

from __future__ import annotations

import io
import json
import operator
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities.decoding import EMPTY, TOO_LARGE, UNREADABLE
from onellm_data.sources import img2dataset
from onellm_data.sources.base import Item, Reject
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8, WRONG_VALUE
from onellm_data.sources.img2dataset import NO_PICTURE, NOT_IN_TAR, members
from onellm_data.sources.inside import LEAVES_FOLDER
from onellm_data.sources.tar_members import BAD_ARCHIVE, CUT_ARCHIVE

Files = Mapping[str, bytes | str | dict[str, Any]]


def write_tar(path: Path, samples: Mapping[str, Files], **options: Any) -> Path:
    """A tar as webdataset's writer makes it: endings in order, times with fractions (a pax header each)."""
    with tarfile.open(path, "w", **options) as archive:
        for key, files in samples.items():
            for ending, content in files.items():
                text = json.dumps(content, indent=4) if isinstance(content, dict) else content
                data = text.encode() if isinstance(text, str) else text
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size, info.mtime = len(data), 1700000000.25
                archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, rows: list[tuple[str, str, str | None]]) -> None:
    keys, status, errors = zip(*rows, strict=True)
    urls = [f"http://x/{key}" for key in keys]
    pq.write_table(pa.table({"url": urls, "key": keys, "status": status, "error_message": errors}), path)


def columns(key: str, caption: str | None, **more: Any) -> dict[str, Any]:
    """A sample's json, as img2dataset writes it."""
    sizes = {"width": 24, "height": 16, "original_width": 24, "original_height": 16}
    return {
        **more,
        "caption": caption,
        "url": f"http://x/{key}",
        "key": key,
        "status": "success",
        "error_message": None,
        **sizes,
        "exif": "{}",
        "sha256": "0f",
    }


@pytest.fixture
def laion(src: Path, picture_bytes: Callable[..., bytes]) -> Path:
    """Two tars: samples in no order, one grey, one PNG under ``.jpg``, one with an empty txt; two failed."""

    def sample(key: str, caption: str, picture: bytes, **more: Any) -> Files:
        return {"jpg": picture, "json": columns(key, caption or None, **more), "txt": caption}

    synthetic = {"top_caption": "a top", "all_captions": ["one", " ", "two"]}
    first = {
        "000000003": sample("000000003", "three\nlines", picture_bytes(30), **synthetic),
        "000000000": sample("000000000", "grey", picture_bytes(60, mode="L"), top_caption=None),
        "000000002": sample("000000002", "really a PNG", picture_bytes(90, "PNG"), top_caption=7),
        "000000001": sample("000000001", "", picture_bytes(120), NSFW="UNLIKELY"),
    }
    write_tar(src / "00000.tar", first)
    good = [(key, "success", None) for key in sorted(first)]
    failed = [
        ("000000004", "failed_to_download", "HTTP Error 404: Not Found"),
        ("000000005", "failed_to_resize", "image decoding error"),
    ]
    write_parquet(src / "00000.parquet", [*good, *failed])
    (src / "00000_stats.json").write_text('{"count": 6, "successes": 4}')
    write_tar(src / "00001.tar", {"000010000": sample("000010000", "the last", picture_bytes(150))})
    write_parquet(src / "00001.parquet", [("000010000", "success", None)])
    (src / "00001_stats.json").write_text('{"count": 1}')
    return src


FAILED = [
    ("00000/000000004", "failed to download"),
    ("00000/000000005", "failed to resize"),
]


def test_kept_and_rejected(laion: Path, told: Callable[..., Any]) -> None:
    assert told("img2dataset", laion, "image") == [
        ("00000/000000003", "three lines"),
        ("00000/000000000", "grey"),
        ("00000/000000002", "really a PNG"),
        ("00000/000000001", NO_CAPTION),
        *FAILED,
        ("00001/000010000", "the last"),
    ]


def test_a_failed_row_says_its_error_and_address(laion: Path) -> None:
    rejects = [one for one in img2dataset.items(laion, "image") if isinstance(one, Reject)]
    assert rejects[1].detail == "HTTP Error 404: Not Found (http://x/000000004)"
    assert rejects[1].where == str(laion / "00000.parquet")


def test_the_column_of_the_caption(laion: Path, told: Callable[..., Any]) -> None:
    assert told("img2dataset", laion, "image", caption_key="top_caption") == [
        ("00000/000000003", "a top"),
        ("00000/000000000", NO_CAPTION),
        ("00000/000000002", WRONG_VALUE),
        ("00000/000000001", NO_CAPTION),
        *FAILED,
        ("00001/000010000", NO_CAPTION),
    ]


def test_a_column_with_several_captions(laion: Path, item_named: Callable[..., Item]) -> None:
    item = item_named("img2dataset", laion, "image", "00000/000000003", caption_key="all_captions")
    assert item.captions == ("one", "two")
    assert item.meta["caption"] == "three\nlines"


def test_meta_is_what_the_json_says_of_the_picture(laion: Path, item_named: Callable[..., Item]) -> None:
    item = item_named("img2dataset", laion, "image", "00000/000000003")
    assert item.meta == {
        "top_caption": "a top",
        "all_captions": ["one", " ", "two"],
        "url": "http://x/000000003",
        "sha256": "0f",
        **{"width": 24, "height": 16, "original_width": 24, "original_height": 16},
    }


def test_meta_leaves_out_what_is_null(laion: Path, item_named: Callable[..., Item]) -> None:
    item = item_named("img2dataset", laion, "image", "00000/000000000")
    assert set(item.meta) == {"url", "sha256", "width", "height", "original_width", "original_height"}


def test_prepared(laion: Path, prepared: Callable[..., Any]) -> None:
    records, rejects = prepared("img2dataset", laion, "image")
    levels = [int(record.signals["image"].mean()) for record in records["train"]]
    assert levels == [30, 60, 90, 150]
    assert all(record.signals["image"].shape == (16, 24, 3) for record in records["train"])
    assert rejects == {"00000/000000001": NO_CAPTION, **dict(FAILED)}


def test_a_picture_in_a_tar_keeps_its_bytes(
    laion: Path, prepared: Callable[..., Any], tmp_path: Path
) -> None:
    prepared("img2dataset", laion, "image")
    sample = next(one for one in members(laion / "00000.tar") if one.key == "000000003")
    place = sample.files["jpg"]
    jpeg = (laion / "00000.tar").read_bytes()[place.offset : place.offset + place.size]
    assert jpeg in (tmp_path / "out-image" / "train-000000.tar").read_bytes(), "it was encoded anew"


def test_the_number_of_rows_is_known(laion: Path) -> None:
    assert operator.length_hint(img2dataset.items(laion, "image"), -1) == 7
    (laion / "00001_stats.json").write_text("{")
    assert operator.length_hint(img2dataset.items(laion, "image"), -1) == -1


def test_one_tar_alone(laion: Path, told: Callable[..., Any]) -> None:
    assert len(told("img2dataset", laion / "00000.tar", "image")) == 6
    assert img2dataset.detect(laion / "00000.tar", "image") == "1 tar of img2dataset"


def test_a_tar_without_anything_beside_it(src: Path, picture_bytes: Callable[..., bytes]) -> None:
    write_tar(src / "00000.tar", {"a": {"jpg": picture_bytes(), "txt": "one"}})
    assert img2dataset.detect(src, "image") is None
    write_tar(src / "00000.tar", {"a": {"jpg": picture_bytes(), "json": columns("a", "one")}})
    assert img2dataset.detect(src, "image") == "1 tar of img2dataset"
    (item,) = img2dataset.items(src, "image")
    assert isinstance(item, Item)
    assert item.captions == ("one",)


def test_no_tar(src: Path) -> None:
    assert img2dataset.detect(src, "image") is None
    with pytest.raises(UsageError, match=r"there is no tar in .*expected tars of img2dataset"):
        list(img2dataset.items(src, "image"))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"json": columns("a", "one")}, NO_PICTURE),
        ({"jpg": b"x", "txt": b"caf\xe9"}, NOT_UTF8),
        ({"jpg": b"x", "json": b'{"caption": "\\ud800"}'}, NOT_UTF8),
        ({"jpg": b"x", "json": b'{"caption": "a", "similarity": NaN}'}, WRONG_VALUE),
        ({"jpg": b"x", "json": b"[" * 10_000}, UNREADABLE),
        ({"jpg": b"x", "json": b"5"}, WRONG_VALUE),
        ({"jpg": b"x", "txt": b"a" * (img2dataset.MAX_TEXT + 1)}, TOO_LARGE),
        ({"jpg": b"x"}, NO_CAPTION),
    ],
)
def test_a_bad_sample_is_rejected_alone(
    src: Path, picture_bytes: Callable[..., bytes], told: Callable[..., Any], files: Files, reason: str
) -> None:
    good = {"jpg": picture_bytes(), "txt": "good"}
    write_tar(src / "00000.tar", {"b": good, "a": files, "c": good})
    assert told("img2dataset", src, "image") == [
        ("00000/b", "good"),
        ("00000/a", reason),
        ("00000/c", "good"),
    ]


def test_what_the_tar_lacks_or_is_damaged(laion: Path, told: Callable[..., Any]) -> None:
    tar = laion / "00000.tar"
    whole = tar.read_bytes()
    third = list(members(tar))[2].start
    damaged = bytearray(whole)
    damaged[third + 148 : third + 156] = b"00000000"  # the header's checksum
    missing = [(f"00000/00000000{number}", NOT_IN_TAR) for number in (0, 1, 2)]
    for content, reason in [(bytes(damaged), BAD_ARCHIVE), (whole[: third + 700], CUT_ARCHIVE)]:
        tar.write_bytes(content)
        got = told("img2dataset", laion, "image")
        # The second sample lies before the damage, but nobody knows whether it is whole.
        first, last = ("00000/000000003", "three lines"), ("00001/000010000", "the last")
        assert got == [first, ("00000.tar", reason), *missing, *FAILED, last]
    tar.unlink()
    assert told("img2dataset", laion, "image")[:2] == [
        ("00000/000000000", NOT_IN_TAR),
        ("00000/000000001", NOT_IN_TAR),
    ]


@pytest.mark.parametrize(("content", "reason"), [(b"", EMPTY), (b"PAR1 no parquet", UNREADABLE)])
def test_a_bad_parquet(laion: Path, told: Callable[..., Any], content: bytes, reason: str) -> None:
    (laion / "00001.parquet").write_bytes(content)
    assert told("img2dataset", laion, "image")[-2:] == [
        ("00001/000010000", "the last"),
        ("00001.parquet", reason),
    ]


def test_a_parquet_of_something_else(laion: Path, told: Callable[..., Any]) -> None:
    pq.write_table(pa.table({"URL": ["http://x"]}), laion / "00001.parquet")
    assert told("img2dataset", laion, "image")[-1] == ("00001.parquet", UNREADABLE)


def test_a_tar_that_is_a_link_out_of_the_folder(
    laion: Path, tmp_path: Path, told: Callable[..., Any]
) -> None:
    (laion / "00001.tar").rename(tmp_path / "00001.tar")
    (laion / "00001.tar").symlink_to(tmp_path / "00001.tar")
    assert ("00001.tar", LEAVES_FOLDER) in told("img2dataset", laion, "image")


# ---- members


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("folder", ["", "./", "f" * 60 + "/" + "g" * 70 + "/"])
def test_members_are_where_tarfile_finds_them(tmp_path: Path, format: int, folder: str) -> None:
    samples = {f"{folder}{key}": {"jpg": b"j" * size, "txt": key} for key, size in [("b", 700), ("a", 512)]}
    tar = write_tar(tmp_path / "x.tar", samples, format=format)
    found = list(members(tar))
    assert [sample.key for sample in found] == [key.strip("/") for key in samples]
    with tarfile.open(tar) as archive:
        expected = {info.name: (info.offset_data, info.size) for info in archive}
    got = {one.name: (one.offset, one.size) for sample in found for one in sample.files.values()}
    assert got == expected
    assert [sample.texts for sample in found] == [{"txt": b"b"}, {"txt": b"a"}]


def test_runs_of_members_follow_each_other_and_are_tars(laion: Path) -> None:
    samples = list(members(laion / "00000.tar"))
    data = (laion / "00000.tar").read_bytes()
    ends = [sample.start + sample.length for sample in samples]
    assert [sample.start for sample in samples] == [0, *ends[:-1]]
    run = data[samples[1].start : ends[1]] + b"\0" * 1024
    with tarfile.open(fileobj=io.BytesIO(run)) as archive:
        assert archive.getnames() == [f"000000000.{ending}" for ending in ("jpg", "json", "txt")]


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in [("a.jpg", tarfile.SYMTYPE), ("a", tarfile.DIRTYPE), ("a.png", tarfile.LNKTYPE)]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", 100  # a size without data
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("../../a.txt"))
    (sample,) = members(tmp_path / "x.tar")
    assert (sample.key, list(sample.files)) == ("../../a", ["txt"])


def test_the_same_key_twice_is_two_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("a.jpg", "a.txt", "a.jpg", "a.txt"):
            archive.addfile(tarfile.TarInfo(name))
    found = [(sample.key, list(sample.files)) for sample in members(tmp_path / "x.tar")]
    assert found == [("a", ["jpg", "txt"])] * 2


def test_a_size_that_lies(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size = 1 << 40
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048)
    with pytest.raises(SignalError, match=r"cut archive: 'a.jpg' claims 1099511627776 bytes, 2048 are left"):
        list(members(tmp_path / "x.tar"))


@given(st.binary(max_size=2048), st.integers(0, 4096))
def test_damaged_tars_never_crash(tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int) -> None:
    path = write_tar(tmp_path_factory.getbasetemp() / "j.tar", {"a": {"jpg": b"x" * 600, "txt": "one"}})
    data = bytearray(path.read_bytes())
    data[place : place + len(junk)] = junk
    path.write_bytes(data)
    try:
        found = list(members(path))
    except SignalError:
        return
    assert all(sample.start + sample.length <= len(data) for sample in found)


# ---- reading


def test_a_reader_travels_to_a_worker_and_reads_the_member(
    laion: Path, item_named: Callable[..., Item]
) -> None:
    reader = item_named("img2dataset", laion, "image", "00000/000000002").files["image"]
    reader = pickle.loads(pickle.dumps(reader))  # noqa: S301 - what multiprocessing does
    assert reader.where == f"{laion}/00000.tar:000000002.jpg"
    np.testing.assert_array_equal(reader.read(), np.full((16, 24, 3), 90, np.uint8))


def test_a_member_that_is_no_picture(src: Path) -> None:
    write_tar(src / "00000.tar", {"a": {"jpg": b"<html>", "txt": "one"}})
    (item,) = img2dataset.items(src, "image")
    assert isinstance(item, Item)
    with pytest.raises(SignalError, match=r"unreadable file: .*00000.tar:a.jpg"):
        item.files["image"].read()
