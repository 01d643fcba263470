"""SIGKILL at random moments, 25 times for each of the eight modalities: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onellm_data import modalities

KILLS = 25
ITEMS = 12
BAD = 5
"""This item's files hold nothing that can be read."""

Contents = Callable[[Path], dict[str, bytes]]
Write = Callable[[Path, np.random.Generator], None]


def write_picture(path: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)


def write_depth(path: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    Image.fromarray(rng.integers(500, 9000, (40, 60), dtype=np.uint16)).save(path)


def write_film(path: Path, rng: np.random.Generator) -> None:
    import av

    with av.open(path, "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for _ in range(15):
            frame = av.VideoFrame.from_ndarray(
                rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), format="rgb24"
            )
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


def write_sound(path: Path, rng: np.random.Generator) -> None:
    import soundfile

    soundfile.write(path, rng.normal(size=8000) / 10, 8000)


def write_array(*shape: int) -> Write:
    return lambda path, rng: np.save(path, rng.normal(size=shape).astype(np.float32))


FILES: dict[str, tuple[tuple[str, Write], ...]] = {
    "image": ((".png", write_picture),),
    "video": ((".mp4", write_film),),
    "audio": ((".wav", write_sound),),
    "point": ((".npy", write_array(300, 3)),),
    "depth": ((".png", write_picture), (".png", write_depth)),
    "normal": ((".png", write_picture), (".png", write_picture)),
    "imu": ((".npy", write_array(6, 400)),),
    "fmri": ((".npy", write_array(500)),),
}
"""Modality → for each of its parts the file's ending and what writes it."""


def write_source(modality: str, folder: Path) -> Path:
    """A folder with a table; one item of it is broken."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    parts = modalities.get(modality).parts
    columns = ["file"] if len(parts) == 1 else list(parts)
    rows = [[*columns, "caption", "split"]]
    for i in range(ITEMS):
        names = []
        for part, (ending, write) in zip(parts, FILES[modality], strict=True):
            names.append(f"{i}-{part}{ending}")
            write(folder / names[-1], rng)
            if i == BAD:
                (folder / names[-1]).write_bytes(b"nothing")
        rows.append([*names, f"number {i}", "test" if i % 3 == 0 else "train"])
    (folder / "metadata.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    return folder


def start(modality: str, src: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "onellm_cli",
        "prepare",
        modality,
        "--src",
        src,
        "--out",
        out,
        "--resume",
    ]
    options = ["--workers", "2", "--samples-per-shard", "2", "--max-reject-rate", "1"]
    return subprocess.Popen(
        [*map(str, command), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("modality", FILES)
def test_killed_at_random_moments(
    modality: str, tmp_path: Path, contents: Contents, record_property: Any
) -> None:
    src = write_source(modality, tmp_path / "src")
    begin = time.monotonic()
    whole = start(modality, src, tmp_path / "whole")
    assert whole.communicate()[1] is not None
    assert whole.returncode == 0
    duration = time.monotonic() - begin
    expected = contents(tmp_path / "whole")
    assert b"".join(expected.values()).count(b'"number ') >= ITEMS - 1

    chance, kills, round_ = random.Random(modality), 0, 0
    while kills < KILLS:
        out = tmp_path / f"out-{round_}"
        round_ += 1
        finished = False
        while not finished:
            process = start(modality, src, out)
            try:
                # The moment of the kill, not a wait for something.
                process.communicate(timeout=chance.uniform(0.2, 1.0) * duration if kills < KILLS else None)
                assert process.returncode == 0
                finished = True
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        assert contents(out) == expected, f"after {kills} kills"
    record_property("kills", kills)
