"""Reading and writing checkpoints that are larger than the memory, one tensor at a time.

Source of the file format: https://github.com/huggingface/safetensors (header length as 8 bytes
little-endian, JSON header, raw tensors).
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from onellm_data.errors import UsageError

REOPEN_BYTES = 1 << 30
"""Bytes read before a mapped file is mapped anew: pages once read stay resident until then."""

SHARD_BYTES = 4 << 30
"""Size at which the next file of a converted model begins."""

INDEX_NAME = "model.safetensors.index.json"

_DTYPE_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of a tensor that is not in memory."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of the raw tensor."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Checkpoint:
    """A ``.safetensors`` file, a folder of them, or a ``.pth`` file, read tensor by tensor.

    Attributes:
        path: The file or folder.
        infos: Name → shape and dtype of every tensor.

    Raises:
        UsageError: The path is none of these, or its content is not a dictionary of tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.infos = {info.name: info for info in _list_tensors(path)}

    def stream(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors in order, mapped from the file; use each before asking for the next."""
        group: list[str] = []
        size = 0
        for name in names:
            group.append(name)
            size += self.infos[name].bytes
            if size >= REOPEN_BYTES:
                yield from self._read(group)
                group, size = [], 0
        yield from self._read(group)

    def _read(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        if self.path.suffix == ".pth":
            state = _load_pth(self.path)
            for name in names:
                yield name, state[name]
            return
        places = {name: file for file in _safetensors_files(self.path) for name in _names(file)}
        for name in names:
            with safe_open(places[name], framework="pt") as file:
                yield name, file.get_tensor(name)


def _list_tensors(path: Path) -> Iterator[TensorInfo]:
    if path.suffix == ".pth":
        for name, tensor in _load_pth(path).items():
            yield TensorInfo(name, tuple(tensor.shape), tensor.dtype)
        return
    dtypes = {code: dtype for dtype, code in _DTYPE_CODES.items()}
    for file in _safetensors_files(path):
        for name, entry in _header(file).items():
            if entry["dtype"] not in dtypes:
                raise UsageError(
                    f"{file}: the tensor {name} has the dtype {entry['dtype']}, which is not read here"
                )
            yield TensorInfo(name, tuple(entry["shape"]), dtypes[entry["dtype"]])


def _safetensors_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise UsageError(
                f"{path} holds no .safetensors file; expected a model folder or a checkpoint file"
            )
        return files
    if not path.is_file():
        raise UsageError(f"{path} does not exist; expected a .safetensors or .pth file, or a model folder")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} is neither a .safetensors nor a .pth file, nor a folder")
    return [path]


def _header(path: Path) -> dict[str, dict]:
    """The header of a safetensors file without its metadata; the library checks it first."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path} is not a readable safetensors file: {error}") from error
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header


def _names(path: Path) -> list[str]:
    return list(_header(path))


def _load_pth(path: Path) -> dict[str, Tensor]:
    """A dictionary of tensors mapped from a ``.pth`` file; nothing in it is executed."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist; expected a .pth file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{path} cannot be read as plain tensors ({first}); expected a file that "
            "torch.save wrote in its zip format (torch 1.6 or later), holding nothing but tensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} holds {type(state).__name__}; expected a dictionary of name → tensor")
    return state


def write_safetensors(path: Path, infos: Sequence[TensorInfo], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write one safetensors file while reading, holding one tensor at a time.

    Args:
        path: The file to write.
        infos: What is coming, in order.
        tensors: The tensors themselves, in the same order.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for info in infos:
        header[info.name] = {
            "dtype": _DTYPE_CODES[info.dtype],
            "shape": info.shape,
            "data_offsets": (offset, offset + info.bytes),
        }
        offset += info.bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for info, (name, tensor) in zip(infos, tensors, strict=True):
            assert (name, tuple(tensor.shape), tensor.dtype) == (info.name, info.shape, info.dtype)
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)


def split_shards(infos: Iterable[TensorInfo], limit: int = SHARD_BYTES) -> list[list[TensorInfo]]:
    """Groups of at most ``limit`` bytes (or one tensor), wide dtypes first so that all stay aligned."""
    shards: list[list[TensorInfo]] = [[]]
    for info in sorted(infos, key=lambda info: -info.dtype.itemsize):
        if shards[-1] and sum(other.bytes for other in shards[-1]) + info.bytes > limit:
            shards.append([])
        shards[-1].append(info)
    return shards


def write_model(
    folder: Path,
    infos: Sequence[TensorInfo],
    stream: Callable[[Sequence[str]], Iterable[tuple[str, Tensor]]],
) -> None:
    """Write the weights of a model folder as transformers lays them out, in one file or several.

    Args:
        folder: An existing folder.
        infos: Every tensor.
        stream: Names → the tensors in that order.
    """
    shards = split_shards(infos)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = (
            f"model-{number:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        )
        write_safetensors(folder / file, shard, stream([info.name for info in shard]))
        weight_map |= {info.name: file for info in shard}
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(info.bytes for info in infos)}, "weight_map": weight_map}
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
