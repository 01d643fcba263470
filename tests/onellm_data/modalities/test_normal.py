"""Surface normal maps: components, colours, and what is no normal map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onellm_data.errors import SignalError
from onellm_data.modalities import normal, pictures


@pytest.fixture
def pair(tmp_path, encoded, picture):
    """Write a 60 × 40 picture and the given map, and read both."""

    def read(data: bytes, name: str) -> normal.NormalPair:
        (tmp_path / "rgb.png").write_bytes(encoded(picture(40, 60), "PNG"))
        (tmp_path / name).write_bytes(data)
        return normal.read([tmp_path / "rgb.png", tmp_path / name])

    return read


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("layout", ["last", "first"])
def test_components_become_colours(pair, npy, axis, layout):
    components = np.zeros((20, 30, 3), np.float32)
    components[:10, :, axis], components[10:, :, axis] = 1, -1
    array = components if layout == "last" else np.moveaxis(components, -1, 0)
    found = pair(npy(array), "n.npy").normal
    assert (found[:10, :, axis] == 255).all()
    assert (found[10:, :, axis] == 0).all()
    assert (np.delete(found, axis, axis=2) == 128).all()


def test_coloured_pictures_stay_as_they_are(pair, encoded, picture):
    assert (pair(encoded(picture(20, 30), "PNG"), "n.png").normal == picture(20, 30)).all()


def test_input_is_the_picture_then_the_map(signals):
    values = normal.to_input(signals["normal"], normal.MODALITY.options)
    for plane, pixels in zip(values, (signals["normal"].rgb, signals["normal"].normal), strict=True):
        square = pictures.resize_and_crop(pixels, 224)
        assert (plane == pictures.normalised(square, normal.MODALITY.options)).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((20, 20, 3)), "aspect ratios differ"),
        (np.full((20, 30, 3), 2.0), "wrong shape"),
        (np.full((20, 30, 3), np.inf), "wrong shape"),
        (np.zeros((20, 30)), "wrong shape"),
        (np.zeros((20, 30, 4)), "wrong shape"),
        (np.zeros((0, 30, 3)), "wrong shape"),
    ],
)
def test_what_is_wrong_with_a_map_has_a_fixed_reason(pair, npy, array, reason):
    with pytest.raises(SignalError) as caught:
        pair(npy(array), "n.npy")
    assert caught.value.reason == reason


def test_a_grey_picture_is_no_normal_map(pair, encoded, picture):
    with pytest.raises(SignalError, match="three colours"):
        pair(encoded(picture(20, 30)[..., 0], "PNG"), "n.png")


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float32, (2, 5, 3), elements=st.floats(-1, 1, width=32)))
def test_components_survive_to_half_a_step(components):
    again = normal.from_array(components) / 255.0 * 2 - 1
    assert np.abs(again - components).max() <= 1 / 255 + 1e-6
