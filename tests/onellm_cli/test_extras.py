"""The extras: as promised, resolved through each other, and what is missing of them."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from onellm_cli import extras

MODALITIES = ("image", "video", "audio", "point", "depth", "normal", "imu", "fmri")
PROMISED = {*MODALITIES, "model", "train", "ray", "eval", "serve", "quickstart", "all", "dev"}


def _packages(extra: str) -> set[str]:
    return {requirement.name for requirement in extras.requirements(extra)}


def test_extras_are_those_that_the_docs_promise() -> None:
    assert set(extras.names()) == PROMISED


@pytest.mark.parametrize("extra", MODALITIES)
def test_every_modality_brings_what_asking_a_model_needs(extra: str) -> None:
    assert _packages(extra) >= {"torch", "transformers", "safetensors"}


def test_all_brings_everything_but_the_tools_of_development() -> None:
    for extra in PROMISED - {"dev", "all"}:
        assert _packages(extra) <= _packages("all")
    assert "pytest" not in _packages("all")


def test_missing_names_packages_that_are_not_there_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1000", "no-such-package", "click"]
    monkeypatch.setattr(extras, "requirements", lambda extra: tuple(map(Requirement, lines)))
    numpy, nothing = sorted(extras.missing("imu"), reverse=True)
    assert nothing == "no-such-package"
    assert numpy.startswith("numpy>=1000 (installed: ")


@pytest.mark.parametrize(
    ("module", "extra"),
    [("deepspeed", "train"), ("torch", "model"), ("open_clip", "model"), ("av", "video"), ("no_such", None)],
)
def test_a_module_is_led_back_to_its_extra(module: str, extra: str | None) -> None:
    assert extras.extra_of_module(module) == extra
