"""The report: a results folder as one HTML file that needs nothing but a browser.

    page = report(Path("results"), Told())

The page holds its style, its scripts (Plotly's and DataTables' among them) and its pictures. Its
Content-Security-Policy lets no request leave, and runs no script but those, each known by its hash: should a name ever
slip into the page as markup, it would still not be run. Same records, same page: there is no date in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from .. import record, verdict
from ..agreement import LEAST_EXPLAINERS, Agreement, agreements
from ..charts.looks import looks
from ..origins import Origins, origins
from ..record import Results, Status
from ..removal import Curve, removal_curves
from ..standings import Standings, standings
from ..summary import Summary
from ..table import leaderboard
from ..text.layout import LEGEND, kind, of_samples
from . import plots
from .gallery import Exhibit, exhibits, legend
from .page import environment, inline, part, policy
from .plots import Plot
from .tabulation import Tabulated, of_block, of_summary, per_task

N_IMAGES = 4
"""Of a task, in the gallery, unless asked otherwise."""


@dataclass(frozen=True)
class Told:
    """What the records do not say of their entries; an entry that is not named here is shown without."""

    tasks: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Task -> what there is to know of it, heading and text."""
    explainers: Mapping[str, str] = field(default_factory=dict)
    """Explainer -> what it is."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Metric -> what it is, with its reference."""
    not_run: Mapping[str, str] = field(default_factory=dict)
    """Task that has no records -> why."""


@dataclass(frozen=True)
class TaskSection:
    """What the page says of one task."""

    name: str
    about: Sequence[tuple[str, str]]
    size: str
    """How many samples, of how many patients."""
    summary: Tabulated
    verdict: verdict.Verdict | None
    tables: Sequence[Tabulated]
    exhibits: Sequence[Exhibit]


@dataclass(frozen=True)
class Omission:
    """Cells without scores, or with others than those of their column, for one reason."""

    status: str
    reason: str
    explainers: Sequence[str]
    metrics: Sequence[str]
    tasks: Sequence[str]


def report(results: Path, told: Told, n_images: int = N_IMAGES) -> str:
    """The page of a results folder.

    Args:
        results: The folder.
        told: What the records do not say.
        n_images: At most so many images of each task in the gallery.

    Raises:
        ValueError: there is no record, or a file is damaged; the message names it.
    """
    records = record.load(results)
    found = standings(records)
    table = leaderboard(records)
    agreed = agreements(table)
    drawn = _plots(found, table, agreed, removal_curves(results, records.samples))
    tasks = _task_sections(results, records, found, table, told, n_images)
    scripts = [inline(get_plotlyjs()), inline(part("vendor/dataTables.min.js")), inline(part("report.js"))]
    return (
        environment()
        .get_template("report.html")
        .render(
            policy=policy(scripts),
            style=inline(part("report.css")),
            scripts=scripts,
            data={"plots": {name: one.content() for name, one in drawn.items()}, "scores": _rows(table)},
            found=found,
            title=Summary(found).title.removeprefix("Summary · "),
            summary=of_summary(found, "Leaderboard"),
            notes=Summary(found).notes(),
            summary_legend=Summary(found).legend(),
            table_legend=LEGEND,
            verdicts=verdict.verdicts(found),
            costs={name: verdict.cost(found, name) for name in found.explainers.names},
            cheapest=verdict.cheapest(found, found.explainers.ranked),
            cheapest_of=lambda names: verdict.cheapest(found, names),
            fronts={column.column: verdict.front(found, column) for column in found.columns},
            plots=drawn,
            agreements=agreed,
            least_explainers=LEAST_EXPLAINERS,
            tasks=tasks,
            choices=_choices(table),
            scale=Markup(legend()),  # made of numbers
            origins=_origins(results),
            told=told,
            metrics=_metrics(table),
            omissions=_omissions(table),
        )
    )


