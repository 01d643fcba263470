"""A finished stage as a plain model folder: frozen tensors of its base, trained ones of its checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onellm_core.convert.tensors import INDEX_NAME, Checkpoint, TensorInfo, write_model
from onellm_core.model.processor import OneLLMProcessor
from onellm_core.training.checkpoint import Saved
from onellm_core.training.frozen import Hashes, changed, hash_folder
from onellm_data.errors import OnellmError
from onellm_data.files import atomic_folder

RECORD_NAME = "training.json"
"""What a trained model folder says of how it came to be."""


def export_model(
    base: Path, saved: Saved, out: Path, *, template: str, base_hashes: Hashes, record: dict[str, Any]
) -> Hashes:
    """Write the model folder of a finished stage.

    Frozen tensors are the base folder's own, in their own dtype, whatever the engine computed in;
    trained tensors are float32.

    Args:
        base: Model folder that the stage started from.
        saved: The stage's last checkpoint.
        out: The folder to make.
        template: The format that was trained; the processor asks in it from now on.
        base_hashes: Hashes of the base's tensors.
        record: What ``training.json`` is to say.

    Returns:
        Hashes of the new folder's tensors.

    Raises:
        OnellmError: The disk is full, or a frozen tensor came out otherwise than it went in.
    """
    source = Checkpoint(base)
    trained = dict(saved.tensors("weight"))
    assert trained.keys() <= source.infos.keys(), (
        f"not in {base}: {sorted(trained.keys() - source.infos.keys())}"
    )
    infos = [
        TensorInfo(name, info.shape, torch.float32 if name in trained else info.dtype)
        for name, info in source.infos.items()
    ]

    def stream(names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        for name in names:
            if name in trained:
                yield name, trained[name]
            else:
                yield from source.stream([name])

    with atomic_folder(out) as folder:
        _copy_rest(base, folder)
        write_model(folder, infos, stream)
        OneLLMProcessor.from_pretrained(base, template=template).save_pretrained(folder)
        (folder / RECORD_NAME).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        hashes = hash_folder(folder)
        check_frozen(base_hashes, hashes, trained)
    return hashes


def check_frozen(before: Hashes, after: Hashes, trained: Collection[str]) -> None:
    """Make sure that nothing but the trained tensors differs.

    Raises:
        OnellmError: Something does; this is a defect of onellm or of the machine.
    """
    wrong = [name for name in changed(before, after) if name not in trained]
    if wrong:
        raise OnellmError(
            f"{len(wrong)} frozen tensors changed while training, such as {wrong[0]}; they must not. "
            "Nothing was written. This is a defect of onellm, or of this machine's memory"
        )


def _copy_rest(base: Path, folder: Path) -> None:
    """Everything of a model folder but its weights."""
    for path in _files(base):
        target = folder / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _files(base: Path) -> Iterable[Path]:
    weights = {INDEX_NAME, RECORD_NAME}
    return (
        p for p in base.rglob("*") if p.is_file() and p.suffix != ".safetensors" and p.name not in weights
    )
