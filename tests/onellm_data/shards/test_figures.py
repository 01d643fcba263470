"""Looking at a prepared folder: figures, the contact sheet as PNG, the page as HTML."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onellm_data import modalities
from onellm_data.errors import UsageError
from onellm_data.modalities.depth import DepthPair
from onellm_data.modalities.normal import NormalPair
from onellm_data.records import Record, Turn
from onellm_data.shards import figures as module
from onellm_data.shards.figures import DRAWN, TEXT_ALONE, look
from onellm_data.shards.page import write_html
from onellm_data.shards.sheet import WIDTH, histogram, sheet, write_png
from onellm_data.shards.writer import ShardWriter

EVIL = '<script>alert("x")</script> & "quoted" \x1b[2J'


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records of each modality in two splits, and one of text alone."""
    rng = np.random.default_rng(3)

    def pixels(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 255, (height, width, 3), dtype=np.uint8)

    make: dict[str, Callable[[int], object]] = {
        "image": lambda n: pixels(30 + 10 * n, 40),
        "video": lambda n: np.stack([pixels(24, 32)] * 5),
        "audio": lambda n: (rng.integers(-9000, 9000, 16000 * (n + 1)) / 32768).astype(np.float32),
        "point": lambda n: rng.uniform(size=(50 + n, 6)).astype(np.float32),
        "depth": lambda n: DepthPair(pixels(20, 30), rng.integers(1, 5000, (20, 30)).astype(np.uint16)),
        "normal": lambda n: NormalPair(pixels(20, 30), pixels(40 * (n + 1) // 2, 60 * (n + 1) // 2)),
        "imu": lambda n: rng.normal(size=(6, 400 * (n + 1))).astype(np.float32),
        "fmri": lambda n: rng.normal(size=100 + n).astype(np.float32),
    }
    folder = tmp_path_factory.mktemp("everything") / "shards"
    with ShardWriter(folder, list(make)) as writer:
        for place, (name, signal) in enumerate(make.items()):
            for n, split in enumerate(("train", "test")):
                texts = (f"a caption of {name}", EVIL) if n else ("one two three",)
                writer.add(Record(f"{2 * place + n:09d}-{name}", {name: signal(n)}, texts), split)
        turns = (Turn("user", "Hi?"), Turn("assistant", "Hello."))
        writer.add(Record("000000099-talk", {}, (), turns), "test")
    return folder


def test_the_figures(everything: Path) -> None:
    figures = look(everything)
    assert figures.samples == {"test": 9, "train": 8}
    assert figures.counts == {**dict.fromkeys(modalities.names(), 2), TEXT_ALONE: 1}
    assert figures.histograms["audio: duration [s]"] == [2, 1]
    assert figures.histograms["imu: duration [s]"] == [4, 2]
    assert figures.histograms["image: length of H (row)"] == [40, 30]
    assert figures.histograms["normal: length of h (row)"] == [40, 20]
    assert figures.histograms["point: length of P (point)"] == [51, 50]
    assert figures.histograms["fmri: length of V (voxel)"] == [101, 100]
    assert "image: length of W (column)" not in figures.histograms, "all alike: nothing to see"
    assert sorted(figures.histograms["words of a caption"]) == sorted(
        8 * [3] + 8 * [4] + 8 * [len(EVIL.split())]
    )
    drawn = [(drawing.modality, drawing.split) for drawing in figures.drawings]
    assert sorted(drawn) == sorted(
        (name, split) for name in modalities.names() for split in ("test", "train")
    )


def test_many_records_are_looked_at_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardWriter(tmp_path / "shards", ["imu"]) as writer:
        for n in range(50):
            record = Record(f"{n:09d}-x", {"imu": np.zeros((6, 20), np.float32)}, ("word " * (n + 1),))
            writer.add(record, "test" if n % 2 else "train")
    monkeypatch.setattr(module, "LOOKED_AT", 20)
    figures = look(tmp_path / "shards")
    assert figures.counts == {"imu": 20}
    assert figures.histograms["words of a caption"][10:] == [1, 5, 11, 15, 21, 25, 31, 35, 41, 45]
    assert DRAWN // 2 < len(figures.drawings) <= DRAWN
    assert {drawing.split for drawing in figures.drawings} == {"train", "test"}


def test_an_empty_folder(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shards", ["imu"]):
        pass
    with pytest.raises(UsageError, match="has no records to draw"):
        look(tmp_path / "shards")


# ---- the sheet


def test_every_drawing_is_on_the_sheet(everything: Path, tmp_path: Path) -> None:
    figures = look(everything)
    write_png(figures, tmp_path / "sheet.png")
    picture = Image.open(tmp_path / "sheet.png")
    assert picture.width == WIDTH
    whole = np.asarray(picture)
    for drawing in figures.drawings:
        small = drawing.picture.convert("RGB")
        small.thumbnail((492, 330))
        assert _is_in(np.asarray(small), whole), f"{drawing.key} is not on the sheet"


def _is_in(part: np.ndarray, whole: np.ndarray) -> bool:
    """Whether ``part`` is somewhere in ``whole``: its most colourful row is searched for first."""
    height, width = part.shape[:2]
    best = max(range(height), key=lambda row: len(np.unique(part[row])))
    for row in range(best, len(whole)):
        for found in re.finditer(re.escape(part[best].tobytes()), whole[row].tobytes()):
            top, left = row - best, found.start() // 3
            if np.array_equal(whole[top : top + height, left : left + width], part):
                return True
    return False


def test_a_long_text_is_cut_and_the_sheet_keeps_its_width(everything: Path) -> None:
    figures = look(everything)
    long = tuple(
        module.Drawing(one.modality, one.split, one.key, ("word" * 5000, "x\n" * 100), one.picture)
        for one in figures.drawings[:1]
    )
    tall = sheet(module.Figures("p" * 5000, {"train": 1}, {"imu": 1}, {}, long))
    usual = sheet(module.Figures("p", {"train": 1}, {"imu": 1}, {}, figures.drawings[:1]))
    assert tall.width == WIDTH
    assert tall.height <= usual.height + 40


@pytest.mark.parametrize(
    ("values", "heights"),
    [([1, 1, 1, 2], [3, 1]), ([0.0, 1.0], [1, 1]), ([5, 5], [2]), ([0.5] * 3 + [9.5], [3, 1])],
)
def test_bars_stand_for_counts(values: list[float], heights: list[int]) -> None:
    bars = (np.asarray(histogram("x", values)) == (0, 114, 178)).all(axis=2)
    columns = bars.sum(axis=0)
    starts = np.flatnonzero((columns > 0) & (np.roll(columns, 1) == 0))
    found = columns[starts + 1] / columns.max()
    assert np.allclose(found, np.array(heights) / max(heights), atol=0.03)


# ---- the page


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_harmless(everything: Path, tmp_path: Path) -> None:
    figures = look(everything)
    write_html(figures, tmp_path / "page.html")
    page = Page()
    page.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert '<script>alert("x")</script> & "quoted"' in page.text
    assert "\x1b" not in page.text
    policies = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    images = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(figures.histograms) + len(figures.drawings)
    sizes = [_decoded(image).size for image in images]
    assert sizes[len(figures.histograms) :] == [drawing.picture.size for drawing in figures.drawings]
    for name in modalities.names():
        assert f"a caption of {name}" in page.text


def _decoded(source: str) -> Image.Image:
    match = re.fullmatch(r"data:image/png;base64,(.*)", source)
    assert match
    return Image.open(io.BytesIO(base64.b64decode(match[1])))
