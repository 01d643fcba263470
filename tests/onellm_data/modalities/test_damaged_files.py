"""Fuzzing: whatever is done to a good file, reading gives a canonical signal or a ``SignalError``.

The slow test tries ``FUZZ_EXAMPLES`` damaged files of each format (300 if the environment does not
say it); 10000 take about an hour: ``FUZZ_EXAMPLES=10000 pytest -m slow …/test_damaged_files.py``.
"""

from __future__ import annotations

import io
import os
import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onellm_data import modalities
from onellm_data.errors import SignalError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))

FORMATS = [
    *("image.jpg", "image.png", "image.gif", "image.tif", "image.bmp", "image.webp", "image.ppm"),
    *("audio.wav", "audio.flac", "audio.ogg", "audio.mp3"),
    *("video.mp4", "video.mkv", "video.avi"),
    *("point.npy", "point.npz", "point.pt", "point.obj", "point.stl", "point.glb"),
    *("point.ascii.ply", "point.little.ply", "point.big.ply", "point.mesh.ply"),
    *("point.ascii.pcd", "point.binary.pcd", "point.binary_compressed.pcd"),
    *("depth.npy", "depth.png", "normal.npy", "normal.png", "imu.csv", "imu.npy"),
    *("fmri.npy", "fmri.h5", "fmri.nii", "fmri.nii.gz"),
]


@pytest.fixture(scope="module")
def good_files(tmp_path_factory, encoded, picture, make_film, motion_csv, cloud, ply, pcd, npy):
    """A good file of each format, small, so that changes hit what matters."""
    soundfile, trimesh = pytest.importorskip("soundfile"), pytest.importorskip("trimesh")
    torch, h5py = pytest.importorskip("torch"), pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("good")
    pixels, box = picture(24, 36), trimesh.creation.box()
    volume, tensor, zipped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(torch.from_numpy(cloud()), tensor)
    np.savez_compressed(zipped, points=cloud())
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(3, 4, 5)), np.eye(4))
    nibabel.save(image, folder / "v.nii.gz")
    nibabel.save(image, folder / "v.nii")
    with h5py.File(volume, "w") as file:
        file.create_dataset("betas", data=cloud(), compression="gzip")
    sounds = {}
    for kind in ("wav", "flac", "ogg", "mp3"):
        buffer = io.BytesIO()
        soundfile.write(buffer, 0.1 * np.sin(np.arange(3000)), 16_000, format=kind.upper())
        sounds[f"audio.{kind}"] = buffer.getvalue()
    kinds = {"jpg": "JPEG", "tif": "TIFF"}
    return {
        **{
            f"image.{k}": encoded(pixels, kinds.get(k, k.upper()))
            for k in ("jpg", "png", "gif", "tif", "bmp", "webp", "ppm")
        },
        **sounds,
        "video.mp4": make_film("f.mp4", frames=12).read_bytes(),
        "video.mkv": make_film("f.mkv", frames=12).read_bytes(),
        "video.avi": make_film("f.avi", frames=12, codec="mpeg4").read_bytes(),
        "point.npy": npy(cloud()),
        "point.npz": zipped.getvalue(),
        "point.pt": tensor.getvalue(),
        "point.obj": box.export(file_type="obj").encode(),
        "point.stl": box.export(file_type="stl"),
        "point.glb": box.export(file_type="glb"),
        "point.mesh.ply": box.export(file_type="ply"),
        "point.ascii.ply": ply(cloud(), "ascii"),
        "point.little.ply": ply(cloud(), "binary_little_endian"),
        "point.big.ply": ply(cloud(), "binary_big_endian"),
        **{f"point.{kind}.pcd": pcd(cloud(), kind) for kind in ("ascii", "binary", "binary_compressed")},
        "depth.npy": npy(np.ones((24, 36))),
        "depth.png": encoded(np.arange(864, dtype=np.uint16).reshape(24, 36), "PNG"),
        "normal.npy": npy(np.zeros((24, 36, 3))),
        "normal.png": encoded(pixels, "PNG"),
        "imu.csv": motion_csv(rows=30),
        "imu.npy": npy(np.random.default_rng(0).normal(size=(6, 50))),
        "fmri.npy": npy(cloud()),
        "fmri.h5": volume.getvalue(),
        "fmri.nii": (folder / "v.nii").read_bytes(),
        "fmri.nii.gz": (folder / "v.nii.gz").read_bytes(),
    }


@st.composite
def damages(draw):
    """How to damage a file: places are shares of its length, small ones more often (headers)."""
    place = st.floats(0, 1).map(lambda share: share**3)
    kinds = st.sampled_from(["flip", "write", "insert", "delete", "cut"])
    return draw(st.lists(st.tuples(kinds, place, st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))


def damaged(data: bytes, steps: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, noise in steps:
        at = int(share * len(data))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ noise[0]]) + data[at + 1 :]
        elif kind == "write":
            data = data[:at] + noise + data[at + len(noise) :]
        elif kind == "insert":
            data = data[:at] + noise + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(noise) :]
        elif kind == "cut":
            data = data[: max(at, 1)]
    return data


def check(modality, folder, name: str, data: bytes, good_files: dict[str, bytes]) -> None:
    """Read ``data``; it is fine if the signal is whole, or if the error says what is wrong."""
    path = folder / name
    path.write_bytes(data)
    paths = [path]
    if len(modality.parts) == 2:
        paths.insert(0, folder / "rgb.png")
        paths[0].write_bytes(good_files["image.png"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders warn about damaged files; the result is what counts
        try:
            signal = modality.read(paths)
        except SignalError as caught:
            error, signal = caught, None
    if signal is None:
        assert error.reason
        assert str(path) in str(error)
        return
    members = modality.store(signal)
    assert modality.store(modality.load(members)).keys() == members.keys()


def test_the_good_files_are_good(tmp_path, good_files):
    assert sorted(good_files) == sorted(FORMATS)
    for name, data in good_files.items():
        modality = modalities.get(name.split(".")[0])
        (tmp_path / name).write_bytes(data)
        paths = [tmp_path / name]
        if len(modality.parts) == 2:
            (tmp_path / "rgb.png").write_bytes(good_files["image.png"])
            paths.insert(0, tmp_path / "rgb.png")
        modality.store(modality.read(paths))


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_never_crash(tmp_path, good_files, name):
    modality = modalities.get(name.split(".")[0])

    @settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
    @given(damages())
    def run(steps):
        check(modality, tmp_path, name, damaged(good_files[name], steps), good_files)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_more_damaged_files_never_crash(tmp_path, good_files, name):
    modality = modalities.get(name.split(".")[0])

    @settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(damages())
    def run(steps):
        check(modality, tmp_path, name, damaged(good_files[name], steps), good_files)

    run()
