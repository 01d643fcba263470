"""Small models for the tests of the core: made here, from random numbers, without any download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onellm_core import OneLLMForConditionalGeneration, OneLLMProcessor
from onellm_core.convert.command import from_reference
from onellm_core.convert.reference import Heads
from onellm_core.model.create import PRESETS, NewModel, create_model

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "reference-tiny"


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    """Workers of pytest-xdist share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> dict[str, dict[str, torch.Tensor]]:
    """Inputs and outputs that the published code computed: ``{"inputs": …, "outputs": …}``."""
    return {name: load_file(GOLDEN / f"{name}.safetensors") for name in ("inputs", "outputs", "weights")}


@pytest.fixture(scope="session")
def golden_weights() -> Path:
    """A small random checkpoint with the published names."""
    return GOLDEN / "weights.safetensors"


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory, golden_weights: Path) -> Path:
    """The golden checkpoint as a model folder."""
    folder = tmp_path_factory.mktemp("golden") / "model"
    from_reference(golden_weights, folder, Heads(llm=4, expert=4, encoder=4))
    return folder


@pytest.fixture(scope="session")
def golden_model(converted: Path) -> OneLLMForConditionalGeneration:
    """The golden checkpoint, loaded in float32."""
    return OneLLMForConditionalGeneration.from_pretrained(converted, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def make_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a tiny model folder; keyword arguments are fields of ``NewModel``."""

    def make(**fields: object) -> Path:
        folder = tmp_path_factory.mktemp("tiny") / "model"
        create_model(NewModel(**{**PRESETS["tiny"], **fields}), folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny(make_tiny: Callable[..., Path]) -> Path:
    """A tiny model folder that reads images, audio and motion."""
    return make_tiny(modalities=("image", "audio", "imu"))


@pytest.fixture(scope="session")
def tiny_model(tiny: Path) -> OneLLMForConditionalGeneration:
    """The tiny model, loaded."""
    return OneLLMForConditionalGeneration.from_pretrained(tiny).eval()


@pytest.fixture(scope="session")
def tiny_processor(tiny: Path) -> OneLLMProcessor:
    """The tiny model's processor."""
    return OneLLMProcessor.from_pretrained(tiny)
