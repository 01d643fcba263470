"""The command group: help, names, exit codes and messages."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import click
import pytest

from onellm_cli.main import COMMANDS, cli
from onellm_data.errors import Interrupted, OnellmError, TooManyRejects, UsageError

Onellm = Callable[..., int]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes the command ``onellm fail`` that raises a given error."""

    def install(error: BaseException) -> None:
        @click.command()
        def fail() -> None:
            raise error

        module = ModuleType("failing_command")
        module.fail = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setattr(cli, "targets", {**COMMANDS, "fail": "failing_command:fail"})

    return install


def test_help_lists_every_command_with_what_it_does(
    onellm: Onellm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert onellm("--help") == 0
    listed = capsys.readouterr().out.partition("Commands:")[2].split("\n")
    told = dict(line.split(maxsplit=1) for line in listed if line.strip() and not line.startswith("   "))
    assert list(told) == list(COMMANDS)
    assert all(len(text) > 10 for text in told.values())


def test_version(onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("--version") == 0
    assert capsys.readouterr().out == "onellm 0.1.0\n"


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "deepspeed", "open_clip", "PIL", "pydantic", "yaml", "fsspec"}
    script = (
        "import sys\nsys.argv = ['onellm', '--help']\nfrom onellm_cli.main import main\n"
        f"try:\n    main()\nfinally:\n    print('imported', sorted({heavy!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "imported []"


def test_unknown_command_names_the_nearest(onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("trian") == 2
    known = ", ".join(sorted(COMMANDS))
    told = f"Error: unknown command 'trian'; did you mean 'train'? (choose from: {known})\n"
    assert capsys.readouterr().err == told


def test_unknown_option_is_a_usage_error(onellm: Onellm, capsys: pytest.CaptureFixture[str]) -> None:
    assert onellm("doctor", "--jsn") == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OnellmError("it broke"), 1),
        (UsageError("not that"), 2),
        (TooManyRejects("7 of 9"), 3),
        (Interrupted("stopped"), 75),
    ],
)
def test_errors_of_the_library_are_messages_with_their_exit_code(
    error: OnellmError,
    code: int,
    failing: Callable[[BaseException], None],
    onellm: Onellm,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert onellm("fail") == code
    captured = capsys.readouterr()
    assert captured.err == f"Error: {error}\n"
    assert captured.out == ""


def test_full_disk_says_where_and_what_to_do(
    failing: Callable[[BaseException], None], onellm: Onellm, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/mnt/out/a.tar"))
    assert onellm("fail") == 1
    assert capsys.readouterr().err == (
        "Error: No space left on device (/mnt/out/a.tar): free some space, or write to another disk, "
        "and run the command again\n"
    )


def test_missing_package_names_the_extra(
    failing: Callable[[BaseException], None], onellm: Onellm, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ModuleNotFoundError("No module named 'deepspeed'", name="deepspeed.ops"))
    assert onellm("fail") == 1
    assert capsys.readouterr().err == (
        "Error: the package 'deepspeed' is not installed; it comes with the extra 'train': "
        "pip install 'onellm[train]'\n"
    )


@pytest.mark.parametrize(
    "error", [AssertionError("cannot be"), ModuleNotFoundError("gone", name="onellm_core.x")]
)
def test_defect_shows_the_traceback_and_how_to_report(
    error: Exception,
    failing: Callable[[BaseException], None],
    onellm: Onellm,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert onellm("fail") == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):")
    assert str(error) in told
    assert "defect of onellm" in told
    assert "onellm doctor" in told


def test_keyboard_interrupt_is_130_without_a_traceback(
    failing: Callable[[BaseException], None], onellm: Onellm, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt())
    assert onellm("fail") == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_closed_pipe_is_quiet() -> None:
    command = [sys.executable, "-m", "onellm_cli", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert told == b""
    assert process.returncode == 1
