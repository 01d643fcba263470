"""Pictures in one folder, their maps in another under the same names: ``cc3m`` and ``cc3m_depth``.

Source of the layout: github.com/csuhan/OneLLM, data/pretrain_dataset.py: the path of a map is the path
of its picture with ``/cc3m/`` replaced by ``/cc3m_depth/`` or ``/cc3m_normal/``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from onellm_data import modalities
from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import read_captions, walk
from onellm_data.sources.inside import inside
from onellm_data.sources.ordering import Counted, in_order
from onellm_data.sources.places import first_file
from onellm_data.sources.texts import captions_of


def _pairs(src: Path, modality: str) -> list[str]:
    """Names of folders in ``src`` that have a folder of maps beside them."""
    if not src.is_dir():
        return []
    names = sorted(entry.name for entry in os.scandir(src) if entry.is_dir(follow_symlinks=False))
    return [name for name in names if f"{name}_{modality}" in names]


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    pairs = _pairs(src, modality)
    return f"pictures in {pairs[0]}, maps in {pairs[0]}_{modality}" if len(pairs) == 1 else None


def items(src: Path, modality: str) -> Iterator[Item | Reject]:
    """Pictures in the order of their paths.

    Raises:
        UsageError: There are no such two folders, or several.
    """
    pairs = _pairs(src, modality)
    if len(pairs) != 1:
        got = ", ".join(pairs) or "none"
        raise UsageError(f"{src} should have one folder X with a folder X_{modality} beside it, got {got}")
    root, (folder,) = os.path.realpath(src), pairs
    endings = modalities.get("image").suffixes
    found = walk(os.path.join(root, folder))
    names = in_order(os.fsencode(name) for name in found if os.path.splitext(name)[1].lower() in endings)
    return Counted(map(partial(_item, root, folder, modality), names), names.__length_hint__())


def _item(root: str, folder: str, modality: str, encoded: bytes) -> Item | Reject:
    name = os.fsdecode(encoded)
    picture = os.path.join(folder, name)
    try:
        captions = captions_of(read_captions(root, picture))
        files = (inside(root, picture), _map(root, f"{folder}_{modality}", name, modality))
        return Item(name, {modality: files}, captions)
    except SignalError as error:
        return Reject(name, os.path.join(root, picture), error.reason, error.detail)


def _map(root: str, folder: str, name: str, modality: str) -> Path:
    """The map of a picture: of the same name, or else with another ending."""
    path = os.path.join(folder, name)
    stem = os.path.splitext(path)[0]
    return first_file(root, [path, *(stem + ending for ending in modalities.get(modality).suffixes)])


SOURCE = Source(
    name="parallel",
    layout="pictures with NAME.txt in a folder such as cc3m, their maps in cc3m_depth or cc3m_normal",
    modalities=("depth", "normal"),
    detect=detect,
    items=items,
)
