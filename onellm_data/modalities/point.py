"""Point clouds: up to 8192 coloured points.

Source of the figures: OneLLM (arXiv 2312.03700) reads 8192 points after PointLLM (Xu et al.
2023); its tokenizer makes 1024 groups of the 32 points around a centre.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onellm_data.errors import SignalError, UsageError, require
from onellm_data.modalities import clouds, drawing, pcd, ply
from onellm_data.modalities.base import Modality, Options, SignalContract
from onellm_data.modalities.decoding import (
    TOO_LARGE,
    UNREADABLE,
    WRONG_SHAPE,
    decoding,
    from_npy_bytes,
    npy_bytes,
    read_array,
    read_bounded,
)
from onellm_data.modalities.meshes import read_surface
from onellm_data.modalities.tokenizer_specs import PointGroupsSpec

if TYPE_CHECKING:
    from PIL import Image

MAX_POINTS = 8192

SURFACE_POINTS = 2 * MAX_POINTS
"""Points drawn from a mesh before 8192 of them are chosen to cover it evenly."""

MAX_SAMPLED = 4 * MAX_POINTS
"""Points among which 8192 are chosen: sampling takes time in proportion to them."""

MAX_CLOUD_BYTES = 512 * 2**20
MAX_MESH_BYTES = 128 * 2**20

ARRAY_NAMES = ("points", "xyz", "arr_0")
DRAWN_SIZE, DRAWN_POINT = 240, 2


def read(paths: Sequence[Path]) -> np.ndarray:
    """Read a point cloud, or draw one from a mesh's surface.

    Returns:
        float32 ``[P, 6]``, P at most 8192: xyz in the file's own units and axes, rgb in 0 to 1.

    Raises:
        SignalError: The file holds no such cloud, or all its points are at one place.
    """
    (path,) = paths
    with decoding(path, "a point cloud or a mesh"):
        return canonical(_READERS.get(path.suffix.lower(), _read_array)(path))


def _read_array(path: Path) -> np.ndarray:
    return clouds.from_rows(read_array(path, ARRAY_NAMES))


def _read_tensor(path: Path) -> np.ndarray:
    """A tensor that PyTorch saved, as Cap3D has them: ``[6, N]``.  Anything else in the file is refused."""
    torch = require("torch", "point")
    file = io.BytesIO(read_bounded(path, MAX_CLOUD_BYTES))
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_CLOUD_BYTES:
        raise SignalError(TOO_LARGE, f"{unpacked} bytes once unpacked; at most {MAX_CLOUD_BYTES}")
    file.seek(0)
    try:
        tensor = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its own text recommends to switch the protection off
        raise SignalError(UNREADABLE, "the file holds more than tensors; expected one tensor") from error
    return clouds.from_rows(tensor.detach().numpy())


def _read_pcd(path: Path) -> np.ndarray:
    return clouds.from_columns(pcd.read_columns(read_bounded(path, MAX_CLOUD_BYTES)))


def _read_ply(path: Path) -> np.ndarray:
    data = read_bounded(path, MAX_CLOUD_BYTES)
    header = ply.read_header(data)
    if header.count("face"):
        return _surface(path, data)
    return clouds.from_columns(ply.read_vertices(data, header))


def _read_mesh(path: Path) -> np.ndarray:
    return _surface(path, read_bounded(path, MAX_MESH_BYTES))


def _surface(path: Path, data: bytes) -> np.ndarray:
    return read_surface(data, path.suffix[1:].lower(), SURFACE_POINTS)


_READERS = {
    ".pt": _read_tensor,
    ".pcd": _read_pcd,
    ".ply": _read_ply,
    ".obj": _read_mesh,
    ".stl": _read_mesh,
    ".glb": _read_mesh,
}


def canonical(points: np.ndarray) -> np.ndarray:
    """Finite points, at most 8192 of them, chosen by furthest point sampling.

    A cloud of 8192 points or fewer keeps its order.

    Args:
        points: ``[N, 6]``: xyz, and rgb in 0 to 1.

    Returns:
        float32 ``[P, 6]``.

    Raises:
        SignalError: No two finite points differ.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold counts as not finite
        points = points.astype(np.float32)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        raise SignalError(clouds.DEGENERATE, "no point with finite coordinates")
    points = clouds.thinned(points, MAX_SAMPLED)
    placed = clouds.centred(points)
    if len(points) > MAX_POINTS:
        points = points[clouds.furthest_points(placed[:, :3], MAX_POINTS)]
        clouds.centred(points)
    return points


