"""Whatever a row holds, it ends as an item or as a reject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data import sources
from onellm_data.prepare.tasks import number
from onellm_data.sources.base import Item, Reject

COLUMNS = [
    *(
        "id",
        "image",
        "conversations",
        "video_id",
        "image_id",
        "caption",
        "desc",
        "question",
        "answer",
        "split",
    ),
    *("file_name", "filepath", "filename", "sentences", "cocoid", "data_type", "depth_image", "normal_image"),
    *("imu_path", "video_uid", "window_start", "window_end", "url", "category", "start time", "listed"),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["a.jpg", "a.mp4", "../x.jpg", "/etc/passwd", "\0", ".", "", "a" * 300, "rgbd", "imu", "nan"]
    )
)
turns = st.fixed_dictionaries(
    {},
    optional={
        "from": st.sampled_from(["human", "gpt", "x", 5, None]),
        "value": scalars | st.sampled_from(["<image>", "<video><audio>\nQ"]),
        "raw": scalars,
    },
)
values = scalars | st.lists(scalars | turns, max_size=4) | turns
rows = st.dictionaries(st.sampled_from(COLUMNS), values, max_size=8) | scalars | st.lists(scalars, max_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files that rows may name."""
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.jpg", "a.mp4"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("name", "modality", "keys"),
    [
        ("coco", "image", ()),
        ("coco", "image", ("images", "annotations")),
        ("llava", "image", ()),
        ("multis", "audio", ()),
        ("msrvtt", "video", ("videos", "sentences")),
        *(("onellm_json", modality, ()) for modality in ("image", "depth", "imu", "video")),
    ],
)
@settings(max_examples=150, deadline=None)
@given(lists=st.tuples(st.lists(rows, max_size=6), st.lists(rows, max_size=6)))
def test_every_row_ends_as_an_item_or_a_reject(
    folder: Path, name: str, modality: str, keys: tuple[str, ...], lists: tuple[list[Any], list[Any]]
) -> None:
    # A first row that is recognised; what follows is arbitrary.
    known = {"id": 1, "video_id": "v", "category": 1, "caption": "c", "image_id": 1, "file_name": "a.jpg"}
    content: Any = [known, *lists[0]]
    if keys:
        content = {key: [known, *some] for key, some in zip(keys, lists, strict=True)}
    (folder / "rows.json").write_text(json.dumps(content))
    found = list(sources.get(name).items(folder, modality, table="rows.json"))
    assert all(isinstance(one, (Item, Reject)) for one in found)
    if not keys and name != "coco":  # coco and msrvtt bring rows about the same thing together
        assert len(found) == len(content)
    for task in number(iter(found), "train"):  # what becomes of them can be written
        json.dumps([task.item.name, task.where(), task.split])
        if isinstance(task.item, Item):
            json.dumps(
                [task.item.captions, dict(task.item.meta)], allow_nan=False, ensure_ascii=False
            ).encode()
