"""Maps beside their pictures: Omnidata's output, and folders of the same names."""

from __future__ import annotations

import json
import operator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import omnidata, parallel
from onellm_data.sources.base import Item, Reject


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def viridis(seed: int) -> np.ndarray:
    """8-bit RGBA, as matplotlib writes a map."""
    colors = pixels(seed, 32, 32, 4)
    colors[..., 3] = 255
    return colors


@pytest.fixture
def omni(tmp_path: Path) -> Path:
    """Four pictures: whole; a map without its picture; without a text; the picture not cut as its map is."""
    src = tmp_path / "omni"
    for name in ("a", "sub/b", "c", "d"):
        save(src / f"{name}_rgb.png", pixels(0, 32, 32, 3))
        save(src / f"{name}_depth.png", viridis(1))
        save(src / f"{name}_normal.png", pixels(2, 24, 24, 3))
        (src / f"{name}.txt").write_text(f"a photo of {name}\n\nagain {name}\n")
    (src / "sub/b_rgb.png").unlink()
    (src / "c.txt").write_text(" \n")
    save(src / "d_rgb.png", pixels(0, 32, 48, 3))
    return src


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    src = tmp_path / "two"
    for name in ("0/a.jpg", "0/b.png", "1/c.jpg", "1/d.jpg", "1/e.jpg"):
        save(src / "cc3m" / name, pixels(3, 24, 32, 3))
        (src / "cc3m" / name).with_suffix(".txt").write_text(f"picture {name[2]}")
    save(src / "cc3m_depth/0/a.jpg", pixels(4, 24, 32))
    save(src / "cc3m_depth/0/b.webp", pixels(4, 24, 32))
    save(src / "cc3m_depth/1/c.jpg", pixels(4, 24, 24))
    save(src / "cc3m_depth/1/e.png", pixels(4, 24, 32).astype(np.uint16) * 100 + 1)
    (src / "cc3m/0/a.txt").write_text("one\ntwo\n")
    (src / "cc3m/0/b.txt").unlink()
    return src


def told(items: list[Item | Reject]) -> list[tuple[str, ...]]:
    return [(one.name, one.reason) if isinstance(one, Reject) else (one.name, *one.captions) for one in items]


def rejects_of(out: Path) -> list[tuple[str, str]]:
    lines = (out / "rejects.jsonl").read_text().splitlines()
    return [(row["what"], row["why"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("modality", ["depth", "normal"])
def test_omnidata(omni: Path, modality: str) -> None:
    found = omnidata.items(omni, modality)
    assert operator.length_hint(found) == 4
    assert told(list(found)) == [
        ("a", "a photo of a", "again a"),
        ("c", "no caption"),
        ("d", "a photo of d", "again d"),
        ("sub/b", "missing file"),
    ]


def test_preparing_omnidata(omni: Path, tmp_path: Path) -> None:
    for modality in ("depth", "normal"):
        out = tmp_path / modality
        prepare(PrepareOptions(modality, omni, out, workers=1))
        assert rejects_of(out) == [
            ("c", "no caption"),
            ("d", "aspect ratios differ"),
            ("sub/b", "missing file"),
        ]
        reader = ShardReader(out)
        assert reader.manifest.read == len(reader) + 3 == 4
        signal = reader[0].signals[modality]
        expected = viridis(1)[..., :3] if modality == "depth" else pixels(2, 24, 24, 3)
        np.testing.assert_array_equal(getattr(signal, modality), expected)
        np.testing.assert_array_equal(signal.rgb, pixels(0, 32, 32, 3))


def test_omnidata_is_recognised_by_its_files_only(omni: Path) -> None:
    assert sources.choose("auto", omni, "depth") == (
        omnidata.SOURCE,
        "Omnidata's output: NAME_rgb.png and NAME_depth.png",
    )
    (omni / "metadata.csv").write_text("rgb,depth,caption\n")
    assert sources.choose("auto", omni, "depth")[0].name == "folder"
    (omni / "metadata.csv").unlink()
    for path in omni.glob("*_rgb.png"):
        path.unlink()
    assert omnidata.detect(omni, "depth") is None


def test_folders_of_the_same_names(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("depth", folders, out, workers=1))
    assert rejects_of(out) == [
        ("0/b.png", "no caption"),
        ("1/c.jpg", "aspect ratios differ"),
        ("1/d.jpg", "missing file"),
    ]
    reader = ShardReader(out)
    assert reader.manifest.read == len(reader) + 3 == 5
    relative, metric = reader[0], reader[1]
    assert relative.captions == ("one", "two")
    assert relative.signals["depth"].scale is None
    assert (relative.meta, metric.meta) == ({"scale": None}, {"scale": 0.001})
    assert metric.captions == ("picture e",)
    np.testing.assert_array_equal(
        metric.signals["depth"].depth, pixels(4, 24, 32).astype(np.uint16) * 100 + 1
    )


def test_a_map_that_leads_out_of_the_folder(folders: Path, tmp_path: Path) -> None:
    save(tmp_path / "secret.png", pixels(4, 24, 32))
    (folders / "cc3m_depth/1/d.jpg").symlink_to(tmp_path / "secret.png")
    assert ("1/d.jpg", "leaves the folder") in told(list(parallel.items(folders, "depth")))


def test_folders_are_recognised_by_their_names_only(folders: Path, tmp_path: Path) -> None:
    source, recognised = sources.choose("auto", folders, "depth")
    assert (source.name, recognised) == ("parallel", "pictures in cc3m, maps in cc3m_depth")
    assert parallel.detect(folders, "normal") is None
    with pytest.raises(
        UsageError, match="should have one folder X with a folder X_normal beside it, got none"
    ):
        parallel.items(folders, "normal")
    (folders / "other").mkdir()
    (folders / "other_depth").mkdir()
    with pytest.raises(UsageError, match="got cc3m, other"):
        parallel.items(folders, "depth")
