"""What the charts share: how explainers look on paper, panels side by side, who is shown, and names beside points."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from ..standings import Standing, Standings
from .looks import DASHES, SYMBOLS, Look

MARKERS = dict(zip(SYMBOLS, ("o", "s", "D", "^", "X", "*", "P", "p", "h", "v"), strict=True))
LINES = dict(zip(DASHES, ("-", "--", ":", "-."), strict=True))
N_SHOWN = 6
"""Explainers of a chart of lines, unless they are named: the best; with the best control."""
MOST_PANELS = 24

_LETTER = 0.6
"""Width of a letter, in sizes of the font."""
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Where the name of a point may stand: right of it first."""
_GAPS = (4.0, 9.0, 15.0, 22.0, 30.0)
"""From a point to its name, points: further away with a line to it."""

Array = NDArray[np.float64]


def marker(look: Look) -> dict[str, Any]:
    """As matplotlib says it; controls are not filled."""
    is_open = look.symbol.endswith("-open")
    return {
        "marker": MARKERS[look.symbol.removesuffix("-open")],
        "color": look.colour,
        "markerfacecolor": "white" if is_open else look.colour,
        "markeredgewidth": 0.8 if is_open else 0.0,
    }


def line(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": LINES[look.dash]}


def shown(found: Standings, names: Sequence[str] | None) -> list[str]:
    """The explainers of a chart of lines, in the order of the standings.

    Args:
        found: The standings.
        names: Who is shown; None: the best `N_SHOWN`, and the best control.

    Raises:
        ValueError: a name has no record.
    """
    everybody = found.explainers.names
    if names is None:
        order = found.order()
        ranked, controls = order[: found.explainers.n_ranked], order[found.explainers.n_ranked :]
        return [everybody[at] for at in (*ranked[:N_SHOWN], *controls[:1])]
    for name in names:
        if name not in everybody:
            near = difflib.get_close_matches(name, everybody, n=3, cutoff=0.4) or sorted(everybody)
            raise ValueError(f"these results have no record of {name}: there are {', '.join(near)}")
    return [everybody[at] for at in found.order() if everybody[at] in names]


def columns_of(found: Standings, names: Collection[str]) -> list[Standing]:
    """The columns of these families, or overall; empty: all.

    Raises:
        ValueError: one is unknown, or there is none.
    """
    known = [column.column for column in found.columns]
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        raise ValueError(f"no ranked family {', '.join(unknown)} in these results; there are: {', '.join(known)}")
    return [column for column in found.columns if not names or column.column in names]


def panels(figure: Figure, n: int, least_width: float, **shared: Any) -> list[Axes]:
    """n panels in rows, as many in one as have their least width (inches).

    Raises:
        ValueError: there are more than `MOST_PANELS`.
    """
    if n > MOST_PANELS:
        raise ValueError(f"{n} panels are too many for a figure: choose some by --tasks, --metrics or --family")
    across = per_row(figure.get_figwidth(), n, least_width)
    axes: list[Axes] = figure.subplots(-(-n // across), across, squeeze=False, **shared).ravel().tolist()
    for unused in axes[n:]:
        unused.remove()
    return axes[:n]


def per_row(width: float, n: int, least_width: float) -> int:
    """How many of n panels stand in a row; rows are filled alike."""
    most = max(1, min(n, int(width / least_width)))
    return -(-n // -(-n // most))


def legend(
    figure: Figure, appearance: Mapping[str, Look], controls: Collection[str], with_markers: bool = True
) -> None:
    """The explainers beneath all panels."""
    handles = [
        Line2D(
            [],
            [],
            label=f"{name} (control)" if name in controls else name,
            **{**(marker(look) if with_markers else {}), **line(look)},
        )
        for name, look in appearance.items()
    ]
    beneath(figure, handles)


def beneath(figure: Figure, handles: Sequence[Artist]) -> None:
    """What these mean, beneath all panels, as many in a row as have room."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, letters(figure) // (longest + 7)))


def letters(figure: Figure) -> int:
    """How many have room across the figure, at the size of the font."""
    return int(figure.get_figwidth() * 72 / (_LETTER * rcParams["font.size"]))


def interval(values: Array) -> Array:
    """(2, N): how far down and up bars go, of rows (estimate, low, high); none where an end is not known."""
    estimate, low, high = np.where(np.isfinite(values), values, values[:, :1]).T
    return np.stack([estimate - low, high - estimate])


def name_points(
    axis: Axes, points: Mapping[str, tuple[float, float]], colours: Mapping[str, str], others: Sequence[Bbox]
) -> None:
    """Write names beside their points where they touch neither names nor points, from the highest point down.

    Args:
        axis: Its limits do not change any more, nor does its place in the figure.
        points: Name -> x and y, in data.
        colours: Name -> of its text.
        others: What else they should not touch, pixels.
    """
    places = {name: axis.transData.transform(at) for name, at in points.items()}
    point = axis.figure.dpi / 72
    taken = [*others, *(Bbox([at - 3 * point, at + 3 * point]) for at in places.values())]
    for name in sorted(places, key=lambda name: -places[name][1]):
        tried = ((_annotated(axis, name, points[name], colours[name], way, gap)) for gap in _GAPS for way in _AROUND)
        taken.append(_best(axis, tried, taken))


def _annotated(
    axis: Axes, name: str, at: tuple[float, float], colour: str, way: tuple[int, int], gap: float
) -> Annotation:
    dx, dy = way
    arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    return axis.annotate(
        name,
        at,
        (dx * gap, dy * gap),
        textcoords="offset points",
        ha=("center", "left", "right")[dx],
        va=("center", "bottom", "top")[dy],
        color=colour,
        arrowprops=arrow if gap > _GAPS[0] else None,
    )


def _best(axis: Axes, tried: Iterator[Annotation], taken: Sequence[Bbox]) -> Bbox:
    """Keeps the first of the texts that touches nothing, else that which touches least; where it stands."""
    within = axis.get_window_extent()
    kept, box, least = None, Bbox.null(), np.inf
    for text in tried:
        text.get_window_extent()  # settles where it is; the line is within, too
        own = Text.get_window_extent(text)
        touched = sum(_shared(own, other) for other in taken) + 4 * (own.width * own.height - _shared(own, within))
        if touched < least - 1:
            if kept is not None:
                kept.remove()
            kept, box, least = text, own, touched
        else:
            text.remove()
        if least < 1:
            break
    return box


def _shared(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else float(both.width * both.height)
