"""Starting a run: in this process, in several of this machine, or in those that a launcher made."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from onellm_core.training import distributed
from onellm_core.training.config import TrainConfig
from onellm_core.training.output import claim
from onellm_core.training.plan import Plan, make_plan
from onellm_core.training.report import format_plan
from onellm_core.training.run import run
from onellm_data.errors import Interrupted, OnellmError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

SHUTDOWN_SECONDS = 3600
"""How long processes that were asked to stop may take to save."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def train(config: TrainConfig, *, resume: bool = False) -> Path:
    """Train all stages.

    Args:
        config: The run.
        resume: Go on from the newest whole checkpoint, if there is one.

    Returns:
        The trained model's folder.

    Raises:
        OnellmError: The run cannot begin or go on; its ``exit_code`` says which kind.
    """
    plan = make_plan(config)
    if distributed.launched():
        _run_joined(config, plan, resume=resume)
    else:
        with claim(config, resume=resume) as earlier:
            _tell(config, plan, resume=resume, earlier=earlier)
            if config.processes == 1:
                run(config, plan, distributed.start())
            else:
                _run_processes(config)
    return config.stage_model(len(config.stages) - 1)


def _tell(config: TrainConfig, plan: Plan, *, resume: bool, earlier: bool) -> None:
    sys.stderr.write(f"{format_plan(config, plan)}\n\n")
    if resume and not earlier:
        sys.stderr.write(f"nothing to resume in {config.output}\n")
    sys.stderr.flush()


def _run_joined(config: TrainConfig, plan: Plan, *, resume: bool) -> None:
    """As one of the processes that torchrun, or another launcher, has started."""
    main = int(os.environ["RANK"]) == 0
    with claim(config, resume=resume) if main else nullcontext(False) as earlier:
        if main:
            _tell(config, plan, resume=resume, earlier=earlier)
        run(config, plan, distributed.start())


def _run_processes(config: TrainConfig) -> None:
    """In processes of this machine, which end when this one does.

    Raises:
        Interrupted: This process was asked to stop, and the others have saved.
        OnellmError: One of them failed.
    """
    # Read by torch.distributed: how long it waits after a signal before it kills.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_SECONDS))
    # Each process would otherwise start one thread for every core.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // config.processes)))
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _silence_elastic()
    request = json.dumps({"parent": os.getpid(), "config": config.model_dump(mode="json")})
    with tempfile.TemporaryDirectory(prefix="onellm-train-") as unused_logs:
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=config.processes,
            run_id=str(uuid.uuid4()),
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=unused_logs),
        )
        try:
            elastic_launch(settings, sys.executable)("-m", "onellm_core.training.worker", request)
        except ChildFailedError as error:
            raise _failure(error.failures, config.output) from None
        except SignalException:
            raise Interrupted(
                "stopped on request; the same command with --resume goes on from the newest checkpoint "
                f"in {config.output}"
            ) from None


def _failure(failures: Mapping[int, ProcessFailure], output: Path) -> OnellmError:
    """What to say when processes have failed: the one that was killed first, then the one that knows why."""
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    if killed:
        rank, number = next(iter(killed.items()))
        return OnellmError(
            f"process {rank} was ended by {signal.Signals(number).name} (SIGKILL often means that the memory "
            f"is full); what was saved in {output} is whole: the same command with --resume goes on"
        )
    rank, code = max(codes.items(), key=lambda item: item[1])
    error = OnellmError(f"process {rank} ended with exit code {code}; what it said stands above")
    error.exit_code = code
    return error


def _silence_elastic() -> None:
    """torch.distributed tells every failure in its own words; ours are enough."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic") or name.startswith("torch.distributed.launcher"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends, however it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
