"""What the commands that draw share: where to, and how it looks."""

from pathlib import Path
from typing import Annotated

import typer

from leaderboard.style import DIVERGING, FONT_SIZE, FORMATS, Style

from ..errors import UserError
from .console import told

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to draw it: .png, .pdf or .svg.")]
Width = Annotated[
    float | None,
    typer.Option("--width", metavar="MM", min=20, max=1000, help="Of the picture: 85 fits a column, 180 a page."),
]
Font = Annotated[str, typer.Option("--font", metavar="FAMILY", help="That is installed.")]
FontSize = Annotated[float, typer.Option("--font-size", metavar="POINTS", min=3, max=30)]
Colours = Annotated[
    str,
    typer.Option("--colours", "--cmap", metavar="NAME", help="Of what has a sign: one of matplotlib's diverging maps."),
]
Dpi = Annotated[int, typer.Option("--dpi", min=30, max=1200, help="Dots an inch, for .png.")]

FONT, SIZE, SIGNED = "DejaVu Sans", FONT_SIZE, DIVERGING


def style_of(path: Path, width: float | None, font: str, font_size: float, dpi: int, colours: str = SIGNED) -> Style:
    """What the options ask for.

    Raises:
        UserError: the suffix is no format, or there is no such font or colour map.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"--out {path}: give it the ending .png, .pdf or .svg")
    with told():
        return Style(width, font, font_size, colours, dpi)
