"""Memory of ``onellm convert`` on a checkpoint with the 7B's shapes, in a ``.pth`` file of 15 GB.

    python benchmarks/convert_7b.py FOLDER [pth|safetensors]

Writes random tensors with the published names and shapes (float16), converts them in a process of
its own, and loads the result in another.  FOLDER needs 46 GB; what was written there is removed.

Resident memory counts mapped pages of the files as well, as the kernel does (``ru_maxrss``).
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from onellm_core import OneLLMConfig, OneLLMForConditionalGeneration
from onellm_core.convert import reference
from onellm_core.convert.tensors import TensorInfo, write_safetensors
from onellm_core.model.config import modality_entry

LIMIT_GB = 4.0
"""Allowed above the largest tensor."""

LOAD = """
import sys, time, torch
from onellm_core import OneLLMForConditionalGeneration
begin = time.perf_counter()
model = OneLLMForConditionalGeneration.from_pretrained(sys.argv[1], dtype="auto")
seconds = time.perf_counter() - begin
status = open("/proc/self/status").read().split()
resident = {key: int(status[status.index(key + ":") + 1]) / 1e6 for key in ("RssAnon", "RssFile")}
size = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e9
print(f"{size:.2f} {resident['RssAnon']:.2f} {resident['RssFile']:.2f} {seconds:.1f}")
"""


def published_infos() -> list[TensorInfo]:
    """Names and shapes of every tensor of the 7B, in float16."""
    config = OneLLMConfig(
        router={"activation": "sigmoid", "input": "tokens"},
        modalities={
            name: modality_entry(name, 224, published=True) for name in reference.MODALITY_NAMES.values()
        },
        text_config={"model_type": "llama"},
    )
    with torch.device("meta"):
        state = OneLLMForConditionalGeneration(config).state_dict()
    infos = []
    for name, tensor in state.items():
        mapped = reference.to_theirs(name)
        assert mapped is not None, name
        shape = (*tensor.shape, 1, 1) if mapped[1].change == "pointwise" else tuple(tensor.shape)
        infos.append(TensorInfo(mapped[0], shape, torch.float16))
    return infos


def random_tensors(infos: list[TensorInfo]) -> Iterator[tuple[str, torch.Tensor]]:
    """Random numbers for each tensor, made when it is asked for."""
    for info in infos:
        yield info.name, torch.empty(info.shape, dtype=info.dtype).uniform_(-0.05, 0.05)


def write_pth(path: Path, infos: list[TensorInfo]) -> None:
    """The same as ``torch.save`` writes it; each tensor lies in a mapped file meanwhile."""
    state = {}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number, (name, tensor) in enumerate(random_tensors(infos)):
            file = str(Path(folder, str(number)))
            mapped = torch.from_file(file, shared=True, size=tensor.numel(), dtype=tensor.dtype)
            state[name] = mapped.view(tensor.shape).copy_(tensor)
        torch.save(state, path)


def write(path: Path) -> None:
    """Random tensors with the published names, in the format of the path's ending."""
    infos = published_infos()
    if path.suffix == ".pth":
        write_pth(path, infos)
    else:
        write_safetensors(path, infos, random_tensors(infos))


def run(command: list[str]) -> tuple[float, float, str]:
    """Peak resident memory in GB, seconds and output of one process."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss / 1e6, time.perf_counter() - begin, output


def main(folder: str, kind: str = "pth") -> None:
    """Print the table; end with 1 above the limit."""
    largest = max(info.bytes for info in published_infos()) / 1e9
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        source = work / f"weights.{kind}"
        # In a process of its own: a child's peak begins with what its parent has resident.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(source,))
        writer.start()
        writer.join()
        gigabytes = source.stat().st_size / 1e9
        convert = [sys.executable, "-m", "onellm_cli", "convert", "--from", "reference"]
        idle, _, _ = run([sys.executable, "-c", "import onellm_core.convert.command"])
        peak, seconds, _ = run([*convert, str(source), str(work / "model")])
        source.unlink()
        _, _, loaded = run([sys.executable, "-c", LOAD, str(work / "model")])
    print(f"{'what':<44}{'GB':>8}")
    for what, value in {
        f"checkpoint with the 7B's shapes (.{kind})": gigabytes,
        "largest tensor": largest,
        "peak resident, imports alone": idle,
        "peak resident, convert": peak,
        "peak resident above the largest tensor": peak - largest,
    }.items():
        print(f"{what:<44}{value:>8.2f}")
    size, anonymous, mapped, load_seconds = map(float, loaded.split())
    print(f"{'loaded: parameters':<44}{size:>8.2f}")
    print(f"{'loaded: memory of its own (RssAnon)':<44}{anonymous:>8.2f}")
    print(f"{'loaded: pages of the files (RssFile)':<44}{mapped:>8.2f}")
    print(f"converted in {seconds:.0f} s, loaded in {load_seconds:.0f} s")
    if peak - largest > LIMIT_GB:
        sys.exit(f"convert takes more than {LIMIT_GB} GB above the largest tensor")


if __name__ == "__main__":
    main(*sys.argv[1:])
