"""What each process of a run does: stage after stage, step after step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import torch

from onellm_core.model.processor import OneLLMProcessor
from onellm_core.training import distributed
from onellm_core.training.checkpoint import Checkpoints, Saved
from onellm_core.training.config import TrainConfig
from onellm_core.training.data import StageData, StepBatch, ahead, open_sources, seed_number
from onellm_core.training.distributed import SharedError, World
from onellm_core.training.engine import Engine
from onellm_core.training.export import check_frozen, export_model
from onellm_core.training.frozen import Hashes, combine, hash_folder, hash_parameters
from onellm_core.training.metrics import METRICS_NAME, StageLog
from onellm_core.training.plan import Plan, StagePlan
from onellm_core.training.stop import StopRequest, stop_requests
from onellm_data.errors import EXIT_INTERRUPTED, UsageError


def run(config: TrainConfig, plan: Plan, world: World) -> None:
    """Train every stage that is not finished yet.

    Args:
        config: The run; its output folder is claimed by the caller.
        plan: What ``make_plan`` made of it.
        world: This process, which has joined the others.

    Raises:
        OnellmError: The run cannot go on; the newest checkpoint is whole.
        SharedError: The same, met by every process alike; with exit code 75 it was asked to stop.
    """
    with stop_requests() as request:
        for index, stage_plan in enumerate(plan.stages):
            finished = config.stage_model(index)
            if distributed.from_main(finished.exists):
                world.say(f"stage '{stage_plan.stage.name}' is finished: {finished}")
            else:
                StageRun(config, index, stage_plan, world, request).train()


class StageRun:
    """One stage in one process.

    Args:
        config: The run.
        index: Number of the stage, from 0.
        plan: The stage's plan.
        world: This process.
        request: Whether this process was asked to stop.
    """

    def __init__(
        self, config: TrainConfig, index: int, plan: StagePlan, world: World, request: StopRequest
    ) -> None:
        self.config = config
        self.stage = plan.stage
        self.plan = plan
        self.world = world
        self.request = request
        self.base = config.stage_model(index - 1)
        self.out = config.stage_model(index)
        self.sources = open_sources(self.stage)
        self.checkpoints = Checkpoints(config.checkpoints(index), config.checkpoint.keep, world)

    def train(self) -> None:
        """Take the steps that are left, and write the model folder."""
        hashes, saved = distributed.from_main(self._prepare)
        origin = self._origin(hashes)
        begin = "beginning at the first step" if saved is None else f"going on from {saved.folder}"
        self.world.say(f"stage '{self.stage.name}': {begin}")
        if saved is None or saved.step < self.stage.steps:
            self._take_steps(saved, origin)
        distributed.from_main(lambda: self._finish(hashes))

    def _prepare(self) -> tuple[Hashes, Saved | None]:
        """Hashes of the model that the stage starts from, and the checkpoint to go on from."""
        hashes = hash_folder(self.base)
        saved = self.checkpoints.newest(self.world.say)
        if saved is not None:
            self._check_origin(saved, self._origin(hashes))
        return hashes, saved

    def _origin(self, hashes: Hashes) -> dict[str, str]:
        """What the stage is trained on: what it is, and its hash."""
        data = {f"data set '{source.name}'": source.digest() for source in self.sources}
        return {"model": combine(hashes, hashes), **data}

    def _check_origin(self, saved: Saved, origin: Mapping[str, str]) -> None:
        differing = [what for what, digest in origin.items() if saved.origin.get(what) != digest]
        if differing:
            raise UsageError(
                f"the {differing[0]} is not what it was when {saved.folder} was written; put back what the "
                "run began with, or begin anew in another output folder"
            )

    def _take_steps(self, saved: Saved | None, origin: Mapping[str, str]) -> None:
        plan = self.plan
        engine = Engine(
            self.config, self.stage, self.base, plan.trained, self.world, plan.micro, plan.accumulation
        )
        try:
            before = hash_parameters(engine.frozen())
            if saved is not None:
                self.checkpoints.restore(engine.state, saved)
            self._loop(engine, 0 if saved is None else saved.step, origin)
            check_frozen(before, hash_parameters(engine.frozen()), ())
        finally:
            engine.close()

    def _loop(self, engine: Engine, first: int, origin: Mapping[str, str]) -> None:
        steps = range(first, self.stage.steps)
        with (
            ThreadPoolExecutor(self.config.data_threads, thread_name_prefix="onellm-samples") as pool,
            closing(ahead(self._data(pool).load, steps)) as batches,
            self._log(first) as log,
        ):
            begin = time.monotonic()
            for step, batch in zip(steps, batches, strict=True):
                line = self._step(engine, step, batch)
                end = time.monotonic()
                if log is not None:
                    log.write(line | self._rates(batch, end - begin))
                begin = end
                self._save(engine, step + 1, origin)

    def _data(self, pool: ThreadPoolExecutor) -> StageData:
        return StageData(
            self.stage,
            self.sources,
            OneLLMProcessor.from_pretrained(self.base, template=self.stage.format),
            self.plan.block_tokens,
            self.config.seed,
            self.world,
            self.plan.micro,
            pool,
        )

    def _log(self, done: int) -> AbstractContextManager[StageLog | None]:
        if not self.world.main:
            return nullcontext()
        path = self.config.output / METRICS_NAME
        return StageLog(path, self.stage.name, self.stage.steps, done, self.config.log.every)

    def _step(self, engine: Engine, step: int, batch: StepBatch) -> dict[str, Any]:
        """One optimizer step; its line of the metrics.

        Raises:
            SharedError: The loss or the gradient is not finite; nothing of it is saved.
        """
        torch.manual_seed(seed_number(self.config.seed, self.stage.name, step, self.world.rank))
        loss = engine.accumulate(batch.micro)
        self._check_finite("loss", loss, step, batch)
        update = engine.update(step)
        self._check_finite("gradient's norm", update.grad_norm, step, batch)
        return {
            "stage": self.stage.name,
            "step": step + 1,
            "loss": loss,
            "losses": {batch.source.modality: loss},
            "lr": update.lr,
            "grad_norm": update.grad_norm,
        }

    def _check_finite(self, what: str, value: float, step: int, batch: StepBatch) -> None:
        if math.isfinite(value):
            return
        saved = self.checkpoints.steps()
        last = f"the last checkpoint is that of step {saved[-1]}" if saved else "no checkpoint was saved yet"
        raise SharedError(
            f"the {what} of step {step + 1} of stage '{self.stage.name}' is {value}; {last}. "
            "Look at this batch's records, and try a lower learning rate. "
            f"Data set '{batch.source.name}', records: {', '.join(batch.keys())}"
        )

    def _rates(self, batch: StepBatch, seconds: float) -> dict[str, float]:
        tokens = batch.tokens * self.world.size  # the other processes' shares are as long, or nearly
        return {
            "seconds": seconds,
            "samples_per_second": len(batch.ids) / seconds,
            "tokens_per_second": tokens / seconds,
        }

    def _save(self, engine: Engine, done: int, origin: Mapping[str, str]) -> None:
        """Save if it is time, and stop if any process was asked to.

        Raises:
            SharedError: With exit code 75, if the run stops here.
        """
        (asked,) = distributed.total([float(bool(self.request))], engine.engine.device)
        last = done == self.stage.steps
        if last or asked or done % self.config.checkpoint.every == 0:
            folder = self.checkpoints.save(engine.state, done, origin)
            if asked and not last:
                error = SharedError(
                    f"stopped on request after step {done} of stage '{self.stage.name}'; saved in {folder}: "
                    "the same command with --resume goes on"
                )
                error.exit_code = EXIT_INTERRUPTED
                raise error

    def _finish(self, hashes: Hashes) -> None:
        """Write the model folder and say what is in it."""
        saved = self.checkpoints.newest(self.world.say)
        assert saved is not None
        assert saved.step == self.stage.steps, f"{saved.folder} is not of step {self.stage.steps}"
        record = {
            "stage": self.stage.model_dump(mode="json"),
            "seed": self.config.seed,
            "precision": self.config.precision,
            "origin": dict(saved.origin),
        }
        after = export_model(
            self.base, saved, self.out, template=self.stage.format, base_hashes=hashes, record=record
        )
        self.world.say("SHA-256 of the frozen tensors, before and after:")
        for part, names in self.plan.frozen.items():
            self.world.say(f"  {part:<16} {combine(hashes, names)[:32]}  {combine(after, names)[:32]}")
        self.world.say(f"the trained model: {self.out}")
