"""The command `bench`. The only place that prints."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from explainers.base import Explainer
from leaderboard import figures, record
from leaderboard.table import leaderboard, render, to_rich
from metrics.base import Metric
from tasks.base import Task
from tasks.evaluation import Evaluation
from tasks.training import Progress as Epoch
from tasks.training import Trainable

from . import environment
from .catalog import Catalog, catalog, family, select
from .errors import UserError, one_line
from .runner import Event, Settings, n_steps, run_task
from .summary import Summary

app = typer.Typer(
    help="Heatmark: how good are explanations of image classifiers?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

_INTERRUPTED = 130
"""Exit status of a command that Ctrl-C stopped, as shells have it."""

Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the published data sets (or BENCH_DATA).")
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugins", metavar="FILE", help="Your own .py file or package; repeatable.")
]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the records are.")]


def main() -> NoReturn:
    """Run the command; what the user can mend is one line and exit status 2."""
    try:
        status = app(standalone_mode=False) or 0
        if status == _INTERRUPTED:
            err.print("bench: stopped; what was computed is kept, the same command goes on")
        sys.exit(status)
    except UserError as error:
        err.print(f"[red]bench:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except Exception as error:
        # Typer's own errors (an unknown option) know how to show themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(2)


@app.command()
def run(
    everything: Annotated[bool, typer.Option("--all", help="Every task, explainer and metric.")] = False,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "",
    explainers: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "",
    metrics: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "",
    samples: Annotated[int, typer.Option(min=1, help="At most so many samples of each task.")] = 16,
    batch_size: Annotated[int, typer.Option(min=1, help="Images explained at a time.")] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    results: Results = Path("results"),
    data: Data = None,
    plugins: Plugins = None,
    save_attributions: Annotated[bool, typer.Option(help="Keep the maps, and draw them.")] = False,
) -> None:
    """Let every chosen explainer explain every chosen task, and every chosen metric judge it."""
    if not (everything or tasks or explainers or metrics):
        raise UserError(
            "say what to run: --all, or some of --tasks, --explainers, --metrics (names or patterns as in `bench list`)"
        )
    _use_data(data)
    chosen = _choose(catalog(plugins or ()), tasks, explainers, metrics)
    settings = Settings(results, environment.device_of(device), samples, batch_size, seed, save_attributions)
    summary = _run(chosen, settings)
    _show_results(results, summary, save_attributions)
    named = {part.strip() for part in tasks.split(",")}
    if summary.failures or not summary.ran or named & summary.unavailable.keys():
        raise typer.Exit(1)


@app.command("list")
def list_entries(
    kind: Annotated[Literal["all", "tasks", "explainers", "metrics"], typer.Argument()] = "all",
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Show every entry, its family, its settings, and whether it can run here."""
    _use_data(data)
    found = catalog(plugins or ())
    if kind in ("all", "tasks"):
        out.print(_task_table(found.tasks))
    if kind in ("all", "explainers"):
        out.print(_entry_table("Explainers", found.explainers))
    if kind in ("all", "metrics"):
        out.print(_entry_table("Metrics", found.metrics))


@app.command()
def table(
    results: Results = Path("results"),
    tasks: Annotated[str, typer.Option(help="Only these, comma-separated.")] = "",
    family: Annotated[str, typer.Option(help="Only these families of metrics, comma-separated.")] = "",
    outcome: Annotated[str, typer.Option(help="Only samples of this outcome: 'true positive', ….")] = "",
    format: Annotated[Literal["text", "markdown", "csv", "latex"], typer.Option()] = "text",
) -> None:
    """Print the leaderboard of a results folder."""
    with _told():
        rows = leaderboard(record.load(results), _names(tasks), _names(family), _names(outcome))
        if format == "text":
            out.print(to_rich(rows))
        else:
            typer.echo(render(rows, format))


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The task whose network is to be trained.")],
    init: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights to start from.")] = None,
    from_scratch: Annotated[bool, typer.Option(help="Start from random weights.")] = False,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Train a task's network, evaluate it on the held-out part, and keep the checkpoint."""
    _use_data(data)
    task = next(iter(select(catalog(plugins or ()).tasks, name, "task").values()))
    if not isinstance(task, Trainable):
        raise UserError(f"{name} brings its own model: there is nothing to train")
    with _told(), _epochs(name) as show:
        evaluation = task.train(init, from_scratch, show)
    out.print(_evaluation_table(evaluation))
    out.print(f"checkpoint: {task.checkpoint()}", soft_wrap=True)


def _use_data(data: Path | None) -> None:
    if data is None:
        return
    if not data.is_dir():
        raise UserError(f"--data {data}: there is no such folder")
    os.environ["BENCH_DATA"] = str(data)


