"""OneLLM's caption tables for every modality."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from onellm_data.errors import UsageError
from onellm_data.modalities.decoding import UNREADABLE
from onellm_data.sources import onellm_csv
from onellm_data.sources.base import Item
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.tables import BAD_ROW

Tell = Callable[..., list[tuple[str, ...]]]


def write(path: Path, *rows: tuple[str, ...], header: tuple[str, ...] = ("caption", "url")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    return path


@pytest.fixture
def media(src: Path, picture_bytes: Callable[..., bytes], write_film: Callable[..., Path]) -> Path:
    for name, level in [("cc3m/0/1.jpg", 1), ("cc3m_depth/0/1.jpg", 2), ("cc3m_normal/0/1.png", 3)]:
        (src / name).parent.mkdir(parents=True)
        (src / name).write_bytes(picture_bytes(level, "PNG" if name.endswith("png") else "JPEG"))
    (src / "cc3m/0/bad.jpg").write_bytes(b"<html>")
    write_film(src / "a.mp4")
    soundfile.write(src / "a.wav", np.zeros(8000, np.float32), 16000)
    rng = np.random.default_rng(0)
    for name, shape in [("cloud.npy", (64, 6)), ("brain.npy", (3, 20)), ("motion.npy", (6, 400))]:
        np.save(src / name, rng.normal(size=shape).astype(np.float32))
    return src


@pytest.mark.parametrize(
    ("modality", "url"),
    [
        ("image", "cc3m/0/1.jpg"),
        ("video", "a.mp4"),
        ("audio", "a.wav"),
        ("point", "cloud.npy"),
        ("depth", "cc3m/0/1.jpg"),
        ("normal", "cc3m/0/1.jpg"),
        ("imu", "motion.npy"),
        ("fmri", "brain.npy"),
    ],
)
def test_every_modality(media: Path, modality: str, url: str, prepared: Callable[..., Any]) -> None:
    write(media / "captions.csv", ("one, two", url), ("three", url), ("four", "gone.x"))
    records, rejects = prepared("onellm_csv", media, modality)
    (record,) = records["train"]
    assert (list(record.signals), record.captions) == ([modality], ("one, two", "three"))
    assert rejects == {"gone.x": MISSING_FILE}
    signal = record.signals[modality]
    if modality in ("depth", "normal"):
        level = 2 if modality == "depth" else 3
        assert (int(signal.rgb.mean()), int(getattr(signal, modality).mean())) == (1, level)


def test_kept_and_rejected(media: Path, told: Tell) -> None:
    write(
        media / "00000.csv",
        ('say "one",\ntwo', "cc3m/0/1.jpg"),
        ("again", "p2:s3://cc3m/0/1.jpg"),
        ("", "cc3m/0/1.jpg"),
        (" ", "cc3m/0/bad.jpg"),
        ("no path", ""),
        ("no bucket", "s3://"),
        ("out", "../x.jpg"),
        ("caf\udce9", "cc3m/0/1.jpg"),
        ("too", "many", "fields"),
        ("a web page", "https://x/1.jpg"),
    )
    assert told("onellm_csv", media, "image") == [
        ("cc3m/0/1.jpg", 'say "one", two', "again"),
        ("cc3m/0/bad.jpg", NO_CAPTION),
        ("row 7", WRONG_VALUE),
        ("row 8", WRONG_VALUE),
        ("../x.jpg", LEAVES_FOLDER),
        ("row 10", NOT_UTF8),
        ("row 11", BAD_ROW),
        ("x/1.jpg", MISSING_FILE),
    ]


def test_a_broken_picture_is_its_own_reject(media: Path, prepared: Callable[..., Any]) -> None:
    write(media / "00000.csv", ("one", "cc3m/0/bad.jpg"), ("two", "cc3m/0/1.jpg"))
    records, rejects = prepared("onellm_csv", media, "image")
    assert [one.captions for one in records["train"]] == [("two",)]
    assert rejects == {"cc3m/0/bad.jpg": UNREADABLE}


def test_where_paths_start(media: Path, told: Tell) -> None:
    table = write(media / "00000.csv", ("one", "0/1.jpg"))
    assert told("onellm_csv", media, "image") == [("0/1.jpg", MISSING_FILE)]
    assert told("onellm_csv", media, "image", root="cc3m") == [("0/1.jpg", "one")]
    assert told("onellm_csv", table, "image", root="cc3m") == [("0/1.jpg", "one")]
    with pytest.raises(UsageError, match=r"got --root /etc, expected the name of a folder in"):
        onellm_csv.items(media, "image", root="/etc")


def test_many_files_one_after_another(media: Path, told: Tell) -> None:
    for number in range(3):
        write(media / f"0000{number}.csv", (f"caption {number}", "cc3m/0/1.jpg"))
    write(media / "deeper/1.csv", ("deep", "cc3m/0/1.jpg"))
    assert onellm_csv.detect(media, "image") == "OneLLM's captions (00000.csv and 2 more)"
    assert told("onellm_csv", media, "image") == [
        ("cc3m/0/1.jpg", f"caption {number}") for number in range(3)
    ]
    assert told("onellm_csv", media, "image", table="0000[12].csv")[0] == ("cc3m/0/1.jpg", "caption 1")
    assert told("onellm_csv", media, "image", table="deeper/1.csv") == [("cc3m/0/1.jpg", "deep")]


@pytest.mark.parametrize(
    ("picture", "depth_map"),
    [
        ("a/b.jpg", "a_depth/b.png"),
        ("x/cc3m/1.jpg", "x/cc3m_depth/1.npy"),
        ("b.jpg", "depth/b.jpg"),
    ],
)
def test_where_maps_lie(src: Path, picture: str, depth_map: str) -> None:
    for name in (picture, depth_map):
        (src / name).parent.mkdir(parents=True, exist_ok=True)
        (src / name).write_bytes(b"x")
    write(src / "a.csv", ("one", picture))
    (item,) = onellm_csv.items(src, "depth")
    assert isinstance(item, Item)
    assert item.files["depth"] == (src / picture, src / depth_map)


def test_a_picture_without_its_map(media: Path, told: Tell) -> None:
    write(media / "a.csv", ("one", "a.mp4"))
    assert told("onellm_csv", media, "depth") == [("a.mp4", MISSING_FILE)]


def test_what_is_not_recognised(src: Path) -> None:
    (src / "commas.csv").write_text("caption,url\na,b\n")
    write(src / "other.csv", header=("caption", "file"))
    assert onellm_csv.detect(src, "image") is None
    with pytest.raises(UsageError, match=r"there is no table in .*; expected OneLLM's caption tables"):
        onellm_csv.items(src, "image")


def test_a_table_with_commas_is_told_so(src: Path) -> None:
    (src / "commas.csv").write_text("caption,url\na,b\n")
    with pytest.raises(UsageError, match=r"has the columns 'caption,url'; expected .*separated by TABs"):
        list(onellm_csv.items(src, "image", table="commas.csv"))
