"""The Natural Scenes Dataset as published: sessions, mask, design and captions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from onellm_data import sources
from onellm_data.errors import UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader
from onellm_data.sources import nsd, nsd_captions, nsd_design, nsd_sessions
from onellm_data.sources.base import Item, Reject

SHAPE = (4, 5, 6)
SHOWN = [[2, 0, 1, 2, 7, 4], [0, 2, 1, 3, 3, 5], [5, 6, 0, 6, 6, 8]]
"""The picture of each trial, for three sessions of six; picture 1 has two repeats, 8 has no caption."""
ALL_SHOWN = [picture for shown in SHOWN for picture in shown]

SHARED = (0, 5)
PEOPLE = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf"


def volumes(session: int) -> np.ndarray:
    """What the scanner gave: int16 ``[X, Y, Z, trials]``; a voxel that never changes in session 1."""
    rng = np.random.default_rng(session)
    betas = rng.integers(-3000, 3000, (*SHAPE, 6)).astype(np.int16)
    if session == 1:
        betas[1, 2, 3] = 17
    return betas


def mask() -> np.ndarray:
    region = np.random.default_rng(9).integers(-1, 2, SHAPE).astype(np.int16)
    region[1, 2, 3] = 1
    return region


def save_nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def expected(picture: int, sessions: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """The mean z-score, by the words of the manual: each voxel, session and trial on its own."""
    voxels = [(x, y, z) for x in range(4) for y in range(5) for z in range(6) if mask()[x, y, z] > 0]
    found = []
    for session in sessions:
        betas = volumes(session) / 300
        for trial, shown in enumerate(SHOWN[session - 1]):
            if shown == picture:
                series = [betas[voxel] for voxel in voxels]
                found.append(
                    [(one[trial] - one.mean()) / one.std() if one.std() > 1e-9 else 0 for one in series]
                )
    return np.mean(found, axis=0)


def write_stimuli(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    trials: dict[int, list[int]] = {}
    for trial, picture in enumerate(ALL_SHOWN, start=1):
        trials.setdefault(picture, []).append(trial)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        repeats = [f"subject1_rep{repeat}" for repeat in range(3)]
        table.writerow(["", "cocoId", "cocoSplit", "nsdId", "shared1000", "subject1", *repeats])
        for picture in range(9):
            shown = (trials.get(picture, []) + [0] * 3)[:3]
            table.writerow([picture, 700 + picture, "train2017", picture, picture in SHARED, 1, *shown])


def write_experiment(path: Path) -> None:
    """Pictures from 1, through each subject's own order of pictures."""
    own = np.array([[(place + 4) % 9 + 1 for place in range(9)], list(range(9, 0, -1))])
    order = [own[0].tolist().index(picture + 1) + 1 for picture in ALL_SHOWN]
    shared = np.array([[picture + 1 for picture in SHARED]])
    scipy.io.savemat(path, {"masterordering": [order], "subjectim": own, "sharedix": shared})


