"""SUN RGB-D: a folder for each scene, depth with rotated bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.modalities import normal
from onellm_data.modalities.geometry import Intrinsics, normals_from_depth
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import sunrgbd
from onellm_data.sources.base import Item, Reject

HEIGHT, WIDTH = 24, 32
CAMERA = Intrinsics(fx=30.5, fy=31.5, cx=15.5, cy=11.0)


def steps(seed: int) -> np.ndarray:
    """Millimetres, some unknown, one beyond 8 m."""
    depth = np.random.default_rng(seed).integers(500, 8000, (HEIGHT, WIDTH)).astype(np.uint16)
    depth[0, :4] = 0
    depth[1, 1] = 8190
    return depth


def save_depth(path: Path, depth: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((depth << 3) | (depth >> 13)).astype(np.uint16)).save(path)


def write_scene(folder: Path, kind: str, seed: int = 0) -> None:
    (folder / "image").mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image/0000.jpg")
    save_depth(folder / "depth_bfx/0000.png", steps(seed))
    save_depth(folder / "depth/0000.png", steps(seed) // 2)
    (folder / "intrinsics.txt").write_text("30.5 0.0 15.5\n0.0 31.5 11.0\n0.0 0.0 1.0\n")
    (folder / "scene.txt").write_text(kind)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    src = tmp_path / "sun"
    top = src / "SUNRGBD"
    for number, (name, kind) in enumerate(
        [
            ("kv1/NYUdata/NYU0001", "dining_area\n"),
            ("kv1/NYUdata/NYU0002", "idk"),
            ("kv2/align_kv2/two", "bedroom"),
            ("realsense/lg/crop", "office"),
            ("realsense/lg/eight", "lab"),
            ("xtion/sun3ddata/a/b/c", "corridor"),
            ("xtion/sun3ddata/a/b/d", "printer_room"),
        ]
    ):
        write_scene(top / name, kind, number)
    (top / "kv2/align_kv2/two/depth_bfx/0000.png").unlink()
    save_depth(top / "realsense/lg/crop/depth_bfx/0000.png", steps(0)[:, :HEIGHT])
    Image.new("L", (WIDTH, HEIGHT), 9).save(top / "realsense/lg/eight/depth_bfx/0000.png")
    split = src / sunrgbd.SPLITS
    split.parent.mkdir(parents=True)
    prefix = "/n/fs/sun3d/data/SUNRGBD"
    train = np.array([[f"{prefix}/kv1/NYUdata/NYU0001", f"{prefix}/kv2/align_kv2/two/"]], dtype=object)
    test = np.array([[f"{prefix}/xtion/sun3ddata/a/b/c"]], dtype=object)
    scipy.io.savemat(split, {"alltrain": train, "alltest": test})
    return src


def told(items: list[Item | Reject]) -> list[tuple[str | None, ...]]:
    return [
        (one.name.rpartition("/")[2], one.split, one.reason if isinstance(one, Reject) else one.captions[0])
        for one in items
    ]


def test_scenes(src: Path) -> None:
    expected = [
        ("NYU0001", "train", "dining area"),
        ("NYU0002", None, "no caption"),
        ("two", "train", "missing file"),
        ("crop", None, "office"),
        ("eight", None, "lab"),
        ("c", "test", "corridor"),
        ("d", None, "printer room"),
    ]
    assert told(list(sunrgbd.items(src, "depth"))) == expected
    assert told(list(sunrgbd.items(src / "SUNRGBD", "depth"))) == expected


def test_classes_of_the_benchmark(src: Path) -> None:
    assert len(sunrgbd.scenes.SUN_BENCHMARK) == 19
    got = told(list(sunrgbd.items(src, "depth", scene_classes="benchmark")))
    assert got[-2:] == [("c", "test", "corridor"), ("d", None, "not in the benchmark")]


def test_prepare(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("depth", src, out, workers=1))
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert sorted((row["what"].rpartition("/")[2], row["why"]) for row in rejects) == [
        ("NYU0002", "no caption"),
        ("crop", "aspect ratios differ"),
        ("eight", "wrong shape"),
        ("two", "missing file"),
    ]
    train, test = ShardReader(out, "train"), ShardReader(out, "test")
    assert train.manifest.read == len(train) + len(test) + len(rejects) == 7
    record = test[0]
    assert record.meta == {"scene": "corridor", "scale": 0.001}
    np.testing.assert_array_equal(record.signals["depth"].depth, np.minimum(steps(5), 8000))


def test_depth_as_measured(src: Path) -> None:
    first = next(sunrgbd.items(src, "depth", sun_depth="depth"))
    assert isinstance(first, Item)
    np.testing.assert_array_equal(first.files["depth"].read().depth, steps(0) // 2)


def test_normals_are_computed_with_the_scene_s_camera(src: Path) -> None:
    first = next(sunrgbd.items(src, "normal"))
    assert isinstance(first, Item)
    expected = normal.from_array(normals_from_depth(np.minimum(steps(0), 8000), CAMERA))
    np.testing.assert_array_equal(first.files["normal"].read().normal, expected)


def test_every_depth_survives_the_rotation() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    rotated = (every << 3) | (every >> 13)
    np.testing.assert_array_equal(sunrgbd.millimetres(rotated), np.minimum(every, 8000))


def test_links_out_of_the_folder(src: Path, tmp_path: Path) -> None:
    scene = src / "SUNRGBD/kv1/NYUdata/NYU0001"
    (scene / "image").rename(tmp_path / "image")
    (scene / "image").symlink_to(tmp_path / "image")
    assert told([next(sunrgbd.items(src, "depth"))]) == [("NYU0001", "train", "leaves the folder")]


@pytest.mark.parametrize("text", ["1 2 3", "nan " * 9, "x " * 9, "0 " * 9])
def test_a_camera_that_is_none(src: Path, text: str) -> None:
    (src / "SUNRGBD/kv1/NYUdata/NYU0001/intrinsics.txt").write_text(text)
    first = next(sunrgbd.items(src, "depth"))
    assert isinstance(first, Item)
    with pytest.raises(ValueError, match=r"intrinsics.txt: (got|expected nine numbers)"):
        first.files["depth"].read()


def test_recognised_by_its_files_only(src: Path, tmp_path: Path) -> None:
    for folder in (src, src / "SUNRGBD"):
        assert sources.choose("auto", folder, "depth") == (
            sunrgbd.SOURCE,
            "SUN RGB-D: kv1/NYUdata/NYU0001 and others",
        )
    (tmp_path / "else/kv1").mkdir(parents=True)
    assert sunrgbd.detect(tmp_path / "else", "depth") is None
    with pytest.raises(UsageError, match=r"there are no folders kv1, kv2, realsense, xtion in"):
        next(sunrgbd.items(tmp_path / "nothing", "depth"))
