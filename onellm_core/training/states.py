"""The whole trained tensors and their moments of a DeepSpeed engine, read and set one by one.

DeepSpeed's own checkpoints hold each process's flat partition, pickled, and fit one number of
processes and one ZeRO stage.  Whole tensors under their names fit any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of AdamW's state tensors, in PyTorch and DeepSpeed."""

KINDS = ("weight", *MOMENTS)
"""What is kept for each trained tensor, each in float32."""


class TrainedState:
    """Reads and sets what training changes; every process calls the same methods in the same order.

    Args:
        engine: A DeepSpeed engine with a ``torch.optim.AdamW``.
        names: The trained parameters of ``engine.module``.
    """

    def __init__(self, engine: Any, names: Sequence[str]) -> None:
        self.engine = engine
        self.zero = engine.zero_optimization_stage()
        parameters = dict(engine.module.named_parameters())
        self.parameters: dict[str, nn.Parameter] = {name: parameters[name] for name in names}
        self._create()

    def _create(self) -> None:
        """Make AdamW's state, with moments of zero; it would be made at the first step otherwise."""
        optimizer = self.engine.basic_optimizer
        for flat in self._optimized():
            moments = {moment: torch.zeros_like(flat) for moment in MOMENTS}
            optimizer.state[flat] = {"step": torch.tensor(0.0), **moments}
        if self.zero in (1, 2):
            # Gives each parameter its views of the flat moments.
            self.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def set_step(self, step: int) -> None:
        """Say that ``step`` optimizer steps are behind."""
        for flat in self._optimized():
            self.engine.basic_optimizer.state[flat]["step"].fill_(step)
        self.engine.global_steps = step

    def _optimized(self) -> Iterator[Tensor]:
        """The tensors that AdamW updates: parameters, or this process's flat partitions of them."""
        if self.zero == 3:
            yield from self.engine.optimizer.fp32_partitioned_groups_flat
        else:
            for group in self.engine.basic_optimizer.param_groups:
                yield from group["params"]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a whole trained tensor; ZeRO-3 keeps it beside an empty one."""
        parameter = self.parameters[name]
        return tuple(getattr(parameter, "ds_shape", parameter.shape))

    def get(self, name: str, kind: str) -> Tensor:
        """One whole tensor of ``KINDS``, float32 in main memory."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        parameter = self.parameters[name]
        if self.zero == 0:
            value = parameter if kind == "weight" else self.engine.basic_optimizer.state[parameter][kind]
        elif kind == "weight":
            value = safe_get_full_fp32_param(parameter)
        else:
            value = safe_get_full_optimizer_state(parameter, kind)
        return value.detach().to("cpu", torch.float32)

    def set(self, name: str, kind: str, value: Tensor) -> None:
        """Set one whole tensor of ``KINDS``; ``value`` is the same on every process."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        parameter = self.parameters[name]
        value = value.to(self.engine.device)
        if kind == "weight":
            self._set_model(parameter, value)
            if self.zero:
                safe_set_full_fp32_param(parameter, value)
        elif self.zero:
            safe_set_full_optimizer_state(parameter, value, kind)
        else:
            self.engine.basic_optimizer.state[parameter][kind].copy_(value)

    @torch.no_grad()
    def _set_model(self, parameter: nn.Parameter, value: Tensor) -> None:
        """Set the copy, maybe bfloat16, that the model computes with."""
        if self.zero < 3:
            parameter.copy_(value)
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([parameter], modifier_rank=0):
            parameter.copy_(value)
