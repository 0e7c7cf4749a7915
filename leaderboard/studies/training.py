"""Study: what does a change of the training (augmentation, segmentation, …) change in what a network looks at?

Two networks of one architecture, trained with and without, decide about the same samples; every explainer's maps are
compared sample by sample. Only samples for which both explain the same class count: maps of different decisions differ
for another reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..charts.marks import letters, per_row
from ..pictures.sheets import wrapped
from ..record import Results
from ..signed_rank import compare, least_n
from ..statistics import LEVEL, holm, intervals
from ..style import COLOURS, CONTROL, Style
from ..units import means_of_units, units_of
from .page import Page, each, interval, listed, named, signed
from .scores import column, of_task, samples_of, who

_TITLE, _HEAD, _ROW = 0.3, 0.45, 0.13
"""Height of a change's title, of a panel's title and axis, and of a row; inches."""
_NAMES, _LEAST = 1.1, 0.95
"""Width of the explainers' names, and of a panel; inches."""

LEGEND = (
    "Means over the samples for which both networks explain the same class (and on which the metric is defined), "
    "without → with; beneath, the difference with its 95 % bootstrap interval over samples. *: significant (paired "
    "signed-rank test, two-sided, Holm over the explainers' rows of a change; controls uncorrected). A control knows "
    "nothing of the network: where it moves, the images have changed."
)
LIMITS = (
    "It speaks of other samples of these tasks, not of other trainings: there is one network of each kind, and two "
    "trainings of one recipe differ too.",
    "Samples for which the networks explain different classes are left out: what is compared is what they agree about.",
    "Where the images differ (lungs alone, fainter evidence), maps differ for that reason too: look at the controls.",
)

Array = NDArray[np.float64]


class Change(NamedTuple):
    """Two tasks with the same samples, whose networks were trained differently."""

    without: str
    changed: str


@dataclass(frozen=True)
class TrainingStudy:
    """What was found, a row a change, metric and explainer."""

    changes: tuple[Change, ...]
    table: pd.DataFrame
    """without, changed, metric, explainer, control, n, n_units (patients, where they are known), mean_without,
    mean_changed, difference, low, high, p_value (Holm over the rows of explainers of a change; of controls not
    corrected), effect, too_few (whether no test of the row can reject, whatever the scores)."""
    n_alike: Mapping[Change, tuple[int, int]]
    """Samples for which both networks explain the same class, and samples in common."""
    same_images: Mapping[Change, bool | None]
    """Whether the two tasks show the very same images; None: not known."""

    def significant(self) -> pd.Series:
        """Whether each row's difference is, after correction; controls by their own p-value."""
        return self.table.p_value < LEVEL


def training_study(
    results: Results,
    changes: Sequence[Change],
    metrics: Sequence[str],
    same_images: Mapping[Change, bool | None] | None = None,
) -> TrainingStudy:
    """Compare what each pair of networks looks at.

    Args:
        results: Of all tasks of the changes.
        changes: Pairs; samples are matched by id.
        metrics: The metrics to compare, and `scores.CUE`; one that has no score on both tasks is left out.
        same_images: What is known of the images.

    Raises:
        ValueError: two tasks share no sample for which both networks explain the same class, or no score.
    """
    alike, tables = {}, []
    for change in changes:
        names, n_common = _alike(results, change)
        alike[change] = (len(names), n_common)
        rows = pd.DataFrame(list(_rows(results, change, metrics, names)))
        if rows.empty:
            raise ValueError(f"{change.without} and {change.changed} have no score in common: choose other --metrics")
        tables.append(_corrected(rows))
    known = dict.fromkeys(changes) | dict(same_images or {})
    return TrainingStudy(tuple(changes), pd.concat(tables, ignore_index=True), alike, known)


