"""Real processes: killed, asked to stop, one and two of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

Lines = Callable[[dict[str, Any]], list[dict[str, Any]]]

PATIENCE = 300.0
"""Seconds after which a test gives up on a process; far more than any needs."""


@pytest.fixture
def longer(settings: dict[str, Any]) -> dict[str, Any]:
    """Enough steps to be killed in."""
    settings["stages"][0] |= {"steps": 24}
    settings["checkpoint"] = {"every": 4}
    return settings


def losses(lines: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines]


def wait_for_step(settings: dict[str, Any], step: int, process: subprocess.Popen[str]) -> None:
    """Return when ``metrics.jsonl`` tells of ``step`` steps."""
    path = Path(settings["output"], "metrics.jsonl")
    deadline = time.monotonic() + PATIENCE
    while not path.is_file() or path.read_text().count("\n") < step:
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode} before step {step}: {process.communicate()[1]}")
        assert time.monotonic() < deadline, f"step {step} did not come"
        os.sched_yield()


def ranks(process: subprocess.Popen[str], expected: int) -> list[psutil.Process]:
    """The processes that a launcher has started, by rank."""
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "onellm_core.training.worker" in child.cmdline()]
    assert len(workers) == expected
    return sorted(workers, key=lambda worker: int(worker.environ()["RANK"]))


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("zero", [1, *(pytest.param(zero, marks=pytest.mark.slow) for zero in (0, 2, 3))])
def test_killed_and_resumed_is_never_killed(
    longer: dict[str, Any], command: Any, metrics: Lines, tmp_path: Path, zero: int
) -> None:
    longer["zero"] = zero
    whole = {**longer, "output": str(tmp_path / "whole")}
    assert command.run(whole).returncode == 0
    process = command.start(longer)
    wait_for_step(longer, 10, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was killed, and had not finished"
    assert not Path(longer["output"], "model").exists()
    resumed = command.run(longer, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stderr
    assert resumed.stdout == f"{longer['output']}/model\n"
    assert losses(metrics(longer)) == losses(metrics(whole))
    ours, theirs = (load_file(Path(run["output"], "model", "model.safetensors")) for run in (longer, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_sigterm_saves_and_exits_75(
    longer: dict[str, Any], command: Any, metrics: Lines, tmp_path: Path
) -> None:
    whole = {**longer, "output": str(tmp_path / "whole")}
    assert command.run(whole).returncode == 0
    process = command.start(longer)
    wait_for_step(longer, 6, process)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert "Error: stopped on request after step" in err
    assert "the same command with --resume goes on" in err
    assert command.run(longer, "--resume").returncode == 0
    assert losses(metrics(longer)) == losses(metrics(whole))


def test_two_processes_agree_with_one(
    settings: dict[str, Any], command: Any, metrics: Lines, tmp_path: Path
) -> None:
    one = {**settings, "output": str(tmp_path / "one")}
    assert command.run(one).returncode == 0
    done = command.run({**settings, "processes": 2})
    assert done.returncode == 0, done.stderr
    expected = [line["loss"] for line in metrics(one)]
    assert [line["loss"] for line in metrics(settings)] == pytest.approx(expected, rel=1e-5)
    assert done.stderr.count("stage 1 of 1") == 1, "the plan is told once"
    assert done.stdout == f"{settings['output']}/model\n"


@pytest.mark.slow
@pytest.mark.parametrize("zero", [0, 2, 3])
def test_two_processes_agree_with_one_in_every_zero_stage(
    settings: dict[str, Any], command: Any, metrics: Lines, tmp_path: Path, zero: int
) -> None:
    one = {**settings, "output": str(tmp_path / "one"), "zero": zero}
    assert command.run(one).returncode == 0
    sharded = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
    done = command.run({**settings, "processes": 2, "zero": zero, "deepspeed": sharded})
    assert done.returncode == 0, done.stderr
    expected = [line["loss"] for line in metrics(one)]
    assert [line["loss"] for line in metrics(settings)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("zero", [1, 3])
def test_two_processes_killed_go_on_as_two_and_as_one(
    longer: dict[str, Any], command: Any, metrics: Lines, tmp_path: Path, zero: int
) -> None:
    longer |= {"processes": 2, "zero": zero}
    whole = {**longer, "output": str(tmp_path / "whole")}
    assert command.run(whole).returncode == 0
    process = command.start(longer)
    wait_for_step(longer, 6, process)
    workers = ranks(process, 2)
    process.kill()
    process.communicate()
    assert gone(workers), "processes outlive their launcher"
    process = command.start(longer, "--resume")
    wait_for_step(longer, 14, process)
    process.terminate()
    process.communicate()
    assert process.returncode == 75
    two = losses(metrics(longer))
    assert two == losses(metrics(whole))[: len(two)], "as two again: bit for bit"
    done = command.run({**longer, "processes": 1}, "--resume")
    assert done.returncode == 0, done.stderr
    expected = [line["loss"] for line in metrics(whole)]
    assert [line["loss"] for line in metrics(longer)] == pytest.approx(expected, rel=1e-4), (
        "as one: to rounding"
    )


def test_a_killed_process_ends_the_command(longer: dict[str, Any], command: Any) -> None:
    longer |= {"processes": 2}
    process = command.start(longer)
    wait_for_step(longer, 3, process)
    workers = ranks(process, 2)
    workers[1].kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: process 1 was ended by SIGKILL" in err
    assert "the same command with --resume goes on" in err
    assert gone(workers)


@pytest.mark.slow
def test_sigterm_reaches_both_processes(longer: dict[str, Any], command: Any) -> None:
    longer |= {"processes": 2}
    process = command.start(longer)
    wait_for_step(longer, 3, process)
    workers = ranks(process, 2)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert err.count("stopped on request after step") == 1
    assert gone(workers)
    done = command.run(longer, "--resume")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_error_in_the_processes_is_the_command_s(settings: dict[str, Any], command: Any) -> None:
    settings["stages"][0]["optimizer"] = {"lr": 1e30, "schedule": "constant"}
    done = command.run({**settings, "processes": 2})
    assert done.returncode == 1
    assert done.stderr.count("records: ") == 1, "said by one process, not by both"


@pytest.mark.slow
def test_torchrun_may_start_the_processes(
    settings: dict[str, Any], command: Any, metrics: Lines, tmp_path: Path
) -> None:
    one = {**settings, "output": str(tmp_path / "one")}
    assert command.run(one).returncode == 0
    path = tmp_path / "two.json"
    path.write_text(json.dumps(settings))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "onellm_cli", "train", "--config", str(path)],
        env=command.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [line["loss"] for line in metrics(one)]
    assert [line["loss"] for line in metrics(settings)] == pytest.approx(expected, rel=1e-5)
    assert done.stderr.count("2 processes, float32, ZeRO stage 1") == 1


def test_dry_run_prints_the_plan_and_writes_nothing(settings: dict[str, Any], command: Any) -> None:
    done = command.run(settings, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "8 steps × 4 samples = 32 samples" in done.stdout
    assert not Path(settings["output"]).exists()


def test_a_bad_configuration_exits_2(settings: dict[str, Any], command: Any) -> None:
    done = command.run(settings, "--set", "stages.0.stepz=4")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "did you mean 'stages.0.steps'?" in done.stderr
