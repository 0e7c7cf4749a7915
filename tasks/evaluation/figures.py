"""An evaluation in pictures, drawn from its data frames: one style, colours that the colour-blind tell apart."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .tables import PREDICTED, calibration_errors

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito, Color universal design, 2008; the strong ones first."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", ":", "-.")
_GREY = "0.6"
_PANELS_A_ROW = 4
_LEAST_PANEL, _LEAST_BESIDE = 1.3, 4.5
"""Width from which on there is room for a panel of several, and for a legend beside one; inches."""
_LEAST_THREE = 3.6
"""Width from which on there is room for three names in a row, inches."""
_LETTER = 0.66
"""Width of a bold letter, in sizes of the font."""
_INCH = 25.4
"""In millimetres."""
_UNIT = (-0.02, 1.02)
"""Limits of an axis from 0 to 1 that leave markers at its ends whole."""


class Style(Protocol):
    """What a picture has to know of its look: tasks draw, and whoever asks for the picture says how."""

    @property
    def width(self) -> float | None:
        """Of the picture, mm; None: what it needs."""

    @property
    def scale(self) -> float:
        """Of the font, over its usual size: what room text needs grows with it."""

    def context(self) -> AbstractContextManager[None]:
        """Drawing belongs in it, and saving."""


def draw_classes(scores: pd.DataFrame, title: str, style: Style) -> Figure:
    """Precision, recall, F1 and ROC AUC of every class, and their number of samples; what is not defined is missing."""
    measures = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC AUC"}
    with _drawing(style, 5.2, 1.3 + 0.42 * len(scores), title) as (figure, axis):
        rows = np.arange(len(scores))
        for index, (column, name) in enumerate(measures.items()):
            place = rows + 0.16 * (index - 1.5)
            axis.plot(scores[column], place, _MARKERS[index], color=_COLOURS[index], label=name)
        for row in rows[scores["recall"].isna()]:
            axis.text(0.5, row, "no sample, no score", color=_GREY, ha="center", va="center")
        axis.hlines(rows[1:] - 0.5, 0, 1, color="0.9", linewidth=0.6)
        axis.set_yticks(rows, [f"{_wrapped(name)} ({n})" for name, n in zip(scores["class"], scores["n"], strict=True)])
        axis.set(xlim=_UNIT, ylim=(len(scores) - 0.5, -0.5), xlabel="score")
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=len(measures))
    return figure


def draw_confusion(counts: pd.DataFrame, title: str, style: Style) -> Figure:
    """Counts, shaded by the fraction of their row; for a multi-label task a panel a finding."""
    if counts.columns[0] == "finding":
        return _draw_findings(counts, title, style)
    names = [_wrapped(name) for name in counts.iloc[:, 0]]
    side = 2.2 + 0.5 * len(names)
    with _drawing(style, side + 0.6, side, title) as (figure, axis):
        _matrix(axis, counts.iloc[:, 1:].to_numpy(), names, names)
        axis.set(xlabel="predicted class", ylabel="true class")
        if max(map(len, names)) > 5:
            axis.tick_params(axis="x", rotation=35)
            for label in axis.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
    return figure


def _draw_findings(counts: pd.DataFrame, title: str, style: Style) -> Figure:
    with _panels(style, counts["finding"].tolist(), title, 1.7) as (figure, panels):
        for (name, axis), row in zip(panels, counts.iloc[:, 1:].to_numpy(), strict=True):
            _matrix(axis, row.reshape(2, 2), ["absent", "present"], ["absent", "present"])
            axis.set_title(_wrapped(name))
        figure.supxlabel("called")
        figure.supylabel("is")
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


def draw_roc(curves: pd.DataFrame, scores: pd.DataFrame, title: str, style: Style) -> Figure:
    """ROC curves, one class against the rest; the diagonal is chance."""
    areas = dict(zip(scores["class"], scores["roc_auc"], strict=True))
    with _with_legend(style, len(areas), title, "area under the curve") as (figure, axis):
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
        axis.set(xlim=_UNIT, ylim=_UNIT, xlabel="false positive rate", ylabel="true positive rate")
        axis.set_aspect("equal")
    return figure


def draw_reliability(reliability: pd.DataFrame, title: str, style: Style) -> Figure:
    """How often the model is right where it is so sure; on the diagonal it is calibrated. A panel a class."""
    errors = calibration_errors(reliability).set_index("class")["calibration_error"]
    names = list(errors.index)
    if names == [PREDICTED]:
        told = f"{title}: calibration error {_shown(errors[PREDICTED])}"
        with _drawing(style, 3.8, 4.2, told) as (figure, axis):
            _reliability_panel(axis, reliability, "of them right")
            axis.set(xlabel="probability of the predicted class", ylabel="fraction")
            figure.legend(loc="outside lower center", ncols=_names_a_row(style))
        return figure
    with _panels(style, names, f"{title}: calibration error of every finding", 1.9) as (figure, panels):
        for name, axis in panels:
            _reliability_panel(axis, reliability[reliability["class"] == name], "of them present")
            axis.set_title(f"{_wrapped(name)}: {_shown(errors[name])}")
            axis.set(xlabel="probability", ylabel="fraction")
        figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=_names_a_row(style))
    return figure


def _reliability_panel(axis: Axes, bins: pd.DataFrame, hits: str) -> None:
    width = bins["up_to"] - bins["above"]
    share = bins["n"] / max(bins["n"].sum(), 1)
    axis.bar(bins["above"], share, width, align="edge", color="0.88", edgecolor="white", label="samples in the bin")
    axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, label="calibrated")
    filled = bins[bins["n"] > 0]
    axis.plot(filled["probability"], filled["frequency"], "o-", color=_COLOURS[0], label=hits)
    axis.set(xlim=_UNIT, ylim=_UNIT, aspect="equal")


def draw_learning_curves(curves: pd.DataFrame, title: str, style: Style) -> Figure:
    """Loss and validation score, epoch by epoch; a line marks the epoch whose weights were kept."""
    kept = curves.sort_values(["score", "validation_loss"], ascending=[False, True]).iloc[0]["epoch"]
    with _styled(style, 6.4, 2.9, f"{title}; epoch {kept:g} is kept") as figure:
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
    return figure


def draw_map(places: pd.DataFrame, classes: Sequence[str], title: str, style: Style) -> Figure:
    """t-SNE of the embeddings, coloured by the true class; the wrongly classified are ringed. A panel a finding."""
    findings = [str(column) for column in places if str(column).startswith("truth: ")]
    if not findings:
        return _draw_class_map(places, classes, title, style)
    names = [column.removeprefix("truth: ") for column in findings]
    with _panels(style, names, title, 1.9) as (figure, panels):
        for (name, axis), column in zip(panels, findings, strict=True):
            kinds = {"not known": places[column].isna(), "absent": places[column] == 0, "present": places[column] == 1}
            for (kind, chosen), colour in zip(kinds.items(), ("0.9", _COLOURS[5], _COLOURS[3]), strict=True):
                axis.scatter(places["x"][chosen], places["y"][chosen], 8, color=colour, label=kind, linewidths=0)
            axis.set_title(_wrapped(name))
            _without_ticks(axis)
        figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=_names_a_row(style))
    return figure


def _draw_class_map(places: pd.DataFrame, classes: Sequence[str], title: str, style: Style) -> Figure:
    with _with_legend(style, len(classes), title, "true class") as (figure, axis):
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
        _without_ticks(axis)
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
def _styled(style: Style, width: float, height: float, title: str) -> Iterator[Figure]:
    """A figure of so many inches, or as wide as is asked for and of these proportions; drawn here with style."""
    asked = _asked(style) or width * style.scale
    with style.context():
        figure = Figure(figsize=(asked, height * asked / width), layout="constrained")
        FigureCanvasAgg(figure)
        letters = int(72 * asked / (_LETTER * rcParams["font.size"]))
        figure.suptitle("\n".join(textwrap.wrap(title, letters, break_on_hyphens=False)))
        yield figure


@contextmanager
def _drawing(style: Style, width: float, height: float, title: str) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one panel."""
    with _styled(style, width, height, title) as figure:
        yield figure, figure.subplots()


