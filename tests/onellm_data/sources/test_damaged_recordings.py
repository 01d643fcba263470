"""Fuzzing: whatever is done to a file of recordings, reading it ends well or says what is wrong.

Each file is tried ``FUZZ_EXAMPLES`` times (40 if the environment does not say it).
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from onellm_data.errors import SignalError, UsageError
from onellm_data.sources import (
    ego4d,
    ego4d_recording,
    nsd_captions,
    nsd_design,
    nsd_sessions,
    nsd_webdataset,
    nyuv2,
    sunrgbd,
)
from onellm_data.sources.base import Item, Reject

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
Try = Callable[[Path], None]


def read_all(items: list[Item | Reject]) -> None:
    for one in items:
        for files in one.files.values() if isinstance(one, Item) else ():
            with suppress(SignalError):
                files.read()


# ---- good files, each with what reads it


def recording(path: Path) -> Try:
    columns = "component_idx,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z"
    rows = [f"0,{5 * number},1,2,3,4,5,{number % 7}" for number in range(450)]
    path.write_text("\n".join([columns, *rows]))

    def read(path: Path) -> None:
        ego4d_recording.load.cache_clear()
        ego4d_recording.load(path).window(0, 2)

    return read


def narrations(path: Path) -> Try:
    folder = path.parent
    (folder / "imu").mkdir()
    recording(folder / "imu/a.csv")
    rows = [{"timestamp_sec": 1.0, "narration_text": "#C C walks", "annotation_uid": "n"}] * 2
    path.write_text(json.dumps({"a": {"narration_pass_1": {"narrations": rows}}, "b": {}}))
    return lambda path: read_all(list(ego4d.items(path.parent, "imu")))


REGION = np.arange(24).reshape(2, 3, 4) % 2 == 0


def hdf5_session(path: Path) -> Try:
    with h5py.File(path, "w") as file:
        file["betas"] = np.random.default_rng(0).integers(-300, 300, (5, 4, 3, 2)).astype(np.int16)
    return lambda path: read_session(path)


def nifti_session(path: Path) -> Try:
    betas = np.random.default_rng(0).integers(-300, 300, (2, 3, 4, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(betas, np.eye(4)), path)
    return lambda path: read_session(path)


def read_session(path: Path) -> None:
    assert nsd_sessions.read(path, REGION).shape == (nsd_sessions.trials(path), REGION.sum())


def experiment(path: Path) -> Try:
    arrays = {"masterordering": [[1, 2, 1]], "subjectim": [[5, 6]], "sharedix": [[5]]}
    scipy.io.savemat(path, arrays, do_compression=True)
    return lambda path: assert_design(nsd_design.from_experiment(path, 1))


def responses(path: Path) -> Try:
    path.write_text("SESSION\t73KID\t10KID\n1\t5\t1\n1\t6\t2000\n")
    return lambda path: assert_design(nsd_design.from_responses(path))


def stimuli(path: Path) -> Try:
    path.write_text(",cocoId,nsdId,shared1000,subject1_rep0\n0,9,0,True,1\n1,8,1,False,2\n")
    return lambda path: assert_design(nsd_design.from_stimuli(path, "subj01"))


def assert_design(design: nsd_design.Design) -> None:
    assert all(isinstance(trial, int) for trial in design.pictures)


def npy(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def samples(path: Path) -> Try:
    np.save(path.parent / nsd_captions.CURATED, np.array([["a"], ["b"]]))
    members = {"coco73k": [1], "num_uniques": [2], "nsdgeneral": np.eye(3)}
    with tarfile.open(path, "w") as tar:
        for key in ("s0", "s1"):
            for name, value in members.items():
                data = npy(np.array(value))
                info = tarfile.TarInfo(f"{key}.{name}.npy")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return lambda path: read_all(list(nsd_webdataset.items(path.parent, "fmri")))


def texts(path: Path) -> Try:
    np.save(path, np.array([["a", "b"], ["c", "d"]]))
    return lambda path: assert_texts(nsd_captions.captions(path.parent, None)(1))


def assert_texts(captions: tuple[str, ...]) -> None:
    assert captions


def rooms(path: Path) -> Try:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 3, 8, 6), np.uint8)
        file["depths"] = np.ones((2, 8, 6), np.float32)
        for name in ("scenes", "sceneTypes"):
            cells = file.create_dataset(name, (1, 2), h5py.ref_dtype)
            for number in range(2):
                text = file.create_dataset(f"{name}{number}", data=np.array([[98], [100]], np.uint16))
                cells[0, number] = text.ref
    return lambda path: read_all(list(nyuv2.items(path, "normal")))


def splits(path: Path) -> Try:
    scipy.io.savemat(path, {"trainNdxs": [[1]], "testNdxs": [[2]]})
    rooms(path.parent / nyuv2.FILE)
    return lambda path: read_all(list(nyuv2.items(path.parent, "depth")))


def scene(path: Path) -> Try:
    """The list of splits of SUN RGB-D."""
    names = np.array([["/n/fs/SUNRGBD/kv1/a", "/n/fs/SUNRGBD/kv1/b"]], dtype=object)
    scipy.io.savemat(path, {"alltrain": names, "alltest": names}, do_compression=True)
    folder = path.parent / "SUNRGBDtoolbox/traintestSUNRGBD"
    folder.mkdir(parents=True)
    top = path.parent / "SUNRGBD/kv1/a"
    for name in ("image", "depth_bfx"):
        (top / name).mkdir(parents=True)
        Image.fromarray(np.full((6, 8), 9000, np.uint16)).save(top / name / "0.png")
    (top / "scene.txt").write_text("office")
    (top / "intrinsics.txt").write_text("5 0 4 0 5 3 0 0 1")

    def read(path: Path) -> None:
        (folder / "allsplit.mat").write_bytes(path.read_bytes())
        read_all(list(sunrgbd.items(path.parent, "depth")))

    return read


GOOD: dict[str, Callable[[Path], Try]] = {
    "recording.csv": recording,
    "narration.json": narrations,
    "betas_session01.hdf5": hdf5_session,
    "betas_session01.nii": nifti_session,
    "betas_session01.nii.gz": nifti_session,
    "nsd_expdesign.mat": experiment,
    "responses.tsv": responses,
    nsd_captions.STIMULI: stimuli,
    nsd_captions.CURATED: texts,
    "train_subj01_0.tar": samples,
    nyuv2.FILE: rooms,
    nyuv2.SPLITS: splits,
    "allsplit.mat": scene,
}


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """How to damage a file: places are shares of its length, small ones more often (headers)."""
    place = st.floats(0, 1).map(lambda share: share**2)
    kinds = st.sampled_from(["flip", "write", "insert", "delete", "cut"])
    return draw(st.lists(st.tuples(kinds, place, st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))


def damaged(data: bytes, steps: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, noise in steps:
        at = int(share * len(data))
        after = {"flip": 1, "write": len(noise), "insert": 0, "delete": len(noise), "cut": len(data)}[kind]
        flipped = bytes([data[at] ^ noise[0]]) if at < len(data) else b""
        middle = {"flip": flipped, "write": noise, "insert": noise}.get(kind, b"")
        data = data[:at] + middle + data[at + after :]
    return data


@pytest.mark.parametrize("name", GOOD)
def test_damaged_files_never_crash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    read = GOOD[name](path)
    good = path.read_bytes()
    read(path)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages())
    def tried(steps: list[tuple[str, float, bytes]]) -> None:
        path.unlink()  # a new file: the libraries remember open ones
        path.write_bytes(damaged(good, steps))
        with warnings.catch_warnings(), suppress(SignalError, UsageError):
            warnings.simplefilter("ignore")  # decoders warn about damaged files; the result is what counts
            read(path)

    tried()
