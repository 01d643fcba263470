"""Whether a prepared folder is what its manifest says, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onellm_data.errors import OnellmError
from onellm_data.shards import tar
from onellm_data.shards.manifest import Shard
from onellm_data.shards.reader import ShardReader, load_manifest

_CHUNK = 1 << 20


def verify(folder: str | Path) -> int:
    """Read every shard of a local folder; the number of records, all of them whole.

    Raises:
        OnellmError: A shard is missing, has other bytes than the manifest says, or its index does not
            point at whole records that fill it.
    """
    manifest = load_manifest(folder)
    for split in manifest.splits.values():
        for shard in split.shards:
            _check_sum(Path(folder), shard)
    return sum(_check_records(ShardReader(folder, split)) for split in manifest.splits)


def _check_sum(folder: Path, shard: Shard) -> None:
    digest = hashlib.sha256()
    size = 0
    try:
        with (folder / shard.name).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError as error:
        raise OnellmError(f"the shard {folder / shard.name} is missing; prepare the data again") from error
    got, expected = (size, digest.hexdigest()), (shard.bytes, shard.sha256)
    if got != expected:
        raise OnellmError(
            f"{folder / shard.name} has (bytes, SHA-256) = {got}, the manifest says {expected}: "
            "copy it again, or prepare the data again"
        )


def _check_records(reader: ShardReader) -> int:
    """Every record of a split is one whole run, and the runs fill the shards."""
    size = 0
    for index in range(len(reader)):
        reader.unpacked(index)
        size += len(reader.run(index))
    split = reader.manifest.splits[reader.split]
    ends = 0 if reader.manifest.root else len(tar.END) * len(split.shards)
    expected = split.bytes - ends
    if size != expected:
        raise OnellmError(f"the indexes of {reader.path} ({reader.split}) cover {size} of {expected} bytes")
    return len(reader)
