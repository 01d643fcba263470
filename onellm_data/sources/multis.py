"""MULTIS: conversations about films and sounds, as ChatBridge has them.

A JSON list of ``{"video_id" | "image_id", "conversations": [{"from", "value"}]}``; the id is the file's name
without its ending, ``<video>`` and ``<audio>`` in the first turn say which signals it is about.  Some rows
have ``question`` and ``answer``, or ``desc`` or ``caption``, instead of ``conversations``.
Format: github.com/joez17/ChatBridge, custom_datasets/valor_data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError
from onellm_data.records import Turn
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.onellm_json import OTHER_MODALITY
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, only, tables
from onellm_data.sources.row_items import one_by_one
from onellm_data.sources.texts import captions_of, check_text, identity, turns_of

FOLDERS = {
    "video": ("video", "videos", "TrainValVideo", "TestVideo", "videos/all", "MSR-VTT", ""),
    "audio": ("audio", "audios", "wav", "audioset", "audioset2", ""),
}
"""Modality → folders in which its files may lie."""

NO_ID = "no id"
_IDS = ("video_id", "image_id", "audio_id", "id")
_CAPTIONS = ("caption", "desc")
_TAG = re.compile(r"<(video|audio)>")


def detect(src: Path, modality: str) -> str | None:
    """JSON files whose first row is a conversation about an id."""
    found = tables(src, files_in(src), None, _is_table)
    return f"MULTIS ({', '.join(path.name for path in found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Rows in the file's order."""
    found = tables(src, files_in(src), table, _is_table)
    path = only(src, found, "a JSON list of rows with video_id or image_id, and conversations")
    return one_by_one(path, json_rows.rows(path), partial(_item, media_root(src, root), modality))


def _is_table(path: Path) -> bool:
    row = json_rows.first(path) if path.suffix == ".json" else None
    return (
        row is not None
        and ("video_id" in row or "image_id" in row)
        and isinstance(row.get("conversations"), list)
        and "image" not in row
    )


def _item(root: str, modality: str, row: Mapping[str, Any]) -> Item:
    name, captions = _identity(row), _captions(row)
    told = _conversation(row)
    kinds = _kinds(told) or {modality}
    if modality not in kinds:
        raise SignalError(
            OTHER_MODALITY, f"got a row about {' and '.join(sorted(kinds))}, expected {modality}"
        )
    turns: tuple[Turn, ...] = turns_of(told, FOLDERS) if told is not None or not captions else ()
    check_text(name, captions, *(turn.text for turn in turns))
    files = {kind: (first_file(root, _places(name, kind)),) for kind in FOLDERS if kind in kinds}
    return Item(name, files, captions, turns, meta={"id": name})


def _identity(row: Mapping[str, Any]) -> str:
    for column in _IDS:
        if row.get(column) is not None:
            return identity(row[column], column)
    raise SignalError(NO_ID, f"expected one of {', '.join(_IDS)}")


def _captions(row: Mapping[str, Any]) -> tuple[str, ...]:
    told = [row[column] for column in _CAPTIONS if row.get(column)]
    return (
        captions_of(one for value in told for one in (value if isinstance(value, list) else [value]))
        if told
        else ()
    )


def _conversation(row: Mapping[str, Any]) -> Any:
    """The row's turns; a question and its answer make two."""
    if row.get("conversations") is None and row.get("question") is not None:
        return [{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row.get("answer")}]
    return row.get("conversations")


def _kinds(told: Any) -> set[str]:
    """The modalities that placeholders in the human's turns name."""
    turns = told if isinstance(told, list) else []
    texts = (turn.get("value") for turn in turns if isinstance(turn, dict) and turn.get("from") != "gpt")
    return {kind for text in texts if isinstance(text, str) for kind in _TAG.findall(text)}


def _places(name: str, kind: str) -> Iterator[str]:
    """Where the file of an id may lie, under which ending; the id may have its ending already."""
    endings = ("", *modalities.get(kind).suffixes)
    if os.path.splitext(name)[1].lower() not in endings[1:]:
        endings = endings[1:]
    for folder in FOLDERS[kind]:
        yield from (os.path.join(folder, name + ending) for ending in endings)


SOURCE = Source(
    name="multis",
    layout="MULTIS: a JSON list of video_id or image_id and conversations, and the films and sounds",
    modalities=("video", "audio"),
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
