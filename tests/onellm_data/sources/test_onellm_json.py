"""OneLLM's instruction files for every modality."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities.decoding import UNREADABLE, WRONG_SHAPE
from onellm_data.sources import onellm_json
from onellm_data.sources.base import Item
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.onellm_json import OTHER_MODALITY
from onellm_data.sources.processed_imu import ProcessedWindow
from onellm_data.sources.tables import BAD_ROW
from onellm_data.sources.texts import NOT_IN_TURN

Tell = Callable[..., list[tuple[str, ...]]]

TALK = [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]
TURNS = ("user: Q", "assistant: A")


def write(src: Path, *rows: Any, name: str = "rows.json") -> Path:
    lines = name.endswith(".jsonl")
    (src / name).write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return src


def recording(folder: Path, uid: str, seconds: float = 10, rate: float = 200) -> np.ndarray:
    """The arrays of one motion recording, whose values rise with time."""
    folder.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    values = times + np.arange(6)[:, None] * 100
    np.save(folder / f"{uid}.npy", values)
    np.save(folder / f"{uid}_timestamps.npy", times * 1000)
    return values


@pytest.fixture
def media(src: Path, picture_bytes: Callable[..., bytes], write_film: Callable[..., Path]) -> Path:
    """One signal of each modality."""
    (src / "a.jpg").write_bytes(picture_bytes())
    (src / "map.png").write_bytes(picture_bytes(90, "PNG"))
    write_film(src / "a.mp4")
    soundfile.write(src / "a.wav", np.sin(np.arange(8000) / 9).astype(np.float32), 16000)
    rng = np.random.default_rng(0)
    np.save(src / "a.npy", rng.normal(size=(64, 6)).astype(np.float32))
    np.save(src / "brain.npy", rng.normal(size=(3, 20)).astype(np.float32))
    recording(src / "processed_imu", "u-1")
    return src


WINDOW = {"imu_path": "processed_imu", "video_uid": "u-1", "window_start": 2, "window_end": 4}


@pytest.mark.parametrize(
    ("modality", "row", "name", "shape"),
    [
        ("image", {"image": "a.jpg"}, "a.jpg", (16, 24, 3)),
        ("video", {"image": "a.mp4"}, "a.mp4", (5, 48, 64, 3)),
        ("audio", {"image": "a.wav"}, "a.wav", (8000,)),
        ("point", {"image": "a.npy"}, "a.npy", (64, 6)),
        ("fmri", {"image": "brain.npy"}, "brain.npy", (20,)),
        ("depth", {"image": "a.jpg", "depth_image": "map.png"}, "a.jpg", None),
        ("normal", {"image": "a.jpg", "normal_image": "map.png"}, "a.jpg", None),
        ("imu", WINDOW, "u-1/2-4", (6, 400)),
    ],
)
def test_every_modality(
    media: Path,
    modality: str,
    row: dict[str, Any],
    name: str,
    shape: tuple[int, ...] | None,
    told: Tell,
    prepared: Callable[..., Any],
) -> None:
    text = {"id": "t", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    write(media, {"id": 7, **row, "conversations": TALK}, text)
    assert told("onellm_json", media, modality) == [(name, *TURNS), ("t", *TURNS)]
    if modality == "image":  # LLaVA's files are the same, and recognised first
        assert onellm_json.detect(media, modality) == "OneLLM's conversations (rows.json)"
        return
    records, rejects = prepared("onellm_json", media, modality)
    first, second = records["train"]
    assert (list(first.signals), list(second.signals), rejects) == ([modality], [], {})
    assert first.meta["id"] == "7"
    signal = first.signals[modality]
    if shape is not None:
        assert signal.shape == shape
    else:
        assert signal.rgb.shape == signal.__dict__[modality].shape == (16, 24, 3)
        assert {int(signal.rgb[0, 0, 0]), int(signal.__dict__[modality][0, 0, 0])} == {128, 90}


def test_a_window_is_that_of_its_seconds(media: Path) -> None:
    write(media, {**WINDOW, "window_start": 2.5, "window_end": 4.5, "conversations": TALK})
    (item,) = onellm_json.items(media, "imu")
    assert isinstance(item, Item)
    reader = item.files["imu"]
    assert isinstance(reader, ProcessedWindow)
    assert reader.where == f"{media}/processed_imu/u-1.npy:2.5-4.5s"
    expected = 2.5 + np.arange(400) / 200 + np.arange(6)[:, None] * 100
    np.testing.assert_allclose(reader.read(), expected, rtol=1e-6)
    assert item.meta == {"video_uid": "u-1", "window_start": 2.5, "window_end": 4.5}


@pytest.mark.parametrize(
    ("values", "timestamps", "reason"),
    [
        (np.zeros((5, 2000)), np.arange(2000) * 5.0, WRONG_SHAPE),
        (np.zeros((6, 1999)), np.arange(2000) * 5.0, WRONG_SHAPE),
        (np.zeros((6, 2000)), np.arange(2000) + 50_000.0, "too short"),
        (np.zeros((6, 300)), np.arange(300) * 5.0, "too short"),
        (np.zeros((6, 600)), np.arange(600) * 5.0, "gap in time"),
        (np.full((6, 2000), np.nan), np.arange(2000) * 5.0, "NaN in signal"),
        (np.zeros((6, 2000), complex), np.arange(2000) * 5.0, WRONG_SHAPE),
        (np.array([{}], dtype=object), np.arange(2000) * 5.0, UNREADABLE),
    ],
)
def test_arrays_that_hold_no_such_window(
    tmp_path: Path, values: np.ndarray, timestamps: np.ndarray, reason: str
) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    np.save(tmp_path / "t.npy", timestamps)
    with pytest.raises(SignalError, match=rf"{reason}: .*a.npy:2-4s"):
        ProcessedWindow(tmp_path / "a.npy", tmp_path / "t.npy", 2.0, 4.0).read()


def test_kept_and_rejected(media: Path, told: Tell) -> None:
    (media.parent / "secret.mp4").write_bytes(b"")
    write(
        media,
        {"image": "a.mp4", "conversations": [{"from": "Human", "value": "Q <video>\n"}, TALK[1]]},
        {"image": "b.mp4", "conversations": TALK},
        {"image": "../secret.mp4", "conversations": TALK},
        {"image": "a.jpg", "depth_image": "map.png", "conversations": TALK},
        {**WINDOW, "conversations": TALK},
        {"image": 5, "conversations": TALK},
        {"image": "a.mp4", "conversations": TALK[:1]},
        {
            "data_type": "text",
            "image": "a.mp4",
            "conversations": [{"from": "human", "value": "<video>"}, TALK[1]],
        },
        {"data_type": "audio", "image": "a.wav", "conversations": TALK},
        "no row",
    )
    assert told("onellm_json", media, "video") == [
        ("a.mp4", *TURNS),
        ("row 2", MISSING_FILE),
        ("row 3", LEAVES_FOLDER),
        ("row 4", OTHER_MODALITY),
        ("row 5", OTHER_MODALITY),
        ("row 6", WRONG_VALUE),
        ("row 7", NOT_IN_TURN),
        ("text", "user: <video>", "assistant: A"),
        ("row 9", OTHER_MODALITY),
        ("row 10", BAD_ROW),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"window_start": "2"},
        {"window_start": True},
        {"window_end": None},
        {"window_end": 2},
        {"window_start": -1},
        {"video_uid": ""},
    ],
)
def test_a_bad_window(media: Path, told: Tell, change: dict[str, Any]) -> None:
    write(media, {**WINDOW, **change, "conversations": TALK})
    assert told("onellm_json", media, "imu") == [("row 1", WRONG_VALUE)]


def test_a_picture_without_its_map(media: Path, told: Tell) -> None:
    both = {"image": "a.jpg", "depth_image": "map.png", "normal_image": "map.png", "conversations": TALK}
    write(media, {"image": "a.jpg", "conversations": TALK}, both)
    assert told("onellm_json", media, "depth", table="rows.json") == [
        ("row 1", OTHER_MODALITY),
        ("a.jpg", *TURNS),
    ]
    assert told("onellm_json", media, "normal", table="rows.json")[1] == ("row 2", OTHER_MODALITY)


def test_lines_with_data_types(media: Path, told: Tell) -> None:
    write(
        media,
        {"data_type": "rgbd", "image": "a.jpg", "depth_image": "map.png", "conversations": TALK},
        {"data_type": "image", "image": "a.jpg", "conversations": TALK},
        name="mixed.jsonl",
    )
    assert onellm_json.detect(media, "depth") == "OneLLM's conversations (mixed.jsonl)"
    assert told("onellm_json", media, "depth") == [("a.jpg", *TURNS), ("row 2", OTHER_MODALITY)]


def test_files_are_read_one_after_another(media: Path, told: Tell) -> None:
    write(media, {"image": "a.mp4", "conversations": TALK}, name="msrvtt_vqa.json")
    write(media, {"image": "a.wav", "conversations": TALK}, name="audiocap.json")
    write(media, {"image": "a.mp4", "conversations": TALK}, name="msrvtt_cap.json")
    assert onellm_json.detect(media, "video") == "OneLLM's conversations (msrvtt_cap.json, msrvtt_vqa.json)"
    assert len(told("onellm_json", media, "video")) == 2
    assert len(told("onellm_json", media / "msrvtt_vqa.json", "video")) == 1
    with pytest.raises(UsageError, match=r"there is no table in .*, about point"):
        onellm_json.items(media, "point")


def test_files_are_found_from_the_root_or_beside_the_table(media: Path, told: Tell) -> None:
    folder = media / "datasets" / "video"
    folder.mkdir(parents=True)
    (media / "a.mp4").rename(folder / "a.mp4")
    row = {"image": "a.mp4", "conversations": TALK}
    write(folder, row)
    assert told("onellm_json", media, "video", table="datasets/video/rows.json") == [("a.mp4", *TURNS)]
    write(media, row)
    assert told("onellm_json", media, "video") == [("row 1", MISSING_FILE)]
    assert told("onellm_json", media, "video", root="datasets/video") == [("a.mp4", *TURNS)]


@pytest.mark.parametrize("rows", [[], [{"id": "1", "conversations": TALK}], [{"image": "a.mp4"}], [5]])
def test_what_is_not_recognised(media: Path, rows: list[Any]) -> None:
    write(media, *rows)
    write(media, *rows, name="rows.jsonl")
    assert [onellm_json.detect(media, name) for name in modalities.names()[:8]] == [None] * 8
