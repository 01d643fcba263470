"""Small pictures of signals for a person: curves, maps, frames, with a title on each.

Only Pillow and NumPy, so that a contact sheet needs no plotting package and no screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import require

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw

INK, GRID, PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)
CURVE_COLORS = ((213, 94, 0), (0, 114, 178), (0, 158, 115))
"""Vermilion, blue and green of the Okabe-Ito palette: told apart by colour-blind eyes."""

MARGIN = 4
TITLE_HEIGHT = 18
FONT_SIZE = 12

_SEQUENTIAL = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_DIVERGING = ((5, 48, 97), (67, 147, 195), (247, 247, 247), (214, 96, 77), (103, 0, 31))


def _blank(width: int, height: int) -> tuple[Image.Image, ImageDraw]:
    """A white picture and something to draw on it with."""
    picture = require("PIL.Image", "image").new("RGB", (width, height), PAPER)
    return picture, require("PIL.ImageDraw", "image").Draw(picture)


def _write(draw: ImageDraw, at: tuple[float, float], text: str, anchor: str = "la") -> None:
    """Write small dark text."""
    font = require("PIL.ImageFont", "image").load_default(size=FONT_SIZE)
    draw.text(at, text, fill=INK, font=font, anchor=anchor)


def from_array(pixels: np.ndarray, size: tuple[int, int] | None = None) -> Image.Image:
    """uint8 ``[H, W, 3]`` as a picture, scaled to ``size`` (width, height) without smoothing."""
    picture = require("PIL.Image", "image").fromarray(np.ascontiguousarray(pixels))
    return picture if size is None else picture.resize(size, resample=0)


def thumbnail(pixels: np.ndarray, longest: int) -> Image.Image:
    """uint8 ``[H, W, 3]`` as a picture whose longer side has at most ``longest`` pixels."""
    picture = from_array(pixels)
    picture.thumbnail((longest, longest), reducing_gap=2.0)
    return picture


def titled(picture: Image.Image, title: str) -> Image.Image:
    """The picture under a line of text."""
    sheet, draw = _blank(picture.width, picture.height + TITLE_HEIGHT)
    _write(draw, (2, 2), title)
    sheet.paste(picture, (0, TITLE_HEIGHT))
    return sheet


def stack(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other."""
    width = max(picture.width for picture in pictures)
    sheet, _ = _blank(width, sum(picture.height for picture in pictures) + MARGIN * (len(pictures) - 1))
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + MARGIN
    return sheet


def row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures side by side."""
    height = max(picture.height for picture in pictures)
    sheet, _ = _blank(sum(picture.width for picture in pictures) + MARGIN * (len(pictures) - 1), height)
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + MARGIN
    return sheet


def colored(values: np.ndarray, low: float, high: float, *, diverging: bool = False) -> np.ndarray:
    """Colours for numbers: uint8 ``[…, 3]`` for ``[…]``, clipped to ``low`` … ``high``."""
    anchors = np.array(_DIVERGING if diverging else _SEQUENTIAL, dtype=np.float64)
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    stops = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(share, stops, channel) for channel in anchors.T], axis=-1).astype(np.uint8)


def curves(values: np.ndarray, title: str, names: Sequence[str], span: float) -> Image.Image:
    """Curves over time in one frame, with a legend and the axes' limits.

    Args:
        values: ``[C, N]``, C at most 3.
        title: What is drawn, with its unit.
        names: One for each curve.
        span: Seconds from the first to the last sample.
    """
    left, right, top, bottom = 46, 472, TITLE_HEIGHT, 140
    picture, draw = _blank(480, 160)
    low, high = _limits(values)
    draw.rectangle((left, top, right, bottom), outline=GRID)
    if low < 0 < high:
        zero = bottom + low / (high - low) * (bottom - top)
        draw.line((left, zero, right, zero), fill=GRID)
    for curve, color in zip(values, CURVE_COLORS, strict=False):
        x, y = _envelope(curve, right - left)
        points = zip(
            left + x * (right - left), bottom - (y - low) / (high - low) * (bottom - top), strict=True
        )
        draw.line(list(points), fill=color, width=1)
    _write(draw, (left, 2), title)
    for place, (name, color) in enumerate(zip(names, CURVE_COLORS, strict=False)):
        x_name = right - 40 * (len(names) - place)
        draw.line((x_name, 9, x_name + 14, 9), fill=color, width=3)
        _write(draw, (x_name + 18, 2), name)
    _write(draw, (left - 4, top), f"{high:.3g}", "ra")
    _write(draw, (left - 4, bottom), f"{low:.3g}", "rd")
    _write(draw, (left, bottom + 3), "0 s")
    _write(draw, (right, bottom + 3), f"{span:.3g} s", "ra")
    return picture


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value; a flat signal gets room around it."""
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or max(abs(low) * 0.1, 1e-3)
    return low - room, high + room


def _envelope(curve: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Abscissae (0 to 1) and ordinates; a long curve becomes lowest and highest value for each pixel."""
    if len(curve) <= 2 * width:
        return np.linspace(0, 1, len(curve)), curve
    parts = np.array_split(curve, width)
    y = np.array([limit for part in parts for limit in (part.min(), part.max())])
    return np.repeat(np.linspace(0, 1, width), 2), y
