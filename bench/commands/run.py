"""`bench run`: let explainers explain tasks, and metrics judge them."""

import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard import record
from leaderboard.pictures import figures
from leaderboard.standings import standings
from leaderboard.summary import render_summary
from leaderboard.table import leaderboard, render

from .. import environment
from ..catalog import Catalog, catalog, select, select_standard
from ..errors import UserError
from ..runner import Settings
from ..summary import Summary
from .console import Data, Device, Patterns, Plugins, Results, out, told, use_data
from .running import run_all
from .skipping import SkipUnreadable, skipped_lines, skipping
from .table import show


def run(
    everything: Annotated[
        bool, typer.Option("--all", help="Every task; every explainer and metric but those on request.")
    ] = False,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "",
    explainers: Patterns = "",
    metrics: Patterns = "",
    samples: Annotated[int, typer.Option(min=1, help="At most so many samples of each task.")] = 8,
    batch_size: Annotated[int, typer.Option(min=1, help="Images explained at a time.")] = 16,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    results: Results = Path("results"),
    data: Data = None,
    plugins: Plugins = None,
    skip_unreadable: SkipUnreadable = False,
    save_attributions: Annotated[bool, typer.Option(help="Keep the maps, and draw them.")] = False,
    by_task: Annotated[
        bool | None, typer.Option("--by-task/--summary", help="Print the tables of every task, or the summary only.")
    ] = None,
) -> None:
    """Let every chosen explainer explain every chosen task, and every chosen metric judge it."""
    if not (everything or tasks or explainers or metrics):
        raise UserError(
            "say what to run: --all, or some of --tasks, --explainers, --metrics (names or patterns as in `bench list`)"
        )
    use_data(data)
    chosen = _choose(catalog(plugins or ()), tasks, explainers, metrics)
    chosen = replace(chosen, tasks={name: skipping(task, skip_unreadable) for name, task in chosen.tasks.items()})
    settings = Settings(results, environment.device_of(device), samples, batch_size, seed, save_attributions)
    summary = run_all(chosen, settings)
    _show_results(results, summary, save_attributions, by_task)
    for line in (line for name in summary.ran for line in skipped_lines(name, chosen.tasks[name])):
        out.print(escape(line), soft_wrap=True, highlight=False)
    named = {part.strip() for part in tasks.split(",")}
    if summary.failures or not summary.ran or named & summary.unavailable.keys():
        raise typer.Exit(1)


def _choose(found: Catalog, tasks: str, explainers: str, metrics: str) -> Catalog:
    """What to run: an empty choice is all of a kind, but for what runs on request."""
    return Catalog(
        tasks=select(found.tasks, tasks or "*", "task"),
        explainers=select_standard(found.explainers, explainers, "explainer"),
        metrics=select_standard(found.metrics, metrics, "metric"),
    )


def _show_results(results: Path, summary: Summary, drawn: bool, by_task: bool | None) -> None:
    if summary.ran:
        with told():
            records = record.load(results)
            show(standings(records, tasks=summary.ran), records, (summary.ran, None, None), by_task)
            whole, overall = leaderboard(records), standings(records)
            document = f"{render_summary(overall, 'markdown')}\n{render(whole, 'markdown')}"
            (results / "leaderboard.md").write_text(document, encoding="utf-8")
            (results / "leaderboard.csv").write_text(render(whole, "csv"), encoding="utf-8")
            (results / "summary.csv").write_text(render_summary(overall, "csv"), encoding="utf-8")
        out.print(
            f"Written: {results / 'leaderboard.md'} with the tables of every task, leaderboard.csv, summary.csv; "
            "`bench table` cuts and formats them, `bench compare` tells two explainers apart.",
            soft_wrap=True,
        )
    if drawn and summary.ran:
        with told():
            sheets = figures.attribution_grids(results)
        out.print(f"Maps drawn: {len(sheets)} sheets, {sheets[0].parent / '*.png'} and on", soft_wrap=True)
    for line in summary.lines():
        out.print(escape(line), soft_wrap=True, highlight=False)
    if summary.errors:
        log = results / "failures.log"
        log.write_text("\n".join("".join(traceback.format_exception(error)) for error in summary.errors))
        out.print(f"Tracebacks: {log}")
