"""`bench list`: every entry, and whether it can run here."""

from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from explainers.base import Explainer
from metrics.base import Metric
from tasks.base import Task

from ..catalog import catalog, family
from .console import Data, Plugins, listing, out, use_data


def list_entries(
    kind: Annotated[Literal["all", "tasks", "explainers", "metrics"], typer.Argument()] = "all",
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Show every entry, its family, its settings, and whether it can run here."""
    use_data(data)
    found = catalog(plugins or ())
    if kind in ("all", "tasks"):
        out.print(_task_table(found.tasks))
    if kind in ("all", "explainers"):
        out.print(_entry_table("Explainers", found.explainers))
    if kind in ("all", "metrics"):
        out.print(_entry_table("Metrics", found.metrics))


def _task_table(entries: dict[str, Task]) -> Table:
    table = listing("Tasks", "family", "classes", "can run here")
    for name, task in entries.items():
        reason = task.unavailable()
        table.add_row(name, family(task), ", ".join(task.classes()), escape(reason) if reason else "yes")
    return table


def _entry_table(title: str, entries: dict[str, Explainer] | dict[str, Metric]) -> Table:
    table = listing(title, "family", "settings", "what it is")
    for name, entry in entries.items():
        about = (type(entry).__doc__ or "").strip().splitlines()[0]
        kind = family(entry)
        if isinstance(entry, Metric):
            kind += " ↑" if entry.higher_is_better else " ↓"
            about += " Needs masks." if entry.needs_masks else ""
        table.add_row(name, kind, escape(repr(entry).partition("(")[2][:-1]), escape(about))
    return table
