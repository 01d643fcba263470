"""WavCaps: sounds of AudioSet, the BBC, FreeSound and SoundBible, with captions by a language model.

``json_files/FreeSound/fsd_final.json`` and its like are ``{"num_captions_per_audio": 1, "data": [{"id",
"caption", "audio", "duration", …}]}``; the sound is ``{id}.flac``, in a folder named after its source.
Format: github.com/XinhaoMei/WavCaps, and the data set's page (cvssp/WavCaps).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onellm_data.errors import SignalError, UsageError, unknown
from onellm_data.modalities.decoding import read_bounded
from onellm_data.options import Option
from onellm_data.sources import json_rows
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.inside import inside
from onellm_data.sources.media import folders_with
from onellm_data.sources.places import first_file
from onellm_data.sources.row_items import Facts, together
from onellm_data.sources.texts import captions_of, identity

TABLES = {
    "AudioSet_SL": "as_final.json",
    "BBC_Sound_Effects": "bbc_final.json",
    "FreeSound": "fsd_final.json",
    "SoundBible": "sb_final.json",
}
LISTED_AS = {"AudioSet_SL": "AudioSet"}
"""What a blacklist calls a source, where that is not its folder's name."""

BLACKLISTS = ("none", "exclude_all_ac", "exclude_test_ac", "exclude_ub8k_esc50_vggsound")
BLACKLISTED = "blacklisted"
MAX_BLACKLIST_BYTES = 64 << 20

BLACKLIST = Option(
    "blacklist",
    "Sounds to leave out because test sets hold them: all of AudioCaps and Clotho (exclude_all_ac), only "
    "their test splits (exclude_test_ac), or UrbanSound8K, ESC-50 and VGGSound.",
    "none",
    BLACKLISTS,
)
SOURCE_OF_SOUND = Option(
    "wavcaps_source",
    "The one source of WavCaps that is read; all that are there without this.",
    None,
    tuple(TABLES),
)


def detect(src: Path, modality: str) -> str | None:
    """The names of the sources of which there is a table."""
    found = ", ".join(_tables(src))
    return f"WavCaps ({found})" if found else None


def items(
    src: Path, modality: str, blacklist: str = "none", wavcaps_source: str | None = None
) -> Iterator[Item | Reject]:
    """Sounds in the order of the tables, source by source.

    Raises:
        UsageError: A table or the blacklist that was asked for is not there.
    """
    tables = _tables(src)
    if wavcaps_source is not None:
        if wavcaps_source not in tables:
            raise UsageError(
                f"{src} has no json_files/{wavcaps_source}; it has {', '.join(tables) or 'none'}"
            )
        tables = {wavcaps_source: tables[wavcaps_source]}
    root = os.path.realpath(src)
    folders = folders_with(root, (".flac",))
    excluded = _excluded(root, blacklist)
    sets = [(path, json_rows.rows(path, "data"), partial(_read, source)) for source, path in tables.items()]
    return together(sets, partial(_item, root, modality, folders, excluded))


def _tables(src: Path) -> dict[str, Path]:
    """Source → its table, for those that are there."""
    found = {}
    for source, name in TABLES.items():
        try:
            found[source] = inside(os.path.realpath(src), os.path.join("json_files", source, name))
        except SignalError:
            continue  # only a part of the data set was downloaded
    return found


def _excluded(root: str, blacklist: str) -> frozenset[tuple[str, str]]:
    """Source and id of each sound on the blacklist."""
    if blacklist not in BLACKLISTS:
        raise unknown("blacklist", blacklist, BLACKLISTS)
    if blacklist == "none":
        return frozenset()
    name = os.path.join("json_files", "blacklist", f"blacklist_{blacklist}.json")
    try:
        listed = json.loads(read_bounded(inside(root, name), MAX_BLACKLIST_BYTES))
        return frozenset((source, _stem(one)) for source, ids in listed.items() for one in ids)
    except (SignalError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--blacklist {blacklist}: {name} of {root} cannot be used: {error}; "
            "expected JSON, source → list of ids"
        ) from error


def _stem(identity_: str) -> str:
    """The name of a sound's file without its ending; ids of AudioSet come with ``.wav``."""
    return identity_.removesuffix(".wav")


def _read(source: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    stem = _stem(identity(row.get("id"), "id"))
    caption = row.get("caption")
    # "audio" is the same placeholder in all rows.
    rest = {key: value for key, value in row.items() if key not in ("id", "caption", "audio")}
    facts = {
        "id": stem,
        "source": source,
        "file": f"{source}/{stem}.flac",
        "captions": caption if isinstance(caption, list) else [caption],
        "rest": rest,
    }
    return f"{source}/{stem}", facts


def _item(
    root: str, modality: str, folders: list[str], excluded: frozenset[tuple[str, str]], facts: Facts
) -> Item:
    source, stem, name = (facts.first(key) for key in ("source", "id", "file"))
    if (LISTED_AS.get(source, source), stem) in excluded:
        raise SignalError(BLACKLISTED, "the blacklist that was asked for names it")
    captions = captions_of(facts.all("captions"))
    places = [os.path.join(folder, f"{stem}.flac") for folder in folders if _is_of(folder, source)]
    file = first_file(root, places or [name])
    meta = {**facts.first("rest"), "source": source, "id": stem}
    return Item(name, {modality: (file,)}, captions, meta=meta)


def _is_of(folder: str, source: str) -> bool:
    """Whether a folder holds sounds of a source: ``FreeSound``, ``…/FreeSound_flac`` and so on."""
    return any(part == source or part.startswith(f"{source}_") for part in folder.split(os.sep))


SOURCE = Source(
    name="wavcaps",
    layout="json_files/FreeSound/fsd_final.json and its like, {id}.flac in folders named after the sources",
    modalities=("audio",),
    detect=detect,
    items=items,
    options=(BLACKLIST, SOURCE_OF_SOUND),
)
