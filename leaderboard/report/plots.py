"""The pictures of the report, for Plotly: each a figure in one or several views, of which the reader chooses one.

Colours are those of Okabe and Ito, which colour-blind people tell apart, and never alone: symbols and dashes say the
same. Text and lines take the page's colours, light or dark, from its style sheet, so none are set here.

What Plotly draws it reads as markup: names are escaped wherever they go into a figure.
"""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..agreement import Agreement
from ..charts.looks import SYMBOLS, Look, looks
from ..duels import OVERALL
from ..removal import Curve
from ..standings import Standing, Standings
from ..strengths import ENDINGS, by_strength, of_explainer
from ..style import COLOURS, CONTROL
from ..summary import span
from ..verdict import front

DIVERGING = "PuOr"
"""Colours of agreement: not those of maps, which say something else."""

NAMED = "named"
"""What a trace is called whose name the page writes beside its point, or where there is no room into the legend."""

_ROW = 26
"""Height of an explainer's row, pixels."""
_NEAR = 0.2, 0.05
"""So far apart in cost and in quality, as shares of the axes, two names would be written over each other."""
_ABOVE = {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0}
"""Where the legend stands."""
_TEXT_UP_TO = 16
"""Metrics of an agreement whose numbers are written into the cells."""


Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Plot:
    """A figure of the page."""

    name: str
    """Its id in the page."""
    label: str
    """What its views are: the label of the choice."""
    views: Mapping[str, go.Figure]
    """What a view is called -> the view."""
    wide: bool = False
    """Whether it needs room, and is scrolled where there is none."""

    def content(self) -> list[dict[str, Any]]:
        """The views as plain JSON values."""
        return [json.loads(figure.to_json()) for figure in self.views.values()]


def label(text: str) -> str:
    """The text as Plotly shows it, whatever stands in it."""
    return html.escape(text, quote=False)


def ranks(found: Standings) -> Plot:
    """Mean ranks of all columns: overall with its interval, the families as symbols beside it."""
    order = found.order()
    names = [label(found.explainers.names[at]) for at in order]
    rows = np.arange(len(order))
    traces = []
    for index, column in enumerate(found.columns):
        values = column.mean_rank[order]
        overall = column.column == OVERALL
        marker: dict[str, Any] = {"size": 7, "symbol": SYMBOLS[index], "color": COLOURS[(index - 1) % len(COLOURS)]}
        if overall:
            marker = {"size": 12, "symbol": "diamond-tall", "color": "#777777"}
        traces.append(
            go.Scatter(
                x=values[:, 0],
                y=rows,
                mode="markers",
                name=label(column.column),
                marker=marker,
                error_x=_interval(values) if overall else None,
                hovertext=[f"{name}<br>{_told(column, at)}" for name, at in zip(names, order, strict=True)],
                hoverinfo="text",
            )
        )
    layout = {
        "height": 110 + _ROW * len(order),
        "xaxis": {"title": {"text": "mean rank, 1 is the best"}, "zeroline": False},
        "yaxis": _rows_axis(names),
        "legend": _ABOVE,
    }
    return Plot("ranks", "", {"all": _figure(traces, layout)})


def pareto(found: Standings) -> Plot:
    """Mean rank against time, a view a column; the front is a line."""
    appearance = looks(found)
    return Plot(
        "pareto",
        "Quality by",
        {column.column: _pareto_view(found, column, appearance) for column in found.columns},
    )


def agreement(found: Sequence[Agreement]) -> Plot:
    """Matrices of agreement, a view a task."""
    return Plot("agreement", "Task", {one.title: _matrix(one) for one in found}, wide=True)


def strengths(table: pd.DataFrame, appearance: Mapping[str, Look]) -> Plot | None:
    """Robustness by the strength of the change, a view a task and kind of change; None: none has two strengths."""
    views = {}
    for change in by_strength(table):
        higher = "higher" if bool(change.rows.higher_is_better.iloc[0]) else "lower"
        traces = []
        for name, look in appearance.items():
            own = of_explainer(change, name)
            if len(own):
                traces.append(_line(name, look, list(own.index), own["mean"], own.low, own.high))
        layout = {
            "height": 440,
            "xaxis": {"title": {"text": "strength"}, "type": "category", "categoryarray": list(ENDINGS.values())},
            "yaxis": {"title": {"text": f"{label(change.base)}, {higher} is better"}},
            "legend": _ABOVE,
        }
        views[f"{change.task}: {change.base}"] = _figure(traces, layout)
    return Plot("strengths", "Task and change", views) if views else None


