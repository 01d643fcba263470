"""The model under DeepSpeed: built, frozen, and one optimizer step at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onellm_core.model.modeling import OneLLMForConditionalGeneration
from onellm_core.model.splice import IGNORE_INDEX
from onellm_core.training import distributed
from onellm_core.training.attention import use_plain_attention_for_short_inputs
from onellm_core.training.config import OptimizerConfig, StageConfig, TrainConfig
from onellm_core.training.deepspeed_config import deepspeed_config, import_deepspeed
from onellm_core.training.distributed import World
from onellm_core.training.schedule import learning_rate
from onellm_core.training.states import TrainedState


@dataclass(frozen=True)
class Update:
    """What one optimizer step did, the same on every process.

    Attributes:
        lr: The learning rate.
        grad_norm: Norm of the gradient before clipping.
    """

    lr: float
    grad_norm: float


class Engine:
    """A stage's model under DeepSpeed.

    Args:
        config: The run.
        stage: The stage.
        folder: Model folder that the stage starts from.
        trained: Names of the parameters that are trained.
        world: This process.
        micro: Samples that one process computes at once.
        accumulation: Micro-batches of one optimizer step in each process.
    """

    def __init__(
        self,
        config: TrainConfig,
        stage: StageConfig,
        folder: Path,
        trained: Collection[str],
        world: World,
        micro: int,
        accumulation: int,
    ) -> None:
        self.stage = stage
        self.world = world
        self.accumulation = accumulation
        deepspeed = import_deepspeed()
        # Takes over the process group that is there; zero.Init would count one process without it.
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
        settings = deepspeed_config(config, stage, micro, accumulation)
        model = _load(folder, config, settings)
        freeze(model, trained)
        use_plain_attention_for_short_inputs(model.llm)
        self.engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=build_optimizer(model, stage.optimizer),
            config=settings,
            dist_init_required=False,
        )
        self.model: nn.Module = self.engine.module
        self.state = TrainedState(self.engine, sorted(trained))

    def accumulate(self, batches: Sequence[Mapping[str, Any]]) -> float:
        """Compute the gradient of this process's share of a batch, and the whole batch's loss.

        The loss is the mean cross entropy, in nats, over all learned tokens of the batch, however
        they are spread over processes and micro-batches, so that their numbers do not change what
        is learned.

        Args:
            batches: Micro-batches, as keyword arguments of the model.
        """
        assert len(batches) == self.accumulation, f"{len(batches)} micro-batches for {self.accumulation}"
        device = self.engine.device
        counts = [int((batch["labels"] != IGNORE_INDEX).sum()) for batch in batches]
        (labels,) = distributed.total([float(sum(counts))], device)
        losses = 0.0
        for number, (batch, count) in enumerate(zip(batches, counts, strict=True)):
            if number:
                self.engine.step()  # counts the micro-batch before it; only the last one's call updates
            loss = self.engine(**_to(batch, device), use_cache=False).loss
            # DeepSpeed divides by micro-batches and processes; undo that, and weigh by tokens.
            self.engine.backward(loss * (count / labels * self.accumulation * self.world.size))
            losses += loss.item() * count
        (losses,) = distributed.total([losses], device)
        return losses / labels

    def update(self, step: int) -> Update:
        """Apply the gradient with the learning rate of step ``step``, counted from 0."""
        lr = learning_rate(step, self.stage.steps, self.stage.optimizer)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        # Without ZeRO the norm is not told, but the gradients are still there; with it, the other way round.
        norm = self._grad_norm() if self.state.zero == 0 else None
        self.engine.step()
        return Update(lr, float(self.engine.get_global_grad_norm() if norm is None else norm))

    def _grad_norm(self) -> Tensor:
        gradients = [p.grad for p in self.state.parameters.values() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def frozen(self) -> dict[str, nn.Parameter]:
        """The parameters that are not trained, by name."""
        return {name: p for name, p in self.model.named_parameters() if name not in self.state.parameters}

    def close(self) -> None:
        """Let go of the model and its buffers."""
        self.engine.destroy()


def freeze(model: nn.Module, trained: Collection[str]) -> None:
    """Train the parameters named in ``trained`` and no others.

    Modules without any trained parameter are put into inference mode, so that a frozen part does
    what it will do later.
    """
    names = {name for name, _ in model.named_parameters()}
    assert set(trained) <= names, f"not in the model: {sorted(set(trained) - names)}"
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    for module in model.modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            module.train(False)


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trained parameters; those of one axis (biases, norms) do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    # ZeRO-3 leaves an empty tensor in place of a parameter, and its shape beside it.
    axes = {p: len(getattr(p, "ds_shape", p.shape)) for p in trained}
    groups = [
        {"params": [p for p in trained if axes[p] > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if axes[p] <= 1], "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return torch.optim.AdamW(filled, lr=config.lr, betas=config.betas, eps=config.eps)


def _load(folder: Path, config: TrainConfig, settings: dict[str, Any]) -> OneLLMForConditionalGeneration:
    """The model of ``folder``; under ZeRO-3 no process ever holds it whole."""
    from transformers.integrations import HfDeepSpeedConfig, unset_hf_deepspeed_config
    from transformers.utils import logging

    logging.disable_progress_bar()
    dtype = getattr(torch, config.precision)
    told = HfDeepSpeedConfig(settings) if config.zero == 3 else None  # transformers looks for it
    try:
        model: OneLLMForConditionalGeneration = OneLLMForConditionalGeneration.from_pretrained(
            folder, dtype=dtype
        )
        return model
    finally:
        del told
        unset_hf_deepspeed_config()


def _to(value: Any, device: torch.device) -> Any:
    """Tensors, also those inside dictionaries, on ``device``."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to(inner, device) for key, inner in value.items()}
    return value