def _plots(
    found: Standings, table: pd.DataFrame, agreed: Sequence[Agreement], curves: Sequence[Curve]
) -> dict[str, Plot]:
    """Those that there is something to draw in, by name."""
    appearance = looks(found)
    made = [
        plots.ranks(found) if found.columns else None,
        plots.pareto(found) if found.columns and found.costs.times.notna().any() else None,
        plots.removal(curves, appearance),
        plots.strengths(table, appearance),
        plots.agreement(agreed) if agreed else None,
    ]
    return {one.name: one for one in made if one is not None}


def _task_sections(
    results: Path, records: Results, found: Standings, table: pd.DataFrame, told: Told, n_images: int
) -> list[TaskSection]:
    order = [found.explainers.names[at] for at in found.order()]
    sections = []
    for name, blocks in per_task(table).items():
        of_task = standings(records, tasks=[name])
        leading = verdict.verdicts(of_task)
        sections.append(
            TaskSection(
                name,
                told.tasks.get(name, ()),
                of_samples(int(blocks[0].rows.n_samples.iloc[0]), blocks[0].rows.n_patients.iloc[0]),
                of_summary(of_task, f"{name}: all families"),
                leading[0] if leading else None,
                [of_block(block) for block in blocks],
                exhibits(results, name, records.samples, order, n_images),
            )
        )
    return sections


def _rows(table: pd.DataFrame) -> list[list[Any]]:
    """The long table for the script: a row a task, metric and explainer."""
    rows = []
    for row in table.to_dict("records"):
        known = [None if pd.isna(row[name]) else float(f"{row[name]:.4g}") for name in ("mean", "low", "high")]
        rank = None if pd.isna(row["rank"]) else int(row["rank"])
        arrow = "↑" if row["higher_is_better"] else "↓"
        head = [str(row[name]) for name in ("task", "category")]
        rows.append([*head, f"{row['metric']} {arrow}", str(row["explainer"]), *known, int(row["n"]), rank, _word(row)])
    return rows


def _word(row: Mapping[Any, Any]) -> str:
    """The verdict on a cell, in words."""
    if row["status"] != Status.SCORED:
        return str(row["status"])
    if row["control"]:
        return kind(str(row["explainer"]))
    words = ["among the best"] if row["best"] else []
    if not pd.isna(row["beats_controls"]) and not row["beats_controls"]:
        words.append("not above every control")
    return ", ".join(words)


def _choices(table: pd.DataFrame) -> dict[str, list[str]]:
    """What the list of all scores can be cut by."""
    names = {"Task": "task", "Family": "category", "Metric": "metric", "Explainer": "explainer"}
    arrows = table.higher_is_better.astype(bool).map({True: " ↑", False: " ↓"})
    shown = table.astype(dict.fromkeys(names.values(), str)).assign(metric=table.metric.astype(str) + arrows)
    return {title: list(dict.fromkeys(shown[name])) for title, name in names.items()}


def _metrics(table: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """Name, family and direction of every metric."""
    rows = table.drop_duplicates("metric")
    return [
        (str(name), str(category), bool(higher))
        for name, category, higher in zip(rows.metric, rows.category, rows.higher_is_better, strict=True)
    ]


def _omissions(table: pd.DataFrame) -> list[Omission]:
    rows = table[table.reason != ""].astype({"task": str, "explainer": str, "metric": str})
    found: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (status, reason, task), of_task in rows.groupby(["status", "reason", "task"], sort=True, observed=True):
        for metrics, explainers in _alike(of_task).items():
            key = (str(status), " ".join(str(reason).split()), explainers, metrics)
            found.setdefault(key, []).append(str(task))
    return [Omission(*key, tasks=tasks) for key, tasks in found.items()]


def _alike(rows: pd.DataFrame) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Metrics -> the explainers that lack just these."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for explainer, metrics in rows.groupby("explainer", sort=True).metric:
        key = tuple(dict.fromkeys(metrics))
        found[key] = (*found.get(key, ()), str(explainer))
    return found


def _origins(results: Path) -> Origins:
    return origins(record.heads(results))
