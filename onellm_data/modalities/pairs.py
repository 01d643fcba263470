"""What depth and normal share: a picture and a map of the same view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities import drawing
from onellm_data.modalities.base import Options
from onellm_data.modalities.pictures import normalised, random_crop, resize_and_crop

if TYPE_CHECKING:
    from PIL import Image

ASPECT_TOLERANCE = 0.02
"""Share by which the two aspect ratios may differ: what rounding to pixels does to small maps."""

ASPECT = "aspect ratios differ"
DRAWN_SIZE = 240


def check_aspect(rgb: np.ndarray, pixels: np.ndarray) -> None:
    """Refuse a map that cannot show the same view as its picture.

    A map that was computed on the centre square, say, would lie askew over a wide picture.

    Raises:
        SignalError: The aspect ratios differ by more than 2 %.
    """
    (height, width), (map_height, map_width) = rgb.shape[:2], pixels.shape[:2]
    if abs(width * map_height / (height * map_width) - 1) > ASPECT_TOLERANCE:
        raise SignalError(
            ASPECT,
            f"the picture has {width} × {height} pixels, its map {map_width} × {map_height}; "
            "expected the same view, uncropped",
        )


def pair_input(rgb: np.ndarray, shown: np.ndarray, options: Options) -> np.ndarray:
    """Picture and map, each through CLIP's preprocessing.

    Args:
        rgb: uint8 ``[H, W, 3]``.
        shown: The map as a picture, uint8 ``[h, w, 3]`` of the same aspect ratio.
        options: ``size``, ``mean``, ``std`` as for a picture.

    Returns:
        float32 ``[2, 3, size, size]``: the picture, then the map.
    """
    squares = [resize_and_crop(pixels, options["size"]) for pixels in (rgb, shown)]
    return normalised(np.stack(squares), options)


def augment(planes: np.ndarray, options: Options, rng: np.random.Generator) -> np.ndarray:
    """A random crop of 90 to 100 % of the input, the same for picture and map; for training."""
    return random_crop(planes, rng)


def draw_pair(rgb: np.ndarray, shown: np.ndarray, title: str) -> Image.Image:
    """Picture and map side by side."""
    pictures = ((rgb, "picture"), (shown, title))
    return drawing.row(
        [drawing.titled(drawing.thumbnail(pixels, DRAWN_SIZE), name) for pixels, name in pictures]
    )