def removal(curves: Sequence[Curve], appearance: Mapping[str, Look]) -> Plot | None:
    """Curves of removal with their bands, a view a task and metric; None: there are none."""
    views = {}
    kinds = dict.fromkeys((one.task, one.metric) for one in curves)
    for task, metric in kinds:
        own = {one.explainer: one for one in curves if (one.task, one.metric) == (task, metric)}
        traces: list[Any] = []
        for name, look in appearance.items():
            if name in own:
                traces += _banded(own[name], look)
        size = max(own.values(), key=lambda one: one.n_samples).size
        layout = {
            "height": 460,
            "xaxis": {
                "title": {"text": f"pixels {label(next(iter(own.values())).verb)}"},
                "tickformat": ".0%",
            },
            "yaxis": {"title": {"text": f"probability of the target, mean of {size}"}, "rangemode": "tozero"},
            "legend": _ABOVE,
        }
        views[f"{task}: {metric}"] = _figure(traces, layout)
    return Plot("removal", "Task and curve", views) if views else None


def _pareto_view(found: Standings, column: Standing, appearance: Mapping[str, Look]) -> go.Figure:
    names, times = found.explainers.names, found.costs.times.to_numpy()
    on_front = front(found, column)
    line = [names.index(name) for name in on_front]
    sides = _sides(times, column.mean_rank[:, 0], found.explainers.n_ranked)
    traces = [
        go.Scatter(
            x=times[line],
            y=column.mean_rank[line, 0],
            mode="lines",
            line={"shape": "hv", "color": CONTROL, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
            name="front: none is both cheaper and better",
        )
    ]
    for at in found.order():
        rank = column.mean_rank[at]
        if np.isfinite(times[at]) and np.isfinite(rank[0]) and at < found.explainers.n_ranked:
            look, name = appearance[names[at]], label(names[at])
            traces.append(
                go.Scatter(
                    x=[times[at]],
                    y=[rank[0]],
                    mode="markers+text",
                    text=[f"<b>{name}</b>" if names[at] in on_front else name],
                    textposition=f"{'top' if names[at] in on_front else 'middle'} {sides[at]}",
                    cliponaxis=False,
                    meta=NAMED,
                    marker={"size": 12 if names[at] in on_front else 9, "color": look.colour, "symbol": look.symbol},
                    error_y=_interval(rank[None]),
                    hovertext=[f"{name}<br>{_told(column, at)}<br>{span(found.costs.seconds.iloc[at])} an image"],
                    hoverinfo="text",
                    showlegend=False,
                    name=name,
                )
            )
    layout = {
        "height": 480,
        "xaxis": {"title": {"text": "time, in units of the fastest"}, "type": "log", "dtick": "D2", "tickprefix": "×"},
        "yaxis": {"title": {"text": "mean rank, 1 on top is the best"}, "autorange": "reversed", "zeroline": False},
        "legend": _ABOVE,
    }
    return _figure(traces, layout)


def _sides(times: Array, ranks: Array, n_ranked: int) -> dict[int, str]:
    """On which side of its point each name stands: towards the middle, and away from a name that is near."""
    known = [at for at in range(n_ranked) if np.isfinite(times[at]) and np.isfinite(ranks[at])]
    x, y = np.log(times[known]), ranks[known]
    x, y = (
        (values - values.min(initial=np.inf)) / (np.ptp(values) or 1) if len(known) else values for values in (x, y)
    )
    sides: dict[int, str] = {}
    for place in np.argsort(y, kind="stable"):
        side = "right" if x[place] < 0.6 else "left"
        near = (np.abs(y - y[place]) < _NEAR[1]) & (np.abs(x - x[place]) < _NEAR[0])
        taken = {sides[known[other]] for other in np.flatnonzero(near) if known[other] in sides}
        if side in taken and 0.2 < x[place] < 0.8:
            side = "left" if side == "right" else "right"
        sides[known[place]] = side
    return sides


def _matrix(one: Agreement) -> go.Figure:
    names = [label(name) for name in one.metrics]
    n = len(names)
    told = [[_agreed(names[row], names[column], one.taus[row, column]) for column in range(n)] for row in range(n)]
    numbers = [["" if np.isnan(tau) else f"{tau:.1f}" for tau in row] for row in one.taus]
    heat = go.Heatmap(
        z=one.taus.round(3),
        zmin=-1,
        zmax=1,
        zmid=0,
        colorscale=DIVERGING,
        reversescale=True,
        hovertext=told,
        hoverinfo="text",
        text=numbers if n <= _TEXT_UP_TO else None,
        texttemplate="%{text}" if n <= _TEXT_UP_TO else None,
        hoverongaps=True,
        colorbar={"title": {"text": "τ"}, "thickness": 12, "tickvals": [-1, 0, 1]},
        xgap=1,
        ygap=1,
    )
    places = list(range(n))
    axis = {"tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False, "automargin": True}
    size = max(360, 22 * n + 170)
    layout = {"height": size, "xaxis": {**axis, "tickangle": 90}, "yaxis": {**axis, "autorange": "reversed"}}
    return _figure([heat], layout)


def _agreed(first: str, second: str, tau: float) -> str:
    return f"{first}<br>{second}<br>" + ("not known" if np.isnan(tau) else f"τ = {tau:.2f}")


def _line(name: str, look: Look, x: Sequence[str], mean: pd.Series, low: pd.Series, high: pd.Series) -> go.Scatter:
    values = np.column_stack([mean, low, high])
    told = [f"{label(name)}<br>{m:.3g} [{a:.3g}, {b:.3g}]" for m, a, b in values]
    return go.Scatter(
        x=list(x),
        y=values[:, 0],
        mode="lines+markers",
        name=label(name),
        line={"color": look.colour, "dash": look.dash},
        marker={"symbol": look.symbol, "size": 8},
        error_y=_interval(values),
        hovertext=told,
        hoverinfo="text",
    )


def _banded(curve: Curve, look: Look) -> Iterable[go.Scatter]:
    """The band, then the curve; both answer to one click on the legend."""
    name = label(curve.explainer)
    shared = {"legendgroup": name, "x": np.concatenate([curve.removed, curve.removed[::-1]])}
    yield go.Scatter(
        **shared,
        y=np.concatenate([curve.low, curve.high[::-1]]).round(4),
        fill="toself",
        fillcolor=f"{look.colour}16",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )
    yield go.Scatter(
        legendgroup=name,
        x=curve.removed,
        y=curve.mean.round(4),
        mode="lines",
        name=name,
        line={"color": look.colour, "dash": look.dash, "width": 2},
        hovertext=[
            f"{name}<br>{mean:.2f} at {share:.0%}" for share, mean in zip(curve.removed, curve.mean, strict=True)
        ],
        hoverinfo="text",
    )


def _told(column: Standing, at: int) -> str:
    rank, low, high = column.mean_rank[at]
    if np.isnan(rank):
        return f"{label(column.column)}: no scores"
    interval = "" if np.isnan(low) else f" ({low:.1f} to {high:.1f})"
    return f"{label(column.column)}: mean rank {rank:.1f}{interval}"


def _interval(values: Array) -> dict[str, Any]:
    """Bars from low to high of rows (estimate, low, high)."""
    estimate, low, high = np.where(np.isfinite(values), values, values[:, :1]).T
    return {
        "type": "data",
        "symmetric": False,
        "array": high - estimate,
        "arrayminus": estimate - low,
        "thickness": 1.5,
        "width": 3,
    }


def _rows_axis(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": [len(names) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }


def _figure(traces: Sequence[Any], layout: Mapping[str, Any]) -> go.Figure:
    shared = {
        "template": go.layout.Template(),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "hovermode": "closest",
        "dragmode": False,
    }
    figure = go.Figure(data=list(traces), layout={**shared, **layout})
    figure.update_xaxes(automargin=True, fixedrange=True)
    figure.update_yaxes(automargin=True, fixedrange=True)
    return figure
