"""Brain responses: repeats, masks, containers, and arrays that are not responses."""

from __future__ import annotations

import io

import h5py
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onellm_data.errors import SignalError
from onellm_data.modalities import fmri
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader


def responses(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def reason(path) -> str:
    with pytest.raises(SignalError) as caught:
        fmri.read([path])
    assert path.name in str(caught.value)
    return caught.value.reason


def write_nifti(path, volume: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8"])
def test_repeats_are_averaged(tmp_path, npy, dtype):
    array = responses(3, 200).astype(dtype)
    (tmp_path / "s.npy").write_bytes(npy(array))
    signal = fmri.read([tmp_path / "s.npy"])
    assert signal.dtype == np.float32
    assert np.allclose(signal, array.astype(float).mean(axis=0), atol=1e-6)
    (tmp_path / "s.npy").write_bytes(npy(array[0]))
    assert np.allclose(fmri.read([tmp_path / "s.npy"]), array[0].astype(float), atol=1e-6)


def test_hdf5_with_one_data_set(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("any/betas", data=responses(3, 50), compression="gzip")
    assert np.allclose(fmri.read([tmp_path / "s.h5"]), responses(3, 50).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_of_a_volume_are_taken_in_c_order_of_the_mask(tmp_path, ending):
    volume = responses(4, 5, 6)
    mask = np.where(volume > 0.3, 1, np.where(volume > 0, 0, -1)).astype(np.int16)
    write_nifti(tmp_path / f"s{ending}", volume)
    write_nifti(tmp_path / f"mask{ending}", mask)
    found = fmri.read([tmp_path / f"s{ending}"], mask=tmp_path / f"mask{ending}")
    places = ((x, y, z) for x in range(4) for y in range(5) for z in range(6))
    assert np.allclose(found, [volume[place] for place in places if volume[place] > 0.3])
    assert np.allclose(fmri.read([tmp_path / f"s{ending}"]), volume.ravel(), atol=1e-6)


def test_a_mask_may_hold_several_regions_and_the_volume_several_repeats(tmp_path):
    volume = responses(3, 4, 5, 2)
    mask = np.arange(60).reshape(3, 4, 5).astype(np.int16) % 3 - 1
    write_nifti(tmp_path / "s.nii", volume)
    write_nifti(tmp_path / "mask.nii", mask)
    found = fmri.read([tmp_path / "s.nii"], mask=tmp_path / "mask.nii")
    assert np.allclose(found, volume.reshape(60, 2)[mask.ravel() > 0].mean(axis=1), atol=1e-6)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    write_nifti(tmp_path / "s.nii", responses(3, 4, 5))
    write_nifti(tmp_path / "mask.nii", np.ones((3, 4, 6), np.int16))
    with pytest.raises(SignalError, match=r"a mask of \(3, 4, 6\) for a volume of \(3, 4, 5\)"):
        fmri.read([tmp_path / "s.nii"], mask=tmp_path / "mask.nii")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1.0, np.nan, 2.0]), "NaN in signal"),
        (np.array([[1.0, 2.0], [np.inf, 2.0]]), "NaN in signal"),
        (np.full(9, 1e300), "NaN in signal"),
        (np.zeros(100), "constant signal"),
        (np.zeros((2, 3, 4)), "wrong shape"),
        (np.zeros((0, 3)), "wrong shape"),
        (responses(500, 20), "wrong shape"),
    ],
)
def test_what_is_wrong_with_an_array_has_a_fixed_reason(tmp_path, npy, array, expected):
    (tmp_path / "s.npy").write_bytes(npy(array))
    assert reason(tmp_path / "s.npy") == expected


def test_hdf5_of_other_kinds_is_refused(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = responses(5), responses(5)
    with h5py.File(tmp_path / "words.h5", "w") as file:
        file["betas"] = ["one", "two"]
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("betas", shape=(3, 10**9), dtype="f4", chunks=(1, 1024), compression="gzip")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 4000)
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("betas", shape=(1000,), dtype="f4", external=[(str(secret), 0, 4000)])
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["betas"] = h5py.ExternalLink(str(tmp_path / "words.h5"), "betas")
    names = ("two", "words", "huge", "outside", "linked")
    reasons = [reason(tmp_path / f"{name}.h5") for name in names]
    assert reasons == ["unreadable file"] * 2 + ["too large"] + ["unreadable file"] * 2


def test_a_nifti_header_that_promises_gigabytes_is_refused(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header.set_data_dtype(np.float32)
    header["vox_offset"] = 352
    buffer = io.BytesIO()
    header.write_to(buffer)
    (tmp_path / "s.nii").write_bytes(buffer.getvalue() + b"\0" * 1000)
    assert reason(tmp_path / "s.nii") == "too large"


def test_another_number_of_voxels_is_told(signals):
    with pytest.raises(SignalError, match="15724 voxels; the model reads 100"):
        fmri.to_input(signals["fmri"], {"voxels": 100})


@settings(deadline=None, max_examples=50)
@given(voxels=st.integers(2, 500), repeats=st.integers(1, 5), seed=st.integers(0, 99))
def test_any_responses_survive_the_shard(voxels, repeats, seed):
    array = np.random.default_rng(seed).normal(size=(repeats, voxels))
    signal = fmri.canonical(array)
    again = fmri.load(fmri.store(signal))
    assert (again == signal).all()
    assert np.allclose(again, array.mean(axis=0), atol=1e-6)
    assert fmri.to_input(again, {"voxels": voxels}).shape == (1, voxels)


@pytest.mark.parametrize("uniques", [1, 2, 3])
def test_rows_that_fill_up_have_no_part_in_the_mean(tmp_path, uniques):
    rows = np.random.default_rng(0).standard_normal((3, 7))
    np.save(tmp_path / "sample7.nsdgeneral.npy", rows)
    np.save(tmp_path / "sample7.num_uniques.npy", np.array([uniques]))
    paths = (tmp_path / "sample7.nsdgeneral.npy",)
    np.testing.assert_allclose(fmri.read(paths), rows[:uniques].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fmri.read(paths, fmri_average="all"), rows.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("number", [0, 4, 1.5])
def test_a_number_of_repeats_that_cannot_be(tmp_path, number):
    np.save(tmp_path / "a.nsdgeneral.npy", np.eye(3))
    np.save(tmp_path / "a.num_uniques.npy", np.array([number]))
    with pytest.raises(SignalError, match=r"a.num_uniques.npy holds .*; expected 1 to 3"):
        fmri.read((tmp_path / "a.nsdgeneral.npy",))


def test_packed_volumes_of_a_folder_are_prepared_with_a_mask(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    volume = np.random.default_rng(0).standard_normal((3, 4, 2, 5)).astype(np.float32)
    region = (np.arange(24) % 3 - 1).reshape(3, 4, 2).astype(np.int16)  # -1, 0 and 1
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), src / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(region, np.eye(4)), tmp_path / "roi.nii.gz")
    (src / "metadata.csv").write_text("file,caption\na.nii.gz,a face\n")
    given = {"mask": str(tmp_path / "roi.nii.gz")}
    prepare(PrepareOptions("fmri", src, tmp_path / "out", workers=1, given=given))
    (record,) = ShardReader(tmp_path / "out")
    np.testing.assert_allclose(record.signals["fmri"], volume.mean(axis=-1)[region > 0], rtol=1e-5)
