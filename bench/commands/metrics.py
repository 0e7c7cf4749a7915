"""`bench metrics --reliability`: what may be said of the metrics themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from leaderboard.agreement import family_agreements
from leaderboard.charts.agreement import draw_agreement
from leaderboard.reliability import FINE, RETESTS, reliability

from ..catalog import Catalog, family, select, select_standard
from ..errors import UserError
from ..reliability import CONTROLS, USUAL, Condition, conditions, trials
from ..summary import Summary
from .console import Patterns, out, told
from .drawing import SIGNED, SignedLook, checked
from .options import unfolded
from .running import AS_USUAL, Running, run_all

TASKS = (
    "phantom_brain_mri_vgg16,phantom_chest_xray_pneumonia_cnn,phantom_covid19_radiography_resnet18,"
    "phantom_melanoma_vgg16"
)
"""MRI, X-ray and dermoscopy, three kinds of network; none has learnt a shortcut, where evidence is not what decides."""

LEGEND = (
    "noise: explainers significantly better than the control noise. controls last: explainers significantly better "
    "than every control, and the share of samples on which most explainers beat the best one. trained: share of maps "
    "that score better than the same explainer's of a network with random weights, and the rank-biserial effect. seed, "
    "imputer, steps, batch: Spearman's correlation of the explainers' order on a sample where that is changed; = not "
    "one score moved, – the metric does not have it, ? the explainers have no order. tau: Kendall's, mean with the "
    "others of the family."
)


@unfolded
def metrics(
    ask: Annotated[
        bool, typer.Option("--reliability", help="Ask of each metric whether it is to be relied on.")
    ] = False,
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated; else four phantom tasks.")] = TASKS,
    explainers: Patterns = "",
    chosen_metrics: Annotated[str, typer.Option("--metrics", help="Names or * patterns, comma-separated.")] = "",
    samples: Annotated[int, typer.Option(min=1, help="At most so many samples of each task.")] = 8,
    how: Running = AS_USUAL,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also the table, unrounded.")] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=checked, help="Also the agreement between metrics, drawn: .png, .pdf or .svg."
        ),
    ] = None,
    look: SignedLook = SIGNED,
) -> None:
    """Say of metrics whether they rank controls last, tell a trained network, repeat themselves, and agree."""
    if not ask:
        raise UserError("say what to ask of the metrics: --reliability; `bench list metrics` shows what there is")
    style, found = look.style(), how.catalog()
    wanted = Catalog(
        tasks=select(found.tasks, tasks, "task"),
        explainers=select_standard(found.explainers, explainers, "explainer"),
        metrics=select_standard(found.metrics, chosen_metrics, "metric"),
    )
    controls = {name: explainer for name, explainer in found.explainers.items() if family(explainer) == CONTROLS}
    runs = conditions(wanted, how.settings(samples), controls)
    summaries = {run.name: run_all(run.chosen, run.settings, f"{run.name} · ") for run in runs}
    matrices = _tell(runs, summaries, csv)
    if figure is not None:
        with told():
            out.print(f"Drawn: {draw_agreement(matrices, figure, style)}", soft_wrap=True)
    raise typer.Exit(1 if any(summary.failures for summary in summaries.values()) else 0)


def _tell(runs: list[Condition], summaries: Mapping[str, Summary], csv: Path | None) -> dict[str, pd.DataFrame]:
    """Prints all; the agreement of the metrics of each family."""
    ran = summaries[USUAL].ran
    for name, reason in summaries[USUAL].unavailable.items():
        out.print(escape(f"Skipped {name}: {reason}"), soft_wrap=True, highlight=False)
    if not ran:
        raise UserError("there is nothing to ask: no task that was chosen can run here")
    with told():
        answered = trials(runs, ran)
        table = reliability(answered)
        n_tasks = answered.usual.cells.task.nunique()
        out.print(
            f"Reliability of {len(table)} metrics on {n_tasks} {'tasks' if n_tasks > 1 else 'task'}", style="bold"
        )
        out.print(_table(table))
        matrices = family_agreements(answered.usual)
        for name, matrix in matrices.items():
            out.print(f"Agreement · {name} (tau)", style="bold")
            out.print(_matrix(matrix))
        out.print(LEGEND, style="dim")
        if csv is not None:
            csv.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(csv, index=False)
            out.print(f"Written: {csv}", soft_wrap=True)
    for run, summary in summaries.items():
        for (task, reason), struck in summary.failures.items():
            line = f"FAILED ({run}) {task}, {', '.join(struck)}: {reason}"
            out.print(escape(line), soft_wrap=True, highlight=False)
    return matrices


def _table(table: pd.DataFrame) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("metric", overflow="fold", min_width=12)
    for column in ("n", "noise", "controls last", "trained", *RETESTS, "tau"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict", min_width=12)
    category = ""
    for row in table.to_dict("records"):
        if row["category"] != category:
            shown.add_section()
            category = row["category"]
        retests = [_retest(row[f"{name}_correlation"], row[f"{name}_moved"]) for name in RETESTS]
        style = "" if row["verdict"] == FINE else "yellow"
        shown.add_row(
            *(str(row["metric"]), str(row["n_samples"]), _noise(row), _controls(row), _trained(row), *retests),
            *(_number(row["agreement"]), f"[{style}]{row['verdict']}[/{style}]" if style else str(row["verdict"])),
        )
    return shown


def _noise(row: Mapping[Any, Any]) -> str:
    return "–" if pd.isna(row["n_above_noise"]) else f"{row['n_above_noise']:.0f}/{row['n_explainers']}"


def _controls(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["most_above"]):
        return "–"
    return f"{row['n_above_all']}/{row['n_explainers']} {100 * row['most_above']:.0f} %"


def _trained(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["trained_share"]):
        return "–"
    return f"{100 * row['trained_share']:.0f} % {row['trained_effect']:+.2f}"


def _retest(correlation: float, moved: float) -> str:
    if pd.isna(moved):
        return "–"
    if moved == 0:
        return "="
    return "?" if pd.isna(correlation) else _number(correlation)


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def _matrix(matrix: pd.DataFrame) -> Table:
    """Columns are numbered, as the rows are: the names of twelve metrics have no room above them."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("metric", overflow="fold", min_width=12)
    for number, _ in enumerate(matrix, start=1):
        shown.add_column(str(number), justify="right")
    for number, (metric, row) in enumerate(matrix.iterrows(), start=1):
        shown.add_row(f"{number} {metric}", *(_number(value).replace("0.", ".") for value in row))
    return shown
