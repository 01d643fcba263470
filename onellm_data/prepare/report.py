"""What a run did, told at its end and while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onellm_data.errors import TooManyRejects
from onellm_data.shards.manifest import Manifest


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        modality: The modality of the signals.
        source: Name of the source, and what it recognised, in words.
        recognised: What the source recognised, in words.
        out: The folder that was written; None for a check.
        splits: Split name → samples, bytes and shards (a check: samples only).
        rejected: Reason → number of items.
    """

    modality: str
    source: str
    recognised: str
    out: str | None
    splits: Mapping[str, Mapping[str, int]]
    rejected: Mapping[str, int]

    @classmethod
    def of(cls, manifest: Manifest, recognised: str, out: Path) -> Report:
        """What a finished folder holds."""
        splits = {
            name: {"samples": split.samples, "bytes": split.bytes, "shards": len(split.shards)}
            for name, split in manifest.splits.items()
        }
        modality = " ".join(manifest.modalities)
        return cls(modality, manifest.source, recognised, str(out), splits, manifest.rejected)

    @property
    def kept(self) -> int:
        """Records of all splits."""
        return sum(split["samples"] for split in self.splits.values())

    @property
    def read(self) -> int:
        """Items that were read: each was kept or rejected."""
        return self.kept + sum(self.rejected.values())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "modality": self.modality,
            "source": self.source,
            "recognised": self.recognised,
            "out": self.out,
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "splits": {name: dict(split) for name, split in self.splits.items()},
        }

    def check_rejects(self, highest: float) -> None:
        """Raise if the share of rejected items is above ``highest``.

        Raises:
            TooManyRejects: It is. What was good is written all the same.
        """
        count = sum(self.rejected.values())
        if count <= highest * self.read:
            return
        reasons = ", ".join(f"{reason} ({number})" for reason, number in self.rejected.items())
        where = f"{self.out}/rejects.jsonl names each" if self.out else "they are listed above"
        raise TooManyRejects(
            f"{count} of {self.read} items were rejected, {count / self.read:.1%}; --max-reject-rate allows "
            f"{highest:.1%}. Reasons: {reasons}; {where}. Mend them and use --retry-rejects, or allow more"
        )


class Progress:
    """What a run tells while it goes on; this one ignores it all."""

    def begin(self, total: int | None) -> None:
        """The run starts; ``total`` items if the source knows it."""

    def skipped(self) -> None:
        """An item was done by an earlier run."""

    def kept(self, size: int) -> None:
        """An item became a record of ``size`` bytes."""

    def rejected(self, row: Mapping[str, Any]) -> None:
        """An item was rejected; ``row`` is its line in ``rejects.jsonl``."""

    def note(self, text: str) -> None:
        """Something a person should know."""
