"""MSVD with its planted defects."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import UsageError
from onellm_data.modalities.decoding import UNREADABLE
from onellm_data.sources import msvd
from onellm_data.sources.base import Item
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.msvd import NOT_ENGLISH
from onellm_data.sources.tables import BAD_ROW

Tell = Callable[..., list[tuple[str, ...]]]

TABLE = "MSR Video Description Corpus.csv"
HEADER = ["VideoID", "Start", "End", "WorkerID", "Source", "AnnotationTime", "Language", "Description"]


def row(video: str, start: object, text: str, language: str = "English") -> list[str]:
    return [video, str(start), "10", "1", "clean", "5", language, text]


def write(src: Path, *rows: list[str], header: list[str] = HEADER) -> None:
    with (src / TABLE).open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([header, *rows])


@pytest.fixture
def clips(src: Path, write_film: Callable[..., Path]) -> Path:
    """Clips whose ids have ``_`` and ``-``, and a mapping with both kinds of line ends."""
    clips = src / "YouTubeClips"
    for name in ("-4wsuPCjDBc_5_10.avi", "_a_b-1_0_10.avi", "zz_3_10.mp4"):
        write_film(clips / name)
    (clips / "html_0_10.avi").write_text("<html>")
    write(
        src,
        row("-4wsuPCjDBc", 5, "a squirrel, eating"),
        row("-4wsuPCjDBc", 5, "una ardilla", "Spanish"),
        row("_a_b-1", 0, "one"),
        row("-4wsuPCjDBc", 5, "a squirrel eats"),
        row("-4wsuPCjDBc", 5, "a squirrel eats "),
        row("zz", 3, "last"),
        row("html", 0, "a web page"),
        row("gone", 0, "gone"),
        row("fr", 0, "un chien", "French"),
        row("blank", 0, " "),
        row("x", "soon", "no time"),
        row("", 0, "no id"),
        row("../../../secret", 0, "out"),
        row("zz", 3, "caf\udce9"),
    )
    (src / "youtube_mapping.txt").write_bytes(
        b"-4wsuPCjDBc_5_10 vid1\r\n_a_b-1_0_10 vid1201\r\n\r\nzz_3_10 vid1301\n"
        b"only_here_1_2 vid1970\nnonsense\n"
    )
    return src


TOLD = [
    ("-4wsuPCjDBc_5_10", "a squirrel, eating", "a squirrel eats"),
    ("_a_b-1_0_10", "one"),
    ("zz_3_10", "last"),
    ("html_0_10", "a web page"),
    ("gone_0_10", MISSING_FILE),
    ("fr_0_10", NOT_ENGLISH),
    ("blank_0_10", NO_CAPTION),
    ("row 12", WRONG_VALUE),
    ("row 13", WRONG_VALUE),
    ("../../../secret_0_10", LEAVES_FOLDER),
    ("row 15", NOT_UTF8),
    ("only_here_1_2", NOT_ENGLISH),
    ("row 6", BAD_ROW),
]


def test_kept_and_rejected(clips: Path, told: Tell) -> None:
    assert told("msvd", clips, "video") == TOLD
    assert msvd.detect(clips, "video") == f"MSVD ({TABLE})"


def test_ids_are_split_from_the_right(clips: Path, item_named: Callable[..., Item]) -> None:
    assert item_named("msvd", clips, "video", "_a_b-1_0_10") == Item(
        "_a_b-1_0_10",
        {"video": (clips / "YouTubeClips/_a_b-1_0_10.avi",)},
        ("one",),
        split="val",
        meta={"video_id": "_a_b-1", "start": 0, "end": 10, "vid": 1201},
    )


def test_an_id_that_ends_like_a_time(clips: Path, write_film: Callable[..., Path]) -> None:
    write_film(clips / "YouTubeClips/ab_7_0_10.avi")
    write(clips, row("ab_7", 0, "one"))
    item = next(iter(msvd.items(clips, "video")))
    assert isinstance(item, Item)
    assert item.meta == {"video_id": "ab_7", "start": 0, "end": 10}


def test_prepared(clips: Path, prepared: Callable[..., Any]) -> None:
    records, rejects = prepared("msvd", clips, "video")
    assert {split: [one.captions[0] for one in records[split]] for split in records} == {
        "train": ["a squirrel, eating"],
        "val": ["one"],
        "test": ["last"],
    }
    assert records["test"][0].signals["video"].shape == (5, 48, 64, 3)
    assert rejects == {"html_0_10": UNREADABLE, **{name: reason for name, reason, *_ in TOLD[4:]}}


def test_without_the_mapping_there_are_no_splits(clips: Path, told: Tell) -> None:
    (clips / "youtube_mapping.txt").unlink()
    assert told("msvd", clips, "video") == TOLD[:-2]
    assert {one.split for one in msvd.items(clips, "video")} == {None}


def test_clips_in_another_folder(clips: Path, told: Tell) -> None:
    (clips / "YouTubeClips").rename(clips / "clips")
    assert told("msvd", clips, "video")[0] == ("-4wsuPCjDBc_5_10", MISSING_FILE)
    assert told("msvd", clips, "video", root="clips") == TOLD


def test_what_is_not_recognised(src: Path) -> None:
    write(src, header=HEADER[:-1])
    assert msvd.detect(src, "video") is None
    with pytest.raises(
        UsageError, match=r"there is no table in .*; expected a .csv with VideoID, Start, End"
    ):
        msvd.items(src, "video")
