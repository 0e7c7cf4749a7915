"""Contact sheets of images: rows of pictures, each with its caption and with outlines of what is known to lie in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

EVIDENCE, SHORTCUT = "#00a020", "#e000c0"
"""Colours of outlines: what speaks for the class, and what misleads."""

_CELL, _CAPTION, _TITLE, _LEGEND = 1.0, 0.17, 1.35, 0.3
"""From picture to picture, height of a caption, width of the rows' titles, height of the legend; inches."""
_SIDE = 0.96
"""Of a picture, inches: at 100 dots an inch a phantom of 96 pixels is drawn pixel for pixel."""

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


def sheet(rows: Sequence[Row], path: Path, legend: Mapping[str, str] | None = None, dpi: int = 100) -> Path:
    """Draw rows of pictures, the title of each row at its left, the caption of each picture beneath it.

    Args:
        rows: From top to bottom; they may be of different lengths, and their pictures of different sizes.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        legend: Colour -> what it outlines; drawn at the bottom.
        dpi: Dots an inch, for .png.

    Returns:
        The path.

    Raises:
        ValueError: there is no picture, or an image or an outline has another shape.
    """
    _check(rows)
    n_columns = max(len(row.tiles) for row in rows)
    bottom = _LEGEND if legend else 0.0
    width, height = _TITLE + n_columns * _CELL, len(rows) * (_CELL + _CAPTION) + bottom
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for number, row in enumerate(rows):
        foot = height - (number + 1) * (_CELL + _CAPTION) + _CAPTION
        title = wrapped(row.title, 20)
        figure.text(0.08 / width, (foot + _CELL / 2) / height, title, va="center", fontsize=7, parse_math=False)
        for column, tile in enumerate(row.tiles):
            # Placed by hand: a layout engine needs seconds for a hundred pictures.
            left, side = _TITLE + column * _CELL, _SIDE
            _draw(figure.add_axes((left / width, foot / height, side / width, side / height)), tile)
    if legend:
        handles = [Line2D([], [], color=colour, label=meaning) for colour, meaning in legend.items()]
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def bare(axis: Axes) -> None:
    """Without ticks, in a thin frame."""
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


def _draw(axis: Axes, tile: Tile) -> None:
    axis.imshow(np.clip(np.moveaxis(tile.image, 0, -1), 0, 1), interpolation="antialiased")
    bare(axis)
    for colour, mask in tile.outlines.items():
        outline(axis, mask, colour, width=0.6)
    axis.set_xlabel(tile.caption, fontsize=5.5, labelpad=1.5, parse_math=False)
