"""Any folder: a table of files and captions, or a text file beside each file.

With ``metadata.csv`` or ``metadata.jsonl``: columns ``file`` and ``caption``, if you like ``split``;
other columns go into the record's ``meta``. A modality of two files has one column for each, named
like its parts (``rgb``, ``depth``). Rows about the same file make one record with all captions.

Without: each file with a ``NAME.txt`` beside it; every line of the text is a caption.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.inside import inside, is_inside
from onellm_data.sources.ordering import Counted, grouped, in_order
from onellm_data.sources.tables import BadRow, Row, rows

TABLES = ("metadata.csv", "metadata.jsonl")
MAX_TEXT = 1 << 20
"""Bytes of the longest ``NAME.txt``."""

NO_CAPTION = "no caption"
TWO_SPLITS = "file in two splits"
WRONG_VALUE = "wrong value"
NOT_UTF8 = "text is not UTF-8"

_LOOKED_AT = 10_000
"""Files that ``detect`` looks at before it gives up."""


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    table = _table(src)
    if table is not None:
        return f"a folder with {table.name}"
    root = os.path.realpath(src)
    suffixes = modalities.get(modality).suffixes
    for name in islice(walk(root), _LOOKED_AT):
        if _stem_and_suffix(name)[1] in suffixes and os.path.exists(_text_beside(root, name)):
            return "a folder with a NAME.txt beside each file"
    return None


def items(src: Path, modality: str) -> Iterator[Item | Reject]:
    """Items in the order of the table, or of the files' paths.

    Raises:
        UsageError: There is no table and the modality needs one, or the table's columns are wrong.
    """
    table = _table(src)
    parts = modalities.get(modality).parts
    if table is not None:
        return _listed(os.path.realpath(src), table, modality, _columns(parts))
    if len(parts) > 1:
        raise UsageError(
            f"{src} has no {' or '.join(TABLES)}; {modality} needs one with the columns "
            f"{', '.join(parts)} and caption, to say which files belong together"
        )
    return _beside(os.path.realpath(src), modality)


def _table(src: Path) -> Path | None:
    found = [name for name in TABLES if (src / name).exists()]
    if len(found) > 1:
        raise UsageError(f"{src} has both {' and '.join(TABLES)}; remove or rename the one that is not meant")
    try:
        return inside(os.path.realpath(src), found[0]) if found else None
    except SignalError as error:
        raise UsageError(f"the table of {src} cannot be used: {error}") from error


def _columns(parts: Sequence[str]) -> tuple[str, ...]:
    """Columns that name the files: ``file``, or one for each part."""
    return ("file",) if len(parts) == 1 else tuple(parts)


# ---- with a table


def _listed(root: str, table: Path, modality: str, columns: Sequence[str]) -> Iterator[Item | Reject]:
    entries = grouped(_entry(row, columns) for row in rows(table, [*columns, "caption"]))
    make = partial(_listed_item, root, table, modality)
    return Counted(map(make, entries), entries.__length_hint__())


def _entry(row: Row | BadRow, columns: Sequence[str]) -> tuple[bytes, str]:
    """A row as (files, text and the rest as JSON); a bad row is alone in its group."""
    try:
        if isinstance(row, BadRow):
            raise SignalError(row.reason, row.detail)
        files = [_file_name(row.values.get(column), column) for column in columns]
        rest = {key: value for key, value in row.values.items() if key not in (*columns, "caption", "split")}
        entry = {
            "line": row.line,
            "captions": _captions(row.values.get("caption")),
            "split": _text(row.values.get("split"), "split").lower() or None,
            "meta": rest,
        }
    except SignalError as error:
        return b"\0%d" % row.line, json.dumps({"line": row.line, "bad": [error.reason, error.detail]})
    return b"\0".join(map(os.fsencode, files)), json.dumps(entry)


def _file_name(value: object, column: str) -> str:
    name = _text(value, column)
    if not name:
        raise SignalError(WRONG_VALUE, f"got nothing in '{column}', expected a file's path")
    return os.path.normpath(name)


def _text(value: object, column: str) -> str:
    """A value that must be text, without space around it; a missing one counts as empty."""
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise SignalError(WRONG_VALUE, f"got {value!r:.80} in '{column}', expected text")
    return value.strip()


def _captions(value: object) -> list[str]:
    """Captions of a row, blank ones left out; JSON lines may have several in a list."""
    several = value if isinstance(value, list) else [value]
    return [caption for caption in (_text(one, "caption") for one in several) if caption]


def _listed_item(root: str, table: Path, modality: str, group: tuple[bytes, list[str]]) -> Item | Reject:
    key, entries = group[0], [json.loads(entry) for entry in group[1]]
    line = entries[0]["line"]
    where = f"{table}:{line}"
    if "bad" in entries[0]:
        reason, detail = entries[0]["bad"]
        return Reject(f"row {line}", where, reason, detail)
    names = [os.fsdecode(name) for name in key.split(b"\0")]
    splits = {entry["split"] for entry in entries if entry["split"]}
    split = min(splits, default=None)
    try:
        files = tuple(inside(root, name) for name in names)
        if len(splits) > 1:
            raise SignalError(TWO_SPLITS, f"rows put it into {' and '.join(sorted(splits))}")
        return _item(names[0], modality, files, _all_captions(entries), split, entries[0]["meta"])
    except SignalError as error:
        return Reject(names[0], where, error.reason, error.detail, split)


def _all_captions(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [caption for entry in entries for caption in entry["captions"]]


def _item(
    name: str,
    modality: str,
    files: tuple[Path, ...],
    captions: Sequence[str],
    split: str | None,
    meta: dict[str, Any],
) -> Item:
    """An item, if its text is there and can be written."""
    if not captions:
        raise SignalError(NO_CAPTION, "expected a text that is not blank")
    try:
        json.dumps([captions, split, meta], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SignalError(NOT_UTF8, "a caption or another column has bytes that are not UTF-8") from error
    return Item(name, {modality: files}, tuple(captions), split=split, meta=meta)


# ---- without a table


def _beside(root: str, modality: str) -> Iterator[Item | Reject]:
    suffixes = modalities.get(modality).suffixes
    names = in_order(os.fsencode(name) for name in walk(root) if _is_meant(root, name, suffixes))
    return Counted((_lone_item(root, modality, os.fsdecode(name)) for name in names), names.__length_hint__())


def _is_meant(root: str, name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file is data: by its ending, or because somebody wrote a text about it."""
    suffix = _stem_and_suffix(name)[1]
    if suffix == ".txt":
        return False
    path = os.path.join(root, name)
    if os.path.islink(path) and os.path.isdir(path):
        # What is linked inside the folder is found in its own place; what is outside must be told.
        return not is_inside(root, os.path.realpath(path))
    return suffix in suffixes or os.path.lexists(_text_beside(root, name))


