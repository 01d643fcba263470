"""What a run would do, and everything that is refused before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onellm_core import OneLLMForConditionalGeneration
from onellm_core.training.config import TrainConfig
from onellm_core.training.config_file import check
from onellm_core.training.plan import estimate_memory, make_plan
from onellm_core.training.report import format_plan, number, size
from onellm_data.errors import UsageError
from onellm_data.records import Record
from onellm_data.shards.writer import ShardWriter


def planned(settings: dict[str, Any]) -> Any:
    return make_plan(check(settings, "test"))


def test_alignment_trains_the_stage_s_modality_and_the_shared_experts(settings: dict[str, Any]) -> None:
    (stage,) = planned(settings).stages
    beginnings = {".".join(name.split(".")[:2]) for name in stage.trained}
    assert beginnings == {
        "tokenizers.imu", "positions.imu", "modality_tokens.imu", "input_projections.imu", "experts.0",
        "experts.1", "output_projections.imu", "routers.imu", "start_tags.imu", "end_tags.imu",
    }  # fmt: skip


def test_counts_agree_with_the_loaded_model(settings: dict[str, Any], model_folder: Path) -> None:
    (stage,) = planned(settings).stages
    sizes = {
        name: p.numel()
        for name, p in OneLLMForConditionalGeneration.from_pretrained(model_folder).named_parameters()
    }
    assert sum(part.trained for part in stage.parts.values()) == sum(sizes[name] for name in stage.trained)
    assert sum(part.trained + part.frozen for part in stage.parts.values()) == sum(sizes.values())
    assert set(sizes) == set(stage.trained) | {name for names in stage.frozen.values() for name in names}


def test_data_and_batches(settings: dict[str, Any]) -> None:
    settings["processes"] = 2
    (stage,) = planned(settings).stages
    (data,) = stage.data
    assert (data.records, data.steps, data.epochs) == (12, 8, 8 * 4 / 12)
    assert (stage.micro, stage.accumulation) == (2, 1)


def test_micro_batches_are_by_default_the_whole_share(settings: dict[str, Any]) -> None:
    del settings["stages"][0]["micro_batch_size"]
    assert planned(settings).stages[0].micro == 4
    assert planned({**settings, "processes": 2}).stages[0].micro == 2


def test_a_launcher_s_number_of_processes_counts(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert planned(settings).processes == 2


def test_a_data_set_may_have_another_name(settings: dict[str, Any]) -> None:
    data = settings["stages"][0]["data"]
    data["watch"] = {**data.pop("imu"), "modality": "imu"}
    plan = planned(settings)
    assert plan.stages[0].data[0].modality == "imu"
    assert "watch (imu)" in format_plan(check(settings, "x"), plan)


def test_the_plan_reads_well(config: TrainConfig) -> None:
    text = format_plan(config, make_plan(config))
    assert "1 process, float32, ZeRO stage 1, seed 0" in text
    assert "stage 1 of 1: align" in text
    assert "8 steps × 4 samples = 32 samples; each process 2 × 2 a step" in text
    columns = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert columns["llm"][0] == "0"
    assert columns["encoder"][0] == "0"
    assert columns["tags"][:2] == ["128", "128"]


def test_memory_in_mixed_precision_is_as_the_zero_paper_counts_it(settings: dict[str, Any]) -> None:
    """arXiv 1910.02054, figure 1: 7.5 billion parameters on 64 devices need 120, 31.4, 16.6 and 1.9 GB."""
    expected = {1: 31.4, 2: 16.6, 3: 1.88}
    for zero, gigabytes in expected.items():
        config = check({**settings, "precision": "bfloat16", "zero": zero}, "x")
        memory = estimate_memory(config, 7_500_000_000, 7_500_000_000, 64)
        assert memory.total / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_numbers_for_people() -> None:
    assert [number(n) for n in (0, 999, 1000, 999_499, 999_500, 134_515_008, 7 * 10**9)] == [
        "0", "999", "1 k", "999 k", "1 M", "135 M", "7 G",
    ]  # fmt: skip
    assert [size(n) for n in (0, 1023, 1024, 80 << 30, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1 KiB",
        "80 GiB",
        "3 TiB",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "/nowhere"}, "/nowhere does not exist; expected a model folder"),
        (
            {"deepspeed": {"zero_optimisation": {}}},
            "unknown key of 'deepspeed' 'zero_optimisation'; did you mean",
        ),
        ({"deepspeed": {"bf16": {}}}, "deepspeed.bf16 cannot be set: it follows from 'precision'; set that"),
        (
            {"deepspeed": {"zero_optimization": {"stage": 2}}},
            "deepspeed.zero_optimization.stage cannot be set: it follows from 'zero'; set that",
        ),
        (
            {"deepspeed": {"zero_optimization": {"stage3_max_live_parameter": 1}}},
            "unknown key of 'deepspeed.zero_optimization' 'stage3_max_live_parameter'; did you mean "
            "'stage3_max_live_parameters'?",
        ),
        (
            {"deepspeed": {"zero_optimization": {"overlap_comm": "maybe"}}},
            "deepspeed.zero_optimization.overlap_comm: got 'maybe'; DeepSpeed says: ",
        ),
        (
            {"deepspeed": {"zero_optimization": 3}},
            "deepspeed.zero_optimization: got 3, expected a section of keys and values",
        ),
        (
            {"processes": 3},
            "stage 'align': batch_size 4 is not a multiple of 3 processes × 2 samples (micro_batch_size)",
        ),
    ],
)
def test_runs_that_are_refused(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned({**settings, **change})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["tag"]}, "unknown part in stages.align.train 'tag'; did you mean 'tags'?"),
        ({"train": []}, "stage 'align' trains nothing: this model has no tensors in an empty list"),
        (
            {"batch_size": 5, "micro_batch_size": 2},
            "batch_size 5 is not a multiple of 1 processes × 2 samples",
        ),
    ],
)
def test_stages_that_are_refused(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    settings["stages"][0] |= change
    with pytest.raises(UsageError) as caught:
        planned(settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": "/nowhere"}, "stage 'align', data set 'imu': found nothing at /nowhere"),
        ({"split": "tset"}, "stage 'align', data set 'imu': unknown split"),
        ({"modality": "image"}, "hold imu, not 'image'; name the data set after its modality"),
        ({"modality": "iMU"}, "hold imu, not 'iMU'"),
    ],
)
def test_data_that_is_refused(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    settings["stages"][0]["data"]["imu"] |= change
    with pytest.raises(UsageError) as caught:
        planned(settings)
    assert message in str(caught.value)


def test_shards_of_another_schema_are_refused(settings: dict[str, Any], shards: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = (shards / "manifest.json").read_text()
    (other / "manifest.json").write_text(text.replace('"schema": 1', '"schema": 99'))
    settings["stages"][0]["data"]["imu"]["shards"] = str(other)
    with pytest.raises(UsageError, match=r"data set 'imu'.* has the schema 99, this onellm reads 1"):
        planned(settings)


def test_a_model_that_does_not_read_the_modality_is_refused(
    settings: dict[str, Any], make_tiny: Callable[..., Path]
) -> None:
    settings["model"] = str(make_tiny(modalities=("image",)))
    with pytest.raises(
        UsageError, match=r"trains on 'imu', which the model .* does not read; it reads: image"
    ):
        planned(settings)


def test_an_empty_split_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "empty", ["imu"]) as writer:
        writer.add(Record("a", {}, ("b",)), split="test")
    manifest = tmp_path / "empty" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"splits": {', '"splits": {"train": {"shards": []},'))
    settings["stages"][0]["data"]["imu"]["shards"] = str(tmp_path / "empty")
    with pytest.raises(UsageError, match=r"the split 'train' of .* is empty"):
        planned(settings)
