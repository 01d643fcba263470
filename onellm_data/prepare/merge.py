"""Parts of one run, prepared side by side, become one folder: names are linked, bytes stay where they are."""

from __future__ import annotations

import errno
import heapq
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from onellm_data.errors import OnellmError, UsageError
from onellm_data.files import full_disk
from onellm_data.prepare.lock import LOCK_NAME, locked
from onellm_data.prepare.options import Part
from onellm_data.prepare.report import Report
from onellm_data.prepare.splits import read_rejects
from onellm_data.prepare.state import MEMORY_NAME, is_ours
from onellm_data.shards.files import settle_folder, whole
from onellm_data.shards.manifest import MANIFEST_NAME, REJECTS_NAME, Manifest, Shard, Split
from onellm_data.shards.reader import load_manifest
from onellm_data.shards.writer import shard_path

_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK)
"""What a file system answers that has no hard links, or not for this pair of folders."""


@dataclass(frozen=True)
class _Finished:
    """A part's folder, and what is in it."""

    folder: Path
    manifest: Manifest


def merge(out: Path) -> Report:
    """Merge the parts ``out/part-0-of-n`` … into ``out``; they stay, and share their bytes with it.

    Returns:
        What all parts did together.

    Raises:
        UsageError: ``out`` holds no parts, or something else; a part is missing, unfinished, there
            twice, or made of other items or with other options than the rest.
        OnellmError: A shard is missing, the disk is full, or a run writes to one of the folders.
    """
    folders = _folders(out)
    with ExitStack() as stack:
        for folder in (out, *folders):
            stack.enter_context(locked(folder))
        _check_place(out, folders)
        parts = _in_order(out, [_finished(folder) for folder in folders])
        try:
            manifest = _joined(out, parts)
            manifest.save(out)
        except OSError as error:
            raise full_disk(error, out) from error
    return Report.of(manifest, f"{len(parts)} parts", out)


def _folders(out: Path) -> list[Path]:
    folders = sorted(path for path in out.glob("part-*-of-*") if Part.of_folder(path.name) and path.is_dir())
    if not folders:
        raise UsageError(
            f"there are no parts in {out}; expected folders such as part-0-of-4, which 'onellm prepare … "
            f"--out {out} --part 0/4' writes"
        )
    return folders


def _check_place(out: Path, folders: Sequence[Path]) -> None:
    if (out / MANIFEST_NAME).exists():
        raise UsageError(f"{out} holds a finished result already; its parts may be removed")
    strange = [
        path.name
        for path in out.iterdir()
        if path not in folders and path.name not in (LOCK_NAME, REJECTS_NAME) and not is_ours(path.name)
    ]
    if strange:
        raise UsageError(f"{out} holds something besides the parts (it has {min(strange)})")


def _finished(folder: Path) -> _Finished:
    if (folder / MEMORY_NAME).exists() or not (folder / MANIFEST_NAME).exists():
        raise UsageError(f"{folder} is unfinished; run its command again with --resume, then merge")
    return _Finished(folder, load_manifest(folder))


def _in_order(out: Path, parts: Sequence[_Finished]) -> list[_Finished]:
    """The parts by number: all of one run, each once."""
    first = parts[0]
    by_number: dict[int, _Finished] = {}
    for one in parts:
        _check_alike(first, one)
        part = Part.parse(one.manifest.options["part"])
        if part.number in by_number:
            raise UsageError(
                f"{by_number[part.number].folder} and {one.folder} hold the same part {part}; remove one"
            )
        by_number[part.number] = one
    count = Part.parse(first.manifest.options["part"]).of
    missing = [f"{number}/{count}" for number in range(count) if number not in by_number]
    if missing:
        raise UsageError(f"{out} lacks the parts {', '.join(missing)}; run them with --part, then merge")
    return [by_number[number] for number in range(count)]


def _check_alike(first: _Finished, one: _Finished) -> None:
    """Both are parts of the same run over the same items."""
    ours, theirs = (_told(part.manifest) for part in (first, one))
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            raise UsageError(
                f"{first.folder} and {one.folder} are no parts of one run: {name} is {ours.get(name)!r} in "
                f"the first and {theirs.get(name)!r} in the second; prepare one of them anew"
            )


def _told(manifest: Manifest) -> dict[str, object]:
    """What the parts of one run have in common."""
    part = manifest.options.get("part")
    if part is None:
        raise UsageError("a folder that is named like a part holds a whole run; move it elsewhere")
    return {
        **manifest.options,
        "part": f"…/{Part.parse(part).of}",
        "the source's list of items": manifest.digest,
        "onellm": manifest.onellm,
        "source": manifest.source,
        "modalities": manifest.modalities,
    }


def _joined(out: Path, parts: Sequence[_Finished]) -> Manifest:
    """Link all shards and write all rejects; the manifest is for the caller to write, last."""
    for path in out.iterdir():
        if is_ours(path.name):  # of a merge that was killed
            path.unlink()
    names = sorted({name for part in parts for name in part.manifest.splits})
    splits = {name: Split(tuple(_linked(out, name, parts))) for name in names}
    with whole(out / REJECTS_NAME) as stream:
        for _, line in heapq.merge(*(read_rejects(part.folder / REJECTS_NAME) for part in parts)):
            stream.write(line)
    settle_folder(out)
    first = parts[0].manifest
    return replace(first, splits=splits, options={**first.options, "part": None}, rejected=_rejected(parts))


def _rejected(parts: Sequence[_Finished]) -> Mapping[str, int]:
    rejected: Counter[str] = Counter()
    for part in parts:
        rejected.update(part.manifest.rejected)
    return rejected


def _linked(out: Path, split: str, parts: Sequence[_Finished]) -> Iterator[Shard]:
    """The shards of one split, renumbered."""
    number = 0
    for part in parts:
        for shard in part.manifest.splits.get(split, Split()).shards:
            renamed = replace(shard, name=shard_path(out, split, number, Path(shard.name).suffix).name)
            size = _size(part.folder / shard.name)
            if size != shard.bytes:
                raise OnellmError(
                    f"{part.folder / shard.name} has {size} bytes, its manifest says {shard.bytes}; prepare "
                    "this part anew"
                )
            _link(part.folder / shard.index_name, out / renamed.index_name)
            _link(part.folder / shard.name, out / renamed.name)
            yield renamed
            number += 1


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with source.open("rb") as stream, whole(target) as copy:
            shutil.copyfileobj(stream, copy)
