"""The processes of a run: who they are, and the few things that they tell each other."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from onellm_data.errors import OnellmError

TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others: longer than the largest model takes to load or save."""

T = TypeVar("T")


class SharedError(OnellmError):
    """An error that every process meets alike, so that one of them reports it."""


@dataclass(frozen=True)
class World:
    """This process among the others.

    Attributes:
        rank: Its number; rank 0 writes and talks.
        size: How many there are.
        local_rank: Its number on this machine, and its GPU's.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where its share of the model lives."""
        if torch.accelerator.is_available():
            accelerator = torch.accelerator.current_accelerator()
            assert accelerator is not None
            return torch.device(accelerator.type, self.local_rank)
        return torch.device("cpu")

    def say(self, text: str) -> None:
        """A line for people, once."""
        if self.main:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


def launched() -> bool:
    """Whether a launcher (ours, torchrun, …) started this process as one of several."""
    return "RANK" in os.environ


def world_size(processes: int) -> int:
    """How many processes train: what the launcher says, or else ``processes``."""
    return int(os.environ["WORLD_SIZE"]) if launched() else processes


def start() -> World:
    """Join the other processes; a process that was launched alone is a world of one."""
    world = World(
        int(os.environ.get("RANK", 0)),
        int(os.environ.get("WORLD_SIZE", 1)),
        int(os.environ.get("LOCAL_RANK", 0)),
    )
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it even of a single process
    if not dist.is_initialized():
        backend = dist.get_default_backend_for_device(world.device)
        if world.device.type != "cpu":
            torch.accelerator.set_device_index(world.local_rank)
        if launched():
            dist.init_process_group(backend, timeout=TIMEOUT)
        else:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=TIMEOUT)
        # Not before: DeepSpeed keeps hold of the group, and a second run in this process needs it.
        atexit.register(stop)
    return world


def stop() -> None:
    """Leave the others."""
    if dist.is_initialized():
        # Another process may have gone first; there is nothing left to tell it.
        with suppress(RuntimeError):
            dist.destroy_process_group()


def total(values: list[float], device: torch.device) -> list[float]:
    """Each value summed over the processes, in float64."""
    if dist.get_world_size() == 1:
        return values
    dtype = torch.float64 if device.type != "mps" else torch.float32
    tensor = torch.tensor(values, dtype=dtype, device=device)
    dist.all_reduce(tensor)
    return tensor.tolist()


def gather(value: T) -> list[T]:
    """``value`` of every process, in the order of their ranks."""
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_main(make: Callable[[], T]) -> T:
    """What ``make`` returns on rank 0, on every process; if it fails there, it fails everywhere.

    Raises:
        SharedError: ``make`` raised an error for the user; with its message and exit code.
    """
    result: list[T | OnellmError | None] = [None]
    if dist.get_rank() == 0:
        try:
            result = [make()]
        except OnellmError as error:
            result = [error]
    dist.broadcast_object_list(result)
    value = result[0]
    if isinstance(value, OnellmError):
        shared = SharedError(str(value))
        shared.exit_code = value.exit_code
        raise shared
    return value  # type: ignore[return-value]
