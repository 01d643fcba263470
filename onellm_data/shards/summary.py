"""What a person wants to know about a prepared folder."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from onellm_data.shards.reader import ShardReader, load_manifest

Unpacked = tuple[str, dict[str, dict[str, bytes]], dict[str, Any]]
"""Key, stored signals and text of one record."""

SAMPLED = 200
"""About so many records of each split that the figures on text and signals are taken from, evenly spread."""


def summarise(path: str | Path) -> dict[str, Any]:
    """Counts from the manifest, and figures on text and signals from some records of each split.

    Decodes no signal, so no modality's packages are needed.

    Raises:
        UsageError: ``path`` is no prepared folder.
    """
    manifest = load_manifest(path)
    readers = {name: ShardReader(path, name) for name in manifest.splits}
    samples = {name: _sample(reader) for name, reader in readers.items()}
    return {
        "path": str(path),
        "source": manifest.source,
        "onellm": manifest.onellm,
        "modalities": list(manifest.modalities),
        "read": manifest.read,
        "kept": manifest.kept,
        "options": dict(manifest.options),
        "rejected": dict(manifest.rejected),
        "splits": {name: _split(readers[name], samples[name]) for name in readers},
        "signals": _signals([unpacked for sample in samples.values() for unpacked in sample]),
        "examples": [_example(name, sample[0]) for name, sample in samples.items() if sample],
    }


def _sample(reader: ShardReader) -> list[Unpacked]:
    step = max(1, len(reader) // SAMPLED)
    return [reader.unpacked(index) for index in range(0, len(reader), step)]


def _split(reader: ShardReader, sample: list[Unpacked]) -> dict[str, Any]:
    split = reader.manifest.splits[reader.split]
    captions = [text["captions"] for _, _, text in sample]
    return {
        "samples": split.samples,
        "bytes": split.bytes,
        "shards": len(split.shards),
        "captions_per_record": _mean([len(several) for several in captions]),
        "words_per_caption": _mean([len(caption.split()) for several in captions for caption in several]),
        "turns_per_record": _mean([len(text["conversations"]) for _, _, text in sample]),
    }


def _signals(sample: list[Unpacked]) -> dict[str, dict[str, Any]]:
    """Mean stored size and first members of each modality."""
    sizes: dict[str, list[int]] = {}
    members: dict[str, str] = {}
    for _, stored, _ in sample:
        for modality, endings in stored.items():
            sizes.setdefault(modality, []).append(sum(len(data) for data in endings.values()))
            members.setdefault(modality, " ".join(endings))
    return {
        modality: {"stored_as": members[modality], "mean_bytes": round(statistics.fmean(values))}
        for modality, values in sizes.items()
    }


def _example(split: str, record: Unpacked) -> dict[str, Any]:
    """The first record of a split, in one line."""
    key, _, text = record
    spoken = [*text["captions"], *(turn["text"] for turn in text["conversations"])]
    return {"split": split, "key": key, "text": spoken[0] if spoken else ""}


def _mean(values: list[int]) -> float:
    return round(statistics.fmean(values), 2) if values else 0.0
