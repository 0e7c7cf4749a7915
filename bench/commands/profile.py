"""`bench profile`: what explainers cost on this machine, by task and batch size."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from leaderboard.text.layout import number

from .. import environment
from ..catalog import catalog, select, select_standard
from ..errors import UserError
from ..profiling import Cost, costs, trace
from .console import Data, Device, Patterns, Plugins, err, out, progress_bar, told, use_data


def profile(
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")],
    explainers: Patterns = "",
    batch_sizes: Annotated[str, typer.Option(help="Images explained at a time, comma-separated.")] = "1,16",
    repeats: Annotated[int, typer.Option(min=1, help="Calls that are timed, after one that is not.")] = 5,
    device: Device = "auto",
    trace_file: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Also torch's trace of one call each: .json.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also the table, unrounded.")] = None,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Measure what explainers cost on the device at hand: time, memory, passes, and the largest batch that fits."""
    use_data(data)
    environment.compute_exactly()
    found = catalog(plugins or ())
    sizes = _sizes(batch_sizes)
    chosen, place = select_standard(found.explainers, explainers, "explainer"), environment.device_of(device)
    measured: list[Cost] = []
    named = select(found.tasks, tasks, "task")
    with progress_bar() as bar:
        step = bar.add_task("", total=len(named) * len(sizes) * len(chosen))
        for name, task in named.items():
            if reason := task.unavailable():
                out.print(f"Skipped {name}: {escape(reason)}", soft_wrap=True, highlight=False)
                continue
            with told():
                for cost in costs(name, task, chosen, sizes, repeats, place):
                    measured.append(cost)
                    bar.update(step, advance=1, description=f"{name}: {cost.explainer}")
                if trace_file is not None:
                    trace(task, chosen, max(sizes), place, _of_task(trace_file, name, len(named)))
    if not measured:
        raise UserError("there is nothing to measure: no task that was chosen can run here")
    _show(measured, environment.device_name(place), csv)
    raise typer.Exit(1 if any(cost.failure for cost in measured) else 0)


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--batch-sizes {text}: numbers above 0, such as 1,16")
    return sorted({int(part) for part in parts})


def _of_task(path: Path, name: str, n_tasks: int) -> Path:
    return path if n_tasks == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")


def _show(measured: list[Cost], device: str, csv: Path | None) -> None:
    for task in dict.fromkeys(cost.task for cost in measured):
        out.print(_table(task, [cost for cost in measured if cost.task == task], device))
    told_once: dict[str, list[str]] = {}
    for cost in measured:
        if cost.inapplicable:
            told_once.setdefault(f"{cost.task}: {cost.inapplicable}", []).append(cost.explainer)
        elif cost.failure:
            err.print(escape(f"Failed: {cost.task}, {cost.explainer}: {cost.failure}"), soft_wrap=True, highlight=False)
    for reason, who in told_once.items():
        line = f"Inapplicable: {', '.join(dict.fromkeys(who))} ({reason})"
        out.print(escape(line), soft_wrap=True, highlight=False)
    out.print(
        "ms: median of a call; IQR: between its quartiles. img/s: images a second. fwd: the median over that of a "
        "forward pass of the same batch. passes: operations over those of a forward pass. MiB: of the batch, at the "
        "peak. fits: images in a batch that the memory free now has room for.",
        style="dim",
    )
    if csv is not None:
        with told():
            csv.parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(_flat(cost) for cost in measured).to_csv(csv, index=False)
        out.print(f"Written: {csv}", soft_wrap=True)


def _flat(cost: Cost) -> dict[str, object]:
    row = asdict(cost)
    row["low"], row["high"] = row.pop("quartiles")
    return row | {"images_per_second": cost.images_per_second}


def _table(task: str, measured: list[Cost], device: str) -> Table:
    table = Table(title=f"{task} on {device}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("explainer", overflow="fold", min_width=14)
    for column in ("batch", "ms", "IQR", "img/s", "fwd", "passes", "MiB", "fits"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in measured:
        if cost.inapplicable or cost.failure:
            table.add_row(cost.explainer, str(cost.batch_size), "–" if cost.inapplicable else "failed")
            continue
        low, high = cost.quartiles
        figures = (1000 * cost.seconds, 1000 * (high - low), cost.images_per_second, cost.forwards)
        more = (cost.passes, cost.mebibytes)
        fits = "" if cost.largest is None else str(cost.largest)
        table.add_row(cost.explainer, str(cost.batch_size), *map(number, (*figures, *more)), fits)
    return table
