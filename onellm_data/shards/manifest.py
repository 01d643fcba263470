"""What ``manifest.json`` says about a prepared folder; the folder is finished when it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onellm_data.errors import UsageError
from onellm_data.shards.files import whole

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
REJECTS_NAME = "rejects.jsonl"
MAX_MANIFEST_BYTES = 1 << 28
"""Enough for a million shards."""

_SPLIT = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
_SHARD = re.compile(r"[a-z0-9][a-z0-9_]{0,31}-\d{6,}\.(tar|jsonl)")


@dataclass(frozen=True)
class Shard:
    """One tar of a split, or one list of places if signals stay where they are.

    Attributes:
        name: Its name in the folder.
        samples: Its records.
        bytes: Its size.
        sha256: Its checksum.
    """

    name: str
    samples: int
    bytes: int
    sha256: str

    @property
    def index_name(self) -> str:
        """The name of its offset index."""
        return self.name.rpartition(".")[0] + ".index.npy"


@dataclass(frozen=True)
class Split:
    """The shards of one split, in order."""

    shards: tuple[Shard, ...] = ()

    @property
    def samples(self) -> int:
        """Records of all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """What a prepared folder holds and how it came to be.

    Attributes:
        modalities: Modalities of its records.
        splits: Split name → its shards.
        source: The raw layout that it was read from, empty if a program wrote it.
        options: What the run was asked for.
        rejected: Reason → number of items that were left out for it.
        digest: Of the list of items that the source gave; empty if a program wrote it.
        root: The folder of the raw data, if signals stay in it; else empty, they are in the shards.
        onellm: The version of onellm that wrote it.
    """

    modalities: tuple[str, ...]
    splits: Mapping[str, Split]
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    root: str = ""
    onellm: str = ""

    @property
    def kept(self) -> int:
        """Records of all splits."""
        return sum(split.samples for split in self.splits.values())

    @property
    def read(self) -> int:
        """Items that were read: each was kept or rejected."""
        return self.kept + sum(self.rejected.values())

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values, totals included."""
        splits = {
            name: {
                "samples": split.samples,
                "bytes": split.bytes,
                "shards": [asdict(shard) for shard in split.shards],
            }
            for name, split in self.splits.items()
        }
        return {
            "schema": SCHEMA,
            "onellm": self.onellm or _version(),
            "source": self.source,
            "modalities": list(self.modalities),
            "options": dict(self.options),
            "digest": self.digest,
            "root": self.root,
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "splits": splits,
        }

    def save(self, folder: Path) -> None:
        """Write it into ``folder``, whole or not at all."""
        with whole(folder / MANIFEST_NAME) as stream:
            stream.write((json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n").encode())


def parse(data: bytes, where: str) -> Manifest:
    """The manifest that the bytes of ``manifest.json`` hold; ``where`` names it in messages.

    Raises:
        UsageError: They hold none, one of another schema, or one that names files elsewhere.
    """
    try:
        document = json.loads(data)
        _check_schema(document, where)
        manifest = _build(document)
        told = (document["read"], document["kept"])
        totals = (manifest.read, manifest.kept)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{where} is not a manifest of prepared data ({type(error).__name__}: {error}); "
            "expected the manifest.json that 'onellm prepare' writes"
        ) from error
    if totals != told:
        raise UsageError(
            f"{where} says read, kept = {told}, but its shards and rejects add up to {totals}: it was edited"
        )
    for name, split in manifest.splits.items():
        _check_names(where, name, split)
    return manifest


def _check_schema(document: Mapping[str, Any], where: str) -> None:
    if document["schema"] != SCHEMA:
        writer = document.get("onellm", "unknown version")
        raise UsageError(
            f"{where} has the schema {document['schema']!r}, this onellm reads {SCHEMA}: prepare the data "
            f"again, or install the onellm that wrote it ({writer})"
        )


def _build(document: Mapping[str, Any]) -> Manifest:
    splits = {name: _parse_split(split) for name, split in document["splits"].items()}
    return Manifest(
        tuple(document["modalities"]),
        splits,
        document["source"],
        document["options"],
        document["rejected"],
        document["digest"],
        document["root"],
        document["onellm"],
    )


def _parse_split(document: Mapping[str, Any]) -> Split:
    return Split(tuple(Shard(**shard) for shard in document["shards"]))


def _check_names(where: str, name: str, split: Split) -> None:
    """A manifest may come from anywhere: it must not lead out of its folder."""
    if not valid_split(name):
        raise UsageError(f"{where} names the split {name!r}, expected a name like 'train'")
    for shard in split.shards:
        if not _SHARD.fullmatch(shard.name):
            raise UsageError(
                f"{where} names the shard {shard.name!r}, expected a name like 'train-000000.tar'"
            )


def valid_split(name: str) -> bool:
    """Whether ``name`` can be a split's: lower-case letters, digits and underscores, at most 32."""
    return _SPLIT.fullmatch(name) is not None


def _version() -> str:
    try:
        return version("onellm")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "unknown"
