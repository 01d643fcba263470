"""``onellm train``: run the stages of a configuration."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--config", "path", required=True, metavar="FILE", help="The configuration, in YAML.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value, such as stages.0.steps=100.",
)
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; train nothing.")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the output folder.")
def train(path: str, changes: tuple[str, ...], dry_run: bool, resume: bool) -> None:
    """Train a model as a configuration says; prints the trained model's folder.

    \b
    onellm train --config configs/quickstart/motion.yaml
    onellm train --config c.yaml --set stages.0.optimizer.lr=1e-4 --set processes=2
    onellm train --config c.yaml --resume

    SIGTERM and Ctrl-C save after the step that is running; the exit code is then 75.
    """  # noqa: D301 - \\b is click's mark for lines that stay as they are
    from onellm_cli.quiet import quiet_libraries

    quiet_libraries()
    from onellm_core.training import launch
    from onellm_core.training.config_file import load_config
    from onellm_core.training.plan import make_plan
    from onellm_core.training.report import format_plan

    config = load_config(Path(path), changes)
    if dry_run:
        click.echo(format_plan(config, make_plan(config)))
        return
    click.echo(launch.train(config, resume=resume))
