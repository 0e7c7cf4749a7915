"""Sheets of concepts: for each channel where it speaks in one image, and the patches in which it speaks most."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..style import Style
from .figures import map_tile
from .sheets import bare, wrapped

BOX = "#ffb000"
"""Colour of the frame about the first patch, in its image."""

_SIDE, _GAP, _CAPTION, _TITLE, _HEADING, _TOP, _BOTTOM = 1.1, 0.08, 0.17, 1.45, 0.3, 0.62, 0.34
"""Of a picture, between pictures, of a caption, of the rows' titles, of a layer's heading, above and below; inches."""
_APART = 0.14
"""Between what is said of one image and the patches; inches."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Patch:
    """A part of an image."""

    image: Array
    """(3, h, w) in [0, 1]."""
    caption: str = ""


@dataclass(frozen=True)
class ConceptRow:
    """What is drawn of a concept."""

    layer: str
    """The heading: rows of one layer stand together."""
    title: str
    image: Array
    """(3, H, W) in [0, 1], the image that the first patch is from."""
    heat: Array
    """(H, W), what the concept contributes there, signed."""
    box: tuple[int, int, int, int]
    """Of the first patch in the image: top, left, bottom, right, in pixels; the last two are one beyond."""
    patches: Sequence[Patch]
    """From the strongest on."""


def concept_sheet(rows: Sequence[ConceptRow], title: str, path: Path, dpi: int = 100) -> Path:
    """Draw concepts: a row each, under the heading of its layer.

    In a row stand the image in which the concept has the largest relevance, framed where its first patch is from; the
    concept's heat map there, red for the class, blue against it, white nothing (colours as in `figures.grid`); and the
    patches.

    Args:
        rows: From top to bottom.
        title: Above all, in one line or more.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        dpi: Dots an inch, for .png.

    Returns:
        The path.

    Raises:
        ValueError: there is no row, or one without a patch.
    """
    if not rows or not all(row.patches for row in rows):
        raise ValueError("a sheet of concepts needs a row, and each row a patch")
    n_patches = max(len(row.patches) for row in rows)
    groups = [(layer, list(members)) for layer, members in groupby(rows, key=lambda row: row.layer)]
    width = _TITLE + (2 + n_patches) * (_SIDE + _GAP) + _APART
    height = _TOP + len(groups) * _HEADING + len(rows) * (_SIDE + _CAPTION) + _BOTTOM
    style = Style(dpi=dpi)
    with style.context():
        figure = Figure(figsize=(width, height))
        _fill(_Page(figure, width, height), groups, title)
        return style.save(figure, path)


def _fill(page: "_Page", groups: Sequence[tuple[str, Sequence[ConceptRow]]], title: str) -> None:
    page.write(_GAP, 0.16, title, size=9, weight="bold")
    for column, head in enumerate(("strongest image", "its heat map", "patches where it is strongest")):
        page.write(page.left(column), _TOP - 0.1, head, size=7.5)
    top = _TOP
    for layer, members in groups:
        page.write(_GAP, top + 0.17, layer, size=8, weight="bold")
        top += _HEADING
        for row in members:
            page.draw(row, top)
            top += _SIDE + _CAPTION
    legend = "red: speaks for the class   blue: against it   white: nothing   frame: the first patch"
    page.write(page.left(0), page.height - 0.12, legend, size=7)


class _Page:
    """Places things by inches from the left and the top: a layout engine needs seconds for a hundred pictures."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def left(self, column: int) -> float:
        return _TITLE + column * (_SIDE + _GAP) + (_APART if column > 1 else 0)

    def write(self, left: float, top: float, text: str, size: float, weight: str = "normal") -> None:
        place = (left / self.width, 1 - top / self.height)
        self.figure.text(*place, text, fontsize=size, weight=weight, va="center", parse_math=False)

    def axis(self, column: int, top: float) -> Axes:
        foot = self.height - top - _SIDE
        place = (self.left(column) / self.width, foot / self.height, _SIDE / self.width, _SIDE / self.height)
        return self.figure.add_axes(place)

    def draw(self, row: ConceptRow, top: float) -> None:
        self.write(_GAP, top + _SIDE / 2, wrapped(row.title, 22), size=7.5)
        image = self.axis(0, top)
        _show(image, Patch(row.image))
        upper, left, lower, right = row.box
        frame = Rectangle(
            (left - 0.5, upper - 0.5), right - left, lower - upper, fill=False, edgecolor=BOX, linewidth=1.2
        )
        image.add_patch(frame)
        _show(self.axis(1, top), Patch(map_tile(row.heat, row.image).image))
        for column, patch in enumerate(row.patches, start=2):
            _show(self.axis(column, top), patch)


def _show(axis: Axes, patch: Patch) -> None:
    axis.imshow(np.clip(np.moveaxis(patch.image, 0, -1), 0, 1), interpolation="bicubic", interpolation_stage="data")
    bare(axis)
    axis.set_xlabel(patch.caption, fontsize=6.5, labelpad=1.5, parse_math=False)
