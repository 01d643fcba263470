"""``onellm prepare``: raw data becomes checked, resumable, portable shards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from onellm_cli.options import json_option
from onellm_cli.rendering import echo_json, echo_summary, echo_table
from onellm_data.errors import UsageError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _size(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    """``512M`` → bytes."""
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", value.strip().lower())
    if not match:
        raise UsageError(f"got --shard-size {value!r}, expected a number of bytes such as 512M or 1G")
    return int(match[1]) * _UNITS[match[2]]


@click.command()
@click.argument("modality", required=False)
@click.option("--src", type=click.Path(path_type=Path), help="The raw data: a folder.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write; is made.")
@click.option(
    "--format", "format_", default="auto", show_default=True, help="The layout of --src; see --list."
)
@click.option(
    "--split", default="train", show_default=True, help="The split of items whose source names none."
)
@click.option("--workers", type=int, help="Worker processes.  [default: the usable cores]")
@click.option("--limit", type=int, help="Read only the first so many items.")
@click.option(
    "--resume", is_flag=True, help="Go on with a run that was stopped; starts one if there is none."
)
@click.option("--retry-rejects", is_flag=True, help="Read again what a finished run rejected.")
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
    max_reject_rate: float,
    samples_per_shard: int,
    shard_size: int,
    workers: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn raw data of one MODALITY into shards that training reads.

    A bad file is rejected with its reason, in OUT/rejects.jsonl, and never ends the run.
    """
    if list_:
        _list(modality, as_json)
        return
    if modality is None or src is None:
        raise UsageError("expected a modality and --src, e.g.: onellm prepare imu --src walks --out shards")
    from onellm_cli.prepare_progress import Bar
    from onellm_data.prepare.options import PrepareOptions, usable_cores
    from onellm_data.prepare.run import prepare as run
    from onellm_data.shards.writer import ShardSize

    asked = PrepareOptions(
        modality,
        src,
        out,
        format=format_,
        size=ShardSize(samples_per_shard, shard_size),
        workers=usable_cores() if workers is None else workers,
        **options,
    )
    progress = Bar()
    try:
        report = run(asked, progress)
    finally:
        progress.close()
    told = report.to_json()
    if as_json:
        echo_json(told)
    else:
        echo_summary({name: value for name, value in told.items() if value is not None})
    report.check_rejects(max_reject_rate)


def _list(modality: str | None, as_json: bool) -> None:
    """Print the layouts of each modality, or of one."""
    from onellm_data import modalities, sources

    if modality is not None:
        modalities.get(modality)
    rows = [
        {"modality": name, "format": source.name, "layout": source.layout}
        for name in ([modality] if modality else modalities.names())
        for source in sources.of(name)
    ]
    if as_json:
        echo_json(rows)
    else:
        echo_table([list(row.values()) for row in rows], ["modality", "format", "layout"])
