"""DeepSpeed in every ZeRO stage against a plain PyTorch loop written here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from onellm_core import OneLLMForConditionalGeneration, OneLLMProcessor
from onellm_core.training import distributed
from onellm_core.training.config import OptimizerConfig, TrainConfig
from onellm_core.training.config_file import check
from onellm_core.training.data import StageData, open_sources
from onellm_core.training.engine import Engine, build_optimizer, freeze
from onellm_core.training.plan import StagePlan, make_plan
from onellm_core.training.schedule import learning_rate
from onellm_core.training.states import KINDS

STEPS = 4


def stage_data(config: TrainConfig, plan: StagePlan) -> StageData:
    return StageData(
        plan.stage,
        open_sources(plan.stage),
        OneLLMProcessor.from_pretrained(config.model, template="caption"),
        plan.block_tokens,
        config.seed,
        distributed.World(),
        plan.micro,
        ThreadPoolExecutor(1),
    )


def plain_loop(config: TrainConfig, plan: StagePlan) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and final trained tensors of the same stage, the whole batch at once."""
    model = OneLLMForConditionalGeneration.from_pretrained(config.model, dtype=torch.float32)
    freeze(model, plan.trained)
    trained = {name: p for name, p in model.named_parameters() if name in plan.trained}
    settings = plan.stage.optimizer
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained.values() if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained.values() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        betas=settings.betas,
    )
    data = stage_data(config, plan)
    losses = []
    for step in range(STEPS):
        (batch,) = data.load(step).micro
        batch.pop("logits_to_keep")
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, plan.stage.steps, settings)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, {name: p.detach() for name, p in trained.items()}


def engine_loop(config: TrainConfig, plan: StagePlan) -> tuple[list[float], list[float], Engine]:
    engine = Engine(
        config, plan.stage, config.model, plan.trained, distributed.start(), plan.micro, plan.accumulation
    )
    data = stage_data(config, plan)
    losses, norms = [], []
    for step in range(STEPS):
        losses.append(engine.accumulate(data.load(step).micro))
        norms.append(engine.update(step).grad_norm)
    return losses, norms, engine


def planned(settings: dict[str, Any], **changes: object) -> tuple[TrainConfig, StagePlan]:
    config = check({**settings, **changes}, "test")
    return config, make_plan(config).stages[0]


@pytest.fixture
def plain(settings: dict[str, Any]) -> tuple[list[float], dict[str, torch.Tensor]]:
    settings["stages"][0]["micro_batch_size"] = 4
    result = plain_loop(*planned(settings))
    settings["stages"][0]["micro_batch_size"] = 2
    return result


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_every_zero_stage_learns_what_a_plain_loop_learns(
    settings: dict[str, Any], plain: tuple[list[float], dict[str, torch.Tensor]], zero: int
) -> None:
    """Also: two micro-batches of two are one batch of four, though captions differ in length."""
    losses, norms, engine = engine_loop(*planned(settings, zero=zero))
    assert losses == pytest.approx(plain[0], rel=1e-5)
    assert all(norm > 0 for norm in norms)
    for name, expected in plain[1].items():
        torch.testing.assert_close(engine.state.get(name, "weight"), expected, rtol=1e-3, atol=2e-5)
    engine.close()


def test_parameters_that_zero_3_shares_out_are_gathered_where_they_are_used(
    settings: dict[str, Any], plain: tuple[list[float], dict[str, torch.Tensor]]
) -> None:
    """By default ZeRO-3 leaves small tensors whole; here it may not."""
    sharded = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
    losses, _, engine = engine_loop(*planned(settings, zero=3, deepspeed=sharded))
    assert losses == pytest.approx(plain[0], rel=1e-5)
    engine.close()


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_bfloat16_keeps_float32_weights(
    settings: dict[str, Any], plain: tuple[list[float], dict[str, torch.Tensor]], zero: int
) -> None:
    losses, _, engine = engine_loop(*planned(settings, zero=zero, precision="bfloat16"))
    assert losses == pytest.approx(plain[0], rel=2e-2)
    assert {p.dtype for p in engine.model.parameters()} == {torch.bfloat16}
    weights = [engine.state.get(name, "weight") for name in engine.state.parameters]
    assert any((w != w.bfloat16().float()).any() for w in weights), "the master copy has more digits"
    engine.close()


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_states_can_be_set_and_read_back(settings: dict[str, Any], zero: int) -> None:
    config, plan = planned(settings, zero=zero)
    engine = Engine(
        config, plan.stage, config.model, plan.trained, distributed.start(), plan.micro, plan.accumulation
    )
    values = {
        (name, kind): torch.rand(engine.state.shape(name))
        for name in engine.state.parameters
        for kind in KINDS
    }
    for (name, kind), value in values.items():
        engine.state.set(name, kind, value)
    for (name, kind), value in values.items():
        assert torch.equal(engine.state.get(name, kind), value)
    engine.close()


def test_weight_decay_spares_biases_and_norms() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    decays, spared = build_optimizer(model, OptimizerConfig(lr=1, weight_decay=0.1)).param_groups
    assert [p.shape for p in decays["params"]] == [(2, 3)]
    assert decays["weight_decay"] == 0.1
    assert [p.shape for p in spared["params"]] == [(2,), (2,), (2,)]
    assert spared["weight_decay"] == 0


def test_frozen_modules_are_in_inference_mode() -> None:
    model = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()), torch.nn.Linear(2, 2)
    )
    freeze(model, {"1.weight", "1.bias"})
    assert [module.training for module in model] == [False, True]
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
