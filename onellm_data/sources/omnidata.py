"""Output of Omnidata's demo: ``NAME_rgb.png``, ``NAME_depth.png`` and ``NAME_normal.png`` in one folder.

Source of the layout: Omnidata (Eftekhar et al. 2021, arXiv 2110.04994), omnidata_tools/torch/demo.py,
with which OneLLM's maps were made.  Both maps show the centre square of the picture, as ``_rgb.png``
does; depth is relative and coloured (viridis), normals are ``round(255 · (n + 1) / 2)``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import TABLES, read_captions, walk
from onellm_data.sources.inside import inside
from onellm_data.sources.ordering import Counted, in_order
from onellm_data.sources.texts import captions_of

RGB = "_rgb.png"
_LOOKED_AT = 10_000
"""Files that ``detect`` looks at before it gives up."""


def _ending(modality: str) -> str:
    return f"_{modality}.png"


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``; a folder with a table of its own is left to that."""
    if not src.is_dir() or any((src / table).exists() for table in TABLES):
        return None
    root = os.path.realpath(src)
    for name in islice(walk(root), _LOOKED_AT):
        picture = name.removesuffix(_ending(modality)) + RGB
        if name.endswith(_ending(modality)) and os.path.exists(os.path.join(root, picture)):
            return f"Omnidata's output: NAME{RGB} and NAME{_ending(modality)}"
    return None


def items(src: Path, modality: str) -> Iterator[Item | Reject]:
    """Maps in the order of their paths.

    Raises:
        UsageError: There is no such folder.
    """
    if not src.is_dir():
        raise UsageError(f"{src} is no folder; expected {SOURCE.layout}")
    root, ending = os.path.realpath(src), _ending(modality)
    names = in_order(os.fsencode(name) for name in walk(root) if name.endswith(ending))
    return Counted(map(partial(_item, root, modality), names), names.__length_hint__())


def _item(root: str, modality: str, name: bytes) -> Item | Reject:
    map_name = os.fsdecode(name)
    base = map_name.removesuffix(_ending(modality))
    try:
        files = (inside(root, base + RGB), inside(root, map_name))
        captions = captions_of(read_captions(root, f"{base}.png"))
        return Item(base, {modality: files}, captions, meta={"maps": "omnidata"})
    except SignalError as error:
        return Reject(base, os.path.join(root, map_name), error.reason, error.detail)


SOURCE = Source(
    name="omnidata",
    layout="NAME_rgb.png with NAME_depth.png or NAME_normal.png as Omnidata writes them, and NAME.txt",
    modalities=("depth", "normal"),
    detect=detect,
    items=items,
)
