"""``onellm prepare`` with two workers against one, in the same run.

    python benchmarks/prepare_workers.py [files]

Sounds of 20 s at 44.1 kHz are decoded, resampled and stored as FLAC. The time is that of the whole run,
starting the workers included. Needs two cores that nothing else uses.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.run import prepare

RATE, SECONDS = 44_100, 20
LIMIT_RATIO = 1.7


def timed(src: Path, out: Path, workers: int) -> float:
    """Seconds of one run."""
    begin = time.perf_counter()
    report = prepare(PrepareOptions("audio", src=src, out=out, workers=workers))
    assert not report.rejected, report.rejected
    return time.perf_counter() - begin


def main(files: int = 800) -> None:
    """Print the table; end with 1 below the limit."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        src = Path(name, "src")
        src.mkdir()
        soundfile.write(src / "0.wav", rng.uniform(-0.5, 0.5, RATE * SECONDS), RATE)
        for number in range(files):
            if number:
                (src / f"{number}.wav").hardlink_to(src / "0.wav")
            (src / f"{number}.txt").write_text("noise")
        timed(src, Path(name, "first"), 1)  # what is slow only once
        seconds = {workers: timed(src, Path(name, str(workers)), workers) for workers in (1, 2)}
    print(f"{files} sounds of {SECONDS} s")
    print(f"{'workers':<10}{'seconds':>10}{'sounds a second':>18}")
    for workers, taken in seconds.items():
        print(f"{workers:<10}{taken:>10.1f}{files / taken:>18.0f}")
    print(f"ratio {seconds[1] / seconds[2]:.2f}")
    if seconds[1] / seconds[2] < LIMIT_RATIO:
        sys.exit(f"two workers are less than {LIMIT_RATIO} times as fast as one")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
