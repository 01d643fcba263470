"""``onellm convert``: the published OneLLM's checkpoints to model folders, and back."""

from __future__ import annotations

import click

from onellm_data.errors import UsageError


@click.command()
@click.argument("source")
@click.argument("out")
@click.option(
    "--from", "from_", type=click.Choice(["reference"]), help="SOURCE is a checkpoint of this kind."
)
@click.option("--to", type=click.Choice(["reference"]), help="OUT becomes a checkpoint of this kind.")
@click.option(
    "--llm-heads",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Attention heads of the language model.",
)
@click.option(
    "--expert-heads",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Attention heads of the experts.",
)
@click.option(
    "--encoder-heads",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Attention heads of the vision tower.",
)
@click.option("--tokenizer", metavar="FILE", help="The language model's tokenizer.model, or its folder.")
def convert(
    source: str,
    out: str,
    from_: str | None,
    to: str | None,
    llm_heads: int,
    expert_heads: int,
    encoder_heads: int,
    tokenizer: str | None,
) -> None:
    """Convert the published checkpoint SOURCE into a model folder OUT, or back.

    \b
    onellm convert --from reference consolidated.00-of-01.pth OUT --tokenizer tokenizer.model
    onellm convert --to reference FOLDER OUT.safetensors

    Tensors go one by one, so a checkpoint may be larger than the memory. Numbers of attention
    heads cannot be read from the tensors; the defaults are the 7B's.
    """  # noqa: D301 - \\b is click's mark for lines that stay as they are
    from pathlib import Path

    from onellm_cli.quiet import quiet_libraries

    if (from_ is None) == (to is None):
        raise UsageError("give either --from reference (into a model folder) or --to reference (out of one)")
    quiet_libraries(offline=True)
    from onellm_core.convert.command import from_reference, to_reference
    from onellm_core.convert.reference import Heads

    if to is not None:
        count = to_reference(Path(source), Path(out))
        click.echo(f"{out}: {count} tensors", err=True)
        return
    heads = Heads(llm_heads, expert_heads, encoder_heads)
    config = from_reference(Path(source), Path(out), heads, Path(tokenizer) if tokenizer else None)
    click.echo(f"{out}: reads {', '.join(config.modalities)}", err=True)
    if tokenizer is None:
        click.echo(
            "Without --tokenizer the folder holds the model alone; 'onellm infer' needs one.", err=True
        )
