"""A look at a prepared folder as one PNG: histograms, and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import require
from onellm_data.modalities.drawing import CURVE_COLORS, GRID, INK, MARGIN, PAPER
from onellm_data.shards.figures import Drawing, Figures

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont

WIDTH = 1000
BINS = 24

_FONT_SIZE, _LINE = 13, 17
_HISTOGRAM = (324, 130)
_CELL = (492, 330)
"""Most pixels of one drawing; smaller ones stay as they are."""

_TEXT_LINES = 2


def write_png(figures: Figures, path: Path) -> None:
    """Write the sheet."""
    sheet(figures).save(path, "PNG", optimize=True)


def sheet(figures: Figures) -> Image.Image:
    """The whole sheet, ``WIDTH`` pixels wide."""
    rows = [_text([figures.title, figures.looked_at], WIDTH)]
    rows += _flow(histogram(title, values) for title, values in figures.histograms.items())
    for modality in dict.fromkeys(drawing.modality for drawing in figures.drawings):
        rows += [_text([modality], WIDTH)]
        rows += _flow(_cell(drawing) for drawing in figures.drawings if drawing.modality == modality)
    return _stacked(rows)


def histogram(title: str, values: Sequence[float]) -> Image.Image:
    """Bars for how many values lie where; whole numbers get bars of their own if they are few."""
    width, height = _HISTOGRAM
    picture = _blank(width, height)
    draw = require("PIL.ImageDraw", "image").Draw(picture)
    counts, _ = np.histogram(values, bins=_bins(values))
    left, right, top, bottom = 8, width - 8, _LINE + 4, height - _LINE - 2
    step = (right - left) / len(counts)
    for place, count in enumerate(counts):
        if count:
            bar = (bottom - top) * count / counts.max()
            x = left + place * step
            draw.rectangle((x, bottom - max(bar, 1), x + max(step - 2, 1), bottom), fill=CURVE_COLORS[1])
    draw.line((left, bottom, right, bottom), fill=GRID)
    draw.text((left, 1), _fitted(title, width), fill=INK, font=_font())
    draw.text((left, bottom + 2), f"{min(values):,.6g}", fill=INK, font=_font())
    draw.text((right, bottom + 2), f"{max(values):,.6g}", fill=INK, font=_font(), anchor="ra")
    middle = f"median {np.median(values):,.6g}"
    draw.text((width / 2, bottom + 2), middle, fill=INK, font=_font(), anchor="ma")
    return picture


def _bins(values: Sequence[float]) -> np.ndarray:
    """Edges of the bars."""
    low, high = min(values), max(values)
    if all(float(value).is_integer() for value in values) and high - low < BINS:
        return np.arange(low, high + 2) - 0.5
    return np.linspace(low, high, BINS + 1)


def _cell(drawing: Drawing) -> Image.Image:
    """A drawing over its texts."""
    picture = drawing.picture.convert("RGB")
    picture.thumbnail(_CELL)
    texts = " · ".join(drawing.texts)
    return _stacked([picture, _text(_wrapped(texts, max(picture.width, 200)), max(picture.width, 200))])


def _wrapped(text: str, width: int) -> list[str]:
    """The first lines of a text; what does not fit ends in three dots."""
    lines: list[str] = []
    words = printable(text).split()
    while words and len(lines) < _TEXT_LINES:
        count = next((n for n in range(len(words), 1, -1) if _width(" ".join(words[:n])) <= width), 1)
        lines.append(_fitted(" ".join(words[:count]), width))
        words = words[count:]
    if words:
        lines[-1] = _fitted(lines[-1] + " …", width, always=True)
    return lines


def printable(text: str) -> str:
    """The text in one line, without what steers a terminal or a renderer."""
    return "".join(char if char.isprintable() else " " for char in text)


def _fitted(text: str, width: int, always: bool = False) -> str:
    """The text, cut to ``width`` pixels."""
    text = text[:500]
    if _width(text) <= width:
        return text
    body = text.removesuffix(" …") if always else text
    while body and _width(body + "…") > width:
        body = body[:-1]
    return body + "…"


def _width(text: str) -> float:
    return float(_font().getlength(text[:500]))


def _text(lines: Sequence[str], width: int) -> Image.Image:
    picture = _blank(width, _LINE * len(lines) + 2)
    draw = require("PIL.ImageDraw", "image").Draw(picture)
    for place, line in enumerate(lines):
        draw.text((2, _LINE * place), _fitted(printable(line), width), fill=INK, font=_font())
    return picture


def _font() -> FreeTypeFont:
    return require("PIL.ImageFont", "image").load_default(size=_FONT_SIZE)


def _flow(pictures: Iterable[Image.Image]) -> list[Image.Image]:
    """Pictures side by side, in as many rows as they need."""
    rows: list[list[Image.Image]] = [[]]
    for picture in pictures:
        if sum(one.width + 2 * MARGIN for one in rows[-1]) + picture.width > WIDTH and rows[-1]:
            rows.append([])
        rows[-1].append(picture)
    return [_beside(row) for row in rows if row]


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    row = _blank(WIDTH, max(picture.height for picture in pictures))
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + 2 * MARGIN
    return row


def _stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    width = max(picture.width for picture in pictures)
    stack = _blank(width, sum(picture.height + MARGIN for picture in pictures))
    top = 0
    for picture in pictures:
        stack.paste(picture, (0, top))
        top += picture.height + MARGIN
    return stack


def _blank(width: int, height: int) -> Image.Image:
    return require("PIL.Image", "image").new("RGB", (width, height), PAPER)
