"""COCO captions: the official files and Karpathy's, with their planted defects."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import UsageError
from onellm_data.sources import coco
from onellm_data.sources.base import Item
from onellm_data.sources.coco import NOT_LISTED
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import LEAVES_FOLDER, MISSING_FILE

Tell = Callable[..., list[tuple[str, ...]]]


@pytest.fixture
def put(src: Path, picture_bytes: Callable[..., bytes]) -> Callable[..., None]:
    """Write pictures of one grey, the level of which is the number in the name."""

    def put(*names: str) -> None:
        for name in names:
            path = src / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture_bytes(int(path.stem[-3:])))

    return put


def write(src: Path, name: str, content: object) -> None:
    path = src / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def official(images: list[tuple[Any, Any]], captions: list[tuple[Any, Any]]) -> dict[str, Any]:
    """An annotation file; captions come in another order than pictures."""
    return {
        "info": {"year": 2014},
        "images": [{"license": 3, "file_name": file, "id": number, "height": 16} for number, file in images],
        "licenses": [{"id": 1}],
        "annotations": [
            {"image_id": image, "id": number, "caption": caption}
            for number, (image, caption) in enumerate(captions)
        ],
    }


@pytest.fixture
def coco2014(src: Path, put: Callable[..., None]) -> Path:
    """Both splits of 2014, with a picture that is not there and captions that end with a newline."""
    names = {n: f"COCO_train2014_{n:012d}.jpg" for n in (9, 25, 30, 40)}
    captions = [(25, "two"), (9, "one \n"), (25, ""), (25, "  two\nlines"), (30, "gone"), (40, " ")]
    captions += [(9, 7), (77, "of nobody"), (9, "one \n")]
    write(src, "annotations/captions_train2014.json", official(list(names.items()), captions))
    write(
        src, "annotations/captions_val2014.json", official([(9, "COCO_val2014_000000000042.jpg")], [(9, "v")])
    )
    write(src, "annotations/instances_train2014.json", {"images": []})
    put("train2014/COCO_train2014_000000000009.jpg", "train2014/COCO_train2014_000000000025.jpg")
    put("train2014/COCO_train2014_000000000040.jpg", "val2014/COCO_val2014_000000000042.jpg")
    return src


EXPECTED = [
    ("COCO_train2014_000000000009.jpg", "one", "one"),
    ("COCO_train2014_000000000025.jpg", "two", "two lines"),
    ("COCO_train2014_000000000030.jpg", MISSING_FILE),
    ("COCO_train2014_000000000040.jpg", NO_CAPTION),
    ("row 7", WRONG_VALUE),
    ("captions_train2014.json 77", NOT_LISTED),
    ("COCO_val2014_000000000042.jpg", "v"),
]


def test_kept_and_rejected(coco2014: Path, told: Tell) -> None:
    assert told("coco", coco2014, "image") == EXPECTED
    assert operator.length_hint(coco.items(coco2014, "image")) == len(EXPECTED)


def test_prepared(coco2014: Path, prepared: Callable[..., Any]) -> None:
    records, rejects = prepared("coco", coco2014, "image")
    seen = {
        split: [(int(one.signals["image"].mean()), one.captions, one.meta) for one in records[split]]
        for split in records
    }
    assert seen == {
        "train": [(9, ("one", "one"), {"image_id": 9}), (25, ("two", "two lines"), {"image_id": 25})],
        "val": [(42, ("v",), {"image_id": 9})],
    }
    assert rejects == {name: reason for name, reason, *_ in EXPECTED[2:6]}


def test_a_bad_picture_row(src: Path, told: Tell) -> None:
    write(
        src, "captions_val2017.json", official([(None, "a.jpg"), (1, None), (2, "../../x.jpg")], [(2, "out")])
    )
    assert told("coco", src, "image") == [
        ("row 1", WRONG_VALUE),
        ("row 2", WRONG_VALUE),
        ("../../x.jpg", LEAVES_FOLDER),
    ]


@pytest.mark.parametrize(
    "place",
    [
        "train2017/000000000009.jpg",
        "images/train2017/000000000009.jpg",
        "000000000009.jpg",
        "images/000000000009.jpg",
        "train2014/COCO_train2014_000000000009.jpg",
        "images/val2014/COCO_val2014_000000000009.jpg",
    ],
)
def test_pictures_of_2017_wherever_they_lie(src: Path, put: Callable[..., None], place: str) -> None:
    write(src, "annotations/captions_train2017.json", official([(9, "000000000009.jpg")], [(9, "one")]))
    put(place)
    (item,) = coco.items(src, "image")
    assert isinstance(item, Item)
    assert (item.files["image"], item.split) == ((src / place,), "train")


def test_the_folder_of_its_own_release_comes_first(src: Path, put: Callable[..., None]) -> None:
    write(src, "annotations/captions_val2017.json", official([(9, "000000000009.jpg")], [(9, "one")]))
    put("train2017/000000000009.jpg", "val2017/000000000009.jpg")
    (item,) = coco.items(src, "image")
    assert isinstance(item, Item)
    assert item.files["image"] == (src / "val2017/000000000009.jpg",)


def test_pictures_under_a_root(src: Path, put: Callable[..., None], told: Tell) -> None:
    write(src, "captions_val2017.json", official([(9, "000000000009.jpg")], [(9, "one")]))
    put("media/val2017/000000000009.jpg")
    assert told("coco", src, "image") == [("000000000009.jpg", MISSING_FILE)]
    assert told("coco", src, "image", root="media") == [("000000000009.jpg", "one")]
    with pytest.raises(UsageError, match=r"got --root \.\., expected the name of a folder in"):
        coco.items(src, "image", root="..")


# ---- Karpathy


def test_lists_of_karpathys_split(src: Path, put: Callable[..., None], told: Tell) -> None:
    put("val2014/COCO_val2014_000000000001.jpg", "train2014/COCO_train2014_000000000002.jpg")
    rows = [
        {"caption": "one ", "image": "val2014/COCO_val2014_000000000001.jpg", "image_id": "coco_1"},
        {"caption": "two", "image": "train2014/COCO_train2014_000000000002.jpg", "image_id": "coco_2"},
        {"caption": "three", "image": "val2014/COCO_val2014_000000000001.jpg", "image_id": "coco_1"},
    ]
    write(src, "coco_karpathy_train.json", rows)
    write(
        src, "coco_karpathy_test.json", [{"image": "val2014/COCO_val2014_000000000003.jpg", "caption": ["x"]}]
    )
    assert told("coco", src, "image") == [
        ("val2014/COCO_val2014_000000000003.jpg", MISSING_FILE),
        ("val2014/COCO_val2014_000000000001.jpg", "one", "three"),
        ("train2014/COCO_train2014_000000000002.jpg", "two"),
    ]
    splits = [one.split for one in coco.items(src, "image")]
    assert splits == ["test", "train", "train"]


def test_a_name_says_its_release(src: Path, put: Callable[..., None]) -> None:
    put(
        "val2014/COCO_val2014_000000000001.jpg",
        "train2017/000000000001.jpg",
        "images/val2017/000000000002.jpg",
    )
    names = [f"COCO_val2014_{number:012d}.jpg" for number in (1, 2)]
    write(src, "coco_karpathy_val.json", [{"image": name, "caption": "one"} for name in names])
    found = [one.files["image"] for one in coco.items(src, "image") if isinstance(one, Item)]
    assert found == [(src / "val2014" / names[0],), (src / "images/val2017/000000000002.jpg",)]


def test_karpathys_own_file(src: Path, put: Callable[..., None]) -> None:
    put("val2014/COCO_val2014_000000000001.jpg")
    picture = {
        "filepath": "val2014",
        "filename": "COCO_val2014_000000000001.jpg",
        "cocoid": 1,
        "split": "restval",
        "sentences": [{"tokens": ["one"], "raw": "One."}, {"raw": "Two.\n"}],
    }
    write(src, "dataset_coco.json", {"images": [picture, {**picture, "sentences": None}], "dataset": "coco"})
    item, bad = coco.items(src, "image")
    assert item == Item(
        "val2014/COCO_val2014_000000000001.jpg",
        {"image": (src / "val2014/COCO_val2014_000000000001.jpg",)},
        ("One.", "Two."),
        split="train",
        meta={"image_id": 1, "karpathy_split": "restval"},
    )
    assert (bad.name, getattr(bad, "reason", None)) == ("row 2", WRONG_VALUE)


def test_a_list_of_other_pictures(src: Path, put: Callable[..., None], told: Tell) -> None:
    put("flickr30k-images/101.jpg")
    write(src, "flickr30k_train.json", [{"image": "flickr30k-images/101.jpg", "caption": "one"}])
    assert coco.detect(src, "image") is None
    assert told("coco", src, "image", table="flickr30k_train.json") == [("flickr30k-images/101.jpg", "one")]
    assert told("coco", src / "flickr30k_train.json", "image") == [("flickr30k-images/101.jpg", "one")]


# ---- which files


def test_two_releases_are_about_the_same_pictures(coco2014: Path, told: Tell) -> None:
    write(coco2014, "annotations/captions_val2017.json", official([], []))
    with pytest.raises(UsageError, match=r"captions_val2017.json; expected those of one release"):
        coco.items(coco2014, "image")
    assert told("coco", coco2014, "image", table="captions_*2014.json") == EXPECTED
    assert told("coco", coco2014, "image", table="annotations/captions_val2014.json") == EXPECTED[-1:]


def test_a_table_that_is_not_there(coco2014: Path) -> None:
    with pytest.raises(UsageError, match=r"got --table x.json: missing file: there is no .*x.json"):
        coco.items(coco2014, "image", table="x.json")


def test_what_is_recognised(src: Path) -> None:
    write(src, "captions.json", [])
    assert coco.detect(src, "image") is None
    write(src, "annotations/captions_val2017.json", official([], []))
    assert coco.detect(src, "image") == "COCO captions (captions_val2017.json)"
    (src / "annotations" / "captions_val2017.json").unlink()
    with pytest.raises(UsageError, match=r"has the annotation files none; expected those of one release"):
        coco.items(src, "image")
