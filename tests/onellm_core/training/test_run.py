"""Whole runs in this process: what changes, what stays, what is written, what is refused."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from onellm_core import OneLLMForConditionalGeneration, OneLLMProcessor
from onellm_core.training import checkpoint, launch, output
from onellm_core.training.config_file import check
from onellm_core.training.engine import Engine
from onellm_core.training.plan import make_plan
from onellm_data.errors import EXIT_INTERRUPTED, OnellmError, UsageError
from onellm_data.records import Record
from onellm_data.shards.writer import ShardWriter

Lines = Callable[[dict[str, Any]], list[dict[str, Any]]]


def train(settings: dict[str, Any], *, resume: bool = False, **changes: object) -> Path:
    return launch.train(check(copy.deepcopy({**settings, **changes}), "test"), resume=resume)


def losses(lines: list[dict[str, Any]]) -> list[tuple[str, int, float, float]]:
    return [(line["stage"], line["step"], line["loss"], line["grad_norm"]) for line in lines]


def checkpoints(settings: dict[str, Any], stage: str = "align") -> list[str]:
    return sorted(path.name for path in Path(settings["output"], stage, "checkpoints").iterdir())


def tensors(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


class Stopped(Exception):
    """Takes the place of a kill in a run that is in this process."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the run end hard after so many optimizer steps."""
    update = Engine.update

    def arrange(steps: int) -> None:
        def counted(engine: Engine, step: int) -> Any:
            if step == steps:
                raise Stopped
            return update(engine, step)

        monkeypatch.setattr(Engine, "update", counted)

    return arrange


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_exactly_the_declared_tensors_change(settings: dict[str, Any], precision: str) -> None:
    settings["precision"] = precision
    (stage,) = make_plan(check(settings, "x")).stages
    before, after = tensors(settings["model"]), tensors(train(settings))
    assert before.keys() == after.keys()
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert differing == stage.trained
    assert {after[name].dtype for name in stage.trained} == {torch.float32}
    assert all(after[name].dtype == before[name].dtype for name in before.keys() - stage.trained)


