"""MSVD: short films of YouTube, described by many people in many languages.

``MSR Video Description Corpus.csv`` has ``VideoID``, ``Start``, ``End``, ``Source``, ``Language`` and
``Description``; a clip is ``YouTubeClips/VIDEOID_START_END.avi``.  ``youtube_mapping.txt`` numbers the clips
(``NAME vid12``); the numbers give the usual splits of 1200, 100 and 670 clips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from onellm_data.errors import SignalError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import inside
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, only, tables, top
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.tables import BAD_ROW, MAX_LINE, BadRow, Row, header, rows
from onellm_data.sources.texts import captions_of, identity, plain

COLUMNS = ("VideoID", "Start", "End", "Language", "Description")
LANGUAGE = "english"
MAPPING = "youtube_mapping.txt"

LAST_OF_TRAIN, LAST_OF_VAL = 1200, 1300
"""Numbers of the last clips of two splits (Venugopalan et al. 2015); the others are for testing."""

NOT_ENGLISH = "no English caption"

FOLDERS = ("YouTubeClips/", "videos/", "")
ENDINGS = (".avi", ".mp4", ".webm", ".mkv")

_CLIP = re.compile(r"(.+)_(\d+)_(\d+)")  # an id may have "_" and "-" itself
_NUMBERED = re.compile(rb"(\S+) vid(\d{1,9})")


def detect(src: Path, modality: str) -> str | None:
    """The table of descriptions, by its columns."""
    found = tables(src, files_in(src), None, _is_table)
    return f"MSVD ({', '.join(path.name for path in found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Clips as the table names them, then those that only the mapping names."""
    path = only(src, tables(src, files_in(src), table, _is_table), f"a .csv with {', '.join(COLUMNS)}")
    sets = [(path, rows(path, COLUMNS), _described)]
    try:
        mapping = inside(top(src), MAPPING)
        sets.append((mapping, _mapping(mapping), _numbered))
    except SignalError:
        pass  # without it there are no splits, and nothing else is missing
    return together(sets, partial(_item, media_root(src, root), modality))


def _is_table(path: Path) -> bool:
    return path.suffix == ".csv" and set(COLUMNS) <= set(header(path))


def _described(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    video, start, end = (identity(row.get(column), column) for column in COLUMNS[:3])
    if not (start.isdecimal() and end.isdecimal()):
        raise SignalError(WRONG_VALUE, f"got the clip from {start[:20]!r} to {end[:20]!r}, expected seconds")
    is_ours = plain(row.get("Language"), "Language").lower() == LANGUAGE
    captions = [plain(row.get("Description"), "Description")] if is_ours else []
    return f"{video}_{start}_{end}", {"captions": captions, "described": 1 if is_ours else None}


def _mapping(path: Path) -> Iterator[Row | BadRow]:
    """Lines ``NAME vidN``; whatever ends them."""
    with path.open("rb") as stream:
        yield from (row for number, line in enumerate(_lines(stream), 1) if (row := _mapped(number, line)))


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(MAX_LINE):
        yield line.strip()


def _mapped(number: int, line: bytes) -> Row | BadRow | None:
    found = _NUMBERED.fullmatch(line)
    if found:
        return Row(number, {"name": found[1].decode("utf-8", "surrogateescape"), "number": int(found[2])})
    return BadRow(number, BAD_ROW, f"got {line[:80]!r}, expected NAME vidN") if line else None


def _numbered(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    number = row["number"]
    split = "train" if number <= LAST_OF_TRAIN else "val" if number <= LAST_OF_VAL else "test"
    return row["name"], {"split": split, "number": number}


def _item(root: str, modality: str, facts: Facts) -> Item:
    clip = _CLIP.fullmatch(facts.key)
    if clip is None:
        raise SignalError(WRONG_VALUE, f"got the clip {facts.key[:80]!r}, expected VIDEOID_START_END")
    if not facts.first("described"):
        raise SignalError(NOT_ENGLISH, "its descriptions are in other languages, or there are none")
    captions = tuple(dict.fromkeys(captions_of(facts.all("captions"), "Description")))
    path = first_file(root, (f"{folder}{facts.key}{ending}" for folder in FOLDERS for ending in ENDINGS))
    meta = {"video_id": clip[1], "start": int(clip[2]), "end": int(clip[3])}
    if facts.first("number") is not None:
        meta["vid"] = facts.first("number")
    return Item(facts.key, {modality: (path,)}, captions, split=facts.first("split"), meta=meta)


SOURCE = Source(
    name="msvd",
    layout="MSVD: MSR Video Description Corpus.csv, YouTubeClips/ID_START_END.avi, youtube_mapping.txt",
    modalities=("video",),
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
