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

from ..style import INCH, Style
from .figures import map_tile
from .sheets import SMALL, bare, draw_scale, wrapped

BOX = "#ffb000"
"""Colour of the frame about the first patch, in its image."""

_SIDE, _GAP, _CAPTION, _TITLE, _HEADING, _TOP, _BOTTOM = 1.1, 0.08, 0.17, 1.45, 0.3, 0.62, 0.34
"""Of a picture, between pictures, of a caption, of the rows' titles, of a layer's heading, above and below; inches."""
_LINE, _BOLD = 0.11, 0.068
"""Height of a further line of text, and width of a bold letter; inches."""
_BESIDE, _ONE_LINE = 3.7, 5.0
"""Where there is room beside the colours, and width from which on; inches."""
_FRAME = "frame: the first patch"
_LEAST_SIDE = 0.2
"""Below it nothing is seen, inches."""
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


def concept_sheet(rows: Sequence[ConceptRow], title: str, path: Path, style: Style | None = None) -> Path:
    """Draw concepts: a row each, under the heading of its layer.

    In a row stand the image in which the concept has the largest relevance, framed where its first patch is from; the
    concept's heat map there, with the usual colours red for the class, blue against it, white nothing (as in
    `figures.grid`); and the patches.

    Args:
        rows: From top to bottom.
        title: Above all, in one line or more.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look; its usual one with 100 dots an inch.

    Returns:
        The path.

    Raises:
        ValueError: there is no row, or one without a patch, or the sheet is too narrow.
    """
    if not rows or not all(row.patches for row in rows):
        raise ValueError("a sheet of concepts needs a row, and each row a patch")
    groups = [(layer, list(members)) for layer, members in groupby(rows, key=lambda row: row.layer)]
    style = style or Style(dpi=100)
    with style.context():
        page = _Page(rows, len(groups), title, style)
        _fill(page, groups)
        return style.save(page.figure, path)


def _fill(page: "_Page", groups: Sequence[tuple[str, Sequence[ConceptRow]]]) -> None:
    page.write(_GAP, 0.16 * page.scale + page.above / 2, page.title, weight="bold")
    wide = page.side > 0.7 * page.scale
    heads = ("strongest image", "its heat map") if wide else ("image", "map")
    for column, head in enumerate((*heads, "patches where it is strongest")):
        page.write(page.left(column), page.above + (_TOP - 0.1) * page.scale, head)
    top = page.above + _TOP * page.scale
    for layer, members in groups:
        page.write(_GAP, top + 0.17 * page.scale, layer, weight="bold")
        top += _HEADING * page.scale
        for row in members:
            page.draw(row, top)
            top += page.row
    page.explain()


class _Page:
    """Places things by inches from the left and the top: a layout engine needs seconds for a hundred pictures."""

    def __init__(self, rows: Sequence[ConceptRow], n_groups: int, title: str, style: Style) -> None:
        """
        Raises:
            ValueError: the style's width is too little for so many pictures in a row.
        """
        self.style, self.scale = style, style.scale
        n_columns = 2 + max(len(row.patches) for row in rows)
        beside = self.scale * _TITLE + _APART
        self.side = _SIDE if style.width is None else (style.width / INCH - beside) / n_columns - _GAP
        if self.side < _LEAST_SIDE:
            raise ValueError(f"{style.width:g} mm are too narrow for {n_columns} pictures in a row: fewer, or more")
        n_lines = max(self.caption(patch).count("\n") + 1 for row in rows for patch in row.patches)
        self.row = self.side + self.scale * (_CAPTION + _LINE * (n_lines - 1))
        self.width = beside + n_columns * (self.side + _GAP)
        self.title = wrapped(title, int(self.width / self.scale / _BOLD))
        self.above = self.scale * _LINE * self.title.count("\n")
        self.beneath = self.scale * _BOTTOM * (1 if self.width > _ONE_LINE * self.scale else 2)
        self.height = self.above + self.scale * (_TOP + n_groups * _HEADING) + len(rows) * self.row + self.beneath
        self.figure = Figure(figsize=(self.width, self.height))

    def left(self, column: int) -> float:
        return self.scale * _TITLE + column * (self.side + _GAP) + (_APART if column > 1 else 0)

    def write(self, left: float, top: float, text: str, weight: str = "normal") -> None:
        place = (left / self.width, 1 - top / self.height)
        self.figure.text(*place, text, weight=weight, va="center", parse_math=False)

    def axis(self, column: int, top: float) -> Axes:
        foot = self.height - top - self.side
        place = (self.left(column) / self.width, foot / self.height, self.side / self.width, self.side / self.height)
        return self.figure.add_axes(place)

    def draw(self, row: ConceptRow, top: float) -> None:
        self.write(_GAP, top + self.side / 2, wrapped(row.title, 22))
        image = self.axis(0, top)
        self._show(image, Patch(row.image))
        upper, left, lower, right = row.box
        frame = Rectangle(
            (left - 0.5, upper - 0.5), right - left, lower - upper, fill=False, edgecolor=BOX, linewidth=1.2
        )
        image.add_patch(frame)
        self._show(self.axis(1, top), Patch(map_tile(row.heat, row.image, colours=self.style.signed).image))
        for column, patch in enumerate(row.patches, start=2):
            self._show(self.axis(column, top), patch)

    def explain(self) -> None:
        """The colours of the maps and the frame, at the foot."""
        draw_scale(self.figure, self.style)
        if self.beneath > _BOTTOM * self.scale:
            self.write(_GAP, self.height - self.beneath + 0.17 * self.scale, _FRAME)
        else:
            self.write(max(self.left(2), self.scale * _BESIDE), self.height - 0.22 * self.scale, _FRAME)

    def caption(self, patch: Patch) -> str:
        return wrapped(patch.caption, int(21 * self.side / self.scale))

    def _show(self, axis: Axes, patch: Patch) -> None:
        axis.imshow(np.clip(np.moveaxis(patch.image, 0, -1), 0, 1), interpolation="bicubic", interpolation_stage="data")
        bare(axis)
        axis.set_xlabel(self.caption(patch), fontsize=SMALL * self.style.font_size, labelpad=1.5, parse_math=False)
