"""Ego4D: recordings with the defects that they have on disk, and narrations around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_data import sources
from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities import imu
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import ego4d, ego4d_recording
from onellm_data.sources.base import Item, Reject

HEADER = (
    "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z"
)


def motion(ms: float) -> list[float]:
    """Six numbers in the file's order: rotation first. Each is linear in time and tells its channel."""
    return [channel + ms / 1000 for channel in (4, 5, 6, 1, 2, 3)]


def rows(start: float, end: float, step: float = 5.0, component: int = 0) -> list[list[Any]]:
    """Samples from ``start`` to ``end`` seconds, ``step`` milliseconds apart."""
    times = np.arange(start * 1000, end * 1000 - 1e-6, step)
    return [[component, ms - start * 1000, ms, *motion(ms)] for ms in times]


def write(path: Path, table: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *(",".join(map(str, row)) for row in table)]) + "\n")


def narrated(time: Any, text: Any, uid: str = "n") -> dict[str, Any]:
    return {"timestamp_sec": time, "timestamp_frame": 0, "narration_text": text, "annotation_uid": uid}


def video(first: list[Any], second: list[Any] | None = None) -> dict[str, Any]:
    passes = {"status": "complete", "narration_pass_1": {"narrations": first, "summaries": []}}
    return passes if second is None else {**passes, "narration_pass_2": {"narrations": second}}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Five videos: plain, with gaps, at 201 Hz, without a file, with nothing but a defect."""
    src = tmp_path / "ego4d/v2"
    plain = rows(0, 20)
    for row in plain[1000:1100]:  # 5.0 to 5.5 s
        row[6] = ""
    plain += [[0, 1.0, "", *[99.0] * 6], [0, 2.0, 9e17, *[99.0] * 6]]
    np.random.default_rng(0).shuffle(plain)
    write(src / "imu/plain.csv", plain)
    write(src / "imu/gaps.csv", rows(0, 6) + rows(7, 12) + [[1, 0.0, "", *[0.0] * 6]] * 50)
    write(src / "imu/fast.csv", rows(0, 10, 1000 / 201))
    (src / "imu/html.csv").write_text("<html>404</html>")
    narrations = {
        "plain": video(
            [
                narrated(15.4, "#C C opens a #Unsure door.\n", "n1"),
                narrated(5.9, "#C C walks", "n2"),
                narrated(0.3, "#c c Looks around", "n3"),
                narrated(12.0, "#O A man X waves", "n4"),
            ],
            [
                narrated(15.9, "#C C opens a something door", "n5"),
                narrated(15.2, "#C C touches the handle.", "n6"),
                narrated(19.6, "#C sits", "n7"),
                narrated(10.0, "#C C .", "n8"),
                narrated(25.0, "#C C leaves", "n9"),
                narrated(None, "#C C leaves", "n10"),
            ],
        ),
        "missing": video([narrated(1.0, "#C C walks")]),
        "gaps": video([narrated(time, f"#C C at {time}") for time in (4.0, 6.5, 9.5, 11.5)]),
        "fast": video([narrated(5.0, "#C C runs")]),
        "html": video([narrated(5.0, "#C C runs")]),
        "silent": {"status": "redacted"},
    }
    (src / "annotations").mkdir()
    (src / "annotations/narration.json").write_text(json.dumps(narrations))
    catalogue = {
        "date": "x",
        "videos": [{"video_uid": uid, "duration_sec": 20.0} for uid in ("plain", "fast", "html", "silent")],
        "clips": [],
    }
    (src / "ego4d.json").write_text(json.dumps(catalogue))
    write(src / "imu/silent.csv", rows(0, 1))
    return src


def told(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def test_windows_and_rejects(src: Path) -> None:
    assert told(list(ego4d.items(src, "imu"))) == [
        ("plain/n4", ego4d.OTHER_PERSON),
        ("plain/n9", ego4d.OUTSIDE),
        ("plain/n10", "wrong value"),
        ("plain/0-2", "looks around"),
        ("plain/4-6", "walks"),
        ("plain/9-11", "no caption"),
        ("plain/14-16", "opens a something door", "touches the handle"),
        ("plain/18-20", "sits"),
        ("missing", "missing file"),
        ("gaps/3-5", "at 4.0"),
        ("gaps/5-7", "at 6.5"),
        ("gaps/8-10", "at 9.5"),
        ("gaps/9-11", "at 11.5"),
        ("fast/4-6", "runs"),
        ("html/4-6", "runs"),
    ]


def test_prepare_keeps_what_can_be_read(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("imu", src, out, workers=1))
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [(row["what"], row["why"]) for row in rejects] == [
        ("plain/n4", ego4d.OTHER_PERSON),
        ("plain/n9", ego4d.OUTSIDE),
        ("plain/n10", "wrong value"),
        ("plain/4-6", imu.NOT_FINITE),
        ("plain/9-11", "no caption"),
        ("missing", "missing file"),
        ("gaps/5-7", imu.GAP),
        ("html/4-6", "missing columns"),
    ]
    reader = ShardReader(out)
    manifest = reader.manifest
    assert manifest.read == len(reader) + len(rejects) == 15
    record = reader[2]
    assert record.meta == {
        "video_uid": "plain",
        "window_start": 18,
        "window_end": 20,
        "narration_uids": ["n7"],
    }
    signal = record.signals["imu"]
    assert (signal.shape, signal.dtype) == ((6, 400), np.float32)
    expected = np.arange(1, 7)[:, None] + 18 + np.arange(400) * 0.005
    np.testing.assert_allclose(signal, expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [201, 199.2, 98, 50])
def test_every_rate_gives_the_same_window(tmp_path: Path, rate: float) -> None:
    write(tmp_path / "a.csv", rows(0, 10, 1000 / rate))
    signal = ego4d_recording.load(tmp_path / "a.csv").window(4, 6)
    assert 398 <= signal.shape[1] <= 400
    # Away from the ends, where the resampler knows one side only.
    np.testing.assert_allclose(signal[3, 100:300], 4 + 4 + np.arange(100, 300) / 200, atol=0.02)


def test_a_file_is_read_once_for_all_its_windows(src: Path) -> None:
    ego4d_recording.load.cache_clear()
    for one in ego4d.items(src, "imu"):
        if isinstance(one, Item) and one.name.startswith("plain/") and one.name != "plain/4-6":
            one.files["imu"].read()
    assert ego4d_recording.load.cache_info().misses == 2  # "gaps" has no duration: its end is looked for


def test_a_missing_accelerometer_and_a_row_that_is_cut(tmp_path: Path) -> None:
    table = rows(0, 4)
    for row in table[:400]:
        row[6:] = ["nan"] * 3
    table[600] = table[600][:5]
    write(tmp_path / "a.csv", table)
    recording = ego4d_recording.load(tmp_path / "a.csv")
    for start in (0, 2):
        with pytest.raises(SignalError, match="expected numbers in all six channels"):
            recording.window(start, start + 2)
    assert recording.window(2, 2.9).shape == (6, 180)


@pytest.mark.parametrize("start", [-1, 3, 10])
def test_a_window_beyond_the_recording(tmp_path: Path, start: int) -> None:
    write(tmp_path / "a.csv", rows(0, 4))
    with pytest.raises(SignalError) as caught:
        ego4d_recording.load(tmp_path / "a.csv").window(start, start + 2)
    assert caught.value.reason == imu.GAP


def test_a_line_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + "\n" + "1" * (1 << 20))
    with pytest.raises(SignalError, match="line 2 is longer than 65536 characters"):
        ego4d_recording.load(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("time", "window"),
    [
        (0.0, (0, 2)),
        (2.0, (0, 2)),
        (2.1, (1, 3)),
        (5.0, (4, 6)),
        (5.99, (4, 6)),
        (8.5, (7, 9)),
        (8.8, (8, 10)),
        (10.7, (8, 10)),
    ],
)
def test_the_window_around_a_moment(time: float, window: tuple[int, int]) -> None:
    assert ego4d.window_of(time, 10.7, 2) == window


def test_windows_of_another_length(src: Path) -> None:
    (name,) = (one.name for one in ego4d.items(src, "imu", imu_window=5) if one.name.startswith("fast"))
    assert name == "fast/0-5"
    assert ego4d.window_of(7.3, 20, 5) == (4, 9)
    with pytest.raises(UsageError, match="got --imu-window 0, expected 1 to 600"):
        next(ego4d.items(src, "imu", imu_window=0))


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("#C C Picks up a #unsure. ", "picks up a something"),
        ("#C picks", "picks"),
        ("#C C cuts\n", "cuts"),
        ("#CC walks", "walks"),
        ("#C Cuts the #Unsure with #unsure .", "cuts the something with something"),
        ("#C C " + "x" * 200, "x" * 128),
    ],
)
def test_cleaned_text(text: str, caption: str) -> None:
    assert ego4d.clean(text) == caption


def test_narrations_in_a_wrapper(src: Path) -> None:
    path = src / "annotations/narration.json"
    plain = told(list(ego4d.items(src, "imu")))
    wrapped = {"version": "v1", "date": "x", "description": "y", "videos": json.loads(path.read_text())}
    path.write_text(json.dumps(wrapped))
    assert told(list(ego4d.items(src, "imu"))) == plain


def test_narrations_that_are_cut(src: Path) -> None:
    path = src / "annotations/narration.json"
    path.write_text(path.read_text()[:-100])
    with pytest.raises(UsageError, match=r"narration.json is no whole JSON file .*fetch it again"):
        list(ego4d.items(src, "imu"))


def test_a_video_name_that_leads_out_of_the_folder(src: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret.csv", rows(0, 10))
    narrations = {"../../secret": video([narrated(5.0, "#C C runs")])}
    (src / "annotations/narration.json").write_text(json.dumps(narrations))
    assert told(list(ego4d.items(src, "imu"))) == [("../../secret", "leaves the folder")]


def test_recognised_by_its_files_only(src: Path, tmp_path: Path) -> None:
    assert sources.choose("auto", src, "imu")[0].name == "ego4d"
    assert ego4d.detect(src.parent, "imu") == "Ego4D: recordings in v2/imu, v2/annotations/narration.json"
    (src / "annotations/narration.json").unlink()
    assert ego4d.detect(src, "imu") is None
    with pytest.raises(UsageError, match=r"has no imu/\{video_uid\}.csv and narration.json"):
        next(ego4d.items(src, "imu"))
