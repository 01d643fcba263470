"""Normals from depth, on surfaces whose normals are known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onellm_data.errors import SignalError
from onellm_data.modalities import normal
from onellm_data.modalities.depth import DepthPair
from onellm_data.modalities.geometry import Intrinsics, normals_from_depth

CAMERA = Intrinsics(fx=60, fy=80, cx=31, cy=20)


def plane(direction: tuple[float, float, float], distance: float = 2.0) -> np.ndarray:
    """Depth ``[48, 64]`` of the plane n · P = −distance, n in axes x right, y up, z towards the camera."""
    x = (np.arange(64) - CAMERA.cx) / CAMERA.fx
    y = (np.arange(48)[:, None] - CAMERA.cy) / CAMERA.fy
    a, b, c = direction
    return distance / -(a * x - b * y - c)


@pytest.mark.parametrize("direction", [(0, 0, 1), (0, 0.6, 0.8), (-0.48, 0, 0.877268), (0.3, -0.2, 0.932738)])
def test_a_plane_has_its_normal_everywhere(direction: tuple[float, float, float]) -> None:
    normals = normals_from_depth(plane(direction), CAMERA)
    np.testing.assert_allclose(normals, np.broadcast_to(direction, normals.shape), atol=1e-5)


def test_a_sphere() -> None:
    """A ball of radius 1 whose centre is 4 in front of the camera."""
    x = (np.arange(64) - CAMERA.cx) / CAMERA.fx
    y = (np.arange(48)[:, None] - CAMERA.cy) / CAMERA.fy
    square = x**2 + y**2 + 1
    inner = 16 - 15 * square
    depth = np.where(inner > 0, (4 - np.sqrt(np.maximum(inner, 0))) / square, 0)
    expected = np.stack([x * depth, -y * depth, 4 - depth], axis=-1)
    close = np.hypot(x, y) < 0.15
    normals = normals_from_depth(depth, CAMERA)
    np.testing.assert_allclose(normals[close], expected[close], atol=0.01)
    assert np.isnan(normals[0, 0]).all()


def test_unknown_depth_makes_unknown_normals() -> None:
    depth = plane((0, 0, 1))
    depth[10, 10], depth[30, 30] = 0, np.nan
    unknown = np.isnan(normals_from_depth(depth, CAMERA)).any(axis=-1)
    for row, column in ((10, 10), (30, 30)):
        assert unknown[row, column - 2 : column + 3].tolist() == [True, False, True, False, True]
        unknown[row - 2 : row + 3, column - 2 : column + 3] = False
    assert not unknown.any()


def test_the_map_that_is_stored() -> None:
    """Facing the camera is (128, 128, 255), the floor is green, what is unknown is grey."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    millimetres = np.full((48, 64), 2000, np.uint16)
    millimetres[0, 0] = 0
    pair = normal.from_depth(DepthPair(rgb, millimetres), CAMERA)
    assert pair.normal[24, 32].tolist() == [128, 128, 255]
    assert pair.normal[0, 0].tolist() == [128, 128, 128]


def test_relative_depth_has_no_normals() -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(SignalError, match="relative depth: normals need a metric map"):
        normal.from_depth(DepthPair(rgb, np.ones((48, 64), np.uint8)), CAMERA)


def test_reading_a_depth_map_as_normals(tmp_path) -> None:
    paths = (tmp_path / "rgb.png", tmp_path / "depth.npy")
    Image.new("RGB", (64, 48)).save(paths[0])
    np.save(paths[1], plane((0, 0.6, 0.8)))
    camera = Intrinsics.centred(70, 48, 64)
    got = normal.read(paths, normals_from="depth", focal=70)
    steps = np.round(plane((0, 0.6, 0.8)) * 1000)
    expected = normal.from_array(normals_from_depth(steps, camera))
    np.testing.assert_array_equal(got.normal, expected)
    with pytest.raises(SignalError, match="no focal length: got 0, expected pixels; --focal tells it"):
        normal.read(paths, normals_from="depth")
