"""Running ``onellm`` as a user does: a process of its own, or ``main`` with its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from onellm_cli.main import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _base_distributions() -> set[str]:
    """Names of what ``pip install onellm`` installs, without any extra."""
    names: set[str] = set()
    todo = ["onellm"]
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            wanted = [Requirement(line) for line in distribution(name).requires or []]
            todo += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return names


def _link(name: str, folder: Path) -> None:
    """Link one installed distribution's top-level files and folders into ``folder``."""
    found = distribution(name)
    for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        target = folder / top
        if not target.exists() and not top.endswith(".pth"):
            target.symlink_to(Path(found.locate_file(top)))


@pytest.fixture(scope="session")
def base_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds only the base install."""
    folder = tmp_path_factory.mktemp("base-site")
    for name in _base_distributions():
        _link(name, folder)
    return folder


@pytest.fixture
def base_onellm(base_site: Path, repository: Path, tmp_path: Path) -> Run:
    """Run ``onellm`` in a Python that sees the base install and nothing else."""

    def run(*args: str, extra_path: Path | None = None) -> subprocess.CompletedProcess[str]:
        paths = [str(path) for path in (extra_path, repository, base_site) if path]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-S", "-m", "onellm_cli", *args]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)

    return run


@pytest.fixture
def onellm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``main`` in this process and return the exit code."""

    def run(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", ["onellm", *args])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code

    return run
