"""Surface normal maps beside their pictures.

Source of the figures: OneLLM (arXiv 2312.03700) feeds the picture and the map as two frames of
CLIP's preprocessing and averages their features; its maps are those of Omnidata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities import depth, pairs
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import WRONG_SHAPE, decoding, read_array
from onellm_data.modalities.geometry import Intrinsics, normals_from_depth
from onellm_data.modalities.pictures import (
    PICTURE_OPTIONS,
    SUFFIXES,
    open_picture,
    png_bytes,
    read_picture,
    rgb_array,
)
from onellm_data.modalities.tokenizer_specs import PatchSpec
from onellm_data.options import Option

if TYPE_CHECKING:
    from PIL import Image

COLOR_MODES = ("RGB", "RGBA", "P", "YCbCr")
LENGTH_TOLERANCE = 0.01

RELATIVE = "relative depth"
NO_FOCAL = "no focal length"
FROM = Option(
    "normals_from", "What the second file is: a normal map, or a metric depth map.", "map", ("map", "depth")
)
FOCAL = Option("focal", "With --normals-from depth: the focal length in pixels of the depth map.", 0.0)


@dataclass(frozen=True, eq=False)
class NormalPair:
    """A picture and the surface normals of the same view.

    Attributes:
        rgb: uint8 ``[H, W, 3]``.
        normal: uint8 ``[h, w, 3]``; each component is ``round(255 · (n + 1) / 2)``.

    Raises:
        SignalError: The aspect ratios differ.
    """

    rgb: np.ndarray
    normal: np.ndarray

    def __post_init__(self) -> None:
        pairs.check_aspect(self.rgb, self.normal)


def read(paths: Sequence[Path], normals_from: str = "map", focal: float = 0.0) -> NormalPair:
    """Read a picture and its normal map.

    Args:
        paths: The picture's file; the map's file, a coloured picture, or ``.npy`` or ``.npz`` with
            components from -1 to 1.
        normals_from: ``depth`` if the second file is a metric depth map, from which normals are computed.
        focal: Focal length of the depth map, in its pixels.

    Raises:
        SignalError: A file does not hold what it should, or the two do not fit.
    """
    picture, normal = paths
    if normals_from == "depth":
        pair = depth.read(paths)
        if focal <= 0:
            raise SignalError(NO_FOCAL, f"got {focal:g}, expected pixels; {FOCAL.flag} tells it")
        return from_depth(pair, Intrinsics.centred(focal, *pair.depth.shape[:2]))
    with decoding(picture, "a picture"):
        rgb = rgb_array(read_picture(picture))
    with decoding(normal, "a normal map"):
        if normal.suffix.lower() in (".npy", ".npz"):
            return NormalPair(rgb, from_array(read_array(normal, ("normal", "arr_0"))))
        return NormalPair(rgb, _pixels(read_picture(normal)))


def from_depth(pair: depth.DepthPair, camera: Intrinsics) -> NormalPair:
    """Normals of a metric depth map; see ``geometry.normals_from_depth``.

    Raises:
        SignalError: The map is relative.
    """
    if pair.scale is None:
        raise SignalError(RELATIVE, "normals need a metric map: 16 bits in millimetres, or numbers in metres")
    return NormalPair(pair.rgb, from_array(normals_from_depth(pair.depth, camera)))


def from_array(array: np.ndarray) -> np.ndarray:
    """A normal map from components.

    Args:
        array: ``[h, w, 3]`` or ``[3, h, w]``: floating point from -1 to 1 (NaN where unknown), or
            uint8 as it is stored.

    Returns:
        uint8 ``[h, w, 3]``.

    Raises:
        SignalError: Another shape, or components beyond -1 to 1.
    """
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise SignalError(WRONG_SHAPE, f"an array of shape {array.shape}; expected [h, w, 3]")
    if array.dtype == np.uint8:
        return array
    if not np.nanmax(np.abs(array), initial=0) <= 1 + LENGTH_TOLERANCE:
        raise SignalError(WRONG_SHAPE, f"components up to {np.nanmax(np.abs(array)):g}; expected -1 to 1")
    components = np.clip(np.nan_to_num(array.astype(np.float64)), -1, 1)
    return np.round((components + 1) / 2 * 255).astype(np.uint8)


def _pixels(picture: Image.Image) -> np.ndarray:
    """The map in a picture, which must have colours."""
    if picture.mode not in COLOR_MODES:
        raise SignalError(WRONG_SHAPE, f"a picture of mode '{picture.mode}'; a normal map has three colours")
    return rgb_array(picture)


def to_input(signal: NormalPair, options: Options) -> np.ndarray:
    """Picture and map, each through CLIP's preprocessing: float32 ``[2, 3, size, size]``."""
    return pairs.pair_input(signal.rgb, signal.normal, options)


def store(signal: NormalPair) -> dict[str, bytes]:
    """Two PNG files: nothing is lost."""
    return {"rgb.png": png_bytes(signal.rgb), "normal.png": png_bytes(signal.normal)}


def load(members: Mapping[str, bytes]) -> NormalPair:
    """The inverse of ``store``."""
    with decoding("shard member", "a picture and its normal map"):
        return NormalPair(*(rgb_array(open_picture(members[name])) for name in ("rgb.png", "normal.png")))


def draw(signal: NormalPair) -> Image.Image:
    """Picture and map side by side."""
    return pairs.draw_pair(signal.rgb, signal.normal, "surface normals")


MODALITY = Modality(
    name="normal",
    title="surface normal map",
    contract=SignalContract(
        shape="[H, W, 3] and [h, w, 3] of the same aspect ratio",
        dtype="uint8",
        axes="row (top first), column, colour (R, G, B) or component (x, y, z)",
        units="sRGB; round(255 · (n + 1) / 2) for a component n from -1 to 1",
    ),
    extra="normal",
    parts=("rgb", "normal"),
    suffixes=(*SUFFIXES, ".npy", ".npz"),
    tokenizer=PatchSpec(),
    options=PICTURE_OPTIONS,
    input_shape=lambda options: (2, 3, options["size"], options["size"]),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
    augment=pairs.augment,
    read_options=(FROM, FOCAL),
)
