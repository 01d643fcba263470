"""NYU Depth v2: a MATLAB file as it is, with its axes reversed and texts behind references."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from onellm_data import sources
from onellm_data.errors import SignalError, UsageError
from onellm_data.modalities import normal
from onellm_data.modalities.geometry import normals_from_depth
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import nyuv2
from onellm_data.sources.base import Item, Reject

HEIGHT, WIDTH = 12, 16
SCENES = ["living_room", "kitchen", "cafe", None, "bedroom"]


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)


def metres() -> np.ndarray:
    depth = np.random.default_rng(1).uniform(1, 5, (5, HEIGHT, WIDTH)).astype(np.float32)
    depth[4] = 0
    return depth


def write_texts(file: h5py.File, name: str, texts: list[str | None]) -> None:
    """A cell array: references to character codes; a number where there is no text."""
    cells = file.create_dataset(name, (1, len(texts)), h5py.ref_dtype)
    for number, text in enumerate(texts):
        codes = np.array([[ord(one)] for one in text], np.uint16) if text else np.zeros((1, 1))
        target = file.create_dataset(f"#refs#/{name}{number}", data=codes)
        cells[0, number] = target.ref


@pytest.fixture
def src(tmp_path: Path) -> Path:
    src = tmp_path / "nyu"
    src.mkdir()
    with h5py.File(src / nyuv2.FILE, "w", userblock_size=512) as file:
        file["images"] = pictures().transpose(0, 3, 2, 1)
        file["depths"] = metres().transpose(0, 2, 1)
        raw = metres()
        raw[0, :3] = 0
        file["rawDepths"] = raw.transpose(0, 2, 1)
        write_texts(file, "sceneTypes", SCENES)
        write_texts(file, "scenes", [f"room_{number}" for number in range(5)])
    scipy.io.savemat(src / nyuv2.SPLITS, {"trainNdxs": [[1], [3], [4]], "testNdxs": [[2], [5]]})
    return src


def told(items: list[Item | Reject]) -> list[tuple[str | None, ...]]:
    return [
        (one.name, one.split, one.reason if isinstance(one, Reject) else one.captions[0]) for one in items
    ]


def test_scenes(src: Path) -> None:
    assert told(list(nyuv2.items(src, "depth"))) == [
        ("0000-room_0", "train", "living room"),
        ("0001-room_1", "test", "kitchen"),
        ("0002-room_2", "train", "cafe"),
        ("0003-room_3", "train", "wrong value"),
        ("0004-room_4", "test", "bedroom"),
    ]


def test_classes_of_the_benchmark_and_a_sentence(src: Path) -> None:
    got = nyuv2.items(src, "depth", caption="This is a {scene}.", scene_classes="benchmark")
    assert [row[2] for row in told(list(got))] == [
        "This is a living room.",
        "This is a kitchen.",
        "This is a others.",
        "wrong value",
        "This is a bedroom.",
    ]
    with pytest.raises(UsageError, match=r"got --caption 'a room', expected a text with \{scene\}"):
        next(nyuv2.items(src, "depth", caption="a room"))


def test_prepare(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("depth", src, out, workers=1))
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert sorted((row["what"], row["why"]) for row in rejects) == [
        ("0003-room_3", "wrong value"),
        ("0004-room_4", "no depth measured"),
    ]
    train, test = ShardReader(out, "train"), ShardReader(out, "test")
    assert train.manifest.read == len(train) + len(test) + len(rejects) == 5
    record = train[1]
    assert record.meta == {"scene": "cafe", "scale": 0.001}
    np.testing.assert_array_equal(record.signals["depth"].rgb, pictures()[2])
    np.testing.assert_array_equal(record.signals["depth"].depth, np.round(metres()[2] * 1000))


def test_depth_as_measured(src: Path) -> None:
    first = next(nyuv2.items(src, "depth", nyu_depth="rawDepths"))
    assert isinstance(first, Item)
    pair = first.files["depth"].read()
    assert not pair.depth[:3].any()
    assert pair.depth[3:].all()


def test_normals_are_computed_from_depth(src: Path, tmp_path: Path) -> None:
    prepare(PrepareOptions("normal", src, tmp_path / "out", workers=1))
    record = ShardReader(tmp_path / "out", "test")[0]
    steps = np.round(metres()[1] * 1000)
    expected = normal.from_array(normals_from_depth(steps, nyuv2.CAMERA))
    np.testing.assert_array_equal(record.signals["normal"].normal, expected)
    assert record.meta == {"scene": "kitchen", "normals": "from depth"}


def test_without_splits(src: Path) -> None:
    (src / nyuv2.SPLITS).unlink()
    assert {one.split for one in nyuv2.items(src / nyuv2.FILE, "depth")} == {None}


def test_data_sets_of_another_type(src: Path) -> None:
    with h5py.File(src / nyuv2.FILE, "a") as file:
        del file["depths"], file["rawDepths"]
        file["depths"] = np.ones((5, WIDTH, HEIGHT), np.int32)
        file["rawDepths"] = h5py.ExternalLink("/etc/passwd", "x")
    for maps in ("depths", "rawDepths"):
        first = next(nyuv2.items(src, "depth", nyu_depth=maps))
        assert isinstance(first, Item)
        with pytest.raises(SignalError) as caught:
            first.files["depth"].read()
        assert caught.value.reason in ("wrong shape", "unreadable file")


@pytest.mark.parametrize("damage", ["cut", "no scenes", "scenes of another type"])
def test_another_file(src: Path, damage: str) -> None:
    path = src / nyuv2.FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        with h5py.File(path, "a") as file:
            del file["scenes"]
            if damage != "no scenes":
                file["scenes"] = np.zeros((1, 5))
    with pytest.raises(UsageError, match=r"is not NYU's file, or is cut .*; fetch it again"):
        next(nyuv2.items(src, "depth"))


def test_recognised_by_its_files_only(src: Path, tmp_path: Path) -> None:
    for path in (src, src / nyuv2.FILE):
        assert sources.choose("auto", path, "depth")[0].name == "nyuv2"
        assert sources.choose("auto", path, "normal")[0].name == "nyuv2"
    assert nyuv2.detect(src / nyuv2.SPLITS, "depth") is None
    assert nyuv2.detect(tmp_path, "depth") is None
    with pytest.raises(UsageError, match=r"there is no nyu_depth_v2_labeled.mat in"):
        next(nyuv2.items(tmp_path, "depth"))
