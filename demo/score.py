"""The demo's table: answers against captions, a linear model, and hashes of frozen tensors."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

MOTIONS = Path(__file__).parent / "motions"


def recordings(split: str, folder: Path = MOTIONS) -> list[tuple[Path, str]]:
    """Files and captions of one split, in the order of metadata.csv."""
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [(folder / row["file"], row["caption"]) for row in rows]


def exact_matches(answers: Sequence[str], captions: Sequence[str]) -> int:
    """How many answers equal their caption after lower-casing; surrounding blanks do not count."""
    pairs = zip(answers, captions, strict=True)
    return sum(answer.strip().lower() == caption.strip().lower() for answer, caption in pairs)


def statistics(path: Path) -> np.ndarray:
    """Mean and logarithm of the standard deviation of each of the six channels, float64 ``[12]``."""
    values = np.loadtxt(path, delimiter=",", skiprows=1)[:, 1:]
    return np.concatenate([values.mean(axis=0), np.log(values.std(axis=0))])


def linear_answers(train: Sequence[tuple[Path, str]], test: Iterable[Path]) -> list[str]:
    """What a least-squares classifier on ``statistics`` says of the test recordings.

    Features are standardised with the training recordings' mean and spread; one linear function
    for each caption is fitted to 1 for its recordings and 0 for the others.
    """
    captions = sorted({caption for _, caption in train})
    features = np.stack([statistics(path) for path, _ in train])
    centre, spread = features.mean(axis=0), features.std(axis=0)
    targets = np.array([[caption == known for known in captions] for _, caption in train], dtype=float)
    weights, *_ = np.linalg.lstsq(_design(features, centre, spread), targets, rcond=None)
    scores = _design(np.stack([statistics(path) for path in test]), centre, spread) @ weights
    return [captions[best] for best in scores.argmax(axis=1)]


def _design(features: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Standardised features with a column of ones, ``[recordings, 13]``."""
    return np.column_stack([(features - centre) / spread, np.ones(len(features))])


def digest(model: Path, part: str) -> str:
    """SHA-256 over the tensors of one part of a model folder: names, types, shapes and bytes.

    Reads the safetensors files as they lie on disk (8 bytes with the length of a JSON header, the
    header, the data), so that nothing is converted on the way.
    """
    tensors: dict[str, bytes] = {}
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            for name, info in header.items():
                if name.startswith(f"{part}."):
                    file.seek(start + info["data_offsets"][0])
                    data = file.read(info["data_offsets"][1] - info["data_offsets"][0])
                    tensors[name] = f"{name}{info['dtype']}{info['shape']}".encode() + data
    assert tensors, f"{model} has no tensors of the part '{part}'"
    whole = hashlib.sha256()
    for name in sorted(tensors):
        whole.update(tensors[name])
    return whole.hexdigest()
