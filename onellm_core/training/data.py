"""From a step's number to the micro-batches of this process, read ahead in the background.

Everything here is a pure function of (seed, stage, step), so a resumed run needs no saved state,
and a run with another number of processes sees the same samples.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from onellm_core.model.processor import ModelInputs, OneLLMProcessor, TrainingSample
from onellm_core.model.splice import IGNORE_INDEX
from onellm_core.training.config import StageConfig
from onellm_core.training.distributed import World
from onellm_data import modalities
from onellm_data.errors import OnellmError, UsageError
from onellm_data.mixture import Mixture, MixturePart
from onellm_data.records import Record
from onellm_data.shards.reader import ShardReader

STEPS_AHEAD = 2
"""Batches that are ready before they are needed."""

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """One data set of a stage.

    Attributes:
        name: Its name in the configuration.
        modality: What is taken from each record.
        weight: Its share of the steps.
        reader: Its records.
    """

    name: str
    modality: str
    weight: float
    reader: ShardReader

    def digest(self) -> str:
        """Names the records' bytes, by their shards' SHA-256; changes when the data is prepared anew."""
        shards = self.reader.manifest.splits[self.reader.split].shards
        return hashlib.sha256(json.dumps([asdict(shard) for shard in shards]).encode()).hexdigest()


@dataclass(frozen=True)
class StepBatch:
    """One process's share of a step.

    Attributes:
        source: The data set that the step takes.
        ids: Record numbers of the whole batch, over all processes.
        micro: This process's micro-batches, as keyword arguments of the model.
        tokens: Tokens that the language model reads for this share, padding not counted.
    """

    source: Source
    ids: tuple[int, ...]
    micro: list[ModelInputs]
    tokens: int

    def keys(self) -> list[str]:
        """Keys of the whole batch's records."""
        return [self.source.reader.keys(index) for index in self.ids]


def open_sources(stage: StageConfig) -> list[Source]:
    """The data sets of a stage, checked.

    Raises:
        UsageError: Shards are missing, of another schema, empty, or without the modality.
    """
    return [_open_source(stage, name) for name in stage.data]


def _open_source(stage: StageConfig, name: str) -> Source:
    data = stage.data[name]
    where = f"stage '{stage.name}', data set '{name}'"
    try:
        reader = ShardReader(data.shards, data.split)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    modality = data.modality or name
    if modality not in reader.modalities:
        raise UsageError(
            f"{where}: the shards at {data.shards} hold {', '.join(reader.modalities)}, not '{modality}'; "
            "name the data set after its modality, or set its key 'modality'"
        )
    if len(reader) == 0:
        raise UsageError(f"{where}: the split '{data.split}' of {data.shards} is empty")
    return Source(name, modality, data.weight, reader)


def build_mixture(stage: StageConfig, sources: Sequence[Source], seed: int) -> Mixture:
    """The order of a stage's data."""
    parts = [MixturePart(source.name, len(source.reader), source.weight) for source in sources]
    return Mixture(parts, stage.batch_size, seed_number(seed, stage.name))


class StageData:
    """The data of one stage for one process.

    Args:
        stage: The stage.
        sources: Its data sets.
        processor: Of the stage's model, with the stage's template.
        block_tokens: Tokens of one modality block, tags included.
        seed: The run's.
        world: This process.
        micro: Samples of one micro-batch.
        pool: Threads that read samples.
    """

    def __init__(
        self,
        stage: StageConfig,
        sources: Sequence[Source],
        processor: OneLLMProcessor,
        block_tokens: int,
        seed: int,
        world: World,
        micro: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.stage = stage
        self.sources = {source.name: source for source in sources}
        self.mixture = build_mixture(stage, sources, seed)
        self.processor = processor
        self.block_tokens = block_tokens
        self.seed = seed
        self.world = world
        self.micro = micro
        self.pool = pool

    def load(self, step: int) -> StepBatch:
        """This process's share of step ``step``.

        Raises:
            OnellmError: A record cannot be read, or has nothing to learn from.
        """
        batch = self.mixture.batch(step)
        source = self.sources[batch.part]
        positions = range(self.world.rank, len(batch.ids), self.world.size)
        samples = list(self.pool.map(lambda at: self._sample(source, batch.ids[at], step, at), positions))
        groups = [samples[start : start + self.micro] for start in range(0, len(samples), self.micro)]
        micro = [with_logits(self.processor.training_batch(group), self.block_tokens) for group in groups]
        return StepBatch(source, batch.ids, micro, sum(self._tokens(inputs) for inputs in micro))

    def _sample(self, source: Source, index: int, step: int, position: int) -> TrainingSample:
        """One sample; what is random in it follows from where it stands."""
        record = source.reader[index]
        random = np.random.default_rng(seed_number(self.seed, self.stage.name, step, position))
        caption = _caption(record, source, random)
        signal = self._signal(record, source, random)
        return TrainingSample.of_caption([(source.modality, signal)], caption, self.stage.prompt)

    def _signal(self, record: Record, source: Source, random: np.random.Generator) -> np.ndarray:
        if source.modality not in record.signals:
            raise OnellmError(f"{_name(record, source)} has no {source.modality} signal")
        name = source.modality
        try:
            array = self.processor.modality_input(name, record.signals[name])
        except OnellmError as error:
            raise OnellmError(f"{_name(record, source)}: {error}") from error
        augment = modalities.get(name).augment
        if self.stage.augment and augment is not None:
            array = augment(array, self.processor.modalities[name]["input"], random)
        return array

    def _tokens(self, inputs: ModelInputs) -> int:
        blocks = sum(len(sample) for sample in inputs["blocks"])
        return int(inputs["attention_mask"].sum()) + blocks * self.block_tokens


def _caption(record: Record, source: Source, random: np.random.Generator) -> str:
    if not record.captions:
        raise OnellmError(
            f"{_name(record, source)} has no caption to learn; prepare the data with captions, "
            "or leave such items out"
        )
    return record.captions[int(random.integers(len(record.captions)))]


def _name(record: Record, source: Source) -> str:
    return f"record '{record.key}' of the data set '{source.name}' ({source.reader.path})"


def with_logits(inputs: ModelInputs, block_tokens: int) -> ModelInputs:
    """Ask the model for logits only from where the first label is predicted: they are the largest tensor.

    Samples with fewer blocks end earlier in the batch (padding is on the right), by as many tokens.
    """
    labelled = (inputs["labels"] != IGNORE_INDEX).any(dim=0)
    first = int(labelled.int().argmax())
    blocks = [len(sample) for sample in inputs["blocks"]]
    shift = (max(blocks) - min(blocks)) * block_tokens
    inputs["logits_to_keep"] = inputs["labels"].shape[1] - first + 1 + shift
    return inputs


def ahead(load: Callable[[int], T], steps: Iterable[int]) -> Generator[T, None, None]:
    """``load(step)`` of every step in order, a few of them ahead in a thread of their own.

    An error comes out at its step; a consumer that stops early stops the thread.
    """
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="onellm-batches") as pool:
        try:
            for step in steps:
                pending.append(pool.submit(load, step))
                if len(pending) > STEPS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def seed_number(*parts: object) -> int:
    """A 63-bit seed that names ``parts``, the same on every machine."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
