"""The long table laid out, whatever it is then written as: blocks of rows and columns, cells, notes.

A block is one task and one category: rows are explainers, ranked ones first, controls apart; columns are metrics.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..record import HUMAN

LEGEND = (
    "Mean over samples, in brackets its 95 % bootstrap interval. Raised number: rank, 1 + number of explainers "
    "separably better (paired Wilcoxon, Holm over the column, 5 %). * and bold: not separable from the best. † not "
    "significantly better than every control. Runtime: one measurement a batch, so neither interval nor rank. n= in a "
    "cell: other samples count than in the rest of the column. – inapplicable. Where patients are known, intervals and "
    "tests count them."
)

BLIND = "‡"
"""Stands behind a metric that does not tell explanations from noise."""


@dataclass(frozen=True)
class Block:
    """One task and one category of the long table, laid out."""

    title: str
    rows: pd.DataFrame
    explainers: list[str]
    """In order of their mean rank; controls last, and after them a second reader."""
    n_ranked: int
    metrics: list[str]
    """Those with a column: none may be left, and the notes say why."""
    notes: list[str]

    def column(self, metric: str) -> pd.DataFrame:
        """The rows of a metric, in the order of the explainers."""
        return self.rows[self.rows.metric == metric].set_index("explainer").loc[self.explainers]


def blocks(table: pd.DataFrame) -> Iterator[Block]:
    """The blocks of the long table, in its order."""
    for (task, stratum, category), rows in table.groupby(["task", "stratum", "category"], sort=False, observed=True):
        order = _explainer_order(rows)
        head = rows.iloc[0]
        what = " · ".join(filter(None, map(str, (task, category, stratum))))
        cut = f", {head.outcomes} only" if head.outcomes else ""
        title = f"{what} · {of_samples(head.n_samples, head.n_patients)}{cut}"
        n_ranked = int((~rows.drop_duplicates("explainer").control).sum())
        told = _has_something_to_tell(rows)
        metrics = list(dict.fromkeys(rows.metric[told]))
        notes = [
            *_second_reader(rows),
            *_no_better_than_noise(rows[told]),
            *_notes(rows[told & (rows.family != HUMAN)], len(metrics)),
            *_left_out(rows[~told]),
        ]
        yield Block(title, rows, order, n_ranked, metrics, notes)


def kind(name: str) -> str:
    """What somebody is who is compared with and not ranked."""
    return "second reader" if name == HUMAN else "control"


def _second_reader(rows: pd.DataFrame) -> list[str]:
    human = rows[rows.family == HUMAN]
    if human.empty:
        return []
    n = int(human.n.max())
    told = f"{HUMAN}: a second reader's masks, judged as if they were maps: what two people agree on; not ranked; known"
    return [f"{told} of {n} {_plural('sample', n)} with evidence"]


def _has_something_to_tell(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a row's metric has a score of any explainer. One that failed has a column: it is to be mended."""
    told = (rows.n > 0) | (rows.status == "failed")
    return told.groupby(rows.metric, observed=True).transform("any").astype(bool)


def _no_better_than_noise(rows: pd.DataFrame) -> list[str]:
    names = list(dict.fromkeys(rows.metric[_blind(rows)]))
    if not names:
        return []
    return [
        f"{BLIND} {', '.join(names)}: over all samples of these tables no explainer is significantly better than "
        "noise, so here the metric does not tell an explanation from noise"
    ]


def _blind(rows: pd.DataFrame) -> "pd.Series[bool]":
    return (~rows.tells_noise.astype("boolean")).fillna(False).astype(bool)


def _left_out(rows: pd.DataFrame) -> list[str]:
    """The metrics that have no column since they have no score at all, and why."""
    by_reason: dict[str, list[str]] = {}
    for metric, of_metric in rows.groupby("metric", sort=False, observed=True):
        by_reason.setdefault("; ".join(dict.fromkeys(_why(row) for row in of_metric.itertuples())), []).append(
            str(metric)
        )
    told = "; ".join(f"{', '.join(metrics)} ({reason})" for reason, metrics in by_reason.items())
    return [f"left out, as there is not one score: {told}"] if told else []


def _why(row: Any) -> str:
    if row.reason:
        return f"{row.status}: {' '.join(str(row.reason).split())}"
    if row.status == "scored":
        return "undefined for every sample" if row.n_undefined else "no sample"
    return str(row.status)


def _explainer_order(rows: pd.DataFrame) -> list[str]:
    """By mean rank, then name; a missing rank counts as the last, so that failing does not help. Controls are last."""
    last = rows.explainer.nunique()
    apart = rows.control.astype(int) + (rows.family == HUMAN)
    place = rows.assign(rank=rows["rank"].astype("Float64").fillna(last), control=apart)
    order = place.groupby(["control", "explainer"], sort=True, observed=True)["rank"].mean().reset_index()
    return list(order.sort_values(["control", "rank", "explainer"]).explainer)


