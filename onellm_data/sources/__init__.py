"""The registry of raw layouts, by lazy name: one file and one line here for each.

===============  ==========================================================
file             holds
===============  ==========================================================
base             what a source is: items and rejects
folder           any folder with metadata.csv, metadata.jsonl or NAME.txt
inside           paths that must not leave their folder
tables           rows of CSV and JSON-lines files of any size
depth_signals    a picture and metric depth as depth or as normals
ego4d_recording  one motion recording of Ego4D
json_rows        objects of JSON arrays of any size
mat_files        numbers and texts of MATLAB files
media            folders that hold files of some kind
nsd_captions     captions of the Natural Scenes Dataset's pictures
nsd_design       which picture each of its trials showed
nsd_sessions     its responses, session by session
ordering         sorting and grouping on disk, in little memory
places           where a source's table is, and the files that it names
processed_imu    windows of IMU2CLIP's arrays
row_items        rows of tables → items, one by one or grouped
scenes           names of rooms as captions
tar_members      where a tar's members are, without unpacking
texts            what captions and conversations must be
===============  ==========================================================
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from onellm_data.errors import UsageError, unknown
from onellm_data.sources.base import Source

_BUILT_IN = {
    "wavcaps": "onellm_data.sources.wavcaps:SOURCE",
    "audiocaps": "onellm_data.sources.audiocaps:SOURCE",
    "clotho": "onellm_data.sources.clotho:SOURCE",
    "pointllm": "onellm_data.sources.pointllm:SOURCE",
    "cap3d": "onellm_data.sources.cap3d:SOURCE",
    "ego4d": "onellm_data.sources.ego4d:SOURCE",
    "img2dataset": "onellm_data.sources.img2dataset:SOURCE",
    "nsd_webdataset": "onellm_data.sources.nsd_webdataset:SOURCE",
    "coco": "onellm_data.sources.coco:SOURCE",
    "llava": "onellm_data.sources.llava:SOURCE",
    "nsd": "onellm_data.sources.nsd:SOURCE",
    "webvid": "onellm_data.sources.webvid:SOURCE",
    "onellm_json": "onellm_data.sources.onellm_json:SOURCE",
    "nyuv2": "onellm_data.sources.nyuv2:SOURCE",
    "sunrgbd": "onellm_data.sources.sunrgbd:SOURCE",
    "msrvtt": "onellm_data.sources.msrvtt:SOURCE",
    "msvd": "onellm_data.sources.msvd:SOURCE",
    "multis": "onellm_data.sources.multis:SOURCE",
    "imu2clip": "onellm_data.sources.imu2clip:SOURCE",
    "onellm_csv": "onellm_data.sources.onellm_csv:SOURCE",
    "omnidata": "onellm_data.sources.omnidata:SOURCE",
    "parallel": "onellm_data.sources.parallel:SOURCE",
    "folder": "onellm_data.sources.folder:SOURCE",  # fits many a folder: stays last
}


def names() -> list[str]:
    """Names of all sources, in the order in which they try to recognise a path."""
    return list(_BUILT_IN)


@cache
def get(name: str) -> Source:
    """The source called ``name``.

    Raises:
        UsageError: There is none; the message names the nearest one.
    """
    if name not in _BUILT_IN:
        raise unknown("format", name, ["auto", *_BUILT_IN])
    module, _, attribute = _BUILT_IN[name].partition(":")
    source = getattr(importlib.import_module(module), attribute)
    assert isinstance(source, Source), f"{module}:{attribute} is not a Source"
    return source


def of(modality: str) -> list[Source]:
    """The sources that may hold ``modality``."""
    sources = [get(name) for name in names()]
    return [source for source in sources if source.modalities is None or modality in source.modalities]


def choose(name: str, src: Path, modality: str) -> tuple[Source, str]:
    """The source called ``name``, or for ``auto`` the first that recognises ``src``.

    Returns:
        The source, and what it recognised, in words.

    Raises:
        UsageError: ``src`` does not exist, or is no layout that holds ``modality``.
    """
    if not src.exists():
        raise UsageError(f"there is nothing at --src {src}; expected a folder with raw data")
    candidates = of(modality) if name == "auto" else [get(name)]
    if name != "auto" and candidates[0] not in of(modality):
        known = ", ".join(source.name for source in of(modality))
        raise UsageError(f"the format '{name}' does not hold {modality}; formats that do: {known}")
    for source in candidates:
        recognised = source.detect(src, modality)
        if recognised is not None:
            return source, recognised
    if name != "auto":
        return candidates[0], "as --format says"
    layouts = "; ".join(f"{source.name}: {source.layout}" for source in candidates)
    raise UsageError(f"{src} is no layout with {modality} that is known; expected one of: {layouts}")
