"""WebVid (2M, 10M): CSV files of clips and captions, and the clips.

Columns are found by name (``videoid``, ``page_dir``, ``name`` is the caption): the two releases have
them in different orders.  Clips lie in ``videos/PAGE_DIR/VIDEOID.mp4``.  Format: github.com/m-bain/webvid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import TWO_SPLITS, WRONG_VALUE
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, tables
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.tables import header, rows
from onellm_data.sources.texts import captions_of, plain

COLUMNS = ("videoid", "page_dir", "name")

_FOLDERS = ("", "metadata")
_SPLIT = re.compile(r"train|val|test")
_NOT_A_NUMBER = ("nan", "none", "null")  # what pandas and others write for nothing


def detect(src: Path, modality: str) -> str | None:
    """CSV files with WebVid's columns."""
    found = tables(src, files_in(src, _FOLDERS), None, _is_table)
    return f"WebVid ({', '.join(path.name for path in found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Clips in the order of the files, each once.

    Raises:
        UsageError: There is no such file.
    """
    found = tables(src, files_in(src, _FOLDERS), table, _is_table)
    if not found:
        raise UsageError(f"there is no table in {src}; expected a .csv with the columns {', '.join(COLUMNS)}")
    sets = [(path, rows(path, COLUMNS), partial(_read, _split(path))) for path in found]
    return together(sets, partial(_item, media_root(src, root), modality))


def _is_table(path: Path) -> bool:
    return path.suffix == ".csv" and set(COLUMNS) <= set(header(path))


def _split(path: Path) -> str | None:
    found = _SPLIT.search(path.stem)
    return found[0] if found else None


def _read(split: str | None, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    video, page, caption = (_text(row, name) for name in COLUMNS)
    if not video:
        raise SignalError(WRONG_VALUE, "got nothing in 'videoid', expected a clip's number")
    others = {name: value for name in ("duration", "contentUrl") if (value := _text(row, name))}
    meta = {"videoid": video, "page_dir": page, **others}
    return os.path.join(page, video), {"captions": [caption], "split": split, "splits": [split], "meta": meta}


def _text(row: Mapping[str, Any], name: str) -> str:
    """A column's text; empty for what is not a number in somebody's table."""
    text = plain(row.get(name), name)
    return "" if text.lower() in _NOT_A_NUMBER else text


def _item(root: str, modality: str, facts: Facts) -> Item:
    splits = {split for split in facts.all("splits") if split}
    if len(splits) > 1:
        raise SignalError(TWO_SPLITS, f"files put it into {' and '.join(sorted(splits))}")
    captions = tuple(dict.fromkeys(captions_of(facts.all("captions"), "name")))
    names = (facts.key, os.path.basename(facts.key))
    path = first_file(root, (f"{folder}{name}.mp4" for name in names for folder in ("videos/", "")))
    return Item(
        facts.key, {modality: (path,)}, captions, split=facts.first("split"), meta=facts.first("meta")
    )


SOURCE = Source(
    name="webvid",
    layout="WebVid: a .csv with the columns videoid, page_dir and name, and videos/PAGE_DIR/VIDEOID.mp4",
    modalities=("video",),
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
