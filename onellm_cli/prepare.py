"""``onellm prepare``: raw data becomes checked, resumable, portable shards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onellm_cli.options import json_option
from onellm_cli.rendering import echo_json, echo_summary, echo_table
from onellm_data.errors import UsageError

if TYPE_CHECKING:
    from onellm_data.options import Option
    from onellm_data.prepare.choices import Offer
    from onellm_data.prepare.options import Part
    from onellm_data.prepare.report import Report

_GIVEN = "given_"
"""Before the name of a declared option, so that it cannot be taken for one of the command's own."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _size(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    """``512M`` → bytes."""
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", value.strip().lower())
    if not match:
        raise UsageError(f"got --shard-size {value!r}, expected a number of bytes such as 512M or 1G")
    return int(match[1]) * _UNITS[match[2]]


def _part(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Part | None:
    """``0/4`` → the first of four parts."""
    from onellm_data.prepare.options import Part

    return None if value is None else Part.parse(value)


class PrepareCommand(click.Command):
    """A command with a flag for every option that a source or a modality declares."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, and the declared ones."""
        return [*super().get_params(ctx), *_declared_flags()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The declared options have a section of their own in ``--help``."""
        sections = {
            "Options": super().get_params(ctx),
            "Options of some modalities and layouts": _declared_flags(),
        }
        for title, options in sections.items():
            records = [record for option in options if (record := option.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)


def _declared_flags() -> Sequence[click.Parameter]:
    from onellm_data.prepare.choices import offers

    return [_flag(offer) for offer in offers().values()]


def _flag(offer: Offer) -> click.Option:
    """One flag; its value is checked when it is known what reads the data."""
    option = offer.option
    default = "" if option.default is None or option.default is False else f"  [default: {option.default}]"
    return click.Option(
        [option.flag, f"{_GIVEN}{option.name}"],
        is_flag=isinstance(option.default, bool),
        type=None if option.default is None else type(option.default),
        default=None,
        metavar=f"[{'|'.join(option.choices)}]" if option.choices else None,
        help=f"{', '.join(offer.owners)}: {option.help}{default}",
    )


@click.command(cls=PrepareCommand)
@click.argument("modality", required=False)
@click.option("--src", type=click.Path(path_type=Path), help="The raw data: a folder.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write; is made.")
@click.option(
    "--format", "format_", default="auto", show_default=True, help="The layout of --src; see --list."
)
@click.option(
    "--split", default="train", show_default=True, help="The split of items whose source names none."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where workers run: on this machine, or on the Ray cluster that is running.",
)
@click.option("--workers", type=int, help="Number of workers.  [default: the usable cores; of the cluster]")
@click.option("--limit", type=int, help="Read only the first so many items.")
@click.option(
    "--part",
    callback=_part,
    metavar="I/N",
    help="Read every N-th item from item I on, into OUT/part-I-of-N: a job of an array; then --merge.",
)
@click.option("--merge", is_flag=True, help="Join the parts in --out; needs nothing else.")
@click.option(
    "--resume", is_flag=True, help="Go on with a run that was stopped; starts one if there is none."
)
@click.option("--retry-rejects", is_flag=True, help="Read again what a finished run rejected.")
@click.option(
    "--in-place",
    is_flag=True,
    help="Leave pictures where they are, in files or in tars, and write only where that is.",
)
@click.option("--check", is_flag=True, help="Read everything and write nothing.")
@click.option(
    "--max-reject-rate",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="End with exit code 3 if a larger share is rejected; what is good is written all the same.",
)
@click.option(
    "--item-timeout", type=float, default=600, show_default=True, help="Seconds that one item may take."
)
@click.option(
    "--samples-per-shard", type=int, default=10_000, show_default=True, help="A shard is full at so many."
)
@click.option(
    "--shard-size", callback=_size, default="512M", show_default=True, help="Or when it has so many bytes."
)
@click.option("--list", "list_", is_flag=True, help="Show the layouts that each modality can be read from.")
@json_option
def prepare(
    modality: str | None,
    src: Path | None,
    out: Path | None,
    format_: str,
    list_: bool,
    merge: bool,
    max_reject_rate: float,
    samples_per_shard: int,
    shard_size: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn raw data of one MODALITY into shards that training reads.

    A bad file is rejected with its reason, in OUT/rejects.jsonl, and never ends the run.
    """
    if list_:
        _list(modality, as_json)
        return
    if merge:
        _tell(_merged(modality, src, out), as_json, max_reject_rate)
        return
    if modality is None or src is None:
        raise UsageError("expected a modality and --src, e.g.: onellm prepare imu --src walks --out shards")
    from onellm_cli.prepare_progress import Bar
    from onellm_data.prepare.options import PrepareOptions
    from onellm_data.prepare.run import prepare as run
    from onellm_data.shards.writer import ShardSize

    given = {
        name.removeprefix(_GIVEN): options.pop(name) for name in list(options) if name.startswith(_GIVEN)
    }
    asked = PrepareOptions(
        modality,
        src,
        out,
        format=format_,
        size=ShardSize(samples_per_shard, shard_size),
        given={name: value for name, value in given.items() if value is not None},
        **options,
    )
    progress = Bar()
    try:
        report = run(asked, progress)
    finally:
        progress.close()
    _tell(report, as_json, max_reject_rate)


def _merged(modality: str | None, src: Path | None, out: Path | None) -> Report:
    """Join the parts in ``out``."""
    if out is None or modality is not None or src is not None:
        raise UsageError("expected --out alone with --merge, e.g.: onellm prepare --merge --out shards")
    from onellm_data.prepare.merge import merge

    return merge(out)


def _tell(report: Report, as_json: bool, max_reject_rate: float) -> None:
    """Print what was done, and end with exit code 3 if too much was rejected."""
    told = report.to_json()
    if as_json:
        echo_json(told)
    else:
        echo_summary({name: value for name, value in told.items() if value is not None})
    report.check_rejects(max_reject_rate)


def _list(modality: str | None, as_json: bool) -> None:
    """Print the layouts of each modality, or of one, with the options that they have."""
    from onellm_data import modalities, sources
    from onellm_data.prepare.choices import read_options

    rows = [
        (name, source, [*source.options, *read_options(source, modalities.get(name))])
        for name in ([modality] if modality else modalities.names())
        for source in sources.of(modalities.get(name).name)
    ]
    if as_json:
        told = ("modality", "format", "layout", "options")
        echo_json(
            [
                dict(zip(told, (name, source.name, source.layout, list(map(_told, options))), strict=True))
                for name, source, options in rows
            ]
        )
        return
    cells = [
        (name, source.name, " ".join(option.flag for option in options), source.layout)
        for name, source, options in rows
    ]
    echo_table(cells, ["modality", "format", "options", "layout"])


def _told(option: Option) -> dict[str, Any]:
    """An option for a machine."""
    return {
        "flag": option.flag,
        "help": option.help,
        "default": option.default,
        "choices": list(option.choices),
    }
