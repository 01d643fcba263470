"""Samples a second on one core, from storage to model input, by three ways, in the same run.

    python benchmarks/reading.py [files] [seconds]

For each modality: ``ShardReader`` and ``to_input``; ``webdataset``'s pipeline over the same shards and
``to_input``; and decoding the raw file each time, as the published loaders do. All three end in the
same numbers (films: nearly), which is checked. Files are made here from formulas, in the sizes that
data sets have.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import av
import numpy as np
import soundfile
import torch
import webdataset
from PIL import Image

from onellm_data import modalities
from onellm_data.modalities.base import Modality
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare
from onellm_data.shards.reader import ShardReader

RNG = np.random.default_rng(0)


def smooth(height: int, width: int) -> np.ndarray:
    """uint8 ``[H, W, 3]``: smooth colours with a little noise, which compress as photographs do."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(9 * x + phase) * np.cos(7 * y + 2 * phase) for phase in RNG.uniform(0, 6, 3)]
    return np.clip(127 + 100 * np.stack(waves, -1) + RNG.normal(0, 4, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


def save_picture(folder: Path, name: str, size: tuple[int, int] = (960, 1280)) -> str:
    """A JPEG file."""
    Image.fromarray(smooth(*size)).save(folder / f"{name}.jpg", quality=90)
    return f"{name}.jpg"


def save_film(folder: Path, name: str) -> str:
    """10 s of H.264 at 25 frames a second."""
    with av.open(str(folder / f"{name}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        still = smooth(360, 480)
        for shift in range(250):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(still, shift, axis=1)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return f"{name}.mp4"


def save_sound(folder: Path, name: str) -> str:
    """20 s of noise at 44.1 kHz."""
    soundfile.write(folder / f"{name}.wav", RNG.uniform(-0.5, 0.5, 44_100 * 20), 44_100)
    return f"{name}.wav"


def save_array(folder: Path, name: str, shape: tuple[int, ...]) -> str:
    """Normal numbers as ``.npy``."""
    np.save(folder / f"{name}.npy", RNG.normal(size=shape).astype(np.float32))
    return f"{name}.npy"


def save_motion(folder: Path, name: str) -> str:
    """10 s at 200 Hz as CSV."""
    names = "timestamp_ms,accl_x,accl_y,accl_z,gyro_x,gyro_y,gyro_z"
    rows = np.column_stack([np.arange(2000) * 5.0, RNG.normal(size=(2000, 6))])
    np.savetxt(folder / f"{name}.csv", rows, "%.6f", ",", header=names, comments="")
    return f"{name}.csv"


def save_depth(folder: Path, name: str) -> str:
    """A picture, and a map of millimetres."""
    depth = 1000 + 20 * smooth(480, 640)[..., 0].astype(np.uint16)
    Image.fromarray(depth).save(folder / f"{name}-map.png")
    return f"{save_picture(folder, name, (480, 640))},{name}-map.png"


def save_normals(folder: Path, name: str) -> str:
    """A picture, and a map of directions."""
    Image.fromarray(smooth(480, 640)).save(folder / f"{name}-map.png")
    return f"{save_picture(folder, name, (480, 640))},{name}-map.png"


MAKERS: dict[str, Callable[[Path, str], str]] = {
    "image": save_picture,
    "video": save_film,
    "audio": save_sound,
    "point": lambda folder, name: save_array(folder, name, (20_000, 6)),
    "depth": save_depth,
    "normal": save_normals,
    "imu": save_motion,
    "fmri": lambda folder, name: save_array(folder, name, (15_724,)),
}


def make_raw(modality: Modality, folder: Path, files: int) -> list[list[Path]]:
    """A folder with a table; the files of each row."""
    folder.mkdir()
    rows = [MAKERS[modality.name](folder, str(number)) for number in range(files)]
    columns = "file" if len(modality.parts) == 1 else ",".join(modality.parts)
    table = [f"{columns},caption", *(f"{row},a caption" for row in rows)]
    (folder / "metadata.csv").write_text("\n".join(table) + "\n")
    return [[folder / name for name in row.split(",")] for row in rows]


def from_webdataset(modality: Modality, out: Path) -> Iterator[np.ndarray]:
    """Inputs of one pass by ``webdataset``."""
    for sample in webdataset.WebDataset(
        [str(path) for path in sorted(out.glob("*.tar"))], shardshuffle=False
    ):
        prefix = f"{modality.name}."
        members = {
            name.removeprefix(prefix): data for name, data in sample.items() if name.startswith(prefix)
        }
        yield modality.to_input(modality.load(members), modality.options)


def rate(make: Callable[[], Iterator[np.ndarray]], seconds: float) -> float:
    """Samples for each second of processor time, over whole passes; the first one does not count."""
    for _ in make():
        pass
    count, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        for _ in make():
            count += 1
    return count / (time.process_time() - begin)


def measure(modality: Modality, folder: Path, files: int, seconds: float) -> tuple[float, ...]:
    """Rates of the three ways."""
    rows = make_raw(modality, folder / "src", files)
    report = prepare(PrepareOptions(modality.name, src=folder / "src", out=folder / "out", workers=1))
    assert report.kept == files, report.rejected
    reader = ShardReader(folder / "out")

    def shards() -> Iterator[np.ndarray]:
        return (modality.to_input(one.signals[modality.name], modality.options) for one in reader)

    def webs() -> Iterator[np.ndarray]:
        return from_webdataset(modality, folder / "out")

    def raw() -> Iterator[np.ndarray]:
        return (modality.to_input(modality.read(paths), modality.options) for paths in rows)

    for ours, theirs, again in zip(shards(), webs(), raw(), strict=True):
        assert np.array_equal(ours, theirs), f"{modality.name}: webdataset gives another input"
        # Frames of films are JPEG in shards.
        assert np.abs(ours - again).mean() < 0.1, f"{modality.name}: the raw file gives another input"
    return tuple(rate(way, seconds) for way in (shards, webs, raw))


def main(files: float = 24, seconds: float = 5) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'samples/s/core':<16}{'shards':>10}{'webdataset':>12}{'raw files':>11}{'ratios':>16}")
    for name in modalities.names():
        with tempfile.TemporaryDirectory() as folder:
            ours, webs, raw = measure(modalities.get(name), Path(folder), int(files), seconds)
        print(f"{name:<16}{ours:>10.1f}{webs:>12.1f}{raw:>11.1f}{ours / webs:>9.2f}{ours / raw:>7.2f}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
