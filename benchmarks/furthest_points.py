"""Furthest point sampling of 8192 points → 1024: ours, ``fpsample``, and a plain loop of torch.

    pip install fpsample
    python benchmarks/furthest_points.py [runs]

All on one thread, in turns, in one run; the least time of each is printed. ``fpsample``'s
``bucket_fps`` is exact as ours is: both must cover the cloud equally well.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

import fpsample
import numpy as np
import torch

from onellm_core.model.tokenizers import furthest_points as ours_in_torch
from onellm_data.modalities.clouds import furthest_points

POINTS, CHOSEN = 8192, 1024


def plain(xyz: torch.Tensor) -> torch.Tensor:
    """The loop as textbooks have it."""
    chosen = torch.zeros(CHOSEN, dtype=torch.long)
    distance = torch.full((len(xyz),), float("inf"))
    for place in range(1, CHOSEN):
        distance = torch.minimum(distance, ((xyz - xyz[chosen[place - 1]]) ** 2).sum(dim=-1))
        chosen[place] = distance.argmax()
    return chosen


def reach(xyz: np.ndarray, chosen: np.ndarray) -> float:
    """Distance of the point that is furthest from all chosen ones."""
    return float(np.sqrt(((xyz[:, None] - xyz[chosen]) ** 2).sum(-1).min(1).max()))


def main(runs: int = 7) -> None:
    """Print the table; end with 1 if one covers the cloud worse."""
    torch.set_num_threads(1)
    xyz = np.random.default_rng(0).normal(size=(POINTS, 3)).astype(np.float32)
    tensor = torch.from_numpy(xyz)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "onellm, NumPy": lambda: furthest_points(xyz, CHOSEN),
        "onellm, torch": lambda: ours_in_torch(tensor[None], CHOSEN)[0].numpy(),
        "fpsample, buckets": lambda: fpsample.bucket_fps_kdline_sampling(xyz, CHOSEN, h=7, start_idx=0),
        "fpsample, plain": lambda: fpsample.fps_sampling(xyz, CHOSEN, start_idx=0),
        "loop of torch": lambda: plain(tensor).numpy(),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    reaches: dict[str, float] = {}
    for _ in range(runs):
        for name, way in ways.items():
            begin = time.perf_counter()
            chosen = way()
            times[name].append(time.perf_counter() - begin)
            reaches[name] = reach(xyz, chosen.astype(np.int64))
    slowest = min(times["loop of torch"])
    print(f"{'8192 → 1024 points':<20}{'ms':>8}{'against the loop':>18}{'furthest left out':>20}")
    for name, taken in times.items():
        print(f"{name:<20}{min(taken) * 1e3:>8.1f}{slowest / min(taken):>17.1f}x{reaches[name]:>20.4f}")
    if max(reaches.values()) > 1.01 * min(reaches.values()):
        sys.exit("one of them covers the cloud worse")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