def to_input(signal: np.ndarray, options: Options) -> np.ndarray:
    """Centre, scale to radius 1, then choose or repeat points.

    More than ``points`` are reduced by furthest point sampling from the first; fewer are
    repeated in their order.

    Args:
        signal: float32 ``[P, 6]``.
        options: ``points``, how many the model reads.

    Returns:
        float32 ``[points, 6]``.
    """
    wanted = options["points"]
    if wanted < 1:
        raise UsageError(f"the point option points is {wanted}; expected at least 1")
    placed = clouds.centred(signal)
    if len(placed) > wanted:
        return placed[clouds.furthest_points(placed[:, :3], wanted)]
    return placed[np.arange(wanted) % len(placed)]


def store(signal: np.ndarray) -> dict[str, bytes]:
    """The canonical cloud as one ``.npy`` member."""
    return {"npy": npy_bytes(signal)}


def load(members: Mapping[str, bytes]) -> np.ndarray:
    """The inverse of ``store``."""
    signal = from_npy_bytes(members["npy"])
    if signal.dtype != np.float32 or signal.ndim != 2 or signal.shape[1] != 6:
        raise SignalError(WRONG_SHAPE, f"{signal.dtype} {signal.shape}; expected float32 [P, 6]")
    return signal


def draw(signal: np.ndarray) -> Image.Image:
    """The cloud from two sides: along z and along y."""
    placed = clouds.centred(signal)
    views = [
        drawing.titled(_view(placed, across, up, depth), title)
        for across, up, depth, title in ((0, 1, 2, "x right, y up"), (0, 2, 1, "x right, z up"))
    ]
    return drawing.row(views)


def _view(placed: np.ndarray, across: int, up: int, depth: int) -> Image.Image:
    """Points as small squares, the nearest last; a cloud without colours is shaded by distance."""
    order = np.argsort(placed[:, depth] if depth == 2 else -placed[:, depth])
    points = placed[order]
    colors = (np.clip(points[:, 3:], 0, 1) * 255).astype(np.uint8)
    if not colors.any():
        colors = drawing.colored(np.linspace(0, 1, len(points)), 0, 1)
    canvas = np.full((DRAWN_SIZE, DRAWN_SIZE, 3), 255, dtype=np.uint8)
    span = DRAWN_SIZE - DRAWN_POINT - 1
    x = ((points[:, across] + 1) / 2 * span).astype(int)
    y = ((1 - points[:, up]) / 2 * span).astype(int)
    for dx in range(DRAWN_POINT):
        for dy in range(DRAWN_POINT):
            canvas[y + dy, x + dx] = colors
    return drawing.from_array(canvas)


MODALITY = Modality(
    name="point",
    title="point cloud",
    contract=SignalContract(
        shape=f"[P, 6], P at most {MAX_POINTS}",
        dtype="float32",
        axes="point, value (x, y, z, r, g, b)",
        units="xyz as in the file, rgb 0 to 1 (0 if there are no colours)",
    ),
    extra="point",
    suffixes=(".npy", ".npz", ".pt", *(suffix for suffix in _READERS if suffix != ".pt")),
    tokenizer=PointGroupsSpec(),
    options={"points": MAX_POINTS},
    input_shape=lambda options: (options["points"], 6),
    read=read,
    to_input=to_input,
    store=store,
    load=load,
    draw=draw,
)
