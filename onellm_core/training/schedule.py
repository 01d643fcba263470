"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from onellm_core.training.config import OptimizerConfig


def learning_rate(step: int, steps: int, optimizer: OptimizerConfig) -> float:
    """Learning rate of optimizer step ``step`` (from 0) of a stage of ``steps``.

    It rises linearly over the warm-up, of which the first step already is above 0, and then
    follows half a cosine down to ``min_lr`` (Loshchilov and Hutter, arXiv 1608.03983, without
    restarts), which the step after the last would reach; or it stays.
    """
    warmup = optimizer.warmup_steps
    if step < warmup:
        return optimizer.lr * (step + 1) / warmup
    if optimizer.schedule == "constant":
        return optimizer.lr
    done = (step - warmup) / (steps - warmup)
    return optimizer.min_lr + (optimizer.lr - optimizer.min_lr) * (1 + math.cos(math.pi * done)) / 2
