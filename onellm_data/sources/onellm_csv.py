"""OneLLM's own caption tables, for every modality: TAB-separated, with the columns ``caption`` and ``url``.

``url`` is a path, or an address such as ``cluster:s3://bucket/path``, of which what follows ``://`` counts.
A depth or normal map has its picture's path with ``_depth`` or ``_normal`` behind the name of one folder:
``cc3m/1.jpg`` and ``cc3m_depth/1.jpg``.  Format: github.com/csuhan/OneLLM, data/pretrain_dataset.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.places import ROOT, TABLE, files_in, first_file, media_root, tables
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.tables import header, rows
from onellm_data.sources.texts import captions_of, plain

COLUMNS = ("caption", "url")
TAB = "\t"

MAP_ENDINGS = (".png", ".jpg", ".npy")
"""Endings of a map that has not its picture's."""


def detect(src: Path, modality: str) -> str | None:
    """Files whose header is ``caption<TAB>url``."""
    found = tables(src, files_in(src), None, _is_table)
    return f"OneLLM's captions ({_names(found)})" if found else None


def items(
    src: Path, modality: str, table: str | None = None, root: str | None = None
) -> Iterator[Item | Reject]:
    """Signals file by file, in the order of each; rows of one file about one signal are one item.

    Raises:
        UsageError: There is no such file.
    """
    found = tables(src, files_in(src), table, _is_table)
    if not found:
        raise UsageError(f"there is no table in {src}; expected {SOURCE.layout}")
    make = partial(_item, media_root(src, root), modality)
    # One after another: the published alignment set has thousands of files with 10⁹ rows.
    return chain.from_iterable(together([(path, rows(path, COLUMNS, TAB), _read)], make) for path in found)


def _is_table(path: Path) -> bool:
    return path.suffix in (".csv", ".tsv") and set(COLUMNS) <= set(header(path, TAB))


def _names(found: list[Path]) -> str:
    return found[0].name if len(found) == 1 else f"{found[0].name} and {len(found) - 1} more"


def _read(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    caption, url = (plain(row.get(column), column) for column in COLUMNS)
    path = url.rpartition("://")[2].lstrip("/") if "://" in url else url
    if not path:
        raise SignalError(WRONG_VALUE, f"got {url!r} in 'url', expected a file's path")
    return path, {"captions": [caption]}


def _item(root: str, modality: str, facts: Facts) -> Item:
    captions = tuple(dict.fromkeys(captions_of(facts.all("captions"))))
    files = [first_file(root, [facts.key])]
    files += (first_file(root, _maps(facts.key, part)) for part in modalities.get(modality).parts[1:])
    return Item(facts.key, {modality: tuple(files)}, captions)


def _maps(picture: str, part: str) -> Iterator[str]:
    """Where the map of a picture may lie: one folder of its path is called ``…_depth`` instead."""
    path = PurePosixPath(picture)
    for number, folder in enumerate(path.parts[:-1]):
        other = PurePosixPath(*path.parts[:number], f"{folder}_{part}", *path.parts[number + 1 :])
        yield str(other)
        yield from (str(other.with_suffix(ending)) for ending in MAP_ENDINGS)
    if len(path.parts) == 1:
        yield os.path.join(part, picture)


SOURCE = Source(
    name="onellm_csv",
    layout="OneLLM's caption tables: TAB-separated .csv with the columns caption and url, and the files",
    modalities=None,
    detect=detect,
    items=items,
    options=(TABLE, ROOT),
)
