"""AudioCaps: captions of ten-second clips of AudioSet.

``train.csv``, ``val.csv`` and ``test.csv`` have the columns ``audiocap_id,youtube_id,start_time,caption``;
a clip of val and test has five rows.  The sounds are not distributed, and every downloader names them
in its own way.  Format: github.com/cdjkim/audiocaps.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.options import Option
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import MISSING_FILE
from onellm_data.sources.media import folders_with
from onellm_data.sources.places import files_in, first_file, tables, top
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.tables import header, rows
from onellm_data.sources.texts import captions_of, plain

COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
SPLITS = ("train", "val", "test")
SECONDS = 10

NAMES = ("Y{youtube_id}", "{youtube_id}_{start}", "{youtube_id}", "{audiocap_id}")
"""How downloaders call a clip, without the ending."""

FIELDS = ("youtube_id", "start", "end", "audiocap_id", "split")

NAME = Option(
    "clip_name",
    f"How a clip's file is called, such as audio/{{split}}/Y{{youtube_id}}.wav, from {', '.join(FIELDS)} "
    "(seconds); the usual names in all folders are tried without this.",
)


def detect(src: Path, modality: str) -> str | None:
    """The names of the tables."""
    found = ", ".join(path.name for path in _tables(src))
    return f"AudioCaps ({found})" if found else None


def items(src: Path, modality: str, clip_name: str | None = None) -> Iterator[Item | Reject]:
    """Clips, each with all its captions, in the order of the tables.

    Raises:
        UsageError: There is no table, or ``clip_name`` has a field that a row has not.
    """
    found = _tables(src)
    if not found:
        raise UsageError(f"{src} has no train.csv, val.csv or test.csv with the columns {','.join(COLUMNS)}")
    _check_name(clip_name)
    root = top(src)
    suffixes = modalities.get(modality).suffixes
    folders = folders_with(root, suffixes) if clip_name is None else []
    usual = partial(_usual_names, root, folders, suffixes)
    names = usual if clip_name is None else partial(_names, [clip_name])
    sets = [(path, rows(path, COLUMNS), partial(_read, path.stem)) for path in found]
    return together(sets, partial(_item, root, modality, names))


def _tables(src: Path) -> list[Path]:
    """The tables in ``src`` or its folder ``dataset``: train, then val, then test."""
    found = tables(src, files_in(src, ("", "dataset")), None, _is_table)
    return sorted(found, key=lambda path: SPLITS.index(path.stem))


def _is_table(path: Path) -> bool:
    return path.suffix == ".csv" and path.stem in SPLITS and header(path) == list(COLUMNS)


def _check_name(template: str | None) -> None:
    """Refuse a template that cannot be filled, before anything is read."""
    example = {"youtube_id": "-0123456789", "start": 30, "end": 40, "audiocap_id": "1", "split": "train"}
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(template or "") if name is not None}
        if template is not None and (not used or not used <= set(FIELDS)):
            raise ValueError(f"got the fields {', '.join(map(repr, sorted(used))) or 'none'}")
        (template or "").format(**example)
    except (ValueError, LookupError) as error:
        raise UsageError(
            f"--clip-name {template} cannot be used: {error}; expected a file's path in --src with some of "
            + ", ".join(f"{{{name}}}" for name in FIELDS)
        ) from error


def _read(split: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    youtube_id, start = plain(row["youtube_id"], "youtube_id"), plain(row["start_time"], "start_time")
    if not youtube_id or not (start.isascii() and start.isdigit()):
        got = f"the clip {youtube_id!r} at {start!r}"
        raise SignalError(WRONG_VALUE, f"got {got}, expected a YouTube id and whole seconds")
    facts = {
        "split": split,
        "youtube_id": youtube_id,
        "start": int(start),
        "ids": [plain(row["audiocap_id"], "audiocap_id")],
        "captions": [row["caption"]],
    }
    return f"{split}/{youtube_id}_{int(start)}", facts


def _item(root: str, modality: str, names: Any, facts: Facts) -> Item:
    captions = captions_of(facts.all("captions"))
    fields = {key: facts.first(key) for key in ("youtube_id", "start", "split")}
    fields["end"] = fields["start"] + SECONDS
    ids = facts.all("ids")
    try:
        file = first_file(root, names([{**fields, "audiocap_id": one} for one in ids]))
    except SignalError as error:
        if error.reason != MISSING_FILE:
            raise
        told = (
            f"no file of the clip {facts.key}; was it downloaded, and does --clip-name say how it is called?"
        )
        raise SignalError(MISSING_FILE, told) from error
    meta = {"youtube_id": fields["youtube_id"], "start_time": fields["start"], "audiocap_ids": ids}
    return Item(facts.key, {modality: (file,)}, captions, split=fields["split"], meta=meta)


def _names(templates: Iterable[str], clips: list[dict[str, Any]]) -> list[str]:
    """The names that a clip may have, under each id of its captions."""
    return list(dict.fromkeys(template.format(**clip) for template in templates for clip in clips))


def _usual_names(
    root: str, folders: list[str], suffixes: tuple[str, ...], clips: list[dict[str, Any]]
) -> Iterator[str]:
    """Where a clip lies, not among the clips of another split; then where it might have been."""
    others = set(SPLITS) - {clips[0]["split"]}
    stems = _names(NAMES, clips)
    for folder in folders:
        if not others & set(folder.split(os.sep)):
            places = (os.path.join(folder, stem + suffix) for stem in stems for suffix in suffixes)
            yield from (place for place in places if os.path.lexists(os.path.join(root, place)))
    yield stems[0] + suffixes[0]


SOURCE = Source(
    name="audiocaps",
    layout="train.csv, val.csv, test.csv (audiocap_id,youtube_id,start_time,caption) and the clips",
    modalities=("audio",),
    detect=detect,
    items=items,
    options=(NAME,),
)