def _lone_item(root: str, modality: str, name: str) -> Item | Reject:
    try:
        file = inside(root, name)
        return _item(name, modality, (file,), read_captions(root, name), None, {})
    except SignalError as error:
        return Reject(name, os.path.join(root, name), error.reason, error.detail)


def read_captions(root: str, name: str) -> list[str]:
    """The lines of ``NAME.txt`` that are not blank."""
    text_name = _stem_and_suffix(name)[0] + ".txt"
    if not os.path.lexists(os.path.join(root, text_name)):
        raise SignalError(NO_CAPTION, f"there is no {text_name} beside it")
    with inside(root, text_name).open("rb") as stream:
        data = stream.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise SignalError(WRONG_VALUE, f"{text_name} has more than {MAX_TEXT} bytes")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SignalError(NOT_UTF8, f"{text_name}: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def walk(root: str) -> Iterator[str]:
    """Paths of the files and links below ``root``, relative to it, in no order; hidden names are left out."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                else:
                    yield name


def _stem_and_suffix(name: str) -> tuple[str, str]:
    """A name without its ending, and the ending in lower case; that of a packed file is ``.nii.gz``."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() == ".gz":
        stem, inner = os.path.splitext(stem)
        suffix = inner + suffix
    return stem, suffix.lower()


def _text_beside(root: str, name: str) -> str:
    return os.path.join(root, _stem_and_suffix(name)[0] + ".txt")


SOURCE = Source(
    name="folder",
    layout=(
        "a folder with metadata.csv or .jsonl (file, caption, optional split), or NAME.txt beside each file"
    ),
    modalities=None,
    detect=detect,
    items=items,
)
