"""Meshes as point clouds: points drawn from the surface by area, by a fixed seed.

``trimesh`` parses; files that a mesh refers to are never opened.
"""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np

from onellm_data.errors import SignalError, require
from onellm_data.modalities.decoding import TOO_LARGE, UNREADABLE

MAX_FACES = 10_000_000
SAMPLING_SEED = 0

_GLB_HEADER = struct.Struct("<4sIIII")


def read_surface(data: bytes, kind: str, count: int) -> np.ndarray:
    """Points of a mesh file's surface; the vertices, if it has no faces.

    Args:
        data: The file.
        kind: Its ending without the dot: ``obj``, ``stl``, ``glb`` or ``ply``.
        count: How many points to draw.

    Returns:
        float64 ``[count, 6]``: xyz, and rgb in 0 to 1 (black if the mesh has no colours).

    Raises:
        SignalError: Nothing to draw from, or more faces than ``MAX_FACES``.
    """
    trimesh = require("trimesh", "point")
    if kind == "glb":
        _check_glb(data)
    scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, resolver=None)
    names = [scene.graph[node][1] for node in scene.graph.nodes_geometry]
    faces = sum(len(getattr(scene.geometry[name], "faces", ())) for name in names)
    if faces > MAX_FACES:
        raise SignalError(TOO_LARGE, f"{faces} faces; at most {MAX_FACES:,}")
    parts = [part for part in scene.dump() if len(part.vertices)]
    if not parts:
        raise SignalError(UNREADABLE, "no vertices and no faces")
    if not faces:
        return np.concatenate([_with_colors(part.vertices, _vertex_colors(part)) for part in parts])
    return _sample([part for part in parts if len(getattr(part, "faces", ()))], count)


def _check_glb(data: bytes) -> None:
    """Refuse a GLB file whose accessors promise more elements than the file has bytes."""
    magic, _, _, length, _ = _GLB_HEADER.unpack_from(data)
    if magic != b"glTF":
        raise SignalError(UNREADABLE, "the file does not begin with 'glTF'")
    tree = json.loads(data[_GLB_HEADER.size : _GLB_HEADER.size + length])
    promised = max((accessor["count"] for accessor in tree.get("accessors", [])), default=0)
    if promised > len(data):
        raise SignalError(TOO_LARGE, f"the file promises {promised} elements in {len(data)} bytes")


def _sample(parts: list[Any], count: int) -> np.ndarray:
    """Draw ``count`` points from several meshes, each as often as its area says."""
    areas = np.array([part.area for part in parts])
    if not areas.sum() > 0:
        raise SignalError(UNREADABLE, "the faces have no area")
    ends = np.round(np.cumsum(areas) / areas.sum() * count).astype(int)
    shares = np.diff(ends, prepend=0)
    return np.concatenate([_sample_one(part, int(n)) for part, n in zip(parts, shares, strict=True)])


def _sample_one(mesh: Any, count: int) -> np.ndarray:
    """Points of one mesh with the colours of its texture, its vertices or its faces."""
    sample = require("trimesh.sample", "point").sample_surface
    points, faces = sample(mesh, count, seed=SAMPLING_SEED)
    weights = require("trimesh.triangles", "point").points_to_barycentric(mesh.triangles[faces], points)
    corners = mesh.faces[faces]
    if mesh.visual.kind == "face":
        return _with_colors(points, mesh.visual.face_colors[faces])
    uv = getattr(mesh.visual, "uv", None)
    image = _texture(mesh)
    if uv is not None and image is not None:
        interpolated = (uv[corners] * weights[..., None]).sum(axis=1)
        color = require("trimesh.visual.color", "point").uv_to_interpolated_color(interpolated, image)
        return _with_colors(points, color)
    colors = _vertex_colors(mesh)
    return _with_colors(
        points, None if colors is None else (colors[corners] * weights[..., None]).sum(axis=1)
    )


def _texture(mesh: Any) -> Any:
    """The picture of a mesh's material, if it has one."""
    material = getattr(mesh.visual, "material", None)
    return getattr(material, "baseColorTexture", None) or getattr(material, "image", None)


def _vertex_colors(part: Any) -> np.ndarray | None:
    """0 to 255 ``[V, 4]`` for each vertex; None if the file has no colours."""
    if getattr(part, "visual", None) is None:
        return getattr(part, "colors", None) if len(getattr(part, "colors", ())) else None
    if part.visual.kind is None:
        return None
    visual = part.visual.to_color() if part.visual.kind == "texture" else part.visual
    return np.asarray(visual.vertex_colors, dtype=np.float64)


def _with_colors(xyz: np.ndarray, colors: np.ndarray | None) -> np.ndarray:
    """Coordinates with rgb in 0 to 1, or with black."""
    points = np.zeros((len(xyz), 6))
    points[:, :3] = xyz
    if colors is not None:
        points[:, 3:] = np.asarray(colors)[:, :3] / 255
    return points
