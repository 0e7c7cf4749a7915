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
from numpy.typing import NDArray

from ..record import Results
from ..signed_rank import compare, least_n
from ..statistics import LEVEL, holm, intervals
from .page import Page, each, interval, listed, named, p_cell, paper, signed, value
from .scores import column, means_of_units, of_task, samples_of, units_of, who

LEGEND = (
    "Means over the samples for which both networks explain the same class; difference: with the change less without, "
    "its 95 % bootstrap interval over samples; p: paired signed-rank test, two-sided, Holm over the explainers' rows; "
    "effect: matched-pairs rank-biserial, from -1 (lower on every sample) to 1. A control knows nothing of the "
    "network: where it moves, the images have changed."
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
    """without, changed, metric, explainer, control, n, mean_without, mean_changed, difference, low, high, p_value (Holm
    over the rows of explainers; of controls not corrected), effect."""
    n_alike: Mapping[Change, tuple[int, int]]
    """Samples for which both networks explain the same class, and samples in common."""
    same_images: Mapping[Change, bool | None]
    """Whether the two tasks show the very same images; None: not known."""
    too_few: str

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
    rows: list[dict[str, object]] = []
    alike = {}
    for change in changes:
        names, n_common = _alike(results, change)
        alike[change] = (len(names), n_common)
        rows += _rows(results, change, metrics, names)
    if not rows:
        raise ValueError("these tasks have no score in common: run them with the same explainers and metrics")
    table = pd.DataFrame(rows)
    ranked = ~table.control.to_numpy(dtype=bool)
    table.loc[ranked, "p_value"] = holm(table.p_value.to_numpy(dtype=np.float64)[ranked])
    n, needed = int(table.n_units[ranked].max()) if ranked.any() else 0, least_n(max(int(ranked.sum()), 1), LEVEL)
    too_few = f"too few samples: {n}, and {ranked.sum()} comparisons need at least {needed}" if n < needed else ""
    known = dict.fromkeys(changes) | dict(same_images or {})
    return TrainingStudy(tuple(changes), table.drop(columns="n_units"), alike, known, too_few)


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
    verdicts = [("", (study.too_few,))] if study.too_few else []
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
        tables.append((heading, pd.DataFrame([_cells(row) for _, row in rows.iterrows()])))
    title = "What does the training change in what the network looks at?"
    return Page(title, tuple(verdicts), tuple(tables), LIMITS, LEGEND)


def _verdicts(rows: pd.DataFrame) -> Iterator[str]:
    for metric, of_metric in rows.groupby("metric", sort=False):
        control = of_metric.control.to_numpy(dtype=bool)
        ranked, moved = of_metric[~control], of_metric[control & of_metric.significant.to_numpy()]
        parts = []
        for word, sign in (("higher", 1), ("lower", -1)):
            there = ranked[ranked.significant & (sign * ranked.difference > 0)]
            if len(there):
                told = [
                    f"{row.explainer} {signed(row.difference)} {interval(row.low, row.high)}" for row in each(there)
                ]
                parts.append(f"{word} with {len(there)} of {len(ranked)} explainers ({listed(told)})")
        line = "; ".join(parts) or f"cannot be told apart by any of {len(ranked)} explainers"
        also = [f"{row.explainer} {signed(row.difference)}" for row in each(moved)]
        yield f"{metric}: {line}{f'; the images alone move {listed(also)}' if also else ''}."


def _cells(row: pd.Series) -> dict[str, str]:
    return {
        "metric": str(row.metric),
        "explainer": named(row),
        "n": str(row.n),
        "without": value(row.mean_without),
        "with": value(row.mean_changed),
        "difference": f"{signed(row.difference)} {interval(row.low, row.high)}",
        "p": p_cell(row.p_value),
        "effect": f"{row.effect:+.2f}",
    }


def draw(study: TrainingStudy, path: Path) -> Path:
    """The differences with their intervals: a row of panels a change, a panel a metric."""
    metrics = list(dict.fromkeys(study.table.metric))
    n_explainers = study.table.explainer.nunique()
    figure = paper(1.5 + 2.2 * len(metrics), (0.9 + 0.22 * n_explainers) * len(study.changes))
    axes = figure.subplots(len(study.changes), len(metrics), squeeze=False, sharey=True)
    order = list(dict.fromkeys(named(row) for row in each(study.table)))[::-1]
    for of_change, change in zip(axes, study.changes, strict=True):
        for axis, metric in zip(of_change, metrics, strict=True):
            mine = (study.table.without == change.without) & (study.table.changed == change.changed)
            rows = study.table.assign(significant=study.significant())[mine & (study.table.metric == metric)]
            axis.axvline(0, color="0.7", lw=0.8)
            axis.set_yticks(range(len(order)), order, fontsize=7)
            axis.tick_params(axis="x", labelsize=7)
            axis.set_title(metric, fontsize=8)
            for row in each(rows):
                ends = [[max(row.difference - row.low, 0)], [max(row.high - row.difference, 0)]]
                colour = "0.6" if row.control else "tab:red" if row.significant else "tab:blue"
                axis.errorbar(row.difference, order.index(named(row)), xerr=ends, fmt="o", ms=4, color=colour)
        of_change[0].set_ylabel(f"{change.changed}\nless {change.without}", fontsize=6)
    figure.supxlabel("difference and its 95 % interval; red: significant; gray: control", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
