"""What ``onellm doctor`` finds out about this machine; needs only the base install."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from onellm_cli import extras

MIN_TEMP_BYTES = 1 << 30
"""Below this much free space, shards and checkpoints in the temporary folder are likely to fail."""

_TORCH_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "torch": torch.__version__,
    "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    "cuda": torch.version.cuda if cuda else None,
    "bf16": torch.cuda.is_bf16_supported() if cuda else None,
    "threads": torch.get_num_threads(),
}))
"""
_TORCH_PROBE_SECONDS = 120


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` reports.

    Returns:
        ``machine`` (facts), ``extras`` (name, ready, missing, install), ``notes`` (good to know)
        and ``problems`` (what is installed and does not work).
    """
    torch, torch_problem = _torch()
    facts = {**_software(), **_hardware(), **torch}
    table = [_extra(name) for name in extras.names()]
    problems = [text for text in (torch_problem, _temp_problem()) if text]
    return {"machine": facts, "extras": table, "notes": _notes(facts), "problems": problems}


def _software() -> dict[str, Any]:
    """Versions of onellm, Python and the system."""
    return {
        "onellm": version(extras.PACKAGE),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
    }


def _hardware() -> dict[str, Any]:
    """Cores that this process may use, memory and free disk space, in bytes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "memory_bytes": _memory("SC_PHYS_PAGES"),
        "memory_free_bytes": _memory("SC_AVPHYS_PAGES"),
        "temp_folder": tempfile.gettempdir(),
        "temp_free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "here_free_bytes": shutil.disk_usage(os.getcwd()).free,
    }


def _memory(pages: str) -> int | None:
    """Bytes of memory that ``sysconf`` reports, or None where it does not know."""
    if pages not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _torch() -> tuple[dict[str, Any], str | None]:
    """Facts about PyTorch, and what is wrong with it.

    Asked in a process of its own: a broken driver or library ends that one, not doctor.
    """
    nothing = {"torch": None, "gpus": None}
    try:
        version("torch")
    except PackageNotFoundError:
        return nothing, None
    command = [sys.executable, "-c", _TORCH_PROBE]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return nothing, f"importing torch took more than {_TORCH_PROBE_SECONDS} s"
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        return nothing, f"torch is installed and does not import ({reason}); install it again"
    facts = json.loads(run.stdout.strip().splitlines()[-1])
    if not facts["gpus"]:
        return {"torch": facts["torch"], "gpus": "none", "threads": facts["threads"]}, None
    return {**facts, "gpus": ", ".join(facts["gpus"])}, None


def _extra(name: str) -> dict[str, Any]:
    """One line of the table of extras."""
    missing = extras.missing(name)
    return {"name": name, "ready": not missing, "missing": missing, "install": extras.install_command(name)}


def _temp_problem() -> str | None:
    """What is wrong with the temporary folder."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free >= MIN_TEMP_BYTES:
        return None
    return f"only {free >> 20} MiB are free in {folder}: free some space, or set TMPDIR to another folder"


def _notes(facts: dict[str, Any]) -> list[str]:
    """What is good to know before training here."""
    notes = []
    if facts["torch"] and facts["gpus"] == "none":
        notes.append("no GPU: models run on the CPU, DeepSpeed trains over gloo; use small models")
    if facts["torch"] and not shutil.which("c++") and not shutil.which("g++"):
        notes.append("no C++ compiler: DeepSpeed's compiled optimizers are out of reach, PyTorch's are used")
    if facts["torch"] and facts["gpus"] != "none" and not shutil.which("nvcc"):
        notes.append("no nvcc: DeepSpeed cannot compile its CUDA operations, PyTorch's are used")
    if sys.platform != "linux":
        notes.append("training is tried on Linux only")
    return notes