@contextmanager
def _with_legend(style: Style, n_names: int, title: str, meaning: str) -> Iterator[tuple[Figure, Axes]]:
    """A square panel of a figure; what is drawn in it is named beside it, or beneath it where the figure is narrow."""
    asked = _asked(style)
    beneath = asked is not None and asked < _LEAST_BESIDE * style.scale
    size = (3.4, 3.8 + 0.16 * n_names) if beneath else (5.8, 3.9)
    with _drawing(style, *size, title) as (figure, axis):
        yield figure, axis
        where: Any = "outside lower center" if beneath else "outside right center"
        figure.legend(*axis.get_legend_handles_labels(), loc=where, title=meaning, alignment="left")


@contextmanager
def _panels(
    style: Style, names: Sequence[str], title: str, side: float
) -> Iterator[tuple[Figure, list[tuple[str, Axes]]]]:
    """A figure of a panel a name, each of so many inches."""
    asked = _asked(style)
    most = _PANELS_A_ROW if asked is None else min(_PANELS_A_ROW, max(1, int(asked / (_LEAST_PANEL * style.scale))))
    n_columns = min(len(names), most)
    n_rows = math.ceil(len(names) / n_columns)
    with _styled(style, max(side * n_columns, 3.4) + 0.4, side * n_rows + 0.8, title) as figure:
        grid = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
        for axis in grid[len(names) :]:
            axis.set_visible(False)
        yield figure, list(zip(names, grid, strict=False))


def _names_a_row(style: Style) -> int:
    """Of a legend beneath."""
    return 2 if (_asked(style) or math.inf) < _LEAST_THREE * style.scale else 3


def _asked(style: Style) -> float | None:
    """The width that is asked for, inches."""
    return style.width / _INCH if style.width else None
