"""IMU2CLIP's arrays and lists of windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import imu2clip
from onellm_data.sources.base import Item, Reject


def motion(count: int) -> np.ndarray:
    """``[6, count]``: each number tells its channel and its time; acceleration comes first."""
    return np.arange(1.0, 7.0)[:, None] * 10 + np.arange(count) / 200


def window(uid: str, start: float, text: Any, **more: Any) -> dict[str, Any]:
    return {"window_start": start, "window_end": start + 2, "video_uid": uid, "text": text, **more}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    src = tmp_path / "ego4d"
    arrays = src / "v2/processed_imu"
    arrays.mkdir(parents=True)
    for uid in ("a", "b", "lonely"):
        np.save(arrays / f"{uid}.npy", motion(2000))
        np.save(arrays / f"{uid}_timestamps.npy", np.arange(2000) * 5.0)
    (arrays / "lonely_timestamps.npy").unlink()
    broken = motion(2000)
    broken[4, 300] = np.nan
    np.save(arrays / "b.npy", broken)
    train = [
        window("a", 4, "opens a door", narration_uid="n1"),
        window("b", 0, "sits"),
        window("a", 4, " "),
        window("a", 4, "opens a door", narration_uid="n2"),
        window("a", 4, "holds the handle"),
        window("b", 4, "walks"),
        window("a", 9, "leaves"),
        window("missing", 0, "runs"),
        window("lonely", 0, "runs"),
        window("../../secret", 0, "runs"),
        window("a", 6, None),
        {**window("a", 0, "runs"), "window_start": "x"},
        window("a", 0, "looks"),
        ["no object"],
    ]
    val = [window("a", 2, "bends"), window("a", 0, "looks")]
    for split, rows in (("train", train), ("val", val)):
        (src / f"window_idx_{split}.json").write_text(json.dumps(rows))
    return src


def told(items: list[Item | Reject]) -> list[tuple[str | None, ...]]:
    return [
        (one.name, one.split, one.reason if isinstance(one, Reject) else "|".join(one.captions))
        for one in items
    ]


def test_windows_and_rejects(src: Path) -> None:
    assert told(list(imu2clip.items(src, "imu"))) == [
        ("a/4-6", "train", "opens a door|holds the handle"),
        ("b/0-2", "train", "sits"),
        ("b/4-6", "train", "walks"),
        ("a/9-11", "train", "leaves"),
        ("missing/0-2", "train", "missing file"),
        ("lonely/0-2", "train", "missing file"),
        ("../../secret/0-2", "train", "missing file"),
        ("a/6-8", "train", "no caption"),
        ("row 12", None, "wrong value"),
        ("a/0-2", "train", "file in two splits"),
        ("row 14", None, "unreadable row"),
        ("a/2-4", "val", "bends"),
    ]


def test_prepare(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("imu", src, out, workers=1))
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert {row["what"]: row["why"] for row in rejects if row["what"] in ("b/0-2", "a/9-11")} == {
        "b/0-2": "NaN in signal",
        "a/9-11": "gap in time",
    }
    train, val = ShardReader(out, "train"), ShardReader(out, "val")
    assert train.manifest.read == len(train) + len(val) + len(rejects) == 12
    record = train[0]
    assert record.meta == {
        "video_uid": "a",
        "window_start": 4.0,
        "window_end": 6.0,
        "narration_uids": ["n1", "n2"],
    }
    np.testing.assert_array_equal(record.signals["imu"], motion(2000)[:, 800:1200].astype(np.float32))


def test_a_table_of_windows(src: Path) -> None:
    for path in src.glob("window_idx_*.json"):
        path.unlink()
    (src / "dataset_motion_narr_1.0.csv").write_text(
        "window_start,window_end,video_uid,narration_uid,text,Score-TFIDF,label\n"
        '4,6,a,n1,"turns, then bends",0.5,head\n4,6,a,n1,"turns, then bends",0.5,head\n4,6\n'
    )
    assert told(list(imu2clip.items(src, "imu"))) == [
        ("a/4-6", None, "turns, then bends"),
        ("row 4", None, "unreadable row"),
    ]


def test_recognised_by_its_files_only(src: Path, tmp_path: Path) -> None:
    assert sources.choose("auto", src, "imu")[0].name == "imu2clip"
    assert imu2clip.detect(src / "v2", "imu") is None
    with pytest.raises(UsageError, match=r"there is no list of windows in .*expected window_idx_train.json"):
        imu2clip.items(tmp_path, "imu")
    (src / "window_idx_val.json").unlink()
    (src / "window_idx_val.json").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match=r"window_idx_val.json cannot be used: leaves the folder"):
        imu2clip.items(src, "imu")
