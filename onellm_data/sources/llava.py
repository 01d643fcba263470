"""LLaVA's instruction files: LLaVA-Instruct-150K, the mixture of LLaVA-1.5 (mix665k) and files like them.

A list of ``{"id", "image", "conversations": [{"from": "human" | "gpt", "value": …}]}``; rows without
``image`` are dialogues in text alone.  Format: github.com/haotian-liu/LLaVA, docs/Data.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, only, tables
from onellm_data.sources.row_items import one_by_one
from onellm_data.sources.texts import check_text, identity, plain, turns_of

FOLDERS = ("", "images", "train2017", "coco/train2017", "images/train2017")
"""Where pictures may lie: LLaVA-Instruct-150K names those of COCO 2017 without their folder."""

ENDINGS = (".jpg", ".png", ".gif", ".jpeg", ".webp")
"""Covers of OCR-VQA are called .jpg in the mixture, and come as what they are."""

_OF_OTHERS = (
    "data_type",
    "depth_image",
    "normal_image",
    "imu_path",
    "video",
    "video_id",
    "image_id",
    "object_id",
)


def detect(src: Path, modality: str) -> str | None:
    """JSON files whose first row is one of LLaVA's."""
    found = tables(src, files_in(src), None, _is_table)
    return f"conversations of LLaVA ({', '.join(path.name for path in found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Rows in the file's order."""
    path = only(src, tables(src, files_in(src), table, _is_table), "a JSON list of rows with conversations")
    return one_by_one(path, json_rows.rows(path), partial(_item, media_root(src, root), modality))


def _is_table(path: Path) -> bool:
    row = json_rows.first(path) if path.suffix == ".json" else None
    if (
        row is None
        or not isinstance(row.get("conversations"), list)
        or any(name in row for name in _OF_OTHERS)
    ):
        return False
    image = row.get("image", "text alone.jpg")
    suffixes = modalities.get("image").suffixes
    return isinstance(image, str) and os.path.splitext(image)[1].lower() in suffixes


def _item(root: str, modality: str, row: Mapping[str, Any]) -> Item:
    image = plain(row.get("image"), "image")
    meta = {"id": identity(row["id"], "id")} if "id" in row else {}
    if not image:
        turns = turns_of(row.get("conversations"))
        check_text(meta, *(turn.text for turn in turns))
        return Item(meta.get("id", "text"), {}, conversations=turns, meta=meta)
    turns = turns_of(row.get("conversations"), ("image",))
    check_text(image, meta, *(turn.text for turn in turns))
    return Item(image, {modality: (first_file(root, _places(image)),)}, conversations=turns, meta=meta)


def _places(image: str) -> Iterator[str]:
    """Where a picture may lie; under the endings that it may have only if it is not there as told."""
    told = [os.path.join(folder, image) for folder in FOLDERS]
    yield from told
    for place in told:
        stem, ending = os.path.splitext(place)
        yield from (stem + other for other in ENDINGS if other != ending.lower())


SOURCE = Source(
    name="llava",
    layout="a JSON list of LLaVA's rows (id, image, conversations), and the folder of its pictures",
    modalities=("image",),
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
