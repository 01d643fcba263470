"""Clotho: sounds of 15 to 30 seconds, each with five captions by people.

``clotho_captions_development.csv`` and its like have the columns ``file_name,caption_1,…,caption_5``;
``clotho_metadata_development.csv`` (ISO-8859-1) says where a sound comes from.  Format:
github.com/audio-captioning/clotho-dataset and zenodo.org/records/4783391.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import MISSING_FILE, inside
from onellm_data.sources.media import folders_with
from onellm_data.sources.places import files_in, tables, top
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.tables import Row, header, rows
from onellm_data.sources.texts import captions_of, plain

SPLITS = ("development", "validation", "evaluation")
AMBIGUOUS = "ambiguous file name"

_TABLE = re.compile(rf"clotho_captions_({'|'.join(SPLITS)})\.csv")
_CAPTION = re.compile(r"caption_\d+")
_NOT_ON_WINDOWS = re.compile(r'[<>:"/\\|?*]')


def detect(src: Path, modality: str) -> str | None:
    """The splits of which there are captions."""
    found = ", ".join(_split(path) for path in _tables(src))
    return f"Clotho ({found})" if found else None


def items(src: Path, modality: str) -> Iterator[Item | Reject]:
    """Sounds in the order of the tables: development, validation, evaluation.

    Raises:
        UsageError: There is no table of captions.
    """
    found = _tables(src)
    if not found:
        raise UsageError(f"{src} has no clotho_captions_development.csv, …validation.csv or …evaluation.csv")
    root = top(src)
    suffixes = modalities.get(modality).suffixes
    sounds = {_split(path): _Sounds(root, _split(path), suffixes) for path in found}
    told = {_split(path): _metadata(root, path) for path in found}
    sets = [(path, rows(path, ["file_name"]), partial(_read, _split(path))) for path in found]
    return together(sets, partial(_item, modality, sounds, told))


def _tables(src: Path) -> list[Path]:
    found = tables(src, files_in(src), None, _is_table)
    return sorted(found, key=lambda path: SPLITS.index(_split(path)))


def _is_table(path: Path) -> bool:
    return bool(_TABLE.fullmatch(path.name)) and {"file_name", "caption_1"} <= set(header(path))


def _split(table: Path) -> str:
    found = _TABLE.fullmatch(table.name)
    assert found, "only tables of captions are asked for their split"
    return found[1]


def same_name(name: str) -> str:
    """What is equal for the names of one file in a table and on a disk.

    Letters with accents are one character, as in the tables (macOS stores two); space around the
    name and its stem is gone; characters that Windows forbids are ``_``, as archivers unpack them.
    """
    stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name).strip())
    return _NOT_ON_WINDOWS.sub("_", stem.strip()) + suffix.lower()


class _Sounds:
    """The files of one split: in folders called like it, or if there are none, like no split.

    Args:
        root: The data set's real path.
        split: The split.
        suffixes: Endings of sounds.
    """

    def __init__(self, root: str, split: str, suffixes: tuple[str, ...]) -> None:
        self._root = root
        words = {folder: set(re.split(r"[/\\_]", folder)) for folder in folders_with(root, suffixes)}
        own = [folder for folder in words if split in words[folder]]
        common = [folder for folder in words if not words[folder] & set(SPLITS)]
        self._exact: dict[str, str] = {}
        self._similar: dict[str, list[str]] = {}
        for folder in own or common:
            for name in sorted(os.listdir(os.path.join(root, folder))):
                place = os.path.join(folder, name)
                self._exact.setdefault(unicodedata.normalize("NFC", name), place)
                self._similar.setdefault(same_name(name), []).append(place)

    def find(self, name: str) -> Path:
        """The file that a table calls ``name``.

        Raises:
            SignalError: There is none, or several are called nearly so.
        """
        exact = self._exact.get(unicodedata.normalize("NFC", name))
        similar = [exact] if exact else self._similar.get(same_name(name), [])
        if not similar:
            raise SignalError(MISSING_FILE, f"there is no sound {name!r} in {self._root}")
        if len(similar) > 1:
            raise SignalError(AMBIGUOUS, f"{name!r} may be {' or '.join(map(repr, similar[:5]))}")
        return inside(self._root, similar[0])


def _metadata(root: str, table: Path) -> dict[str, dict[str, Any]]:
    """Name → what the metadata beside a table of captions says; nothing if it is not there."""
    path = table.with_name(table.name.replace("captions", "metadata"))
    if not path.is_file():
        return {}
    found = {}
    for row in rows(inside(root, str(path)), ["file_name"]):
        if isinstance(row, Row):
            values = {key: _from_latin_1(value).strip() for key, value in row.values.items()}
            found[same_name(values.pop("file_name"))] = _told(values)
    return found


def _told(values: dict[str, str]) -> dict[str, Any]:
    keywords = [word.strip() for word in values.pop("keywords", "").split(";") if word.strip()]
    return {"keywords": keywords, **values}


def _from_latin_1(text: str) -> str:
    """Text that was read as UTF-8, but may be ISO-8859-1."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read(split: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = row["file_name"]
    if not plain(name, "file_name"):
        raise SignalError(WRONG_VALUE, "got nothing in 'file_name', expected a file's name")
    captions = [value for column, value in row.items() if _CAPTION.fullmatch(column)]
    return f"{split}/{same_name(name)}", {"split": split, "file": name, "captions": captions}


def _item(modality: str, sounds: dict[str, _Sounds], told: dict[str, dict[str, Any]], facts: Facts) -> Item:
    split, name = facts.first("split"), facts.first("file")
    captions = captions_of(facts.all("captions"))
    file = sounds[split].find(name)
    meta = {"file_name": name, **told[split].get(same_name(name), {})}
    return Item(f"{split}/{name}", {modality: (file,)}, captions, split=split, meta=meta)


SOURCE = Source(
    name="clotho",
    layout="clotho_captions_development.csv and its like (file_name,caption_1,…), and folders of sounds",
    modalities=("audio",),
    detect=detect,
    items=items,
)
