"""OneLLM's own instruction files, for every modality.

A JSON list of rows, or one row a line (``.jsonl``).  Each has ``conversations`` and what they are about:
``image`` is the file whatever the modality; a depth or normal map lies in ``depth_image`` or
``normal_image`` beside it; a motion window is ``imu_path`` (a folder), ``video_uid``, ``window_start`` and
``window_end``; a row with nothing of all that is a dialogue in text alone.  ``data_type`` may say which.
Format: github.com/csuhan/OneLLM, docs/Data.md and data/finetune_dataset.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.sources import json_rows, tables
from onellm_data.sources.base import Item, Reject, SignalReader, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, top
from onellm_data.sources.places import tables as tables_in
from onellm_data.sources.processed_imu import ProcessedWindow
from onellm_data.sources.row_items import one_by_one
from onellm_data.sources.tables import Row
from onellm_data.sources.texts import check_text, identity, plain, turns_of

OTHER_MODALITY = "another modality"

TEXT, MOTION = "text", "imu"
DATA_TYPES = {"rgbd": "depth", "rgbn": "normal"}
"""Names of OneLLM that differ from ours."""

_MAPS = ("depth", "normal")  # a row with both is one of depth, as published
_WINDOW = ("imu_path", "video_uid", "window_start", "window_end")

Files = Mapping[str, tuple[Path, ...] | SignalReader]


def detect(src: Path, modality: str) -> str | None:
    """Files whose first row is about ``modality``."""
    found = tables_in(src, files_in(src), None, partial(_is_table, modality))
    return f"OneLLM's conversations ({', '.join(path.name for path in found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Rows in the order of the files.

    Raises:
        UsageError: There is no such file.
    """
    found = tables_in(src, files_in(src), table, partial(_is_table, modality))
    if not found:
        raise UsageError(f"there is no table in {src}; expected {SOURCE.layout}, about {modality}")
    folder = media_root(src, root)
    return chain.from_iterable(
        one_by_one(path, _rows(path), partial(_item, _Finder(top(src), folder, path), modality))
        for path in found
    )


def _rows(path: Path) -> Iterator[Row | tables.BadRow]:
    return tables.rows(path, ["conversations"]) if path.suffix == ".jsonl" else json_rows.rows(path)


def _is_table(modality: str, path: Path) -> bool:
    row = _first(path)
    if row is None or not isinstance(row.get("conversations"), list):
        return False
    try:
        kind = _kind(row, modality)
        suffix = os.path.splitext(plain(row.get("image"), "image"))[1].lower()
    except SignalError:
        return False
    return kind == modality and ("imu_path" in row or suffix in modalities.get(modality).suffixes)


def _first(path: Path) -> Mapping[str, Any] | None:
    if path.suffix == ".json":
        return json_rows.first(path)
    if path.suffix != ".jsonl":
        return None
    try:
        row = next(_rows(path), None)
    except UsageError:
        return None
    return row.values if isinstance(row, Row) else None


class _Finder:
    """Finds files from the folder that names start from, or else from the table's own."""

    def __init__(self, top_folder: str, root: str, table: Path) -> None:
        self._top, self._folders = top_folder, (root, str(table.parent))

    def __call__(self, name: str) -> Path:
        return first_file(self._top, [os.path.join(folder, name) for folder in self._folders])


def _item(find: _Finder, modality: str, row: Mapping[str, Any]) -> Item:
    kind = _kind(row, modality)
    if kind not in (modality, TEXT):
        raise SignalError(OTHER_MODALITY, f"got a row about {kind[:40]}, expected {modality}")
    meta = {"id": identity(row["id"], "id")} if row.get("id") is not None else {}
    turns = turns_of(row.get("conversations"), () if kind == TEXT else ("image", modality))
    check_text(meta, row.get("image"), row.get("video_uid"), *(turn.text for turn in turns))
    if kind == TEXT:
        return Item(meta.get("id", TEXT), {}, conversations=turns, meta=meta)
    if "imu_path" in row:
        window = _window(find, row)
        name = f"{row['video_uid']}/{window.start:g}-{window.end:g}"
        meta |= {column: row[column] for column in _WINDOW[1:]}
        return Item(name, {modality: window}, conversations=turns, meta=meta)
    names = [
        _file(row, "image"),
        *(_file(row, f"{part}_image") for part in modalities.get(modality).parts[1:]),
    ]
    return Item(names[0], {modality: tuple(map(find, names))}, conversations=turns, meta=meta)


def _kind(row: Mapping[str, Any], modality: str) -> str:
    """The modality that a row is about, or ``TEXT``."""
    told = plain(row.get("data_type"), "data_type").lower()
    if told:
        return DATA_TYPES.get(told, told)
    if "imu_path" in row:
        return MOTION
    for kind in _MAPS:
        if row.get(f"{kind}_image"):
            return kind
    if not row.get("image"):
        return TEXT
    return modality if len(modalities.get(modality).parts) == 1 else "image"


def _file(row: Mapping[str, Any], column: str) -> str:
    name = plain(row.get(column), column)
    if not name:
        raise SignalError(WRONG_VALUE, f"got nothing in '{column}', expected a file's path")
    return name


def _window(find: _Finder, row: Mapping[str, Any]) -> ProcessedWindow:
    base = os.path.join(_file(row, "imu_path"), _file(row, "video_uid"))
    start, end = (_seconds(row, column) for column in _WINDOW[2:])
    if not 0 <= start < end:
        raise SignalError(WRONG_VALUE, f"got the window from {start:g} s to {end:g} s")
    return ProcessedWindow(find(f"{base}.npy"), find(f"{base}_timestamps.npy"), start, end)


def _seconds(row: Mapping[str, Any], column: str) -> float:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SignalError(WRONG_VALUE, f"got {value!r:.80} in '{column}', expected seconds")
    return float(value)


SOURCE = Source(
    name="onellm_json",
    layout="OneLLM's instruction files: .json or .jsonl rows with conversations and image or imu_path",
    modalities=None,
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
