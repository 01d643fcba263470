"""Cap3D: captions of Objaverse objects, as point clouds of PyTorch tensors or PLY files.

``Cap3D_automated_Objaverse_full.csv`` has rows ``uid,caption`` and no header; the cloud is ``{uid}.pt``, a
tensor ``[6, 16384]`` of xyz and rgb, or ``{uid}.ply``.  Format: github.com/crockwell/Cap3D, and the
data set's page (tiange/Cap3D).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError
from onellm_data.options import Option
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import MISSING_FILE
from onellm_data.sources.media import folders_with
from onellm_data.sources.places import TABLE, files_in, first_file, only, tables, top
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.tables import header, rows
from onellm_data.sources.texts import captions_of, plain

COLUMNS = ("uid", "caption")
SUFFIXES = (".pt", ".ply")

CLOUDS = Option(
    "clouds", "Which files hold the clouds, if an object has both; .pt is read first.", "pt", ("pt", "ply")
)


def detect(src: Path, modality: str) -> str | None:
    """The names of the tables."""
    found = tables(src, files_in(src), None, _is_table)
    return f"Cap3D ({', '.join(path.name for path in found)})" if found else None


def items(src: Path, modality: str, table: str | None = None, clouds: str = "pt") -> Iterator[Item | Reject]:
    """Objects in the table's order, each with all its captions.

    Raises:
        UsageError: There is no table, or there are several and none is named.
    """
    path = only(src, tables(src, files_in(src), table, _is_table), "a table Cap3D*.csv of uid,caption")
    root = top(src)
    suffixes = sorted(SUFFIXES, key=lambda suffix: suffix != f".{clouds}")
    find = partial(_file, root, folders_with(root, SUFFIXES), suffixes)
    return together([(path, rows(path, COLUMNS, has_header=False), _read)], partial(_item, modality, find))


def _is_table(path: Path) -> bool:
    return path.name.startswith("Cap3D") and path.suffix == ".csv" and len(header(path)) == len(COLUMNS)


def _read(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    uid = plain(row["uid"], "uid")
    if not uid or os.path.basename(uid) != uid:
        raise SignalError(
            WRONG_VALUE, f"got the object {uid[:80]!r}, expected an id such as 32 hexadecimal digits"
        )
    return uid, {"captions": [row["caption"]]}


def _file(root: str, folders: list[str], suffixes: list[str], uid: str) -> Path:
    places = [os.path.join(folder, uid + suffix) for suffix in suffixes for folder in folders]
    try:
        return first_file(root, places or [uid + suffixes[0]])
    except SignalError as error:
        if error.reason != MISSING_FILE:
            raise
        raise SignalError(MISSING_FILE, f"there is no {uid}.pt and no {uid}.ply in {root}") from error


def _item(modality: str, find: Any, facts: Facts) -> Item:
    captions = captions_of(facts.all("captions"))
    return Item(facts.key, {modality: (find(facts.key),)}, captions, meta={"uid": facts.key})


SOURCE = Source(
    name="cap3d",
    layout="Cap3D*.csv (uid,caption, no header), and {uid}.pt or {uid}.ply in any folder",
    modalities=("point",),
    detect=detect,
    items=items,
    options=(TABLE, CLOUDS),
)
