"""Pictures shared by image, video, depth and normal: decoding, CLIP's preprocessing, encoding."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onellm_data.errors import SignalError, require
from onellm_data.modalities.base import Options
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE, WRONG_SHAPE, read_bounded

if TYPE_CHECKING:
    from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of CLIP's training pictures, RGB in 0 to 1 (Radford et al. 2021, released code)."""

PICTURE_OPTIONS: Options = {"size": 224, "mean": list(CLIP_MEAN), "std": list(CLIP_STD)}
"""Preprocessing of CLIP ViT-L/14 at 224 pixels."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names of the same.  Its other formats stay closed: EPS, for one, starts Ghostscript."""

MAX_PIXELS = 100_000_000
MAX_ASPECT = 100
MAX_FILE_BYTES = 512 * 2**20
EXIF_ORIENTATION = 0x0112

CROP_AREA = (0.9, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
"""The training crop of OneLLM: share of the picture's area, width over height, tries."""


def open_picture(data: bytes) -> Image.Image:
    """Look at a picture's header; nothing is unpacked yet.

    Raises:
        SignalError: No picture, more pixels than ``MAX_PIXELS``, or a ribbon longer than ``MAX_ASPECT``.
        OSError, ValueError, SyntaxError: A damaged header.
    """
    pil = require("PIL.Image", "image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pil.DecompressionBombWarning)  # ours is the error below
        try:
            picture = pil.open(io.BytesIO(data), formats=FORMATS)
        except pil.DecompressionBombError as error:
            raise SignalError(TOO_LARGE, str(error)) from error
        except pil.UnidentifiedImageError as error:
            raise SignalError(
                UNREADABLE, f"expected a picture of a known kind ({', '.join(FORMATS)})"
            ) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise SignalError(
            TOO_LARGE, f"{picture.width} × {picture.height} pixels; at most {MAX_PIXELS:,} are unpacked"
        )
    if max(picture.size) > MAX_ASPECT * min(picture.size):
        raise SignalError(
            WRONG_SHAPE,
            f"{picture.width} × {picture.height} pixels; one side may be {MAX_ASPECT} times the other",
        )
    return picture


def read_picture(path: Path) -> Image.Image:
    """Open the picture in a file (see ``open_picture``)."""
    return open_picture(read_bounded(path, MAX_FILE_BYTES))


def upright(picture: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says that it is to be seen."""
    return require("PIL.ImageOps", "image").exif_transpose(picture)


def rgb_array(picture: Image.Image) -> np.ndarray:
    """uint8 ``[H, W, 3]`` RGB of any picture: upright, transparency on white, 16 bits cut to 8.

    Raises:
        SignalError: Floating point or 32-bit pixels, which have no defined white.
        OSError, ValueError, …: The data is damaged.
    """
    picture = upright(picture)
    if picture.mode.startswith("I;16"):
        return np.repeat((np.asarray(picture) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if picture.mode in ("I", "F"):
        raise SignalError(UNREADABLE, f"pixels of mode '{picture.mode}'; expected 8 or 16 bits a channel")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = require("PIL.Image", "image").new("RGBA", picture.size, "white")
        picture = require("PIL.Image", "image").alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def png_bytes(pixels: np.ndarray) -> bytes:
    """A picture as PNG: uint8 ``[H, W, 3]``, uint8 ``[H, W]`` or uint16 ``[H, W]``; nothing is lost."""
    buffer = io.BytesIO()
    require("PIL.Image", "image").fromarray(np.ascontiguousarray(pixels)).save(
        buffer, "PNG", compress_level=4
    )
    return buffer.getvalue()


def jpeg_bytes(pixels: np.ndarray) -> bytes:
    """uint8 ``[H, W, 3]`` as JPEG of quality 95 without colour subsampling."""
    buffer = io.BytesIO()
    picture = require("PIL.Image", "image").fromarray(np.ascontiguousarray(pixels))
    picture.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def shape_for_clip(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width once the shorter side is ``size``; the longer is rounded down, as CLIP does."""
    short = min(height, width)
    return size * height // short, size * width // short


def resize_and_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """CLIP's view: short side to ``size`` (Pillow's antialiased bicubic), then the centre square.

    Pixel for pixel what torchvision's ``Resize`` and ``CenterCrop`` make of a Pillow picture.

    Args:
        pixels: uint8 ``[H, W, 3]``.
        size: Pixels of the square's side.

    Returns:
        uint8 ``[size, size, 3]``.
    """
    pil = require("PIL.Image", "image")
    height, width = pixels.shape[:2]
    tall, wide = shape_for_clip(height, width, size)
    scaled = np.asarray(pil.fromarray(pixels).resize((wide, tall), pil.Resampling.BICUBIC))
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    return scaled[top : top + size, left : left + size]


def normalised(pixels: np.ndarray, options: Options) -> np.ndarray:
    """uint8 ``[…, H, W, 3]`` → float32 ``[…, 3, H, W]``: 0 to 1, minus ``mean``, over ``std``."""
    mean, std = (np.asarray(options[key], dtype=np.float32) for key in ("mean", "std"))
    scaled = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def random_crop(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random part of a square model input, back at its size: the training crop of OneLLM.

    Area and ratio are drawn as ``CROP_AREA`` and ``CROP_RATIO`` say (ratio on a logarithmic
    scale); all planes are cropped alike.

    Args:
        planes: float32 ``[…, S, S]``.
        rng: Draws the crop.

    Returns:
        float32 of the same shape.
    """
    pil = require("PIL.Image", "image")
    size = planes.shape[-1]
    box = _crop_box(size, rng)
    flat = [
        np.asarray(pil.fromarray(plane).resize((size, size), pil.Resampling.BICUBIC, box=box))
        for plane in planes.reshape(-1, size, size)
    ]
    return np.stack(flat).reshape(planes.shape)


def _crop_box(size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random crop; the whole square if no draw fits into it."""
    for _ in range(CROP_ATTEMPTS):
        area = size * size * rng.uniform(*CROP_AREA)
        ratio = np.exp(rng.uniform(*np.log(CROP_RATIO)))
        width, height = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if width <= size and height <= size:
            left, top = rng.integers(size - width + 1), rng.integers(size - height + 1)
            return int(left), int(top), int(left + width), int(top + height)
    return 0, 0, size, size


def only_member(members: Mapping[str, Any]) -> Any:
    """The value of a mapping that must have one.

    Raises:
        SignalError: There are none, or several.
    """
    if len(members) != 1:
        raise SignalError(UNREADABLE, f"the members {', '.join(members) or 'none'}; expected one picture")
    return next(iter(members.values()))
