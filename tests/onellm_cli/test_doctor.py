"""``onellm doctor`` and ``--help`` on the base install, with everything, and with something broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onellm_cli import extras, machine
from onellm_cli.main import COMMANDS

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_on_the_base_install_lists_every_command(base_onellm: Run) -> None:
    run = base_onellm("--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert all(f"\n  {name} " in run.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_on_the_base_install(command: str, base_onellm: Run) -> None:
    run = base_onellm(command, "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert f"Usage: onellm {command} " in run.stdout


def test_doctor_on_the_base_install_says_what_to_install(base_onellm: Run) -> None:
    run = base_onellm("doctor")
    assert (run.returncode, run.stderr) == (0, "")
    lines = {line.split()[0]: line for line in run.stdout.splitlines() if line.strip()}
    assert "not known" in lines["torch"]
    for extra in extras.names():
        assert "missing" in lines[extra]
        assert f"pip install 'onellm[{extra}]'" in lines[extra]
    assert "deepspeed" in lines["train"]


def test_doctor_for_machines(onellm: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"machine", "extras", "notes", "problems"}
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_bytes"] > 2**28
    assert {extra["name"]: extra["ready"] for extra in found["extras"]}["dev"] is True


def test_doctor_ends_with_1_when_torch_does_not_import(base_onellm: Run, tmp_path: Path) -> None:
    (tmp_path / "torch-9.dist-info").mkdir()
    (tmp_path / "torch-9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 9\n"
    )
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')\n")
    run = base_onellm("doctor", "--json", extra_path=tmp_path)
    assert run.returncode == 1
    assert json.loads(run.stdout)["problems"] == [
        "torch is installed and does not import (ImportError: libcudart.so.13: cannot open); install it again"
    ]


def test_little_space_for_temporary_files_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = machine.shutil.disk_usage("/")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage._replace(free=5 << 20))
    (problem,) = machine.examine()["problems"]
    assert problem.startswith("only 5 MiB are free in ")
    assert "TMPDIR" in problem


@pytest.mark.slow
def test_a_real_base_install_answers_help_and_doctor(repository: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    bin_folder = tmp_path / "venv" / "bin"
    pip = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", str(repository / "constraints.txt"), str(repository)], check=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for args in (["--help"], ["doctor"]):
        run = subprocess.run(
            [str(bin_folder / "onellm"), *args], capture_output=True, text=True, env=env, cwd=tmp_path
        )
        assert (run.returncode, run.stderr) == (0, "")
    assert "pip install 'onellm[imu]'" in run.stdout
