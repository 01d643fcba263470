"""Hashes, errors that processes share, plain attention, and what is said when processes fail."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from onellm_core.training import distributed
from onellm_core.training.attention import SHORT, use_plain_attention_for_short_inputs
from onellm_core.training.deepspeed_config import import_deepspeed, merge
from onellm_core.training.distributed import SharedError
from onellm_core.training.export import check_frozen
from onellm_core.training.frozen import changed, combine, hash_folder, hash_parameters, hash_tensor
from onellm_core.training.launch import _failure
from onellm_core.training.output import flatten
from onellm_data.errors import OnellmError, UsageError


def test_a_hash_sees_one_bit_the_dtype_and_the_shape() -> None:
    tensor = torch.zeros(2, 3, dtype=torch.bfloat16)
    other = tensor.clone()
    other.view(torch.int16)[0, 0] = 1
    different = [tensor, other, tensor.half(), tensor.view(3, 2), -tensor]
    assert len({hash_tensor(t) for t in different}) == len(different)
    assert hash_tensor(tensor) == hash_tensor(tensor.clone())


def test_a_folder_s_hashes_are_those_of_the_loaded_model(model_folder: Path) -> None:
    from onellm_core import OneLLMForConditionalGeneration

    model = OneLLMForConditionalGeneration.from_pretrained(model_folder, dtype=torch.float32)
    loaded = hash_parameters(dict(model.named_parameters()))
    folder = hash_folder(model_folder)
    assert changed(loaded, folder) == []
    assert combine(loaded, loaded) == combine(folder, folder)


def test_a_frozen_tensor_that_changed_is_an_error() -> None:
    check_frozen({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"b"})
    with pytest.raises(
        OnellmError, match="1 frozen tensors changed while training, such as b; they must not"
    ):
        check_frozen({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a"})


def test_an_error_of_the_main_process_comes_with_its_exit_code() -> None:
    distributed.start()

    def fail() -> None:
        raise UsageError("no such thing")

    with pytest.raises(SharedError, match="no such thing") as caught:
        distributed.from_main(fail)
    assert caught.value.exit_code == 2
    assert distributed.from_main(lambda: 5) == 5


@pytest.mark.parametrize(
    ("codes", "message", "exit_code"),
    [
        ({1: -9, 0: -15}, "process 1 was ended by SIGKILL", 1),
        ({0: -15, 1: -11}, "process 1 was ended by SIGSEGV", 1),
        ({0: 2}, "process 0 ended with exit code 2; what it said stands above", 2),
        ({0: -15, 1: 75}, "process 1 ended with exit code 75", 75),
    ],
)
def test_what_is_said_of_processes_that_failed(codes: dict[int, int], message: str, exit_code: int) -> None:
    failures: Any = {rank: SimpleNamespace(exitcode=code) for rank, code in codes.items()}
    error = _failure(failures, Path("out"))
    assert message in str(error)
    assert error.exit_code == exit_code


@pytest.mark.parametrize(("length", "fused"), [(SHORT, False), (SHORT + 1, True)])
def test_short_inputs_are_attended_to_plainly(length: int, fused: bool) -> None:
    seen = []

    class Model(nn.Module):
        def forward(self, inputs_embeds: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cuda.flash_sdp_enabled())
            return inputs_embeds

    model = Model()
    use_plain_attention_for_short_inputs(model)
    model(inputs_embeds=torch.zeros(1, length, 2))
    assert seen == [fused]
    assert torch.backends.cuda.flash_sdp_enabled(), "only while the model runs"


def test_sections_are_merged_not_replaced() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "e": 5}) == {
        "a": {"b": 1, "c": 4},
        "d": 3,
        "e": 5,
    }


def test_flat_paths() -> None:
    assert dict(flatten({"a": {"b": [1, {"c": 2}]}, "d": [], "e": {}})) == {
        "a.b.0": 1,
        "a.b.1.c": 2,
        "d": [],
        "e": {},
    }


def test_deepspeed_is_quiet_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    import_deepspeed()
    logging.getLogger("DeepSpeed").warning("for nobody")
    assert capsys.readouterr().out == ""