def _notes(rows: pd.DataFrame, n_metrics: int) -> list[str]:
    """Each reason once, with the explainers and metrics it holds for; and how many scores are undefined."""
    notes = []
    for (status, reason), of_reason in rows[rows.reason != ""].groupby(["status", "reason"], sort=True, observed=True):
        who = [
            str(name) if len(metrics) == n_metrics else f"{name}: {', '.join(map(str, metrics))}"
            for name, metrics in of_reason.groupby("explainer", sort=True, observed=True).metric
        ]
        notes.append(f"{status}: {' '.join(str(reason).split())} ({'; '.join(who)})")
    return [*notes, *_zero_maps(rows), *_undefined(rows)]


def _zero_maps(rows: pd.DataFrame) -> list[str]:
    counts = rows.drop_duplicates("explainer").set_index("explainer").n_zero_maps
    told = [f"{explainer}: {count} {_plural('sample', count)}" for explainer, count in counts[counts > 0].items()]
    return [f"maps that are 0 everywhere: {', '.join(told)}"] if told else []


def _undefined(rows: pd.DataFrame) -> list[str]:
    """How many scores are undefined: what holds for all explainers is said once, for all metrics it holds for."""
    of_all: dict[int, list[str]] = {}
    notes = []
    for metric, of_metric in rows.groupby("metric", sort=False, observed=True):
        common = int(of_metric.n_undefined.min())
        if common:
            of_all.setdefault(common, []).append(str(metric))
        for count, names in of_metric[of_metric.n_undefined > common].groupby("n_undefined").explainer:
            notes.append(f"undefined: {metric} for {count} {_plural('sample', count)} of {', '.join(map(str, names))}")
    shared = [
        f"undefined for {count} {_plural('sample', count)}, whichever the explainer: {', '.join(metrics)}"
        for count, metrics in of_all.items()
    ]
    return [*shared, *notes]


def of_samples(n_samples: int, n_patients: int | None) -> str:
    """How many samples, and of how many patients where that is known and fewer.

    >>> of_samples(96, 31), of_samples(1, None)
    ('96 samples of 31 patients', '1 sample')
    """
    samples = f"{n_samples} {_plural('sample', n_samples)}"
    if pd.isna(n_patients) or n_patients == n_samples:
        return samples
    return f"{samples} of {n_patients} {_plural('patient', n_patients)}"


def _plural(word: str, count: object) -> str:
    return word if count == 1 else f"{word}s"


def number(value: float) -> str:
    """Three significant digits, without an exponent from 0.001 up to 999999.

    >>> [number(value) for value in (0.5, -12.345, 1234.5, 0.0000123, 2.5e7, 0.0)]
    ['0.500', '-12.3', '1234', '1.23e-5', '2.50e7', '0']
    """
    size = abs(value)
    if value == 0:
        return "0"
    if size < 0.0009995 or size >= 999999.5:
        return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:.2e}")
    return f"{value:.0f}" if size >= 99.95 else f"{value:#.3g}"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: the mean with its marks, or a word for why there is none."""

    mean: str
    rank: str = ""
    best: bool = False
    dagger: bool = False
    n: str = ""
    interval: str = ""


def _cell(row: dict[str, Any], n_usual: int) -> Cell:
    if row["n"] == 0:
        words = {"inapplicable": "–", "scored": "undefined" if row["n_undefined"] else "no sample"}
        return Cell(words.get(row["status"], row["status"]))
    return Cell(
        mean=number(row["mean"]),
        rank="" if pd.isna(row["rank"]) else str(int(row["rank"])),
        best=bool(row["best"]),
        dagger=not pd.isna(row["beats_controls"]) and not row["beats_controls"],
        n=f"n={row['n']}" if row["n"] != n_usual else "",
        interval="" if pd.isna(row["low"]) else f"[{number(row['low'])}, {number(row['high'])}]",
    )


def cells(column: pd.DataFrame) -> list[Cell]:
    """The cells of a block's column, in the order of its rows."""
    usual = int(column.n.max())
    return [_cell({str(name): value for name, value in row.items()}, usual) for row in column.to_dict("records")]


def header(metric: str, column: pd.DataFrame, up: str = "↑", down: str = "↓") -> str:
    """A column's name, direction and usual n, blank between them."""
    arrow = up if column.higher_is_better.iloc[0] else down
    return f"{metric}{BLIND if _blind(column).any() else ''} {arrow} n={column.n.max()}"
