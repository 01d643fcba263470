"""The schema of a training configuration: one class for each section, every field explained.

Relative paths are relative to the current directory.  The file and its ``--set`` changes are read
by ``config_file``; what a configuration means for a given model and data is ``plan``'s business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ALIGNMENT_PARTS = ("tokenizers", "modality_tokens", "projection", "routers", "tags")
"""What the paper's alignment stages train (OneLLM, arXiv 2312.03700, section 4.1)."""

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
StageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Section(BaseModel):
    """A section of the file: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataConfig(Section):
    """One prepared data set of a stage."""

    shards: str
    """Folder (or fsspec URL) that ``onellm prepare`` wrote."""
    split: str = "train"
    """Split of the data set."""
    weight: Positive = 1.0
    """Share of the stage's steps, relative to the other data sets' weights; no unit."""
    modality: str | None = None
    """Modality to take from each record; by default the data set's name in the file."""


class OptimizerConfig(Section):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) and its learning rate over the steps."""

    lr: Positive
    """Peak learning rate."""
    min_lr: NotNegative = 0.0
    """Learning rate at the stage's end, for the cosine schedule."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises from 0 to ``lr``."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    """Decay rates of the two moments."""
    eps: Positive = 1e-8
    """Added to the denominator of the update."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay; biases and norms (tensors of one axis) have none."""
    clip: NotNegative = 2.0
    """Largest norm of the whole gradient; 0 does not clip."""


class StageConfig(Section):
    """One stage: what is trained, on what, for how long.  It starts from the stage before it."""

    name: StageName
    """Names the stage's folder: lower case letters, digits, - and _."""
    train: tuple[str, ...] = ALIGNMENT_PARTS
    """Parts of the model that are trained; all others are frozen."""
    data: Annotated[dict[str, DataConfig], Field(min_length=1)]
    """Data sets by name; a name without ``modality`` is the modality."""
    steps: Count
    """Optimizer steps."""
    batch_size: Count
    """Samples of one optimizer step, over all processes."""
    micro_batch_size: Count | None = None
    """Samples that one process computes at once; by default its whole share of the batch."""
    format: Literal["caption"] = "caption"
    """How a record becomes text: ``caption``: signal, then prompt (if any), then the caption."""
    prompt: str = ""
    """Text between the signal and the caption; the loss does not count it."""
    augment: bool = False
    """Whether the modalities' own augmentation is applied."""
    optimizer: OptimizerConfig
    """Optimizer and learning rate."""

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.optimizer.warmup_steps > self.steps:
            raise ValueError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, "
                f"more than the stage's {self.steps} steps"
            )
        return self


class CheckpointConfig(Section):
    """When the state of a run is saved."""

    every: Count = 500
    """Optimizer steps between two checkpoints; the last step is always saved."""
    keep: Annotated[int, Field(ge=1)] = 2
    """Checkpoints that are kept; older ones are removed."""


class LogConfig(Section):
    """What is written while training."""

    every: Count = 1
    """Optimizer steps between two lines of ``metrics.jsonl``."""


class TrainConfig(Section):
    """A whole training run."""

    model: Path
    """Model folder that the first stage starts from; it is only read."""
    output: Path
    """Folder that the run writes; the trained model is its subfolder ``model``."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides the order of the data and everything else that is random."""
    processes: Count = 1
    """Processes on this machine, one for each GPU; a launcher such as torchrun overrides it."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Numbers in which the model computes; trained tensors and their moments are float32."""
    zero: Literal[0, 1, 2, 3] = 1
    """ZeRO stage: what the processes share out: 0 nothing, 1 moments, 2 and gradients, 3 and weights."""
    deepspeed: dict[str, Any] = {}
    """Sections of DeepSpeed's own configuration, laid over the one that is made here."""
    data_threads: Count = 2
    """Threads of each process that read samples ahead."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """When the state of the run is saved."""
    log: LogConfig = LogConfig()
    """What is written while training."""
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    """Stages in order."""

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        names = [stage.name for stage in self.stages]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two stages are called '{doubled[0]}'; expected a name of its own for each")
        if self.zero == 0 and self.precision == "bfloat16":
            raise ValueError(
                "zero: 0 with precision: bfloat16 is refused, because DeepSpeed's optimizer then starts "
                "one step too late; take zero: 1 (the same weights everywhere), or precision: float32"
            )
        return self

    def stage_model(self, index: int) -> Path:
        """Model folder that stage ``index`` writes; −1 is the one that the first stage starts from."""
        if index < 0:
            return self.model
        if index == len(self.stages) - 1:
            return self.output / "model"
        return self.output / self.stages[index].name / "model"

    def checkpoints(self, index: int) -> Path:
        """Folder of the checkpoints of stage ``index``."""
        return self.output / self.stages[index].name / "checkpoints"
