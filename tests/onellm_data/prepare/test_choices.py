"""Options that sources and modalities declare: flags, where they go, and what they may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from onellm_cli.prepare import prepare as command
from onellm_data import modalities, sources
from onellm_data.errors import UsageError
from onellm_data.modalities.base import Modality
from onellm_data.prepare.choices import _declared, choose, offers
from onellm_data.prepare.report import Report
from onellm_data.shards.reader import ShardReader, load_manifest

Run = Callable[..., Report]
Call = Callable[..., tuple[int, str, str]]
WriteTable = Callable[..., Path]


@pytest.fixture
def toys(toy: Modality, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The layout ``toys`` of the package for tests is installed too."""
    monkeypatch.setitem(sources._BUILT_IN, "toys", "onellm_toy:SOURCE")
    sources.get.cache_clear()
    yield
    sources.get.cache_clear()


# ---- the flags


@pytest.fixture
def flags() -> dict[str, click.Option]:
    """Every option of the command by its flag."""
    found: dict[str, click.Option] = {}
    for parameter in command.get_params(click.Context(command)):
        if isinstance(parameter, click.Option):
            assert found.keys().isdisjoint(parameter.opts), f"two options are called {parameter.opts}"
            found |= dict.fromkeys(parameter.opts, parameter)
    return found


def test_every_declared_option_is_a_flag(flags: dict[str, click.Option]) -> None:
    for owner, option in _declared():
        flag = flags[option.flag]
        assert option.name.isidentifier()
        assert owner in str(flag.help)
        shown = set(flag.make_metavar(click.Context(command)).strip("[]").split("|"))
        assert not option.choices or shown == set(option.choices)


def test_an_option_of_several_is_of_one_kind() -> None:
    """Their values are read from the same flag."""
    known = offers()
    for owner, option in _declared():
        first = known[option.name].option
        assert type(option.default) is type(first.default), f"{owner} has another type of {option.flag}"
        assert option.choices == first.choices, f"{owner} has other choices of {option.flag}"


def test_what_is_random_follows_the_seed(flags: dict[str, click.Option]) -> None:
    assert "--seed" in flags
    assert [flag for flag in flags if "seed" in flag] == ["--seed"]


# ---- where they go


@pytest.mark.usefixtures("toys")
def test_each_goes_to_what_declares_it(run: Run, write_table: WriteTable, out: Path) -> None:
    given = {"caption": "a ball", "loud": True, "plus": 3, "sign": "other"}
    run(write_table(["number 4"]), format="toys", given=given)
    record = ShardReader(out)[0]
    assert (record.captions, record.signals["toy"].tolist()) == (("A BALL",), [-7] * 4)


@pytest.mark.usefixtures("toys")
def test_the_manifest_tells_all_of_them(run: Run, write_table: WriteTable, out: Path) -> None:
    run(write_table(["number 4"]), format="toys", given={"plus": 3})
    told = load_manifest(out).options
    assert {name: told[name] for name in ("caption", "loud", "plus", "sign")} == {
        "caption": None,
        "loud": False,
        "plus": 3,
        "sign": "same",
    }


def test_a_run_goes_on_only_with_the_same(run: Run, write_table: WriteTable, out: Path) -> None:
    src = write_table(["number 4"])
    run(src, given={"plus": 3})
    with pytest.raises(UsageError, match="asked for something else: plus was 3, is now 4"):
        run(src, given={"plus": 4}, resume=True)
    assert run(src, given={"plus": 3, "sign": "same"}, resume=True).kept == 1, "a default may be said"


def test_a_retry_reads_with_the_same(run: Run, write_table: WriteTable, out: Path) -> None:
    src = write_table(["reject x", "number 1"])
    run(src, given={"plus": 3})
    (src / "0.toy").write_text("number 7")
    run(src, given={"plus": 3}, retry_rejects=True)
    assert sorted(record.signals["toy"][0] for record in ShardReader(out)) == [4, 10]


# ---- what they may not be


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"caption_key": "alt"},
            "--caption-key means nothing for toy from the format 'toys'; it belongs to: img2dataset",
        ),
        ({"captoin": "x"}, "unknown option 'captoin'; did you mean 'caption'?"),
        ({"sign": "othr"}, "unknown value of --sign 'othr'; did you mean 'other'?"),
        ({"plus": "3"}, "got --plus '3', expected int"),
        ({"plus": True}, "got --plus True, expected int"),
        ({"loud": 1}, "got --loud 1, expected bool"),
        ({"caption": 1}, "got --caption 1, expected str"),
    ],
)
def test_wrong_options(tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        choose(sources.get("toys"), modalities.get("toy"), given)
    assert message in str(error.value)


def test_from_the_command_line(call: Call, write_table: WriteTable, tmp_path: Path) -> None:
    src = write_table(["number 4"])
    where = ("--src", src, "--out", tmp_path / "out")
    code, _, stderr = call(*where, "--plus", "x")
    assert (code, "--plus" in stderr) == (2, True)
    code, _, stderr = call(*where, "--caption-key", "alt")
    assert code == 2
    assert (
        "--caption-key means nothing for toy from the format 'folder'; it belongs to: img2dataset" in stderr
    )
    assert not (tmp_path / "out").exists()
    assert call(*where, "--plus", "5", "--sign", "other")[0] == 0
    assert load_manifest(tmp_path / "out").options["plus"] == 5
    code, stdout, _ = call("--list", "--json")
    (row,) = [row for row in json.loads(stdout) if row["format"] == "folder"]
    assert row["options"][1] == {
        "flag": "--sign",
        "help": "Which sign numbers get.",
        "default": "same",
        "choices": ["same", "other"],
    }


def test_a_layout_that_reads_its_own_signals_takes_no_option_of_reading() -> None:
    """Nobody would look at it: motion windows of Ego4D have times."""
    imu = modalities.get("imu")
    with pytest.raises(UsageError, match="--rate means nothing for imu from the format 'ego4d'"):
        choose(sources.get("ego4d"), imu, {"rate": 50.0})
    assert choose(sources.get("folder"), imu, {"rate": 50.0}).read == {"rate": 50.0}
