"""COCO captions: the official files of 2014 and 2017, and Karpathy's splits of 2014.

``captions_train2014.json`` and its like are ``{"images": [{"id", "file_name", …}], "annotations":
[{"image_id", "caption"}]}``; ``coco_karpathy_train.json`` (BLIP, LAVIS) lists ``{"image", "caption"}``,
one caption or several; ``dataset_coco.json`` (Karpathy) holds ``images`` with ``sentences``.  Files of
BLIP for other pictures, such as ``flickr30k_train.json``, are read as well if ``--table`` names them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.ordering import Counted
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, tables
from onellm_data.sources.row_items import Facts, Read, Rows, together
from onellm_data.sources.texts import captions_of, fields, identity, plain

NOT_LISTED = "captions of an unlisted picture"

_OFFICIAL = re.compile(r"captions_(?:train|val)(2014|2017)\.json")
_LISTED = re.compile(r"coco_karpathy_(?:train|val|test)\.json")
_KARPATHY = "dataset_coco.json"
_FOLDERS = ("", "annotations")
_SPLIT = re.compile(r"train|val|test")
_PICTURE = re.compile(r"(?:COCO_(train|val)2014_)?(\d{12})(\.\w+)")
_RELEASES = (("train", "2017"), ("val", "2017"), ("train", "2014"), ("val", "2014"))


def detect(src: Path, modality: str) -> str | None:
    """The names of the annotation files."""
    found = [os.path.basename(name) for name in files_in(src, _FOLDERS) if _is_table(Path(name))]
    return f"COCO captions ({', '.join(found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Pictures in the order of the annotation files, each with all its captions.

    Raises:
        UsageError: There is no annotation file, or there are several about the same pictures.
    """
    if not src.is_dir():
        table = src.name
    found = tables(src, files_in(src, _FOLDERS), table, _is_table)
    kinds = {_kind(path) for path in found}
    if len(kinds) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UsageError(
            f"{src} has the annotation files {names}; expected those of one release, as others are about "
            "the same pictures: say which with --table, such as --table 'captions_*2017.json'"
        )
    return _items(found, media_root(src, root), modality)


def _items(found: list[Path], root: str, modality: str) -> Counted[Item | Reject]:
    sets = [one for path in found for one in _sets(path)]
    return together(sets, partial(_item, root, modality))


def _is_table(path: Path) -> bool:
    return bool(_OFFICIAL.fullmatch(path.name) or _LISTED.fullmatch(path.name)) or path.name == _KARPATHY


def _kind(path: Path) -> str:
    official = _OFFICIAL.fullmatch(path.name)
    if official:
        return official[1]
    return _KARPATHY if path.name == _KARPATHY else "list"


def _sets(path: Path) -> list[tuple[Path, Rows, Read]]:
    """What to read of one annotation file, and how."""
    split = _SPLIT.search(path.name)
    name = split[0] if split else None
    if path.name == _KARPATHY:
        return [(path, json_rows.rows(path, "images"), _karpathy)]
    if _holds(path, "images"):
        release = "2017" if "2017" in path.name else "2014"
        return [
            (path, json_rows.rows(path, "images"), partial(_listed, path.name, name, release)),
            (path, json_rows.rows(path, "annotations"), partial(_caption, path.name)),
        ]
    return [(path, json_rows.rows(path), partial(_line, name))]


def _holds(path: Path, name: str) -> bool:
    return json_rows.first(path, name) is not None


def _listed(
    table: str, split: str | None, release: str, row: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    number = identity(row.get("id"), "id")
    return f"{table} {number}", {
        "file": _file(row.get("file_name"), "file_name"),
        "split": split,
        "release": release,
        "meta": {"image_id": row["id"]},
    }


def _caption(table: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    number = identity(row.get("image_id"), "image_id")
    return f"{table} {number}", {"captions": [plain(row.get("caption"), "caption")]}


def _line(split: str | None, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    file = _file(row.get("image"), "image")
    told = row.get("caption")
    captions = [plain(one, "caption") for one in (told if isinstance(told, list) else [told])]
    meta = {"image_id": row["image_id"]} if "image_id" in row else {}
    return file, {"file": file, "captions": captions, "split": split, "meta": meta}


def _karpathy(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    folder = plain(row.get("filepath"), "filepath")
    file = os.path.join(folder, _file(row.get("filename"), "filename"))
    sentences = row.get("sentences")
    if not isinstance(sentences, list):
        raise SignalError(WRONG_VALUE, f"got {sentences!r:.80} in 'sentences', expected a list")
    captions = [plain(fields(one).get("raw"), "raw") for one in sentences]
    split = plain(row.get("split"), "split").lower()
    meta = {"image_id": row.get("cocoid"), "karpathy_split": split}
    # "restval": what 2014's validation pictures had left, trained on by everybody since.
    said = "train" if split == "restval" else split or None
    return file, {"file": file, "captions": captions, "split": said, "meta": meta}


def _file(value: object, name: str) -> str:
    file = plain(value, name)
    if not file:
        raise SignalError(WRONG_VALUE, f"got nothing in '{name}', expected a picture's file name")
    return file


def _item(root: str, modality: str, facts: Facts) -> Item:
    file, split = facts.first("file"), facts.first("split")
    if file is None:
        raise SignalError(NOT_LISTED, "its captions name a picture that is not among the images")
    captions = captions_of(facts.all("captions"))
    path = first_file(root, _places(file, (split or "", facts.first("release") or "")))
    meta = facts.first("meta")
    return Item(file, {modality: (path,)}, captions, split=split, meta=meta)


def _places(file: str, release: tuple[str, str]) -> Iterator[str]:
    """Where a picture may lie: as told, in the folder of its release, or in that of the other release.

    The pictures of 2014 and 2017 are the same files under other names.
    """
    yield file
    yield f"images/{file}"
    named = _PICTURE.fullmatch(os.path.basename(file))
    if named is None:
        return
    if named[1]:
        release = (named[1], "2014")
    for split, year in (release, *(other for other in _RELEASES if other != release)):
        bare = named[2] + named[3]
        name = f"COCO_{split}2014_{bare}" if year == "2014" else bare
        yield f"{split}{year}/{name}"
        yield f"images/{split}{year}/{name}"


SOURCE = Source(
    name="coco",
    layout="COCO captions: annotations/captions_{train,val}{2014,2017}.json or Karpathy's, and pictures",
    modalities=("image",),
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
