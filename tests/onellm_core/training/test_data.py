"""The data of a step is a pure function of its number, whatever the processes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onellm_core import OneLLMForConditionalGeneration, OneLLMProcessor
from onellm_core.model.processor import TrainingSample
from onellm_core.training.config_file import check
from onellm_core.training.data import STEPS_AHEAD, StageData, ahead, open_sources, with_logits
from onellm_core.training.distributed import World
from onellm_data import modalities


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def stage_data(settings: dict[str, Any], pool: ThreadPoolExecutor, world: World, micro: int = 2) -> StageData:
    config = check(settings, "test")
    stage = config.stages[0]
    processor = OneLLMProcessor.from_pretrained(config.model, template="caption")
    return StageData(stage, open_sources(stage), processor, 32, config.seed, world, micro, pool)


def rows(data: StageData, step: int) -> list[tuple[list[int], torch.Tensor]]:
    """Text and signal of each sample of this process's share."""
    return [
        (ids[mask.bool()].tolist(), inputs["signals"]["imu"][inputs["blocks"][row][0][1]])
        for inputs in data.load(step).micro
        for row, (ids, mask) in enumerate(zip(inputs["input_ids"], inputs["attention_mask"], strict=True))
    ]


def same(a: list[tuple[list[int], torch.Tensor]], b: list[tuple[list[int], torch.Tensor]]) -> bool:
    return len(a) == len(b) and all(
        x[0] == y[0] and torch.equal(x[1], y[1]) for x, y in zip(a, b, strict=True)
    )


def test_a_step_s_data_does_not_depend_on_the_steps_before(
    settings: dict[str, Any], pool: ThreadPoolExecutor
) -> None:
    one, other = (stage_data(settings, pool, World()) for _ in range(2))
    expected = [rows(one, step) for step in range(5)]
    assert same(rows(other, 4), expected[4])
    assert same(rows(other, 2), expected[2])
    assert not same(expected[0], expected[1])


def test_processes_share_out_the_same_samples(settings: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    whole = rows(stage_data(settings, pool, World(), micro=4), 3)
    shares = [rows(stage_data(settings, pool, World(rank, 2), micro=1), 3) for rank in range(2)]
    together = [sample for pair in zip(*shares, strict=True) for sample in pair]
    assert same(together, whole)


def test_all_captions_of_a_record_are_drawn(settings: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    data = stage_data(settings, pool, World())
    texts = {tuple(ids) for step in range(12) for ids, _ in rows(data, step)}
    lengths = {len(text) for text in texts}
    assert len(lengths) == 3, "walking once, twice and three times; running is as long as walking"
    assert len(texts) == 4


def test_augmentation_is_drawn_anew_each_step_and_again_the_same(
    settings: dict[str, Any], pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(array: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
        return array + random.normal(size=array.shape).astype(np.float32)

    changed = dataclasses.replace(modalities.get("imu"), augment=noisy)
    monkeypatch.setattr(modalities, "get", lambda name: changed)
    plain = rows(stage_data(settings, pool, World()), 0)
    settings["stages"][0]["augment"] = True
    augmented = rows(stage_data(settings, pool, World()), 0)
    assert not torch.equal(plain[0][1], augmented[0][1])
    assert same(augmented, rows(stage_data(settings, pool, World()), 0))


def test_tokens_are_counted_without_padding(settings: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    data = stage_data(settings, pool, World())
    expected = sum(len(ids) + 32 for ids, _ in rows(data, 0))
    assert data.load(0).tokens == expected


def test_keys_are_those_of_the_whole_batch(settings: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    one, other = (stage_data(settings, pool, World(rank, 2)).load(0).keys() for rank in range(2))
    assert one == other
    assert len(one) == 4
    assert all(key.endswith("-move") for key in one)


def test_logits_are_asked_for_from_the_first_label_on(model_folder: Path) -> None:
    """Short and long captions, one block and two: the loss is that of all logits."""
    model = OneLLMForConditionalGeneration.from_pretrained(model_folder).eval()
    processor = OneLLMProcessor.from_pretrained(model_folder, template="caption")
    signal = processor.modality_input(
        "imu", np.random.default_rng(0).normal(size=(6, 400)).astype(np.float32)
    )
    blocks = model.config.modality_tokens + 2
    for count in (1, 2):
        samples = [
            TrainingSample.of_caption([("imu", signal)], "a", "Describe the motion."),
            TrainingSample.of_caption([("imu", signal.copy())] * count, "a much longer one", "And now?"),
        ]
        batch = with_logits(processor.training_batch(samples), blocks)
        kept = batch.pop("logits_to_keep")
        assert kept < batch["input_ids"].shape[1] + (count - 1) * blocks
        with torch.no_grad():
            assert model(**batch, logits_to_keep=kept).loss.item() == pytest.approx(
                model(**batch).loss.item(), rel=1e-6
            )


def test_steps_are_loaded_ahead_in_order_and_no_further() -> None:
    started: list[int] = []
    come = threading.Condition()

    def load(step: int) -> int:
        with come:
            started.append(step)
            come.notify()
        return step * 10

    batches = ahead(load, range(8))
    assert next(batches) == 0
    with come:
        assert come.wait_for(lambda: len(started) == STEPS_AHEAD + 1, timeout=60)
    assert list(batches) == [10, 20, 30, 40, 50, 60, 70]
    assert started == list(range(8))


def test_an_error_comes_out_at_its_step() -> None:
    def load(step: int) -> int:
        if step == 3:
            raise ValueError("bad record")
        return step

    batches = ahead(load, range(8))
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="bad record"):
        next(batches)


def test_a_consumer_that_stops_early_ends_the_thread() -> None:
    batches = ahead(lambda step: step, range(1_000_000))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("onellm-batches")]
