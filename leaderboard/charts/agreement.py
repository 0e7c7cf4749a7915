"""How far metrics agree, as matrices of Kendall's tau."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..style import INCH, Style

_CELL = 0.36
"""Side of a square where there is room, inches."""
_LEAST_SIZE = 3.0
"""Of names, points."""
_GAP = 0.05
"""From names to squares, inches."""
_TEXT_FROM = 0.24
"""Side from which on numbers are written into the squares, inches."""
_HEAD, _FOOT, _APART = 0.3, 0.5, 0.15
"""Above a matrix, beneath all, between two; inches."""
_LETTER = 0.6
"""Width of a letter, in sizes of the font."""
_ACROSS = 330.0
"""Width from which on the next matrix begins a new row, where none is asked for; mm."""


def draw_agreement(matrices: Mapping[str, pd.DataFrame], path: Path, style: Style | None = None) -> Path:
    """Draw matrices of `leaderboard.agreement`, the largest first, row by row.

    With the usual colours red agrees, blue disagrees, white has nothing in common; gray is not known.

    Args:
        matrices: Title -> (M, M) in [-1, 1], names of metrics on both sides; nan: not known.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look. Without a width squares are as large as they may be.

    Raises:
        ValueError: there is no matrix, or too little width for one.
    """
    if not matrices:
        raise ValueError("no two metrics are known to agree or to disagree: there is no agreement to draw")
    style = style or Style()
    matrices = dict(sorted(matrices.items(), key=lambda item: -len(item[1])))
    across = (style.width or _ACROSS) / INCH
    longest = max(len(str(name)) for matrix in matrices.values() for name in matrix.columns)
    side, size = _sizes(across - 2 * _APART - _GAP, max(map(len, matrices.values())), longest, style)
    if size < _LEAST_SIZE:
        raise ValueError(f"{across * INCH:.0f} mm are too narrow for these metrics: fewer (--family), or more --width")
    names = size / 72 * _LETTER * longest + _GAP
    sizes = {title: names + side * len(matrix) for title, matrix in matrices.items()}
    places, width, height = _laid_out(sizes, across)
    width = across if style.width else max(width, 3.2)
    with Style(width * INCH, style.font, style.font_size, style.colours, style.dpi).drawing(height, None) as figure:
        for title, matrix in matrices.items():
            left, top = places[title]
            extent = len(matrix) * side
            place = ((left + names) / width, 1 - (top + _HEAD + extent) / height, extent / width, extent / height)
            _draw(figure.add_axes(place), title, matrix, style, side, size)
        told = "Kendall's tau of the explainers' order by two metrics:"
        figure.text(_APART / width, 0.36 / height, told, va="center")
        _draw_scale(figure.add_axes((_APART / width, 0.2 / height, 1.2 / width, 0.08 / height)), style)
        gray = Rectangle((1.6 / width, 0.2 / height), 0.12 / width, 0.08 / height, color="0.8", linewidth=0)
        figure.add_artist(gray)
        figure.text(1.78 / width, 0.24 / height, "not known", va="center")
        return style.save(figure, path)


def _sizes(room: float, n: int, longest: int, style: Style) -> tuple[float, float]:
    """Side of a square, inches, and size of names, points: those of squares smaller than letters are as large as they.

    Args:
        room: Width for names and squares, inches.
        n: Squares in a row.
        longest: Letters of a name.
        style: The look.
    """
    side = min(_CELL * style.scale, (room - style.font_size / 72 * _LETTER * longest) / n)
    if 72 * side >= style.font_size:
        return side, style.font_size
    side = room / (n + _LETTER * longest)
    return side, min(72 * side, style.font_size)


def _laid_out(sizes: Mapping[str, float], across: float) -> tuple[dict[str, tuple[float, float]], float, float]:
    """Left and top of each matrix, and the width and height of the sheet; inches."""
    places = {}
    left, top, row, width = _APART, 0.0, 0.0, 0.0
    for title, extent in sizes.items():
        if left > _APART and left + extent + _APART > across:
            left, top, row = _APART, top + row, 0.0
        places[title] = (left, top)
        left += extent + _APART
        row, width = max(row, _HEAD + extent), max(width, left)
    return places, width, top + row + _FOOT


def _draw(axis: Axes, title: str, matrix: pd.DataFrame, style: Style, side: float, size: float) -> None:
    values = matrix.to_numpy(dtype=np.float64)
    axis.set_facecolor("0.8")
    axis.imshow(np.ma.masked_invalid(values), cmap=style.signed, vmin=-1, vmax=1)
    if side >= _TEXT_FROM * style.scale:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                text = f"{value:.2f}".replace("0.", ".").replace("-", "−")
                centred: dict[str, Any] = {"ha": "center", "va": "center", "color": _ink(style, value)}
                axis.text(column, row, text, fontsize=0.85 * style.font_size, **centred)
    labels = [str(name) for name in matrix.columns]
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axis.set_yticks(range(len(labels)), labels, fontsize=size)
    axis.tick_params(length=0, pad=2)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_title(title, loc="left")


def _ink(style: Style, value: float) -> str:
    """Black or white, whichever stands out from the colour of a value."""
    red, green, blue, _ = style.signed((value + 1) / 2)
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"


def _draw_scale(axis: Axes, style: Style) -> None:
    axis.imshow(np.linspace(-1, 1, 64)[None], cmap=style.signed, vmin=-1, vmax=1, aspect="auto", extent=(-1, 1, 0, 1))
    axis.set_yticks([])
    axis.set_xticks([-1, 0, 1], ["−1", "0", "1"], fontsize=0.85 * rcParams["font.size"])
    axis.tick_params(length=1.5, pad=1)
    for spine in axis.spines.values():
        spine.set(visible=True, linewidth=0.4)