def _choose(found: Catalog, tasks: str, explainers: str, metrics: str) -> Catalog:
    """What to run: an empty choice is all of a kind."""
    return Catalog(
        tasks=select(found.tasks, tasks or "*", "task"),
        explainers=select(found.explainers, explainers or "*", "explainer"),
        metrics=select(found.metrics, metrics or "*", "metric"),
    )


def _run(chosen: Catalog, settings: Settings) -> Summary:
    environment.compute_exactly()
    summary = Summary()
    runnable = {}
    for name, task in chosen.tasks.items():
        reason = task.unavailable()
        if reason is None:
            runnable[name] = task
        else:
            summary.unavailable[name] = reason
    with _progress_bar() as bar:
        step = bar.add_task("", total=None)
        totals = {name: n_steps(task, len(chosen.explainers), settings.n_samples) for name, task in runnable.items()}
        bar.update(step, total=sum(totals.values()))

        def report(event: Event) -> None:
            if event.ended:
                summary.add(event)
                bar.advance(step)
            else:
                bar.update(step, description=f"{event.task} {event.shard}: {event.explainer}")

        for name, task in runnable.items():
            run_task(name, task, replace(chosen, tasks={name: task}), settings, report)
            summary.ran.append(name)
    return summary


def _show_results(results: Path, summary: Summary, drawn: bool) -> None:
    if summary.ran:
        with _told():
            whole = leaderboard(record.load(results))
            out.print(to_rich(whole[whole["task"].isin(summary.ran)]))
            (results / "leaderboard.md").write_text(render(whole, "markdown"), encoding="utf-8")
            (results / "leaderboard.csv").write_text(render(whole, "csv"), encoding="utf-8")
        out.print(f"Written: {results / 'leaderboard.md'} and .csv; `bench table` cuts and formats it.")
    if drawn and summary.ran:
        with _told():
            sheets = figures.attribution_grids(results)
        out.print(f"Maps drawn: {len(sheets)} sheets, {sheets[0].parent / '*.png'} and on", soft_wrap=True)
    for line in summary.lines():
        out.print(escape(line), soft_wrap=True, highlight=False)
    if summary.errors:
        log = results / "failures.log"
        log.write_text("\n".join("".join(traceback.format_exception(error)) for error in summary.errors))
        out.print(f"Tracebacks: {log}")


@contextmanager
def _told() -> Iterator[None]:
    """What files and data are blamed for is one line, not a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error) or one_line(error)) from error


def _progress_bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


@contextmanager
def _epochs(name: str) -> Iterator["EpochReport"]:
    with _progress_bar() as bar:
        yield EpochReport(bar, name)


class EpochReport:
    """Shows how training goes."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._step = bar.add_task(f"training {name}", total=None)

    def __call__(self, epoch: Epoch) -> None:
        self._bar.update(self._step, total=epoch.n_epochs, completed=epoch.epoch)
        self._bar.console.print(
            f"epoch {epoch.epoch}/{epoch.n_epochs}: loss {epoch.loss:.4f}, validation accuracy {epoch.accuracy:.3f}"
        )


def _task_table(entries: dict[str, Task]) -> Table:
    table = _listing("Tasks", "family", "classes", "can run here")
    for name, task in entries.items():
        reason = task.unavailable()
        table.add_row(name, family(task), ", ".join(task.classes()), escape(reason) if reason else "yes")
    return table


def _entry_table(title: str, entries: dict[str, Explainer] | dict[str, Metric]) -> Table:
    table = _listing(title, "family", "settings", "what it is")
    for name, entry in entries.items():
        about = (type(entry).__doc__ or "").strip().splitlines()[0]
        kind = family(entry)
        if isinstance(entry, Metric):
            kind += " ↑" if entry.higher_is_better else " ↓"
            about += " Needs masks." if entry.needs_masks else ""
        table.add_row(name, kind, escape(repr(entry).partition("(")[2][:-1]), escape(about))
    return table


def _listing(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _evaluation_table(evaluation: Evaluation) -> Table:
    title = f"Held-out accuracy {evaluation.accuracy:.3f}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption="Columns → name: predicted as.")
    for column in ("class", "precision", "recall", "F1", "n", *(f"→ {name}" for name in evaluation.classes)):
        table.add_column(column, justify="left" if column == "class" else "right")
    for index, name in enumerate(evaluation.classes):
        scores = (evaluation.precision[index], evaluation.recall[index], evaluation.f1[index])
        counts = (evaluation.support[index], *evaluation.confusion[index])
        table.add_row(name, *(f"{score:.3f}" for score in scores), *(str(count) for count in counts))
    return table


def _names(text: str) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] or None
