"""``onellm init``, ``convert`` and ``infer`` as a shell sees them: streams, order, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from onellm_cli.infer import infer
from onellm_cli.main import cli

Run = Callable[..., subprocess.CompletedProcess[str]]

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "reference-tiny" / "weights.safetensors"
HEADS = ["--llm-heads", "4", "--expert-heads", "4", "--encoder-heads", "4"]


@pytest.fixture(scope="module")
def run() -> Run:
    def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "onellm_cli", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that the command made."""
    folder = tmp_path_factory.mktemp("cli") / "model"
    made = run("init", folder, "--preset", "tiny", "--modalities", "imu,image", "--set", "imu.rate=40")
    assert made.returncode == 0, made.stderr
    assert made.stdout == ""
    assert "The vision tower's weights are random" in made.stderr
    assert json.loads((folder / "config.json").read_text())["modalities"]["imu"]["input"]["rate"] == 40
    return folder


@pytest.fixture
def motion(tmp_path: Path) -> Path:
    path = tmp_path / "walk.npy"
    np.save(path, np.random.default_rng(0).normal(size=(6, 2000)).astype(np.float32))
    return path


def test_one_question_and_its_answer(run: Run, model: Path, motion: Path) -> None:
    result = run("infer", "--model", model, "--imu", motion, "What?", "--max-new-tokens", 4)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("\n")
    assert (
        result.stdout
        == run("infer", "--model", model, "--imu", motion, "What?", "--max-new-tokens", 4).stdout
    )


def test_requests_through_a_pipe(run: Run, model: Path, motion: Path, tmp_path: Path) -> None:
    lines = [
        {"id": "a", "signals": {"imu": str(motion)}, "prompt": "What?"},
        {"id": "b", "signals": {"imu": str(tmp_path / "absent.npy")}, "prompt": "What?"},
        {"id": "c", "prompt": "What?"},
    ]
    text = "\n".join(map(json.dumps, lines))
    result = run("infer", "--model", model, "--input", "-", "--max-new-tokens", 4, stdin=text)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "b", "c"]
    assert ["answer" in answer for answer in answers] == [True, False, True]
    assert "missing file" in answers[1]["error"]
    assert result.returncode == 1
    assert "1 of 3 requests failed" in result.stderr

    out = tmp_path / "answers.jsonl"
    requests = tmp_path / "requests.jsonl"
    requests.write_text(text)
    again = run("infer", "--model", model, "--input", requests, "--output", out, "--max-new-tokens", 4)
    assert (again.returncode, again.stdout) == (1, "")
    assert out.read_text() == result.stdout, "a file of answers is kept though one of them failed"


def test_files_keep_the_order_of_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from onellm_core.inference.local import LocalEngine

    asked = []

    class Engine:
        def stream(self, request: object, sampling: object, write: object) -> None:
            asked.append(request)

    monkeypatch.setattr(LocalEngine, "load", lambda *_, **__: Engine())
    arguments = ["--model", "m", "--imu", "1", "--depth", "2", "3", "--imu", "4", "--image", "5", "Q"]
    result = CliRunner().invoke(infer, arguments)
    assert result.exit_code == 0, result.output
    (request,) = asked
    assert request.signals == (
        ("imu", (Path("1"),)),
        ("depth", (Path("2"), Path("3"))),
        ("imu", (Path("4"),)),
        ("image", (Path("5"),)),
    )


def test_convert_there_and_back(run: Run, tmp_path: Path) -> None:
    folder, back = tmp_path / "model", tmp_path / "back.safetensors"
    assert run("convert", "--from", "reference", GOLDEN, folder, *HEADS).returncode == 0
    result = run("convert", "--to", "reference", folder, back)
    assert result.returncode == 0, result.stderr
    assert json.loads(run("inspect", "model", folder, "--json").stdout)["modality_tokens"] == 30
    result = run("infer", "--model", folder, "Hi")
    assert result.returncode == 2
    assert "convert the checkpoint again with --tokenizer FILE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infer", "--model", "absent", "Q"], "absent does not exist; expected a model folder"),
        (["infer", "--model", ".", "Q"], ". holds no config.json; expected a model folder"),
        (["infer", "--model", "MODEL", "--imu", "absent.csv", "Q"], "missing file: absent.csv"),
        (
            ["infer", "--model", "MODEL", "--imu", "bad.csv", "Q"],
            "missing columns: bad.csv: got the columns a, b",
        ),
        (["infer", "--model", "MODEL", "--imu", "empty.csv", "Q"], "empty file: empty.csv"),
        (["infer", "--model", "MODEL", "--imu", "nan.csv", "Q"], "NaN"),
        (
            ["infer", "--model", "MODEL", "--audio", "bad.csv", "Q"],
            "does not read 'audio'; it reads: image, imu",
        ),
        (["infer", "--model", "MODEL"], "nothing to ask"),
        (
            ["infer", "--model", "MODEL", "--input", "absent"],
            "absent does not exist; expected a file of requests",
        ),
        (["infer", "--model", "MODEL", "--input", "-", "Q"], "got --input and a question of its own"),
        (["init", "new"], "no language model: give --llm FOLDER, or --preset smol"),
        (["init", "MODEL", "--preset", "tiny"], "already exists"),
        (["init", "new", "--preset", "tiny", "--modalities", "imux"], "did you mean 'imu'?"),
        (["init", "new", "--preset", "tiny", "--set", "imu.rate"], "expected MODALITY.OPTION=VALUE"),
        (["convert", "a", "b"], "give either --from reference"),
        (["convert", "--from", "reference", "bad.csv", "new"], "neither a .safetensors nor a .pth file"),
        (["convert", "--to", "reference", ".", "new"], "holds no config.json"),
    ],
)
def test_bad_input_says_what_to_do_and_leaves_nothing(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("a,b\n1,2\n")
    Path("empty.csv").touch()
    header = "timestamp_s,accl_x,accl_y,accl_z,gyro_x,gyro_y,gyro_z\n"
    Path("nan.csv").write_text(header + "".join(f"{i / 50},1,2,3,nan,5,6\n" for i in range(60)))
    before = sorted(path.name for path in tmp_path.iterdir())
    given = [str(model) if argument == "MODEL" else argument for argument in arguments]
    result = CliRunner().invoke(cli, given)
    assert message in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == before
