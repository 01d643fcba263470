"""PointLLM: descriptions of and dialogues about Objaverse objects, as clouds of 8192 points.

``PointLLM_brief_description_660K.json`` and ``PointLLM_complex_instruction_70K.json`` are lists of
``{"object_id", "conversation_type", "conversations": [{"from": "human" | "gpt", "value": …}]}``; the cloud is
``8192_npy/{object_id}_8192.npy``.  Format: github.com/OpenRobotLab/PointLLM.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.media import folders_with
from onellm_data.sources.places import TABLE, files_in, first_file, only, tables, top
from onellm_data.sources.row_items import one_by_one
from onellm_data.sources.texts import check_text, identity, plain, turns_of

FOLDERS = ("", "anno_data", "data/anno_data")
CLOUD = "{}_8192.npy"
SIMPLE = "simple_description"
"""What a row is that does not tell its type: one question, one description."""

CORRUPT_COLORS = "corrupt colours"
CORRUPT = frozenset({"6760e543e1d645d5aaacd3803bcae524", "b91c0711149d460a8004f9c06d3b7f38"})
"""Objects whose colours are broken in the release; PointLLM's own code leaves them out as well."""


def detect(src: Path, modality: str) -> str | None:
    """The names of the annotation files."""
    found = tables(src, files_in(src, FOLDERS), None, _is_table)
    return f"PointLLM ({', '.join(path.name for path in found)})" if found else None


def items(src: Path, modality: str, table: str | None = None) -> Iterator[Item | Reject]:
    """Rows in the file's order, one record each.

    Raises:
        UsageError: There is no annotation file, or there are several and none is named.
    """
    found = tables(src, files_in(src, FOLDERS), table, _is_table)
    path = only(src, found, "a file PointLLM_*.json with a list of rows about objects")
    root = top(src)
    split = "val" if "_val_" in path.name else "train"
    make = partial(_item, root, folders_with(root, (".npy",)), modality, split)
    return one_by_one(path, json_rows.rows(path), make, split)


def _is_table(path: Path) -> bool:
    if path.suffix != ".json":
        return False
    row = json_rows.first(path) or {}
    is_row = isinstance(row.get("object_id"), str) and isinstance(row.get("conversations"), list)
    return is_row and "image" not in row  # OneLLM's own files name the cloud there


def _item(root: str, folders: list[str], modality: str, split: str, row: Mapping[str, Any]) -> Item:
    name = identity(row.get("object_id"), "object_id")
    if os.path.basename(name) != name:
        raise SignalError(WRONG_VALUE, f"got the object {name[:80]!r}, expected an id without folders")
    if name in CORRUPT:
        raise SignalError(CORRUPT_COLORS, f"the object {name} is known for broken colours")
    turns = turns_of(row.get("conversations"), ("point",))
    kind = plain(row.get("conversation_type"), "conversation_type") or SIMPLE
    captions = (" ".join(turns[1].text.split()),) if kind == SIMPLE else ()
    meta = {"object_id": name, "conversation_type": kind}
    check_text(meta, *(turn.text for turn in turns))
    places = [os.path.join(folder, CLOUD.format(name)) for folder in folders]
    file = first_file(root, places or [os.path.join("8192_npy", CLOUD.format(name))])
    return Item(name, {modality: (file,)}, captions, turns, split, meta)


SOURCE = Source(
    name="pointllm",
    layout="PointLLM_*.json (object_id, conversations), and {object_id}_8192.npy in any folder",
    modalities=("point",),
    detect=detect,
    items=items,
    options=(TABLE,),
)
