"""Small signals and files of every kind, all made here from formulas."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from onellm_data.modalities.depth import DepthPair
from onellm_data.modalities.imu import CHANNELS
from onellm_data.modalities.normal import NormalPair


@pytest.fixture(scope="session")
def golden_folder(repository) -> Path:
    """Sound files and the numbers that the published preprocessing made of them."""
    return repository / "tests/data/golden/preprocessing"


@pytest.fixture(scope="session")
def golden(golden_folder) -> dict[str, np.ndarray]:
    return load_file(golden_folder / "expected.safetensors")


def smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]: smooth colours, as photographs have, different for each seed."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(5 * x + phase) * np.cos(3 * y + 2 * phase) for phase in phases]
    return (127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    return smooth_picture


@pytest.fixture(scope="session")
def signals() -> dict[str, object]:
    """One canonical signal of each modality."""
    rng = np.random.default_rng(7)
    rgb = smooth_picture(40, 60)
    sound = np.round(0.4 * np.sin(np.arange(8000) ** 1.3 / 40) * 32768) / 32768
    cloud = np.concatenate([rng.normal(size=(300, 3)), rng.uniform(size=(300, 3))], axis=1)
    return {
        "image": rgb,
        "video": np.stack([smooth_picture(48, 64, seed) for seed in range(5)]),
        "audio": sound.astype(np.float32),
        "point": cloud.astype(np.float32),
        "depth": DepthPair(rgb, rng.integers(0, 5000, (20, 30)).astype(np.uint16)),
        "normal": NormalPair(rgb, smooth_picture(20, 30, seed=3)),
        "imu": rng.normal(size=(6, 500)).astype(np.float32),
        "fmri": rng.normal(size=15724).astype(np.float32),
    }


def image_file(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Pixels as a picture file of the named kind."""
    return image_file


@pytest.fixture(scope="session")
def make_film(tmp_path_factory) -> Callable[..., Path]:
    """Write a film whose frame ``i`` is grey of brightness ``20 + 4 (i % 50)``."""
    av = pytest.importorskip("av")

    def make(
        name: str = "film.mp4",
        frames: int = 100,
        rate: int = 20,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path_factory.mktemp("films") / name
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.bit_rate = 4_000_000
            for number in range(frames):
                gray = np.full((size[1], size[0], 3), 20 + 4 * (number % 50), dtype=np.uint8)
                gray[:4, :4] = 250  # marks the upper left corner
                container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make


def motion_table(rows: int = 40, header: str = "", step_ms: float = 5.0) -> bytes:
    names = ",".join(["timestamp_ms", *CHANNELS])
    lines = [
        ",".join([f"{step_ms * row:.3f}", *(f"{np.sin(0.1 * row * (axis + 1)):.6f}" for axis in range(6))])
        for row in range(rows)
    ]
    return "\n".join([*([header] if header else []), names, *lines, ""]).encode()


@pytest.fixture(scope="session")
def motion_csv() -> Callable[..., bytes]:
    return motion_table


def cloud_rows(count: int = 50) -> np.ndarray:
    """float64 [count, 6]: xyz, and rgb in steps of 1/255."""
    rng = np.random.default_rng(11)
    xyz = np.round(rng.normal(size=(count, 3)), 4)
    return np.concatenate([xyz, rng.integers(0, 256, (count, 3)) / 255], axis=1)


def ply_file(points: np.ndarray, order: str) -> bytes:
    """A PLY file (``ascii``, ``binary_little_endian`` or ``binary_big_endian``) with 8-bit colours."""
    header = [
        *("ply", f"format {order} 1.0", "comment made by a test", f"element vertex {len(points)}"),
        *("property float x", "property float y", "property float z"),
        *("property uchar red", "property uchar green", "property uchar blue", "property float quality"),
        "end_header\n",
    ]
    sign = ">" if "big" in order else "<"
    rows = np.zeros(
        len(points), dtype=[*((n, f"{sign}f4") for n in "xyz"), ("c", "u1", 3), ("q", f"{sign}f4")]
    )
    for axis, name in enumerate("xyz"):
        rows[name] = points[:, axis]
    rows["c"] = np.round(points[:, 3:] * 255)
    if order == "ascii":
        text = [f"{x} {y} {z} {c[0]} {c[1]} {c[2]} {q}" for x, y, z, c, q in rows.tolist()]
        return "\n".join([*header[:-1], header[-1] + "\n".join(text), ""]).encode()
    return "\n".join(header).encode() + rows.tobytes()


def lzf_literals(data: bytes) -> bytes:
    """LZF without any compression: literal runs of up to 32 bytes."""
    runs = [data[place : place + 32] for place in range(0, len(data), 32)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def pcd_file(points: np.ndarray, kind: str) -> bytes:
    """A PCD file of the given DATA kind with a packed colour."""
    header = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
        f"WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {kind}\n"
    )
    rgb = np.round(points[:, 3:] * 255).astype(np.uint32)
    packed = (rgb[:, 0] << 16 | rgb[:, 1] << 8 | rgb[:, 2]).view(np.float32)
    columns = np.concatenate([points[:, :3].astype("<f4"), packed[:, None].astype("<f4")], axis=1)
    if kind == "ascii":
        body = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in columns).encode()
    elif kind == "binary":
        body = columns.tobytes()
    else:
        plain = np.ascontiguousarray(columns.T).tobytes()
        squeezed = lzf_literals(plain)
        body = struct.pack("<II", len(squeezed), len(plain)) + squeezed
    return header.encode() + body


@pytest.fixture(scope="session")
def cloud() -> Callable[..., np.ndarray]:
    return cloud_rows


@pytest.fixture(scope="session")
def ply() -> Callable[..., bytes]:
    return ply_file


@pytest.fixture(scope="session")
def pcd() -> Callable[..., bytes]:
    return pcd_file


def npy_file(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def npy() -> Callable[[np.ndarray], bytes]:
    return npy_file
