"""Surface normals from metric depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REACH = 2
"""Pixels to each side between which depth is compared: the steps of 1 mm would show between neighbours."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, in pixels of the depth map.

    Attributes:
        fx: Focal length along rows.
        fy: Focal length along columns.
        cx: Column of the optical axis, from 0.
        cy: Row of it.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def centred(cls, focal: float, height: int, width: int) -> Intrinsics:
        """A camera with square pixels that looks at the middle of its picture."""
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)


def normals_from_depth(depth: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Surface normals of a depth map.

    A pixel (u, v) of depth Z is the point P = Z · ((u − cx) / fx, (v − cy) / fy, 1) (pinhole camera,
    Hartley & Zisserman 2004, chapter 6).  The normal is the normalised cross product of the differences
    of P along the column and along the row (do Carmo 1976, section 2-4), each between pixels ``REACH`` to
    both sides; so it faces the camera.

    Args:
        depth: ``[h, w]`` along the optical axis, in any unit; 0 or below, or NaN where unknown.
        camera: The camera of the map.

    Returns:
        float32 ``[h, w, 3]``, of length 1: x to the right, y up, z towards the camera; NaN where the depth
        of the pixel or of one it is compared with is unknown.
    """
    known = np.where(depth > 0, depth, np.nan).astype(np.float64)
    height, width = known.shape
    x = (np.arange(width) - camera.cx) / camera.fx
    y = (np.arange(height)[:, None] - camera.cy) / camera.fy
    points = np.stack([x * known, y * known, known], axis=-1)
    normals = np.cross(_differences(points, 0), _differences(points, 1))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.full_like(normals, np.nan), where=length > 0)
    normals[np.isnan(known)] = np.nan
    return (normals * (1, -1, -1)).astype(np.float32)  # from x right, y down, z away


def _differences(points: np.ndarray, axis: int) -> np.ndarray:
    """Points ``REACH`` further minus those ``REACH`` before along ``axis``, less far at the border."""
    last = points.shape[axis] - 1
    places = np.arange(last + 1)
    after, before = np.minimum(places + REACH, last), np.maximum(places - REACH, 0)
    return points.take(after, axis) - points.take(before, axis)
