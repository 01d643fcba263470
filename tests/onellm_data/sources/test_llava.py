"""LLaVA's instruction files with their planted defects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import UsageError
from onellm_data.records import Turn
from onellm_data.sources import llava
from onellm_data.sources.base import Item
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE
from onellm_data.sources.tables import BAD_ROW
from onellm_data.sources.texts import EMPTY_TURN, NOT_IN_TURN, UNKNOWN_ROLE

Tell = Callable[..., list[tuple[str, ...]]]


def talk(*texts: str, roles: tuple[str, ...] = ("human", "gpt")) -> list[dict[str, str]]:
    return [{"from": roles[number % len(roles)], "value": text} for number, text in enumerate(texts)]


def write(src: Path, rows: object, name: str = "llava_v1_5_mix665k.json") -> None:
    (src / name).write_text(json.dumps(rows))


@pytest.fixture
def mixture(src: Path, picture_bytes: Callable[..., bytes]) -> Path:
    """Rows as in mix665k, some of them bad, and their pictures."""
    for name, data in {
        "coco/train2017/000000000009.jpg": picture_bytes(9),
        "gqa/images/1.jpg": picture_bytes(1),
        "ocr_vqa/images/0140446.gif": picture_bytes(44, "GIF"),
    }.items():
        (src / name).parent.mkdir(parents=True, exist_ok=True)
        (src / name).write_bytes(data)
    html = "What does <image> mean?"
    rows = [
        {
            "id": "000000000009",
            "image": "coco/train2017/000000000009.jpg",
            "conversations": talk("<image>\nQ", "A"),
        },
        {"id": 7, "image": "gqa/images/1.jpg", "conversations": talk("Q1\n<image>", "A1", "Q2", "A2")},
        {"id": "wgByO4Y_0", "model": "", "conversations": talk(html, "A tag.")},
        {"id": "cover", "image": "ocr_vqa/images/0140446.jpg", "conversations": talk("<image>\nWho?", "Me")},
        {"id": "x", "image": "vg/VG_100K/1.jpg", "conversations": talk("<image>\nQ", "A")},
        {"id": "x", "image": "gqa/images/1.jpg", "conversations": talk("Q", "A", roles=("human", "system"))},
        {"id": "x", "image": "gqa/images/1.jpg", "conversations": talk("<image>", "A")},
        {"id": "x", "image": "gqa/images/1.jpg", "conversations": talk("A", "Q", roles=("gpt", "human"))},
        {"id": "x", "image": "gqa/images/1.jpg", "conversations": talk("Q", "A", roles=("human",))},
        {"id": "x", "image": "gqa/images/1.jpg", "conversations": talk("Q")},
        {"id": "x", "image": "gqa/images/1.jpg", "conversations": "Q"},
        {"id": "x", "image": ["gqa/images/1.jpg"], "conversations": talk("Q", "A")},
        {"id": {}, "image": "gqa/images/1.jpg", "conversations": talk("Q", "A")},
        {"id": "x", "image": "../secret.jpg", "conversations": talk("Q", "A")},
        ["no row"],
        {"image": "gqa/images/1.jpg", "conversations": talk("Q", "A", roles=("Human", "ASSISTANT"))},
    ]
    write(src, rows)
    return src


REJECTED = [
    *(("row 5", MISSING_FILE), ("row 6", UNKNOWN_ROLE), ("row 7", EMPTY_TURN)),
    *((f"row {number}", NOT_IN_TURN) for number in (8, 9, 10)),
    *((f"row {number}", WRONG_VALUE) for number in (11, 12, 13)),
    *(("row 14", LEAVES_FOLDER), ("row 15", BAD_ROW)),
]


def test_kept_and_rejected(mixture: Path, told: Tell) -> None:
    assert told("llava", mixture, "image") == [
        ("coco/train2017/000000000009.jpg", "user: Q", "assistant: A"),
        ("gqa/images/1.jpg", "user: Q1", "assistant: A1", "user: Q2", "assistant: A2"),
        ("wgByO4Y_0", "user: What does <image> mean?", "assistant: A tag."),
        ("ocr_vqa/images/0140446.jpg", "user: Who?", "assistant: Me"),
        *REJECTED,
        ("gqa/images/1.jpg", "user: Q", "assistant: A"),
    ]


def test_items_say_where_the_picture_is(mixture: Path) -> None:
    items = [one for one in llava.items(mixture, "image") if isinstance(one, Item)]
    assert [dict(one.files) for one in items[:4]] == [
        {"image": (mixture / "coco/train2017/000000000009.jpg",)},
        {"image": (mixture / "gqa/images/1.jpg",)},
        {},
        {"image": (mixture / "ocr_vqa/images/0140446.gif",)},
    ]
    assert [one.meta for one in items] == [
        *({"id": name} for name in ("000000000009", "7", "wgByO4Y_0", "cover")),
        {},
    ]


def test_prepared(mixture: Path, prepared: Callable[..., Any]) -> None:
    records, rejects = prepared("llava", mixture, "image")
    levels = [int(one.signals["image"].mean()) if one.signals else None for one in records["train"]]
    assert levels == [9, 1, None, 44, 1]
    assert records["train"][2].conversations[1] == Turn("assistant", "A tag.")
    assert rejects == dict(REJECTED)


def test_bare_names_are_those_of_coco_2017(src: Path, picture_bytes: Callable[..., bytes]) -> None:
    (src / "train2017").mkdir()
    (src / "train2017" / "000000000009.jpg").write_bytes(picture_bytes())
    write(src, [{"id": "9", "image": "000000000009.jpg", "conversations": talk("Q", "A")}], "llava_150k.json")
    (item,) = llava.items(src, "image")
    assert isinstance(item, Item)
    assert item.files["image"] == (src / "train2017/000000000009.jpg",)


def test_parts_of_the_same_rows_are_not_read_together(mixture: Path, told: Tell) -> None:
    write(mixture, [{"id": "a", "conversations": talk("Q", "A")}], "detail_23k.json")
    with pytest.raises(
        UsageError, match=r"several tables \(detail_23k.json, llava_v1_5_mix665k.json\); say which"
    ):
        llava.items(mixture, "image")
    expected = [("a", "user: Q", "assistant: A")]
    assert told("llava", mixture, "image", table="detail_23k.json") == expected
    assert told("llava", mixture / "detail_23k.json", "image") == expected


def test_rows_are_streamed(src: Path) -> None:
    """The file's end is not looked at before its first row is given."""
    (src / "a.json").write_text('[{"id": 1, "conversations": ' + json.dumps(talk("Q", "A")) + "}, {")
    items = llava.items(src, "image")
    assert isinstance(next(items), Item)
    assert [getattr(one, "reason", None) for one in items] == [BAD_ROW]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "image": "a.wav", "conversations": []},
        {"id": "1", "image": "a.jpg", "depth_image": "b.png", "conversations": []},
        {"video_id": "video0", "conversations": []},
        {"image": "a.jpg", "caption": "one"},
        {"id": "1", "image": ["a.jpg"], "conversations": []},
    ],
)
def test_rows_of_other_layouts(src: Path, row: dict[str, Any]) -> None:
    write(src, [row])
    assert llava.detect(src, "image") is None
    with pytest.raises(UsageError, match=r"there is no table in .*; expected a JSON list of rows with conv"):
        llava.items(src, "image")


def test_what_is_recognised(mixture: Path) -> None:
    assert llava.detect(mixture, "image") == "conversations of LLaVA (llava_v1_5_mix665k.json)"
