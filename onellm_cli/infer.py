"""``onellm infer``: ask a model about files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from onellm_data.errors import OnellmError, UsageError

if TYPE_CHECKING:
    from onellm_core.inference.requests import Answer

ORDER_KEY = "onellm.option_order"


class InferCommand(click.Command):
    """A command with one option for each modality, which remembers the order they were given in."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, and ``--MODALITY FILE…`` for every modality that is installed."""
        from onellm_data import modalities

        options: list[click.Parameter] = []
        for name in modalities.names():
            modality = modalities.get(name)
            options.append(
                click.Option(
                    [f"--{name}", f"signal_{name}"],
                    multiple=True,
                    nargs=len(modality.parts),
                    metavar=" ".join("FILE" if part == "signal" else part.upper() for part in modality.parts),
                    help=f"{modality.title[0].upper()}{modality.title[1:]}.",
                )
            )
        return [*options, *super().get_params(ctx)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as ever, and keep the options' order: click itself groups them by name."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[ORDER_KEY] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


@click.command(cls=InferCommand)
@click.argument("prompt", default="", required=False)
@click.option("--model", "folder", required=True, metavar="FOLDER", help="A model folder.")
@click.option("--input", "input_", metavar="FILE", help="Requests as JSON lines; - reads stdin.")
@click.option("--output", metavar="FILE", help="Write answers there instead of stdout.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="An answer ends there.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="0 takes the likeliest token each time.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Sample among the likeliest tokens of this total probability.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of answers at a temperature above 0.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Requests answered together.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of the computation; auto is the model's own.",
)
@click.option("--device", default="auto", show_default=True, help="Such as cpu or cuda:1.")
@click.option("--template", type=click.Choice(["chat", "onellm", "caption"]), help="[default: the model's]")
@click.option("--offline", is_flag=True, help="Make no network call; local models never do.")
@click.pass_context
def infer(
    ctx: click.Context,
    prompt: str,
    folder: str,
    input_: str | None,
    output: str | None,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    batch_size: int,
    dtype: str,
    device: str,
    template: str | None,
    offline: bool,
    **signals: tuple[Any, ...],
) -> None:
    """Ask a model PROMPT about any number of files, in the order given.

    \b
    onellm infer --model M --imu walk.csv "Describe the motion."
    onellm infer --model M --input requests.jsonl --output answers.jsonl

    A request line is {"id": …, "signals": {"imu": "walk.csv"}, "prompt": "…"}; each gets one line,
    {"id": …, "answer": "…"} or {"id": …, "error": "…"}, in the same order. Exit code 1 if any failed.
    """  # noqa: D301 - \\b is click's mark for lines that stay as they are
    given = _in_order(ctx.meta[ORDER_KEY], signals)
    if input_ is not None and (prompt or given):
        raise UsageError("got --input and a question of its own; expected one of them")
    if input_ is None and not (prompt or given):
        raise UsageError("nothing to ask: give a prompt and files, or --input requests.jsonl")
    from onellm_cli.quiet import quiet_libraries

    quiet_libraries(offline=offline)
    from onellm_core.inference.local import LocalEngine
    from onellm_core.inference.requests import Request, read_requests
    from onellm_core.inference.sampling import Sampling
    from onellm_data.records import Turn

    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    with _open_input(input_) as lines, _open_output(output) as out:
        engine = LocalEngine.load(
            Path(folder), dtype=dtype, device=device, template=template, batch_size=batch_size
        )
        total, failed = 1, 0
        if input_ is not None:
            total, failed = _answer_all(engine.answers(read_requests(lines), sampling), out)
        else:
            request = Request(0, given, (Turn("user", prompt),))
            engine.stream(request, sampling, _writer(out))
            out.write("\n")
    if failed:
        raise OnellmError(f"{failed} of {total} requests failed; their lines in the output say why")


def _in_order(order: list[str], signals: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """(modality, files) in the order of the command line."""
    left = {name: iter(values) for name, values in signals.items()}
    pairs = []
    for option in order:
        if option in left:
            value = next(left[option])
            files = (value,) if isinstance(value, str) else value
            pairs.append((option.removeprefix("signal_"), tuple(map(Path, files))))
    return tuple(pairs)


@contextmanager
def _open_input(name: str | None) -> Iterator[Iterable[str]]:
    if name is None or name == "-":
        yield sys.stdin
        return
    path = Path(name)
    if not path.exists() or path.is_dir():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{name} {what}; expected a file of requests, one JSON object a line")
    with path.open(encoding="utf-8", errors="replace") as file:
        yield file


@contextmanager
def _open_output(name: str | None) -> Iterator[TextIO]:
    """stdout, or a file that appears under its name when it is whole."""
    if name is None:
        yield sys.stdout
        return
    from onellm_data.files import atomic_file

    with atomic_file(Path(name)) as path, path.open("w", encoding="utf-8") as file:
        yield file


def _writer(out: TextIO) -> Any:
    """Writes a piece of the answer, at once where a person watches."""

    def write(text: str) -> None:
        out.write(text)
        if out.isatty():
            out.flush()

    return write


def _answer_all(answers: Iterable[Answer], out: TextIO) -> tuple[int, int]:
    """One JSON line for each answer; returns how many there were, and how many failed."""
    total = failed = 0
    for answer in answers:
        out.write(answer.to_json() + "\n")
        out.flush()
        total += 1
        failed += answer.error is not None
    return total, failed
