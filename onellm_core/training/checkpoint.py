"""Checkpoints: whole tensors in safetensors, written by all processes, fit for any number of them.

A checkpoint is a folder ``step-000120`` with one ``state-RRRRR.safetensors`` of each process and
``manifest.json``, which holds every file's SHA-256 and what the run was trained on.  The folder
appears under its name when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onellm_core.convert.tensors import Checkpoint, TensorInfo, write_safetensors
from onellm_core.training import distributed
from onellm_core.training.distributed import SharedError, World
from onellm_core.training.states import KINDS, TrainedState
from onellm_data.errors import OnellmError, UsageError
from onellm_data.files import full_disk, sync_tree

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")
_HASH_BYTES = 1 << 22


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint.

    Attributes:
        folder: Where it is.
        step: Optimizer steps behind it.
        origin: What the run was trained on: the base model's hash and the data sets'.
    """

    folder: Path
    step: int
    origin: Mapping[str, str]

    def tensors(self, kind: str) -> Iterator[tuple[str, Tensor]]:
        """Trained tensors of one of ``states.KINDS`` by parameter name, mapped from the files."""
        for file in sorted(self.folder.glob("state-*.safetensors")):
            checkpoint = Checkpoint(file)
            names = [name for name in checkpoint.infos if name.startswith(f"{kind}/")]
            for name, tensor in checkpoint.stream(names):
                yield name.removeprefix(f"{kind}/"), tensor


class Checkpoints:
    """The checkpoints of one stage.

    Args:
        folder: Where they are; made at the first save.
        keep: How many stay.
        world: This process.
    """

    def __init__(self, folder: Path, keep: int, world: World) -> None:
        self.folder = folder
        self.keep = keep
        self.world = world

    def newest(self, warn: Callable[[str], None]) -> Saved | None:
        """The newest whole checkpoint, or None; one that is damaged is told and passed over.

        Args:
            warn: Takes a sentence about a checkpoint that cannot be used.
        """
        for step in reversed(self.steps()):
            folder = self._path(step)
            try:
                return open_checkpoint(folder)
            except OnellmError as error:
                warn(f"warning: the checkpoint {folder} is damaged ({error}); taking the one before it")
        return None

    def steps(self) -> list[int]:
        """Steps of all checkpoints, damaged ones too."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def save(self, state: TrainedState, step: int, origin: Mapping[str, str]) -> Path:
        """Write a checkpoint; every process calls it.

        Args:
            state: What training changes.
            step: Optimizer steps behind it.
            origin: What the run is trained on.

        Raises:
            SharedError: It cannot be written; earlier checkpoints are as they were.
        """
        work = self.folder / f".{self._path(step).name}.part"
        distributed.from_main(lambda: self._begin(work))
        path = work / f"state-{self.world.rank:05d}.safetensors"
        outcomes = distributed.gather(self._write(path, state))
        files: dict[str, Any] = {}
        for outcome in outcomes:
            if isinstance(outcome, str):
                distributed.from_main(lambda: shutil.rmtree(work, ignore_errors=True))
                raise SharedError(f"{outcome}; {self._left()}")
            files |= outcome
        manifest = {
            "schema": SCHEMA,
            "step": step,
            "origin": dict(origin),
            "processes": self.world.size,
            "files": files,
        }
        distributed.from_main(lambda: self._finish(work, manifest))
        return self._path(step)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _begin(self, work: Path) -> None:
        try:
            for left in self.folder.glob(".step-*.part"):
                shutil.rmtree(left)
            work.mkdir(parents=True)
        except OSError as error:
            raise full_disk(error, work) from error

    def _write(self, path: Path, state: TrainedState) -> dict[str, Any] | str:
        """This process's file: its facts, or what went wrong."""
        mine = [key for number, key in enumerate(_keys(state)) if number % self.world.size == self.world.rank]
        infos = [TensorInfo(_entry(*key), state.shape(key[0]), torch.float32) for key in mine]
        tensors = self._gathered(state)
        try:
            write_safetensors(path, infos, tensors)
            return {path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)}}
        except OSError as error:
            return str(full_disk(error, path))
        finally:
            # Every tensor is gathered by all processes: one that cannot write still has to take part.
            for _ in tensors:
                pass

    def _gathered(self, state: TrainedState) -> Iterator[tuple[str, Tensor]]:
        """This process's share of the tensors; all are gathered, by all processes in the same order."""
        for number, key in enumerate(_keys(state)):
            tensor = state.get(*key)
            if number % self.world.size == self.world.rank:
                yield _entry(*key), tensor

    def _finish(self, work: Path, manifest: Mapping[str, Any]) -> None:
        """Make a checkpoint appear whole, and remove the oldest."""
        target = self._path(manifest["step"])
        try:
            (work / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            sync_tree(work)
            if target.exists():  # a damaged one, which the run that saves now has passed over
                shutil.rmtree(target)
            os.replace(work, target)
            _sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(work, ignore_errors=True)
            raise OnellmError(f"{full_disk(error, target)}; {self._left()}") from error
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self._path(step), ignore_errors=True)

    def _left(self) -> str:
        """What there is to go on from."""
        steps = self.steps()
        if not steps:
            return "no checkpoint was saved before it"
        return f"the checkpoint {self._path(steps[-1])} is as it was: go on from it with --resume"

    def restore(self, state: TrainedState, saved: Saved) -> None:
        """Set what training changes to what a checkpoint holds; every process calls it.

        Raises:
            UsageError: The checkpoint's tensors are not those that this run trains.
        """
        names = set(state.parameters)
        for kind in KINDS:
            found = set()
            for name, tensor in saved.tensors(kind):
                if name not in names or tuple(tensor.shape) != state.shape(name):
                    raise UsageError(
                        f"the checkpoint {saved.folder} holds {name}, which this run does not train"
                    )
                state.set(name, kind, tensor)
                found.add(name)
            if found != names:
                raise UsageError(
                    f"the checkpoint {saved.folder} lacks {kind} of {', '.join(sorted(names - found)[:3])}, "
                    "which this run trains"
                )
        state.set_step(saved.step)


def open_checkpoint(folder: Path) -> Saved:
    """A checkpoint all of whose files are as they were written.

    Raises:
        OnellmError: It is not whole.
    """
    path = folder / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema, step, origin, files = (manifest[key] for key in ("schema", "step", "origin", "files"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OnellmError(f"its {MANIFEST_NAME} cannot be read: {error}") from error
    if schema != SCHEMA:
        raise UsageError(f"{path} has the schema {schema}, this onellm reads {SCHEMA}")
    for name, facts in files.items():
        try:
            digest = hash_file(folder / name)
        except OSError as error:
            raise OnellmError(f"{name} cannot be read: {error.strerror}") from error
        if digest != facts["sha256"]:
            raise OnellmError(f"{name} has changed since it was written")
    return Saved(folder, int(step), origin)


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _keys(state: TrainedState) -> list[tuple[str, str]]:
    return [(name, kind) for name in state.parameters for kind in KINDS]


def _entry(name: str, kind: str) -> str:
    return f"{kind}/{name}"


def _sync_folder(folder: Path) -> None:
    """Flush a rename to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