def test_what_a_run_leaves(
    settings: dict[str, Any], metrics: Lines, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = train(settings)
    assert folder == Path(settings["output"], "model")
    assert OneLLMProcessor.from_pretrained(folder).template.name == "caption", "infer asks as it was trained"
    OneLLMForConditionalGeneration.from_pretrained(folder)
    record = json.loads((folder / "training.json").read_text())
    assert record["stage"]["name"] == "align"
    assert set(record["origin"]) == {"model", "data set 'imu'"}
    assert checkpoints(settings) == ["step-000006", "step-000008"]
    lines = metrics(settings)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(line["losses"] == {"imu": line["loss"]} for line in lines)
    assert {"lr", "grad_norm", "samples_per_second", "tokens_per_second", "seconds"} < set(lines[0])
    told = capfd.readouterr().err
    assert "SHA-256 of the frozen tensors, before and after:" in told
    hashes = next(
        line.split() for line in told.splitlines() if line.startswith("  llm   ") and len(line) > 60
    )
    assert hashes[1] == hashes[2]


def test_it_learns(settings: dict[str, Any], metrics: Lines) -> None:
    settings["stages"][0] |= {"steps": 30}
    train(settings)
    lines = metrics(settings)
    assert np.mean([line["loss"] for line in lines[-5:]]) < lines[0]["loss"] - 0.2


def test_two_runs_are_the_same_bit_for_bit(settings: dict[str, Any], metrics: Lines, tmp_path: Path) -> None:
    train(settings)
    other = {**settings, "output": str(tmp_path / "other")}
    train(other)
    assert losses(metrics(settings)) == losses(metrics(other))


def test_another_seed_is_another_run(settings: dict[str, Any], metrics: Lines, tmp_path: Path) -> None:
    train(settings)
    other = {**settings, "output": str(tmp_path / "other"), "seed": 1}
    train(other)
    assert losses(metrics(settings)) != losses(metrics(other))


@pytest.mark.parametrize(
    "zero", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow), 3]
)
def test_a_run_that_stopped_goes_on_bit_for_bit(
    settings: dict[str, Any], metrics: Lines, tmp_path: Path, stop_after: Callable[[int], None], zero: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings["zero"] = zero
    whole = {**settings, "output": str(tmp_path / "whole")}
    train(whole)
    with monkeypatch.context():
        stop_after(5)
        with pytest.raises(Stopped):
            train(settings)
    monkeypatch.undo()
    assert [line["step"] for line in metrics(settings)] == [1, 2, 3, 4, 5]
    train(settings, resume=True)
    assert losses(metrics(settings)) == losses(metrics(whole))
    ours, theirs = tensors(Path(settings["output"], "model")), tensors(Path(whole["output"], "model"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_bfloat16_goes_on_bit_for_bit(
    settings: dict[str, Any], metrics: Lines, tmp_path: Path, stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings["precision"] = "bfloat16"
    whole = {**settings, "output": str(tmp_path / "whole")}
    train(whole)
    stop_after(4)
    with pytest.raises(Stopped):
        train(settings)
    monkeypatch.undo()
    train(settings, resume=True)
    assert losses(metrics(settings)) == losses(metrics(whole))


def test_a_run_may_go_on_in_another_zero_stage(
    settings: dict[str, Any], metrics: Lines, tmp_path: Path, stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = {**settings, "output": str(tmp_path / "whole")}
    train(whole)
    stop_after(4)
    with pytest.raises(Stopped):
        train(settings, zero=2)
    monkeypatch.undo()
    train(settings, zero=3, resume=True, checkpoint={"every": 100}, data_threads=1)
    expected = [line["loss"] for line in metrics(whole)]
    assert [line["loss"] for line in metrics(settings)] == pytest.approx(expected, rel=1e-5)


def test_a_damaged_checkpoint_is_passed_over(
    settings: dict[str, Any], metrics: Lines, tmp_path: Path, stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole = {**settings, "output": str(tmp_path / "whole")}
    train(whole)
    stop_after(7)
    with pytest.raises(Stopped):
        train(settings)
    monkeypatch.undo()
    assert checkpoints(settings) == ["step-000003", "step-000006"]
    newest = Path(settings["output"], "align", "checkpoints", "step-000006", "state-00000.safetensors")
    with newest.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xff")
    train(settings, resume=True)
    told = capfd.readouterr().err
    assert "step-000006 is damaged (state-00000.safetensors has changed since it was written)" in told
    assert f"going on from {newest.parent.parent / 'step-000003'}" in told
    assert losses(metrics(settings)) == losses(metrics(whole))


def test_resume_with_nothing_to_resume_says_so(
    settings: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    train(settings, resume=True)
    told = capfd.readouterr().err
    assert f"nothing to resume in {settings['output']}\n" in told
    assert "stage 'align': beginning at the first step" in told


def test_resume_of_a_finished_run_does_nothing(
    settings: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = train(settings)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert train(settings, resume=True) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert f"stage 'align' is finished: {folder}" in capfd.readouterr().err


def test_a_run_killed_before_its_model_was_written_writes_it(settings: dict[str, Any]) -> None:
    folder = train(settings)
    expected = tensors(folder)
    shutil.rmtree(folder)
    again = tensors(train(settings, resume=True))
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_an_earlier_run_is_not_written_over(settings: dict[str, Any]) -> None:
    train(settings)
    with pytest.raises(UsageError, match=r"holds an earlier run; go on from it with --resume"):
        train(settings)


def test_another_configuration_is_refused_with_every_key(settings: dict[str, Any]) -> None:
    train(settings)
    changed = copy.deepcopy(settings) | {"seed": 7}
    changed["stages"][0]["optimizer"]["lr"] = 0.5
    changed["stages"][0]["train"] = ["tags"]
    with pytest.raises(UsageError) as caught:
        train(changed, resume=True)
    message = str(caught.value)
    assert "was started with another configuration" in message
    assert "\n  seed: 0 → 7" in message
    assert "\n  stages.0.optimizer.lr: 0.01 → 0.5" in message
    assert '\n  stages.0.train.1: "modality_tokens" → not there' in message


def test_a_folder_of_something_else_is_not_written_into(settings: dict[str, Any]) -> None:
    Path(settings["output"]).mkdir()
    Path(settings["output"], "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"holds thesis\.txt and no run of onellm"):
            train(settings, resume=resume)


def test_two_runs_do_not_write_one_folder(settings: dict[str, Any]) -> None:
    config = check(settings, "x")
    with (
        output.claim(config, resume=False),
        pytest.raises(UsageError, match="another run is writing"),
        output.claim(config, resume=True),
    ):
        pass


def test_data_that_was_prepared_anew_is_noticed(
    settings: dict[str, Any],
    stop_after: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "own"
    settings["stages"][0]["data"]["imu"]["shards"] = str(folder)
    for seed in (0, 1):
        shutil.rmtree(folder, ignore_errors=True)
        with ShardWriter(folder, ["imu"]) as writer:
            signal = np.full((6, 400), seed, np.float32)
            writer.add(Record("000000000-a", {"imu": signal}, ("walking",)))
        if seed == 0:
            stop_after(4)
            with pytest.raises(Stopped):
                train(settings)
            monkeypatch.undo()
    with pytest.raises(
        OnellmError, match=r"the data set 'imu' is not what it was when .*step-000003 was written"
    ):
        train(settings, resume=True)


def test_a_model_that_was_replaced_is_noticed(
    settings: dict[str, Any], stop_after: Callable[[int], None], make_tiny: Callable[..., Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = tmp_path / "model"
    shutil.copytree(settings["model"], model)
    settings["model"] = str(model)
    stop_after(4)
    with pytest.raises(Stopped):
        train(settings)
    monkeypatch.undo()
    shutil.copyfile(
        make_tiny(modalities=("image", "imu"), experts=2, seed=5) / "model.safetensors",
        model / "model.safetensors",
    )
    with pytest.raises(OnellmError, match="the model is not what it was") as caught:
        train(settings, resume=True)
    assert caught.value.exit_code == 2


def test_a_stage_starts_from_the_stage_before(settings: dict[str, Any], metrics: Lines) -> None:
    first = settings["stages"][0]
    settings["stages"] = [
        {**copy.deepcopy(first), "name": "one", "steps": 4},
        {**copy.deepcopy(first), "name": "two", "steps": 4, "train": ["tags"]},
    ]
    final = tensors(train(settings))
    middle = tensors(Path(settings["output"], "one", "model"))
    differing = {name for name in final if not torch.equal(final[name], middle[name])}
    assert differing == {"start_tags.imu", "end_tags.imu"}
    assert [(line["stage"], line["step"]) for line in metrics(settings)] == [
        (stage, step) for stage in ("one", "two") for step in range(1, 5)
    ]


def test_a_loss_that_is_not_finite_ends_the_run(settings: dict[str, Any], metrics: Lines) -> None:
    """The step that blew up is not saved, and the records of the batch are named."""
    settings["stages"][0]["optimizer"] = {"lr": 1e30, "warmup_steps": 0, "schedule": "constant"}
    settings["checkpoint"] = {"every": 1}
    with pytest.raises(OnellmError) as caught:
        train(settings)
    message = str(caught.value)
    assert "of stage 'align' is nan" in message or "of stage 'align' is inf" in message
    bad = int(message.split(" of step ")[1].split()[0])
    assert f"the last checkpoint is that of step {bad - 1}" in message
    assert checkpoints(settings)[-1] == f"step-{bad - 1:06d}"
    assert message.count("-move") == 4, "the keys of the batch's four records"
    assert len(metrics(settings)) == bad - 1


def test_a_record_without_a_caption_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "mute", ["imu"]) as writer:
        writer.add(Record("000000000-mute", {"imu": np.zeros((6, 400), np.float32)}))
    settings["stages"][0]["data"]["imu"]["shards"] = str(tmp_path / "mute")
    with pytest.raises(OnellmError, match=r"record '000000000-mute' of the data set 'imu' .* has no caption"):
        train(settings)


def test_a_full_disk_leaves_the_checkpoint_before(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write_safetensors

    def full(path: Path, *rest: Any) -> None:
        if "step-000006" in str(path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, *rest)

    monkeypatch.setattr(checkpoint, "write_safetensors", full)
    with pytest.raises(OnellmError) as caught:
        train(settings)
    assert "no space left while writing" in str(caught.value)
    assert "step-000003 is as it was: go on from it with --resume" in str(caught.value)
    assert checkpoints(settings) == ["step-000003"]
    checkpoint.open_checkpoint(Path(settings["output"], "align", "checkpoints", "step-000003"))
    monkeypatch.undo()
    train(settings, resume=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(settings: dict[str, Any], small_disk: Path) -> None:
    """Each checkpoint takes about 2 MB: the first one fits, the second does not."""
    settings["output"] = str(small_disk / "run")
    with pytest.raises(OnellmError, match="no space left while writing"):
        train(settings)
    assert checkpoints(settings) == ["step-000003"]
    checkpoint.open_checkpoint(Path(settings["output"], "align", "checkpoints", "step-000003"))


def test_a_request_to_stop_saves_and_goes_on(
    settings: dict[str, Any], metrics: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {**settings, "output": str(tmp_path / "whole")}
    train(whole)
    update = Engine.update

    def asked(engine: Engine, step: int) -> Any:
        if step == 4:
            os.kill(os.getpid(), 15)
        return update(engine, step)

    monkeypatch.setattr(Engine, "update", asked)
    with pytest.raises(OnellmError, match=r"stopped on request after step 5 .* --resume goes on") as caught:
        train(settings)
    assert caught.value.exit_code == EXIT_INTERRUPTED
    monkeypatch.undo()
    train(settings, resume=True)
    assert losses(metrics(settings)) == losses(metrics(whole))


@pytest.mark.parametrize("zero", [1, 3])
def test_dropout_and_augmentation_come_back_after_a_stop(
    settings: dict[str, Any], metrics: Lines, tmp_path: Path, stop_after: Callable[[int], None], zero: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The language model is trained here, with dropout: nothing random is saved, yet all is the same."""
    model = tmp_path / "model"
    shutil.copytree(settings["model"], model)
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["attention_dropout"] = 0.5
    (model / "config.json").write_text(json.dumps(config))
    settings |= {"model": str(model), "zero": zero}
    settings["stages"][0] |= {"train": ["llm", "tags"], "augment": True}
    settings["stages"][0]["optimizer"]["lr"] = 1e-3
    whole = {**settings, "output": str(tmp_path / "whole")}
    train(whole)
    stop_after(5)
    with pytest.raises(Stopped):
        train(settings)
    monkeypatch.undo()
    train(settings, resume=True)
    assert losses(metrics(settings)) == losses(metrics(whole))


def test_stages_follow_each_other_in_zero_3(settings: dict[str, Any]) -> None:
    first = settings["stages"][0]
    settings["stages"] = [{**copy.deepcopy(first), "name": name, "steps": 2} for name in ("one", "two")]
    final = tensors(train(settings, zero=3))
    middle = tensors(Path(settings["output"], "one", "model"))
    (stage, _) = make_plan(check(settings, "x")).stages
    assert {name for name in final if not torch.equal(final[name], middle[name])} == stage.trained
