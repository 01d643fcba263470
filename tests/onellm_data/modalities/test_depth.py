"""Depth maps: metres, millimetres and relative maps, and what does not fit its picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from onellm_data.errors import SignalError
from onellm_data.modalities import depth, pictures
from onellm_data.modalities.depth import DepthPair

OPTIONS = depth.MODALITY.options


@pytest.fixture
def pair(tmp_path, encoded, picture):
    """Write a 60 × 40 picture and the given map, and read both."""

    def read(data: bytes, name: str) -> DepthPair:
        (tmp_path / "rgb.png").write_bytes(encoded(picture(40, 60), "PNG"))
        (tmp_path / name).write_bytes(data)
        return depth.read([tmp_path / "rgb.png", tmp_path / name])

    return read


def tiff(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    return buffer.getvalue()


def test_metres_become_millimetres_and_what_is_unknown_becomes_0(pair, npy):
    metres = np.linspace(0.5, 4, 20 * 30).reshape(20, 30)
    metres[0, :5] = np.nan, np.inf, -1, 0, 90
    for data, name in (
        (npy(metres), "z.npy"),
        (npy(metres.astype(">f4")), "z.npy"),
        (npy(metres[..., None]), "z.npy"),
        (tiff(metres.astype(np.float32)), "z.tiff"),
    ):
        found = pair(data, name)
        assert found.depth.dtype == np.uint16
        assert found.scale == 0.001
        assert found.depth[0, :5].tolist() == [0, 0, 0, 0, 65535]
        assert np.abs(found.depth[1:] * found.scale - metres[1:]).max() <= 0.00051


def test_sixteen_bit_pictures_hold_millimetres(pair, encoded):
    steps = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    found = pair(encoded(steps, "PNG"), "z.png")
    assert (found.depth == steps).all()
    assert found.scale == 0.001


@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bit_pictures_are_relative_maps_and_stay_as_they_are(pair, encoded, picture, channels):
    pixels = picture(20, 30) if channels == 3 else picture(20, 30)[..., 0]
    found = pair(encoded(pixels, "PNG"), "z.png")
    assert (found.depth == pixels).all()
    assert found.scale is None
    assert (depth.shown(found) == pixels.reshape(20, 30, channels)).all()


def test_near_is_bright_far_is_dark_and_unknown_is_black():
    steps = np.tile(np.linspace(1000, 4000, 100).astype(np.uint16), (50, 1))
    steps[:, 40:45] = 0
    shown = depth.shown(DepthPair(np.zeros((50, 100, 3), np.uint8), steps))
    assert shown[0, 0].tolist() == [255] * 3
    assert shown[0, 99].tolist() == [0] * 3
    assert (shown[:, 40:45] == 0).all()
    known = np.delete(shown[0, :, 0].astype(int), range(40, 45))
    assert (np.diff(known) <= 0).all()


def test_a_few_wild_depths_do_not_darken_the_rest():
    steps = np.tile(np.linspace(1000, 4000, 200).astype(np.uint16), (100, 1))
    wild = steps.copy()
    wild[0, :20] = 65535
    rgb = np.zeros((100, 200, 3), np.uint8)
    plain, shown = (depth.shown(DepthPair(rgb, s)).astype(int) for s in (steps, wild))
    assert np.abs(plain[1:] - shown[1:]).max() < 6


def test_one_depth_everywhere_is_white():
    shown = depth.shown(DepthPair(np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 700, np.uint16)))
    assert (shown == 255).all()


def test_input_is_the_picture_then_the_map(signals):
    values = depth.to_input(signals["depth"], OPTIONS)
    for plane, pixels in zip(values, (signals["depth"].rgb, depth.shown(signals["depth"])), strict=True):
        expected = pictures.normalised(pictures.resize_and_crop(pixels, 224), OPTIONS)
        assert (plane == expected).all()


def test_both_are_cropped_alike(signals):
    rgb = signals["depth"].rgb
    twins = np.stack([depth.to_input(DepthPair(rgb, rgb), OPTIONS)[0]] * 2)
    cropped = depth.MODALITY.augment(twins, OPTIONS, np.random.default_rng(3))
    assert (cropped[0] == cropped[1]).all()
    assert (cropped != twins).any()


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((20, 30), True), ((80, 120), True), ((21, 31), True), ((30, 30), False), ((30, 20), False)],
)
def test_a_map_must_have_its_pictures_aspect_ratio(pair, npy, shape, fits):
    data = npy(np.ones(shape))
    if fits:
        assert pair(data, "z.npy").depth.shape == shape
        return
    with pytest.raises(SignalError, match="60 × 40 pixels, its map") as caught:
        pair(data, "z.npy")
    assert caught.value.reason == "aspect ratios differ"


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((20, 30)), "no depth measured"),
        (np.full((20, 30), np.nan), "no depth measured"),
        (np.ones((20, 30), np.int64), "wrong shape"),
        (np.ones((20, 30, 3)), "wrong shape"),
        (np.ones(30), "wrong shape"),
        (np.ones((0, 30)), "wrong shape"),
    ],
)
def test_what_is_wrong_with_a_map_has_a_fixed_reason(pair, npy, array, reason):
    with pytest.raises(SignalError) as caught:
        pair(npy(array), "z.npy")
    assert caught.value.reason == reason


def test_the_message_names_the_file_that_is_bad(pair, tmp_path):
    with pytest.raises(SignalError, match=r"z\.png"):
        pair(b"not a picture", "z.png")
    (tmp_path / "broken.png").write_bytes(b"neither")
    with pytest.raises(SignalError, match=r"broken\.png"):
        depth.read([tmp_path / "broken.png", Path("any.png")])


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_any_metric_map_survives_the_shard(steps):
    steps[0, 0] = 1
    found = DepthPair(np.zeros((*steps.shape, 3), np.uint8), steps)
    again = depth.load(depth.store(found))
    assert again.depth.dtype == np.uint16
    assert (again.depth == steps).all()


@settings(deadline=None, max_examples=100)
@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_any_numbers_become_steps(metres):
    steps = depth.from_array(metres)
    ordinary = (metres > 0.001) & (metres < 65)
    assert (np.abs(steps[ordinary] / 1000 - metres[ordinary]) <= 0.00051).all()
    assert (steps[~(metres > 0) | np.isinf(metres)] == 0).all()
