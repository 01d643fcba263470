"""``onellm convert`` there and back, and what it refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from onellm_core import OneLLMForConditionalGeneration
from onellm_core.convert import tensors
from onellm_core.convert.command import from_reference, to_reference
from onellm_core.convert.reference import MODALITY_NAMES, Heads
from onellm_core.model.create import PRESETS, NewModel, create_model
from onellm_data.errors import UsageError

HEADS = Heads(llm=4, expert=4, encoder=4)
Weights = dict[str, torch.Tensor]


@pytest.fixture
def weights(golden_weights: Path) -> Weights:
    return load_file(golden_weights)


def same(one: Weights, other: Weights) -> bool:
    """Equal names, dtypes and bits."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def there_and_back(source: Path, folder: Path) -> Weights:
    from_reference(source, folder / "model", HEADS)
    to_reference(folder / "model", folder / "back.safetensors")
    return load_file(folder / "back.safetensors")


@pytest.mark.parametrize("shard_bytes", [tensors.SHARD_BYTES, 100_000])
def test_there_and_back_is_bit_identical(
    weights: Weights, golden_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int
) -> None:
    monkeypatch.setattr(tensors.split_shards, "__defaults__", (shard_bytes,))
    monkeypatch.setattr(tensors, "REOPEN_BYTES", 50_000)
    assert same(there_and_back(golden_weights, tmp_path), weights)
    files = list((tmp_path / "model").glob("*.safetensors"))
    assert (len(files) > 1) == (shard_bytes == 100_000)
    OneLLMForConditionalGeneration.from_pretrained(tmp_path / "model")


def test_mixed_dtypes_and_pth_are_kept(weights: Weights, tmp_path: Path) -> None:
    mixed = {name: value.half() if "clip." in name else value.bfloat16() for name, value in weights.items()}
    torch.save(mixed, tmp_path / "weights.pth")
    assert same(there_and_back(tmp_path / "weights.pth", tmp_path), mixed)


def test_a_first_stage_checkpoint_becomes_one_expert(weights: Weights, tmp_path: Path) -> None:
    others = tuple(f".{name}" for name in MODALITY_NAMES if name != "image")
    first = {
        re.sub(r"resample_layers\.0\.", "resample_layers.image.", name): value
        for name, value in weights.items()
        if not re.search(r"resample_layers\.[12]\.|routers\.", name)
        and not any(f"{other}." in name or name.endswith(other) for other in others)
    }
    save_file(first, tmp_path / "first.safetensors")
    assert same(there_and_back(tmp_path / "first.safetensors", tmp_path), first)
    model = OneLLMForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert len(model.experts) == 1
    assert list(model.config.modalities) == ["image"]


def test_text_tower_leftovers_are_dropped_by_name(weights: Weights, tmp_path: Path) -> None:
    save_file(weights | {"llma.clip.logit_scale": torch.ones(1)}, tmp_path / "w.safetensors")
    assert same(there_and_back(tmp_path / "w.safetensors", tmp_path), weights)


def test_renamed_missing_and_reshaped_tensors_fail_with_the_three_lists(
    weights: Weights, tmp_path: Path
) -> None:
    weights["llma.start_tag.imux"] = weights.pop("llma.start_tag.imu")
    del weights["llma.norm.weight"]
    weights["llma.end_tag.imu"] = torch.zeros(1, 1, 5)
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(UsageError) as caught:
        from_reference(tmp_path / "w.safetensors", tmp_path / "model", HEADS)
    loaded, missing, unexpected = re.split(r"\n  (?:missing|unexpected)", str(caught.value))
    assert f"loaded ({len(weights) - 2})" in loaded
    assert missing.split() == ["(2):", "llma.norm.weight", "llma.start_tag.imu"]
    assert "llma.start_tag.imux" in unexpected
    assert "llma.end_tag.imu: [1, 1, 5] in the file, [1, 1, 96] in the model" in unexpected
    assert list(tmp_path.iterdir()) == [tmp_path / "w.safetensors"], "something half-written was left"


def test_a_model_folder_that_lost_a_tensor_is_refused(converted: Path, tmp_path: Path) -> None:
    for file in converted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(converted / "model.safetensors")
    state["start_tags.imu2"] = state.pop("start_tags.imu")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError) as caught:
        OneLLMForConditionalGeneration.from_pretrained(tmp_path)
    assert re.search(
        r"loaded \(\d+\)\n  missing \(1\):\n    start_tags.imu\n  unexpected \(1\):\n    start_tags.imu2",
        str(caught.value),
    )


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("evil",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"llma.norm.weight": Evil()}, "evil.pth")
    with pytest.raises(UsageError, match=r"evil.pth cannot be read as plain tensors"):
        from_reference(Path("evil.pth"), Path("model"), HEADS)
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist; expected a .safetensors or .pth file"),
        (lambda path: path.write_bytes(b"\x08\0\0\0\0\0\0\0{}"), "is not a readable safetensors file"),
        (lambda path: save_file({"a": torch.ones(1)}, path), "not a checkpoint of the published OneLLM"),
    ],
    ids=["absent", "garbage", "another"],
)
def test_what_is_no_checkpoint_is_said_so(make: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    make(path)
    with pytest.raises(UsageError, match=message):
        from_reference(path, tmp_path / "model", HEADS)


def test_wrong_head_counts_name_the_option(golden_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"7 heads do not divide .* 96; give the right number with --llm-heads"
    ):
        from_reference(golden_weights, tmp_path / "model", Heads(llm=7, expert=4, encoder=4))


def test_an_existing_result_is_not_overwritten(golden_weights: Path, converted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="already exists"):
        from_reference(golden_weights, tmp_path, HEADS)
    with pytest.raises(UsageError, match="already exists"):
        to_reference(converted, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_model_that_the_published_names_cannot_express_is_refused(tmp_path: Path) -> None:
    create_model(NewModel(**PRESETS["tiny"], modalities=("imu",)), tmp_path / "model")
    with pytest.raises(UsageError, match="the router is 'soft' fed by 'pooled'"):
        to_reference(tmp_path / "model", tmp_path / "out.safetensors")
