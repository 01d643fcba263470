"""A picture and a metric depth map as the signal that was asked for: depth itself, or normals from it."""

from __future__ import annotations

import numpy as np

from onellm_data.modalities import depth, normal
from onellm_data.modalities.geometry import Intrinsics

MODALITIES = ("depth", "normal")


def signal(modality: str, rgb: np.ndarray, millimetres: np.ndarray, camera: Intrinsics) -> object:
    """The canonical signal.

    Args:
        modality: ``depth`` or ``normal``.
        rgb: uint8 ``[H, W, 3]``.
        millimetres: uint16 ``[h, w]``, 0 where unknown.
        camera: The camera of the depth map.

    Raises:
        SignalError: No depth was measured, or the aspect ratios differ.
    """
    pair = depth.DepthPair(rgb, millimetres)
    return pair if modality == "depth" else normal.from_depth(pair, camera)


def meta(modality: str) -> dict[str, object]:
    """What records say of the map beside its scale: where normals come from."""
    return {"normals": "from depth"} if modality == "normal" else {}
