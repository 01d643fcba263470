"""Media files made here, and running a source alone or as a part of ``prepare``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onellm_data import sources
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.records import Record
from onellm_data.shards.reader import ShardReader, load_manifest
from onellm_data.sources.base import Item, Reject

Told = list[tuple[str, ...]]


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """An empty folder for raw data."""
    folder = tmp_path / "src"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def picture_bytes() -> Callable[..., bytes]:
    """A picture file of one colour, ``level`` 0 to 255; grey with ``mode="L"``."""

    def make(
        level: int = 128, kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (24, 16)
    ) -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size, level if mode == "L" else (level, level, level)).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def write_film() -> Callable[..., Path]:
    """Write a grey film of 10 frames a second with FFmpeg; its ending says the container."""
    av = pytest.importorskip("av")

    def write(path: Path, seconds: float = 2.0, width: int = 64, height: int = 48) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(round(seconds * 10)):
                pixels = np.full((height, width, 3), 20 + 4 * number % 200, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def told() -> Callable[..., Told]:
    """What a source says of a folder: (name, reason) of rejects, (name, captions or turns …) of items."""

    def tell(name: str, src: Path, modality: str, **options: Any) -> Told:
        items = list(sources.get(name).items(src, modality, **options))
        assert items == list(sources.get(name).items(src, modality, **options)), (
            "another order the second time"
        )
        return [
            (one.name, one.reason)
            if isinstance(one, Reject)
            else (one.name, *one.captions, *(f"{turn.role}: {turn.text}" for turn in one.conversations))
            for one in items
        ]

    return tell


@pytest.fixture
def item_named() -> Callable[..., Item]:
    """The item of a source with a certain name."""

    def find(name: str, src: Path, modality: str, wanted: str, **options: Any) -> Item:
        found = [one for one in sources.get(name).items(src, modality, **options) if one.name == wanted]
        (item,) = found
        assert isinstance(item, Item), item
        return item

    return find


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., tuple[dict[str, list[Record]], dict[str, str]]]:
    """Recognise and prepare a folder: records of each split, and what was rejected → why.

    Items read are counted up; the recognised format must be the one that is named.
    """

    def run(name: str, src: Path, modality: str) -> tuple[dict[str, list[Record]], dict[str, str]]:
        out = tmp_path / f"out-{modality}"
        assert sources.choose("auto", src, modality)[0].name == name
        report = prepare(PrepareOptions(modality=modality, src=src, out=out, workers=1))
        assert report.source == name
        manifest = load_manifest(out)
        records = {split: list(ShardReader(out, split)) for split in manifest.splits}
        rows = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
        kept = sum(map(len, records.values()))
        assert (manifest.read, manifest.kept) == (kept + len(rows), kept)
        return records, {row["what"]: row["why"] for row in rows}

    return run
