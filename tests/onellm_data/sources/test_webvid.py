"""WebVid with its planted defects."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import UsageError
from onellm_data.modalities.decoding import EMPTY, UNREADABLE
from onellm_data.sources import webvid
from onellm_data.sources.base import Item
from onellm_data.sources.folder import NO_CAPTION, NOT_UTF8, TWO_SPLITS, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.tables import BAD_ROW

Tell = Callable[..., list[tuple[str, ...]]]

HEADER = ["videoid", "contentUrl", "duration", "page_dir", "name"]
PAGE = "000001_000050"


def write(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([header, *rows])


def row(video: str, name: str, page: str = PAGE) -> list[str]:
    return [video, f"https://x/{video}.mp4", "PT00H00M02S", page, name]


@pytest.fixture
def clips(src: Path, write_film: Callable[..., Path]) -> Path:
    """Two files of clips; some clips are broken downloads."""
    folder = src / "videos" / PAGE
    write_film(folder / "0012.mp4")
    write_film(folder / "13.mp4", seconds=0.5)
    write_film(folder / "14.mp4", width=48, height=96)
    write_film(src / "videos/000051_000100/12.mp4")
    (folder / "15.mp4").write_text("<html>404 Not Found</html>")
    (folder / "16.mp4").write_bytes(b"")
    write_film(folder / "20.mp4")
    write(
        src / "metadata/results_2M_train.csv",
        [
            row("0012", 'A "big", red car'),
            row("13", "Less than a second"),
            row("14", "Portrait"),
            row("15", "A web page"),
            row("16", "An empty download"),
            row("17", "Not there"),
            row("0012", 'A "big", red car'),
            row("12", "The same number on another page", "000051_000100"),
            row("20", ""),
            row("20", "NaN"),
            row("", "no number"),
            row("../../secret", "out"),
            row("19", "caf\udce9"),
            ["0012", "too few"],
        ],
    )
    write(src / "metadata/results_2M_val.csv", [row("13", "Less than a second"), row("20", "in val", "nan")])
    return src


TOLD = [
    (f"{PAGE}/0012", 'A "big", red car'),
    (f"{PAGE}/13", TWO_SPLITS),
    (f"{PAGE}/14", "Portrait"),
    (f"{PAGE}/15", "A web page"),
    (f"{PAGE}/16", "An empty download"),
    (f"{PAGE}/17", MISSING_FILE),
    ("000051_000100/12", "The same number on another page"),
    (f"{PAGE}/20", NO_CAPTION),
    ("row 12", WRONG_VALUE),
    (f"{PAGE}/../../secret", LEAVES_FOLDER),
    ("row 14", NOT_UTF8),
    ("row 15", BAD_ROW),
    ("20", MISSING_FILE),
]


def test_kept_and_rejected(clips: Path, told: Tell) -> None:
    assert told("webvid", clips, "video") == TOLD
    assert operator.length_hint(webvid.items(clips, "video")) == len(TOLD)


def test_an_item(clips: Path) -> None:
    first = next(iter(webvid.items(clips, "video")))
    assert first == Item(
        f"{PAGE}/0012",
        {"video": (clips / "videos" / PAGE / "0012.mp4",)},
        ('A "big", red car',),
        split="train",
        meta={
            "videoid": "0012",
            "page_dir": PAGE,
            "duration": "PT00H00M02S",
            "contentUrl": "https://x/0012.mp4",
        },
    )


def test_prepared(clips: Path, prepared: Callable[..., Any]) -> None:
    write(clips / "metadata/results_2M_val.csv", [row("13", "Less than a second")])
    table = clips / "metadata/results_2M_train.csv"
    table.write_bytes(b"".join(line for line in table.open("rb") if not line.startswith(b"13,")))
    records, rejects = prepared("webvid", clips, "video")
    shapes = {
        split: [(one.captions[0], one.signals["video"].shape) for one in records[split]] for split in records
    }
    assert shapes == {
        "train": [
            ('A "big", red car', (5, 48, 64, 3)),
            ("Portrait", (5, 96, 48, 3)),
            ("The same number on another page", (5, 48, 64, 3)),
        ],
        "val": [("Less than a second", (5, 48, 64, 3))],
    }
    (short,) = records["val"]
    assert (short.signals["video"] == short.signals["video"][0]).all(), "the first frame, five times"
    assert rejects == {
        f"{PAGE}/15": UNREADABLE,
        f"{PAGE}/16": EMPTY,
        f"{PAGE}/17": MISSING_FILE,
        f"{PAGE}/20": NO_CAPTION,
        f"{PAGE}/../../secret": LEAVES_FOLDER,
        "row 11": WRONG_VALUE,
        "row 13": NOT_UTF8,
        "row 14": BAD_ROW,
    }


def test_columns_are_found_by_name(src: Path, write_film: Callable[..., Path], told: Tell) -> None:
    write_film(src / "clips" / "p" / "1.mp4")
    columns = ["videoid", "name", "page_idx", "page_dir", "duration", "contentUrl"]
    write(src / "results_10M_val.csv", [["1", "one", "7", "p", "", ""]], columns)
    assert told("webvid", src, "video", root="clips") == [("p/1", "one")]
    assert told("webvid", src / "results_10M_val.csv", "video", root="clips") == [("p/1", "one")]


def test_clips_without_page_folders(src: Path, write_film: Callable[..., Path], told: Tell) -> None:
    write_film(src / "videos" / "1.mp4")
    write(src / "results.csv", [row("1", "one"), row("1", "two", "")])
    assert told("webvid", src, "video") == [(f"{PAGE}/1", "one"), ("1", "two")]


def test_what_is_recognised(src: Path) -> None:
    write(src / "results.csv", [], ["videoid", "page_dir"])
    assert webvid.detect(src, "video") is None
    with pytest.raises(UsageError, match=r"there is no table in .* with the columns videoid, page_dir, name"):
        webvid.items(src, "video")
    (src / "metadata.csv").write_bytes(b'"' + b"x" * (1 << 21))
    assert webvid.detect(src, "video") is None
    write(src / "results.csv", [])
    assert webvid.detect(src, "video") == "WebVid (results.csv)"
