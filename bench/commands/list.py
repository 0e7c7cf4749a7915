"""`bench list`: every entry, and what one wants to know of it."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from explainers.base import Explainer
from metrics.base import Metric
from metrics.reference.adapter import Reference

from ..about import About, about, data_sets
from ..catalog import Catalog, catalog, family
from ..errors import UserError
from .console import Data, Plugins, listing, out, use_data

Kind = Literal["tasks", "explainers", "metrics"]
Row = dict[str, object]
_REFERENCES = "Quantus's own metrics, to hold scores against; a pattern for them begins with quantus"


def list_entries(
    kind: Annotated[Literal["all", "tasks", "explainers", "metrics"], typer.Argument()] = "all",
    format: Annotated[Literal["text", "csv", "json"], typer.Option(help="csv: of one kind only.")] = "text",
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Show every entry and what one wants to know of it: of a task its network, its scores, its data set, …"""
    use_data(data)
    found = catalog(plugins or ())
    kinds: Sequence[Kind] = ("tasks", "explainers", "metrics") if kind == "all" else (kind,)
    if format == "csv" and len(kinds) > 1:
        raise UserError("--format csv is one table: say `bench list tasks`, `explainers` or `metrics`")
    if format == "text":
        for one in kinds:
            out.print(_shown(found, one))
        return
    rows = {one: _rows(found, one) for one in kinds}
    if format == "json":
        typer.echo(json.dumps(rows if kind == "all" else rows[kinds[0]], indent=2, ensure_ascii=False))
    else:
        typer.echo(_csv(rows[kinds[0]]), nl=False)


def _rows(found: Catalog, kind: Kind) -> list[Row]:
    """What machines read: a dict an entry."""
    if kind == "tasks":
        return [asdict(about(name, task)) for name, task in found.tasks.items()]
    entries = found.explainers if kind == "explainers" else found.metrics
    return [_row(name, entry) for name, entry in entries.items()]


def _row(name: str, entry: Explainer | Metric) -> Row:
    row: Row = {"name": name, "family": family(entry)}
    if isinstance(entry, Metric):
        row |= {"higher_is_better": entry.higher_is_better, "needs_masks": entry.needs_masks}
    row |= {"settings": _settings(entry), "about": _about(entry)}
    return row | {"variants": _variants(name, entry)} if isinstance(entry, Explainer) else row


def _variants(name: str, entry: Explainer) -> tuple[str, ...]:
    return tuple(f"{name}@{key}" for key in entry.variants())


def _csv(rows: Sequence[Row]) -> str:
    """Several values in one cell are parted by "; ", what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "; ".join(cell) if isinstance(cell, tuple) else cell for key, cell in row.items()})
    return text.getvalue()


def _shown(found: Catalog, kind: Kind) -> RenderableType:
    if kind == "tasks":
        return _tasks([about(name, task) for name, task in found.tasks.items()])
    if kind == "explainers":
        return _entry_table("Explainers", found.explainers)
    own = {name: metric for name, metric in found.metrics.items() if not isinstance(metric, Reference)}
    others = {name: metric for name, metric in found.metrics.items() if isinstance(metric, Reference)}
    return Group(_entry_table("Metrics", own), _entry_table(f"{_REFERENCES} ({len(others)})", others))


def _tasks(tasks: Sequence[About]) -> RenderableType:
    """A block for those that share data set and classes, why some cannot run, the data sets."""
    blocks: list[RenderableType] = [Text("Tasks", style="italic")]
    width = max((len(task.name) for task in tasks), default=0)
    for (data, classes), group in groupby(tasks, key=lambda task: (task.data, task.classes)):
        members = list(group)
        heading = Text(data or "data not told", style="bold")
        details = Text(f"classes: {', '.join(classes)}\n{_ground_truth(members)}".rstrip(), style="dim")
        blocks += ["", heading, Padding(details, (0, 0, 0, 2)), _task_table(members, width)]
    return Group(*blocks, "", *_reasons(tasks), _data_table(tasks))


def _ground_truth(tasks: Sequence[About]) -> str:
    kinds: dict[str, list[str]] = {}
    for task in tasks:
        if task.ground_truth and task.kind not in kinds.setdefault(task.ground_truth, []):
            kinds[task.ground_truth].append(task.kind)
    told = "; ".join(f"{', '.join(of)}: {truth}" for truth, of in kinds.items())
    return f"masks: {told}" if told else ""


def _task_table(tasks: Sequence[About], width: int) -> Table:
    """Of one width each, so that the blocks' columns stand below each other."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", width=width, no_wrap=True)
    table.add_column("kind", width=len("shortcut"))
    table.add_column("network", width=25, overflow="fold")
    table.add_column("params", width=7, justify="right")
    table.add_column("accuracy", width=9, justify="right")
    table.add_column("runs", width=4)
    for task in tasks:
        runs = "no" if task.unavailable else "yes"
        table.add_row(task.name, task.kind, escape(task.network), _count(task.parameters), _score(task), runs)
    return table


def _count(parameters: int | None) -> str:
    """
    >>> _count(134_276_932), _count(444_586), _count(None)
    ('134.3 M', '445 k', '')
    """
    if parameters is None:
        return ""
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"


def _score(task: About) -> str:
    if task.multi_label and task.roc_auc is not None:
        return f"AUC {task.roc_auc:.3f}"
    return "–" if task.accuracy is None else f"{task.accuracy:.3f}"


def _reasons(tasks: Sequence[About]) -> list[RenderableType]:
    """Why some cannot run here, each reason once."""
    names: dict[str, list[str]] = {}
    for task in tasks:
        if task.unavailable:
            names.setdefault(task.unavailable, []).append(task.name)
    if not names:
        return []
    lines = Text("Those that cannot run here\n", style="italic")
    for reason, of in names.items():
        lines.append(", ".join(of), style="bold not italic").append(f": {reason}\n", style="not italic")
    return [lines]


def _data_table(tasks: Sequence[About]) -> Table:
    table = Table(title="Data sets", box=box.SIMPLE_HEAD, title_justify="left")
    for column, width in (("data set", 26), ("licence", 18), ("citation", None)):
        table.add_column(column, overflow="fold", max_width=width)
    for row in data_sets(tasks):
        table.add_row(*map(escape, row))
    return table


def _entry_table(title: str, entries: Mapping[str, Explainer] | Mapping[str, Metric]) -> Table:
    table = listing(title, "family", "settings", "what it is")
    for name, entry in entries.items():
        kind, told = family(entry), _about(entry)
        if isinstance(entry, Metric):
            kind += " ↑" if entry.higher_is_better else " ↓"
            told += " Needs masks." if entry.needs_masks else ""
            told += " Needs masks of shortcuts." if entry.needs_shortcuts else ""
        elif variants := _variants(name, entry):
            told += f" Variants: {variants[0]} … {variants[-1]}."
        told += " On request." if entry.on_request else ""
        table.add_row(name, kind, escape(_settings(entry)), escape(told))
    return table


def _settings(entry: Explainer | Metric) -> str:
    return repr(entry).partition("(")[2][:-1]


def _about(entry: Explainer | Metric) -> str:
    return (type(entry).__doc__ or "").strip().splitlines()[0]