def write_responses(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["SUBJECT\tSESSION\tRUN\tTRIAL\t73KID\t10KID\tTIME"]
    for session, shown in enumerate(SHOWN, start=1):
        lines += [
            f"1\t{session}\t1\t{trial}\t{picture + 1}\t{7 if picture in SHARED else 1007}\t0.5"
            for trial, picture in enumerate(shown, start=1)
        ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def src(tmp_path: Path) -> Path:
    src = tmp_path / "nsd"
    (src / PEOPLE).mkdir(parents=True)
    for session in (1, 2):
        with h5py.File(src / PEOPLE / f"betas_session{session:02d}.hdf5", "w") as file:
            file["betas"] = volumes(session).transpose(3, 2, 1, 0)
    save_nifti(src / PEOPLE / "betas_session03.nii.gz", volumes(3))
    save_nifti(src / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz", mask())
    write_stimuli(src / "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    annotations = [
        {"id": 1, "image_id": 700 + picture, "caption": f"photo {picture}{text}"}
        for picture in range(8)
        for text in ("a", "b\n")
    ]
    annotations.append({"id": 2, "image_id": 1, "caption": "another photo"})
    (src / "annotations").mkdir()
    (src / "annotations/captions_train2017.json").write_text(json.dumps({"annotations": annotations}))
    return src


def told(items: list[Item | Reject]) -> list[tuple[str | None, ...]]:
    return [
        (one.name, one.split, one.reason if isinstance(one, Reject) else "|".join(one.captions))
        for one in items
    ]


def test_prepare(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(PrepareOptions("fmri", src, out, workers=1))
    (reject,) = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert (reject["what"], reject["why"]) == ("subj01/picture00008", "no caption")
    train, test = ShardReader(out, "train"), ShardReader(out, "test")
    assert train.manifest.read == len(train) + len(test) + 1 == 9
    assert [record.meta["picture"] for record in test] == [0, 5]
    for record in (*train, *test):
        picture = record.meta["picture"]
        assert record.captions == (f"photo {picture}a", f"photo {picture}b")
        assert record.meta["repeats"] == sum(shown.count(picture) for shown in SHOWN)
        np.testing.assert_allclose(record.signals["fmri"], expected(picture), atol=2e-6)


def test_a_voxel_that_never_changes_is_0(src: Path) -> None:
    (region,) = np.nonzero([voxel == (1, 2, 3) for voxel in zip(*np.nonzero(mask() > 0), strict=True)])
    seen = {one.name: one for one in nsd.items(src, "fmri") if isinstance(one, Item)}
    assert seen["subj01/picture00007"].files["fmri"].read()[region] == 0  # shown in session 1 only
    assert seen["subj01/picture00003"].files["fmri"].read()[region] != 0


def test_a_packed_volume_and_hdf5_give_the_same(tmp_path: Path) -> None:
    region = mask() > 0
    save_nifti(tmp_path / "a.nii.gz", np.tile(volumes(2), 12))  # 72 trials: more than are read at once
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["betas"] = np.tile(volumes(2), 12).transpose(3, 2, 1, 0)
    one, other = (nsd_sessions.read(tmp_path / name, region) for name in ("a.nii.gz", "a.hdf5"))
    assert one.shape == (72, region.sum())
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("write", [write_stimuli, write_experiment, write_responses])
def test_every_file_of_the_design_says_the_same(tmp_path: Path, write: Any) -> None:
    names = {
        write_stimuli: "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
        write_experiment: "nsd_expdesign.mat",
        write_responses: nsd_design.RESPONSES.format(subject="subj01"),
    }
    write(tmp_path / names[write])
    design = nsd_design.load(tmp_path, "subj01")
    assert design.pictures == dict(enumerate(ALL_SHOWN))
    assert design.shared == frozenset(SHARED)


def test_a_session_that_is_missing_or_damaged(src: Path) -> None:
    """The trials of the others stay where they are."""
    (src / PEOPLE / "betas_session01.hdf5").unlink()
    (src / PEOPLE / "betas_session02.hdf5").write_bytes(b"\x89HDF\r\n")
    got = list(nsd.items(src, "fmri"))
    assert told(got) == [
        ("betas_session02.hdf5", None, "unreadable file"),
        ("subj01/picture00000", "test", "photo 0a|photo 0b"),
        ("subj01/picture00005", "test", "photo 5a|photo 5b"),
        ("subj01/picture00006", "train", "photo 6a|photo 6b"),
        ("subj01/picture00008", "train", "no caption"),
    ]
    assert isinstance(got[3], Item)
    np.testing.assert_allclose(got[3].files["fmri"].read(), expected(6, (3,)), atol=2e-6)


def test_trials_beyond_the_design(src: Path) -> None:
    write_responses(src / nsd_design.RESPONSES.format(subject="subj01"))
    path = src / nsd_design.RESPONSES.format(subject="subj01")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    (bad,) = (one for one in nsd.items(src, "fmri") if isinstance(one, Reject))
    assert (bad.name, bad.reason, bad.detail) == ("trial 18", nsd.NO_PICTURE, "session 3, trial 6")


def write_wrong_type(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["betas"] = np.full((6, 6, 5, 4), b"x")


def write_group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("betas")


def write_huge(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", (750, 10**4, 10**4, 10**4), np.int16, chunks=(1, 10, 10, 10))


def write_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["betas"] = h5py.ExternalLink("/etc/passwd", "betas")


def write_other_axes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["betas"] = volumes(1)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_wrong_type, "unreadable file"),
        (write_group, "unreadable file"),
        (write_huge, "too large"),
        (write_link, "unreadable file"),
        (write_other_axes, "wrong shape"),
    ],
)
def test_sessions_that_are_none(src: Path, write: Any, reason: str) -> None:
    write(src / PEOPLE / "betas_session02.hdf5")
    first = next(nsd.items(src, "fmri"))
    assert isinstance(first, Reject)
    assert (first.name, first.reason) == ("betas_session02.hdf5", reason)


def test_what_is_missing(src: Path) -> None:
    with pytest.raises(UsageError, match=r"no betas_session01.hdf5 .*betas_assumehrf"):
        next(nsd.items(src, "fmri", betas="betas_assumehrf"))
    with pytest.raises(UsageError, match=r"roi/V1.nii.gz cannot be used: missing file.*--roi"):
        next(nsd.items(src, "fmri", roi="V1"))
    with pytest.raises(UsageError, match=r"roi/../../../../../../x.nii.gz cannot be used: leaves the folder"):
        next(nsd.items(src, "fmri", roi="../../../../../../x"))
    with pytest.raises(UsageError, match=r"has the subjects subj01; say which one is meant: --subject"):
        next(nsd.items(src, "fmri", subject="subj02"))
    (src / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").unlink()
    with pytest.raises(UsageError, match=r"does not say what the trials showed; expected .*expdesign.mat"):
        next(nsd.items(src, "fmri"))


def test_a_damaged_design(src: Path) -> None:
    path = src / "nsd_expdesign.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UsageError, match=r"expdesign.mat: no header of level 5; fetch the file again"):
        nsd_design.load(src, "subj01")
    write_experiment(path)
    arrays = {name: scipy.io.loadmat(path)[name] for name in ("subjectim", "sharedix")}
    scipy.io.savemat(path, {**arrays, "masterordering": [[10]]})
    with pytest.raises(UsageError, match=r"masterordering leads out of subjectim \(2, 9\)"):
        nsd_design.load(src, "subj01")


def test_recognised_by_its_files_only(src: Path, tmp_path: Path) -> None:
    assert sources.choose("auto", src, "fmri")[0].name == "nsd"
    assert nsd.detect(tmp_path, "fmri") is None
    assert nsd_captions.find(src, "nsd_stim_info_merged.csv") is not None
