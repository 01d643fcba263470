"""SHA-256 of every tensor: the proof that what is frozen stays as it was, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from onellm_core.convert.tensors import Checkpoint

Hashes = dict[str, str]
"""Tensor name → SHA-256 of its dtype, shape and bytes."""


def hash_tensor(tensor: Tensor) -> str:
    """SHA-256 of a tensor's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    digest.update(tensor.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_folder(folder: Path) -> Hashes:
    """Hashes of a model folder's tensors, read one at a time."""
    checkpoint = Checkpoint(folder)
    return {name: hash_tensor(tensor) for name, tensor in checkpoint.stream(sorted(checkpoint.infos))}


def hash_parameters(parameters: Mapping[str, nn.Parameter]) -> Hashes:
    """Hashes of parameters in memory; under ZeRO-3 each is gathered by all processes for it."""
    hashes = {}
    for name, parameter in parameters.items():
        with _whole(parameter):
            hashes[name] = hash_tensor(parameter)
    return hashes


def _whole(parameter: nn.Parameter) -> AbstractContextManager[object]:
    if not hasattr(parameter, "ds_id"):
        return nullcontext()
    from deepspeed.runtime.zero import GatheredParameters

    gathered: AbstractContextManager[object] = GatheredParameters([parameter])
    return gathered


def combine(hashes: Hashes, names: Iterable[str]) -> str:
    """One SHA-256 for the tensors called ``names``."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name} {hashes[name]}\n".encode())
    return digest.hexdigest()


def changed(before: Hashes, after: Hashes) -> list[str]:
    """Names of the tensors that differ, or that only one of the two has."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
