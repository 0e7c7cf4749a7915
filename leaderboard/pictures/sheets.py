"""Contact sheets of images: rows of pictures, each with its caption and with outlines of what is known to lie in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..style import DIVERGING, INCH, Style

EVIDENCE, SHORTCUT = "#00a020", "#e000c0"
"""Colours of outlines: what speaks for the class, and what misleads."""

SIGNED = colormaps[DIVERGING]
"""Colours of maps, from against the class to for it."""

_CELL, _CAPTION, _TITLE, _LEGEND = 1.0, 0.1, 1.35, 0.3
"""From picture to picture, height of a line of captions, width of the rows' titles, height of the legend; inches."""
_LINE = 0.22
"""Height of a row without pictures, inches."""
_LEAST_CELL = 0.2
"""Below it nothing is seen, inches."""
_BAR = 1.6
"""Width of the colours of maps, inches."""
SMALL = 5.5 / 7
"""Size of captions over that of titles."""
_SIDE = 0.96
"""Of a picture, over the distance of pictures: at 100 dots an inch a phantom of 96 pixels is drawn pixel for pixel."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Tile:
    """A picture of a sheet."""

    image: Array
    """(3, H, W) in [0, 1]."""
    caption: str = ""
    outlines: Mapping[str, Array] = field(default_factory=dict)
    """Colour -> (H, W) bool; all False: no outline."""


@dataclass(frozen=True)
class Row:
    """A row of a sheet."""

    title: str
    tiles: Sequence[Tile]


def sheet(
    rows: Sequence[Row],
    path: Path,
    legend: Mapping[str, str] | None = None,
    *,
    headings: Sequence[str] = (),
    signed: bool = False,
    cell: float = _CELL,
    style: Style | None = None,
) -> Path:
    """Draw rows of pictures, the title of each row at its left, the caption of each picture beneath it.

    Args:
        rows: From top to bottom; they may be of different lengths, and their pictures of different sizes. A row
            without pictures is a line of text.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        legend: Colour -> what it outlines; drawn at the bottom.
        headings: What stands above the columns.
        signed: Whether the colours of maps are explained at the bottom.
        cell: From picture to picture, inches, where the style does not say how wide the sheet is.
        style: The look; its usual one with 100 dots an inch.

    Returns:
        The path.

    Raises:
        ValueError: there is no picture, or an image or an outline has another shape, or the sheet is too narrow.
    """
    _check(rows)
    style = style or Style(dpi=100)
    scale = style.scale
    n_columns = max(len(row.tiles) for row in rows)
    left_of_all = _TITLE * scale
    if style.width is not None:
        cell = (style.width / INCH - left_of_all) / n_columns
    if cell < _LEAST_CELL:
        raise ValueError(f"{style.width:g} mm are too narrow for {n_columns} pictures in a row: fewer, or more width")
    lines = _foot_lines(left_of_all + n_columns * cell, legend or {}, signed, scale)
    bottom = _LEGEND * scale * lines
    names = [wrapped(heading, int(14 * cell / scale)) for heading in headings]
    top = 0.12 * scale * max((name.count("\n") + 1 for name in names), default=0)
    captions = [[wrapped(tile.caption, int(21 * cell / scale)) for tile in row.tiles] for row in rows]
    n_lines = [max((text.count("\n") + 1 for text in of_row), default=0) for of_row in captions]
    heights = [cell + 0.07 + n * _CAPTION * scale if n else _LINE * scale for n in n_lines]
    width, height = left_of_all + n_columns * cell, sum(heights) + bottom + top
    with style.context():
        figure = Figure(figsize=(width, height))
        _fill(figure, rows, captions, heights, cell, names, style)
        if signed:
            draw_scale(figure, style, above=_LEGEND * scale * (lines - 1))
        if legend:
            handles = [Line2D([], [], color=colour, label=meaning) for colour, meaning in legend.items()]
            figure.legend(
                handles=handles, ncols=len(handles), loc="lower right" if lines == 1 and signed else "lower center"
            )
        return style.save(figure, path)


def _fill(
    figure: Figure,
    rows: Sequence[Row],
    captions: Sequence[Sequence[str]],
    heights: Sequence[float],
    cell: float,
    names: Sequence[str],
    style: Style,
) -> None:
    """Headings, titles and pictures. Placed by hand: a layout engine needs seconds for a hundred pictures."""
    width, height = figure.get_size_inches()
    left_of_all = _TITLE * style.scale
    top = 0.12 * style.scale * max((name.count("\n") + 1 for name in names), default=0)
    for column, name in enumerate(names):
        left = (left_of_all + (column + _SIDE / 2) * cell) / width
        figure.text(left, 1 - top / height, name, ha="center", va="bottom")
    foot = height - top
    for row, texts, room in zip(rows, captions, heights, strict=True):
        foot -= room
        beneath = room - cell
        title = wrapped(row.title, 20) if row.tiles else row.title
        middle = foot + beneath + cell / 2 if row.tiles else foot + room / 2
        figure.text(0.08 / width, middle / height, title, va="center")
        for column, (tile, text) in enumerate(zip(row.tiles, texts, strict=True)):
            left, side = left_of_all + column * cell, _SIDE * cell
            place = (left / width, (foot + beneath) / height, side / width, side / height)
            _draw(figure.add_axes(place), tile, text, SMALL * style.font_size)


def bare(axis: Axes) -> None:
    """Without ticks, in a thin frame."""
    axis.spines[["top", "right"]].set_visible(True)
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_linewidth(0.4)
        side.set_color("0.7")


def outline(axis: Axes, mask: Array, colour: str, width: float = 0.8) -> None:
    """Draw the edge of a mask, (H, W) bool, on an image of its size; nothing where the mask is empty."""
    # A mask without an edge has nothing to contour, and matplotlib warns.
    if not mask.any():
        return
    padded = np.pad(mask.astype(float), 1)
    places = (np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1))
    axis.contour(*places, padded, levels=[0.5], colors=colour, linewidths=width)
    axis.set_xlim(-0.5, mask.shape[1] - 0.5)
    axis.set_ylim(mask.shape[0] - 0.5, -0.5)


def wrapped(name: str, width: int = 16) -> str:
    """The name over several lines, broken at underscores and spaces, and where it has line breaks."""
    if "\n" in name:
        return "\n".join(wrapped(line, width) for line in name.split("\n"))
    lines = [""]
    for part in name.replace("_", "_\0").replace(" ", " \0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _check(rows: Sequence[Row]) -> None:
    tiles = [tile for row in rows for tile in row.tiles]
    if not tiles:
        raise ValueError("a sheet needs at least one picture")
    for tile in tiles:
        if tile.image.ndim != 3 or tile.image.shape[0] != 3:
            raise ValueError(f"{tile.caption}: an image is (3, H, W), not {tile.image.shape}")
        for mask in tile.outlines.values():
            if mask.shape != tile.image.shape[1:]:
                raise ValueError(f"{tile.caption}: an outline of {mask.shape} on an image of {tile.image.shape[1:]}")


def _draw(axis: Axes, tile: Tile, caption: str, size: float) -> None:
    axis.imshow(np.clip(np.moveaxis(tile.image, 0, -1), 0, 1), interpolation="antialiased")
    bare(axis)
    for colour, mask in tile.outlines.items():
        outline(axis, mask, colour, width=0.6)
    axis.set_xlabel(caption, fontsize=size, labelpad=1.5)


def _foot_lines(width: float, legend: Mapping[str, str], signed: bool, scale: float) -> int:
    """Whether the colours of maps and the legend stand beside each other, or, where it is narrow, in two lines."""
    beside = _TITLE + 0.4 + _BAR + 0.5 + sum(0.55 + 0.06 * len(meaning) for meaning in legend.values())
    return int(signed) + int(bool(legend)) if width < beside * scale else int(signed or bool(legend))


def draw_scale(figure: Figure, style: Style, above: float = 0) -> None:
    """The colours of maps and what they say, at the foot of the sheet, so much above its end (inches)."""
    scale = style.scale
    width, height = figure.get_size_inches()
    left, foot = (_TITLE + 0.4) * scale, 0.17 * scale + above
    room = min(_BAR * scale, width - left - 0.4 * scale)
    axis = figure.add_axes((left / width, foot / height, room / width, 0.07 * scale / height))
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), style.signed), cax=axis, orientation="horizontal", ticks=[-1, 0, 1]
    )
    axis.set_xticklabels(["against", "0", "for the class"], fontsize=SMALL * style.font_size)
    axis.tick_params(length=2, pad=1)
    bar.outline.set_linewidth(0.4)