def _corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a change, p-values of explainers corrected."""
    ranked = ~rows.control.to_numpy(dtype=bool)
    p_values = rows.p_value.to_numpy(dtype=np.float64, copy=True)
    p_values[ranked] = holm(p_values[ranked])
    needed = np.where(ranked, least_n(max(int(ranked.sum()), 1), LEVEL), least_n(1, LEVEL))
    return rows.assign(p_value=p_values, too_few=rows.n_units.to_numpy() < needed)


def _alike(results: Results, change: Change) -> tuple[pd.Index, int]:
    """The samples for which both explain the same class, and how many both have."""
    first, second = (samples_of(results, task) for task in change)
    names = first.index.intersection(second.index).sort_values()
    alike = names[(first.target.reindex(names) == second.target.reindex(names)).to_numpy()]
    if not len(alike):
        raise ValueError(
            f"{change.without} and {change.changed}: of {len(names)} samples in common there is none for which both "
            "explain the same class"
        )
    return alike, len(names)


def _rows(results: Results, change: Change, metrics: Sequence[str], names: pd.Index) -> Iterator[dict[str, object]]:
    first, second = of_task(results, change.without), of_task(results, change.changed)
    units = units_of(samples_of(results, change.without), names)
    people = who(results)
    for metric in metrics:
        for at, explainer in enumerate(people.names):
            before, after = (column(matrix, metric, explainer, names) for matrix in (first, second))
            both = np.isfinite(before) & np.isfinite(after)
            if not both.any():
                continue
            differences = np.where(both, after - before, np.nan)
            of_units = means_of_units(differences[None], units)
            found = compare(of_units)
            _, mean, low, high = intervals(differences[:, None], units)
            yield {
                **change._asdict(),
                **{"metric": metric, "explainer": explainer, "control": at >= people.n_ranked, "n": int(both.sum())},
                **{"n_units": int(found.n[0]), "mean_without": before[both].mean(), "mean_changed": after[both].mean()},
                **{"difference": float(mean[0]), "low": float(low[0]), "high": float(high[0])},
                **{"p_value": float(found.p_value[0]), "effect": float(found.effect[0])},
            }


def page(study: TrainingStudy) -> Page:
    """The study in words and tables."""
    verdicts: list[tuple[str, tuple[str, ...]]] = []
    tables = []
    for change in study.changes:
        mine = ((study.table.without == change.without) & (study.table.changed == change.changed)).to_numpy()
        rows = study.table.assign(significant=study.significant())[mine]
        heading = f"{change.changed} less {change.without}"
        n_alike, n_common = study.n_alike[change]
        same = study.same_images[change]
        images = "" if same is None else f", {'the same' if same else 'not the same'} images and masks"
        first = f"{n_alike} of {n_common} samples are explained for the same class{images}."
        verdicts.append((heading, (first, *_verdicts(rows))))
        tables.append((heading, _table(rows)))
    title = "What does the training change in what the network looks at?"
    return Page(title, tuple(verdicts), tuple(tables), LIMITS, LEGEND)


def _verdicts(rows: pd.DataFrame) -> Iterator[str]:
    for metric, of_metric in rows.groupby("metric", sort=False):
        control = of_metric.control.to_numpy(dtype=bool)
        ranked, moved = of_metric[~control], of_metric[control & of_metric.significant.to_numpy()]
        also = [f"{row.explainer} {signed(row.difference)}" for row in each(moved)]
        yield f"{metric}: {_verdict(ranked)}{f'; the images alone move {listed(also)}' if also else ''}."


def _verdict(ranked: pd.DataFrame) -> str:
    """Of the explainers by one metric."""
    parts = []
    for word, sign in (("higher", 1), ("lower", -1)):
        there = ranked[ranked.significant & (sign * ranked.difference > 0)]
        told = [f"{row.explainer} {signed(row.difference)} {interval(row.low, row.high)}" for row in each(there)]
        if told:
            parts.append(f"{word} by {len(told)} of {len(ranked)} explainers ({listed(told)})")
    if parts:
        return "; ".join(parts)
    if ranked.too_few.all():
        directions = " and ".join(
            f"{word} by {n}"
            for word, n in (("higher", (ranked.effect == 1).sum()), ("lower", (ranked.effect == -1).sum()))
            if n
        )
        seen = f"; on every one of them {directions} of {len(ranked)} explainers" if directions else ""
        return f"too few samples to tell, {ranked.n_units.max()}{seen}"
    return f"cannot be told apart by any of {len(ranked)} explainers"


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row an explainer, a column a metric."""
    columns: dict[str, dict[str, str]] = {}
    usual = rows.groupby("metric").n.max()
    for row in each(rows):
        star = " *" if row.significant else ""
        told = f"{row.mean_without:.2f} → {row.mean_changed:.2f}{star}\n{row.low:+.3f} to {row.high:+.3f}"
        told = told if row.n == usual[row.metric] else f"n={row.n} {told}"
        columns.setdefault(f"{row.metric} n={usual[row.metric]}", {})[named(row)] = told
    table = pd.DataFrame(columns).fillna("–")
    return table.rename_axis("explainer").reset_index()


def draw(study: TrainingStudy, path: Path, style: Style | None = None) -> Path:
    """The differences with their intervals: a row of panels a change, a panel a metric."""
    metrics = list(dict.fromkeys(study.table.metric))
    order = list(dict.fromkeys(named(row) for row in each(study.table)))[::-1]
    style = style or Style()
    n_columns = per_row(style.inches - _NAMES * style.scale, len(metrics), _LEAST * style.scale)
    n_rows = -(-len(metrics) // n_columns)
    height = _TITLE + n_rows * (_HEAD + _ROW * len(order))
    with style.drawing(style.scale * (0.3 + height * len(study.changes))) as figure:
        parts = figure.subfigures(len(study.changes), squeeze=False)[:, 0]
        for part, change in zip(parts, study.changes, strict=True):
            part.suptitle(f"{change.changed}\nless {change.without}", x=0.01, ha="left")
            axes = part.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
            for axis in axes[len(metrics) :]:
                axis.set_visible(False)
            mine = (study.table.without == change.without) & (study.table.changed == change.changed)
            rows = study.table.assign(significant=study.significant())[mine]
            for axis, metric in zip(axes, metrics, strict=False):
                _draw_metric(axis, rows[rows.metric == metric], metric, order)
        told = "difference and its 95 % interval; orange: significant; hollow: too few samples to tell; gray: control"
        figure.supxlabel(wrapped(told, letters(figure)))
        return style.save(figure, path)


def _draw_metric(axis: Axes, rows: pd.DataFrame, metric: str, order: Sequence[str]) -> None:
    if rows.empty:
        axis.set_visible(False)
        return
    axis.axvline(0, color="0.7", linewidth=0.6)
    axis.set_yticks(range(len(order)), order)
    axis.xaxis.set_major_locator(MaxNLocator(2))
    axis.set_title(wrapped(metric, 15), loc="left", weight="normal")
    for row in each(rows):
        ends = [[max(row.difference - row.low, 0)], [max(row.high - row.difference, 0)]]
        colour = CONTROL if row.control else COLOURS[1] if row.significant else COLOURS[0]
        inside = "white" if row.too_few else colour
        axis.errorbar(row.difference, order.index(named(row)), xerr=ends, fmt="o", color=colour, mfc=inside)
