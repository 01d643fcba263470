"""MSR-VTT with its planted defects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import UsageError
from onellm_data.sources import msrvtt
from onellm_data.sources.base import Item
from onellm_data.sources.folder import NO_CAPTION, TWO_SPLITS, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.msrvtt import NOT_LISTED

Tell = Callable[..., list[tuple[str, ...]]]


def video(number: int, split: str) -> dict[str, Any]:
    times = {"start time": 137.72, "end time": 149.44}
    name = f"video{number}"
    return {"category": 9, "url": "https://y/x", "video_id": name, **times, "split": split, "id": number}


def sentences(*rows: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"caption": caption, "video_id": name, "sen_id": n} for n, (name, caption) in enumerate(rows)]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def clips(src: Path, write_film: Callable[..., Path]) -> Path:
    """Both files as published; one clip is missing, sentences repeat."""
    write_film(src / "TrainValVideo/video0.mp4", width=320, height=240)
    write_film(src / "TrainValVideo/video1.mp4")
    write_film(src / "TestVideo/video7010.mp4", seconds=0.5)
    train = [video(0, "train"), video(1, "validate"), video(2, "train"), video(3, "train")]
    texts = sentences(
        *[("video1", "a dog runs"), ("video0", "a car "), ("video0", "a car"), ("video0", "two  cras")],
        *[("video2", "gone"), ("video99", "nobody"), ("video1", ""), ("video3", " "), ("video0", None)],
        *[("video0", 7), ("video1", "a dog runs")],
    )
    write(src / "train_val_videodatainfo.json", {"info": {}, "videos": train, "sentences": texts})
    test = {"videos": [video(7010, "test")], "sentences": sentences(("video7010", "short"))}
    write(src / "test_videodatainfo.json", {"info": {}, **test})
    return src


TOLD = [
    ("video7010", "short"),
    ("video0", "a car", "two cras"),
    ("video1", "a dog runs"),
    ("video2", MISSING_FILE),
    ("video3", NO_CAPTION),
    ("video99", NOT_LISTED),
    ("row 10", WRONG_VALUE),
]


def test_kept_and_rejected(clips: Path, told: Tell) -> None:
    assert told("msrvtt", clips, "video") == TOLD
    assert msrvtt.detect(clips, "video") == "MSR-VTT (test_videodatainfo.json, train_val_videodatainfo.json)"


def test_an_item(clips: Path, item_named: Callable[..., Item]) -> None:
    assert item_named("msrvtt", clips, "video", "video1") == Item(
        "video1",
        {"video": (clips / "TrainValVideo/video1.mp4",)},
        ("a dog runs",),
        split="val",
        meta={"url": "https://y/x", "category": 9, "start_time": 137.72, "end_time": 149.44},
    )


def test_prepared(clips: Path, prepared: Callable[..., Any]) -> None:
    records, rejects = prepared("msrvtt", clips, "video")
    shapes = {split: [one.signals["video"].shape for one in records[split]] for split in records}
    assert shapes == {"train": [(5, 240, 320, 3)], "val": [(5, 48, 64, 3)], "test": [(5, 48, 64, 3)]}
    assert rejects == {name: reason for name, reason, *_ in TOLD[3:]}


@pytest.mark.parametrize("folder", ["videos/all", "video", "."])
def test_clips_wherever_they_lie(src: Path, write_film: Callable[..., Path], told: Tell, folder: str) -> None:
    write_film(src / folder / "video0.mp4")
    content = {"videos": [video(0, "train")], "sentences": sentences(("video0", "one"))}
    write(src / "annotation/MSRVTT_data.json", content)
    assert told("msrvtt", src, "video") == [("video0", "one")]


def test_files_that_tell_the_same(clips: Path, told: Tell) -> None:
    """Each clip once, whichever files are there; a clip must not be in two splits."""
    videos = [video(0, "train"), video(1, "train")]
    write(
        clips / "x.json", {"videos": videos, "sentences": sentences(("video0", "a car"), ("video0", "new"))}
    )
    got = told("msrvtt", clips, "video")
    assert ("video0", "a car", "two cras", "new") in got
    assert ("video1", TWO_SPLITS) in got
    assert len(got) == len(TOLD)
    assert told("msrvtt", clips, "video", table="*_videodatainfo.json") == TOLD


def test_the_file_without_videos(src: Path, write_film: Callable[..., Path], told: Tell) -> None:
    write_film(src / "videos/all/video0.mp4")
    rows = [{"image_id": "video0", "caption": "one", "id": 0}, {"image_id": "../../x", "caption": "two"}]
    write(src / "MSR_VTT.json", {"annotations": [*rows, {"image_id": "video0", "caption": "one"}]})
    assert told("msrvtt", src, "video") == [("video0", "one"), ("../../x", LEAVES_FOLDER)]


@pytest.mark.parametrize(
    "content",
    [
        {"annotations": [{"image_id": 42, "caption": "COCO"}]},
        {"videos": [{"video_uid": "x"}]},
        [{"video_id": "video0", "caption": ["one"]}],
    ],
)
def test_what_is_not_recognised(src: Path, content: Any) -> None:
    write(src / "captions.json", content)
    assert msrvtt.detect(src, "video") is None
    with pytest.raises(UsageError, match=r"there is no table in .*; expected MSR-VTT: \*_videodatainfo.json"):
        msrvtt.items(src, "video")
