"""MSR-VTT: clips of YouTube with twenty sentences each.

``train_val_videodatainfo.json``, ``test_videodatainfo.json`` or ``MSRVTT_data.json`` hold ``videos``
(``video_id``, ``split``, ``"start time"`` …) and ``sentences`` (``video_id``, ``caption``);
``MSR_VTT.json`` has only ``annotations`` (``image_id``, ``caption``).  Clips are ``video0.mp4`` and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import TWO_SPLITS
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, tables
from onellm_data.sources.row_items import Facts, Read, Rows, together
from onellm_data.sources.texts import captions_of, identity, plain

NOT_LISTED = "captions of an unlisted clip"

SPLITS = {"validate": "val"}
"""Names of MSR-VTT that differ from ours."""

FOLDERS = (
    "TrainValVideo",
    "TestVideo",
    "videos/all",
    "videos",
    "video",
    "all",
    "MSRVTT/videos/all",
    "MSR-VTT",
    "",
)
"""Where clips lie, as the data set was published and as others hand it on."""

_TABLE_FOLDERS = ("", "annotation", "annotations")
_META = ("url", "category", "start time", "end time")


def detect(src: Path, modality: str) -> str | None:
    """JSON files of MSR-VTT, by what is in them."""
    found = tables(src, files_in(src, _TABLE_FOLDERS), None, _is_table)
    return f"MSR-VTT ({', '.join(path.name for path in found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Clips in the order of the files, each once, whichever files tell of it.

    Raises:
        UsageError: There is no such file.
    """
    found = tables(src, files_in(src, _TABLE_FOLDERS), table, _is_table)
    if not found:
        raise UsageError(f"there is no table in {src}; expected {SOURCE.layout}")
    sets = [one for path in found for one in _sets(path)]
    return together(sets, partial(_item, media_root(src, root), modality))


def _is_table(path: Path) -> bool:
    return path.suffix == ".json" and (_has_videos(path) or _is_plain(path))


def _has_videos(path: Path) -> bool:
    row = json_rows.first(path, "videos")
    return row is not None and "video_id" in row and ("start time" in row or "category" in row)


def _is_plain(path: Path) -> bool:
    row = json_rows.first(path, "annotations")
    return row is not None and "caption" in row and str(row.get("image_id")).startswith("video")


def _sets(path: Path) -> list[tuple[Path, Rows, Read]]:
    """What to read of one file, and how."""
    if not _has_videos(path):
        return [(path, json_rows.rows(path, "annotations"), _annotation)]
    return [
        (path, json_rows.rows(path, "videos"), _video),
        (path, json_rows.rows(path, "sentences"), partial(_sentence, "video_id")),
    ]


def _video(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = identity(row.get("video_id"), "video_id")
    split = plain(row.get("split"), "split").lower()
    split = SPLITS.get(split, split)
    meta = {column.replace(" ", "_"): row[column] for column in _META if row.get(column) is not None}
    return name, {"listed": True, "split": split or None, "splits": [split], "meta": meta}


def _sentence(column: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return identity(row.get(column), column), {"captions": [plain(row.get("caption"), "caption")]}


def _annotation(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, facts = _sentence("image_id", row)
    return name, {"listed": True, **facts}


def _item(root: str, modality: str, facts: Facts) -> Item:
    if not facts.first("listed"):
        raise SignalError(NOT_LISTED, "its sentences name a clip that is not among the videos")
    splits = {split for split in facts.all("splits") if split}
    if len(splits) > 1:
        raise SignalError(TWO_SPLITS, f"files put it into {' and '.join(sorted(splits))}")
    captions = tuple(dict.fromkeys(captions_of(facts.all("captions"))))
    path = first_file(root, (f"{folder}/{facts.key}.mp4".lstrip("/") for folder in FOLDERS))
    meta = facts.first("meta") or {}
    return Item(facts.key, {modality: (path,)}, captions, split=facts.first("split"), meta=meta)


SOURCE = Source(
    name="msrvtt",
    layout="MSR-VTT: *_videodatainfo.json or MSRVTT_data.json, and TrainValVideo/, TestVideo/ or videos/all/",
    modalities=("video",),
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
