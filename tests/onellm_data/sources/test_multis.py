"""MULTIS conversations with their planted defects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from onellm_data.errors import UsageError
from onellm_data.sources import multis
from onellm_data.sources.base import Item
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.multis import NO_ID
from onellm_data.sources.onellm_json import OTHER_MODALITY
from onellm_data.sources.tables import BAD_ROW
from onellm_data.sources.texts import EMPTY_TURN, NOT_IN_TURN, UNKNOWN_ROLE

Tell = Callable[..., list[tuple[str, ...]]]


def talk(question: str, answer: Any = "A") -> list[dict[str, Any]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write(src: Path, *rows: Any, name: str = "conversation.json") -> Path:
    (src / name).write_text(json.dumps(rows))
    return src


@pytest.fixture
def media(src: Path, write_film: Callable[..., Path]) -> Path:
    write_film(src / "video/video7.mp4")
    write_film(src / "TrainValVideo/video8.mp4")
    (src / "audio").mkdir()
    for name in ("video7", "-1LrH01Ei1w"):
        soundfile.write(src / f"audio/{name}.wav", np.sin(np.arange(22050) / 9).astype(np.float32), 22050)
    return src


@pytest.fixture
def conversations(media: Path) -> Path:
    (media.parent / "secret.mp4").write_bytes(b"")
    return write(
        media,
        {"video_id": "video7", "conversations": talk("<video>\nQ")},
        {"video_id": "video7", "conversations": [*talk("<video><audio>\nQ"), *talk("Q2", "See.\n<video>")]},
        {"image_id": "video8", "conversations": talk("Q\n<video>")},
        {"image_id": "-1LrH01Ei1w", "conversations": talk("<audio>\nQ")},
        {"video_id": "video8", "conversations": talk("Q"), "desc": "a film"},
        {"video_id": "video8", "question": "what?", "answer": "that"},
        {"video_id": "video8", "caption": ["one", " two "]},
        {"conversations": talk("<video>\nQ")},
        {"video_id": 9, "conversations": talk("<video>\nQ")},
        {"video_id": "video8", "conversations": talk("<video><audio>\nQ")},
        {"video_id": "../../secret", "conversations": talk("<video>\nQ")},
        {"video_id": "video7", "conversations": talk("<video>\n")},
        {"video_id": "video7", "conversations": [{"from": "system", "value": "<video> be"}, *talk("Q")]},
        {"video_id": "video7", "conversations": talk("<video>\nQ")[:1]},
        {"video_id": "video7"},
        {"video_id": ["video7"], "conversations": talk("<video>\nQ")},
        7,
    )


TOLD = [
    ("video7", "user: Q", "assistant: A"),
    ("video7", "user: Q", "assistant: A", "user: Q2", "assistant: See."),
    ("video8", "user: Q", "assistant: A"),
    ("row 4", OTHER_MODALITY),
    ("video8", "a film", "user: Q", "assistant: A"),
    ("video8", "user: what?", "assistant: that"),
    ("video8", "one", "two"),
    ("row 8", NO_ID),
    ("row 9", MISSING_FILE),
    ("row 10", MISSING_FILE),
    ("row 11", LEAVES_FOLDER),
    ("row 12", EMPTY_TURN),
    ("row 13", UNKNOWN_ROLE),
    ("row 14", NOT_IN_TURN),
    ("row 15", WRONG_VALUE),
    ("row 16", WRONG_VALUE),
    ("row 17", BAD_ROW),
]


def test_kept_and_rejected(conversations: Path, told: Tell) -> None:
    assert told("multis", conversations, "video") == TOLD


def test_placeholders_say_which_signals(conversations: Path) -> None:
    items = [one for one in multis.items(conversations, "video") if isinstance(one, Item)]
    film, sound = conversations / "video/video7.mp4", conversations / "audio/video7.wav"
    assert dict(items[0].files) == {"video": (film,)}
    assert dict(items[1].files) == {"video": (film,), "audio": (sound,)}
    assert list(items[1].files) == ["video", "audio"]
    assert dict(items[2].files) == {"video": (conversations / "TrainValVideo/video8.mp4",)}


def test_rows_about_sounds(conversations: Path) -> None:
    items = [one for one in multis.items(conversations, "audio") if isinstance(one, Item)]
    assert [(one.name, list(one.files)) for one in items] == [
        ("video7", ["video", "audio"]),
        ("-1LrH01Ei1w", ["audio"]),
    ]


def test_prepared(conversations: Path, prepared: Callable[..., Any]) -> None:
    records, rejects = prepared("multis", conversations, "video")
    shapes = [{name: one.signals[name].shape for name in one.signals} for one in records["train"]]
    film = {"video": (5, 48, 64, 3)}
    assert shapes == [film, {**film, "audio": (16000,)}, film, film, film, film]
    assert rejects == {name: reason for name, reason, *_ in TOLD if name.startswith("row")}


def test_an_id_with_its_ending(media: Path, told: Tell) -> None:
    write(media, {"video_id": "video7.mp4", "conversations": talk("<video>\nQ")})
    assert told("multis", media, "video") == [("video7.mp4", "user: Q", "assistant: A")]


def test_one_file_of_several(media: Path, told: Tell) -> None:
    row = {"video_id": "video7", "conversations": talk("<video>\nQ")}
    write(media, row, name="a.json")
    write(media, row, name="b.json")
    with pytest.raises(
        UsageError, match=r"several tables \(a.json, b.json\); say which one with --table NAME"
    ):
        multis.items(media, "video")
    assert len(told("multis", media, "video", table="b.json")) == 1
    assert len(told("multis", media / "b.json", "video")) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "conversations": talk("Q")},
        {"video_id": "video0", "caption": "one"},
        {"image_id": 1, "image": "a.mp4", "conversations": talk("Q")},
    ],
)
def test_what_is_not_recognised(src: Path, row: dict[str, Any]) -> None:
    write(src, row)
    assert multis.detect(src, "video") is None
    with pytest.raises(
        UsageError, match=r"there is no table in .*; expected a JSON list of rows with video_id"
    ):
        multis.items(src, "video")
