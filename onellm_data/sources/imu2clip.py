"""Ego4D's motion as IMU2CLIP prepares it: an array for each video, and lists of windows with their texts.

Source of the layout: the code of IMU2CLIP (Moon et al. 2022, arXiv 2210.14395), extract_imu.py and its
window lists; OneLLM trained with such files.  Rows about the same window make one record.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources import json_rows, tables
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import TWO_SPLITS, WRONG_VALUE
from onellm_data.sources.inside import inside
from onellm_data.sources.places import files_in
from onellm_data.sources.processed_imu import ProcessedWindow
from onellm_data.sources.row_items import Facts, Rows, together
from onellm_data.sources.texts import captions_of, identity, plain

COLUMNS = ("window_start", "window_end", "video_uid", "text")
ARRAYS = ("v2/processed_imu", "processed_imu", "")

_LIST = re.compile(r"window_idx_(\w+)\.json|dataset_motion_narr_[\d.]+\.csv")


def _lists(src: Path) -> list[str]:
    """Names of the lists of windows, in order."""
    return [name for name in files_in(src) if _LIST.fullmatch(name)] if src.is_dir() else []


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    lists = _lists(src)
    return f"IMU2CLIP's windows of Ego4D: {', '.join(lists)}" if lists else None


def items(src: Path, modality: str) -> Iterator[Item | Reject]:
    """Windows in the order in which the lists first name them.

    Raises:
        UsageError: There are no lists, or one is not what it should be.
    """
    lists = _lists(src)
    if not lists:
        raise UsageError(f"there is no list of windows in {src}; expected {SOURCE.layout}")
    root = os.path.realpath(src)
    arrays = next(folder for folder in ARRAYS if (src / folder).is_dir())
    paths = [_inside(root, name) for name in lists]
    return together(
        [(path, _rows(path), partial(_fact, path.name)) for path in paths], partial(_item, root, arrays)
    )


def _inside(root: str, name: str) -> Path:
    try:
        return inside(root, name)
    except SignalError as error:
        raise UsageError(f"the list of windows {name} cannot be used: {error}") from error


def _rows(path: Path) -> Rows:
    return json_rows.rows(path) if path.suffix == ".json" else tables.rows(path, COLUMNS)


def _fact(table: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A row as window, and its text and the rest."""
    match = _LIST.fullmatch(table)
    assert match is not None, "only lists are read"
    uid = identity(row.get("video_uid"), "video_uid")
    start, end = (_seconds(row.get(column), column) for column in COLUMNS[:2])
    if not 0 <= start < end:
        raise SignalError(WRONG_VALUE, f"got the window from {start:g} s to {end:g} s")
    narration = plain(row.get("narration_uid"), "narration_uid")
    facts = {
        "split": match[1].lower() if match[1] else None,
        "texts": [plain(row.get("text"), "text")],
        "narrations": [narration] if narration else [],
        "window": [uid, start, end],
    }
    return f"{uid}/{start:g}-{end:g}", facts


def _seconds(value: object, column: str) -> float:
    """A number, which a table writes as text."""
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise SignalError(WRONG_VALUE, f"got {value!r:.80} in '{column}', expected seconds")
    return seconds


def _item(root: str, arrays: str, facts: Facts) -> Item:
    """One window with all its texts, each once."""
    splits = sorted({row["split"] for row in facts.rows if row["split"]})
    if len(splits) > 1:
        raise SignalError(TWO_SPLITS, f"rows put it into {' and '.join(splits)}")
    uid, start, end = facts.first("window")
    base = os.path.join(arrays, uid)
    window = ProcessedWindow(inside(root, f"{base}.npy"), inside(root, f"{base}_timestamps.npy"), start, end)
    captions = tuple(dict.fromkeys(captions_of(facts.all("texts"))))
    meta = {
        "video_uid": uid,
        "window_start": start,
        "window_end": end,
        "narration_uids": facts.all("narrations"),
    }
    return Item(facts.key, {"imu": window}, captions, split=facts.first("split"), meta=meta)


SOURCE = Source(
    name="imu2clip",
    layout=(
        "window_idx_train.json … (video_uid, window_start, window_end, text) with "
        "v2/processed_imu/{uid}.npy and {uid}_timestamps.npy"
    ),
    modalities=("imu",),
    detect=detect,
    items=items,
    names_files=False,
)
