"""A plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onellm_core.training.config import TrainConfig
from onellm_core.training.plan import DataPlan, Plan, StagePlan

_UNITS = ("", " k", " M", " G")


def format_plan(config: TrainConfig, plan: Plan) -> str:
    """The plan in plain text: what is trained and frozen, on what, for how long, in how much memory."""
    lines = [
        f"model {config.model} → {config.output}/model",
        f"{_count(plan.processes, 'process', 'processes')}, {config.precision}, ZeRO stage {config.zero}, "
        f"seed {config.seed}",
    ]
    for number, stage in enumerate(plan.stages, 1):
        lines += ["", f"stage {number} of {len(plan.stages)}: {stage.stage.name}", *_stage(stage)]
    return "\n".join(lines)


def _stage(plan: StagePlan) -> Iterator[str]:
    stage = plan.stage
    rows = [("part", "trained", "frozen")]
    rows += [(part, number(counts.trained), number(counts.frozen)) for part, counts in plan.parts.items()]
    trained = sum(counts.trained for counts in plan.parts.values())
    frozen = sum(counts.frozen for counts in plan.parts.values())
    yield from _table([*rows, ("all", number(trained), number(frozen))])
    yield ""
    data = [("data", "records", "steps", "epochs")]
    data += [(_data_name(d), str(d.records), str(d.steps), f"{d.epochs:.2f}") for d in plan.data]
    yield from _table(data)
    yield ""
    yield (
        f"  {_count(stage.steps, 'step', 'steps')} × {stage.batch_size} samples = "
        f"{stage.steps * stage.batch_size} samples; each process {plan.accumulation} × {plan.micro} a step"
    )
    memory = plan.memory
    yield (
        f"  memory of one process, without activations: {size(memory.total)} "
        f"(weights {size(memory.weights)}, gradients {size(memory.gradients)}, "
        f"optimizer {size(memory.optimizer)})"
    )


def _data_name(data: DataPlan) -> str:
    return data.name if data.name == data.modality else f"{data.name} ({data.modality})"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with the first column on the left and numbers on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  " + "   ".join(cells)


def _count(value: int, one: str, many: str) -> str:
    return f"{value} {one if value == 1 else many}"


def number(value: int) -> str:
    """A count with three digits and its thousands' letter: 134.5 M."""
    if value < 1000:
        return str(value)
    scaled = float(value)
    for unit in _UNITS:
        if scaled < 999.5:
            return f"{scaled:.3g}{unit}"
        scaled /= 1000
    return f"{scaled:.3g} T"


def size(value: int) -> str:
    """Bytes as a person reads them."""
    scaled = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if scaled < 1024:
            return f"{scaled:.3g} {unit}" if scaled < 999.5 else f"{scaled:.0f} {unit}"
        scaled /= 1024
    return f"{scaled:.4g} TiB"
