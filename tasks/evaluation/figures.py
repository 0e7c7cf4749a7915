"""An evaluation in pictures, drawn from its data frames: one style, colours that the colour-blind tell apart."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .tables import PREDICTED, calibration_errors

FORMATS = (".png", ".pdf")

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito, Color universal design, 2008; the strong ones first."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")
_GREY = "0.6"
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.labelcolor": "0.2",
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,  # letters stay letters
    "text.parse_math": False,  # a class may be called $x_1$
    "savefig.dpi": 150,
}
_PANELS_A_ROW = 4
_UNIT = (-0.02, 1.02)
"""Limits of an axis from 0 to 1 that leave markers at its ends whole."""


def draw_classes(scores: pd.DataFrame, title: str) -> Figure:
    """Precision, recall, F1 and ROC AUC of every class, and their number of samples; what is not defined is missing."""
    measures = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC AUC"}
    with _drawing(5.2, 1.3 + 0.42 * len(scores)) as (figure, axis):
        rows = np.arange(len(scores))
        for index, (column, name) in enumerate(measures.items()):
            place = rows + 0.16 * (index - 1.5)
            axis.plot(scores[column], place, _MARKERS[index], color=_COLOURS[index], label=name)
        for row in rows[scores["recall"].isna()]:
            axis.text(0.5, row, "no sample, no score", color=_GREY, ha="center", va="center")
        axis.hlines(rows[1:] - 0.5, 0, 1, color="0.9", linewidth=0.6)
        axis.set_yticks(rows, [f"{_wrapped(name)} ({n})" for name, n in zip(scores["class"], scores["n"], strict=True)])
        axis.set(xlim=_UNIT, ylim=(len(scores) - 0.5, -0.5), title=title, xlabel="score")
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=len(measures))
    return figure


def draw_confusion(counts: pd.DataFrame, title: str) -> Figure:
    """Counts, shaded by the fraction of their row; for a multi-label task a panel a finding."""
    if counts.columns[0] == "finding":
        return _draw_findings(counts, title)
    names = [_wrapped(name) for name in counts.iloc[:, 0]]
    side = 2.2 + 0.5 * len(names)
    with _drawing(side + 0.6, side) as (figure, axis):
        _matrix(axis, counts.iloc[:, 1:].to_numpy(), names, names)
        axis.set(title=title, xlabel="predicted class", ylabel="true class")
        if max(map(len, names)) > 5:
            axis.tick_params(axis="x", rotation=35)
            for label in axis.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
    return figure


def _draw_findings(counts: pd.DataFrame, title: str) -> Figure:
    with _panels(counts["finding"].tolist(), title, 1.7) as (figure, panels):
        for (name, axis), row in zip(panels, counts.iloc[:, 1:].to_numpy(), strict=True):
            _matrix(axis, row.reshape(2, 2), ["absent", "present"], ["absent", "present"])
            axis.set_title(_wrapped(name), fontsize=8)
        figure.supxlabel("called", fontsize=8)
        figure.supylabel("is", fontsize=8)
    return figure


def _matrix(axis: Axes, counts: "np.ndarray[Any, Any]", rows: Sequence[str], columns: Sequence[str]) -> None:
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        dark = fractions[row, column] > 0.55
        axis.text(column, row, str(count), ha="center", va="center", color="white" if dark else "0.15")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def draw_roc(curves: pd.DataFrame, scores: pd.DataFrame, title: str) -> Figure:
    """ROC curves, one class against the rest; the diagonal is chance."""
    areas = dict(zip(scores["class"], scores["roc_auc"], strict=True))
    with _drawing(5.8, 3.9) as (figure, axis):
        axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, label="chance (0.500)")
        for index, (name, area) in enumerate(areas.items()):
            curve = curves[curves["class"] == name]
            axis.plot(
                curve["false_positive_rate"],
                curve["true_positive_rate"],
                _LINES[index // len(_COLOURS) % len(_LINES)],
                color=_colour(index),
                label=f"{_wrapped(name)} ({_shown(area)})",
            )
        axis.set(xlim=_UNIT, ylim=_UNIT, title=title, xlabel="false positive rate", ylabel="true positive rate")
        axis.set_aspect("equal")
        axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title="area under the curve", alignment="left")
    return figure


def draw_reliability(reliability: pd.DataFrame, title: str) -> Figure:
    """How often the model is right where it is so sure; on the diagonal it is calibrated. A panel a class."""
    errors = calibration_errors(reliability).set_index("class")["calibration_error"]
    names = list(errors.index)
    if names == [PREDICTED]:
        with _drawing(3.8, 4.2) as (figure, axis):
            _reliability_panel(axis, reliability, "of them right")
            axis.set(title=f"{title}\ncalibration error {_shown(errors[PREDICTED])}")
            axis.set(xlabel="probability of the predicted class", ylabel="fraction")
            figure.legend(loc="outside lower center", ncols=3)
        return figure
    with _panels(names, f"{title}: calibration error of every finding", 1.9) as (figure, panels):
        for name, axis in panels:
            _reliability_panel(axis, reliability[reliability["class"] == name], "of them present")
            axis.set_title(f"{_wrapped(name)}: {_shown(errors[name])}", fontsize=8)
            axis.set(xlabel="probability", ylabel="fraction")
        figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _reliability_panel(axis: Axes, bins: pd.DataFrame, hits: str) -> None:
    width = bins["up_to"] - bins["above"]
    share = bins["n"] / max(bins["n"].sum(), 1)
    axis.bar(bins["above"], share, width, align="edge", color="0.88", edgecolor="white", label="samples in the bin")
    axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, label="calibrated")
    filled = bins[bins["n"] > 0]
    axis.plot(filled["probability"], filled["frequency"], "o-", color=_COLOURS[0], label=hits)
    axis.set(xlim=_UNIT, ylim=_UNIT, aspect="equal")


def draw_learning_curves(curves: pd.DataFrame, title: str) -> Figure:
    """Loss and validation score, epoch by epoch; a line marks the epoch whose weights were kept."""
    kept = curves.sort_values(["score", "validation_loss"], ascending=[False, True]).iloc[0]["epoch"]
    with _styled(6.4, 2.9) as figure:
        losses, scores = axes = figure.subplots(1, 2)
        losses.plot(curves["epoch"], curves["loss"], "o-", color=_COLOURS[0], label="training")
        losses.plot(curves["epoch"], curves["validation_loss"], "s--", color=_COLOURS[1], label="validation")
        losses.set(ylabel="loss", ylim=(0, None))
        losses.legend()
        scores.plot(curves["epoch"], curves["score"], "s--", color=_COLOURS[1])
        scores.set(ylabel="validation score", ylim=_UNIT)
        for axis in axes:
            axis.axvline(kept, color=_GREY, linewidth=0.8, zorder=0)
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.suptitle(f"{title}; epoch {kept:g} is kept", fontsize=9)
    return figure


def draw_map(places: pd.DataFrame, classes: Sequence[str], title: str) -> Figure:
    """t-SNE of the embeddings, coloured by the true class; the wrongly classified are ringed. A panel a finding."""
    findings = [str(column) for column in places if str(column).startswith("truth: ")]
    if not findings:
        return _draw_class_map(places, classes, title)
    names = [column.removeprefix("truth: ") for column in findings]
    with _panels(names, title, 1.9) as (figure, panels):
        for (name, axis), column in zip(panels, findings, strict=True):
            kinds = {"not known": places[column].isna(), "absent": places[column] == 0, "present": places[column] == 1}
            for (kind, chosen), colour in zip(kinds.items(), ("0.9", _COLOURS[5], _COLOURS[3]), strict=True):
                axis.scatter(places["x"][chosen], places["y"][chosen], 8, color=colour, label=kind, linewidths=0)
            axis.set_title(_wrapped(name), fontsize=8)
            _without_ticks(axis)
        figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_class_map(places: pd.DataFrame, classes: Sequence[str], title: str) -> Figure:
    with _drawing(5.8, 4.0) as (figure, axis):
        for index, name in enumerate(classes):
            chosen = places["label"] == name
            looks: Any = {"color": _colour(index), "marker": _MARKERS[index // len(_COLOURS) % len(_MARKERS)]}
            axis.scatter(
                places["x"][chosen], places["y"][chosen], 14, label=_wrapped(name), alpha=0.8, linewidths=0, **looks
            )
        unknown = places["label"].isna()
        if unknown.any():
            axis.scatter(places["x"][unknown], places["y"][unknown], 8, label="not known", color="0.8", zorder=0)
        wrong = ~unknown & (places["label"] != places["prediction"])
        ring: Any = {"facecolors": "none", "edgecolors": "black", "linewidths": 0.9}
        axis.scatter(places["x"][wrong], places["y"][wrong], 34, label=f"wrong ({wrong.sum()})", **ring)
        axis.set_title(title)
        _without_ticks(axis)
        axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title="true class", alignment="left")
    return figure


def _without_ticks(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_aspect("equal", adjustable="datalim")
    axis.spines[:].set(visible=True, color="0.85")


def _shown(score: float) -> str:
    return "–" if math.isnan(score) else f"{score:.3f}"


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 18)


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


@contextmanager
def _styled(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches; what is drawn here has the style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one panel."""
    with _styled(width, height) as figure:
        yield figure, figure.subplots()


@contextmanager
def _panels(names: Sequence[str], title: str, side: float) -> Iterator[tuple[Figure, list[tuple[str, Axes]]]]:
    """A figure of a panel a name, each of so many inches."""
    n_columns = min(len(names), _PANELS_A_ROW)
    n_rows = math.ceil(len(names) / n_columns)
    with _styled(max(side * n_columns, 3.4) + 0.4, side * n_rows + 0.8) as figure:
        grid = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
        for axis in grid[len(names) :]:
            axis.set_visible(False)
        figure.suptitle(title, fontsize=9)
        yield figure, list(zip(names, grid, strict=False))


def save(figure: Figure, path: Path) -> list[Path]:
    """Write the picture in every format, the suffix put after the path's name; the same picture, the same bytes."""
    written = []
    for suffix in FORMATS:
        file = path.with_name(path.name + suffix)
        with mpl.rc_context(_STYLE):
            figure.savefig(file, metadata={"CreationDate": None} if suffix == ".pdf" else None)
        written.append(file)
    return written
