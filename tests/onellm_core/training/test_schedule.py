"""The learning rate against a formula written down anew."""

from __future__ import annotations

import math

import pytest

from onellm_core.training.config import OptimizerConfig
from onellm_core.training.schedule import learning_rate


def test_warm_up_rises_evenly_and_reaches_the_peak() -> None:
    optimizer = OptimizerConfig(lr=1.0, warmup_steps=4)
    assert [learning_rate(step, 20, optimizer) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_is_halfway_in_the_middle_and_ends_at_the_floor() -> None:
    optimizer = OptimizerConfig(lr=1.0, min_lr=0.2, warmup_steps=10)
    assert learning_rate(60, 110, optimizer) == pytest.approx(0.6)
    last = learning_rate(109, 110, optimizer)
    assert last == pytest.approx(0.2 + 0.8 * math.sin(math.pi / 200) ** 2, abs=1e-9)


def test_without_warm_up_it_begins_at_the_peak() -> None:
    assert learning_rate(0, 10, OptimizerConfig(lr=0.3)) == 0.3


def test_constant_stays() -> None:
    optimizer = OptimizerConfig(lr=0.3, schedule="constant", warmup_steps=2)
    assert [learning_rate(step, 5, optimizer) for step in range(5)] == [0.15, 0.3, 0.3, 0.3, 0.3]


def test_warm_up_may_last_the_whole_stage() -> None:
    optimizer = OptimizerConfig(lr=1.0, warmup_steps=4)
    assert learning_rate(3, 4, optimizer) == 1.0
