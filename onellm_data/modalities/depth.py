"""Depth maps beside their pictures: metric in millimetres, or relative as they are.

Source of the figures: OneLLM (arXiv 2312.03700) feeds the picture and the map as two frames of
CLIP's preprocessing and averages their features; its maps were relative, near ones bright.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities import drawing, pairs
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import WRONG_SHAPE, decoding, read_array
from onellm_data.modalities.pictures import (
    PICTURE_OPTIONS,
    SUFFIXES,
    open_picture,
    png_bytes,
    read_picture,
    rgb_array,
    upright,
)
from onellm_data.modalities.tokenizer_specs import PatchSpec

if TYPE_CHECKING:
    from PIL import Image

METRES_PER_STEP = 0.001
MAX_STEP = 65_535
"""Depth is kept in whole millimetres of 16 bits, so up to 65.535 m; 0 is where nothing was measured."""

SHOWN_PERCENTILES = (1, 99)
"""Depths that become white and black: sensors have a few wild values at both ends."""

NO_DEPTH = "no depth measured"


@dataclass(frozen=True, eq=False)
class DepthPair:
    """A picture and the depth of the same view.

    Attributes:
        rgb: uint8 ``[H, W, 3]``.
        depth: uint16 ``[h, w]``, millimetres, 0 where unknown; or, for a relative map, uint8
            ``[h, w]`` or ``[h, w, 3]`` as it was.

    Raises:
        SignalError: The aspect ratios differ, or no depth was measured.
    """

    rgb: np.ndarray
    depth: np.ndarray

    def __post_init__(self) -> None:
        pairs.check_aspect(self.rgb, self.depth)
        if self.scale and not self.depth.any():
            raise SignalError(NO_DEPTH, "every pixel of the depth map is 0")

    @property
    def scale(self) -> float | None:
        """Metres of one step of ``depth``; None for a relative map."""
        return METRES_PER_STEP if self.depth.dtype == np.uint16 else None


def read(paths: Sequence[Path]) -> DepthPair:
    """Read a picture and its depth map.

    A 16-bit picture holds millimetres; floating point (``.npy``, ``.npz``, TIFF) holds metres;
    an 8-bit picture, grey or coloured, is a relative map.

    Args:
        paths: The picture's file, the map's file.

    Raises:
        SignalError: A file does not hold what it should, or the two do not fit.
    """
    picture, depth = paths
    with decoding(picture, "a picture"):
        rgb = rgb_array(read_picture(picture))
    with decoding(depth, "a depth map"):
        if depth.suffix.lower() in (".npy", ".npz"):
            return DepthPair(rgb, from_array(read_array(depth, ("depth", "arr_0"))))
        return DepthPair(rgb, _pixels(read_picture(depth)))


def from_array(array: np.ndarray) -> np.ndarray:
    """A depth map from numbers.

    Args:
        array: ``[h, w]``: floating point in metres (NaN, infinite or below 0 where unknown), uint16
            in millimetres, or uint8 for a relative map.

    Returns:
        uint16 or uint8 ``[h, w]``.

    Raises:
        SignalError: Another shape or type.
    """
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    whole = array.dtype in (np.uint8, np.uint16)
    if array.ndim != 2 or 0 in array.shape or not (whole or array.dtype.kind == "f"):
        raise SignalError(WRONG_SHAPE, f"{array.dtype} {array.shape}; expected a map [h, w] in metres")
    if whole:
        return array
    with np.errstate(over="ignore"):
        steps = np.round(array.astype(np.float64) / METRES_PER_STEP)
    known = np.isfinite(steps) & (steps > 0)
    return np.where(known, np.minimum(steps, MAX_STEP), 0).astype(np.uint16)


def _pixels(picture: Image.Image) -> np.ndarray:
    """The map in a picture: uint16 for 16-bit and floating point pixels, else uint8."""
    picture = upright(picture)
    if picture.mode == "F":
        return from_array(np.asarray(picture))
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return np.clip(np.asarray(picture), 0, MAX_STEP).astype(np.uint16)
    if picture.mode in ("1", "L", "LA"):
        return np.asarray(picture.convert("L"))
    return rgb_array(picture)


def shown(pair: DepthPair) -> np.ndarray:
    """The map as a picture: uint8 ``[h, w, 3]``.

    Metric depth runs from white (near) to black (far) between the 1st and the 99th percentile
    of what was measured, and black where nothing was.  A relative map stays as it is.
    """
    depth = pair.depth
    if pair.scale:
        known = depth > 0
        near, far = np.percentile(depth[known], SHOWN_PERCENTILES)
        nearness = np.clip((far - depth) / max(far - near, 1), 0, 1) if far > near else np.ones(depth.shape)
        depth = np.where(known, np.round(nearness * 255), 0).astype(np.uint8)
    return depth if depth.ndim == 3 else np.repeat(depth[..., None], 3, axis=-1)


def to_input(signal: DepthPair, options: Options) -> np.ndarray:
    """Picture and map, each through CLIP's preprocessing: float32 ``[2, 3, size, size]``."""
    return pairs.pair_input(signal.rgb, shown(signal), options)


def store(signal: DepthPair) -> dict[str, bytes]:
    """Two PNG files, the metric map one of 16 bits: nothing is lost."""
    return {"rgb.png": png_bytes(signal.rgb), "depth.png": png_bytes(signal.depth)}


def load(members: Mapping[str, bytes]) -> DepthPair:
    """The inverse of ``store``."""
    with decoding("shard member", "a picture and its depth map"):
        rgb = rgb_array(open_picture(members["rgb.png"]))
        return DepthPair(rgb, _pixels(open_picture(members["depth.png"])))


def draw(signal: DepthPair) -> Image.Image:
    """Picture and map side by side; metric depth in colours, near ones bright, with its range."""
    if not signal.scale:
        return pairs.draw_pair(signal.rgb, shown(signal), "relative depth")
    metres = signal.depth[signal.depth > 0] * signal.scale
    near, far = np.percentile(metres, SHOWN_PERCENTILES)
    colors = drawing.colored(shown(signal)[..., 0], 0, 255)
    colors[signal.depth == 0] = 0
    return pairs.draw_pair(signal.rgb, colors, f"depth, {near:.2f} to {far:.2f} m")


def facts(signal: DepthPair) -> dict[str, float | None]:
    """The scale of the stored map: metres of one step, None if it is relative."""
    return {"scale": signal.scale}


MODALITY = Modality(
    name="depth",
    title="depth map",
    contract=SignalContract(
        shape="[H, W, 3] and [h, w] of the same aspect ratio",
        dtype="uint8 and uint16 (metric) or uint8 (relative)",
        axes="row (top first), column, colour (R, G, B)",
        units="sRGB; millimetres, 0 where unknown (metric), or none (relative)",
    ),
    extra="depth",
    parts=("rgb", "depth"),
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
    facts=facts,
)
