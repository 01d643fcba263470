"""NYU Depth v2: 1449 pictures of rooms with depth in one MATLAB file of version 7.3, which is HDF5.

Source of the layout: https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html (Silberman et al. 2012).
h5py sees MATLAB's axes reversed: pictures are ``[n, 3, W, H]``, depth maps ``[n, W, H]`` in metres; texts
are references to arrays of character codes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onellm_data.errors import SignalError, UsageError, require
from onellm_data.modalities import depth
from onellm_data.modalities.decoding import WRONG_SHAPE, decoding
from onellm_data.modalities.geometry import Intrinsics
from onellm_data.options import Option
from onellm_data.sources import depth_signals, scenes
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import WRONG_VALUE
from onellm_data.sources.inside import inside
from onellm_data.sources.mat_files import numbers

FILE, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
CAMERA = Intrinsics(fx=518.857901, fy=519.469611, cx=325.582449 - 1, cy=253.736166 - 1)
"""The colour camera, onto which depth is projected; ``camera_params.m`` of the toolbox counts from 1."""

MAX_TEXT = 1000
MAX_PIXELS = 10_000_000

DEPTH = Option(
    "nyu_depth",
    "Which depth maps: depths (holes filled in) or rawDepths (as measured).",
    "depths",
    ("depths", "rawDepths"),
)


@dataclass(frozen=True)
class Pair:
    """Reads one picture with its depth."""

    path: Path
    number: int
    modality: str
    maps: str

    @property
    def where(self) -> str:
        """The file and the number of the picture, from 0."""
        return f"{self.path}:{self.number}"

    def read(self) -> object:
        """The canonical signal: a pair with depth, or with normals."""
        with decoding(self.path, "a picture and its depth"), _opened(self.path) as file:
            rgb = _part(file, "images", self.number, 3)
            metres = _part(file, self.maps, self.number, 2)
        if rgb.dtype != np.uint8 or rgb.shape[0] != 3 or metres.dtype.kind != "f":
            raise SignalError(
                WRONG_SHAPE, f"{rgb.dtype} {rgb.shape} and {metres.dtype}; expected uint8 and metres"
            )
        return depth_signals.signal(self.modality, rgb.transpose(2, 1, 0), depth.from_array(metres.T), CAMERA)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with require("h5py", "depth").File(path, "r") as file:
        yield file


def _dataset(file: Any, name: str) -> Any:
    """A data set of plain numbers or references, in the file itself."""
    h5py = require("h5py", "depth")
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise SignalError(WRONG_SHAPE, f"no data set '{name}'")
    return found


def _part(file: Any, name: str, number: int, axes: int) -> np.ndarray:
    """One of the arrays that a data set holds."""
    found = _dataset(file, name)
    shape = found.shape[1:]
    if (
        len(shape) != axes
        or found.dtype.kind not in "uf"
        or not 0 < np.prod(shape, dtype=float) <= 3 * MAX_PIXELS
    ):
        raise SignalError(WRONG_SHAPE, f"'{name}' holds {found.dtype} {found.shape}")
    if number >= found.shape[0]:
        raise SignalError(WRONG_SHAPE, f"'{name}' holds {found.shape[0]} arrays, expected more than {number}")
    return found[number]


def _texts(file: Any, name: str) -> list[str | None]:
    """The texts of a cell array; None for one that is none."""
    h5py = require("h5py", "depth")
    cells = _dataset(file, name)
    if cells.dtype != h5py.ref_dtype:
        raise SignalError(WRONG_SHAPE, f"'{name}' holds {cells.dtype}, expected references to texts")
    return [_text(file[cell] if cell else None) for cell in cells[()].reshape(-1)]


def _text(codes: Any) -> str | None:
    """The text in an array of UTF-16 character codes."""
    is_text = isinstance(codes, require("h5py", "depth").Dataset) and codes.dtype == np.uint16
    if not is_text or codes.size > MAX_TEXT:
        return None
    return codes[()].astype("<u2").tobytes().decode("utf-16-le", "replace")


def _place(src: Path) -> Path | None:
    """The folder with the file: ``src``, or the one it lies in."""
    folder = src if src.is_dir() else src.parent
    is_meant = src.is_dir() or src.name == FILE
    return folder if is_meant and (folder / FILE).is_file() else None


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    return f"NYU Depth v2: {FILE}" if _place(src) else None


def items(
    src: Path,
    modality: str,
    nyu_depth: str = DEPTH.default,
    caption: str = scenes.CAPTION.default,
    scene_classes: str = scenes.CLASSES.default,
) -> Iterator[Item | Reject]:
    """Pictures in the order of the file.

    Raises:
        UsageError: The file is not there, or lacks the scenes.
    """
    scenes.check_template(caption)
    folder = _place(src)
    if folder is None:
        raise UsageError(f"there is no {FILE} in {src}; expected it, and if you have it {SPLITS} beside it")
    root = os.path.realpath(folder)
    path = inside(root, FILE)
    names, kinds = _scenes(path)
    split_of = _splits(inside(root, SPLITS)) if (folder / SPLITS).is_file() else {}
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        split = split_of.get(number)
        try:
            if kind is None:
                raise SignalError(WRONG_VALUE, f"sceneTypes {number} is no text")
            text = scenes.caption(caption, scenes.nyu_class(kind) if scene_classes == "benchmark" else kind)
        except SignalError as error:
            yield Reject(name, f"{path}:{number}", error.reason, error.detail, split)
            continue
        meta = {"scene": kind, **depth_signals.meta(modality)}
        yield Item(name, {modality: Pair(path, number, modality, nyu_depth)}, (text,), split=split, meta=meta)


def _scenes(path: Path) -> tuple[list[str], list[str | None]]:
    """A name and the kind of scene for each picture."""
    try:
        with decoding(path, "pictures, depths and scenes"), _opened(path) as file:
            count = _dataset(file, "images").shape[0]
            kinds, rooms = _texts(file, "sceneTypes"), _texts(file, "scenes")
    except SignalError as error:
        raise UsageError(f"{path} is not NYU's file, or is cut ({error}); fetch it again") from error
    if len(kinds) != count or len(rooms) != count:
        raise UsageError(
            f"{path} has {count} images, {len(kinds)} sceneTypes, {len(rooms)} scenes; fetch it again"
        )
    return [f"{number:04d}-{room or 'scene'}" for number, room in enumerate(rooms)], kinds


def _splits(path: Path) -> dict[int, str]:
    """Picture, from 0 → split; the file counts from 1."""
    train, test = numbers(path, ("trainNdxs", "testNdxs"))
    return {
        int(number) - 1: split
        for split, found in (("train", train), ("test", test))
        for number in found.reshape(-1)
    }


SOURCE = Source(
    name="nyuv2",
    layout=f"{FILE} of NYU Depth v2, {SPLITS} beside it",
    modalities=depth_signals.MODALITIES,
    detect=detect,
    items=items,
    options=(DEPTH, scenes.CAPTION, scenes.CLASSES),
    names_files=False,
)
