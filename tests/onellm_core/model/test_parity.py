"""Our model on the published weights against numbers that the published code computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onellm_core import OneLLMForConditionalGeneration
from onellm_core.convert.reference import MODALITY_NAMES

Golden = dict[str, dict[str, Tensor]]

PREFIX = 32  # start tag, 30 modality tokens, end tag
NEW_TOKENS = 12


def close(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-4 of the largest number, in float32."""
    assert ours.shape == theirs.shape
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


@pytest.fixture(params=MODALITY_NAMES.items(), ids=lambda item: item[1])
def case(request: pytest.FixtureRequest, golden: Golden) -> tuple[str, Tensor, Tensor, dict[str, Tensor]]:
    """Our name, the signal, the prompt and the expected outputs of one modality."""
    theirs, ours = request.param
    signal = golden["inputs"][f"input.{theirs}"].float()
    expected = {
        name.removeprefix(f"{theirs}."): value
        for name, value in golden["outputs"].items()
        if name.startswith(f"{theirs}.")
    }
    return ours, signal, golden["inputs"]["prompt"][: len(signal)], expected


@torch.no_grad()
def test_every_modality_gives_the_published_numbers(
    golden_model: OneLLMForConditionalGeneration, case: tuple
) -> None:
    name, signal, prompt, expected = case
    features = golden_model.encoder_features(name, signal)
    close(features, expected["encoder_features"])
    routing = golden_model.route(name, golden_model.input_projections[name](features))
    close(routing, expected["routing_weights"])
    close(golden_model.encode(name, signal), expected["modality_tokens"])
    logits = golden_model(prompt, signals={name: signal}).logits
    assert logits.shape[1] == PREFIX + prompt.shape[1]
    # The reference returns the end tag's prediction first, then those of the prompt after BOS.
    close(logits[:, PREFIX:], expected["logits"])


def test_greedy_tokens_are_the_published_ones(
    golden_model: OneLLMForConditionalGeneration, case: tuple
) -> None:
    name, signal, prompt, expected = case
    tokens = golden_model.generate(
        prompt, signals={name: signal}, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False
    )
    assert torch.equal(tokens, expected["greedy"])


@torch.no_grad()
def test_text_alone_gives_the_published_logits(
    golden_model: OneLLMForConditionalGeneration, golden: Golden
) -> None:
    close(golden_model(golden["inputs"]["prompt"]).logits, golden["outputs"]["text.logits"])
