"""Point clouds as arrays: colours in 0 to 1, thinning, and furthest point sampling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onellm_data.errors import SignalError
from onellm_data.modalities.decoding import WRONG_SHAPE

THINNING_SEED = 0

MAX_ROWS = 131_072
"""Rows of a file that are looked at: more are thinned before they are converted, to bound memory."""

COLOR_NAMES = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
DEGENERATE = "degenerate cloud"


def from_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Points from the named columns of a PLY or PCD file.

    Args:
        columns: ``[N]`` each, by lower-case name; ``x``, ``y``, ``z`` and perhaps colours.

    Returns:
        float64 ``[N, 6]``, N at most ``MAX_ROWS``: xyz, and rgb in 0 to 1 (black if there are none).

    Raises:
        SignalError: A coordinate is missing.
    """
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise SignalError(WRONG_SHAPE, f"the columns {', '.join(columns)}; expected x, y and z")
    columns = {name: thinned(column, MAX_ROWS) for name, column in columns.items()}
    points = np.zeros((len(columns["x"]), 6))
    for axis, name in enumerate("xyz"):
        points[:, axis] = columns[name]
    for names in COLOR_NAMES:
        if all(name in columns for name in names):
            points[:, 3:] = colors(np.stack([columns[name] for name in names], axis=1))
            break
    return points


def from_rows(array: np.ndarray) -> np.ndarray:
    """Points from an array of rows xyz, or xyz rgb, or its transpose; further columns are dropped.

    Returns:
        float64 ``[N, 6]``, N at most ``MAX_ROWS``: xyz, and rgb in 0 to 1 (black if there are none).

    Raises:
        SignalError: Another shape.
    """
    if array.ndim == 2 and array.shape[0] in (3, 6) and array.shape[1] > 6:
        array = array.T
    if array.ndim != 2 or array.shape[1] < 3:
        raise SignalError(WRONG_SHAPE, f"an array of shape {array.shape}; expected [N, 3], [N, 6] or [6, N]")
    array = thinned(array, MAX_ROWS)
    points = np.zeros((len(array), 6))
    points[:, :3] = array[:, :3]
    if array.shape[1] >= 6:
        points[:, 3:] = colors(array[:, 3:6])
    return points


def colors(values: np.ndarray) -> np.ndarray:
    """Colours in 0 to 1.

    8-bit and 16-bit integers are divided by their greatest value; other numbers are taken as
    they are if none is above 1, else divided by 255.  Numbers below 0 are no colours but surface
    normals, as ModelNet has in this place: black.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values / np.iinfo(values.dtype).max
    known = values[np.isfinite(values)]
    if known.min(initial=0) < 0:
        return np.zeros(values.shape)
    return values / 255 if known.max(initial=0) > 1 else values


def thinned(rows: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` rows, drawn without replacement by a fixed seed, in their order."""
    if len(rows) <= count:
        return rows
    chosen = np.random.default_rng(THINNING_SEED).choice(len(rows), size=count, replace=False)
    return rows[np.sort(chosen)]


def centred(points: np.ndarray) -> np.ndarray:
    """Coordinates around their mean, the furthest at distance 1; colours as they are.

    Args:
        points: ``[P, 6]``, xyz rgb.

    Returns:
        float32 ``[P, 6]``.

    Raises:
        SignalError: All points are the same.
    """
    xyz = points[:, :3].astype(np.float64)
    xyz -= xyz.mean(axis=0)
    # Scaled by the largest coordinate first, so that squares neither overflow nor vanish.
    reach = np.abs(xyz).max()
    if not reach > 0:
        raise SignalError(DEGENERATE, f"{len(points)} points, all at one place")
    xyz /= reach
    xyz /= np.sqrt((xyz**2).sum(axis=1).max())
    return np.concatenate([xyz, points[:, 3:]], axis=1).astype(np.float32)


def furthest_points(xyz: np.ndarray, count: int) -> np.ndarray:
    """Furthest point sampling (Eldar et al. 1997): each next point is the furthest from those chosen.

    The first ``k`` of the result are the sampling of ``k`` points.

    Args:
        xyz: float32 ``[P, 3]``, of moderate size (see ``centred``).
        count: How many points, at most P.

    Returns:
        int64 ``[count]``, the rows chosen; row 0 is the first.
    """
    axes = np.ascontiguousarray(xyz.T, dtype=np.float32)
    offsets, squared = np.empty_like(axes), np.empty_like(axes[0])
    nearest = np.full(len(xyz), np.inf, dtype=np.float32)
    chosen = np.zeros(count, dtype=np.int64)
    for place in range(1, count):
        np.subtract(axes, axes[:, chosen[place - 1], None], out=offsets)
        np.multiply(offsets, offsets, out=offsets)
        np.add(offsets[0], offsets[1], out=squared)
        np.add(squared, offsets[2], out=squared)
        np.minimum(nearest, squared, out=nearest)
        chosen[place] = nearest.argmax()
    return chosen
