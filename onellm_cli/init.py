"""``onellm init``: a new, untrained model folder."""

from __future__ import annotations

from typing import Any

import click

from onellm_data.errors import UsageError


@click.command()
@click.argument("out")
@click.option("--preset", type=click.Choice(["smol", "tiny"]), help="smol: SmolLM2-135M; tiny: for tests.")
@click.option("--llm", help="Folder or hub name of a causal language model.")
@click.option("--encoder", help="Vision tower, by its open_clip name.  [default: ViT-L-14-quickgelu]")
@click.option("--encoder-weights", metavar="FILE", help="The tower's weights; random without.")
@click.option(
    "--experts", type=click.IntRange(min=1), default=3, show_default=True, help="Experts of the projection."
)
@click.option("--expert-layers", type=click.IntRange(min=1), help="Blocks of each expert.  [default: 8]")
@click.option("--modalities", metavar="A,B", help="What the model reads.  [default: all]")
@click.option("--set", "settings", multiple=True, metavar="M.OPTION=VALUE", help="Such as imu.rate=40.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the new weights.")
@click.option("--offline", is_flag=True, help="Make no network call.")
def init(out: str, preset: str | None, settings: tuple[str, ...], **choices: Any) -> None:
    """Make a new, untrained model folder OUT.

    The language model and the vision tower keep their weights; what lies between them is new, and
    'onellm train' aligns it.
    """
    from pathlib import Path

    from onellm_cli.quiet import quiet_libraries

    quiet_libraries(offline=choices["offline"])
    from onellm_core.model.create import PRESETS, NewModel, create_model

    given = {key: value for key, value in choices.items() if value is not None}
    values: dict[str, Any] = (PRESETS[preset] if preset else {}) | given
    if "llm" not in values:
        raise UsageError("no language model: give --llm FOLDER, or --preset smol")
    if "modalities" in values:
        values["modalities"] = tuple(name.strip() for name in values["modalities"].split(","))
    if "encoder_weights" in values:
        values["encoder_weights"] = Path(values["encoder_weights"])
    new = NewModel(settings=_parse_settings(settings), **values)
    config = create_model(new, Path(out))
    click.echo(
        f"{out}: {config.text_config.model_type} language model, "
        f"{config.projection['experts']} experts, reads {', '.join(config.modalities)}",
        err=True,
    )
    if new.encoder_weights is None:
        click.echo("The vision tower's weights are random; give --encoder-weights FILE for others.", err=True)


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """``("imu.rate=40",)`` → ``{"imu.rate": 40}``; values are YAML."""
    import yaml

    parsed = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"got --set {setting}; expected MODALITY.OPTION=VALUE, such as imu.rate=40")
        parsed[path] = yaml.safe_load(value)
    return parsed
