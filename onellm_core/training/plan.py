"""What a run will do, worked out and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from onellm_core.model.config import OneLLMConfig
from onellm_core.model.folder import load_config as load_model_config
from onellm_core.training.config import StageConfig, TrainConfig
from onellm_core.training.data import Source, build_mixture, open_sources
from onellm_core.training.deepspeed_config import check_overrides
from onellm_core.training.distributed import world_size
from onellm_data.errors import UsageError, unknown


@dataclass(frozen=True)
class PartPlan:
    """One part of the model in one stage.

    Attributes:
        trained: Trained parameters (numbers, not tensors).
        frozen: Frozen parameters.
    """

    trained: int
    frozen: int


@dataclass(frozen=True)
class DataPlan:
    """One data set in one stage.

    Attributes:
        name: Its name in the configuration.
        modality: What is taken from each record.
        records: Its records.
        steps: Steps that take their batch from it.
        epochs: How often each of its records is seen.
    """

    name: str
    modality: str
    records: int
    steps: int
    epochs: float


@dataclass(frozen=True)
class Memory:
    """Bytes of one process's model states; activations come on top."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        stage: Its configuration.
        parts: Part of the model → what of it is trained.
        trained: Names of the trained parameters.
        frozen: Part of the model → names of its frozen parameters, where it has any.
        data: Its data sets.
        micro: Samples that one process computes at once.
        accumulation: Micro-batches of one optimizer step in each process.
        block_tokens: Tokens of one signal's block that the language model reads, tags included.
        memory: Of one process.
    """

    stage: StageConfig
    parts: Mapping[str, PartPlan]
    trained: frozenset[str]
    frozen: Mapping[str, Sequence[str]]
    data: Sequence[DataPlan]
    micro: int
    accumulation: int
    block_tokens: int
    memory: Memory


@dataclass(frozen=True)
class Plan:
    """A run: its processes and its stages."""

    processes: int
    stages: Sequence[StagePlan]


def make_plan(config: TrainConfig) -> Plan:
    """Work out and check a run, reading no weights.

    Raises:
        UsageError: The model folder, a data set, a part or a batch size is not what it should be.
    """
    check_overrides(config.deepspeed)
    processes = world_size(config.processes)
    model = load_model_config(config.model)
    sizes, parts = parameters(model)
    stages = [_plan_stage(config, stage, model, sizes, parts, processes) for stage in config.stages]
    return Plan(processes, stages)


def parameters(model: OneLLMConfig) -> tuple[dict[str, int], dict[str, list[str]]]:
    """The parameters of a model without its weights: name → how many numbers, and part → names."""
    from onellm_core.model.modeling import OneLLMForConditionalGeneration

    with torch.device("meta"):
        empty = OneLLMForConditionalGeneration(model)
    return {name: parameter.numel() for name, parameter in empty.named_parameters()}, empty.parts()


def _plan_stage(
    config: TrainConfig,
    stage: StageConfig,
    model: OneLLMConfig,
    sizes: Mapping[str, int],
    parts: Mapping[str, Sequence[str]],
    processes: int,
) -> StagePlan:
    sources = open_sources(stage)
    _check_modalities(config.model, stage, model, sources)
    trained = trained_names(stage, parts, list(model.modalities), {source.modality for source in sources})
    micro, accumulation = split_batch(stage, processes)
    part_plans = {
        part: PartPlan(
            sum(sizes[name] for name in names if name in trained),
            sum(sizes[name] for name in names if name not in trained),
        )
        for part, names in parts.items()
    }
    memory = estimate_memory(config, sum(sizes.values()), sum(sizes[name] for name in trained), processes)
    data = plan_data(stage, sources, config.seed)
    block_tokens = model.modality_tokens + 2
    left = {part: [name for name in names if name not in trained] for part, names in parts.items()}
    frozen = {part: names for part, names in left.items() if names}
    return StagePlan(stage, part_plans, trained, frozen, data, micro, accumulation, block_tokens, memory)


def _check_modalities(
    folder: Path, stage: StageConfig, model: OneLLMConfig, sources: Sequence[Source]
) -> None:
    for source in sources:
        if source.modality not in model.modalities:
            raise UsageError(
                f"stage '{stage.name}' trains on '{source.modality}', which the model {folder} does not "
                f"read; it reads: {', '.join(model.modalities) or 'text only'}"
            )


def trained_names(
    stage: StageConfig,
    parts: Mapping[str, Sequence[str]],
    modalities: Sequence[str],
    in_stage: set[str],
) -> frozenset[str]:
    """Names of the parameters that a stage trains.

    Those that belong to a modality without data in the stage stay frozen: they would get no
    gradient, but weight decay would still shrink them.

    Raises:
        UsageError: A part that the model does not have, or nothing to train.
    """
    for part in stage.train:
        if part not in parts:
            raise unknown(f"part in stages.{stage.name}.train", part, parts)
    absent = set(modalities) - in_stage
    names = frozenset(
        name for part in stage.train for name in parts[part] if name.split(".")[1] not in absent
    )
    if not names:
        asked = ", ".join(stage.train) or "an empty list"
        raise UsageError(f"stage '{stage.name}' trains nothing: this model has no tensors in {asked}")
    return names


def split_batch(stage: StageConfig, processes: int) -> tuple[int, int]:
    """Samples of one micro-batch, and micro-batches of one step in each process.

    Raises:
        UsageError: The batch cannot be shared out evenly.
    """
    micro = stage.micro_batch_size or stage.batch_size // processes
    if micro == 0 or stage.batch_size % (processes * micro):
        raise UsageError(
            f"stage '{stage.name}': batch_size {stage.batch_size} is not a multiple of {processes} processes "
            f"× {stage.micro_batch_size or 1} samples (micro_batch_size); change one of the three"
        )
    return micro, stage.batch_size // (processes * micro)


def plan_data(stage: StageConfig, sources: Sequence[Source], seed: int) -> list[DataPlan]:
    """What a stage takes from each data set."""
    mixture = build_mixture(stage, sources, seed)
    counts, epochs = mixture.counts(stage.steps), mixture.epoch(stage.steps)
    return [
        DataPlan(source.name, source.modality, len(source.reader), counts[source.name], epochs[source.name])
        for source in sources
    ]


def estimate_memory(config: TrainConfig, total: int, trained: int, processes: int) -> Memory:
    """Bytes of one process's weights, gradients and optimizer states.

    Source: ZeRO (Rajbhandari et al., arXiv 1910.02054), section 3.1: in mixed precision 2 bytes for
    a weight, 2 for its gradient, 12 for AdamW's float32 weight and two moments.  In float32 DeepSpeed
    keeps a second copy of the weights in stages 1 and 2, and none in 0 and 3.
    """
    number = 2 if config.precision == "bfloat16" else 4
    state = 8 if config.precision == "float32" and config.zero in (0, 3) else 12
    share = [processes if config.zero >= stage else 1 for stage in (1, 2, 3)]
    return Memory(total * number // share[2], trained * number // share[1], trained * state // share[0])
