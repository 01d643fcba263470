"""DeepSpeed itself: imported quietly, and configured from our own strict configuration.

DeepSpeed ignores top-level keys that it does not know, so what goes into its configuration is
checked here.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError

from onellm_core.training.config import StageConfig, TrainConfig
from onellm_data.errors import UsageError, require, unknown

BUCKET_ELEMENTS = 50_000_000
"""Gradients that are sent at once; DeepSpeed's own 5e8 would hold 2 GB of float32 beside the model."""

SECTIONS = (
    "activation_checkpointing",
    "aio",
    "comms_logger",
    "communication_data_type",
    "data_types",
    "flops_profiler",
    "gradient_predivide_factor",
    "prescale_gradients",
    "wall_clock_breakdown",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
    "zero_optimization",
)
"""Top-level keys of DeepSpeed that the section ``deepspeed`` may set."""

OURS = {
    "train_batch_size": "stages.N.batch_size",
    "train_micro_batch_size_per_gpu": "stages.N.micro_batch_size",
    "gradient_accumulation_steps": "stages.N.micro_batch_size",
    "gradient_clipping": "stages.N.optimizer.clip",
    "optimizer": "stages.N.optimizer",
    "scheduler": "stages.N.optimizer.schedule",
    "bf16": "precision",
    "fp16": "precision",
}
"""Top-level keys of DeepSpeed that follow from keys of ours."""


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuse what DeepSpeed would ignore, and what our own keys decide.

    Raises:
        UsageError: A key of ``deepspeed`` is unknown or belongs to a key of ours.
    """
    for key, value in overrides.items():
        if key in OURS:
            raise UsageError(f"deepspeed.{key} cannot be set: it follows from '{OURS[key]}'; set that")
        if key not in SECTIONS:
            raise unknown("key of 'deepspeed'", key, SECTIONS)
        if key == "zero_optimization":
            _check_zero(value)


def _check_zero(section: Any) -> None:
    if not isinstance(section, Mapping):
        raise UsageError(
            f"deepspeed.zero_optimization: got {section!r}, expected a section of keys and values"
        )
    if "stage" in section:
        raise UsageError("deepspeed.zero_optimization.stage cannot be set: it follows from 'zero'; set that")
    import_deepspeed()
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    fields = DeepSpeedZeroConfig.model_fields
    known = {*fields, *(field.alias for field in fields.values() if field.alias)}
    for key in section:
        if key not in known:
            raise unknown("key of 'deepspeed.zero_optimization'", key, known)
    try:
        DeepSpeedZeroConfig(**section)
    except ValidationError as error:
        wrong = error.errors()[0]
        path = ".".join(map(str, wrong["loc"]))
        raise UsageError(
            f"deepspeed.zero_optimization.{path}: got {wrong['input']!r}; DeepSpeed says: {wrong['msg']}"
        ) from error


def deepspeed_config(
    config: TrainConfig, stage: StageConfig, micro: int, accumulation: int
) -> dict[str, Any]:
    """DeepSpeed's configuration for one stage.

    Args:
        config: The run.
        stage: One of its stages.
        micro: Samples that one process computes at once.
        accumulation: Micro-batches of one optimizer step in each process.

    Raises:
        UsageError: An override that is unknown, or that our own keys decide.
    """
    check_overrides(config.deepspeed)
    made = {
        "train_batch_size": stage.batch_size,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": stage.optimizer.clip,
        "bf16": {"enabled": config.precision == "bfloat16"},
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": config.zero,
            "reduce_bucket_size": BUCKET_ELEMENTS,
            "allgather_bucket_size": BUCKET_ELEMENTS,
        },
    }
    return merge(made, config.deepspeed)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``; sections that both have are merged, not replaced."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def import_deepspeed() -> ModuleType:
    """DeepSpeed, without its greetings, and without the compiler that it would call on a CPU.

    Raises:
        MissingExtra: It is not installed.
    """
    if not torch.accelerator.is_available():
        # It would look for GPUs with tools that are not there, and say so for each.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        deepspeed = require("deepspeed", "train")
    from deepspeed.ops import __compatible_ops__
    from deepspeed.utils import logger

    # A shared-memory all-reduce for CPUs that is compiled for a minute at first use; gloo does without.
    __compatible_ops__["deepspeed_shm_comm"] = False
    logger.setLevel(logging.ERROR)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.__stdout__):
            handler.setStream(sys.stderr)
    return deepspeed
