"""A look at a prepared folder as one HTML file that needs nothing else and loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from onellm_data.shards.figures import Drawing, Figures
from onellm_data.shards.sheet import histogram, printable

if TYPE_CHECKING:
    from PIL import Image

MAX_TEXT = 2000
"""Characters of one text that are shown."""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; color: #282828; margin: 2em auto; max-width: 1100px; padding: 0 1em }}
div {{ display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-start }}
figure {{ margin: 0; max-width: 100% }}
img {{ max-width: 100% }}
figcaption {{ max-width: 34em; overflow-wrap: anywhere }}
code {{ color: #666 }}
ul {{ margin: 0; padding-left: 1.2em }}
</style></head><body>
<h1>{title}</h1>
"""


def write_html(figures: Figures, path: Path) -> None:
    """Write the page."""
    path.write_text("\n".join(_page(figures)), encoding="utf-8", errors="replace")


def _page(figures: Figures) -> Iterator[str]:
    yield _HEAD.format(title=escape(printable(figures.title)))
    yield f"<p>{escape(figures.looked_at)}</p>\n<div>"
    for title, values in figures.histograms.items():
        yield _image(histogram(title, values), title)
    yield "</div>"
    for modality in dict.fromkeys(drawing.modality for drawing in figures.drawings):
        yield f"<h2>{escape(modality)}</h2>\n<div>"
        yield from (_figure(drawing) for drawing in figures.drawings if drawing.modality == modality)
        yield "</div>"
    yield "</body></html>\n"


def _figure(drawing: Drawing) -> str:
    texts = "".join(f"<li>{escape(printable(text[:MAX_TEXT]))}</li>" for text in drawing.texts)
    told = f"<code>{escape(printable(f'{drawing.split} {drawing.key}'))}</code><ul>{texts}</ul>"
    return f"<figure>{_image(drawing.picture, drawing.key)}<figcaption>{told}</figcaption></figure>"


def _image(picture: Image.Image, title: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(printable(title))}" src="data:image/png;base64,{data}">'
