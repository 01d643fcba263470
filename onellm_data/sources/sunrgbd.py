"""SUN RGB-D: 10,335 pictures of rooms with depth, a folder for each.

Source of the layout: https://rgbd.cs.princeton.edu (Song et al. 2015).  Depth is a PNG of 16 bits whose
numbers are millimetres with their bits rotated to the left by three.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities.decoding import WRONG_SHAPE, decoding, read_bounded
from onellm_data.modalities.geometry import Intrinsics
from onellm_data.modalities.pictures import read_picture, rgb_array
from onellm_data.options import Option
from onellm_data.sources import depth_signals, scenes
from onellm_data.sources.base import Item, Reject, Source
from onellm_data.sources.folder import NO_CAPTION, WRONG_VALUE
from onellm_data.sources.inside import MISSING_FILE, inside, is_inside
from onellm_data.sources.mat_files import read_mat, texts

TOP = "SUNRGBD"
CAMERAS = ("kv1", "kv2", "realsense", "xtion")
SPLITS = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"

FARTHEST = 8000
"""Millimetres beyond which the sensors tell nothing; the toolbox of SUN RGB-D cuts there, too."""

MAX_SMALL_FILE = 4096

DEPTH = Option(
    "sun_depth",
    "Which depth maps: depth_bfx (holes filled in) or depth (as measured).",
    "depth_bfx",
    ("depth_bfx", "depth"),
)


def millimetres(rotated: np.ndarray) -> np.ndarray:
    """Depth from the numbers of a file: uint16 ``[h, w]``, 0 where unknown, at most 8 m."""
    return np.minimum((rotated >> np.uint16(3)) | (rotated << np.uint16(13)), FARTHEST).astype(np.uint16)


@dataclass(frozen=True)
class Pair:
    """Reads one picture with its depth."""

    rgb: Path
    depth: Path
    intrinsics: Path
    modality: str

    @property
    def where(self) -> str:
        """The two files."""
        return f"{self.rgb} {self.depth}"

    def read(self) -> object:
        """The canonical signal: a pair with depth, or with normals."""
        with decoding(self.rgb, "a picture"):
            rgb = rgb_array(read_picture(self.rgb))
        with decoding(self.depth, "a depth map of 16 bits"):
            picture = read_picture(self.depth)
            if picture.mode != "I;16":
                raise SignalError(WRONG_SHAPE, f"a picture of mode '{picture.mode}'")
            steps = millimetres(np.asarray(picture).astype(np.uint16))
        return depth_signals.signal(self.modality, rgb, steps, _camera(self.intrinsics))


def _camera(path: Path) -> Intrinsics:
    """The camera from ``intrinsics.txt``: a matrix of three rows, focal lengths on its diagonal."""
    with decoding(path, "nine numbers, the camera's matrix"):
        numbers = [float(word) for word in read_bounded(path, MAX_SMALL_FILE).split()]
        if len(numbers) != 9 or not np.isfinite(numbers).all() or min(numbers[0], numbers[4]) <= 0:
            raise SignalError(WRONG_VALUE, f"got {numbers}")
    return Intrinsics(fx=numbers[0], fy=numbers[4], cx=numbers[2], cy=numbers[5])


def _top(src: Path) -> Path | None:
    """The folder with the cameras' folders: ``src``, or ``SUNRGBD`` in it."""
    root = os.path.realpath(src)
    for folder in (src, src / TOP):
        has_cameras = any((folder / camera).is_dir() for camera in CAMERAS)
        if has_cameras and is_inside(root, os.path.realpath(folder)):
            return folder
    return None


def detect(src: Path, modality: str) -> str | None:
    """What of this layout is in ``src``."""
    top = _top(src)
    first = next(_scenes(os.path.realpath(top)), None) if top else None
    return f"SUN RGB-D: {first} and others" if first else None


def _scenes(top: str) -> Iterator[str]:
    """Folders of scenes, relative to ``top``, in the order of their names."""
    for camera in CAMERAS:
        for folder, subfolders, files in os.walk(os.path.join(top, camera)):
            subfolders.sort()
            if "scene.txt" in files or "image" in subfolders:
                subfolders.clear()
                yield os.path.relpath(folder, top)


def items(
    src: Path,
    modality: str,
    sun_depth: str = DEPTH.default,
    caption: str = scenes.CAPTION.default,
    scene_classes: str = scenes.CLASSES.default,
) -> Iterator[Item | Reject]:
    """Scenes in the order of their folders.

    Raises:
        UsageError: There are no such folders, or the file of splits is damaged.
    """
    scenes.check_template(caption)
    top = _top(src)
    if top is None:
        raise UsageError(f"there are no folders {', '.join(CAMERAS)} in {src}; expected {SOURCE.layout}")
    root = os.path.realpath(top)
    split_of = _splits(src)
    for name in _scenes(root):
        split = split_of.get(name)
        try:
            kind = _kind(root, name)
            if scene_classes == "benchmark":
                kind = scenes.sun_class(kind)
            text = scenes.caption(caption, kind)
            pair = Pair(
                _only(root, f"{name}/image"),
                _only(root, f"{name}/{sun_depth}"),
                inside(root, f"{name}/intrinsics.txt"),
                modality,
            )
        except SignalError as error:
            yield Reject(name, os.path.join(root, name), error.reason, error.detail, split)
            continue
        meta = {"scene": kind, **depth_signals.meta(modality)}
        yield Item(name, {modality: pair}, (text,), split=split, meta=meta)


def _kind(root: str, name: str) -> str:
    """The first line of ``scene.txt``."""
    path = inside(root, f"{name}/scene.txt")
    with decoding(path, "the kind of scene"):
        lines = read_bounded(path, MAX_SMALL_FILE).decode().split("\n")
    kind = lines[0].strip()
    if not kind:
        raise SignalError(NO_CAPTION, "scene.txt is blank")
    return kind


def _only(root: str, folder: str) -> Path:
    """The one file of a folder."""
    path = os.path.join(root, folder)
    names = (
        sorted(name for name in os.listdir(path) if not name.startswith(".")) if os.path.isdir(path) else []
    )
    if len(names) != 1:
        raise SignalError(MISSING_FILE, f"{folder} has {len(names)} files, expected one")
    return inside(root, f"{folder}/{names[0]}")


def _splits(src: Path) -> dict[str, str]:
    """Scene → split, if the toolbox is beside the pictures; its paths begin on the authors' disk."""
    path = next((base / SPLITS for base in (src, src.parent) if (base / SPLITS).is_file()), None)
    if path is None:
        return {}
    arrays = read_mat(path, ("alltrain", "alltest"))
    return {
        text.partition(f"/{TOP}/")[2].strip("/"): split
        for split, name in (("train", "alltrain"), ("test", "alltest"))
        for text in texts(arrays[name])
    }


SOURCE = Source(
    name="sunrgbd",
    layout=f"{TOP}/kv1/…/{{scene}}/ with image, depth_bfx, intrinsics.txt, scene.txt ({SPLITS} beside it)",
    modalities=depth_signals.MODALITIES,
    detect=detect,
    items=items,
    options=(DEPTH, scenes.CAPTION, scenes.CLASSES),
    names_files=False,
)
